"""What a document is refused for, each with its exact path and all of them at once."""

import json
from typing import Any

import pytest

from ipam.topology.carving import carve
from ipam.topology.reading import read_document
from ipam.topology.text import DOCUMENT_MAX_BYTES
from romana.errors import InvalidInput

LEAF: dict[str, Any] = {"name": "all", "groups": []}


def net(name: str = "a", cidr: str = "10.0.0.0/16", **more: Any) -> dict[str, Any]:
    return {"name": name, "cidr": cidr, **more}


def doc(networks: list[Any], *topologies: Any) -> dict[str, Any]:
    return {"networks": networks, "topologies": list(topologies) or [{"networks": ["a"], "map": [LEAF]}]}


def mapped(*groups: Any, cidr: str = "10.0.0.0/16", **more: Any) -> dict[str, Any]:
    return doc([net(cidr=cidr, **more)], {"networks": ["a"], "map": list(groups)})


def leaves(count: int) -> list[dict[str, Any]]:
    return [{"name": f"g{number}"} for number in range(count)]


def faults_of(document: Any) -> list[tuple[str, str]]:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(InvalidInput) as caught:
        read_document(raw)
    return [(fault.path, fault.message) for fault in caught.value.faults]


MAP = "topologies[0].map"
H1 = {"name": "h1", "ip": "192.0.2.1"}

