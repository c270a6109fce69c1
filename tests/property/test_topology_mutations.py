"""Right documents with something wrong done to them: one refusal with every fault and its path, never anything else.

Faults of a known kind and place, several at once, have to be told all, each at its own path. And an ipamd that refuses a document
has the old one in force, with the addresses it had.
"""

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipam.allocation import Granted, Wanted
from ipam.records import AttachmentId
from ipam.server import Ipamd
from ipam.topology.carving import carve
from ipam.topology.document import TopologyDocument, normalised
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import Fault, InvalidInput, Refused, Unavailable
from romana.keys import Address
from romana.store.memory import MemoryStore

Tree = Any
Path = tuple[str | int, ...]

RIGHT: list[dict[str, Tree]] = [
    {
        "networks": [{"name": "pods", "cidr": "10.40.0.0/16", "block_mask": 28}],
        "topologies": [{"networks": ["pods"], "map": [{"name": "everyone", "groups": []}]}],
    },
    {
        "networks": [
            {"name": "dc", "cidr": "10.42.0.0/16", "dual": "six", "reserved": ["10.42.0.0/30"], "cooldown_s": 60},
            {"name": "six", "cidr": "fd00:42::/48", "block_mask": 64},
            {"name": "cards", "cidr": "172.30.8.0/28", "block_mask": 30, "tenants": ["payments", "qa"], "owner": "tenant"},
        ],
        "topologies": [
            {"networks": ["dc"], "map": [
                {"name": "rack-1", "assignment": {"rack": "r1"}, "routing": "block-host-routes,prefix-announce-bgp:tor1"},
                {"name": "rack-2", "assignment": {"rack": "r2"}, "weight": 2,
                 "groups": [{"name": "odd", "groups": []}, {"name": "even", "assignment": {"row": "2"}, "groups": []}]},
            ]},
            {"networks": ["six"], "map": [
                {"name": "left", "cidr": "fd00:42::/50"}, {"name": "right", "cidr": "fd00:42:0:8000::/49"},
            ]},
            {"networks": ["cards"], "map": [
                {"name": "a", "groups": [{"name": "h1", "ip": "192.0.2.11"}, {"name": "h2", "ip": "192.0.2.12"}]}, {"name": "b"},
            ]},
        ],
    },
]  # fmt: skip

SCALARS: list[Tree] = [
    None, True, 0, -1, 2**70, 1.5, "", "x", "*", "a/b", "\n", "é" * 100, "10.0.0.0/8", "10.42.0.1", "fd00::/64", "::ffff:0:0/96",
    "0x1f", [], {}, [[]], [{}], {"": ""}, "node", "pods", "dc",
]  # fmt: skip
KEYS = [
    "name",
    "cidr",
    "groups",
    "map",
    "ip",
    "networks",
    "topologies",
    "assignment",
    "weight",
    "tenants",
    "naem",
    "",
    "a.b",
    "x\ny",
]


def paths_of(tree: Tree, at: Path = ()) -> list[Path]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(path for key, below in entries for path in paths_of(below, (*at, key)))]


def parent_of(tree: Tree, path: Path) -> Tree:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def set_to(tree: Tree, path: Path, value: Tree) -> None:
    parent_of(tree, path)[path[-1]] = copy.deepcopy(value)


def removed(tree: Tree, path: Path, _: Tree) -> None:
    del parent_of(tree, path)[path[-1]]


def doubled(tree: Tree, path: Path, _: Tree) -> None:
    parent = parent_of(tree, path)
    if isinstance(parent, list):
        parent.insert(int(path[-1]), copy.deepcopy(parent[int(path[-1])]))


def renamed(tree: Tree, path: Path, value: Tree) -> None:
    parent = parent_of(tree, path)
    if isinstance(parent, dict):
        parent[KEYS[len(str(value)) % len(KEYS)]] = parent.pop(path[-1])


def swapped(tree: Tree, path: Path, _: Tree) -> None:
    """With some other value of the same document."""
    others = [other for other in paths_of(tree) if other and other[: len(path)] != path and path[: len(other)] != other]
    if others:
        other = others[len(str(path)) % len(others)]
        here, there = parent_of(tree, path)[path[-1]], parent_of(tree, other)[other[-1]]
        set_to(tree, path, there)
        set_to(tree, other, here)


CHANGES: list[Callable[[Tree, Path, Tree], None]] = [set_to, set_to, removed, doubled, renamed, swapped]


@st.composite
def mutated(draw: st.DrawFn) -> Tree:
    tree = copy.deepcopy(draw(st.sampled_from(RIGHT)))
    for _ in range(draw(st.integers(1, 4))):
        paths = [path for path in paths_of(tree) if path]
        if paths:
            draw(st.sampled_from(CHANGES))(tree, draw(st.sampled_from(paths)), draw(st.sampled_from(SCALARS)))
    return tree


def text_of(tree: Tree, as_yaml: bool) -> bytes:
    return (yaml.safe_dump(tree, allow_unicode=True) if as_yaml else json.dumps(tree)).encode()


