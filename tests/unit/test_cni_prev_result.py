"""`prevResult` by its version: what is taken, and what is refused with its path."""

from typing import Any

import pytest

from cni.errors import CniError
from cni.prev_result import check_prev_result

IPS = [{"interface": 0, "address": "10.0.0.5/32", "gateway": "169.254.1.1"}]
OLD_IPS = [{"version": "4", **IPS[0]}]
INTERFACES = [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/a"}]


@pytest.mark.parametrize(
    ("result", "version"),
    [
        ({}, "1.0.0"),
        ({"cniVersion": "1.0.0", "interfaces": None, "ips": None, "routes": None, "dns": None}, "1.0.0"),
        (
            {"interfaces": INTERFACES, "ips": IPS, "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "10.0.0.1/8"}]},
            "1.0.0",
        ),
        ({"cniVersion": "0.3.1", "interfaces": INTERFACES, "ips": OLD_IPS}, "0.4.0"),
        ({"interfaces": [{**INTERFACES[0], "mtu": "mine", "pciID": 5}]}, "1.0.0"),  # not of that version: somebody's own
        ({"interfaces": [{**INTERFACES[0], "mtu": 1450, "socketPath": "/a", "pciID": "0000:00:1f.6"}]}, "1.1.0"),
        ({"routes": [{"dst": "::/0", "mtu": 1400, "advmss": 1, "priority": -1, "table": 254, "scope": 0, "x": 1}]}, "1.1.0"),
        ({"interfaces": [{"name": "ib0", "mac": ":".join(["80"] * 20), "sandbox": ""}]}, "1.0.0"),
        ({"dns": {"nameservers": ["::1"], "domain": "a", "search": ["b"], "options": ["c"]}, "someone": {"else": []}}, "1.0.0"),
        ({"ips": [{"address": "fd00::5/64", "gateway": "", "interface": None}]}, "1.0.0"),
    ],
)
def test_results_of_the_specification_are_taken(result: Any, version: str) -> None:
    check_prev_result(result, version)


@pytest.mark.parametrize(
    ("result", "version", "named"),
    [
        (5, "1.0.0", "prevResult is 5; must be an object"),
        ([], "1.0.0", "prevResult is an array"),
        ({"cniVersion": 1}, "1.0.0", "prevResult.cniVersion is 1"),
        ({"cniVersion": ["1.0.0"]}, "1.0.0", "prevResult.cniVersion is an array"),
        ({"cniVersion": "9.9.9"}, "1.0.0", 'prevResult.cniVersion is "9.9.9"'),
        ({"cniVersion": "0.4.0"}, "1.0.0", "prevResult.cniVersion"),
        ({"cniVersion": "0.2.0", "ip4": {}}, "0.4.0", "prevResult.cniVersion"),
        ({"interfaces": "x"}, "1.0.0", 'prevResult.interfaces is "x"; must be an array'),
        ({"interfaces": [5]}, "1.0.0", "prevResult.interfaces[0] is 5; must be an object"),
        ({"interfaces": [{}]}, "1.0.0", "prevResult.interfaces[0].name is missing"),
        ({"interfaces": [{"name": "a b"}]}, "1.0.0", "prevResult.interfaces[0].name"),
        ({"interfaces": [{"name": "a", "mac": "zz"}]}, "1.0.0", "prevResult.interfaces[0].mac"),
        ({"interfaces": [{"name": "a", "mac": "02:00:00:00:00:01\n"}]}, "1.0.0", "prevResult.interfaces[0].mac"),
        ({"interfaces": [{"name": "a", "sandbox": 1}]}, "1.0.0", "prevResult.interfaces[0].sandbox"),
        ({"interfaces": [{"name": "a", "mtu": -1}]}, "1.1.0", "prevResult.interfaces[0].mtu"),
        ({"interfaces": [{"name": "a", "mtu": True}]}, "1.1.0", "prevResult.interfaces[0].mtu"),
        ({"ips": {"a": 1}}, "1.0.0", "prevResult.ips is an object"),
        ({"ips": [{}]}, "1.0.0", "prevResult.ips[0].address is missing"),
        ({"ips": [{"address": "10.0.0.5"}]}, "1.0.0", "prevResult.ips[0].address"),
        ({"ips": [{"address": 5}]}, "1.0.0", "prevResult.ips[0].address"),
        ({"ips": [{"address": "10.0.0.5/33"}]}, "1.0.0", "prevResult.ips[0].address"),
        ({"ips": [{"address": "10.0.0.5/32", "gateway": "x"}]}, "1.0.0", "prevResult.ips[0].gateway"),
        ({"ips": IPS}, "1.0.0", "prevResult.ips[0].interface is 0; must be an index of prevResult.interfaces, which has 0"),
        ({"interfaces": INTERFACES, "ips": [{**IPS[0], "interface": -1}]}, "1.0.0", "prevResult.ips[0].interface is -1"),
        ({"interfaces": INTERFACES, "ips": [{**IPS[0], "interface": [0]}]}, "1.0.0", "prevResult.ips[0].interface"),
        ({"interfaces": INTERFACES, "ips": IPS}, "0.4.0", 'prevResult.ips[0].version is null; must be "4"'),
        ({"interfaces": INTERFACES, "ips": [{**IPS[0], "version": "6"}]}, "0.3.1", "prevResult.ips[0].version"),
        ({"routes": [{}]}, "1.0.0", "prevResult.routes[0].dst is missing"),
        ({"routes": [{"dst": "10.0.0.0"}]}, "1.0.0", "prevResult.routes[0].dst"),
        ({"routes": [{"dst": "10.0.0.0/8", "gw": 1}]}, "1.0.0", "prevResult.routes[0].gw"),
        ({"routes": [{"dst": "10.0.0.0/8", "table": "main"}]}, "1.1.0", "prevResult.routes[0].table"),
        ({"dns": [1]}, "1.0.0", "prevResult.dns is an array"),
        ({"dns": {"nameservers": ["a"]}}, "1.0.0", "prevResult.dns.nameservers[0]"),
        ({"dns": {"search": "a"}}, "1.0.0", "prevResult.dns.search"),
        ({"dns": {"domain": 1}}, "1.0.0", "prevResult.dns.domain"),
    ],
)
def test_what_does_not_fit_is_code_7_with_its_path(result: Any, version: str, named: str) -> None:
    with pytest.raises(CniError) as caught:
        check_prev_result(result, version)
    assert (caught.value.code, caught.value.msg.startswith(named)) == (7, True), caught.value.msg


def test_all_faults_are_named_at_once_and_none_at_length() -> None:
    with pytest.raises(CniError) as caught:
        check_prev_result({"interfaces": [{"name": 5}] * 100, "routes": [{"dst": "x" * 10_000}]}, "1.0.0")
    assert "interfaces[3].name" in caught.value.msg
    assert "85 faults more" in caught.value.msg
    assert len(caught.value.msg) < 2000
