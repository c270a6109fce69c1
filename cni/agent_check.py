"""CHECK: compare what ADD promised with kernel and reservation; changes nothing. CNI spec 1.1, section 4 "CHECK"."""

import logging

from cni import plumbing
from cni.agent_check_policy import policy_differences
from cni.agent_parts import Parts
from cni.check import Promised, differences
from cni.errors import CHECK_FOUND, CniError
from cni.request import Request
from romana.errors import RomanaError

__all__ = ["check"]

log = logging.getLogger(__name__)

LOOKUP_S = 2.0
"""CRI-O waits for a CHECK at every ADD."""


async def check(parts: Parts, request: Request, netns_fd: int | None) -> None:
    """Raises CniError 102 with every difference. The caller holds the attachment."""
    promised = Promised.parse(request)
    names = parts.names(request.attachment)
    fd = plumbing.check_netns(netns_fd, request.netns, may_be_own=request.netns_override)
    addresses = [address.ip for address in promised.addresses]
    seen = await parts.blocking(plumbing.see, names.host_interface, request.attachment.ifname, addresses, fd)
    found = differences(promised, names.host_interface, seen)
    found += await _reservation_differences(parts, request, promised)
    found += await policy_differences(parts, request.attachment)
    if found:
        raise CniError(CHECK_FOUND, f"{request.attachment}: {'; '.join(found)}", "delete the pod; its next sandbox is made anew")


async def _reservation_differences(parts: Parts, request: Request, promised: Promised) -> list[str]:
    """A silent ipamd is no difference: a pod that works must not be killed because ipamd restarts."""
    try:
        return [
            f"address {address.ip} is not reserved for {request.attachment}"
            for address in promised.addresses
            if not await parts.ipam.holds(request.attachment, address.ip, LOOKUP_S)
        ]
    except RomanaError as err:
        log.warning("reservation is not checked", extra={"attachment": str(request.attachment), "error": str(err)})
        return []
