"""Whatever a runtime sends as configuration and previous result, only the specification's errors come out, in JSON.

The pure half of the agent is driven as it drives itself: request, what ADD and CHECK do with `prevResult`, result or error.
"""

import json
from ipaddress import ip_interface
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cni.check import Promised, Seen, differences
from cni.errors import CniError
from cni.netconf import VERSIONS, stated_version
from cni.node_request import NODE_COMMANDS, NodeRequest
from cni.request import Request
from cni.result import Attached, check_chained, error_document, result_document

CODES = {1, 4, 6, 7}
PYTHON_WORDS = (
    "Error",
    "Traceback",
    "NoneType",
    "object has no",
    "not subscriptable",
    "object is not",
    "unhashable",
    "'utf-8' codec",
)
NOTHING = Seen(None, None, (), (), {}, {}, "", {})
ATTACHED = Attached(
    "rom0", "ee:ee:ee:ee:ee:ee", "eth0", "02:00:00:00:00:01", "/run/netns/a", 1400, (ip_interface("10.0.0.5/32"),)
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
addresses = st.sampled_from(["10.0.0.5/32", "10.0.0.5/8", "fd00::5/128", "10.0.0.5", "fd00::5/129", "", "0.0.0.0/0"])
gateways = st.sampled_from(["169.254.1.1", "fe80::1", "10.0.0.1", "", "x"])


def maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there."""
    return st.one_of(good, good, good, anything)


def objects(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these keys, and some that nobody knows."""
    known = st.fixed_dictionaries({}, optional={key: maybe(value) for key, value in keys.items()})
    return maybe(
        st.builds(lambda one, other: {**other, **one}, known, st.dictionaries(st.text(max_size=4), anything, max_size=2))
    )


interfaces = objects(
    name=st.sampled_from(["eth0", "rom0", "net1"]),
    mac=st.sampled_from(["02:00:00:00:00:01", "EE:EE:EE:EE:EE:EE"]),
    sandbox=st.sampled_from(["/run/netns/a", "/run/netns/b", ""]),
    mtu=st.integers(0, 9000),
    socketPath=st.just("/a"),
    pciID=st.just("0000:00:1f.6"),
)
ips = objects(interface=st.integers(-1, 3), address=addresses, gateway=gateways, version=st.sampled_from(["4", "6"]))
routes = objects(dst=addresses, gw=gateways, mtu=st.integers(0, 9000), table=st.integers(0, 300), scope=st.integers(0, 255))
dns = objects(
    nameservers=st.lists(gateways, max_size=2), domain=st.just("a"), search=st.lists(st.just("b")), options=st.lists(st.just("c"))
)
results = objects(
    cniVersion=st.sampled_from([*VERSIONS, "9.9.9", ""]),
    interfaces=st.lists(interfaces, max_size=3),
    ips=st.lists(ips, max_size=3),
    routes=st.lists(routes, max_size=3),
    dns=dns,
)
configurations = objects(
    cniVersion=st.sampled_from([*VERSIONS, "9.9.9", ""]),
    name=st.sampled_from(["romana", "-", ""]),
    type=st.just("romana"),
    mtu=st.integers(0, 70_000),
    dns=dns,
    networks=st.lists(st.sampled_from(["pods", "a b"]), max_size=2),
    runtimeConfig=objects(dns=objects(servers=st.lists(gateways), searches=st.lists(st.just("b")))),
    prevResult=results,
).map(lambda raw: json.dumps(raw).encode())
stdins = st.one_of(configurations, configurations, configurations, st.binary(max_size=40))
arguments = st.sampled_from(
    ["", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", "K8S_POD_NAME=", "IgnoreUnknown=1;X=y", "=", "K8S_POD_NAME=\udcff"]
)
environments = st.fixed_dictionaries(
    {
        "CNI_COMMAND": st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "FOO", ""]),
        "CNI_CONTAINERID": st.sampled_from(["c1", "", "-"]) | st.text(max_size=4),
        "CNI_NETNS": st.sampled_from(["/run/netns/a", ""]),
        "CNI_IFNAME": st.sampled_from(["eth0", "", "a/b"]) | st.text(max_size=4),
        "CNI_ARGS": arguments | st.text(max_size=12),
    }
)


def call(environ: dict[str, str], stdin: bytes) -> bytes:
    """What the agent makes of a call before and after it has touched anything."""
    if environ["CNI_COMMAND"] in NODE_COMMANDS:
        NodeRequest.parse(environ, stdin)
        return b""
    request = Request.parse(environ, stdin)
    if request.command == "ADD":
        check_chained(request.conf)
        return result_document(request.conf, ATTACHED)
    if request.command == "CHECK":
        found = differences(Promised.parse(request), "rom0", NOTHING)
        assert found
    return b""


def held_to_the_specification(environ: dict[str, str], stdin: bytes) -> None:
    try:
        stdout = call(environ, stdin)
    except CniError as err:
        told = json.loads(error_document(stated_version(stdin), err))
        assert told["cniVersion"] in VERSIONS
        assert told["code"] in CODES
        assert told["msg"]
        assert not any(word in f"{told['msg']} {told.get('details', '')}" for word in PYTHON_WORDS)
    else:
        assert not stdout or json.loads(stdout)["cniVersion"] in VERSIONS


@given(environments, stdins)
def test_only_errors_of_the_specification_come_out(environ: dict[str, str], stdin: bytes) -> None:
    held_to_the_specification(environ, stdin)


@given(st.sampled_from(["ADD", "CHECK", "DEL"]), st.sampled_from(VERSIONS), results)
def test_no_previous_result_brings_anything_else_out(command: str, version: str, before: Any) -> None:
    conf = {"cniVersion": version, "name": "romana", "type": "romana", "prevResult": before}
    environ = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/a", "CNI_IFNAME": "eth0"}
    held_to_the_specification(environ, json.dumps(conf).encode())
