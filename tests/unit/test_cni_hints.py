"""What a failed call says to do, by the reason of ipamd's refusal."""

import re

import pytest

from cni.agent_ipam import _error
from cni.errors import from_ipam
from cni.hints import HINTS
from romana.errors import Conflict, Exhausted, InvalidInput, NotFound, Refused, RomanaError, Unavailable
from romana.v1.ipam_pb2 import RequestError
from tests.stubs import ROOT

KINDS: dict[str, tuple[type[RomanaError], int, int]] = {
    "INVALID_ARGUMENT": (InvalidInput, 3, 7),
    "NOT_FOUND": (NotFound, 5, 11),
    "FAILED_PRECONDITION": (Refused, 9, 101),
    "RESOURCE_EXHAUSTED": (Exhausted, 8, 100),
    "ABORTED": (Conflict, 10, 11),
    "UNAVAILABLE": (Unavailable, 14, 11),
}


def reasons() -> list[tuple[str, str]]:
    """Status and reason, as proto/romana/v1/ipam.proto lists them."""
    text = (ROOT / "proto/romana/v1/ipam.proto").read_text().partition("syntax =")[0]
    found, status = [], ""
    for line in text.splitlines():
        named = re.fullmatch(r"//   ([A-Z_]*) +([A-Z_]+)  .*", line) or re.fullmatch(r"//   ([A-Z_]+) +([A-Z_]+) +\S.*", line)
        if named:
            status = named[1] or status
            found.append((status, named[2]))
    return found


def test_the_list_of_reasons_is_found_and_each_has_its_hint() -> None:
    listed = [reason for _, reason in reasons()]
    assert len(listed) == len(set(listed)) > 20
    assert set(listed) == set(HINTS)


def test_hints_differ_so_that_each_helps_with_its_own_reason() -> None:
    assert len(set(HINTS.values())) == len(HINTS)


@pytest.mark.parametrize(("status", "reason"), reasons())
def test_each_reason_has_its_code_and_its_own_hint_also_out_of_a_batch(status: str, reason: str) -> None:
    kind, number, code = KINDS[status]
    failed = from_ipam(kind("what is wrong", reason=reason))
    assert (failed.code, failed.msg, failed.details) == (code, "what is wrong", HINTS[reason])
    told = _error(RequestError(code=number, message="what is wrong", reason=reason))
    assert (from_ipam(told).code, from_ipam(told).details) == (code, HINTS[reason])


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("NODE_DRAINING", "romana node drain NODE --undo"),
        ("ADDRESS_RESERVED", "romana ipam release-reservation"),
        ("NODE_IN_NO_GROUP", "--label"),
        ("TENANT_NOT_ADMITTED", "`tenants`"),
        ("NETWORK_EXHAUSTED", "romana ipam show"),
    ],
)
def test_the_hint_names_what_helps(reason: str, helps: str) -> None:
    assert helps in HINTS[reason]


@pytest.mark.parametrize("kind", [kind for kind, _, _ in KINDS.values()])
def test_a_refusal_without_a_reason_has_a_hint_all_the_same(kind: type[RomanaError]) -> None:
    assert from_ipam(kind("x")).details
