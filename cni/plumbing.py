"""Attachments in the kernel: made, removed, looked at. Blocking; called on worker threads in the node's network namespace."""

import errno
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cni import wiring
from cni.check import Seen
from cni.errors import INTERFACE_EXISTS, INVALID_NETNS, PLUMBING_FAILED, CniError, from_ipam
from cni.wiring import HostEnd, Wiring
from romana.errors import RomanaError
from romana.netlink import netns, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.links import OPERSTATE_UP, Link, delete_link, get_link, parse_link

__all__ = [
    "Ends",
    "as_cni_error",
    "check_netns",
    "find_host_end",
    "look",
    "plumb",
    "prepare_node",
    "see",
    "unplumb",
    "uplink_mtu",
]

log = logging.getLogger(__name__)

EFFECTIVE_S = 2.0
"""A veth pair carries traffic within milliseconds of being set up (net/core/link_watch.c); longer means something is wrong."""
EFFECTIVE_PAUSE_S = 0.001

RULES_MAX = 16
"""More than an interface has addresses; a bound, should somebody else use our tables."""

MTU_DEFAULT = 1500  # Ethernet, IEEE 802.3: when the node has no uplink that could tell

IPV4_SYSCTL = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a veth pair, or what stands in their place."""

    host: Link | None
    pod: Link | None


def prepare_node() -> None:
    """Let this node forward packets (linux, Documentation/networking/ip-sysctl.rst, ip_forward)."""
    forward = IPV4_SYSCTL / "ip_forward"
    if forward.read_text().strip() != "1":  # writing it resets other settings of every interface
        _write_sysctl(forward, "1")


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
    with Connection() as here, _connection_in(netns_fd) as there:
        return Ends(queries.find_link(here, host_interface), queries.find_link(there, pod_interface))


def see(host_interface: str, pod_interface: str, addresses: Sequence[IPv4Address], netns_fd: int) -> Seen:
    """Everything that CHECK compares."""
    with Connection() as here, _connection_in(netns_fd) as there:
        host, pod = queries.find_link(here, host_interface), queries.find_link(there, pod_interface)
        return Seen(
            pod=pod,
            host=host,
            addresses=tuple(queries.addresses(there)),
            routes=tuple(queries.routes(there)),
            gateway=queries.find_neighbour(there, wiring.GATEWAY, pod.index) if pod else None,
            host_routes={ip: queries.find_route(here, ip) for ip in addresses},
            reverse_path_filter=_reverse_path_filter(host_interface),
            host_neighbours={ip: queries.find_neighbour(here, ip, host.index) if host else None for ip in addresses},
        )


def plumb(wanted: Wiring, netns_fd: int) -> Ends:
    """Make the attachment; when this returns, traffic flows. On any error nothing is left; raises CniError."""
    try:
        with Connection() as here, _connection_in(netns_fd) as there:
            here.run(wiring.create(wanted, netns_fd))
            try:
                return _wire(here, there, wanted)
            except BaseException:
                unplumb(wanted.host_interface, wanted.alias, netns_fd)
                raise
    except NetlinkError as err:
        raise CniError(INTERFACE_EXISTS if err.errno == errno.EEXIST else PLUMBING_FAILED, str(err)) from err


def unplumb(host_interface: str, alias: str, netns_fd: int | None = None) -> HostEnd:
    """Remove the attachment by the host's end; tells what stood there. Nothing there is fine, a foreign interface stays.

    Only the pod's source rules need its namespace; without it they go when it goes.
    """
    with Connection() as here:
        link = queries.find_link(here, host_interface)
        found = wiring.judge(link, alias)
        if link is not None and found is not HostEnd.FOREIGN:
            if netns_fd is not None:
                _delete_rules(link, netns_fd)
            _delete(here, link)
        return found


def find_host_end(host_interface: str, alias: str) -> HostEnd:
    """What stands where the attachment's host end would."""
    with Connection() as here:
        return wiring.judge(queries.find_link(here, host_interface), alias)


