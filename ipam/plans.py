"""What a change of the topology would do, as the API tells it."""

from collections.abc import Sequence

from ipam.records import AddressRecord
from ipam.state import State
from ipam.topology.carving import Prefix, carve
from ipam.topology.change import Change, OwnedBlock
from ipam.topology.difference import PrefixChange, moves, prefix_changes
from ipam.topology.document import TopologyDocument, normalised
from romana.v1 import topology_pb2

__all__ = ["plan_message"]

ADDRESSES_MAX = 8


def plan_message(state: State, document: TopologyDocument, change: Change, revision: int) -> topology_pb2.PlanResponse:
    """The change from what is in force; `change` was planned in the same state."""
    topology = state.in_force()
    old = topology.value.prefixes if topology else ()
    placements = {row.value.name: row.value.placements for row in state.nodes.rows.values()}
    return topology_pb2.PlanResponse(
        changed=topology is None or topology.value.raw != normalised(document),
        refusals=change.refusals,
        prefixes=[_prefix_message(found) for found in prefix_changes(old, carve(document))],
        moves=[
            topology_pb2.NodeMove(node=move.node, network=move.network, before=move.before, after=move.after)
            for move in moves(placements, change.placements)
        ],
        given_back=[str(block) for block in change.given_back],
        in_the_way=[_block_message(state, block, why) for block, why in change.in_the_way],
        generation=topology.value.generation if topology else 0,
        revision=revision,
    )


def _prefix_message(change: PrefixChange) -> topology_pb2.PrefixChange:
    return topology_pb2.PrefixChange(
        fate=change.fate.value,
        network=change.network,
        cidr=str(change.cidr),
        before=_name(change.before),
        after=_name(change.after),
    )


def _name(prefix: Prefix | None) -> str:
    if prefix is None:
        return ""
    return "pad" if prefix.pad else f"{prefix.name} /{prefix.block_mask}"


def _block_message(state: State, block: OwnedBlock, why: str) -> topology_pb2.BlockInTheWay:
    return topology_pb2.BlockInTheWay(
        network=block.network,
        cidr=str(block.cidr),
        node=block.node,
        held=block.held,
        cooling=block.cooling,
        reason=why,
        addresses=_addresses(state, block),
    )


def _addresses(state: State, block: OwnedBlock) -> Sequence[str]:
    """The lowest live ones."""
    rows = (row for row in state.addresses.rows.values() if row.value.network == block.network and row.value.ip in block.cidr)
    live = [row.value for row in rows if row.value.held or state.occupancy.is_cooling(row.key)]
    return [_shown(record) for record in sorted(live, key=lambda record: int(record.ip))[:ADDRESSES_MAX]]


def _shown(record: AddressRecord) -> str:
    if not record.held:
        return f"{record.ip} cooling"
    pod = record.pod
    return f"{record.ip} {pod.namespace}/{pod.name}" if pod else f"{record.ip} no pod"
