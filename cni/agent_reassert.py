"""Tells ipamd what lives on this node: at the start, before any ADD is served, and whenever the store may know less than we do.

    ledger (what was granted) ──┐
    kernel (what is there) ─────┼─→ what lives ──→ Reassert ──→ conflicts are logged ──→ ADDs are served
    intents (what is made) ─────┘        ▲                          │ blocking ones: again soon
                                         └── Recovery, every few seconds: "the store was restored"

An attachment that goes while it is being told may so come back into the store: what no longer lives afterwards is released again.
"""

import asyncio
import logging
import random

import grpc

from cni.agent_ledger import Grant, Ledger
from cni.agent_parts import Parts
from cni.errors import TRY_AGAIN, CniError
from cni.request import AttachmentId
from romana.errors import InvalidInput, NotFound, Refused, RomanaError
from romana.names import HOST_INTERFACE_PREFIX
from romana.netlink import queries
from romana.netlink.connection import Connection
from romana.rpc.client import Client
from romana.v1.check_pb2 import Presence
from romana.v1.ipam_pb2 import ReassertRequest, ReassertResponse, RecoveryRequest, RecoveryResponse
from romana.v1.ipam_pb2_grpc import IpamStub
from romana.v1.store_pb2 import AssignedAddress, Attachment, AttachmentKey, PodRef

__all__ = ["Reassertion"]

log = logging.getLogger(__name__)

RECOVERING_POLL_S = 2.0
"""How often to ask while a recovery is under way, or something of ours is not in the store."""


