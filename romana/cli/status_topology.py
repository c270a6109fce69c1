"""What `romana status` says of groups, of blocks on their way back, and of nodes that wait to move."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from romana.cli.checks import Check
from romana.v1.node_pb2 import PendingMove
from romana.v1.topology_pb2 import (
    NEED_COOLING,
    NEED_NEAR,
    NEED_OUT,
    FullGroup,
    ReturningBlock,
    ShortOwner,
    ShowResponse,
)

__all__ = ["full_lines", "moves_line", "returning_lines", "topology_checks"]

NAMED_MAX = 10

_WORDS = {
    NEED_OUT: "no address left for",
    NEED_COOLING: "only addresses that still cool for",
    NEED_NEAR: "no block to claim ahead for",
}


def topology_checks(answer: ShowResponse) -> list[Check]:
    """A line for full groups, always; for blocks that return and moves that wait, where there are any."""
    found = [_groups(answer.full)]
    if answer.returning:
        found.append(_returning(answer.returning))
    if answer.pending:
        found.append(Check("moves", ok=True, evidence="; ".join(map(moves_line, answer.pending[:NAMED_MAX]))))
    return found


def _groups(full: Sequence[FullGroup]) -> Check:
    urgent = [group for group in full if group.urgent]
    if urgent:
        evidence = "; ".join(_full_line(group) for group in urgent[:NAMED_MAX])
        return Check("groups", ok=False, evidence=evidence, next_step="; ".join(dict.fromkeys(urgent[0].help)))
    if full:
        names = ", ".join(_name(group) for group in full[:NAMED_MAX])
        step = "before nodes or pods are added there: romana topology forecast"
        return Check("groups", ok=True, evidence=f"full, and no node short of addresses: {names}", next_step=step)
    return Check("groups", ok=True, evidence="each has a block left")


def full_lines(full: Iterable[FullGroup]) -> list[str]:
    """Full groups for people: a line for each, and one for what would help."""
    return [line for group in full for line in (f"full: {_full_line(group)}", f"  would help: {'; '.join(group.help)}")]


def _full_line(group: FullGroup) -> str:
    short = [
        f"{words} {_owners([owner for owner in group.owners if owner.need == need])}"
        for need, words in _WORDS.items()
        if any(owner.need == need for owner in group.owners)
    ]
    return f"{_name(group)}, {group.blocks} blocks: {', '.join(short) or 'no node is short of addresses'}"


def _name(group: FullGroup) -> str:
    return f"{group.path} ({group.name}, {group.cidr})"


def _owners(owners: Sequence[ShortOwner]) -> str:
    shown = [f"{one.node} ({one.tenant}:{one.segment})" if one.tenant else one.node for one in owners[:NAMED_MAX]]
    return ", ".join(shown) + (f" and {len(owners) - NAMED_MAX} more" if len(owners) > NAMED_MAX else "")


def _returning(blocks: Sequence[ReturningBlock]) -> Check:
    lines = returning_lines(blocks[:NAMED_MAX]) + ([f"and {len(blocks) - NAMED_MAX} more"] if len(blocks) > NAMED_MAX else [])
    held = [block for block in blocks if block.held]
    step = f"romana ipam who IP names who holds them; node {held[0].node} was removed past ipamd" if held else ""
    return Check("returning", ok=not held, evidence="; ".join(lines), next_step=step)


def returning_lines(blocks: Iterable[ReturningBlock]) -> list[str]:
    """Blocks of nodes that are no more, for people."""
    return [f"block {block.cidr} of node {block.node}, which is gone, {_fate(block)}" for block in blocks]


def _fate(block: ReturningBlock) -> str:
    if block.held:
        return f"is kept by {block.held} held addresses"
    ready = datetime.fromtimestamp(block.ready.ToMilliseconds() / 1000).astimezone()
    return f"returns at {ready:%H:%M}"


def moves_line(move: PendingMove) -> str:
    """A node that waits to move, for people."""
    where = f"to {move.after}" if move.after else "out of the network, which has no group for it"
    return f"node {move.node} in {move.before} of network {move.network}: pending move {where} until drained"
