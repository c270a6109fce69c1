"""ADD: look, allocate, plumb; whatever fails, nothing is left. CNI spec 1.1, section 4 "ADD"."""

import asyncio
import time
from ipaddress import IPv4Address

from cni import plumbing, wiring
from cni.agent_ipam import Allocation, NodeUnknown, Unsupported
from cni.agent_locks import Abort
from cni.agent_parts import Names, Parts
from cni.errors import INTERFACE_EXISTS, INVALID_CONFIG, PLUMBING_FAILED, TRY_AGAIN, CniError, from_ipam
from cni.plumbing import Ends
from cni.repair import Record
from cni.request import Request
from cni.result import Attached
from cni.wiring import HostEnd, Wiring
from romana.errors import NotFound, RomanaError, Unavailable

__all__ = ["add"]

POD_PAUSE_S = 0.1
"""Pod objects usually arrive within some tens of milliseconds after kubelet has them."""


async def add(parts: Parts, request: Request, netns_fd: int | None, abort: Abort) -> Attached:
    """The attachment, made, carrying traffic, and kept so from now on; raises CniError. The caller holds the attachment."""
    made = await _make(parts, request, netns_fd, abort)
    addresses = tuple(address.ip for address in made.addresses)
    await parts.blocking(parts.memory.finish, Record(request.attachment, made.host_interface, made.pod_mac, addresses))
    return made


async def _make(parts: Parts, request: Request, netns_fd: int | None, abort: Abort) -> Attached:
    if request.conf.prev_result:
        raise CniError(INVALID_CONFIG, "prevResult is not supported on ADD", "make romana the first plugin of the list")
    names = parts.names(request.attachment)
    fd = plumbing.check_netns(netns_fd, request.netns, may_be_own=request.netns_override)
    await _finish_pending(parts, request)
    ends = await parts.blocking(plumbing.look, names.host_interface, request.attachment.ifname, fd)
    found = _refuse_what_is_there(ends, names, request)
    allocation = await _allocate(parts, request, abort, sure_is_new=found is not HostEnd.FINISHED)
    if found is HostEnd.FINISHED and allocation.existing:
        raise _exists(f"attachment {request.attachment} is there already, on interface {names.host_interface}")
    try:
        if found is not HostEnd.ABSENT:
            await parts.blocking(plumbing.unplumb, names.host_interface, names.alias, fd)
        made = await _plumb(parts, request, names, allocation, fd)
        abort.check()
        await _await_policy(parts, request, allocation)
        abort.check()
    except BaseException:
        await _undo(parts, request, fd)
        raise
    return made


async def _finish_pending(parts: Parts, request: Request) -> None:
    """An earlier DEL of this attachment must be complete: else its release would take the new address."""
    if await parts.blocking(parts.pending.has, request.attachment):
        try:
            await parts.release(request.attachment)
        except Unavailable as err:
            raise CniError(TRY_AGAIN, f"an earlier DEL waits for ipamd: {err}", "try again later") from err


def _refuse_what_is_there(ends: Ends, names: Names, request: Request) -> HostEnd:
    """What stands at the host's end; raises CniError for what must not be touched."""
    found = wiring.judge(ends.host, names.alias)
    if found is HostEnd.FOREIGN:
        raise _exists(f"interface {names.host_interface} of this node is not romana's")
    unfinished_pair = ends.host and ends.pod and found is HostEnd.UNFINISHED and wiring.is_pair(ends.host, ends.pod)
    if ends.pod and not unfinished_pair:
        raise _exists(f"interface {request.attachment.ifname} exists already in {request.netns}")
    return found


def _exists(msg: str) -> CniError:
    return CniError(INTERFACE_EXISTS, msg, "DEL it first, or use another CNI_IFNAME")


async def _allocate(parts: Parts, request: Request, abort: Abort, *, sure_is_new: bool) -> Allocation:
    """Addresses from ipamd. When its answer is lost the address may be taken: it is given back, if it cannot be in use."""
    is_first = await parts.blocking(parts.memory.intend, request.attachment)
    try:
        return await _ask(parts, request, abort)
    except RomanaError as err:
        lost = isinstance(err, Unavailable | Unsupported)
        if lost and sure_is_new:
            await parts.blocking(parts.pending.add, request.attachment)
        if is_first and sure_is_new:  # else an earlier ADD may have taken it: cni/agent_recovery.py
            await parts.blocking(parts.memory.settle, request.attachment)
        raise err if isinstance(err, CniError) else from_ipam(err) from err


async def _ask(parts: Parts, request: Request, abort: Abort) -> Allocation:
    """Ask until the Pod is known to ipamd, or the time for it is over."""
    give_up = time.monotonic() + parts.config.pod_wait_s
    while True:
        abort.check()
        try:
            return await parts.ipam.allocate(request.attachment, request.pod, parts.config.ipam_timeout_s)
        except NodeUnknown as err:
            raise NotFound(f"{err}; add it: romana node add") from err
        except NotFound as err:
            if time.monotonic() > give_up or request.pod is None:
                pod = f"pod {request.pod.namespace}/{request.pod.name}" if request.pod else "this node"
                raise NotFound(f"ipamd does not know {pod} after {parts.config.pod_wait_s:g} s: {err}") from err
        await asyncio.sleep(POD_PAUSE_S)


async def _plumb(parts: Parts, request: Request, names: Names, allocation: Allocation, netns_fd: int) -> Attached:
    if allocation.host_interface != names.host_interface or not allocation.addresses:
        told = f"{allocation.host_interface} and {len(allocation.addresses)} addresses"
        raise CniError(PLUMBING_FAILED, f"ipamd gave {told}; expected {names.host_interface} and at least one")
    mtu_bytes = request.conf.mtu_bytes or parts.config.mtu or await _uplink_mtu(parts)
    wanted = Wiring(names.host_interface, request.attachment.ifname, names.alias, allocation.addresses, mtu_bytes)
    ends = await parts.blocking(plumbing.plumb, wanted, netns_fd)
    return _attached(ends, request, wanted)


async def _await_policy(parts: Parts, request: Request, allocation: Allocation) -> None:
    """Until then the pod can neither send nor receive; an ADD that cannot vouch for policy is undone."""
    try:
        await parts.policy.in_force(request.attachment, allocation.revision)
    except RomanaError as err:
        raise CniError(TRY_AGAIN, f"policy is not in force: {err}", "see romana-policyd of this node") from err


async def _uplink_mtu(parts: Parts) -> int:
    addresses: tuple[IPv4Address, ...] = (await parts.ipam.identity(parts.config.ipam_timeout_s)).addresses
    return await parts.blocking(plumbing.uplink_mtu, addresses)


def _attached(ends: Ends, request: Request, wanted: Wiring) -> Attached:
    if ends.host is None or ends.pod is None:
        raise CniError(PLUMBING_FAILED, f"interface {wanted.host_interface} went away while it was made")
    return Attached(
        host_interface=ends.host.name,
        host_mac=ends.host.mac,
        pod_interface=ends.pod.name,
        pod_mac=ends.pod.mac,
        netns=request.netns,
        mtu_bytes=ends.pod.mtu_bytes,
        addresses=wanted.addresses,
    )


async def _undo(parts: Parts, request: Request, netns_fd: int) -> None:
    """In reverse: the interface, then the address."""
    try:
        await parts.remove(request.attachment, netns_fd)
    finally:
        await parts.release_or_remember(request.attachment)
    await parts.blocking(parts.memory.settle, request.attachment)