class Reassertion:
    """`boot_id` is this boot's; `ipamd` and `ledger` are those of the agent."""

    def __init__(self, parts: Parts, ipamd: Client, ledger: Ledger, boot_id: str) -> None:
        self._parts = parts
        self._ipamd = ipamd
        self._ledger = ledger
        self._boot_id = boot_id
        self._poll_s = parts.config.recovery_poll_s
        self._due = True
        self._told = asyncio.Event()
        self._why = "ipamd has not been asked yet"

    @property
    def untold(self) -> str:
        """Why ipamd was not told yet what lives here; empty: it was."""
        return "" if self._told.is_set() else self._why

    async def ready(self) -> None:
        """Returns once ipamd was told what lives here, since the agent started; raises CniError 11 when that does not come."""
        try:
            async with asyncio.timeout(self._parts.config.ipam_timeout_s):
                await self._told.wait()
        except TimeoutError as err:
            msg = f"ipamd was not told yet what lives on this node: {self._why}"
            raise CniError(TRY_AGAIN, msg, "see romana-ipamd, and its log") from err

    async def run(self) -> None:
        """For ever."""
        while True:
            pause_s = RECOVERING_POLL_S
            try:
                pause_s = await self._round()
            except (NotFound, Refused, InvalidInput) as err:  # an ADD meets the same, and says it better
                self._told.set()
                log.warning("ipamd refuses to hear what lives here", extra={"error": str(err)})
            except (RomanaError, OSError) as err:
                self._why = str(err)
                log.info("ipamd cannot be told what lives here", extra={"error": str(err)})
            await asyncio.sleep(min(pause_s, self._poll_s) * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load; no secret

    async def _round(self) -> float:
        if self._due:
            await self._reassert()
        answer = await self._ask()
        if answer.presence_wanted:
            answer = await self._ask(await self._presence(answer.presence_wanted))
        self._due = self._due or answer.reassert
        if not self._due:
            await self._saw(answer.history, answer.revision)
        return RECOVERING_POLL_S if self._due or answer.HasField("restored") else self._poll_s

    async def _ask(self, presence: Presence | None = None) -> RecoveryResponse:
        sight = self._ledger.sight
        request = RecoveryRequest(
            node=self._parts.node,
            seen_history=sight.history,
            seen_revision=sight.revision,
            boot_id=self._boot_id,
            presence=presence,
        )

        async def on(channel: grpc.aio.Channel, left_s: float) -> RecoveryResponse:
            return await IpamStub(channel).Recovery(request, timeout=left_s)

        return await self._ipamd.call(on, self._parts.config.ipam_timeout_s)

    async def _presence(self, question: int) -> Presence:
        """What is there, for a check; who is worked on counts as there, whether that is seen before the kernel or after."""
        worked_on = self._worked_on()
        there = await self._parts.blocking(_interfaces)
        names = {*there, *(self._parts.names(attachment).host_interface for attachment in worked_on | self._worked_on())}
        return Presence(node=self._parts.node, boot_id=self._boot_id, interfaces=sorted(names), question=question)

    def _worked_on(self) -> set[AttachmentId]:
        return {*self._parts.memory.intents(), *self._parts.locks.held()}

    async def _reassert(self) -> None:
        sight, lives = self._ledger.sight, await self._parts.blocking(self._lives)
        request = ReassertRequest(
            node=self._parts.node,
            boot_id=self._boot_id,
            seen_history=sight.history,
            seen_revision=sight.revision,
            attachments=[self._message(attachment, grant) for attachment, grant in lives.items()],
            interfaces=await self._parts.blocking(_interfaces),
        )

        async def on(channel: grpc.aio.Channel, left_s: float) -> ReassertResponse:
            return await IpamStub(channel).Reassert(request, timeout=left_s)

        answer = await self._ipamd.call(on, self._parts.config.ipam_timeout_s)
        await self._release_gone(set(lives))
        self._due = any(conflict.blocking for conflict in answer.conflicts)
        if not self._due:
            await self._saw(answer.history, answer.revision)
        self._tell(len(lives), answer)
        self._told.set()

    async def _saw(self, history: str, revision: int) -> None:
        self._ledger.saw(history, revision)
        await self._parts.blocking(self._ledger.keep)

    def _lives(self) -> dict[AttachmentId, Grant]:
        """What lives here, or is being made; without addresses what we know nothing else of."""
        there, memory = set(_interfaces()), self._parts.memory
        grants = self._ledger.grants()
        known = {record.attachment: Grant(None, ()) for record in memory.records()} | grants
        return {
            attachment: grant
            for attachment, grant in known.items()
            if self._parts.names(attachment).host_interface in there or (attachment in grants and memory.is_intended(attachment))
        }

    async def _release_gone(self, told: set[AttachmentId]) -> None:
        for attachment in told - (await self._parts.blocking(self._lives)).keys():
            async with self._parts.locks.hold(attachment):  # an ADD of it that came since keeps its address
                if attachment not in await self._parts.blocking(self._lives):
                    await self._parts.blocking(self._parts.pending.add, attachment)

    def _message(self, attachment: AttachmentId, grant: Grant) -> Attachment:
        key = AttachmentKey(
            node=self._parts.node, conf=attachment.conf, container_id=attachment.container_id, ifname=attachment.ifname
        )
        message = Attachment(key=key, boot_id=self._boot_id, host_interface=self._parts.names(attachment).host_interface)
        message.addresses.extend(AssignedAddress(network=a.network, ip=a.ip, block=a.block) for a in grant.addresses)
        if grant.pod is not None:
            message.pod.CopyFrom(PodRef(namespace=grant.pod.namespace, name=grant.pod.name, uid=grant.pod.uid))
        return message

    def _tell(self, count: int, answer: ReassertResponse) -> None:
        for conflict in answer.conflicts:
            key = conflict.attachment
            text = f"{key.conf}/{key.container_id}/{key.ifname}"
            log.error("attachment lives here and is not in the store", extra={"attachment": text, "reason": conflict.reason})
        fields = {"attachments": count, "restored": answer.restored, "released": answer.released}
        log.info("ipamd was told what lives here", extra={**fields, "conflicts": len(answer.conflicts)})


def _interfaces() -> list[str]:
    """Our host interfaces."""
    with Connection() as here:
        return [link.name for link in queries.links(here) if link.name.startswith(HOST_INTERFACE_PREFIX)]
