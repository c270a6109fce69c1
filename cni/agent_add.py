"""ADD: addresses and interface at once, then policy; whatever fails, nothing is left. CNI spec 1.1, section 4 "ADD".

    intent ─┬─→ Allocate at ipamd ─┬─→ addresses in the pod ─┬─→ the host's end up, record ──→ answer
            └─→ the veth pair ─────┘   policyd: in force ────┘

Each pair of steps runs side by side: the interface's name follows from the attachment alone, and policyd goes by the store.
"""

import asyncio
import contextlib

from cni import plumbing, wiring
from cni.agent_allocating import allocate_and_create, undo
from cni.agent_ipam import Allocation
from cni.agent_locks import Abort
from cni.agent_parts import Parts
from cni.errors import PLUMBING_FAILED, TRY_AGAIN, CniError, from_ipam
from cni.repair import Record
from cni.request import Request
from cni.result import Attached, check_chained
from cni.veth import Ends, Veth
from cni.wiring import Wiring
from romana.errors import RomanaError, Unavailable

__all__ = ["add"]


async def add(parts: Parts, request: Request, netns_fd: int | None, abort: Abort) -> Attached:
    """The attachment, made, carrying traffic, and kept so from now on; raises CniError. The caller holds the attachment."""
    check_chained(request.conf)
    fd = plumbing.check_netns(netns_fd, request.netns, may_be_own=request.netns_override)
    await _finish_pending(parts, request)
    wanted = await _wanted(parts, request)
    with contextlib.closing(Veth(parts.pool, wanted, fd)) as veth:
        allocation = await allocate_and_create(parts, request, veth, abort, fd)
        try:
            ends = await _attach(parts, request, wanted, veth, allocation, abort)
        except BaseException:
            await undo(parts, request, fd)
            raise
    return _attached(ends, request, wanted, allocation)


async def _finish_pending(parts: Parts, request: Request) -> None:
    """An earlier DEL of this attachment must be complete: else its release would take the new address."""
    try:
        await parts.complete(request.attachment)
    except Unavailable as err:
        raise CniError(TRY_AGAIN, f"an earlier DEL waits for ipamd: {err}", "try again later") from err


async def _wanted(parts: Parts, request: Request) -> Wiring:
    names = parts.names(request.attachment)
    mtu_bytes = request.conf.mtu_bytes or parts.config.mtu or await _uplink_mtu(parts)
    mac = wiring.pod_mac(request.attachment)
    return Wiring(names.host_interface, request.attachment.ifname, names.alias, mac, mtu_bytes)


async def _uplink_mtu(parts: Parts) -> int:
    try:
        identity = await parts.ipam.identity(parts.config.ipam_timeout_s)
    except RomanaError as err:
        raise from_ipam(err) from err
    return parts.uplink.fresh_mtu_bytes() or await parts.blocking(parts.uplink.mtu_bytes, identity.addresses)


async def _attach(parts: Parts, request: Request, wanted: Wiring, veth: Veth, allocation: Allocation, abort: Abort) -> Ends:
    """Everything after the pair is there and the addresses are durable."""

    def finish() -> Ends:
        abort.check()
        return veth.open(allocation.addresses)

    def address_and_finish() -> Ends:
        veth.address(allocation.addresses)
        return finish()

    abort.check()
    if parts.policy.is_required:
        await _address_and_await_policy(parts, request, veth, allocation, abort)
        ends = await parts.soon(finish)
    else:
        ends = await parts.soon(address_and_finish)
    if not ends.carry:
        ends = await parts.blocking(veth.wait, ends)
    addresses = tuple(address.ip for address in allocation.addresses)
    key = (request.attachment, wanted.host_interface, wanted.pod_mac, addresses)
    parts.memory.finish(Record(*key, boot_id=parts.ipam.boot_id, has_rules=veth.has_rules))
    return ends


async def _address_and_await_policy(parts: Parts, request: Request, veth: Veth, allocation: Allocation, abort: Abort) -> None:
    awaiting = asyncio.create_task(_await_policy(parts, request, allocation))
    stopped = asyncio.create_task(abort.wait())  # a DEL must not wait as long as policy does
    try:
        await parts.soon(lambda: veth.address(allocation.addresses))
        await asyncio.wait({awaiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        abort.check()
        await awaiting
    finally:
        for task in (awaiting, stopped):
            task.cancel()
        await asyncio.gather(awaiting, stopped, return_exceptions=True)


async def _await_policy(parts: Parts, request: Request, allocation: Allocation) -> None:
    """Until then the pod can neither send nor receive; an ADD that cannot vouch for policy is undone."""
    try:
        await parts.policy.in_force(request.attachment, allocation.revision)
    except RomanaError as err:
        raise CniError(TRY_AGAIN, f"policy is not in force: {err}", "see romana-policyd of this node") from err


def _attached(ends: Ends, request: Request, wanted: Wiring, allocation: Allocation) -> Attached:
    if ends.host is None or ends.pod is None:
        raise CniError(PLUMBING_FAILED, f"interface {wanted.host_interface} went away while it was made")
    return Attached(
        host_interface=ends.host.name,
        host_mac=ends.host.mac,
        pod_interface=ends.pod.name,
        pod_mac=ends.pod.mac,
        netns=request.netns,
        mtu_bytes=ends.pod.mtu_bytes,
        addresses=allocation.addresses,
    )
