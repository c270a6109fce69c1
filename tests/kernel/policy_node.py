"""A node as a network namespace, with pods and the world around it, for tests of policy; nothing is made in the machine's own.

    pod a, b, ... (eth0) ──veth── rom<hash>  node  eth0 ──veth── eth0  world (198.18.0.1)

Pods are wired as the agent wires them: /32 and /128, a gateway behind permanent neighbour entries, host routes.
"""

import contextlib
import hashlib
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TypeVar

from policyd.applied import Applied
from policyd.compiled import Address, Compiled, Direction, Group, Network, PodInterface, PortPeers, Protocol
from policyd.ipset.model import Family, Station
from policyd.iptables.dataplane import IptablesDataplane
from policyd.iptables.plan import Plan
from romana.names import GATEWAY_IPV4, GATEWAY_MAC
from romana.netlink.netns import call_in

__all__ = ["WORLD", "WORLD6", "Node", "Place", "isolating", "new_node", "open_model"]

Answer = TypeVar("Answer")

WORLD, WORLD6 = IPv4Address("198.18.0.1"), IPv6Address("fd00:18::1")
NODE, NODE6 = "198.18.0.2", "fd00:18::2"
GATEWAY_IPV6 = "fe80::1"
POD_MAC = "0a:58:0a:00:00:01"

_numbers = itertools.count()


@dataclass(eq=False)
class Place:
    """A network namespace, a pod's or the world's."""

    name: str
    netns: str
    fd: int
    ipv4: IPv4Address
    ipv6: IPv6Address
    interface: str = ""

    def call(self, work: Callable[[], Answer]) -> Answer:
        """What `work` gives inside."""
        return call_in(self.fd, work)

    def pings(self, address: IPv4Address) -> bool:
        """Whether an echo request comes back (RFC 792)."""
        return self.call(partial(_ping, str(address)))

    def station(self) -> Station:
        """Its IPv4 member of the gate."""
        return Station(self.ipv4, self.interface)

    def pod(self, ingress: str | None = None, egress: str | None = None) -> PodInterface:
        """The pod in the compiled model."""
        return PodInterface(self.interface, (self.ipv4, self.ipv6), ingress, egress)


@dataclass(eq=False)
class Node:
    """The namespace in the middle."""

    netns: str
    fd: int
    folder: Path
    world: Place
    pods: dict[str, Place] = field(default_factory=dict)
    _dataplane: IptablesDataplane | None = None

    def __getitem__(self, pod: str) -> Place:
        """A pod by name."""
        return self.pods[pod]

    def call(self, work: Callable[[], Answer]) -> Answer:
        """What `work` gives inside the node."""
        return call_in(self.fd, work)

    def run(self, *command: str, text: str | None = None) -> str:
        """The output of a program that runs on the node."""
        done = self.call(lambda: subprocess.run(command, capture_output=True, text=True, check=False, input=text))
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout

    def as_place(self) -> Place:
        """The node itself, to send from."""
        return Place("node", self.netns, self.fd, IPv4Address(NODE), IPv6Address(NODE6))

    @property
    def lock(self) -> Path:
        """The xtables lock of this node: no other test's and not the machine's."""
        return self.folder / "xtables.lock"

    def iptables(self, arguments: str, family: int = 4) -> str:
        """Another program's change, under the node's lock."""
        name = "iptables-legacy" if family == 4 else "ip6tables-legacy"
        return self.run("env", f"XTABLES_LOCKFILE={self.lock}", name, "--wait", *arguments.split())

    def saved(self, family: int = 4) -> list[str]:
        """The whole filter table."""
        return self.run("iptables-legacy-save" if family == 4 else "ip6tables-legacy-save", "-t", "filter").splitlines()

    def dataplane(self) -> IptablesDataplane:
        """A new one, as after a restart."""
        return self.call(lambda: IptablesDataplane(self.lock))

    def apply(self, pods: Iterable[PodInterface], *groups: Group) -> Applied:
        """Enforce this, by one data plane for the node's whole life."""
        return self.call(partial(self._living().apply, Compiled(tuple(pods), groups)))

    def plan(self, pods: Iterable[PodInterface], *groups: Group) -> Mapping[Family, Plan]:
        """What that data plane would do."""
        return self.call(partial(self._living().plan, Compiled(tuple(pods), groups)))

    def verify(self, *, full: bool = False) -> tuple[str, ...]:
        """What that data plane finds changed."""
        return self.call(partial(self._living().verify, full=full))

    def epoch(self) -> int:
        """The epoch in force."""
        return self._living().epoch or 0

    def _living(self) -> IptablesDataplane:
        if self._dataplane is None:
            self._dataplane = self.dataplane()
        return self._dataplane

    def restart(self) -> None:
        """The next `apply` is a new data plane's, which remembers nothing."""
        self.close()
        self._dataplane = None

    def close(self) -> None:
        """Close the data plane."""
        if self._dataplane is not None:
            self._dataplane.close()

    def add_pod(self, name: str, ipv4: IPv4Address | None = None) -> Place:
        """A pod, wired; not yet in any rule. It may have an address that another one had."""
        netns = f"{self.netns}-{name}"
        interface = f"rom{hashlib.sha256(netns.encode()).hexdigest()[:12]}"
        number = next(_numbers) % 60_000 + 2
        ip("netns", "add", netns)
        fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        given, ipv6 = IPv4Address("10.40.0.0") + number, IPv6Address("fd00:40::") + number
        place = self.pods[name] = Place(name, netns, fd, ipv4 or given, ipv6, interface)
        self.wire(place)
        return place

    def wire(self, place: Place) -> None:
        """Make the veth pair, addresses, routes and neighbours of a pod."""
        _batch(
            self.netns,
            f"link add {place.interface} address {GATEWAY_MAC} type veth peer name eth0 address {POD_MAC} netns {place.netns}",
            f"addr add {GATEWAY_IPV6}/64 dev {place.interface} nodad",
            f"link set {place.interface} up",
        )
        _batch(
            place.netns,
            "link set lo up",
            f"addr add {place.ipv4}/32 dev eth0",
            f"addr add {place.ipv6}/128 dev eth0 nodad",
            "link set eth0 up",
            f"neigh add {GATEWAY_IPV4} lladdr {GATEWAY_MAC} nud permanent dev eth0",
            f"neigh add {GATEWAY_IPV6} lladdr {GATEWAY_MAC} nud permanent dev eth0",
            f"route add {GATEWAY_IPV4} dev eth0",
            f"route add default via {GATEWAY_IPV4} dev eth0",
            f"route add default via {GATEWAY_IPV6} dev eth0",
        )
        _batch(
            self.netns,
            f"route add {place.ipv4} dev {place.interface}",
            f"route add {place.ipv6} dev {place.interface}",
            f"neigh add {place.ipv4} lladdr {POD_MAC} nud permanent dev {place.interface}",
            f"neigh add {place.ipv6} lladdr {POD_MAC} nud permanent dev {place.interface}",
        )

    def rename(self, place: Place, interface: str) -> None:
        """Make a pod somebody else's: its host interface bears no name of ours."""
        _batch(
            self.netns,
            f"link set {place.interface} down",
            f"link set {place.interface} name {interface}",
            f"link set {interface} up",
            f"neigh replace {place.ipv4} lladdr {POD_MAC} nud permanent dev {interface}",
            f"route replace {place.ipv4} dev {interface}",
        )
        place.interface = interface

    def remove_pods(self) -> None:
        """Remove all of them."""
        for name in list(self.pods):
            self.remove_pod(name)

    def remove_pod(self, name: str) -> None:
        """Unwire a pod and remove its namespace."""
        place = self.pods.pop(name)
        subprocess.run(["ip", "-n", self.netns, "link", "del", place.interface], check=False, capture_output=True)
        os.close(place.fd)
        ip("netns", "del", place.netns)


