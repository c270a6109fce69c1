"""What every verb of the agent works with, and the steps that several of them share."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from cni import wiring
from cni.agent_ipam import Ipam
from cni.agent_locks import Locks
from cni.agent_memory import Memory
from cni.agent_pending import PendingReleases
from cni.agent_policy import Policy
from cni.agent_releasing import Releasing
from cni.agent_tombstones import Tombstones
from cni.plumbing import Uplink
from cni.reaper import Reaper
from cni.request import AttachmentId
from cni.wiring import HostEnd
from romana.config import AgentConfig
from romana.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from romana.names import host_interface
from romana.netlink.pool import Pool

__all__ = ["Names", "Parts"]

log = logging.getLogger(__name__)

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

RELEASE_S = 2.0
"""How long ipamd is asked before a release is left to later: the runtime may wait meanwhile with the next ADD."""

FIRST_STEPS = 2
"""Rounds of the event loop until a call to ipamd or policyd that was started just now is on its way: its task, and gRPC's."""


@dataclass(frozen=True, slots=True)
class Names:
    """What an attachment is called in the kernel."""

    host_interface: str
    alias: str


@dataclass(slots=True)
class Shortage:
    """Whether the last ADD found no address, and when that was, by the monotonic clock."""

    at: float = -math.inf
    reason: str = ""

    def note(self, reason: str) -> None:
        """An ADD found none."""
        self.at, self.reason = time.monotonic(), reason

    def clear(self) -> None:
        """An ADD found one."""
        self.at = -math.inf


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once, when the agent starts."""

    node: str
    config: AgentConfig
    ipam: Ipam
    policy: Policy
    pending: PendingReleases
    locks: Locks
    tombstones: Tombstones
    memory: Memory
    pool: Pool
    reaper: Reaper
    uplink: Uplink
    threads: Executor
    """For everything that blocks: the kernel, the disk."""
    exhausted: Shortage = field(default_factory=Shortage)
    releasing: Releasing = field(default_factory=Releasing)

    def names(self, attachment: AttachmentId) -> Names:
        """Names that follow from the attachment alone, so that DEL needs no memory."""
        key = attachment
        return Names(host_interface(self.node, key.conf, key.container_id, key.ifname), wiring.alias(attachment))

    async def blocking(self, work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """What `work` returns, called on a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, lambda: work(*args, **kwargs))

    async def soon(self, work: Callable[[], Answer]) -> Answer:
        """What `work` returns, which asks the kernel something short.

        By this very thread when no other attachment is worked on: to wake another up, and to be woken by it, takes longer than
        the work where the machine is busy. In company on a worker, so that nobody waits behind it for the kernel's lock.
        """
        if not self.locks.is_alone:
            return await self.blocking(work)
        for _ in range(FIRST_STEPS):
            await asyncio.sleep(0)
        return work()

    async def remove(self, attachment: AttachmentId, netns_fd: int | None = None, deleted_ns: int = 0) -> HostEnd:
        """Take the attachment out of the kernel, and no longer keep it; tells what stood at the host's end.

        With the pod's namespace its rules go too. `deleted_ns`: a DEL asks for it, which started then; its release is owed now.
        """
        names, record = self.names(attachment), self.memory.record(attachment)

        def prepare() -> None:
            if deleted_ns:
                self.tombstones.add(attachment, deleted_ns)
                self.memory.delete(attachment)
            else:
                self.memory.forget(attachment)

        rules_in = None if record and not record.has_rules else netns_fd
        return await self.reaper.remove(names.host_interface, names.alias, rules_in, prepare)

    def owes(self, attachment: AttachmentId) -> bool:
        """True when ipamd has not taken a release of this attachment yet."""
        return self.memory.is_owed(attachment) or self.pending.has(attachment)

    def release_soon(self, attachment: AttachmentId) -> None:
        """Have the address back at ipamd, beside whatever comes next. Its interface is gone, and the release is owed."""
        if not self.releasing.is_under_way(attachment):
            self.releasing.start(attachment, self._release_and_tell(attachment))

    async def release_or_remember(self, attachment: AttachmentId) -> str:
        """Have the address back at ipamd now, or, durably, later; tells which."""
        try:
            await self.release(attachment)
        except Unavailable as err:
            await self.blocking(self.pending.add, attachment)
            log.warning("release is left to later", extra={"attachment": str(attachment), "error": str(err)})
            return "pending"
        return "released"

    async def release(self, attachment: AttachmentId) -> None:
        """Have the address back at ipamd now, and owe it no longer; raises Unavailable."""
        try:
            await self.ipam.release(attachment, RELEASE_S)
        except (InvalidInput, NotFound, Refused) as err:  # ipamd would not have given it an address either
            log.warning("release was refused", extra={"attachment": str(attachment), "error": str(err)})
        except Conflict as err:
            raise Unavailable(str(err)) from err
        self.memory.released(attachment)
        if self.pending.has(attachment):
            await self.blocking(self.pending.remove, attachment)

    async def complete(self, attachment: AttachmentId) -> None:
        """What an earlier DEL left undone, if anything; raises RomanaError. The caller holds the attachment.

        Its agent may have died before the interface was gone, so that comes first again.
        """
        await self.releasing.wait(attachment)
        if self.memory.is_owed(attachment):
            await self.remove(attachment)
        if self.owes(attachment):
            await self.release(attachment)
            log.info("pending release is done", extra={"attachment": str(attachment)})

    async def _release_and_tell(self, attachment: AttachmentId) -> None:
        try:
            await self.release_or_remember(attachment)
        except Exception:  # the edge of a task: it stays owed in the journal, and is tried again
            log.exception("release failed", extra={"attachment": str(attachment)})
