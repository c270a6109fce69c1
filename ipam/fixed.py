"""Takes the very address that a pod asks for (annotation romana.io/ip): it must be free, and in a block that may be its node's.

On a routed fabric an address is where its block is routed to. So a fixed address ties its pod to the node that has the block; a
block that nobody has is claimed for it. One that still cools is given: whoever names an address wants that one, and now.
"""

from ipaddress import ip_network

from ipam.claims import Claims
from ipam.networks import reserved_by_document
from ipam.reads import Reader
from ipam.records import AddressRecord, Assigned, NodeRecord, Share, address_key, block_key
from ipam.state import State
from ipam.table import Row
from ipam.topology.placement import Placement
from romana.errors import Conflict, InvalidInput, Refused, Unavailable
from romana.keys import Address, Network

__all__ = ["FixedAddresses"]

ATTEMPTS = 20
OFFSET_MAX = 1 << 16
"""Of a fixed address in its block: what is used of a block is kept as bits, and a block of IPv6 may have 2^64 addresses."""


class FixedAddresses:
    """See the module's docstring."""

    def __init__(self, reader: Reader, state: State, claims: Claims) -> None:
        self._reader = reader
        self._state = state
        self._claims = claims

    async def reserve(self, name: str, placement: Placement, share: Share, ip: Address) -> Assigned:
        """Keep the address for the caller, who settles it.

        Raises Refused that says who has it, or why not here; InvalidInput; Conflict where it is about to be given to another.
        """
        self._check_place(name, placement, ip)
        for _ in range(ATTEMPTS):
            cidr, is_own = await self._look(name, placement, share, ip)
            if is_own:
                address = Assigned(placement.network, ip, cidr)
                self._state.occupancy.reserve(address)
                return address
            await self._claims.claim_block(name, placement.network, share, cidr)
        raise Conflict(f"{ip} could not be had for node {name}: {ATTEMPTS} times its block changed hands meanwhile; try again")

    async def check(self, name: str, placement: Placement, share: Share, ip: Address) -> None:
        """Raise what `reserve` would, as far as it is to be seen without claiming a block."""
        self._check_place(name, placement, ip)
        await self._look(name, placement, share, ip)

    def _check_place(self, name: str, placement: Placement, ip: Address) -> None:
        self._check_reserved(placement.network, ip)
        if ip not in placement.cidr:
            raise Refused(
                f"{ip} cannot be on node {name}: its group {placement.path} ({placement.name}) is {placement.cidr}",
                reason="ADDRESS_NOT_ON_NODE",
            )

    async def _look(self, name: str, placement: Placement, share: Share, ip: Address) -> tuple[Network, bool]:
        """The block of the address, and whether it is this share's of the node already: then the address is free."""
        node = self._state.node(name)
        holdings = self._state.holdings(node, placement, share) if node else None
        if node is None or holdings is None:
            raise Unavailable(f"node {name} is being placed in the new topology (network {placement.network}); try again")
        cidr = ip_network((ip, holdings.group.block_mask), strict=False)
        if int(ip) - int(cidr.network_address) >= OFFSET_MAX:
            raise InvalidInput(
                f"{ip} is not among the first {OFFSET_MAX} addresses of its block {cidr}; choose one of those",
                reason="ANNOTATION_INVALID",
            )
        own = next((block for block in holdings.blocks if ip in block.cidr), None)
        if own is None:
            await self._check_foreign(node, placement.network, share, cidr)
            return cidr, False
        if own.held >> own.offset(ip) & 1:
            raise await self._taken(placement.network, ip)
        return own.cidr, True

    def _check_reserved(self, network: str, ip: Address) -> None:
        specs = [spec for spec in self._state.require_topology().document.networks if spec.name == network]
        by_document = [cidr for spec in specs for cidr in reserved_by_document(spec)]
        by_operator = [row.value.cidr for row in self._state.reservations.rows.values()]
        for cidr in (*by_document, *by_operator):
            if ip in cidr:
                raise Refused(f"{ip} is reserved ({cidr} of network {network}); choose another", reason="ADDRESS_RESERVED")

    async def _check_foreign(self, node: Row[NodeRecord], network: str, share: Share, cidr: Network) -> None:
        """Raise Refused when the block is another's; asks the store before it says so."""
        key = block_key(network, cidr)
        if key in self._state.blocks.rows:
            await self._reader.read(key)
        row = self._state.blocks.rows.get(key)
        if row is not None and (row.value.node_uid, row.value.share) != (node.value.uid, share):
            owner, wanted = row.value.share.of(row.value.node), share.of(node.value.name)
            raise Refused(
                f"block {cidr} is {owner}'s (uid {row.value.node_uid}) and not {wanted}'s: the address is routed there;"
                " run the pod there, or choose an address of another block",
                reason="ADDRESS_NOT_ON_NODE",
            )

    async def _taken(self, network: str, ip: Address) -> Refused | Conflict:
        key = address_key(network, ip)
        await self._reader.read(key)
        row = self._state.addresses.rows.get(key)
        if row is None or not row.value.held:
            return Conflict(f"{ip} is being given to another attachment, or was released just now; try again")
        return Refused(f"{ip} is taken: {_holder(row.value)}", reason="ADDRESS_TAKEN")


def _holder(record: AddressRecord) -> str:
    if record.attachment is None:
        return "its record in the store cannot be read"
    return f"pod {record.pod or '(none)'}, attachment {record.attachment}, has it"
