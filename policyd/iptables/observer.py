"""Reads what the kernel holds of ours, and remembers it so that not all is read each time. Blocking."""

import socket
from collections.abc import Iterator, Mapping

from policyd.ipset.kernel import FAMILIES, Sets
from policyd.ipset.model import Family, Header, IpSet
from policyd.ipset.reading import ReadSet, difference
from policyd.iptables.blob import Info, TableState
from policyd.iptables.frame import broken_frame
from policyd.iptables.memory import RuleMemory, SetMemory
from policyd.iptables.observed import Observed
from policyd.iptables.render import RuleSet
from policyd.iptables.table import read_info, read_table
from policyd.iptables.tables import LegacyTables
from romana.errors import Unavailable
from romana.names import HOST_INTERFACE_PREFIX

__all__ = ["Observer"]

SETS_EVERY = 10
"""Looks at rules for one at sets: a thousand of them take 15 ms of a CPU. An emptied set closes, a flushed FORWARD opens."""


class Observer:
    """Of the network namespace that the calling thread is in."""

    def __init__(self, tables: LegacyTables, sets: Sets) -> None:
        self._tables = tables
        self._sets = sets
        self._known_rules = RuleMemory()
        self._known_sets = SetMemory()
        self._states: dict[Family, TableState] = {}
        self._infos: dict[Family, Info | None] = {}
        self._looks = 0
        self.families = tuple(_present_families())
        """Families that the kernel has a legacy filter table for; IPv4 always."""

    def observe(self) -> dict[Family, Observed]:
        """What is there now, per family. Raises Unavailable."""
        headers = self._sets.headers()
        interfaces = frozenset(name for _, name in socket.if_nameindex() if name.startswith(HOST_INTERFACE_PREFIX))
        return {family: self._observe(family, headers, interfaces) for family in self.families}

    def wrote_rules(self, family: Family, state: TableState, rules: Mapping[str, tuple[str, ...]]) -> None:
        """We have just committed these chains; the state was read under the same lock."""
        self._states[family] = state
        self._known_rules.learn(family, state, rules)

    def made(self, desired: Mapping[Family, RuleSet]) -> Mapping[Family, TableState]:
        """The kernel has all of this now; its tables."""
        for rules in desired.values():
            for found in (rules.gate, *rules.sets.values()):
                self._known_sets.learn(found)
        self._looks = 0
        for family in self.families:
            if self._states[family].info != read_info(family):
                self._states[family] = read_table(family)
            state = self._states[family]
            # When somebody was at it since our commit, the next look must find it.
            self._infos[family] = None if any(self._differences(family, state)) else state.info
        return dict(self._states)

    def forget_sets(self, *names: str) -> None:
        """These sets, or all, may be anything now."""
        if names:
            for name in names:
                self._known_sets.forget(name)
        else:
            self._known_sets.forget()

    def drift(self, *, full: bool) -> Iterator[str]:
        """What is not as we left it; `full` reads every rule of ours and every set, otherwise outlines are looked at."""
        headers = self._sets.headers() if full or self._looks % SETS_EVERY == 0 else None
        self._looks += 1
        if headers is not None:
            yield from (f"set {name} is gone or has another number of members" for name in self._known_sets.lost(headers))
        for family in self.families:
            if full or read_info(family) != self._infos.get(family):
                yield from self._drift_of_rules(family)
        if full and headers is not None:
            yield from (f"set {name} has other members" for name in self._changed_sets(headers))

    def _observe(self, family: Family, headers: Mapping[str, Header], interfaces: frozenset[str]) -> Observed:
        state = self._states[family] = read_table(family)
        if self._known_rules.is_blank(family) and state.chains:
            self._read_rules(family, state)
        sets = {name: self._set(header) for name, header in headers.items() if header.family == family}
        return Observed(self._known_rules.recall(family, state), state.forward, sets, interfaces)

    def _read_rules(self, family: Family, state: TableState) -> None:
        """Learn rules that an earlier process left; where they cannot be printed they stay unknown, and are written anew."""
        try:
            saved = self._tables.saved(family)
        except Unavailable:
            return
        if read_table(family).chains == state.chains:  # nobody changed them while they were printed
            self._known_rules.learn(family, state, {name: text for name, text in saved.items() if name in state.chains})

    def _set(self, header: Header) -> IpSet | ReadSet | None:
        known = self._known_sets.recall(header)
        return known if known is not None else self._sets.read(header)

    def _drift_of_rules(self, family: Family) -> Iterator[str]:
        info = read_info(family)
        found = tuple(self._differences(family, read_table(family)))
        if not found:
            self._infos[family] = info  # others changed their own rules
        return iter(found)

    def _differences(self, family: Family, state: TableState) -> Iterator[str]:
        changed = [name for name, rules in self._known_rules.recall(family, state).items() if rules is None]
        yield from (f"IPv{family} chain {name} is not as we left it" for name in changed)
        yield from (f"IPv{family} chain {name} is gone" for name in self._known_rules.missing(family, state))
        if broken_frame(state.forward) is not None:
            yield f"IPv{family} FORWARD does not lead to our chains as it should"

    def _changed_sets(self, headers: Mapping[str, Header]) -> Iterator[str]:
        for name, header in headers.items():
            known = self._known_sets.recall(header)
            if known is None:
                continue
            present = self._sets.read(header)
            found = None if present is None else difference(known, present)
            if found is None or found.more or found.less:
                self._known_sets.forget(name)
                yield name


def _present_families() -> Iterator[Family]:
    for family in FAMILIES:
        try:
            read_info(family)
        except Unavailable:
            if family == 4:
                raise
            continue
        yield family
