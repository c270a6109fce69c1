"""Watches pods and endpoints of just those namespaces that the policies of this node's pods can mean.

    wanted prefixes change --> new watches start --> all of them whole --> the old ones end, and what only they knew is forgotten

Each event of a pod anywhere would otherwise wake every node of the cluster (docs/architecture.md, "What etcd holds").
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing

from romana import keys
from romana.store.api import Event, Store
from romana.store.reflector import Reflector

__all__ = ["ScopedWatch"]

Take = Callable[[Event], None]

KINDS = (keys.PODS, keys.ENDPOINTS)


class ScopedWatch:
    """Follows a changing set of prefixes; `take` gets every event, the newest of a key last. Owned by one task."""

    def __init__(self, store: Store, take: Take) -> None:
        self._store = store
        self._take = take
        self._wanted: frozenset[str] | None = None
        self._changed = asyncio.Event()
        self._followed: dict[str, Reflector] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._whole: set[str] = set()
        self._known: dict[str, int] = {}

    def want(self, namespaces: Iterable[str] | None) -> None:
        """Follow these namespaces from now on; None: every namespace."""
        names = [""] if namespaces is None else [f"{name}/" for name in namespaces]
        wanted = frozenset(kind + name for kind in KINDS for name in names)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    @property
    def whole(self) -> bool:
        """Whether everything that is wanted has been heard of once."""
        return self._wanted is not None and self._wanted <= self._whole

    @property
    def revisions(self) -> Mapping[str, int]:
        """Per prefix that is followed and whole, the revision of its last event."""
        return {prefix: self._followed[prefix].revision for prefix in sorted(self._whole & self._followed.keys())}

    async def updates(self) -> AsyncIterator[None]:
        """Yields once everything wanted is whole, then after every change; ends all watches when it is closed."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._failures()
                self._adjust()
                if self.whole:
                    yield
        finally:
            for prefix in tuple(self._tasks):
                await self._end(prefix)

    def _adjust(self) -> None:
        for prefix in (self._wanted or frozenset()) - self._followed.keys():
            self._followed[prefix] = Reflector(self._store, prefix)
            self._tasks[prefix] = asyncio.create_task(self._follow(prefix), name=f"follow {prefix}")
        if self.whole:
            for prefix in self._followed.keys() - (self._wanted or frozenset()):
                self._forget(prefix)

    async def _follow(self, prefix: str) -> None:
        reflector = self._followed[prefix]
        async with aclosing(reflector.updates()) as updates:
            async for update in updates:
                for event in update.events:
                    self._hand_on(event)
                self._whole.add(prefix)
                self._changed.set()

    def _hand_on(self, event: Event) -> None:
        """While two watches overlap, one may lag: what is older than what is known of a key is not news."""
        if event.mod_revision < self._known.get(event.key, 0):
            return
        self._known[event.key] = event.mod_revision
        self._take(event)
        if event.value is None:
            del self._known[event.key]

    def _forget(self, prefix: str) -> None:
        reflector = self._followed.pop(prefix)
        self._whole.discard(prefix)
        self._tasks.pop(prefix).cancel()
        others = [other.items for other in self._followed.values()]
        for key, item in reflector.items.items():
            if not any(key in items for items in others):
                self._known.pop(key, None)
                self._take(Event(key, item.mod_revision, None))

    def _failures(self) -> None:
        for task in self._tasks.values():
            if task.done():
                task.result()

    async def _end(self, prefix: str) -> None:
        task = self._tasks.pop(prefix)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