def uplink_mtu(node_addresses: Sequence[IPv4Address]) -> int:
    """The MTU of the interface that has the node's address, else of that of the default route."""
    with Connection() as here:
        holders = [index for index, address in queries.addresses(here) if address.ip in node_addresses]
        outside = [index for index in holders if index != wiring.LOOPBACK_INDEX]  # routed fabrics keep it on loopback
        for index in outside or [route.interface for route in queries.routes(here) if not route.destination.prefixlen]:
            link = queries.find_link(here, index=index)
            if link is not None:
                return link.mtu_bytes
    return MTU_DEFAULT


def _wire(here: Connection, there: Connection, wanted: Wiring) -> Ends:
    host = parse_link(here.run(get_link(wanted.host_interface))[0][0])
    pod = parse_link(there.run(get_link(wanted.pod_interface))[0][0])
    is_first = all(route.destination.prefixlen for route in queries.routes(there))
    _accept_only_own_addresses(host.name)
    there.run(*wiring.set_up_pod(wanted, pod, is_first=is_first))
    here.run(*wiring.finish_host(wanted, host, pod))
    here.run(*wiring.mark_finished(wanted, host))
    return Ends(_effective(here, host), _effective(there, pod))


def _accept_only_own_addresses(host_interface: str) -> None:
    """A packet from the pod must carry an address that is routed back to it (ip-sysctl.rst, rp_filter 1; RFC 3704)."""
    _write_sysctl(IPV4_SYSCTL / "conf" / host_interface / "rp_filter", "1")


def _reverse_path_filter(host_interface: str) -> str:
    try:
        return (IPV4_SYSCTL / "conf" / host_interface / "rp_filter").read_text().strip()
    except OSError:
        return ""


def _effective(connection: Connection, link: Link) -> Link:
    """The interface, once it carries traffic: a queue is attached when the kernel has seen the carrier, shortly after."""
    deadline = time.monotonic() + EFFECTIVE_S
    while True:
        found = queries.find_link(connection, index=link.index)
        if found is not None and found.operstate == OPERSTATE_UP:
            return found
        if found is None or time.monotonic() > deadline:
            raise CniError(PLUMBING_FAILED, f"interface {link.name} does not come up within {EFFECTIVE_S:g} s")
        time.sleep(EFFECTIVE_PAUSE_S)


def _delete(here: Connection, link: Link) -> None:
    try:
        here.run(delete_link(link.index, link.name))
    except NetlinkError as err:
        if err.errno != errno.ENODEV:  # it may go with the pod's namespace at any moment
            raise


def _delete_rules(host: Link, netns_fd: int) -> None:
    """What is in the pod may be as it likes: it keeps nobody from removing the attachment."""
    try:
        with _connection_in(netns_fd) as there:
            pod = queries.find_link(there, index=host.peer_index)
            if pod is None or not wiring.is_pair(host, pod):
                return  # the descriptor is of another namespace
            for _ in range(RULES_MAX):
                there.run(wiring.delete_own_rule(pod.index))
    except NetlinkError as err:
        if err.errno != errno.ENOENT:  # there is none left
            log.warning("rules of the pod stay", extra={"interface": host.name, "error": str(err)})
    except RomanaError as err:
        log.warning("rules of the pod stay", extra={"interface": host.name, "error": str(err)})


def _connection_in(netns_fd: int) -> Connection:
    try:
        return netns.call_in(netns_fd, Connection)
    except netns.NetnsError as err:
        raise CniError(INVALID_NETNS, str(err)) from err


def as_cni_error(err: RomanaError) -> CniError:
    """What to tell the runtime about an error on the way."""
    if isinstance(err, CniError):
        return err
    return CniError(PLUMBING_FAILED, str(err)) if isinstance(err, NetlinkError | netns.NetnsError) else from_ipam(err)


def _write_sysctl(path: Path, value: str) -> None:
    try:
        path.write_text(f"{value}\n")
    except OSError as err:
        raise CniError(PLUMBING_FAILED, f"cannot write {value} to {path}: {err.strerror}") from err
