"""The rules of NetworkPolicies that no recording shows, and v1beta1 as the blog of 2016 wrote it."""

import json
from typing import Any

import pytest

from romana.errors import InvalidInput
from romana.objects.manifest import parse
from romana.objects.models import PolicyObject

POL1 = """
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {name: pol1}
spec:
  podSelector: {matchLabels: {role: backend}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: frontend}}}]
    ports: [{protocol: tcp, port: 80}]
"""


def policy(spec: Any, **metadata: Any) -> bytes:
    """A manifest of one policy."""
    header = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return json.dumps({**header, "metadata": {"name": "p", **metadata}, "spec": spec}).encode()


def faults(spec: Any, **metadata: Any) -> list[str]:
    """The faults of a policy that is refused, as text."""
    with pytest.raises(InvalidInput) as caught:
        parse(policy(spec, **metadata))
    return [str(fault) for fault in caught.value.faults]


def block(cidr: object, *excepted: object) -> dict[str, Any]:
    """A spec with one ipBlock."""
    return {"ingress": [{"from": [{"ipBlock": {"cidr": cidr, "except": list(excepted)}}]}]}


def test_the_blogs_policy_is_taken_with_a_warning() -> None:
    manifest = parse(POL1.encode())
    assert manifest.objects == (
        PolicyObject(
            "default",
            "pol1",
            {
                "podSelector": {"matchLabels": {"role": "backend"}},
                "ingress": [
                    {
                        "ports": [{"protocol": "TCP", "port": 80}],
                        "from": [{"podSelector": {"matchLabels": {"role": "frontend"}}}],
                    }
                ],
                "policyTypes": ["Ingress"],
            },
        ),
    )
    assert manifest.warnings == ('spec.ingress[0].ports[0].protocol: "tcp" is taken as "TCP"; networking.k8s.io/v1 refuses it',)


def test_lower_case_protocols_are_refused_in_v1() -> None:
    with pytest.raises(InvalidInput, match=r'spec\.ingress\[0\]\.ports\[0\]\.protocol: Unsupported value: "tcp"'):
        parse(POL1.replace("extensions/v1beta1", "networking.k8s.io/v1").encode())


def test_other_words_are_no_protocol_in_v1beta1_either() -> None:
    with pytest.raises(InvalidInput, match='Unsupported value: "icmp"'):
        parse(POL1.replace("tcp", "icmp").encode())


@pytest.mark.parametrize(
    ("cidr", "rule"),
    [
        ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
        ("::ffff:010.0.0.0/104", "must not have leading 0s in IP or prefix length"),
        ("::ffff:10.0.0.0/90", "must not have an IPv4-mapped IPv6 address"),
        ("2001:db8::1/64", "must not have bits set beyond the prefix length"),
        ("10.0.0.0/255.0.0.0", "must be a valid CIDR value"),
        ("10.0.0.0/-1", "must be a valid CIDR value"),
        ("10.0.0.0/8/8", "must be a valid CIDR value"),
        ("10.0.0.0/", "must be a valid CIDR value"),
        ("10.0.0.0/\u0668", "must be a valid CIDR value"),
        ("10.0.0/8", "must be a valid CIDR value"),
        ("::/129", "must be a valid CIDR value"),
        ("fe80::%eth0/64", "must be a valid CIDR value"),
        ("10.0.0.0/" + "9" * 5000, "must be a valid CIDR value"),
    ],
)
def test_cidrs_are_judged_strictly(cidr: str, rule: str) -> None:
    (fault,) = faults(block(cidr))
    assert fault.startswith("spec.ingress[0].from[0].ipBlock.cidr: Invalid value: ")
    assert rule in fault


def test_exceptions_of_a_block_that_cannot_be_read_are_not_judged() -> None:
    assert len(faults(block("x", "y"))) == 1
    assert len(faults(block("10.0.0.0/16", "y", "10.0.0.0/17", "11.0.0.0/8"))) == 2


def test_exceptions_in_another_spelling_are_warned_of() -> None:
    manifest = parse(policy(block("2001:db8::/32", "2001:DB8:0:1::/64")))
    assert manifest.warnings == (
        'spec.ingress[0].from[0].ipBlock.except[0]: IPv6 CIDR value "2001:DB8:0:1::/64" should be in RFC 5952 canonical format'
        ' ("2001:db8:0:1::/64")',
    )


@pytest.mark.parametrize(
    ("key", "rules"),
    [
        ("x" * 64, ["name part must be no more than 63 bytes"]),
        ("/x", ["prefix part must be non-empty"]),
        ("a/", ["name part must be non-empty", "name part must consist of"]),
        ("a" * 254 + "/x", ["prefix part must be no more than 253 bytes"]),
        ("a\n", ["name part must consist of"]),
        ("é", ["name part must consist of"]),
    ],
)
def test_keys_of_labels_are_judged_part_by_part(key: str, rules: list[str]) -> None:
    found = faults({"podSelector": {"matchLabels": {key: "v"}}})
    assert [rule in fault for rule, fault in zip(rules, found, strict=True)] == [True] * len(rules)


def test_annotations_may_have_upper_case_prefixes_but_no_megabyte() -> None:
    parse(policy({}, annotations={"Example.COM/x": "y" * 262_000}))
    assert faults({}, annotations={"x": "y" * 262_144}) == ["metadata.annotations: Too long: may not be more than 262144 bytes"]


def test_egress_peers_and_ports_have_paths_of_their_own() -> None:
    spec = {"egress": [{"to": [{}], "ports": [{"port": "a-"}]}]}
    assert faults(spec) == [
        'spec.egress[0].ports[0].port: Invalid value: "a-": must not begin or end with a hyphen',
        "spec.egress[0].to[0]: Required value: must specify a peer",
    ]


def test_all_wrong_types_are_named_and_only_they() -> None:
    spec = {"podSelector": [], "ingress": [3, {"from": {}, "ports": [{"endPort": "1", "port": {}}]}], "policyTypes": [1, "x"]}
    found = faults(spec, name="N", labels={"a": 1}, annotations=3)
    assert [fault.partition(":")[0] for fault in found] == [
        "metadata.labels",
        "metadata.annotations",
        "spec.podSelector",
        "spec.ingress[0]",
        "spec.ingress[1].ports[0].port",
        "spec.ingress[1].ports[0].endPort",
        "spec.ingress[1].from",
        "spec.policyTypes[0]",
    ]


def test_a_generated_name_is_judged_and_then_refused() -> None:
    assert faults({}, name=None, generateName="p-") == ["metadata.generateName: cannot use generate name with apply"]
    assert faults({}, name=None, generateName="Px-")[0].startswith('metadata.generateName: Invalid value: "Px-"')


def test_half_a_surrogate_pair_is_text_that_breaks_the_rules() -> None:
    (fault,) = faults({"podSelector": {"matchLabels": {"a": "\ud800"}}})
    fault.encode()
    assert "\ufffd" in fault
