"""Notices that the store was restored from a backup, or has lost its contents, and holds allocation until nodes have re-asserted.

              judge (ipam.history): this ipamd's own memory, and what agents have seen
    read ────────┬─ SAME ───────→ go on
                 └─ RESTORED ───→ begin: `history` gets a new id, `restored` is written, in one transaction
                                     │  every node of the store, and every other whose agent calls:
                                     │      Reassert (ipam.reasserts) ──→ restored/<node> DONE
                                     │      a person: GiveUpNode ──→ GIVEN_UP
                                     └─→ nobody waited for, and `hold_s` over ──→ `restored` and all below it are deleted

While `restored` is there no address and no block is given out, to anybody: each such transaction compares that it is absent. A
block may have changed hands after the backup, so not even a node's own blocks in the store are surely its own before all have
spoken. `hold_s` is for nodes that neither the store nor any ipamd remembers: their agents call within it. It counts from when
this ipamd first saw the recovery. Any number of ipamd may notice at once: the transaction that begins compares `history`.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection

from ipam import codec_history
from ipam.history import UNSEEN, HistoryRecord, Seen, Verdict, judge, renewed, waiting
from ipam.reads import Reader
from ipam.reasserting import Heard
from romana import keys
from romana.errors import Ambiguous, Conflict, Unavailable
from romana.store import schema, upgrading
from romana.store.api import Compare, CompareField, CompareOp, Delete, KeyValue, Put, Store

__all__ = ["Found", "Recovery", "follow"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
NAMED_MAX = 10  # nodes that an error message names
WARN_S = 60.0

Found = dict[str, KeyValue | None]


class Recovery:
    """`clock` is monotonic, in seconds; `now_ms` the wall clock; `nodes` gives the names of the nodes that are known.

    `replaced` is called when everything that this ipamd remembers is of another history.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        nodes: Callable[[], Collection[str]],
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        hold_s: float,
        replaced: Callable[[], None],
    ) -> None:
        self._store = store
        self._reader = reader
        self._nodes = nodes
        self._clock = clock
        self._now_ms = now_ms
        self._hold_s = hold_s
        self._replaced = replaced
        self._seen = UNSEEN
        self._replacements = store.replaced
        self._known_nodes: frozenset[str] = frozenset()
        self._cluster_id = 0
        self._since: tuple[str, float] = ("", 0.0)
        self._waiting: list[str] = []
        self._warned_s = float("-inf")
        self.under_way = False
        """Whether a recovery was, when the store was last looked at."""

    @property
    def history(self) -> str:
        """Id of the store's history as this ipamd has adopted it; empty before."""
        return self._seen.history if self._cluster_id else ""

    @property
    def waits_for(self) -> list[str]:
        """The nodes that the recovery under way waits for."""
        return self._waiting

    async def _start(self) -> None:
        """Give the store a history when it has none."""
        cluster_id = (await self._store.status()).cluster_id
        _, found = await self._reader.read(keys.HISTORY)
        if found[keys.HISTORY] is None:
            record = HistoryRecord(uuid.uuid4().hex, cluster_id)
            await self._store.txn([Compare.absent(keys.HISTORY)], [Put(keys.HISTORY, codec_history.write_history(record))])

    async def allowed(self, seen: Seen, asker: str, *names: str) -> tuple[str, Found]:
        """The history's id and these keys as they are now, when addresses may be given out; raises Unavailable when not.

        One read. `seen` is how far the asker has seen the store.
        """
        point, verdict, found = await self.look(seen, asker, *names)
        if (restored := found[keys.RESTORED]) is not None:
            raise Unavailable(self._why(restored))
        if verdict is Verdict.FORMER:
            raise Unavailable(f"{asker} has to re-assert first: it last saw the store before that was restored; try again")
        return point.history, found

    async def look(self, seen: Seen, asker: str, *names: str) -> tuple[Seen, Verdict, Found]:
        """Where the store is, what that is to somebody who saw `seen`, and these keys; begins a recovery when it is due.

        `found` has HISTORY and RESTORED too. Raises Unavailable.
        """
        if not self._cluster_id:
            raise Unavailable("ipamd has not read the store's history yet; try again")
        for _ in range(ATTEMPTS):
            own = self._seen
            revision, found = await self._reader.read(*names, keys.HISTORY, keys.RESTORED)
            record = codec_history.read_history(found[keys.HISTORY])
            verdicts = [judge(record, self._cluster_id, revision, point) for point in (own, seen)]
            if record is not None and record.id == own.history and self._store.replaced != self._replacements:
                verdicts[0] = (
                    Verdict.RESTORED
                )  # the client has seen what the revision does not show: another cluster, an older term
            if record is not None and Verdict.RESTORED not in verdicts:
                self._adopt(record.id, revision)
                return Seen(record.id, revision), verdicts[1], found
            who = "ipamd" if verdicts[0] is Verdict.RESTORED else asker
            await self._begin(found, record, revision, (own, seen), who)
        raise Unavailable("the store's history changes faster than it can be read; try again")

    def _adopt(self, history: str, revision: int) -> None:
        if self._seen.history not in {"", history}:
            self._replaced()
        if self._seen.history != history:
            self._replacements = self._store.replaced
        self._seen = self._seen.further(history, revision)

    async def _begin(
        self, found: Found, record: HistoryRecord | None, revision: int, points: tuple[Seen, Seen], who: str
    ) -> None:
        """Begin a recovery, unless somebody else was faster."""
        reason = _reason(record, self._cluster_id, revision, points, who)
        new = renewed(record, uuid.uuid4().hex, self._cluster_id, points)
        compares = [_same(keys.HISTORY, found), _same(keys.RESTORED, found)]
        writes: list[Put | Delete] = [
            Put(keys.HISTORY, codec_history.write_history(new)),
            Put(keys.RESTORED, codec_history.write_restored(self._now_ms(), reason)),
            Delete(keys.RESTORED_NODES, prefix=True),
        ]
        try:
            result = await self._store.txn(compares, writes)
        except Ambiguous:
            return  # whoever looks again sees whether it came
        if result.succeeded:
            log.error("the store was restored; no address is given out until nodes have re-asserted", extra={"reason": reason})

    async def mark(self, node: str, heard: Heard) -> bool:
        """Note what is heard of a node in the recovery under way; False when there is none (any more), or it was noted already.

        What is known already is not taken back: a node that has spoken is neither waited for again nor given up.
        """
        key = keys.restored_node(node)
        for _ in range(ATTEMPTS):
            _, found = await self._reader.read(keys.RESTORED, key)
            before = codec_history.read_heard([item]).get(node) if (item := found[key]) else None
            stands = before is heard or before is Heard.ALL or (before is not None and heard is Heard.NOTHING)
            if found[keys.RESTORED] is None or stands:
                return False
            compares = [_same(keys.RESTORED, found), _same(key, found)]
            try:
                if (await self._store.txn(compares, [Put(key, codec_history.write_heard(heard))])).succeeded:
                    return True
            except Ambiguous:
                continue
        raise Conflict(f"node {node} was not noted: the recovery changes too fast; try again")

    async def heard(self) -> dict[str, Heard]:
        """What is heard of nodes in the recovery under way."""
        return codec_history.read_heard((await self._store.list(keys.RESTORED_NODES)).items)

    async def waiting(self) -> tuple[list[str], list[str], int]:
        """The nodes that are waited for, those of them that the store does not know, and the revision at which it is so."""
        nodes = await self._store.list(keys.NODES)
        heard = await self.heard()
        unknown = codec_history.unknown_nodes(heard)
        names = {item.key.removeprefix(keys.NODES) for item in nodes.items}
        done = [name for name, what in heard.items() if what in {Heard.ALL, Heard.GIVEN_UP}]
        return waiting(names, done, unknown), sorted(set(unknown) - names), nodes.revision

    async def sync(self) -> None:
        """Look at the store; carry on with the recovery when one is under way. Right to repeat, about once a second."""
        if not self._cluster_id:
            await self._start()
        self._cluster_id = (await self._store.status()).cluster_id
        _, _, found = await self.look(UNSEEN, "", schema.KEY)
        if found[schema.KEY] is None:  # the contents are lost
            await upgrading.agree(self._store)
        self.under_way = found[keys.RESTORED] is not None
        if found[keys.RESTORED] is None:
            self._known_nodes = frozenset(self._nodes())
            return
        history = codec_history.read_history(found[keys.HISTORY])
        if history is not None and self._since[0] != history.id:
            await self._remember_nodes()
            self._since = (history.id, self._clock())
        self._waiting, _, revision = await self.waiting()
        if not self._waiting and self._clock() - self._since[1] >= self._hold_s:
            await self._end(found, revision)
        elif self._clock() - self._warned_s >= WARN_S:
            self._warned_s = self._clock()
            log.warning("recovery of the store waits", extra={"nodes": self._waiting[:NAMED_MAX], "count": len(self._waiting)})

    async def _remember_nodes(self) -> None:
        """Have the nodes waited for that this ipamd knew before, and the store knows no more."""
        here = {item.key.removeprefix(keys.NODES) for item in (await self._store.list(keys.NODES)).items}
        for name in sorted(self._known_nodes - here):
            await self.mark(name, Heard.NOTHING)

    async def _end(self, found: Found, revision: int) -> None:
        compares = [
            _same(keys.HISTORY, found),
            _same(keys.RESTORED, found),
            Compare(keys.NODES, CompareField.MOD, CompareOp.LESS, revision + 1, prefix=True),
            Compare(keys.RESTORED_NODES, CompareField.MOD, CompareOp.LESS, revision + 1, prefix=True),
        ]
        try:
            result = await self._store.txn(compares, [Delete(keys.RESTORED), Delete(keys.RESTORED_NODES, prefix=True)])
        except Ambiguous:
            return  # the next sync sees whether it came
        if result.succeeded:
            log.warning("recovery of the store is over: every node has re-asserted", extra={"revision": result.revision})

    def _why(self, restored: KeyValue) -> str:
        reason = codec_history.read_restored(restored).reason
        if not self._waiting:
            return f"the store is being recovered ({reason}); no address is given out until nodes have re-asserted; try again"
        more = f" and {len(self._waiting) - NAMED_MAX} more" if len(self._waiting) > NAMED_MAX else ""
        names = ", ".join(self._waiting[:NAMED_MAX]) + more
        cure = "start romana-agent there, or, for a node that is gone for good: romana ipam recovery --without NODE"
        return f"the store is being recovered ({reason}); waiting for nodes to re-assert: {names}; {cure}"


async def follow(recovery: Recovery, period_s: float) -> None:
    """Sync for ever; what fails is tried again."""
    while True:
        try:
            await recovery.sync()
        except (Unavailable, Conflict, Ambiguous) as err:
            log.debug("recovery could not look at the store", extra={"error": str(err)})
        await asyncio.sleep(period_s)


def _same(key: str, found: Found) -> Compare:
    item = found[key]
    return Compare.at(key, item.mod_revision if item else 0)


def _reason(record: HistoryRecord | None, cluster_id: int, revision: int, points: tuple[Seen, Seen], who: str) -> str:
    if record is None:
        return f"{who} saw revision {points[0].revision or points[1].revision}, and the store has no history any more"
    if record.cluster_id != cluster_id:
        return f"the contents were written in etcd cluster {record.cluster_id:x}, and this is cluster {cluster_id:x}"
    seen = next((point for point in points if judge(record, cluster_id, revision, point) is Verdict.RESTORED), None)
    if seen is None:
        return f"{who} was answered by another etcd cluster, or by an older state of this one"
    if seen.history == record.id:
        return f"{who} saw revision {seen.revision}, and the store is at {revision}"
    return f"{who} saw a history that the store does not know"
