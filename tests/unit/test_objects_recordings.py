"""What an API server 1.36 answered to NetworkPolicies is what we answer: fields, words, defaults, warnings.

The recordings lie beside the repository; without them the fixtures of test_objects_network_policies.py hold the rules."""

import json
from pathlib import Path
from typing import Any

import pytest

from romana.errors import Fault, InvalidInput
from romana.objects.decoding import decode_object
from romana.objects.kinds import NETWORK_POLICY
from romana.objects.manifest import parse
from romana.objects.models import PolicyObject
from tests.stubs import ROOT

RECORDINGS = ROOT.parent / "shared" / "kube" / "recordings"
REASONS = {
    "Invalid value": "FieldValueInvalid",
    "Required value": "FieldValueRequired",
    "Forbidden": "FieldValueForbidden",
    "Unsupported value": "FieldValueNotSupported",
}
# What the server refuses because of the address that the object was sent to, which a manifest has not.
OTHER_WORDS = {"other-api-version", "other-kind", "not-json", "empty-body", "namespace-absent"}
PREFIX = 'NetworkPolicy in version "v1" cannot be handled as a NetworkPolicy: '


def recorded(name: str) -> list[Any]:
    """The exchanges of a file, one parameter each; a single skipped one where there is no file."""
    path = RECORDINGS / f"validation-{name}.jsonl"
    if not path.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"no recordings at {path}"))]
    exchanges = [json.loads(line) for line in path.read_text().splitlines()]
    return [pytest.param(exchange, id=exchange["case"]) for exchange in exchanges]


def sent(exchange: dict[str, Any]) -> bytes:
    """The body of a request as it was sent."""
    body = exchange["request"]["body"]
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def cause(fault: Fault) -> dict[str, str]:
    """A fault as the API's Status has it."""
    return {"reason": REASONS[fault.message.partition(":")[0]], "message": fault.message, "field": fault.path}


@pytest.mark.parametrize("exchange", recorded("rejected"))
def test_what_the_server_refuses_is_refused_in_its_words(exchange: dict[str, Any]) -> None:
    if exchange["case"] in OTHER_WORDS:
        pytest.skip("not for what the object is, but for where it was sent: see the test of manifests and of the store")
    with pytest.raises(InvalidInput) as caught:
        parse(sent(exchange), "base", strict="fieldValidation=Strict" in exchange["request"]["path"])
    status, faults = exchange["body"], caught.value.faults
    if status["reason"] == "Invalid":
        assert [cause(fault) for fault in faults] == status["details"]["causes"]
    else:
        (fault,) = faults
        assert fault.message == status["message"].removeprefix(PREFIX)


@pytest.mark.parametrize("exchange", recorded("accepted"))
def test_what_the_server_accepts_is_defaulted_as_by_the_server(exchange: dict[str, Any]) -> None:
    body = sent(exchange)
    if "generateName" in exchange["body"]["metadata"]:
        with pytest.raises(InvalidInput, match="generate name"):
            parse(body, "base")
        body = body.replace(b"generateName", b"name").replace(b"p-", b"p-x")
    manifest = parse(body, "base")
    (policy,) = manifest.objects
    assert isinstance(policy, PolicyObject)
    assert policy.spec == exchange["body"]["spec"]
    warned = exchange["headers"].get("Warning", "")
    said = "\n".join('299 - "' + warning.replace('"', '\\"') + '"' for warning in manifest.warnings)
    assert said == warned


@pytest.mark.parametrize("exchange", recorded("accepted"))
def test_what_was_defaulted_stays_as_it_is(exchange: dict[str, Any]) -> None:
    again = decode_object(NETWORK_POLICY, "networking.k8s.io/v1", {**exchange["body"]}, strict=True)
    assert (again.faults, again.warnings == () or "RFC 5952" in again.warnings[0]) == ((), True)
    assert isinstance(again.value, PolicyObject)
    assert again.value.spec == exchange["body"]["spec"]


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")
def test_the_recordings_are_all_there() -> None:
    counts = {name: len((RECORDINGS / f"validation-{name}.jsonl").read_text().splitlines()) for name in ("rejected", "accepted")}
    assert counts == {"rejected": 74, "accepted": 53}


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {Path(RECORDINGS)}")
@pytest.mark.parametrize(
    "exchange", [exchange for exchange in recorded("rejected") if exchange.id in {"other-kind", "not-json", "empty-body"}]
)
def test_what_is_no_policy_at_all_is_refused_too(exchange: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse(sent(exchange), "base")
