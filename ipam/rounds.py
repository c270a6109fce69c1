"""First attempts, as many together as wait: one read for all, picks that wait for nothing, transactions handed in at once.

asked ──┐                                                        ┌─→ Granted
asked ──┼─→ gather ─→ one read ─→ pick each, at once ─→ commit ──┼─→ None: to be attempted by itself (ipam.allocation)
asked ──┘   (while another round lasts)                          └─→ Unavailable: the store could not be asked

What can go wrong is left alone here, not sorted: an attachment that may have addresses already, a node, pod or history that is
not as the caller says, a block to be claimed first, a conflict. The attempt by itself looks at the store and says why.
So this is nothing but a shorter way to the same transaction, and decides nothing that `ipam.allocation` would decide otherwise.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ipam.answers import Answers, Outcome
from ipam.attempt import Decided, Granted, Wanted, checked_pod, demand, tell, transaction
from ipam.commit import Committer, Txn
from ipam.history import UNSEEN, Seen
from ipam.picker import Picked, Picker
from ipam.records import AttachmentRecord, endpoint_key
from ipam.recovery import Found, Recovery
from ipam.state import State
from romana import keys
from romana.errors import Ambiguous, RomanaError
from romana.store.api import TxnResult

__all__ = ["Rounds"]

ROUND_MAX = 84
"""Two full transactions, and one read of the pods of all (at most `MAX_OPS` keys)."""
FULL = 42
"""A whole transaction of plain allocations: so many do not wait for the round before them, beyond its read."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, and where its outcome goes."""

    wanted: Wanted
    answers: Answers[Granted | None]
    index: int


@dataclass(frozen=True, slots=True)
class _Picked:
    """A request that is being written."""

    asked: _Asked
    picked: Sequence[Picked]
    record: AttachmentRecord
    txn: Txn


ReadBack = Callable[[Wanted, AttachmentRecord], Awaitable[Granted | None]]
"""What became of a write whose answer was lost; None when it is not there."""


