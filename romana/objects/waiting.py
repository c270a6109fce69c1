"""Waits until what was written is in force: until every live node's receipt says so (docs/architecture.md, receipts).

written revisions --> receipts/ (list, then watch) --> behind? --> nobody left, or the timeout
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from romana import keys
from romana.errors import InvalidInput
from romana.store.api import KeyValue, Store
from romana.store.reflector import Reflector
from romana.v1.store_pb2 import Receipt

__all__ = ["Waited", "behind", "concerned", "wait_until_enforced"]

ENFORCER = "policyd"

Receipts = Mapping[str, Mapping[str, int]]
"""Per node: per watched prefix the revision of its last event that is in the kernel."""


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended: the nodes that have it in force, those that are behind, and those whose receipt went away before."""

    enforced: tuple[str, ...]
    behind: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nobody is left to wait for."""
        return not self.behind and not self.silent


def concerned(receipts: Receipts, prefix: str) -> frozenset[str]:
    """The nodes that watch what was written below `prefix`: their receipt lists that prefix or one that holds it, as `pods/`
    holds `pods/default/`."""
    return frozenset(node for node, applied in receipts.items() if any(map(prefix.startswith, applied)))


def behind(receipts: Receipts, prefix: str, revision: int) -> frozenset[str]:
    """The nodes that watch what was written below `prefix`, but have not got as far as `revision`."""
    return frozenset(
        node
        for node, applied in receipts.items()
        if any(prefix.startswith(watched) and reached < revision for watched, reached in applied.items())
    )


async def wait_until_enforced(store: Store, revisions: Mapping[str, int], timeout_s: float) -> Waited:
    """Return when every node with a live receipt is at or past these revisions, or at the timeout; it does not raise for that.

    A node that was live and went away before it got there counts as silent: what is in its kernel is not known."""
    wait = _Wait(revisions)
    reflector = Reflector(store, keys.RECEIPTS)
    try:
        async with asyncio.timeout(timeout_s), aclosing(reflector.updates()) as updates:
            async for update in updates:
                wait.take({event.key: event.value for event in update.events})
                if wait.state.done:
                    break
    except TimeoutError:
        pass
    return wait.state


class _Wait:
    """What the receipts said so far."""

    def __init__(self, revisions: Mapping[str, int]) -> None:
        self._revisions = revisions
        self._live: set[str] = set()
        self._enforced: set[str] = set()
        self._waiting: set[str] = set()

    def take(self, changed: Mapping[str, KeyValue | None]) -> None:
        """Look at the receipts that changed, and only at them: a large cluster writes thousands."""
        fresh = dict(_receipts(changed))
        late = frozenset[str]().union(*(behind(fresh, prefix, revision) for prefix, revision in self._revisions.items()))
        watching = frozenset[str]().union(*(concerned(fresh, prefix) for prefix in self._revisions))
        self._waiting = (self._waiting - fresh.keys()) | late
        self._enforced = (self._enforced - fresh.keys()) | (watching - late)
        self._live = (self._live | fresh.keys()) - _gone(changed)

    @property
    def state(self) -> Waited:
        """Where every node is."""
        parts = (self._enforced, self._waiting & self._live, self._waiting - self._live)
        return Waited(*(tuple(sorted(part)) for part in parts))


def _receipts(changed: Mapping[str, KeyValue | None]) -> Iterable[tuple[str, Mapping[str, int]]]:
    for key, item in changed.items():
        if item is not None and (node := _enforcing_node(key)):
            yield node, dict(Receipt.FromString(item.value).applied)


def _gone(changed: Mapping[str, KeyValue | None]) -> set[str]:
    return {_enforcing_node(key) for key, item in changed.items() if item is None}


def _enforcing_node(key: str) -> str:
    """The node of a receipt, when its writer enforces policy; else empty."""
    try:
        node, daemon = keys.split(keys.RECEIPTS, key, 2)
    except InvalidInput:
        return ""
    return node if daemon == ENFORCER else ""
