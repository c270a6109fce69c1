"""One client: an agent that allocates and releases, repeats itself, gives up, comes twice, and asks for what cannot be."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from random import Random

from romana.bench.hammer.calls import Calls, addresses_of
from romana.bench.hammer.checker import Checker
from romana.bench.hammer.draws import Act, Kind, next_act
from romana.bench.hammer.finding import Finding
from romana.bench.hammer.ledger import Entry, Ledger
from romana.bench.hammer.nodes import Nodes
from romana.bench.hammer.requests import Asked, attachment_key, request
from romana.errors import InvalidInput, RomanaError, Unavailable
from romana.v1 import ipam_pb2

__all__ = ["Client"]

LIVING_MAX = 150
AGAIN_MAX = 8
PAUSE_S = 0.05  # after a call that found nobody, so that a dead ipamd is not asked ten thousand times a second


class Client:
    """`found` hears of answers that cannot be."""

    def __init__(
        self,
        number: int,
        random: Random,
        calls: Calls,
        nodes: Nodes,
        ledger: Ledger,
        checker: Checker,
        found: Callable[[Finding], None],
        batch: int,
    ) -> None:
        """`batch` is the size of the largest."""
        self._number, self._random, self._calls, self._nodes = number, random, calls, nodes
        self._ledger, self._checker, self._found = ledger, checker, found
        self._made, self._batch = 0, batch
        self._mine: dict[str, Asked] = {}
        self._again: deque[Asked] = deque(maxlen=AGAIN_MAX)
        self._thrown: set[asyncio.Task[None]] = set()
        self._doing = {
            Kind.ALLOCATE: self._allocate_new,
            Kind.FIXED: self._allocate_new,
            Kind.ALLOCATE_BATCH: self._allocate_batch,
            Kind.TWICE: self._allocate_twice,
            Kind.AGAIN: self._allocate_again,
            Kind.THROWN_AWAY: self._throw_allocation_away,
            Kind.REPEAT: self._repeat,
            Kind.RELEASE: self._release_one,
            Kind.RELEASE_BATCH: self._release_batch,
            Kind.RELEASE_THROWN_AWAY: self._throw_release_away,
            Kind.RELEASE_AGAIN: self._release_again,
            Kind.OLD_UID: self._as_old_uid,
            Kind.BAD: self._bad,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Act after act until told to stop; the last one comes to its end."""
        while not stop.is_set():
            full = len(self._mine) >= LIVING_MAX
            act = self._draw(full=full)
            try:
                await self._doing[act.kind](act)
            except Unavailable:
                await asyncio.sleep(PAUSE_S)
            except RomanaError:
                continue  # a refusal: `calls` has counted it
        await asyncio.gather(*self._thrown)

    async def release_all(self) -> None:
        """Release what is left, when nobody is hurt."""
        while self._mine:
            with contextlib.suppress(RomanaError):
                await self._release_batch(self._draw(full=True))

    def _draw(self, *, full: bool) -> Act:
        return next_act(self._random, self._nodes.count, len(self._calls.targets), self._batch, full=full)

    async def _allocate_new(self, act: Act) -> None:
        await self._allocate(self._new(act), act)

    async def _allocate_again(self, act: Act) -> None:
        if self._again:
            await self._allocate(self._again.popleft(), act)

    async def _repeat(self, act: Act) -> None:
        """As it was asked for, but perhaps of another boot, and from another ipamd."""
        living = [key for key in self._mine if (entry := self._ledger.entries.get(key)) and entry.addresses]
        if living:
            await self._allocate(self._mine[self._random.choice(living)], act)

    async def _allocate(self, asked: Asked, act: Act) -> None:
        entry = self._begin(asked)
        try:
            answer = await self._calls.allocate(act.ipamd, asked.request, act.timeout_s)
        except RomanaError:
            self._ledger.abandoned(entry)
            raise
        self._answered(asked, entry, answer)

    async def _allocate_batch(self, act: Act) -> None:
        room = max(1, min(act.size, LIVING_MAX - len(self._mine)))
        batch = [self._new(act, index) for index in range(room)]
        entries = [self._begin(asked) for asked in batch]
        try:
            answers = await self._calls.allocate_batch(act.ipamd, [asked.request for asked in batch], act.timeout_s)
        except RomanaError:
            for entry in entries:
                self._ledger.abandoned(entry)
            raise
        for asked, entry, answer in zip(batch, entries, answers, strict=True):
            if isinstance(answer, RomanaError):
                self._ledger.abandoned(entry)
            else:
                self._answered(asked, entry, answer)

    async def _allocate_twice(self, act: Act) -> None:
        """The same request to two ipamd at once."""
        asked = self._new(act)
        entry = self._begin(asked)
        places = (act.ipamd, (act.ipamd + 1) % len(self._calls.targets))
        calls = [self._calls.allocate(at, asked.request, act.timeout_s) for at in places]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        told = [answer for answer in answers if isinstance(answer, ipam_pb2.AllocateResponse)]
        if len(told) < len(answers):
            self._ledger.abandoned(entry)
        if len({(addresses_of(answer), answer.revision) for answer in told}) > 1 and self._ledger.is_current(entry):
            text = f"{entry.key} was asked for twice at once, and answered {[addresses_of(answer) for answer in told]}"
            self._found(Finding("I5", text, (entry.key,)))
        for answer in told[:1]:
            self._answered(asked, entry, answer)
        _raise_bugs(answers)

    async def _throw_allocation_away(self, act: Act) -> None:
        asked = self._new(act)
        self._ledger.abandoned(self._begin(asked))
        self._throw(act, self._calls.allocate(act.ipamd, asked.request, act.timeout_s))

    async def _throw_release_away(self, act: Act) -> None:
        for asked, entry in self._some(1):
            self._ledger.begin_release(entry)
            self._ledger.doubtful(entry)
            self._throw(act, self._calls.release(act.ipamd, asked.request.attachment, act.timeout_s))

    async def _release_one(self, act: Act) -> None:
        for asked, entry in self._some(1):
            self._ledger.begin_release(entry)
            try:
                answer = await self._calls.release(act.ipamd, asked.request.attachment, act.timeout_s)
            except RomanaError:
                self._ledger.doubtful(entry)
                raise
            self._released(asked, entry, answer)

    async def _release_batch(self, act: Act) -> None:
        some = self._some(act.size)
        for _, entry in some:
            self._ledger.begin_release(entry)
        try:
            answers = await self._calls.release_batch(act.ipamd, [asked.request.attachment for asked, _ in some], act.timeout_s)
        except RomanaError:
            for _, entry in some:
                self._ledger.doubtful(entry)
            raise
        for (asked, entry), answer in zip(some, answers, strict=True):
            if isinstance(answer, RomanaError):
                self._ledger.doubtful(entry)
            else:
                self._released(asked, entry, answer)

    async def _release_again(self, act: Act) -> None:
        if self._again:
            asked = self._again.popleft()  # kept out, should the answer be lost: this release might come after a new allocation
            key = asked.request.attachment
            answer = await self._calls.release(act.ipamd, key, act.timeout_s)
            self._again.append(asked)
            if answer.released:
                self._found(Finding("I5", f"{attachment_key(key)} was released, and released again", (attachment_key(key),)))

    async def _as_old_uid(self, act: Act) -> None:
        """As an incarnation that was removed: nothing may be given to it."""
        asked = self._new(act)
        uids = self._ledger.retired.get(asked.request.attachment.node, [])
        asked.request.node_uid = self._random.choice(uids) if uids else "nobody"
        answer = await self._calls.allocate(act.ipamd, asked.request, act.timeout_s)
        text = f"{asked.key} was asked for by uid {asked.request.node_uid}, which is no more, and answered {addresses_of(answer)}"
        self._found(Finding("I9", text, (asked.key,)))

    async def _bad(self, act: Act) -> None:
        """Something that no ipamd may answer: an unknown node, an unknown pod, a name that is none."""
        asked = self._new(act)
        wrong = self._random.randrange(3)
        if wrong == 0:
            asked.request.attachment.node = "nowhere"
        elif wrong == 1:
            asked.request.pod.namespace, asked.request.pod.name = "default", "nobody"
        else:
            asked.request.attachment.ifname = "a/b"
        try:
            answer = await self._calls.allocate(act.ipamd, asked.request, act.timeout_s)
        except InvalidInput:
            return
        self._found(Finding("I8", f"{asked.key} cannot be, and was answered {addresses_of(answer)}", (asked.key,)))

    def _new(self, act: Act, index: int = 0) -> Asked:
        self._made += 1
        return request(act, index, f"c{self._number}-{self._made}", self._nodes, self._random)

    def _begin(self, asked: Asked) -> Entry:
        self._mine[asked.key] = asked
        return self._ledger.begin(asked.key, asked.request.attachment.node)

    def _answered(self, asked: Asked, entry: Entry, answer: ipam_pb2.AllocateResponse) -> None:
        addresses = addresses_of(answer)
        self._checker.answered(entry.key, answer.revision, addresses)
        for finding in self._ledger.allocated(entry, addresses, existing=answer.existing):
            self._found(finding)
        if asked.ip and asked.ip not in addresses:
            self._found(Finding("I5", f"{entry.key} asked for {asked.ip}, and was answered {addresses}", (entry.key,)))

    def _some(self, most: int) -> list[tuple[Asked, Entry]]:
        chosen = self._random.sample(list(self._mine), min(most, len(self._mine)))
        return [(self._mine[key], self._ledger.entries[key]) for key in chosen]

    def _released(self, asked: Asked, entry: Entry, answer: ipam_pb2.ReleaseResponse) -> None:
        if not entry.haunted:
            self._checker.answered(entry.key, answer.revision, None)
        self._ledger.released(entry)
        del self._mine[entry.key]
        if entry.clean:
            self._again.append(asked)

    def _throw(self, act: Act, call: Awaitable[object]) -> None:
        async def wait() -> None:
            with contextlib.suppress(TimeoutError, RomanaError):
                async with asyncio.timeout(act.patience_s):
                    await call

        task = asyncio.create_task(wait())
        self._thrown.add(task)
        task.add_done_callback(self._thrown.discard)


def _raise_bugs(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, RomanaError):
            raise answer
