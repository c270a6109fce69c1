"""`romana status`: every component, what it says of itself, and the next step where something is wrong."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from romana import keys
from romana.cli.checks import Check
from romana.cli.context import CALL_TIMEOUT_S, Exit, config, ipamd, run, store
from romana.cli.etcd_members import Member, ask_members, member_fault, member_row
from romana.cli.node import list_all
from romana.cli.output import Output, OutputOption, print_json, print_table, say
from romana.cli.recovery import ask_recovery
from romana.cli.status_topology import topology_checks
from romana.cli.topology import show_topology
from romana.errors import RomanaError, Unavailable
from romana.receipts import POLICYD_PREFIXES, ROUTED_PREFIXES, behind, newest_revisions
from romana.store.api import KeyValue, Store
from romana.v1.store_pb2 import Node, Receipt

__all__ = ["status"]

WAIT_TIMEOUT_S = 60.0
POLL_S = 0.5
NAMED_MAX = 10  # nodes that are waited for


def status(
    wait: Annotated[bool, typer.Option("--wait", help="Wait, at most 60 s, until all is well.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Every component with its evidence. Exit 1: something is wrong; 3: etcd or ipamd cannot be asked."""
    checks, members = run(_look())
    deadline = time.monotonic() + WAIT_TIMEOUT_S
    while wait and not all(check.ok for check in checks) and time.monotonic() < deadline:
        say("waiting for " + ", ".join(check.id for check in checks if not check.ok))
        time.sleep(POLL_S)
        checks, members = run(_look())
    if output is Output.JSON:
        rows_of_members = [asdict(member) for member in members]
        ok = all(check.ok for check in checks)
        print_json({"ok": ok, "checks": [asdict(check) for check in checks], "etcd_members": rows_of_members})
    else:
        rows = [("ok" if check.ok else "NOT OK", check.id, check.evidence, check.next_step) for check in checks]
        print_table(("", "component", "evidence", "next step"), rows, "")
        columns = ("etcd member", "state", "version", "revision", "database", "alarms")
        print_table(columns, map(member_row, members), "")
    if any(not check.ok for check in checks):
        unreachable = any(not check.ok and check.id in {"etcd", "ipamd"} for check in checks)
        raise typer.Exit(Exit.COULD_NOT_TELL if unreachable else Exit.FOUND)


async def _look() -> tuple[list[Check], list[Member]]:
    """Everything, and the members of etcd by themselves; one that is not well is a check of its own."""
    checks, members = await asyncio.gather(_checks(), ask_members())
    if len(members) > 1 or all(check.ok for check in checks if check.id == "etcd"):  # a single one that is away was told already
        found = ((one, member_fault(one)) for one in members)
        checks += [Check(f"etcd member {one.endpoint}", False, *fault) for one, fault in found if fault]
    return checks, members


async def _checks() -> list[Check]:
    # Asked at once: what cannot be reached takes its whole time to say so.
    (found, nodes), away = await asyncio.gather(_of_ipamd(), _etcd_away())
    if away:
        return [away, *found]
    try:
        async with store() as opened:
            found.insert(0, await _etcd(opened))
            found.extend(await _daemons(opened, nodes))
    except RomanaError as err:
        found.insert(0, _away(err))
    return found


async def _of_ipamd() -> tuple[list[Check], list[Node]]:
    found = [await _ipamd()]
    if not found[0].ok:
        return found, []
    found += await _topology()
    found += await _recovery()
    nodes = list((await list_all()).nodes)
    return [*found, _nodes(nodes)], nodes


async def _recovery() -> list[Check]:
    """Nothing to say unless the store was restored."""
    answer = await ask_recovery()
    if not answer.HasField("restored"):
        return []
    named = f"{', '.join(answer.waiting[:NAMED_MAX])}{' ...' if len(answer.waiting) > NAMED_MAX else ''}" or "none any more"
    step = "start romana-agent there; one that is gone for good: romana ipam recovery --without NODE"
    return [Check("recovery", ok=False, evidence=f"{answer.restored.reason}; waits for {named}", next_step=step)]


