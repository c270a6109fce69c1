"""A veth pair in the making, in three steps, so that whoever waits for ipamd or policyd has the rest done meanwhile. Blocking.

    create   the pair, both ends in place; the pod's is up, the host's down: no carrier        while ipamd chooses addresses
    address  addresses, neighbours and routes in the pod                                       while policyd puts policy in force
    open     the host's end up, host routes, neighbours, the owner's name                      then traffic flows (`wait`)

Until `open` nothing can leave the pod or reach it, whatever runs inside: the end that carries is not the pod's. Each step may run
on another thread, in the node's network namespace. On an error the caller removes the pair.
"""

import errno
import time
from dataclasses import dataclass

from cni import sysctls, wiring
from cni.errors import INTERFACE_EXISTS, INVALID_NETNS, PLUMBING_FAILED, CniError
from cni.wiring import Wiring
from romana.netlink import netns, queries
from romana.netlink.connection import Connection, NetlinkError
from romana.netlink.ip import IPInterface, family_of
from romana.netlink.links import OPERSTATE_UP, Link, parse_link
from romana.netlink.pool import Pool
from romana.netlink.wire import AF_INET6

__all__ = ["Ends", "Veth", "connection_in"]

EFFECTIVE_S = 2.0
"""A veth pair carries traffic within milliseconds of being set up (net/core/link_watch.c); longer means something is wrong."""
EFFECTIVE_PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of a veth pair, or what stands in their place."""

    host: Link | None
    pod: Link | None

    @property
    def carry(self) -> bool:
        """Whether the kernel has attached the queues of both."""
        return all(end is not None and end.operstate == OPERSTATE_UP for end in (self.host, self.pod))


class Veth:
    """The pair of one attachment; close it when it is no more worked on."""

    def __init__(self, pool: Pool, wanted: Wiring, netns_fd: int) -> None:
        self._pool = pool
        self._wanted = wanted
        self._netns_fd = netns_fd
        self._there: Connection | None = None
        self._host_index = self._pod_index = 0
        self.has_rules = False
        """The pod has source rules for this pair, which do not go with it."""

    def create(self) -> bool:
        """Step 1; False when an interface of either name stands there already. Raises CniError."""
        try:
            with self._pool.borrow() as here:
                host = parse_link(here.run(*wiring.create(self._wanted, self._netns_fd))[1][0])
            self._host_index, self._pod_index = host.index, host.peer_index
            sysctls.protect_host_end(self._wanted.host_interface)
            self._there = connection_in(self._netns_fd)
            self._there.run(*wiring.set_up_pod(self._pod_index))
        except NetlinkError as err:
            if err.errno == errno.EEXIST and self._there is None:
                return False
            raise _cni_error(err) from err
        return True

    def address(self, addresses: tuple[IPInterface, ...]) -> None:
        """Step 2. Raises CniError."""
        there = self._opened()
        families = {family_of(address.ip) for address in addresses}
        try:
            if AF_INET6 in families:
                netns.visit(self._netns_fd, lambda: sysctls.prepare_ipv6(self._wanted.pod_interface))
                sysctls.prepare_ipv6(self._wanted.host_interface)
                sysctls.forward_ipv6()
            with_default = {family for family in families if _has_default(there, family)}
            self.has_rules = bool(with_default)
            there.run(*wiring.address_pod(addresses, self._pod_index, with_default))
        except NetlinkError as err:
            raise _cni_error(err) from err

    def open(self, addresses: tuple[IPInterface, ...]) -> Ends:
        """Step 3; traffic flows when `wait` returns. Raises CniError."""
        there = self._opened()
        try:
            with self._pool.borrow() as here:
                here.run(*wiring.open_host(self._wanted, addresses, self._host_index))
                host = parse_link(here.run(*wiring.mark_finished(self._wanted, self._host_index))[1][0])
            return Ends(host, queries.find_link(there, index=self._pod_index))
        except NetlinkError as err:
            raise _cni_error(err) from err

    def wait(self, ends: Ends) -> Ends:
        """Both ends, once they carry traffic, which they nearly always do already. Raises CniError."""
        if ends.carry:
            return ends
        with self._pool.borrow() as here:
            return Ends(_effective(here, ends.host), _effective(self._opened(), ends.pod))

    def close(self) -> None:
        """Let go of the pod's namespace."""
        if self._there is not None:
            self._there.close()
            self._there = None

    def _opened(self) -> Connection:
        if self._there is None:
            raise CniError(PLUMBING_FAILED, f"interface {self._wanted.host_interface} was not created")
        return self._there


def connection_in(netns_fd: int) -> Connection:
    """A socket in the namespace behind a descriptor; raises CniError 8."""
    try:
        return netns.visit(netns_fd, Connection)
    except netns.NetnsError as err:
        raise CniError(INVALID_NETNS, str(err)) from err


def _has_default(there: Connection, family: int) -> bool:
    return any(not route.destination.prefixlen for route in queries.routes(there, family=family))


def _effective(connection: Connection, link: Link | None) -> Link:
    """The interface, once it carries traffic: a queue is attached when the kernel has seen the carrier, shortly after."""
    deadline = time.monotonic() + EFFECTIVE_S
    found = link
    while found is None or found.operstate != OPERSTATE_UP:
        if link is None or found is None or time.monotonic() > deadline:
            name = link.name if link else "of the pod"
            raise CniError(PLUMBING_FAILED, f"interface {name} does not come up within {EFFECTIVE_S:g} s, or is gone")
        time.sleep(EFFECTIVE_PAUSE_S)
        found = queries.find_link(connection, index=link.index)
    return found


def _cni_error(err: NetlinkError) -> CniError:
    return CniError(INTERFACE_EXISTS if err.errno == errno.EEXIST else PLUMBING_FAILED, str(err))