class Rounds:
    """`now_ms` is the wall clock, milliseconds since 1970."""

    def __init__(
        self,
        state: State,
        committer: Committer,
        picker: Picker,
        recovery: Recovery,
        read_back: ReadBack,
        now_ms: Callable[[], int],
    ) -> None:
        self._state = state
        self._committer = committer
        self._picker = picker
        self._recovery = recovery
        self._read_back = read_back
        self._now_ms = now_ms
        self._queue: deque[_Asked] = deque()
        self._reading = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def attempt(self, wanted: Sequence[Wanted]) -> Sequence[Outcome[Granted | None]]:
        """The outcome of one attempt for each of these, in order; None: to be attempted by itself."""
        answers: Answers[Granted | None] = Answers(len(wanted))
        self._queue.extend(_Asked(each, answers, index) for index, each in enumerate(wanted))
        self._go_on()
        return await answers.all()

    def _go_on(self) -> None:
        """Begin a round if there is one to begin. What waits while one lasts shares the next one's calls: at that rate they cost
        more than the wait."""
        if self._queue and not self._reading and (not self._tasks or len(self._queue) >= FULL):
            self._reading = True
            self._tasks.add(asyncio.create_task(self._round(), name="round"))

    async def _round(self) -> None:
        try:
            await self._answer()
        except asyncio.CancelledError:
            while self._queue:
                self._queue.popleft().answers.cancel()
            raise
        finally:
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._go_on()  # in the step that ends the round: a later done-callback would leave what comes between to nobody

    async def _answer(self) -> None:
        asked = [self._queue.popleft() for _ in range(min(len(self._queue), ROUND_MAX))]
        try:
            await self._attempt(asked)
        except asyncio.CancelledError:
            for each in asked:
                each.answers.cancel()
            raise
        except Exception as err:  # noqa: BLE001 - whatever it is, a bug too, belongs to the callers and not to this task
            for each in asked:
                each.answers.set(each.index, err)

    async def _attempt(self, asked: Sequence[_Asked]) -> None:
        try:
            point, found = await self._read(asked)
        finally:
            self._reading = False
        self._go_on()
        picked = [] if found[keys.RESTORED] else [each for one in asked if (each := self._picked(one, point, found))]
        writing = {id(each.asked) for each in picked}
        for one in asked:
            if id(one) not in writing:
                one.answers.set(one.index, None)
        if picked:
            await self._write(picked, point.history)

    async def _read(self, asked: Sequence[_Asked]) -> tuple[Seen, Found]:
        pods = [keys.pod(pod.namespace, pod.name) for one in asked if (pod := one.wanted.pod)]
        point, _, found = await self._recovery.look(UNSEEN, "", *dict.fromkeys(pods))
        return point, found

    def _picked(self, asked: _Asked, point: Seen, found: Found) -> _Picked | None:
        try:
            return self._pick(asked, point, found)
        except Exception as err:  # noqa: BLE001 - a bug that one request meets is its caller's, not that of all others
            asked.answers.set(asked.index, err)
            return None

    def _pick(self, asked: _Asked, point: Seen, found: Found) -> _Picked | None:
        """Pick and say what to write; None where that is not plain."""
        wanted, state = asked.wanted, self._state
        node = state.node(wanted.attachment.node)
        if node is None or wanted.node_uid not in {"", node.value.uid} or state.may_hold(wanted.attachment):
            return None
        if wanted.seen.history and (wanted.seen.history != point.history or wanted.seen.revision > point.revision):
            return None
        pod = found[keys.pod(wanted.pod.namespace, wanted.pod.name)] if wanted.pod else None
        decided = Decided.on(state, node.value)
        try:
            asks = demand(wanted, checked_pod(pod, wanted.pod) if wanted.pod else None)
        except RomanaError:
            return None
        picked = self._picker.reserve_now(wanted.attachment.node, asks)
        if picked is None:
            return None
        key = endpoint_key(wanted.attachment, wanted.pod)
        made = None
        try:
            made = transaction(state, wanted, decided, picked, key, pod, self._now_ms())
        finally:
            if made is None:
                self._picker.settle(picked)
        if made is None:
            return None
        return _Picked(asked, picked, *made)

    async def _write(self, picked: Sequence[_Picked], history: str) -> None:
        try:
            outcomes = await self._committer.commit_all([each.txn for each in picked])
        except BaseException:
            for each in picked:
                self._picker.settle(each.picked)
            raise
        lost: list[_Picked] = []
        for each, outcome in zip(picked, outcomes, strict=True):
            if isinstance(outcome, Ambiguous):
                lost.append(each)
            else:
                self._end(each, outcome, history)
        if lost:
            await asyncio.gather(*(self._end_lost(each, history) for each in lost))

    def _end(self, picked: _Picked, outcome: Outcome[TxnResult], history: str) -> None:
        answer: Outcome[Granted | None]
        try:
            answer = outcome if isinstance(outcome, Exception) else self._came_to(picked, outcome, history)
        except Exception as err:  # noqa: BLE001 - as in `_picked`
            answer = err
        self._picker.settle(picked.picked)
        picked.asked.answers.set(picked.asked.index, answer)

    def _came_to(self, picked: _Picked, result: TxnResult, history: str) -> Granted | None:
        if result.succeeded:
            tell(picked.record, picked.picked)
            return Granted(picked.record, result.revision, existing=False, history=history)
        self._state.learn(picked.txn.reads, result)
        return None

    async def _end_lost(self, picked: _Picked, history: str) -> None:
        answer: Outcome[Granted | None]
        try:
            granted = await self._read_back(picked.asked.wanted, picked.record)
            answer = replace(granted, history=history) if granted else None
        except Exception as err:  # noqa: BLE001 - as in `_picked`
            answer = err
        finally:
            self._picker.settle(picked.picked)
        picked.asked.answers.set(picked.asked.index, answer)