@contextlib.contextmanager
def new_node(folder: Path, *pods: str) -> Iterator[Node]:
    """A node with these pods and a world; all removed afterwards."""
    name = f"t{os.getpid()}-pol{next(_numbers)}"
    world = f"{name}-w"
    with contextlib.ExitStack() as stack:
        for netns in (name, world):
            ip("netns", "add", netns)
            stack.callback(subprocess.run, ["ip", "netns", "del", netns], check=False, capture_output=True)
        fds = [os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC) for netns in (name, world)]
        for fd in fds:
            stack.callback(os.close, fd)
        node = Node(name, fds[0], folder, Place("world", world, fds[1], WORLD, WORLD6))
        node.call(_forwarding)
        _batch(name, "link set lo up", f"link add eth0 type veth peer name eth0 netns {world}", f"addr add {NODE}/24 dev eth0",
               f"addr add {NODE6}/64 dev eth0 nodad", "link set eth0 up")  # fmt: skip
        _batch(world, "link set lo up", f"addr add {WORLD}/24 dev eth0", f"addr add {WORLD6}/64 dev eth0 nodad",
               "link set eth0 up", f"route add 10.40.0.0/16 via {NODE}", f"route add fd00:40::/32 via {NODE6}")  # fmt: skip
        stack.callback(node.remove_pods)
        stack.callback(node.close)
        for pod in pods:
            node.add_pod(pod)
        yield node


def open_model(node: Node) -> Compiled:
    """All pods of the node, none of them isolated."""
    return Compiled(tuple(place.pod() for place in node.pods.values()))


def isolating(number: int, direction: Direction, *peers: tuple[Address, Protocol, int] | Address) -> Group:
    """A group that allows these: an address and port, or all of an address."""
    with_port = frozenset(PortPeers(single(peer[0]), *peer[1:]) for peer in peers if isinstance(peer, tuple))
    return Group(f"{number:010x}", direction, with_port, frozenset(single(peer) for peer in peers if not isinstance(peer, tuple)))


def single(address: Address) -> Network:
    """The network of one address."""
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


def ip(*arguments: str) -> None:
    """Run iproute2."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr}")


def _ping(to: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(0.3)
        raw.sendto(bytes.fromhex("0800f7fe00000001"), (to, 0))  # echo request, checksum, identifier 0, sequence 1
        try:
            while True:
                packet, (sender, _) = raw.recvfrom(64)
                if sender == to and packet[20] == 0:  # echo reply
                    return True
        except TimeoutError:
            return False


def _batch(netns: str, *lines: str) -> None:
    done = subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(lines), text=True, check=False, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"ip -n {netns}: {done.stderr}")


def _forwarding() -> None:
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", setting).write_text("1")