def read(raw: bytes) -> TopologyDocument | tuple[Fault, ...]:
    try:
        return read_document(raw)
    except InvalidInput as err:
        return err.faults


def check_reading(raw: bytes) -> None:
    found = read(raw)
    if isinstance(found, TopologyDocument):
        assert read_document(normalised(found)) == found
        assert all(prefix.cidr.prefixlen <= prefix.block_mask for prefix in carve(found))
        return
    assert found
    assert len(set(found)) == len(found)
    for fault in found:
        assert fault.message
        assert "\n" not in fault.path + fault.message
        assert len(fault.message) < 2000


@given(mutated(), st.booleans())
def test_a_document_with_something_wrong_is_right_after_all_or_refused_with_faults(tree: Tree, as_yaml: bool) -> None:
    check_reading(text_of(tree, as_yaml))


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=50_000, suppress_health_check=list(HealthCheck))
@given(mutated(), st.booleans())
def test_many_documents(tree: Tree, as_yaml: bool) -> None:
    check_reading(text_of(tree, as_yaml))


RACK = "topologies[0].map"
KNOWN: dict[str, tuple[Path, Tree]] = {
    "networks[0].cooldown_s": (("networks", 0, "cooldown_s"), -1),
    "networks[0].reserved[0]": (("networks", 0, "reserved", 0), "10.43.0.0/30"),
    "networks[1].block_mask": (("networks", 1, "block_mask"), 129),
    "networks[2].tenants[1]": (("networks", 2, "tenants", 1), "payments"),
    "networks[2].owner": (("networks", 2, "owner"), "pod"),
    f"{RACK}[0].routing": (("topologies", 0, "map", 0, "routing"), "fast"),
    f"{RACK}[0].assignment.rack": (("topologies", 0, "map", 0, "assignment", "rack"), 1),
    f"{RACK}[1].weight": (("topologies", 0, "map", 1, "weight"), 0),
    f"{RACK}[1].groups[0].name": (("topologies", 0, "map", 1, "groups", 0, "name"), "a/b"),
    f"{RACK}[1].groups[0].sise": (("topologies", 0, "map", 1, "groups", 0, "sise"), 1),
    f"{RACK}[1].groups[1].assignment.rack": (("topologies", 0, "map", 1, "groups", 1, "assignment"), {"rack": "r9"}),
    "topologies[1].map[1].cidr": (("topologies", 1, "map", 1, "cidr"), "fd00:42:0:4000::/49"),
    "topologies[2].map[0].groups[1].ip": (("topologies", 2, "map", 0, "groups", 1, "ip"), "192.0.2.11"),
}
"""By its path, a fault, and how it is made; any of them together, as none hides another."""


@given(st.sets(st.sampled_from(sorted(KNOWN)), min_size=1))
def test_all_faults_are_told_at_once_each_at_its_path(paths: set[str]) -> None:
    tree = copy.deepcopy(RIGHT[1])
    for path in paths:
        set_to(tree, *KNOWN[path])
    found = read(text_of(tree, as_yaml=False))
    assert isinstance(found, tuple)
    assert {fault.path for fault in found} == paths
    assert len(found) == len(paths)


async def apply_all(first: Tree, trees: list[Tree]) -> None:
    """What is refused leaves the document in force, and every key, as it was; an address that lives stays."""
    store = MemoryStore()
    ipamd = Ipamd(store, 5, lag_s=lambda: 0.0)
    following = asyncio.create_task(ipamd.follow())
    async with asyncio.timeout(60):
        while not ipamd.state.whole:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0)
    await ipamd.topologies.apply(read_document(text_of(first, as_yaml=False)))
    await ipamd.nodes.add("n1", "", (), {"rack": "r1"})
    held: list[Address] = [address.ip for address in (await granted(ipamd)).record.addresses]
    for tree in trees:
        before = await settled(ipamd, store)
        document = read(text_of(tree, as_yaml=False))
        if isinstance(document, TopologyDocument):
            try:
                await ipamd.topologies.apply(document)
            except Refused:
                assert await settled(ipamd, store) == before
        assert (await granted(ipamd)).existing
        networks = ipamd.state.require_topology().document.networks
        assert all(any(ip in network.cidr for network in networks) for ip in held)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await store.close()


async def granted(ipamd: Ipamd) -> Granted:
    """The addresses of one attachment; ipamd may have started just now."""
    while True:
        try:
            return await ipamd.allocations.allocate(Wanted(AttachmentId("n1", "c", "c", "eth0")))
        except Unavailable:
            await asyncio.sleep(0.001)


async def settled(ipamd: Ipamd, store: MemoryStore) -> object:
    async with asyncio.timeout(60):
        while ipamd.state.uneven:  # noqa: ASYNC110 - claims ahead, by the daemon's loop
            await asyncio.sleep(0.001)
    items = (await store.list("")).items
    return [item for item in items if not item.key.startswith(keys.JOURNAL)]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(RIGHT), st.lists(mutated(), min_size=1, max_size=8))
def test_what_is_refused_leaves_the_old_one_in_force(first: Tree, trees: list[Tree]) -> None:
    asyncio.run(apply_all(first, trees))
