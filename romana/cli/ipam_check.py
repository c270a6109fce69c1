"""`romana ipam check [--repair]`: what in the store belongs to nobody any more, or disagrees with itself, with the evidence.

It reads the store itself, at one revision, and asks the agents by way of every ipamd: each hears those that call it. Repairs are
ipamd's: this command only says what it saw twice.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ipam.check.decision import Sightings, findings
from ipam.check.finding import Finding, Presence
from ipam.check.liveness import Presences
from ipam.check.reading import whole
from romana.cli.context import Exit, config, run, store
from romana.cli.output import Output, OutputOption, print_json, print_table, say
from romana.errors import RomanaError, Unavailable
from romana.rpc.client import Client
from romana.store.api import Get, Store
from romana.store.limits import MAX_OPS
from romana.v1 import check_pb2
from romana.v1.check_pb2_grpc import CheckStub

__all__ = ["check"]

REPAIR_TIMEOUT_S = 60.0
REPAIRS_IN_CALL = 200
ANSWER_S = 5.0  # for the call that waits for agents to come back


def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what is seen twice, ipam.check_apart_s apart, with the same evidence.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, max=60, help="How long to wait for agents to say what is on their nodes.")
    ] = 15.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Everything that is wrong with addresses, with the evidence. Exit 1: something is (left). Reads only, but for --repair.

    What nobody can tell counts as live: an attachment whose node's agent is not heard is never called a leak.
    """
    done = run(_check(wait_s, repair=repair))
    left = [finding for finding in done.found if done.outcomes.get(finding) != "repaired"]
    if output is Output.JSON:
        print_json(_document(done))
    else:
        _print(done, repair=repair)
    if left:
        raise typer.Exit(Exit.FOUND)


@dataclass(frozen=True, slots=True)
class _Sighting:
    revision: int
    asked: int
    presences: Presences
    found: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Done:
    revision: int
    asked: int
    heard: int
    found: tuple[Finding, ...]
    outcomes: dict[Finding, str]


async def _check(wait_s: float, *, repair: bool) -> _Done:
    async with store() as opened:
        first = await _look(opened, wait_s)
        if not repair or not any(finding.repair for finding in first.found):
            return _Done(first.revision, first.asked, len(first.presences), first.found, {})
        apart_s = config().ipam.check_apart_s
        sightings, _ = Sightings().seen(first.found, time.monotonic(), apart_s)
        say(f"{sum(finding.repair is not None for finding in first.found)} can be repaired; looking again in {apart_s:g} s")
        await asyncio.sleep(apart_s)
        second = await _look(opened, wait_s)
        _, confirmed = sightings.seen(second.found, time.monotonic(), apart_s)
        outcomes = await _repair(confirmed, second.presences)
        return _Done(second.revision, second.asked, len(second.presences), second.found, outcomes)


async def _look(opened: Store, wait_s: float) -> _Sighting:
    """One sighting: the store first, then the agents, then once more what was found: a pod that went meanwhile is no leak."""
    snapshot = await whole(opened)
    nodes = {*snapshot.nodes, *(key.split("/")[1] for key in snapshot.attachments)}
    presences = await _presences(sorted(nodes), wait_s) if wait_s else {}
    found = findings(snapshot, presences)
    now = await _revisions(opened, {fact.what for finding in found for fact in finding.evidence if fact.is_key})
    stands = (finding for finding in found if all(now[fact.what] == fact.revision for fact in finding.evidence if fact.is_key))
    return _Sighting(snapshot.revision, len(nodes), presences, tuple(stands))


async def _revisions(opened: Store, names: set[str]) -> dict[str, int]:
    """The mod_revision of each key, 0 for an absent one."""
    ordered, now = sorted(names), dict.fromkeys(names, 0)
    for start in range(0, len(ordered), MAX_OPS):
        result = await opened.txn([], [Get(name) for name in ordered[start : start + MAX_OPS]])
        now |= {item.key: item.mod_revision for group in result.gets for item in group}
    return now


async def _presences(nodes: list[str], wait_s: float) -> Presences:
    """What agents say, from every ipamd at once; one that does not answer leaves its agents unheard, which counts as live."""
    if wait_s > 2:
        say(f"asking the agents of {len(nodes)} nodes what is there, for {wait_s:g} s at most")
    answers = await asyncio.gather(*(_ask(endpoint, nodes, wait_s) for endpoint in config().ipam.endpoints))
    return {presence.node: presence for answer in answers for presence in answer}


