"""What a node's kernel has, read by other means than the daemons': `ip` for links and routes; and what it should have."""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipam.records import AttachmentRecord, BlockRecord
from policyd.ipset.kernel import Sets
from policyd.ipset.model import Station
from romana.lab.namespaces import NETNS_DIR
from romana.lab.spec import LabSpec
from romana.names import ROUTE_PROTOCOL_AGENT, ROUTE_PROTOCOL_ROUTED
from romana.netlink.netns import call_in

__all__ = ["KernelState", "differences", "expected", "namespaces_of", "observed"]

HOST_INTERFACE = "rom"
GATE = "rom-self"


@dataclass(frozen=True, slots=True)
class KernelState:
    """Of one node."""

    interfaces: frozenset[str]
    """Host ends of pods' veth pairs."""
    pod_routes: frozenset[tuple[str, str]]
    """(address, host interface), the agent's."""
    block_routes: frozenset[tuple[str, str]]
    """(block, next hop or "unreachable"), routed's."""
    admitted: frozenset[tuple[str, str]]
    """(address, host interface), policyd's gate: who is not in it neither sends nor receives."""


def expected(lab: LabSpec, node: str, attachments: Iterable[AttachmentRecord], blocks: Iterable[BlockRecord]) -> KernelState:
    """What the store says that this node's kernel should have."""
    own = [attachment for attachment in attachments if attachment.id.node == node]
    pods = frozenset((str(address.ip), one.id.host_interface) for one in own for address in one.addresses)
    hops = {spec.name: "unreachable" if spec.name == node else str(spec.address) for spec in lab.nodes}
    routes = frozenset((str(block.cidr), hops[block.node]) for block in blocks)
    return KernelState(frozenset(one.id.host_interface for one in own), pods, routes, pods)


def observed(lab: LabSpec, node: str) -> KernelState:
    """What it has; blocking."""
    netns = lab.netns(node)
    links = [link["ifname"] for link in _ip(netns, "link", "show")]
    routes = _ip(netns, "-d", "route", "show", "table", "all")
    by_agent = [route for route in routes if route["protocol"] == str(ROUTE_PROTOCOL_AGENT)]
    by_routed = [route for route in routes if route["protocol"] == str(ROUTE_PROTOCOL_ROUTED)]
    return KernelState(
        frozenset(name for name in links if name.startswith(HOST_INTERFACE)),
        frozenset((route["dst"], route["dev"]) for route in by_agent),
        frozenset((route["dst"], route.get("gateway") or route["type"]) for route in by_routed),
        frozenset((str(member.address), member.interface) for member in _gate(netns)),
    )


def differences(node: str, want: KernelState, have: KernelState) -> Iterator[str]:
    """What one of them has and the other has not."""
    pairs: tuple[tuple[str, frozenset[object], frozenset[object]], ...] = (
        ("host interface", frozenset(want.interfaces), frozenset(have.interfaces)),
        ("route to a pod", frozenset(want.pod_routes), frozenset(have.pod_routes)),
        ("route to a block", frozenset(want.block_routes), frozenset(have.block_routes)),
        ("member of the gate", frozenset(want.admitted), frozenset(have.admitted)),
    )
    for what, wanted, there in pairs:
        for item in sorted(map(str, wanted - there)):
            yield f"{node}: {what} {item} is missing"
        for item in sorted(map(str, there - wanted)):
            yield f"{node}: {what} {item} is left over"


def namespaces_of(lab: LabSpec) -> set[str]:
    """Names of the network namespaces of this lab that there are."""
    return {path.name for path in NETNS_DIR.iterdir() if path.name.startswith(f"{lab.name}-")}


def _ip(netns: str, *arguments: str) -> list[dict[str, str]]:
    done = subprocess.run(["ip", "-n", netns, "-j", *arguments], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout or "[]"))


def _gate(netns: str) -> list[Station]:
    def read() -> list[Station]:
        with Sets() as sets:
            header = sets.headers().get(GATE)
            found = sets.read(header) if header else None
            decoded = found.decoded() if found else None
            return [member for member in (decoded.members() if decoded else ()) if isinstance(member, Station)]

    fd = os.open(Path(NETNS_DIR, netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return call_in(fd, read)
    finally:
        os.close(fd)
