"""Results and errors in the shape of each version."""

import json
from dataclasses import replace
from ipaddress import IPv4Interface, ip_interface
from typing import Any

import pytest

from cni.errors import CniError, from_ipam
from cni.netconf import NetConf
from cni.result import Attached, error_document, result_document
from romana.errors import Conflict, Exhausted, InvalidInput, NotFound, Refused, RomanaError, Unavailable

ATTACHED = Attached(
    host_interface="rom0123456789ab",
    host_mac="ee:ee:ee:ee:ee:ee",
    pod_interface="eth0",
    pod_mac="02:00:00:00:00:01",
    netns="/run/netns/pod",
    mtu_bytes=1400,
    addresses=(IPv4Interface("10.40.0.5/32"),),
)
DNS = {"nameservers": ["10.96.0.10"], "search": ["a.b"], "options": ["ndots:5"], "domain": "c"}
ROUTES = [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]
HOST = {"name": "rom0123456789ab", "mac": "ee:ee:ee:ee:ee:ee"}
POD = {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod"}
IP = {"interface": 1, "address": "10.40.0.5/32", "gateway": "169.254.1.1"}


def result(version: str, dns: Any = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result_document(NetConf("romana", version, dns=dns or {}), ATTACHED))
    return document


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_first_versions_know_one_address_per_family_and_no_interfaces(version: str) -> None:
    ip4 = {"ip": "10.40.0.5/32", "gateway": "169.254.1.1", "routes": ROUTES}
    assert result(version) == {"cniVersion": version, "ip4": ip4, "dns": {}}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_middle_versions_state_the_family(version: str) -> None:
    ips = [{"version": "4", **IP}]
    assert result(version) == {"cniVersion": version, "interfaces": [HOST, POD], "ips": ips, "routes": ROUTES, "dns": {}}


def test_version_1_0_0_states_no_family_and_leaves_empty_dns_out() -> None:
    assert result("1.0.0") == {"cniVersion": "1.0.0", "interfaces": [HOST, POD], "ips": [IP], "routes": ROUTES}


def test_version_1_1_0_adds_the_mtu() -> None:
    interfaces = [{**HOST, "mtu": 1400}, {**POD, "mtu": 1400}]
    assert result("1.1.0") == {"cniVersion": "1.1.0", "interfaces": interfaces, "ips": [IP], "routes": ROUTES}


DUAL = replace(ATTACHED, addresses=(ip_interface("10.40.0.5/32"), ip_interface("fd00::5/128")))
ROUTE_6 = {"dst": "::/0", "gw": "fe80::1"}


def dual(version: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result_document(NetConf("romana", version, dns={}), DUAL))
    return document


def test_both_families_have_their_own_gateway_and_route() -> None:
    assert dual("1.0.0")["ips"] == [IP, {"interface": 1, "address": "fd00::5/128", "gateway": "fe80::1"}]
    assert dual("1.0.0")["routes"] == [*ROUTES, ROUTE_6]
    assert [ip["version"] for ip in dual("0.3.1")["ips"]] == ["4", "6"]


def test_first_versions_have_a_place_for_each_family() -> None:
    ip6 = {"ip": "fd00::5/128", "gateway": "fe80::1", "routes": [ROUTE_6]}
    assert dual("0.2.0")["ip6"] == ip6
    alone = replace(ATTACHED, addresses=(ip_interface("fd00::5/128"),))
    document = json.loads(result_document(NetConf("romana", "0.2.0", dns={}), alone))
    assert document == {"cniVersion": "0.2.0", "ip6": ip6, "dns": {}}


@pytest.mark.parametrize("version", ["0.1.0", "0.3.1", "1.0.0", "1.1.0"])
def test_dns_is_copied_as_it_is(version: str) -> None:
    assert result(version, DNS)["dns"] == DNS


def test_error_without_details_has_no_such_key() -> None:
    assert json.loads(error_document("0.3.1", CniError(7, "bad"))) == {"cniVersion": "0.3.1", "code": 7, "msg": "bad"}
    assert json.loads(error_document("1.0.0", CniError(11, "a", "b")))["details"] == "b"


@pytest.mark.parametrize(
    ("err", "code"),
    [
        (Exhausted("x"), 100),
        (Refused("x"), 101),
        (InvalidInput("x"), 7),
        (Unavailable("x"), 11),
        (Conflict("x"), 11),
        (NotFound("x"), 11),
    ],
)
def test_each_error_of_ipamd_has_its_code(err: RomanaError, code: int) -> None:
    assert (from_ipam(err).code, from_ipam(err).msg) == (code, "x")
