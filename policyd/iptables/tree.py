"""Prefix trees on interface names: a packet finds its pod's group in a bounded number of rules. Pure.

root:  -i rom0+ -g root-0 ; -i rom1+ -g root-1 ...      root-0:  -i rom0a12... -g the group's chain

Names end in hex digits of a hash, so the tree is balanced by itself. Nothing returns to a node: all is goto, so a packet that
finds nothing goes back to where the root was jumped to from.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from policyd.iptables.names import tree_chain
from policyd.iptables.rule import Rule, Target
from romana.names import HOST_INTERFACE_PREFIX

__all__ = ["Side", "tree"]

Side: TypeAlias = Literal["in", "out"]

LEAF_MAX = 24
"""More interfaces than this are split by their next digit. Smaller leaves save a packet a few comparisons of some ns, but 250
pods would need 230 chains a tree instead of 17, and every commit hands the whole table to the kernel."""


def tree(root: str, side: Side, places: Mapping[str, str]) -> dict[str, tuple[Rule, ...]]:
    """The chains that lead from `root` to the chain that `places` gives for the packet's interface on that side."""
    return dict(_nodes(root, side, places, sorted(places), ""))


def _nodes(
    root: str, side: Side, places: Mapping[str, str], interfaces: Sequence[str], prefix: str
) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    if len(interfaces) <= LEAF_MAX:
        yield tree_chain(root, prefix), tuple(_rule(side, name, places[name]) for name in interfaces)
        return
    at = len(HOST_INTERFACE_PREFIX) + len(prefix)
    branches: dict[str, list[str]] = {}
    for name in interfaces:
        branches.setdefault(name[at : at + 1], []).append(name)
    ends = tuple(_rule(side, name, places[name]) for name in branches.pop("", ()))
    yield (
        tree_chain(root, prefix),
        ends
        + tuple(_rule(side, f"{HOST_INTERFACE_PREFIX}{prefix}{digit}+", tree_chain(root, prefix + digit)) for digit in branches),
    )
    for digit, below in branches.items():
        yield from _nodes(root, side, places, below, prefix + digit)


def _rule(side: Side, interface: str, chain: str) -> Rule:
    target = Target(chain, goto=True)
    return Rule(target, in_interface=interface) if side == "in" else Rule(target, out_interface=interface)
