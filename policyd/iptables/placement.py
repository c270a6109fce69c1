"""Which rules each interface is led to, read from rendered trees and from those in the kernel. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from policyd.iptables.render import TREES
from policyd.iptables.rule import Chains

__all__ = ["Places", "is_tree_chain", "places_found", "places_wanted"]

Places: TypeAlias = Mapping[tuple[str, str], str]
"""A group's chain by tree and interface."""

_PLACED = re.compile(r"-[io] (rom[0-9a-f]+) -g (ROMANA-\S+)")
_BRANCH = re.compile(r"-[io] rom[0-9a-f]*\+ -g ROMANA-\S+")
_TREE = re.compile("(" + "|".join(root for root, *_ in TREES) + ")(?:-[0-9a-f]+)?")


def is_tree_chain(name: str) -> bool:
    """True for a root and for what branches from one."""
    return _TREE.fullmatch(name) is not None


def places_wanted(chains: Chains) -> Places:
    """The places of rendered chains."""
    return {
        (root, interface): rule.target.name
        for name, rules in chains.items()
        if (root := _root(name))
        for rule in rules
        if not (interface := rule.in_interface or rule.out_interface).endswith("+")
    }


def places_found(chains: Mapping[str, tuple[str, ...] | None]) -> Places | None:
    """The places of chains in the kernel; None when a tree holds what is no part of one."""
    found: dict[tuple[str, str], str] = {}
    for root, rule in _tree_rules(chains):
        if placed := _PLACED.fullmatch(rule):
            found[root, placed[1]] = placed[2]
        elif not _BRANCH.fullmatch(rule):
            return None
    return found


def _tree_rules(chains: Mapping[str, tuple[str, ...] | None]) -> Iterator[tuple[str, str]]:
    for name, rules in chains.items():
        if root := _root(name):
            yield from ((root, rule) for rule in rules or ())


def _root(chain: str) -> str:
    found = _TREE.fullmatch(chain)
    return found[1] if found else ""
