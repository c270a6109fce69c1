"""Carries out `Compiled` by looking into its sets, as the kernel does: what becomes of one packet between two nodes."""

from collections.abc import Mapping
from dataclasses import dataclass

from policyd.compiled import Address, Compiled, Group, PodInterface, Protocol


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection; a protocol beside the three has no port."""

    source: Address
    destination: Address
    protocol: Protocol | None
    port: int | None


class Kernels:
    """The kernels of all nodes. `attached` are addresses that have an interface somewhere, enforced or not."""

    def __init__(self, nodes: Mapping[str, Compiled], attached: set[Address]) -> None:
        self.pods = {address: (pod, node) for node in nodes.values() for pod in node.pods for address in pod.addresses}
        self.attached = attached

    def forward(self, packet: Packet) -> bool:
        """Whether it arrives: send and receive check, hairpin, egress of the sender, ingress of the receiver."""
        sender, receiver = self.pods.get(packet.source), self.pods.get(packet.destination)
        if any(address in self.attached and address not in self.pods for address in (packet.source, packet.destination)):
            return False
        if sender and receiver and sender[0] is receiver[0]:
            return True
        leaves = sender is None or passes(sender[1], sender[0].egress, packet.destination, packet)
        return leaves and (receiver is None or passes(receiver[1], receiver[0].ingress, packet.source, packet))


def passes(node: Compiled, group_id: str | None, peer: Address, packet: Packet) -> bool:
    """Whether a group lets a packet pass; no group: everything."""
    if group_id is None:
        return True
    (group,) = (group for group in node.groups if group.id == group_id)
    return any(peer in network for network in group.peers) or by_port(group, peer, packet) or by_range(group, peer, packet)


def by_port(group: Group, peer: Address, packet: Packet) -> bool:
    return any((one.protocol, one.port) == (packet.protocol, packet.port) and peer in one.peer for one in group.port_peers)


def by_range(group: Group, peer: Address, packet: Packet) -> bool:
    return packet.port is not None and any(
        one.protocol is packet.protocol and one.first <= packet.port <= one.last and any(peer in network for network in one.peers)
        for one in group.ranges
    )


def check_shape(compiled: Compiled) -> None:
    """Hold a compiled node to what its model promises."""
    named = {group for pod in compiled.pods for group in (pod.ingress, pod.egress) if group}
    ids = [group.id for group in compiled.groups]
    assert sorted(named) == ids
    assert all(len(found) == 10 and set(found) <= set("0123456789abcdef") for found in ids)
    by_id = {group.id: group for group in compiled.groups}
    for pod in compiled.pods:
        check_directions(pod, by_id)
    for group in compiled.groups:
        check_group(group)


def check_directions(pod: PodInterface, groups: Mapping[str, Group]) -> None:
    assert pod.ingress is None or groups[pod.ingress].direction.value == "ingress"
    assert pod.egress is None or groups[pod.egress].direction.value == "egress"


def check_group(group: Group) -> None:
    ports = {(one.protocol, one.port) for one in group.port_peers}
    sets = [group.peers, *(one.peers for one in group.ranges)]
    sets += [frozenset(one.peer for one in group.port_peers if (one.protocol, one.port) == port) for port in ports]
    for networks in sets:
        assert all(network.prefixlen for network in networks)
        assert not any(
            one is not other and one.version == other.version and one.overlaps(other) for one in networks for other in networks
        )
    keys = [(one.protocol.value, one.first, one.last) for one in group.ranges]
    assert keys == sorted(set(keys))
    assert all(one.peers and one.first < one.last for one in group.ranges)
