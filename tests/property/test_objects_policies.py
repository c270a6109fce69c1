"""Whatever is given: accepted objects stay as they are when read again, and nothing but InvalidInput comes of the rest."""

import json
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from romana.errors import InvalidInput
from romana.objects.json_values import JsonObject
from romana.objects.kinds import NETWORK_POLICY
from romana.objects.manifest import identities, parse
from romana.objects.models import PolicyObject
from romana.objects.shapes import Decoded, Dropped, ListOf, MapOf, Scalar, Shape, decode
from romana.objects.tables import selector_text, table
from romana.objects.v1_shapes import NETWORK_POLICY as SHAPE

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8).filter(lambda word: word[0].isalpha())
LABELS = st.dictionaries(WORDS | WORDS.map("example.com/{}".format), WORDS | st.just(""), max_size=3)


def requirement(operator: str) -> st.SearchStrategy[dict[str, Any]]:
    """An entry of matchExpressions."""
    values = st.lists(WORDS, min_size=1, max_size=3) if operator in {"In", "NotIn"} else st.sampled_from([None, []])
    return st.fixed_dictionaries({"key": WORDS, "operator": st.just(operator), "values": values})


SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.none() | LABELS,
        "matchExpressions": st.lists(st.one_of(*map(requirement, ("In", "NotIn", "Exists", "DoesNotExist"))), max_size=2),
    },
)
BLOCKS = st.sampled_from(
    [
        {"cidr": "10.0.0.0/8"},
        {"cidr": "10.0.0.0/8", "except": []},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16"]},
        {"cidr": "2001:DB8::/32", "except": ["2001:db8:1::/48"]},
    ]
)
PEERS = st.one_of(
    st.fixed_dictionaries({"podSelector": SELECTORS}, optional={"namespaceSelector": SELECTORS}),
    st.fixed_dictionaries({"namespaceSelector": SELECTORS, "podSelector": st.none()}),
    st.fixed_dictionaries({"ipBlock": BLOCKS}),
)
PROTOCOLS = st.sampled_from([None, "TCP", "UDP", "SCTP"])
PORTS = st.one_of(
    st.fixed_dictionaries({"protocol": PROTOCOLS, "port": st.integers(1, 100), "endPort": st.none() | st.integers(100, 65535)}),
    st.fixed_dictionaries({}, optional={"protocol": PROTOCOLS, "port": WORDS | st.integers(1, 65535) | st.none()}),
)


def rules(peers: str) -> st.SearchStrategy[Any]:
    """A list of rules of one direction."""
    optional = {"ports": st.none() | st.lists(PORTS, max_size=2), peers: st.none() | st.lists(PEERS, max_size=2)}
    rule = st.none() | st.fixed_dictionaries({}, optional=optional)
    return st.none() | st.lists(rule, max_size=3)


SPECS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "podSelector": st.none() | SELECTORS,
        "ingress": rules("from"),
        "egress": rules("to"),
        "policyTypes": st.none() | st.lists(st.sampled_from(["Ingress", "Egress"]), max_size=2),
    },
)
POLICIES = st.builds(
    lambda name, labels, spec: {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": labels, "namespace": "team"},
        "spec": spec,
    },
    WORDS,
    LABELS,
    SPECS,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "x" * 300]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3),
    max_leaves=6,
)


def shaped(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that nearly have a shape: any part of it may be anything."""
    if isinstance(shape, ListOf):
        return ANYTHING | st.lists(shaped(shape.item), max_size=2)
    if isinstance(shape, MapOf):
        return ANYTHING | st.dictionaries(st.text(max_size=4), ANYTHING, max_size=2)
    if isinstance(shape, Dropped | Scalar):
        return ANYTHING
    parts = {name: shaped(field.shape) for name, field in shape.fields.items()}
    return ANYTHING | st.fixed_dictionaries({}, optional=parts)


def as_given(policy: PolicyObject) -> bytes:
    """A policy that was accepted, as a manifest."""
    metadata = {"name": policy.name, "namespace": policy.namespace, "labels": policy.labels, "annotations": policy.annotations}
    header = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return json.dumps({**header, "metadata": metadata, "spec": policy.spec}).encode()


@given(POLICIES)
def test_an_accepted_policy_is_unchanged_when_it_is_read_again(given_policy: dict[str, Any]) -> None:
    (first,) = parse(json.dumps(given_policy).encode()).objects
    assert isinstance(first, PolicyObject)
    assert first.spec["policyTypes"]
    assert parse(as_given(first), "team", strict=True).objects == (first,)


@given(POLICIES)
def test_yaml_and_json_of_one_policy_are_one_policy(given_policy: dict[str, Any]) -> None:
    text = json.dumps(given_policy)
    as_yaml = f"# YAML, since JSON has no comments\n{text}"
    assert parse(as_yaml.encode()) == parse(text.encode())


@given(POLICIES)
def test_every_accepted_policy_has_a_line_in_the_table(given_policy: dict[str, Any]) -> None:
    (policy,) = parse(json.dumps(given_policy).encode()).objects
    assert isinstance(policy, PolicyObject)
    document = {"metadata": {"name": policy.name}, "spec": policy.spec}
    assert len(table(NETWORK_POLICY, [document], with_namespace=True)) == 2
    assert selector_text(policy.spec["podSelector"])


@settings(max_examples=300)
@given(shaped(SHAPE))
def test_decoding_takes_anything_and_what_it_gives_decodes_to_itself(value: Any) -> None:
    found = Decoded()
    decoded = decode(value, SHAPE, found)
    again = Decoded(strict=True)
    assert decode(decoded, SHAPE, again) == decoded
    assert again.faults == []
    for fault in found.faults:
        str(fault).encode()


@settings(max_examples=300)
@given(st.sampled_from(["NetworkPolicy", "Pod", "Namespace", "List", "PodList"]), st.booleans(), shaped(SHAPE))
def test_hostile_objects_are_refused_and_nothing_else_happens(kind: str, strict: bool, value: Any) -> None:
    version = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
    document = {**(value if isinstance(value, dict) else {"items": value}), "apiVersion": version, "kind": kind}
    text = json.dumps(document).encode()
    for read in (lambda: parse(text, strict=strict), lambda: identities(text)):
        try:
            read()
        except InvalidInput as err:
            str(err).encode()


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"#%@ \n\tab1~<?=.", max_size=60).map(str.encode))
def test_hostile_bytes_are_refused_and_nothing_else_happens(text: bytes) -> None:
    try:
        parse(text)
    except InvalidInput as err:
        str(err).encode()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3))))
def test_an_object_is_its_last_fields_and_knows_its_repetitions(pairs: list[tuple[str, int]]) -> None:
    names = [name for name, _ in pairs]
    found = JsonObject((name, value) for name, value in pairs)
    assert found == dict(pairs)
    assert set(found.duplicates) == {name for name in names if names.count(name) > 1}
