"""What `lab up` is asked for, as a lab."""

import json
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from romana.errors import InvalidInput, UsageError
from romana.lab.plan import LabPlan, least_used_node, parse_labels, parse_port, plan_lab
from romana.lab.spec import DEFAULT_TOPOLOGY, from_json
from romana.objects.models import Port


def plan(
    name: str = "lab", count: int | None = None, nodes: tuple[str, ...] = (), document: object = None, etcd_members: int = 1
) -> LabPlan:
    text = None if document is None else json.dumps(document).encode()
    return plan_lab(name, count, list(nodes), text, programs="/programs", etcd="/usr/bin/etcd", etcd_members=etcd_members)


def of_leaf(leaf: object) -> dict[str, object]:
    networks = [{"name": "pods", "cidr": "10.40.0.0/16"}]
    return {"networks": networks, "topologies": [{"networks": ["pods"], "map": [leaf]}]}


def test_default_lab_has_three_nodes_and_the_default_topology() -> None:
    made = plan()
    assert [node.name for node in made.lab.nodes] == ["node-1", "node-2", "node-3"]
    assert [str(node.address) for node in made.lab.nodes] == ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
    assert json.loads(made.topology) == DEFAULT_TOPOLOGY


def test_nodes_given_by_name_carry_their_labels() -> None:
    made = plan(nodes=("a1,rack=r1,zone=z", "b1"))
    assert [(node.name, node.labels) for node in made.lab.nodes] == [("a1", {"rack": "r1", "zone": "z"}), ("b1", {})]


def test_nodes_beside_a_topology_are_taken() -> None:
    document = {"topology": DEFAULT_TOPOLOGY, "nodes": [{"name": "k1", "labels": {"rack": "r1"}}, {"name": "k2"}]}
    assert [(node.name, node.labels) for node in plan(document=document).lab.nodes] == [("k1", {"rack": "r1"}), ("k2", {})]


def test_hosts_that_a_topology_fixes_become_nodes_at_their_addresses() -> None:
    leaf = {"name": "slot", "groups": [{"name": "h1", "ip": "192.0.2.12"}]}
    document = of_leaf(leaf)
    assert [(node.name, node.address) for node in plan(document=document).lab.nodes] == [("h1", IPv4Address("192.0.2.12"))]
    both = plan(nodes=("x", "h1", "y"), document=document).lab.nodes
    assert [str(node.address) for node in both] == ["192.0.2.11", "192.0.2.12", "192.0.2.13"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, "--nodes 0"),
        ({"count": 500}, "--node: asks for 500 nodes; must be 1 to 200"),
        ({"count": 1, "nodes": ("a",)}, "--nodes and --node"),
        ({"nodes": ("A_b",)}, "'A_b' cannot name a node"),
        ({"nodes": ("tor",)}, "'tor' cannot name a node"),
        ({"nodes": ("pod-x",)}, "'pod-x' cannot name a node"),
        ({"nodes": ("a", "a")}, "'a' stands there twice"),
        ({"nodes": ("a,rack",)}, "'rack' is not LABEL=VALUE"),
        ({"name": "Lab"}, "--name 'Lab'"),
        ({"name": "x" * 21}, "at most 20"),
        ({"name": "../x"}, "--name '../x'"),
        ({"nodes": ("a,x=1,x=2",)}, "'x' is given twice, as '1' and as '2'"),
        ({"nodes": ("a,x y=1",)}, "is not a node label"),
    ],
)
def test_a_lab_that_cannot_be_is_refused_with_the_option_and_its_value(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(**arguments)  # type: ignore[arg-type]  # the table holds arguments of several types
    assert words in str(caught.value)


def nodes_beside(nodes: object) -> dict[str, object]:
    return {"topology": DEFAULT_TOPOLOGY, "nodes": nodes}


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ([1], [""]),
        (5, [""]),
        ({"nodes": []}, ["nodes", "networks", "topologies"]),
        ({"topology": None}, [""]),
        ({"topology": {**DEFAULT_TOPOLOGY, "networks": [{"name": "pods", "cidr": "10.40.0.1/16"}]}}, ["networks[0].cidr"]),
        (nodes_beside(5), ["nodes"]),
        (nodes_beside({"a": 1}), ["nodes"]),
        (nodes_beside(["a", 3]), ["nodes[0]", "nodes[1]"]),
        (nodes_beside([{"nam": "b"}]), ["nodes[0].nam", "nodes[0].name"]),
        (nodes_beside([{"name": 5}]), ["nodes[0].name"]),
        (nodes_beside([{"name": "B_"}]), ["nodes[0].name"]),
        (nodes_beside([{"name": "b", "labels": ["x"]}]), ["nodes[0].labels"]),
        (nodes_beside([{"name": "b", "labels": {"x": 1, "y": None}}]), ["nodes[0].labels.x", "nodes[0].labels.y"]),
        (nodes_beside([{"name": "b", "labels": {"x": "a b"}}]), ["nodes[0].labels.x"]),
        (nodes_beside([{"name": "tor"}, {"name": "a"}, {"name": "a"}]), ["--topology", "--topology"]),
        (of_leaf({"name": "slot", "groups": [{"name": "h1", "ip": "198.51.100.1"}]}), ["--topology"]),
    ],
)
def test_a_document_that_cannot_be_a_lab_is_refused_with_the_path_of_every_fault(document: object, paths: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(document=document)
    assert not isinstance(caught.value, UsageError)
    assert sorted(fault.path for fault in caught.value.faults) == sorted(paths)


@pytest.mark.parametrize(
    "raw", [b"{", b"a: [", b"\xff", b"", b"[" * 100_000, b"a: 2020-13-45", b"? [a]\n: 1", b"{topology: &a [*a]}"]
)
def test_bytes_that_are_no_document_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        plan_lab("lab", None, [], raw, programs="/programs", etcd="/usr/bin/etcd")


def test_etcd_members_share_nothing_and_all_configurations_name_all_of_them() -> None:
    lab = plan(etcd_members=3).lab
    etcd = [spec for spec in lab.processes() if spec.id in {"etcd", "etcd-2", "etcd-3"}]
    assert len(etcd) == 3
    for option in ("--name=", "--data-dir=", "--listen-client-urls=", "--listen-peer-urls=", "--advertise-client-urls="):
        assert len({word for spec in etcd for word in spec.command if word.startswith(option)}) == 3
    clusters = {word for spec in etcd for word in spec.command if word.startswith("--initial-cluster=")}
    assert [len(cluster.split(",")) for cluster in clusters] == [3]
    assert {spec.cwd for spec in etcd} == {str(Path(spec.stale_socket).parent) for spec in etcd}
    for text in lab.configs().values():
        assert tomllib.loads(text)["etcd"]["endpoints"] == list(lab.etcd_endpoints)


@pytest.mark.parametrize("count", [0, -1, 8])
def test_a_lab_of_no_or_too_many_etcd_members_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="--etcd-members"):
        plan(etcd_members=count)


