"""What we last found or made in the kernel, so that an apply need not read everything again. Pure.

Rules are remembered with the digest of their chain and sets with their number of members: what somebody else has changed is found
by that, and then it is unknown and made anew. A restart remembers nothing and reads all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policyd.ipset.model import Family, Header, IpSet
from policyd.iptables.blob import TableState

__all__ = ["RuleMemory", "SetMemory"]


@dataclass(slots=True)
class RuleMemory:
    """Rules by family and chain."""

    _known: dict[Family, dict[str, tuple[bytes, tuple[str, ...]]]] = field(default_factory=dict)

    def is_blank(self, family: Family) -> bool:
        """True when nothing was ever learnt of this family."""
        return family not in self._known

    def learn(self, family: Family, state: TableState, rules: Mapping[str, tuple[str, ...]]) -> None:
        """These are the rules of the chains whose digests the state has; chains that it does not have are forgotten."""
        known = self._known.get(family, {}) | {name: (state.chains[name], text) for name, text in rules.items()}
        self._known[family] = {name: known[name] for name in state.chains if name in known}

    def recall(self, family: Family, state: TableState) -> dict[str, tuple[str, ...] | None]:
        """The rules of every chain that is there; None where they are not known."""
        known = self._known.get(family, {})
        return {
            name: known[name][1] if name in known and known[name][0] == digest else None for name, digest in state.chains.items()
        }

    def missing(self, family: Family, state: TableState) -> list[str]:
        """Chains that we know and that are gone."""
        return [name for name in self._known.get(family, {}) if name not in state.chains]


@dataclass(slots=True)
class SetMemory:
    """Sets with the number of members that the kernel counts in them."""

    _known: dict[str, tuple[IpSet, int]] = field(default_factory=dict)

    def learn(self, found: IpSet) -> None:
        """The kernel has this set."""
        known = self._known.get(found.name)
        if known is None or known[0].content is not found.content:
            self._known[found.name] = (found, len(found.members()))

    def forget(self, name: str | None = None) -> None:
        """Nothing is known of this set any more, or of any."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)

    def recall(self, header: Header) -> IpSet | None:
        """The set, when it has as many members as it should; None when that is not known."""
        found, entries = self._known.get(header.name, (None, -1))
        return found if entries == header.entries else None

    def lost(self, headers: Mapping[str, Header]) -> list[str]:
        """Sets that we know and that are gone or have another number of members than they should."""
        return [name for name, (_, entries) in self._known.items() if name not in headers or headers[name].entries != entries]