async def _ask(endpoint: str, nodes: list[str], wait_s: float) -> list[Presence]:
    request = check_pb2.AskPresenceRequest(nodes=nodes, wait_ms=round(wait_s * 1000))
    try:
        async with Client([endpoint]) as client:
            answer = await client.call(
                lambda channel, left: CheckStub(channel).AskPresence(request, timeout=left), wait_s + ANSWER_S
            )
    except Unavailable as err:
        say(f"agents that call {endpoint} are not heard: {err}")
        return []
    return [Presence(each.node, each.boot_id, frozenset(each.interfaces)) for each in answer.presences]


async def _repair(confirmed: tuple[Finding, ...], presences: Presences) -> dict[Finding, str]:
    outcomes: dict[Finding, str] = {}
    async with Client(config().ipam.endpoints) as client:
        for start in range(0, len(confirmed), REPAIRS_IN_CALL):
            part = confirmed[start : start + REPAIRS_IN_CALL]
            try:
                answer = await _send(client, _request(part, presences))
            except RomanaError as err:
                say(f"{len(confirmed) - start} are left: {err}")
                break
            outcomes |= dict(zip(part, map(_word, answer.outcomes), strict=True))
    return outcomes


async def _send(client: Client, request: check_pb2.RepairRequest) -> check_pb2.RepairResponse:
    return await client.call(lambda channel, left: CheckStub(channel).Repair(request, timeout=left), REPAIR_TIMEOUT_S)


def _request(part: tuple[Finding, ...], presences: Presences) -> check_pb2.RepairRequest:
    refs = (
        check_pb2.FindingRef(
            kind=finding.kind,
            subject=finding.subject,
            node=finding.node,
            evidence=[check_pb2.Evidence(what=fact.what, revision=fact.revision, text=fact.text) for fact in finding.evidence],
        )
        for finding in part
    )
    spoken = (presences[node] for node in {finding.node for finding in part} & presences.keys())
    words = (check_pb2.Presence(node=one.node, boot_id=one.boot_id, interfaces=sorted(one.interfaces)) for one in spoken)
    return check_pb2.RepairRequest(findings=refs, presences=words)


def _word(outcome: check_pb2.RepairOutcome) -> str:
    return "repaired" if outcome.state == check_pb2.REPAIR_STATE_REPAIRED else "changed"


def _document(done: _Done) -> dict[str, Any]:
    return {
        "revision": done.revision,
        "nodes_asked": done.asked,
        "nodes_heard": done.heard,
        "findings": [_entry(finding, done.outcomes.get(finding, "")) for finding in done.found],
    }


def _entry(finding: Finding, outcome: str) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "subject": finding.subject,
        "ip": finding.ip,
        "node": finding.node,
        "since": _time(finding.since_ms),
        "evidence": [{"what": fact.what, "revision": fact.revision, "text": fact.text} for fact in finding.evidence],
        "repair": finding.repair.value if finding.repair else None,
        "action": finding.action,
        "outcome": outcome,
    }


def _print(done: _Done, *, repair: bool) -> None:
    rows = [
        (
            finding.kind.value,
            finding.ip,
            finding.node,
            "\n".join(f"{fact.what}{f'@{fact.revision}' if fact.is_key else ''}: {fact.text}" for fact in finding.evidence),
            _time(finding.since_ms) or "",
            _told(finding, done.outcomes, repair=repair),
        )
        for finding in done.found
    ]
    print_table(
        ("Finding", "Address", "Node", "Evidence", "Since", "Repair"), rows, f"nothing is wrong at revision {done.revision}"
    )
    if done.heard < done.asked:
        say(f"{done.asked - done.heard} of {done.asked} agents were not heard: what lives there is not known, and counts as live")


def _told(finding: Finding, outcomes: dict[Finding, str], *, repair: bool) -> str:
    outcome = outcomes.get(finding, "")
    if outcome:
        return f"{outcome}: {finding.action}"
    return f"left: {finding.action}" if repair else finding.action


def _time(at_ms: int) -> str | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at_ms else None
