"""A node as far as a recovery is concerned: what lives on it, told to a real ipamd as the agent tells it."""

from romana.errors import NotFound
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Calls, attachment

__all__ = ["LiveNode", "doubled", "told"]


class LiveNode:
    """`live` are its attachments by container; `seen_*` what it remembers of the store."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.live: dict[str, store_pb2.Attachment] = {}
        self.seen_revision = 0
        self.seen_history = ""

    async def add(self, calls: Calls, container: str, pod: tuple[str, str, str] | None = None) -> str:
        """An ADD; the address."""
        key = attachment(self.name, container)
        request = ipam_pb2.AllocateRequest(
            attachment=key, boot_id="boot-1", seen_revision=self.seen_revision, seen_history=self.seen_history
        )
        if pod is not None:
            request.pod.CopyFrom(store_pb2.PodRef(namespace=pod[0], name=pod[1], uid=pod[2]))
        answer = await calls.ipam(lambda stub, left: stub.Allocate(request, timeout=left))
        self._saw(answer.history, answer.revision)
        self.live[container] = store_pb2.Attachment(
            key=key, addresses=answer.addresses, host_interface=answer.host_interface, pod=request.pod if pod else None
        )
        return answer.addresses[0].ip

    async def delete(self, calls: Calls, container: str) -> None:
        """A DEL."""
        del self.live[container]
        await calls.release(self.name, container)

    async def ask(self, calls: Calls) -> ipam_pb2.RecoveryResponse:
        """What the agent asks every few seconds; re-asserts when it is told to, and remembers no more than before it did."""
        request = ipam_pb2.RecoveryRequest(node=self.name, seen_revision=self.seen_revision, seen_history=self.seen_history)
        answer = await calls.ipam(lambda stub, left: stub.Recovery(request, timeout=left))
        if answer.reassert:
            try:
                await self.reassert(calls)
            except NotFound:
                return answer
        else:
            self._saw(answer.history, answer.revision)
        return answer

    async def reassert(self, calls: Calls) -> ipam_pb2.ReassertResponse:
        """What lives here."""
        request = ipam_pb2.ReassertRequest(
            node=self.name,
            boot_id="boot-1",
            attachments=self.live.values(),
            interfaces=[entry.host_interface for entry in self.live.values()],
            seen_revision=self.seen_revision,
            seen_history=self.seen_history,
        )
        answer = await calls.ipam(lambda stub, left: stub.Reassert(request, timeout=left))
        if not any(conflict.blocking for conflict in answer.conflicts):
            self._saw(answer.history, answer.revision)
        return answer

    def _saw(self, history: str, revision: int) -> None:
        same = history == self.seen_history
        self.seen_history, self.seen_revision = history, max(self.seen_revision, revision) if same else revision


def told(*nodes: LiveNode) -> dict[str, str]:
    """Key of every live attachment and its address, as ipam.invariants takes it."""
    found = {}
    for node in nodes:
        for container, entry in node.live.items():
            found[f"attachments/{node.name}/romana/{container}/eth0"] = entry.addresses[0].ip
    return found


def doubled(*nodes: LiveNode) -> list[str]:
    """Addresses that live twice."""
    ips = list(told(*nodes).values())
    return sorted({ip for ip in ips if ips.count(ip) > 1})
