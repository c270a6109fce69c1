"""Deletes host ends, and tells when they are gone: long before the kernel is done with the rest.

    remove ──→ queue ──→ thread: look, judge, RTM_DELLINK ── sleeps in the kernel (rcu_barrier, 5 to 20 ms) ──→ acknowledged
                                        └─→ both ends unlisted ──→ multicast RTM_DELLINK ──→ loop ──→ `remove` returns

When the kernel sends the multicast, both ends, their addresses and routes are gone for everybody (net/core/dev.c,
unregister_netdevice_many_notify); what is left is memory. Waiters are known by the interface's index: by name they would be woken
by the late event of an earlier one. A lost multicast costs only time, the acknowledgement does as well.

What queues up while all threads sleep is deleted as one group (IFLA_GROUP), which costs the kernel hardly more than one.
"""

import asyncio
import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from cni import plumbing, wiring
from cni.wiring import HostEnd
from romana.errors import RomanaError
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.events import LinkGone
from romana.netlink.links import Link, change_link, delete_group, delete_link, get_link, parse_link
from romana.netlink.pool import Pool

__all__ = ["Reaper"]

THREADS = 4
"""A DEL that comes alone must find one that does not sleep; more of them would make more and smaller groups of a burst."""
BATCH_MAX = 128


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    host_interface: str
    alias: str
    netns_fd: int | None
    prepare: Callable[[], None]
    done: "asyncio.Future[HostEnd]"


class Reaper:
    """Use it as an asynchronous context manager, in the node's network namespace."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: dict[int, tuple[_Job, HostEnd]] = {}
        self._threads = [threading.Thread(target=self._work, name=f"reaper-{number}") for number in range(THREADS)]
        self._gone = LinkGone()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> "Reaper":
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._gone.fileno(), self._hear)
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        asyncio.get_running_loop().remove_reader(self._gone.fileno())
        self._gone.close()

    async def remove(self, host_interface: str, alias: str, netns_fd: int | None, prepare: Callable[[], None]) -> HostEnd:
        """Call `prepare` on a thread, remove our interface of that name; what stood there. A foreign one stays.

        Only the pod's source rules need its namespace; without it they go when it goes. Raises RomanaError.
        """
        job = _Job(host_interface, alias, netns_fd, prepare, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return await asyncio.shield(job.done)

    def _hear(self) -> None:
        for index in self._gone.indexes():
            self._finish(index)

    def _finish(self, index: int) -> None:
        found = self._waiting.pop(index, None)
        if found and not found[0].done.done():
            found[0].done.set_result(found[1])

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            try:
                self._reap(jobs)
            except Exception as err:  # noqa: BLE001 - the edge of a thread: a waiter must not wait for ever
                for job in jobs:
                    self._tell(job, err)

    def _take(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < BATCH_MAX and not self._jobs.empty():
            try:
                more = self._jobs.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._jobs.put(None)
                break
            jobs.append(more)
        return jobs

    def _reap(self, jobs: list[_Job]) -> None:
        for job in jobs:
            job.prepare()
        with self.pool.borrow() as here:
            found = self._look(here, jobs)
            for job, link, verdict in found:
                self._waiting[link.index] = (job, verdict)
            try:
                _delete(here, [link for _, link, _ in found])
            except RomanaError:
                for _, link, _ in found:
                    self._waiting.pop(link.index, None)
                raise
        for _, link, _ in found:
            self._call(self._finish, link.index)

    def _look(self, here: Connection, jobs: list[_Job]) -> list[tuple[_Job, Link, HostEnd]]:
        """What is to be deleted; the others are told at once."""
        answers, outcomes = here.attempt(*(get_link(job.host_interface) for job in jobs))
        found: list[tuple[_Job, Link, HostEnd]] = []
        for job, answer, outcome in zip(jobs, answers, outcomes, strict=True):
            if outcome.errno and outcome.errno != errno.ENODEV:
                self._tell(job, NetlinkError(f"look up interface {job.host_interface}", outcome))
                continue
            link = parse_link(answer[0]) if answer else None
            verdict = wiring.judge(link, job.alias)
            if link is None or verdict is HostEnd.FOREIGN:
                self._tell(job, verdict)
                continue
            if job.netns_fd is not None:
                plumbing.delete_rules(link, job.netns_fd)
            found.append((job, link, verdict))
        return found

    def _tell(self, job: _Job, outcome: HostEnd | Exception) -> None:
        def tell() -> None:
            if job.done.done():
                return
            if isinstance(outcome, HostEnd):
                job.done.set_result(outcome)
            else:
                job.done.set_exception(outcome)

        self._call(tell)

    def _call(self, work: Callable[..., None], *args: int) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *args)


def _delete(here: Connection, links: Sequence[Link]) -> None:
    if len(links) > 1 and _delete_together(here, links):
        return
    for link in links:
        try:
            here.run(delete_link(link.index, link.name))
        except NetlinkError as err:
            if err.errno != errno.ENODEV:  # it may go with the pod's namespace at any moment
                raise


def _delete_together(here: Connection, links: Sequence[Link]) -> bool:
    """False when the kernel would not. The number is drawn anew each time, so that no interface of somebody else's has it."""
    group = int.from_bytes(os.urandom(4), "big") | 1  # 0 is the group of every interface
    here.attempt(*(change_link(link.index, f"put {link.name} into a group", group=group) for link in links))
    try:
        here.run(delete_group(group))
    except RomanaError:
        return False
    return True
