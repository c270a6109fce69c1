"""Claims blocks for nodes: when an allocation needs one now, and ahead, so that routes are everywhere before it is used."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

from ipam import transactions
from ipam.allocator import Holdings, PickKind, choose, leaves_reserve, near_full
from ipam.commit import Committer, Txn
from ipam.occupancy import NOBODY
from ipam.reads import Reader
from ipam.records import BlockRecord, Share
from ipam.state import State
from romana import keys
from romana.errors import Ambiguous, Conflict, Unavailable
from romana.keys import Network
from romana.store.api import Store

__all__ = ["Claims"]

log = logging.getLogger(__name__)

ATTEMPTS = 20  # each one lost taught us a block that another ipamd took

Wanted = Callable[[Holdings], Network | None]


class Claims:
    """`clock` is monotonic, in seconds."""

    def __init__(self, store: Store, reader: Reader, state: State, committer: Committer, clock: Callable[[], float]) -> None:
        self._store = store
        self._reader = reader
        self._state = state
        self._committer = committer
        self._clock = clock
        self._under_way: dict[str, set[asyncio.Future[None]]] = {}
        self._locks: WeakValueDictionary[tuple[str, str, Share], asyncio.Lock] = WeakValueDictionary()

    async def claim_now(self, node: str, network: str, share: Share = NOBODY) -> None:
        """Claim a block if the next address of that share of the node's has to come from a new one.

        Raises Exhausted when the group has none, Conflict when others were faster too often.
        """
        await self._claim(node, network, share, self._needed)

    async def claim_block(self, node: str, network: str, share: Share, cidr: Network) -> None:
        """Claim this very block if nobody has it, for an address that was asked for. Raises Conflict as `claim_now`."""

        def just_it(holdings: Holdings) -> Network | None:
            return None if any(own.cidr == cidr for own in holdings.blocks) or holdings.group.is_taken(cidr) else cidr

        await self._claim(node, network, share, just_it)

    async def claim_ahead(self, node: str, network: str) -> None:
        """Claim a block if the node has none, or when three quarters of its own are used and the group can spare one.

        Where tenants own blocks, none is claimed ahead: whose it should be is not known before a pod comes.
        Errors as `claim_now`.
        """
        topology = self._state.in_force()
        networks = topology.value.document.networks if topology else ()
        if any(spec.name == network and spec.owner == "node" for spec in networks):
            await self._claim(node, network, NOBODY, partial(self._ahead, node))

    async def wait(self, network: str) -> bool:
        """Wait for the claims of this network that are under way, whose blocks count as taken; False when there are none."""
        claims = tuple(self._under_way.get(network, ()))
        if claims:
            await asyncio.wait(claims)
        return bool(claims)

    async def _claim(self, node: str, network: str, share: Share, wanted: Wanted) -> None:
        lock = self._locks.setdefault((node, network, share), asyncio.Lock())
        async with lock:
            for attempt in range(ATTEMPTS):
                if attempt > 1:
                    await self._state.reload(self._store, keys.BLOCKS)
                if await self._attempt(node, network, share, wanted):
                    return
        raise Conflict(f"no block could be claimed for node {node} in network {network}: {ATTEMPTS} times another was faster")

    async def _attempt(self, node: str, network: str, share: Share, wanted: Wanted) -> bool:
        """True when there is nothing (more) to claim."""
        await self._know_older_blocks()
        topology, row = self._state.in_force(), self._state.node(node)
        placement = row.value.placement(network) if row else None
        holdings = self._state.holdings(row, placement, share) if row and placement else None
        cidr = wanted(holdings) if holdings else None
        if topology is None or row is None or holdings is None or cidr is None:
            return True
        block = BlockRecord(network, cidr, node, row.value.uid, share)
        self._state.occupancy.reserve_block(network, holdings.group.path, cidr)
        done = asyncio.get_running_loop().create_future()
        self._under_way.setdefault(network, set()).add(done)
        try:
            return await self._write(block, transactions.claim(block, topology, row))
        finally:
            taken = keys.block(network, cidr) in self._state.blocks.rows
            self._state.occupancy.settle_block(network, holdings.group.path, cidr, taken=taken)
            self._under_way[network].discard(done)
            done.set_result(None)

    async def _know_older_blocks(self) -> None:
        """Know every block that was claimed under an earlier topology, of other size perhaps: only those could overlap ours.

        Under the topology that the claim compares, all blocks are of one size, and the key alone tells them apart.
        """
        topology = self._state.in_force()
        if topology is not None and self._state.blocks.revision < topology.mod_revision:
            await self._state.reload(self._store, keys.BLOCKS)

    async def _write(self, block: BlockRecord, txn: Txn) -> bool:
        try:
            result = await self._committer.commit(txn)
        except Ambiguous:
            await self._reader.read(keys.block(block.network, block.cidr))
            return False
        if result.succeeded:
            log.info("block claimed", extra={"block": str(block.cidr), "network": block.network, "node": block.node})
        else:
            found = self._state.learn(txn.reads, result)
            if found.get(keys.RESTORED) is not None:
                raise Unavailable(f"no block for node {block.node}: the store is being recovered; see romana ipam recovery")
        return result.succeeded

    def _ahead(self, node: str, holdings: Holdings) -> Network | None:
        if not near_full(holdings, self._clock()):
            return None
        cidr = holdings.group.lowest_free()
        if cidr is not None and self._leaves_reserve(holdings):
            return cidr
        self._state.wait_for_block(holdings.group.network, holdings.group.path, node)
        return None

    def _leaves_reserve(self, holdings: Holdings) -> bool:
        group = (holdings.group.network, holdings.group.path)
        # Enough for every node of the group, bare or not, is enough: to count the bare ones would cost all of them.
        return any(leaves_reserve(holdings, count(*group)) for count in (self._state.standing_nodes, self._state.bare_nodes))

    def _needed(self, holdings: Holdings) -> Network | None:
        pick = choose(holdings, self._clock())
        return pick.block if pick.kind is PickKind.NEW_BLOCK else None
