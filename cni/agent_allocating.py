"""The first half of ADD: addresses from ipamd while the interface is made, and what to do when one of both fails.

An attachment that is finished already keeps everything: its interface, its address, and the ADD is refused.
"""

import asyncio
import time
from dataclasses import dataclass

from cni import plumbing, wiring
from cni.agent_ipam import Allocation, NodeUnknown
from cni.agent_locks import Abort
from cni.agent_parts import Names, Parts
from cni.errors import INTERFACE_EXISTS, INVALID_CONFIG, PLUMBING_FAILED, CniError, from_ipam
from cni.hints import hint
from cni.request import Request
from cni.veth import Ends, Veth
from cni.wiring import HostEnd
from romana.errors import Conflict, Exhausted, NotFound, Refused, RomanaError, Unavailable

__all__ = ["allocate_and_create", "undo"]

POD_PAUSE_S = 0.1
"""Pod objects usually arrive within some tens of milliseconds after kubelet has them."""


@dataclass(frozen=True, slots=True)
class _Both:
    """What came of both."""

    is_first: bool
    """No earlier ADD of this attachment is unsettled: else that one may have taken the address (cni/agent_recovery.py)."""
    created: bool | RomanaError
    """False: something stands there."""
    allocation: Allocation | RomanaError

    @property
    def is_lost(self) -> bool:
        """An address may be taken, and nobody knows which."""
        return isinstance(self.allocation, Unavailable)


async def allocate_and_create(parts: Parts, request: Request, veth: Veth, abort: Abort, netns_fd: int) -> Allocation:
    """Addresses, durable, and the pair, created; raises CniError, and then nothing is left that was not there before."""
    both = await _both(parts, request, veth, abort)
    if isinstance(both.created, RomanaError):
        await undo(parts, request, netns_fd)
        raise both.created
    if not both.created:
        return await _in_place_of_another(parts, request, veth, both, netns_fd)
    if isinstance(both.allocation, Allocation):
        return await _checked(parts, request, both.allocation, netns_fd)
    await parts.remove(request.attachment, netns_fd)
    raise await _settled(parts, request, both, both.allocation)


async def undo(parts: Parts, request: Request, netns_fd: int) -> None:
    """In reverse: the interface, then the address."""
    try:
        await parts.remove(request.attachment, netns_fd)
    finally:
        await parts.release_or_remember(request.attachment)
    await parts.blocking(parts.memory.settle, request.attachment)


async def _both(parts: Parts, request: Request, veth: Veth, abort: Abort) -> _Both:
    def create() -> bool | RomanaError:
        try:
            return veth.create()
        except RomanaError as err:
            return err

    is_first = parts.memory.intend(request.attachment)  # a line of the journal: sooner written than a thread is woken up
    asking = asyncio.create_task(_ask_or_error(parts, request, abort))
    try:
        created = await parts.soon(create)
    finally:
        allocation = await asking
    return _Both(is_first, created, allocation)


async def _ask_or_error(parts: Parts, request: Request, abort: Abort) -> Allocation | RomanaError:
    try:
        return await _ask(parts, request, abort)
    except RomanaError as err:
        return err


async def _ask(parts: Parts, request: Request, abort: Abort) -> Allocation:
    """Ask until the Pod is known to ipamd, or the time for it is over.

    A refusal may be for want of an address that a DEL has left behind and ipamd does not know of yet: then it is asked once more.
    """
    give_up = time.monotonic() + parts.config.pod_wait_s
    may_wait = True
    while True:
        abort.check()
        try:
            return await parts.ipam.allocate(
                request.attachment, request.pod, parts.config.ipam_timeout_s, networks=request.conf.networks
            )
        except NodeUnknown as err:
            raise NotFound(f"{err}; add it: romana node add", reason=err.reason) from err
        except NotFound as err:
            if err.reason == "NETWORK_UNKNOWN":
                raise CniError(INVALID_CONFIG, str(err), hint(err)) from err
            if time.monotonic() > give_up or request.pod is None:
                pod = f"pod {request.pod.namespace}/{request.pod.name}" if request.pod else "this node"
                text = f"ipamd does not know {pod} after {parts.config.pod_wait_s:g} s: {err}"
                raise NotFound(text, reason=err.reason) from err
        except (Conflict, Exhausted, Refused):
            if not may_wait or not await parts.releasing.wait_for_all():
                raise
            may_wait = False
            continue
        await asyncio.sleep(POD_PAUSE_S)


async def _in_place_of_another(parts: Parts, request: Request, veth: Veth, both: _Both, netns_fd: int) -> Allocation:
    """What stands there is refused, or is of an ADD that died and makes room."""
    names = parts.names(request.attachment)
    ends = await parts.blocking(plumbing.look, names.host_interface, request.attachment.ifname, netns_fd)
    try:
        found = _refuse_what_is_there(ends, names, request)
    except CniError:
        await _give_back_what_is_new(parts, request, both)
        raise
    if not isinstance(both.allocation, Allocation):
        raise await _settled(parts, request, both, both.allocation, sure_is_new=found is not HostEnd.FINISHED)
    if found is HostEnd.FINISHED and both.allocation.existing:
        await _give_back_what_is_new(parts, request, both)
        raise _exists(f"attachment {request.attachment} is there already, on interface {names.host_interface}")
    await parts.remove(request.attachment, netns_fd)
    try:
        created = await parts.blocking(veth.create)
    except BaseException:
        await undo(parts, request, netns_fd)
        raise
    if not created:
        await undo(parts, request, netns_fd)
        raise _exists(f"interface {names.host_interface} or {request.attachment.ifname} is made by somebody else too")
    return await _checked(parts, request, both.allocation, netns_fd)


async def _give_back_what_is_new(parts: Parts, request: Request, both: _Both) -> None:
    """For a refused ADD: an address that it has just taken; not one that was there before, which is in use."""
    if isinstance(both.allocation, Allocation) and not both.allocation.existing:
        await parts.release_or_remember(request.attachment)
    if both.is_first and not both.is_lost:
        await parts.blocking(parts.memory.settle, request.attachment)


async def _settled(parts: Parts, request: Request, both: _Both, err: RomanaError, *, sure_is_new: bool = True) -> CniError:
    """The error to raise for an allocation that failed. An address that may be taken is given back, if it cannot be in use."""
    if both.is_lost and sure_is_new:
        await parts.blocking(parts.pending.add, request.attachment)
    if both.is_first and sure_is_new:
        await parts.blocking(parts.memory.settle, request.attachment)
    return err if isinstance(err, CniError) else from_ipam(err)


async def _checked(parts: Parts, request: Request, allocation: Allocation, netns_fd: int) -> Allocation:
    expected = parts.names(request.attachment).host_interface
    if allocation.host_interface != expected or not allocation.addresses:
        await undo(parts, request, netns_fd)
        told = f"{allocation.host_interface} and {len(allocation.addresses)} addresses"
        raise CniError(PLUMBING_FAILED, f"ipamd gave {told}; expected {expected} and at least one")
    return allocation


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
