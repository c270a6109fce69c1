"""Attachments in the kernel: looked at, removed; and the node made ready. Blocking; in the node's network namespace.

How one is made: cni/veth.py. How one is removed while others wait: cni/reaper.py.
"""

import errno
import logging
import time
from collections.abc import Sequence

from cni import sysctls, wiring
from cni.check import Seen
from cni.errors import INVALID_NETNS, PLUMBING_FAILED, CniError, from_ipam
from cni.veth import Ends, connection_in
from cni.wiring import HostEnd
from romana.errors import RomanaError
from romana.netlink import netns, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.ip import IPAddress
from romana.netlink.links import Link

__all__ = [
    "Uplink",
    "as_cni_error",
    "check_netns",
    "delete_rules",
    "find_host_end",
    "look",
    "prepare_node",
    "see",
]

log = logging.getLogger(__name__)

RULES_MAX = 16
"""More than an interface has addresses; a bound, should somebody else use our tables."""

MTU_DEFAULT = 1500  # Ethernet, IEEE 802.3: when the node has no uplink that could tell
MTU_FRESH_S = 5.0
"""An uplink's MTU changes when somebody works on the machine; a burst of ADDs need not ask for it each time."""


def prepare_node() -> None:
    """Let this node forward packets."""
    sysctls.forward_ipv4()


def check_netns(fd: int | None, path: str, *, may_be_own: bool) -> int:
    """The descriptor, if it is a network namespace in which a pod can live; raises CniError 8."""
    if fd is None:
        raise CniError(INVALID_NETNS, f"no descriptor came with the network namespace {path}")
    if not netns.is_netns(fd):
        raise CniError(INVALID_NETNS, f"{path} is not a network namespace")
    if netns.is_own(fd) and not may_be_own:
        raise CniError(INVALID_NETNS, f"{path} is the node's own network namespace", "set CNI_NETNS_OVERRIDE=1 to allow it")
    return fd


def look(host_interface: str, pod_interface: str, netns_fd: int) -> Ends:
    """The interfaces that have these names now."""
    with Connection() as here, connection_in(netns_fd) as there:
        return Ends(queries.find_link(here, host_interface), queries.find_link(there, pod_interface))


def see(host_interface: str, pod_interface: str, addresses: Sequence[IPAddress], netns_fd: int) -> Seen:
    """Everything that CHECK compares."""
    with Connection() as here, connection_in(netns_fd) as there:
        host, pod = queries.find_link(here, host_interface), queries.find_link(there, pod_interface)
        return Seen(
            pod=pod,
            host=host,
            addresses=tuple(found for family in sysctls.families() for found in queries.addresses(there, family)),
            routes=tuple(found for family in sysctls.families() for found in queries.routes(there, family=family)),
            gateways={
                family: queries.find_neighbour(there, wiring.GATEWAYS[family], pod.index) if pod else None
                for family in sysctls.families()
            },
            host_routes={ip: queries.find_route(here, ip) for ip in addresses},
            reverse_path_filter=sysctls.reverse_path_filter(host_interface),
            host_neighbours={ip: queries.find_neighbour(here, ip, host.index) if host else None for ip in addresses},
        )


def find_host_end(host_interface: str, alias: str) -> HostEnd:
    """What stands where the attachment's host end would."""
    with Connection() as here:
        return wiring.judge(queries.find_link(here, host_interface), alias)


class Uplink:
    """The interface by which this node is reached."""

    def __init__(self) -> None:
        self._mtu_bytes = 0
        self._fresh_until = 0.0

    def fresh_mtu_bytes(self) -> int:
        """The MTU, if it was asked for a moment ago; else 0. Does not block."""
        return self._mtu_bytes if time.monotonic() < self._fresh_until else 0

    def mtu_bytes(self, node_addresses: Sequence[IPAddress]) -> int:
        """The MTU of the interface that has the node's address, else of that of the default route."""
        now = time.monotonic()
        if now >= self._fresh_until:
            self._mtu_bytes = _uplink_mtu(node_addresses)
            self._fresh_until = now + MTU_FRESH_S
        return self._mtu_bytes


def _uplink_mtu(node_addresses: Sequence[IPAddress]) -> int:
    with Connection() as here:
        for family in sysctls.families():
            holders = [index for index, address in queries.addresses(here, family) if address.ip in node_addresses]
            outside = [index for index in holders if index != wiring.LOOPBACK_INDEX]  # routed fabrics keep it on loopback
            defaults = (route.interface for route in queries.routes(here, family=family) if not route.destination.prefixlen)
            for index in outside or defaults:
                link = queries.find_link(here, index=index)
                if link is not None:
                    return link.mtu_bytes
    return MTU_DEFAULT


def delete_rules(host: Link, netns_fd: int) -> None:
    """The pod's source rules. What is in the pod may be as it likes: it keeps nobody from removing the attachment."""
    try:
        with connection_in(netns_fd) as there:
            pod = queries.find_link(there, index=host.peer_index)
            if pod is None or not wiring.is_pair(host, pod):
                return  # the descriptor is of another namespace
            for family in sysctls.families():
                _delete_rules(there, pod.index, family)
    except RomanaError as err:
        log.warning("rules of the pod stay", extra={"interface": host.name, "error": str(err)})


def _delete_rules(there: Connection, index: int, family: int) -> None:
    for _ in range(RULES_MAX):
        _, (outcome,) = there.attempt(wiring.delete_own_rule(index, family))
        if outcome.errno in {errno.ENOENT, errno.EAFNOSUPPORT}:  # there is none left, or the kernel has no such family
            return
        if outcome.errno:
            raise NetlinkError("delete a source rule", outcome)


def as_cni_error(err: RomanaError) -> CniError:
    """What to tell the runtime about an error on the way."""
    if isinstance(err, CniError):
        return err
    return CniError(PLUMBING_FAILED, str(err)) if isinstance(err, NetlinkError | netns.NetnsError) else from_ipam(err)