async def _etcd_away() -> Check | None:
    try:
        async with store():
            return None
    except RomanaError as err:
        return _away(err)


def _away(err: RomanaError) -> Check:
    return Check("etcd", ok=False, evidence=str(err), next_step="start etcd, or correct etcd.endpoints")


async def _etcd(opened: Store) -> Check:
    state = await opened.status()
    size = f"{state.db_size / 2**20:.1f} MiB"
    return Check("etcd", ok=state.leader != 0, evidence=f"{state.version}, revision {state.revision}, database {size}")


async def _ipamd() -> Check:
    request = health_pb2.HealthCheckRequest(service="romana.v1.Ipam")

    async def ask(channel: grpc.aio.Channel, left: float) -> health_pb2.HealthCheckResponse:
        answer: health_pb2.HealthCheckResponse = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=left)
        return answer

    endpoints = ", ".join(config().ipam.endpoints)
    try:
        async with ipamd() as client:
            answer = await client.call(ask, CALL_TIMEOUT_S)
    except Unavailable as err:
        return Check("ipamd", ok=False, evidence=str(err), next_step="start romana-ipamd, or correct ipam.endpoints")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return Check(
            "ipamd", ok=False, evidence=f"{endpoints} answers, but is not serving", next_step="it waits for etcd: see its log"
        )
    return Check("ipamd", ok=True, evidence=f"serving at {endpoints}")


async def _topology() -> list[Check]:
    answer = await show_topology()
    if not answer.document:
        return [Check("topology", ok=False, evidence="none is in force", next_step="romana topology apply FILE")]
    networks = len({prefix.network for prefix in answer.prefixes})
    groups = sum(not prefix.pad for prefix in answer.prefixes)
    evidence = f"generation {answer.generation}, {networks} networks, {groups} groups"
    return [Check("topology", ok=True, evidence=evidence), *topology_checks(answer)]


def _nodes(nodes: Iterable[Node]) -> Check:
    names = [node.name for node in nodes]
    homeless = [node.name for node in nodes if not node.placements]
    if homeless:
        step = "romana topology show, then give them labels that a group asks for"
        return Check("nodes", ok=False, evidence=f"in no group: {', '.join(homeless)}", next_step=step)
    if not names:
        return Check("nodes", ok=False, evidence="none", next_step="romana node add NAME --address IP")
    return Check("nodes", ok=True, evidence=f"{len(names)}, each in a group")


async def _daemons(opened: Store, nodes: Iterable[Node]) -> list[Check]:
    """Compares what each daemon says is in its kernel with what etcd holds now."""
    found: list[Check] = []
    for daemon, prefixes in (("routed", ROUTED_PREFIXES), ("policyd", POLICYD_PREFIXES)):
        newest = await newest_revisions(opened, prefixes)
        receipts = {node.name: await opened.get(keys.receipt(node.name, daemon)) for node in nodes}
        found += [_receipt(daemon, node, item, newest) for node, item in receipts.items()]
    return found


def _receipt(daemon: str, node: str, item: KeyValue | None, newest: dict[str, int]) -> Check:
    name = f"{daemon} on {node}"
    if item is None:
        return Check(
            name, ok=False, evidence="no receipt: it does not run, or etcd is out of its reach", next_step="see its log there"
        )
    receipt = Receipt.FromString(item.value)
    if receipt.problems:
        problems = "; ".join(problem.text for problem in receipt.problems)
        return Check(name, ok=False, evidence=problems, next_step="mend that on the node")
    if late := behind(receipt, newest):
        return Check(name, ok=False, evidence=f"behind on {', '.join(late)}", next_step="romana status --wait")
    what = f"{receipt.backend}, in the kernel as of revision {max(newest.values(), default=0)}"
    return Check(name, ok=True, evidence=what)