def test_labels_are_pairs_and_none_is_given_twice() -> None:
    assert parse_labels(["a=b", "x.y/c=", "d=e"]) == {"a": "b", "x.y/c": "", "d": "e"}
    for wrong in (["a=b", "a=c"], ["a=b", "a=b"], ["a"], ["=b"], ["a=b c"]):
        with pytest.raises(UsageError, match="--label"):
            parse_labels(wrong)


def test_a_lab_survives_its_record() -> None:
    lab = plan(nodes=("a1,rack=r1",), etcd_members=3).lab
    assert from_json(json.loads(json.dumps(lab.to_json()))) == lab


def test_paths_of_sockets_stay_under_80_bytes() -> None:
    lab = plan(name="x" * 20, count=1, etcd_members=7).lab
    assert len(lab.etcd_endpoints) == 7
    assert all(len(endpoint) < 80 for endpoint in lab.etcd_endpoints)
    assert len(str(lab.agent_socket("node-100"))) < 80


@pytest.mark.parametrize(
    ("text", "port"),
    [("80", Port(80)), ("web=80/tcp", Port(80, "TCP", "web")), ("53/UDP", Port(53, "UDP")), ("s=9/SCTP", Port(9, "SCTP", "s"))],
)
def test_ports_are_name_number_protocol(text: str, port: Port) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "80/ICMP", "-1", "web=", "٣"])
def test_a_wrong_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--port"):
        parse_port(text)


def test_a_pod_goes_where_the_fewest_are() -> None:
    lab = plan().lab
    assert least_used_node(lab, []) == "node-1"
    assert least_used_node(lab, ["node-1", "node-2", "node-1"]) == "node-3"


def test_names_of_pods_namespaces_never_meet() -> None:
    lab = plan().lab
    assert lab.pod_netns("a", "b-c") != lab.pod_netns("a-b", "c")


@pytest.mark.parametrize(
    ("cidr", "addresses"), [("10.40.0.0/16", ["192.0.2.11"]), ("fd00:40::/112", ["192.0.2.11", "2001:2::11"])]
)
def test_a_topology_with_ipv6_gives_nodes_an_address_of_it(cidr: str, addresses: list[str]) -> None:
    networks = [{"name": "pods", "cidr": cidr}]
    lab = plan(document={"networks": networks, "topologies": [{"networks": ["pods"], "map": [{"name": "all"}]}]}).lab
    assert [str(address) for address in lab.addresses(lab.nodes[0])] == addresses
    assert from_json(lab.to_json()) == lab
    older = {key: value for key, value in lab.to_json().items() if key != "ipv6"}
    assert not from_json(older).ipv6
