"""How many addresses of networks, groups and nodes are allocated, cooling, reserved and free: sums over blocks. Pure.

    capacity = allocated + cooling + reserved + free

    allocated   held by an attachment, or about to be (a write under way)
    cooling     released, and not rested yet
    reserved    kept from being given out, and neither of those
    free        all others, claimed by a node or not: never used, or rested

The sums of a network are over its whole prefix, also where no group is. A node's are over its own blocks. One block costs about
a microsecond, so that a cluster of 150,000 addresses is counted in some ten milliseconds, in parts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ipam.blocks import Block, Ranges, reserved_in
from ipam.usage import stand
from romana.keys import Network

__all__ = ["Tally", "Use", "use_of"]


@dataclass(slots=True)
class Use:
    """Addresses of one place."""

    capacity: int = 0
    allocated: int = 0
    cooling: int = 0
    reserved: int = 0
    blocks: int = 0
    """In somebody's hands, or still with addresses of somebody who is gone."""

    @property
    def free(self) -> int:
        """Never below zero: of two places that overlap while a topology changes, neither owns what the other has."""
        return max(self.capacity - self.allocated - self.cooling - self.reserved, 0)

    def add(self, other: "Use") -> None:
        """Take in another one."""
        self.capacity += other.capacity
        self.allocated += other.allocated
        self.cooling += other.cooling
        self.reserved += other.reserved
        self.blocks += other.blocks


@dataclass(slots=True)
class Tally:
    """Sums so far. First the places (`network`, `group`), then every block once (`take`)."""

    networks: dict[str, Use] = field(default_factory=dict)
    groups: dict[tuple[str, str], Use] = field(default_factory=dict)
    """By network and path."""
    nodes: dict[tuple[str, str], Use] = field(default_factory=dict)
    """By node and network."""

    def network(self, name: str, cidr: Network, reserved: Ranges) -> None:
        """A network, with everything that is reserved in it."""
        self.networks[name] = _empty(cidr, reserved)

    def group(self, network: str, path: str, cidr: Network, reserved: Ranges) -> None:
        """A group that has blocks."""
        self.groups[network, path] = _empty(cidr, reserved)

    def node(self, name: str, networks: Iterable[str]) -> None:
        """A node that stands in these networks, with or without a block."""
        for network in networks:
            self.nodes.setdefault((name, network), Use())

    def take(self, network: str, path: str | None, node: str | None, block: Block, now_s: float) -> None:
        """A block: of a group, unless an earlier topology made it; of a node, unless that is gone. `now_s` is monotonic."""
        use = use_of(block, now_s)
        inside = Use(0, use.allocated, use.cooling, use.reserved - _size(block.reserved), 1)  # the place counts all as reserved
        for place in (self.networks.get(network), self.groups.get((network, path or ""))):
            if place is not None:
                place.add(inside)
        if node is not None:
            self.nodes.setdefault((node, network), Use()).add(use)


def use_of(block: Block, now_s: float) -> Use:
    """Of one block."""
    return Use(block.size, *stand(block, now_s), blocks=1)


def _empty(cidr: Network, reserved: Ranges) -> Use:
    return Use(cidr.num_addresses, reserved=_size(reserved_in(cidr, reserved)))


def _size(ranges: Ranges) -> int:
    return sum(end - start for start, end in ranges)
