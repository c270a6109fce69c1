"""What to write of an attachment that lives on a node, and that the store does not have: decided from what is there. Pure.

The agent is the authority for what lives on its node; the store, as far as it goes, for everything else. So an address is taken
over from nobody but: a cooling one (its holder has let go), one whose holder's node was given up. A block is taken over from a
node that has said what lives on it, when nothing of that is in the block: it changed hands after the backup was made, or an ipamd
that did not know better has claimed it since. (What of that node could not be written is in no block of its own.)

What cannot be written leaves a conflict. It is *blocking* as long as an address that lives is not known to the store: a recovery
must not end by then. It is not when the store has the address as held, be it by another: nobody gets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network

from ipam.records import AddressRecord, Assigned, AttachmentId, AttachmentRecord, BlockRecord, NodeRecord, TopologyRecord
from romana.keys import Network

__all__ = ["Block", "Heard", "Rewrite", "Scene", "Stopped", "decide", "stale"]


class Heard(Enum):
    """What is known of what lives on a node."""

    ALL = "it has said it, and the store has it all"
    SPOKEN = "it has said it, and something is in the way"
    GIVEN_UP = "a person said that it is gone"
    NOTHING = "it has not said it yet"


class Block(Enum):
    """What is to be done for the block of an address."""

    OWN = "it is the node's"
    CLAIM = "nobody has it"
    MOVE = "it is another's, and empty"


@dataclass(frozen=True, slots=True)
class Scene:
    """What the store has around one attachment, at one revision."""

    node: NodeRecord
    topology: TopologyRecord | None
    addresses: Mapping[Assigned, AddressRecord | None]
    blocks: Mapping[Assigned, BlockRecord | None]
    heard: Mapping[str, Heard] = field(default_factory=dict)
    """By name of a node; outside a recovery everybody counts as heard."""
    held_in: Mapping[Network, int] = field(default_factory=dict)
    """How many addresses are held in a block of another node."""
    others: Sequence[BlockRecord] = ()
    """All blocks, to see what a claim would overlap."""

    def heard_of(self, node: str) -> Heard:
        """What is known of a node."""
        return self.heard.get(node, Heard.NOTHING)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Write the attachment, once what is in `displaced` was released."""

    blocks: tuple[Block, ...]
    """One for each address."""
    displaced: tuple[AttachmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """It cannot be written as it was."""

    reason: str
    blocking: bool


def stale(
    known: Sequence[AttachmentRecord], live: Mapping[AttachmentId, AttachmentRecord], interfaces: frozenset[str]
) -> list[AttachmentId]:
    """Attachments of a node that the store has and that live no more: its agent neither named them, nor has their interface.

    One of the same name with other addresses is an earlier life of it.
    """
    return [record.id for record in known if not _lives(record, live.get(record.id), interfaces)]


def _lives(record: AttachmentRecord, live: AttachmentRecord | None, interfaces: frozenset[str]) -> bool:
    if live is None or not live.addresses:
        return live is not None or record.id.host_interface in interfaces
    return {address.ip for address in live.addresses} == {address.ip for address in record.addresses}


def decide(attachment: AttachmentRecord, scene: Scene) -> Rewrite | Stopped:
    """What to write of an attachment that lives and is absent from the store."""
    if not attachment.addresses:
        return Stopped("the agent does not know how it was granted (its state folder was lost); make the pod anew", blocking=True)
    displaced: list[AttachmentId] = []
    blocks: list[Block] = []
    for address in attachment.addresses:
        holder = _holder(attachment, address, scene)
        if isinstance(holder, Stopped):
            return holder
        block = _block(address, scene)
        if isinstance(block, Stopped):
            return block
        displaced += [holder] if holder else []
        blocks.append(block)
    return Rewrite(tuple(blocks), tuple(displaced))


def _holder(attachment: AttachmentRecord, address: Assigned, scene: Scene) -> AttachmentId | Stopped | None:
    """Who has to be displaced; None: nobody."""
    record = scene.addresses[address]
    if record is None or not record.held or record.attachment == attachment.id:
        return None
    other = record.attachment
    if other is None:
        return Stopped(f"{address.ip} of network {address.network} is held by a record that cannot be read", blocking=False)
    heard = Heard.ALL if other.node == attachment.id.node else scene.heard_of(other.node)
    if heard is Heard.GIVEN_UP:
        return other
    if heard is not Heard.NOTHING:
        return Stopped(f"{address.ip} is held by {other}, which lives too; delete one of the two pods", blocking=False)
    return Stopped(f"{address.ip} is held by {other}, and that node has not re-asserted yet", blocking=True)


def _block(address: Assigned, scene: Scene) -> Block | Stopped:
    block, node = scene.blocks[address], scene.node
    if block is not None and block.node_uid == node.uid:
        return Block.OWN
    if (misfit := _misfit(address, scene)) is not None:
        return Stopped(misfit, blocking=True)
    return Block.CLAIM if block is None else _foreign(address, block, scene)


def _foreign(address: Assigned, block: BlockRecord, scene: Scene) -> Block | Stopped:
    if block.node == scene.node.name:  # of the node's earlier incarnation: the machine is the one that has the address
        return Block.MOVE
    owner = f"block {address.block} is node {block.node}'s"
    if scene.heard_of(block.node) is Heard.NOTHING:
        return Stopped(f"{owner}, which has not re-asserted yet", blocking=True)
    if scene.held_in.get(address.block, 0):
        return Stopped(f"{owner}, which has live addresses in it; make the pod anew", blocking=True)
    return Block.MOVE


def _misfit(address: Assigned, scene: Scene) -> str | None:
    """Why the block cannot be the node's under the topology in force; None when it can."""
    again = "apply the topology that was in force when it was granted"
    place = scene.node.placement(address.network)
    if scene.topology is None or place is None:
        return f"{address.ip}: node {scene.node.name} has no group in network {address.network!r}; {again}"
    masks = {(prefix.network, prefix.path): prefix.block_mask for prefix in scene.topology.prefixes}
    mask = masks.get((place.network, place.path))
    inside = address.ip.version == place.cidr.version and address.ip in place.cidr
    if not inside or mask is None or ip_network((address.ip, mask), strict=False) != address.block:
        return f"block {address.block} is none of group {place.path} ({place.cidr}, blocks of /{mask}); {again}"
    for other in scene.others:
        if other.network == address.network and other.cidr != address.block and _overlap(other.cidr, address.block):
            return f"block {address.block} overlaps block {other.cidr} of node {other.node}"
    return None


def _overlap(one: Network, two: Network) -> bool:
    starts = int(one.network_address), int(two.network_address)
    return one.version == two.version and starts[0] < starts[1] + two.num_addresses and starts[1] < starts[0] + one.num_addresses
