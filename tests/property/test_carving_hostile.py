"""Whatever the bytes, reading a document gives a right document or one InvalidInput; carving and the normal form then succeed."""

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ipam.topology.carving import carve
from ipam.topology.document import TopologyDocument, normalised
from ipam.topology.reading import read_document
from romana.errors import Fault, InvalidInput

KEYS = st.sampled_from(
    ["networks", "topologies", "map", "groups", "name", "cidr", "ip", "block_mask", "tenants", "assignment", "routing", "x"]
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 200),
    st.floats(allow_nan=False),
    st.sampled_from(["a", "b", "10.0.0.0/8", "10.0.0.0/30", "fd00::/64", "192.0.2.1", "block-on-host", "", "é", "\n"]),
)
TREES = st.recursive(ATOMS, lambda child: st.lists(child, max_size=4) | st.dictionaries(KEYS, child, max_size=4), max_leaves=30)

NETWORKS = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"]), "cidr": st.sampled_from(["10.0.0.0/8", "10.1.0.0/30", "fd00::/64"])},
    optional={"block_mask": st.integers(7, 33) | TREES, "tenants": st.lists(st.sampled_from(["t", "u"]), max_size=2) | TREES},
)
HOSTS = st.fixed_dictionaries({"name": st.sampled_from(["h1", "h2"]), "ip": st.sampled_from(["192.0.2.1", "192.0.2.2"])})
LABELS = st.dictionaries(st.sampled_from(["rack", "zone"]), st.sampled_from(["1", "2"]))
GROUPS = st.recursive(
    st.fixed_dictionaries({"name": st.just("g")}, optional={"groups": st.lists(HOSTS, max_size=2), "assignment": LABELS}),
    lambda child: st.fixed_dictionaries(
        {"name": st.just("p"), "groups": st.lists(child, max_size=3) | TREES}, optional={"assignment": LABELS, "routing": ATOMS}
    ),
    max_leaves=6,
)
TOPOLOGIES = st.fixed_dictionaries(
    {"networks": st.lists(st.sampled_from(["a", "b"]), max_size=2), "map": st.lists(GROUPS, max_size=4)}
)
NEAR = st.fixed_dictionaries(
    {"networks": st.lists(NETWORKS, max_size=3), "topologies": st.lists(TOPOLOGIES, min_size=1, max_size=2)}
)


def read_or_faults(raw: bytes) -> TopologyDocument | tuple[Fault, ...]:
    try:
        return read_document(raw)
    except InvalidInput as err:
        return err.faults


def check(raw: bytes) -> None:
    document = read_or_faults(raw)
    if isinstance(document, tuple):
        assert document
        assert len(set(document)) == len(document)
        return
    assert read_document(normalised(document)) == document
    prefixes = carve(document)
    assert all(prefix.cidr.prefixlen <= prefix.block_mask for prefix in prefixes)


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    check(raw)


@given(st.text(alphabet="networks:[]{}\"'\n -&*!<0123456789./,#|>?%@\t", max_size=120))
def test_any_text_that_looks_like_yaml(text: str) -> None:
    check(text.encode())


@given(TREES)
def test_any_tree(tree: Any) -> None:
    check(json.dumps(tree).encode())


@given(NEAR, st.booleans())
def test_nearly_right_documents(tree: Any, as_yaml: bool) -> None:
    check((yaml.safe_dump(tree) if as_yaml else json.dumps(tree)).encode())
