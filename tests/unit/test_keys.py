"""Keys are built and taken apart in one place; a name can never become two."""

from ipaddress import ip_address, ip_network

import pytest

from romana import keys
from romana.errors import InvalidInput


def test_keys_are_those_of_the_layout() -> None:
    assert keys.node("node-1") == "nodes/node-1"
    assert keys.block("pods", ip_network("10.40.0.0/29")) == "blocks/pods/10.40.0.0_29"
    assert keys.address("pods", ip_address("2001:DB8:0::1")) == "addresses/pods/2001:db8::1"
    assert keys.attachment("n", "romana", "c1", "eth0") == "attachments/n/romana/c1/eth0"
    assert keys.endpoint("ns", "pod", "c1") == "endpoints/ns/pod/c1"
    assert keys.endpoint("ns", "pod", "c1", "net1") == "endpoints/ns/pod/c1:net1"
    assert keys.endpoint("", "", "c1") == "endpoints/_/_/c1"
    assert keys.pod("ns", "p") == "pods/ns/p"
    assert keys.namespace("ns") == "namespaces/ns"
    assert keys.policy("", "ClusterNetworkPolicy", "x") == "policies/_/ClusterNetworkPolicy/x"
    assert keys.receipt("n", "routed") == "receipts/n/routed"
    assert keys.journal(1764038400000, "a") == "journal/001764038400000/a"


def test_blocks_and_addresses_come_back_from_their_keys() -> None:
    for text in ("10.40.0.0/29", "2001:db8::/122"):
        assert keys.parse_block(keys.block("pods", ip_network(text))) == ("pods", ip_network(text))
    for text in ("10.40.0.1", "2001:db8::1"):
        assert keys.parse_address(keys.address("pods", ip_address(text))) == ("pods", ip_address(text))


@pytest.mark.parametrize("part", ["", "a/b", "/", "a\0b"])
def test_a_part_that_would_be_two_is_refused(part: str) -> None:
    with pytest.raises(InvalidInput):
        keys.node(part)


@pytest.mark.parametrize(
    "key", ["blocks/pods", "blocks/pods/x_y", "blocks/pods/10.0.0.1_8", "nodes/x/y", "blocks//10.0.0.0_8", ""]
)
def test_a_key_of_another_shape_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        keys.parse_block(key)
    with pytest.raises(InvalidInput):
        keys.parse_address(key)
