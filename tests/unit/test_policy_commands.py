"""What `romana policy` takes as parties and ports."""

from ipaddress import ip_address, ip_network

import pytest

from policyd.compiled import Protocol
from policyd.policy import ObjectName
from romana.cli.policy import parse_destination, parse_party, parse_port
from romana.errors import InvalidInput


def test_parties_are_pods_addresses_and_networks() -> None:
    assert parse_party("web") == ObjectName("default", "web")
    assert parse_party("shop/web") == ObjectName("shop", "web")
    assert parse_party("10.0.0.1") == ip_address("10.0.0.1")
    assert parse_party("2001:db8::1") == ip_address("2001:db8::1")
    assert parse_party("10.0.0.0/8") == ip_network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop/web", (ObjectName("shop", "web"), None, None)),
        ("shop/web:80", (ObjectName("shop", "web"), 80, Protocol.TCP)),
        ("shop/web:53/udp", (ObjectName("shop", "web"), 53, Protocol.UDP)),
        ("10.0.0.1:9/SCTP", (ip_address("10.0.0.1"), 9, Protocol.SCTP)),
        ("10.0.0.0/8:443", (ip_network("10.0.0.0/8"), 443, Protocol.TCP)),
        ("2001:db8::1", (ip_address("2001:db8::1"), None, None)),
        ("[2001:db8::1]:80", (ip_address("2001:db8::1"), 80, Protocol.TCP)),
        ("[2001:db8::1]", (ip_address("2001:db8::1"), None, None)),
    ],
)
def test_destinations_carry_a_port_and_protocol_or_none(text: str, expected: object) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a/b/c", "/web", "shop/", "web:", "web:0", "web:65536", "web:80/ICMP", "web:x", "[2001:db8::1]:"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_destination(text)


@pytest.mark.parametrize("text", ["", "0", "٣", "-1", "80/TCP/x"])
def test_a_wrong_port_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidInput, match="port"):
        parse_port(text)