ONE_FAULT: dict[str, tuple[Any, str, list[str]]] = {
    "name twice": (doc([net(), net(cidr="10.1.0.0/16")]), "networks[1].name", ['"a"', "networks[0]"]),
    "networks overlap": (doc([net(), net("b", "10.0.128.0/17")]), "networks[1].cidr", ["10.0.128.0/17", "networks[0]"]),
    "later networks overlap": (
        doc([net(), net("c", "10.2.1.0/24"), net("b", "10.2.0.0/16"), net("d", "10.3.0.0/16")],
            {"networks": list("abcd"), "map": [LEAF]}),
        "networks[1].cidr", ["10.2.1.0/24", "10.2.0.0/16", "networks[2]"],
    ),
    "same prefix": (doc([net(), net("b")]), "networks[1].cidr", ["overlaps"]),
    "two topologies": (
        doc([net()], {"networks": ["a"], "map": [LEAF]}, {"networks": ["a"], "map": [LEAF]}),
        "topologies[1].networks[0]", ["topologies[0].networks[0]"],
    ),
    "twice in one": (doc([net()], {"networks": ["a", "a"], "map": [LEAF]}), "topologies[0].networks[1]", ["twice"]),
    "undefined": (doc([net("b")]), "topologies[0].networks[0]", ['"a" is not a network', 'defined: "b"']),
    "families mixed": (
        doc([net(), net("b", "fd00::/48")], {"networks": ["a", "b"], "map": [LEAF]}),
        "topologies[0].networks[1]", ["IPv6", "IPv4", "one family"],
    ),
    "mask below": (doc([net(block_mask=15)]), "networks[0].block_mask", ["15", "16", "32"]),
    "mask above": (doc([net(block_mask=33)]), "networks[0].block_mask", ["33", "32"]),
    "mask above, IPv6": (doc([net(cidr="fd00::/48", block_mask=129)]), "networks[0].block_mask", ["129", "128"]),
    "mask as text": (doc([net(block_mask="29")]), "networks[0].block_mask", ['"29"', "whole number"]),
    "mask true": (doc([net(block_mask=True)]), "networks[0].block_mask", ["true"]),
    "mask a fraction": (doc([net(block_mask=29.5)]), "networks[0].block_mask", ["29.5"]),
    "host bits": (doc([net(cidr="10.0.0.1/16")]), "networks[0].cidr", ['did you mean "10.0.0.0/16"']),
    "no mask": (doc([net(cidr="10.0.0.0")]), "networks[0].cidr", ['"10.0.0.0"']),
    "dotted mask": (doc([net(cidr="10.0.0.0/255.255.0.0")]), "networks[0].cidr", ["not a CIDR"]),
    "leading zero": (doc([net(cidr="010.0.0.0/8")]), "networks[0].cidr", ["not a CIDR"]),
    "mapped": (doc([net(cidr="::ffff:10.0.0.0/112")]), "networks[0].cidr", ["IPv4-mapped"]),
    "mapped inside": (doc([net(cidr="::/64", block_mask=128)]), "networks[0].cidr", ["overlaps ::ffff:0:0/96"]),
    "everything": (doc([net(cidr="0.0.0.0/0")]), "networks[0].cidr", ["overlaps"]),
    "link-local": (doc([net(cidr="169.254.0.0/24")]), "networks[0].cidr", ["link-local"]),
    "multicast": (doc([net(cidr="ff00::/32")]), "networks[0].cidr", ["multicast"]),
    "slash in name": (doc([net(), net("x/y", "10.1.0.0/16")]), "networks[1].name", ['"x/y"']),
    "network without name": (doc([net(), {"cidr": "10.1.0.0/16"}]), "networks[1].name", ["missing"]),
    "network without cidr": (doc([{"name": "a"}]), "networks[0].cidr", ["missing"]),
    "tenant star": (doc([net(tenants=["*"])]), "networks[0].tenants[0]", ["leave tenants out"]),
    "tenant twice": (doc([net(tenants=["t", "t"])]), "networks[0].tenants[1]", ["twice"]),
    "tenant empty": (doc([net(tenants=[""])]), "networks[0].tenants[0]", ['""']),
    "tenants no list": (doc([net(tenants="t")]), "networks[0].tenants", ['"t"', "a list"]),
    "no topologies": ({"networks": [net()], "topologies": []}, "topologies", ["empty"]),
    "nothing": ({"networks": [net()]}, "topologies", ["missing"]),
    "empty map": (mapped(), MAP, ["empty list"]),
    "host without name": (mapped({"name": "x", "groups": [{"ip": "192.0.2.1"}]}), f"{MAP}[0].groups[0].name", ["missing"]),
    "host name": (mapped({"name": "x", "groups": [{**H1, "name": "H_1"}]}), f"{MAP}[0].groups[0].name", ['"H_1"']),
    "host address": (mapped({"name": "x", "groups": [{**H1, "ip": "192.0.2"}]}), f"{MAP}[0].groups[0].ip", ['"192.0.2"']),
    "host mapped": (mapped({"name": "x", "groups": [{**H1, "ip": "::ffff:1.2.3.4"}]}), f"{MAP}[0].groups[0].ip", ["mapped"]),
    "host zone": (mapped({"name": "x", "groups": [{**H1, "ip": "2001:db8::1%eth0"}]}), f"{MAP}[0].groups[0].ip", ["zone"]),
    "host with labels": (
        mapped({"name": "x", "groups": [{**H1, "assignment": {}}]}), f"{MAP}[0].groups[0].assignment", ["a host has name, ip"]
    ),
    "hosts and groups": (mapped({"name": "x", "groups": [H1, LEAF]}), f"{MAP}[0].groups", ["1 hosts", "1 groups", "mixed"]),
    "host in the map": (mapped(LEAF, H1), f"{MAP}[1]", ["a host stands in the groups"]),
    "host name twice": (
        mapped({"name": "x", "groups": [H1]}, {"name": "y", "groups": [{**H1, "ip": "192.0.2.2"}]}),
        f"{MAP}[1].groups[0].name", ['"h1"', f"{MAP}[0].groups[0]"],
    ),
    "host address twice": (
        mapped({"name": "x", "groups": [H1, {**H1, "name": "h2"}]}), f"{MAP}[0].groups[1].ip", ['"192.0.2.1"']
    ),
    "block larger than leaf": (mapped(*leaves(3), block_mask=17), MAP, ["/18", "blocks of /17", "at most 2 groups"]),
    "nested block larger": (
        mapped({"name": "x", "groups": leaves(2)}, LEAF, block_mask=17), f"{MAP}[0].groups", ["/18", "/17"]
    ),
    "more groups than bits": (mapped(*leaves(5), cidr="10.0.0.0/30"), MAP, ["5 groups", "/33"]),
    "group without name": (mapped({"groups": []}), f"{MAP}[0].name", ["missing"]),
    "group name twice": (mapped(LEAF, {"name": "b"}, LEAF), f"{MAP}[2].name", ['"all"', f"{MAP}[0]", "differ in name"]),
    "group name twice, deeper": (
        mapped({"name": "x", "groups": [LEAF, LEAF]}, LEAF), f"{MAP}[0].groups[1].name", [f"{MAP}[0].groups[0]"]
    ),
    "group name": (mapped({"name": "a/b"}), f"{MAP}[0].name", ['"a/b"']),
    "group name, two lines": (mapped({"name": "a\nb"}), f"{MAP}[0].name", [r"a\nb"]),
    "groups null": (mapped({"name": "x", "groups": None}), f"{MAP}[0].groups", ["null"]),
    "group a text": (mapped("x"), f"{MAP}[0]", ['"x"', "an object"]),
    "label key": (mapped({"name": "x", "assignment": {"a b": "c"}}), f'{MAP}[0].assignment["a b"]', ['"a b"']),
    "label value": (mapped({"name": "x", "assignment": {"a": "b c"}}), f"{MAP}[0].assignment.a", ['"b c"']),
    "label a number": (mapped({"name": "x", "assignment": {"a": 1}}), f"{MAP}[0].assignment.a", ["the number 1", "in quotes"]),
    "contradiction": (
        mapped({"name": "x", "assignment": {"r": "1"}, "groups": [{"name": "y", "assignment": {"r": "2"}}]}),
        f"{MAP}[0].groups[0].assignment.r", ['"2" can never be met', 'r="1"'],
    ),
    "contradiction two levels up": (
        mapped({"name": "x", "assignment": {"r": "1"}, "groups": [{"name": "y", "groups": [{"name": "z",
                "assignment": {"r": ""}}]}]}),
        f"{MAP}[0].groups[0].groups[0].assignment.r", ["can never be met"],
    ),
    "routing word": (mapped({"name": "x", "routing": "block-host-route"}), f"{MAP}[0].routing", ["block-host-routes"]),
    "routing peer": (mapped({"name": "x", "routing": "prefix-announce-bgp"}), f"{MAP}[0].routing", [":<peer>"]),
    "routing peer empty": (mapped({"name": "x", "routing": "block-announce-bgp:"}), f"{MAP}[0].routing", ["no peer"]),
    "routing twice": (mapped({"name": "x", "routing": "block-on-host,block-on-host"}), f"{MAP}[0].routing", ["twice"]),
    "routing too much": (mapped({"name": "x", "routing": "prefix-announce-vpc:y"}), f"{MAP}[0].routing", ["accepted"]),
    "unknown key": ({**doc([net()]), "netwroks": []}, "netwroks", ['did you mean "networks"']),
    "unknown in network": (doc([net(blockmask=29)]), "networks[0].blockmask", ['did you mean "block_mask"']),
    "later key": (doc([net(nat="x")]), "networks[0].nat", ["unknown key"]),
    "network in no topology": (doc([net(), net("b", "10.2.0.0/16")]), "networks[1]", ['"b" is in no topology']),
    "owner": (doc([net(owner="pod")]), "networks[0].owner", ['"pod"', "node, tenant"]),
    "reserved elsewhere": (doc([net(reserved=["10.9.0.0/24"])]), "networks[0].reserved[0]", ["10.9.0.0/24", "10.0.0.0/16"]),
    "reserved twice": (doc([net(reserved=["10.0.1.0/24"] * 2)]), "networks[0].reserved[1]", ["stands there twice"]),
    "cooldown": (doc([net(cooldown_s=86401)]), "networks[0].cooldown_s", ["86401", "0 to 86400"]),
    "fallback": (doc([net(fallback="no")]), "networks[0].fallback", ['the text "no"', "true or false"]),
    "dual of nothing": (doc([net(dual="b")]), "networks[0].dual", ['"b"', "IPv6"]),
    "dual of IPv4": (
        doc([net(dual="b"), net("b", "10.2.0.0/16")], {"networks": ["a", "b"], "map": [LEAF]}),
        "networks[0].dual", ['names the IPv4 network "b"'],
    ),
    "dual of two": (
        doc([net(dual="b"), net("c", "10.2.0.0/16", dual="b"), net("b", "fd00:10::/48")],
            {"networks": ["a", "c"], "map": [LEAF]}, {"networks": ["b"], "map": [LEAF]}),
        "networks[1].dual", ["networks[0]", "one partner"],
    ),
    "weight": (mapped({"name": "x", "weight": 0}), f"{MAP}[0].weight", ["0", "1 to 65536"]),
    "weights that do not fit": (
        mapped({"name": "x", "weight": 4}, {"name": "y"}, cidr="10.0.0.0/28", block_mask=29), MAP, ["by their weights", "/31"],
    ),
    "cidr outside": (mapped({"name": "x", "cidr": "10.9.0.0/24"}), f"{MAP}[0].cidr", ["10.9.0.0/24", "no network"]),
    "cidrs in one network": (
        mapped({"name": "x", "cidr": ["10.0.1.0/24", "10.0.2.0/24"]}), f"{MAP}[0].cidr", ["one prefix in each"],
    ),
    "cidr of some": (mapped({"name": "x", "cidr": "10.0.1.0/24"}, {"name": "y"}), MAP, ["1 of 2 groups", "or none"]),
    "cidrs overlap": (
        mapped({"name": "x", "cidr": "10.0.0.0/20"}, {"name": "y", "cidr": "10.0.1.0/24"}),
        f"{MAP}[1].cidr", ["10.0.1.0/24", "10.0.0.0/20", f"{MAP}[0].cidr"],
    ),
    "cidr outside the parent's": (
        mapped({"name": "x", "cidr": "10.0.0.0/20", "groups": [{"name": "y", "cidr": "10.0.16.0/24"}]},
               {"name": "z", "cidr": "10.0.16.0/20"}),
        f"{MAP}[0].groups[0].cidr", ["10.0.16.0/24", "10.0.0.0/20"],
    ),
    "cidr smaller than a block": (mapped({"name": "x", "cidr": "10.0.0.0/30"}), f"{MAP}[0].cidr", ["block of /29"]),
    "key hosts": (mapped({"name": "x", "hosts": [H1]}), f"{MAP}[0].hosts", ['stand in the "groups"']),
    "too many prefixes": (
        doc([net(f"n{i}", f"10.{i}.0.0/16") for i in range(200)],
            {"networks": [f"n{i}" for i in range(200)], "map": [{"name": f"g{i}"} for i in range(300)]}),
        MAP, ["102400 prefixes", "65536"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "path", "parts"), ONE_FAULT.values(), ids=ONE_FAULT.keys())
def test_document_is_refused_at_the_path_and_says_why(document: Any, path: str, parts: list[str]) -> None:
    ((found_path, message),) = faults_of(document)
    assert found_path == path
    assert all(part in message for part in parts), message


def test_all_faults_come_at_once_and_one_mistake_is_told_once() -> None:
    document = doc(
        [net("a", "10.0.0.9/16"), net("b", block_mask=2)],
        {"networks": ["a", "b", "c"], "map": [{"nam": "x", "routing": "fast"}, {"name": "y", "assignment": {"k": 7}}]},
    )
    assert [path for path, _ in faults_of(document)] == [
        "networks[0].cidr", "networks[1].block_mask", "topologies[0].networks[2]", f"{MAP}[0].nam", f"{MAP}[0].name",
        f"{MAP}[0].routing", f"{MAP}[1].assignment.k",
    ]  # fmt: skip


TEXTS: dict[str, tuple[bytes, str, str]] = {
    "key twice, JSON": (
        b'{"networks": [{"name": "a", "name": "b", "cidr": "10.0.0.0/8"}],'
        b' "topologies": [{"networks": ["a"], "map": [{"name": "x"}]}]}',
        "networks[0].name", "twice",
    ),
    "key twice, YAML": (
        b"networks: [{name: a, cidr: 10.0.0.0/8}]\ntopologies: [{networks: [a], map: [{name: x, assignment: {r: a, r: b}}]}]",
        f"{MAP}[0].assignment.r", "twice",
    ),
    "alias": (b"networks: &n []\ntopologies: *n\n", "", "line 2, column 13: alias *n"),
    "tag": (b"networks: !!python/object/apply:os.system [x]\n", "", "tags are not accepted"),
    "binary": (b"networks: !!binary aGk=\n", "", "tags are not accepted"),
    "merge key": (
        b"networks: [{<<: {cidr: 10.0.0.0/8}, name: a, cidr: 10.0.0.0/8}]\ntopologies: [{networks: [a], map: [{name: x}]}]",
        'networks[0]["<<"]', "unknown key",
    ),
    "deep JSON": (b"[" * 100 + b"]" * 100, "", "nested deeper than 64"),
    "very deep JSON": (b"[" * 100_000, "", "nested deeper than 64"),
    "deep YAML": (b"a: " + b"[" * 100 + b"]" * 100, "", "nested deeper than 64"),
    "very deep YAML": (b"a: " + b"[" * 100_000, "", "nest"),
    "not UTF-8": (b"networks: \xff", "", "byte 10 is not UTF-8"),
    "UTF-16": ('{"networks": []}'.encode("utf-16"), "", "not UTF-8"),
    "too large": (b" " * (DOCUMENT_MAX_BYTES + 1), "", f"at most {DOCUMENT_MAX_BYTES}"),
    "empty": (b"", "", "exactly one"),
    "two documents": (b"a: 1\n---\nb: 1\n", "", "2 documents"),
    "broken JSON": (b'{"networks": [', "", "not JSON"),
    "broken YAML": (b"networks: [\n- x", "", "not YAML"),
    "huge number": (b"a: 0x" + b"f" * 50_000, "", "too large a number"),
    "NaN": (b'{"networks": NaN}', "networks", "a list of networks"),
    "a list": (b"[1]", "", "the document is an object with networks, topologies"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "path", "part"), TEXTS.values(), ids=TEXTS.keys())
def test_text_is_refused(raw: bytes, path: str, part: str) -> None:
    assert any(found_path == path and part in message for found_path, message in faults_of(raw))


def test_json_and_yaml_of_one_document_are_one_value() -> None:
    tree = mapped({"name": "x", "assignment": {"rack": "r1"}, "groups": [H1]}, {"name": "y"})
    written = """
networks:
- {name: a, cidr: 10.0.0.0/16}   # a comment
topologies:
- networks: [a]
  map:
  - name: x
    assignment: {rack: r1}
    groups:
    - {name: h1, ip: 192.0.2.1}
  - name: "y"
"""
    assert read_document(written.encode()) == read_document(json.dumps(tree).encode())


def test_yaml_dates_and_label_keys_stay_the_text_they_are() -> None:
    written = (
        b"networks: [{name: a, cidr: 10.0.0.0/16}]\n"
        b"topologies: [{networks: [a], map: [{name: 2024-01-01, assignment: {on: '1'}}]}]"
    )
    (topology,) = read_document(written).topologies
    assert (topology.groups[0].name, topology.groups[0].assignment) == ("2024-01-01", (("on", "1"),))


def many(count: int, name: str = "g") -> dict[str, Any]:
    return mapped(
        *({"name": f"{name}{n}", "assignment": {"rack": f"r{n}"}, "groups": []} for n in range(count)), cidr="10.0.0.0/8"
    )


def test_ten_thousand_groups_load_and_the_fault_of_one_is_told_at_its_path() -> None:
    document = many(10_000)
    prefixes = carve(read_document(json.dumps(document).encode()))
    assert (len(prefixes), sum(prefix.pad for prefix in prefixes)) == (16_384, 6_384)
    document["topologies"][0]["map"][9_999]["name"] = "g0"
    assert [path for path, _ in faults_of(document)] == [f"{MAP}[9999].name"]


def test_a_document_too_large_to_be_stored_is_refused_with_its_size() -> None:
    ((path, message),) = faults_of(many(10_000, "a-very-long-name-of-a-group-"))
    assert (path, "at most 800000 are accepted" in message) == ("", True)


def test_twenty_thousand_faults_are_told_and_cost_no_square_of_that() -> None:
    """Not by the clock: what grew with the square took minutes, and the test's timeout is two."""
    many_networks = [{"name": f"n{number}", "cidr": "x"} for number in range(20_000)]
    assert len(faults_of({"networks": many_networks, "topologies": [{"networks": ["n0"], "map": [LEAF]}]})) == 20_000
    many_topologies = [{"networks": ["a"], "map": [LEAF]}] * 20_000
    assert len(faults_of({"networks": [net()], "topologies": many_topologies})) == 19_999
