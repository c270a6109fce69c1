"""Between a decision and its transaction something else happens: the transaction's compares notice, whatever the watch knew."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from ipam.invariants import faults
from ipam.occupancy import Occupancy
from ipam.records import BlockRecord, NodeRecord
from ipam.table import Row
from ipam.topology.carving import Prefix
from ipam.topology.placement import Placement
from romana import keys
from romana.errors import Refused
from romana.store.api import Compare, Delete, Op, Put, TxnResult
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from tests.fakes.losing_store import LosingStore
from tests.ipamd import flat, running, until, write_pod


class Interrupted(LosingStore):
    """Does `before` once, just before the first write below `prefix` is sent."""

    def __init__(self, store: MemoryStore, prefix: str) -> None:
        super().__init__(store, lambda _: "")
        self.before: Callable[[], Awaitable[object]] | None = None
        self._prefix = prefix

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store, after what comes before."""
        if self.before and any(isinstance(op, Put | Delete) and op.key.startswith(self._prefix) for op in success):
            before, self.before = self.before, None
            await before()
        return await super().txn(compares, success, failure)


async def test_a_claim_decided_under_an_older_topology_is_not_written_under_the_new_one() -> None:
    """I3: else a /29 and a /28 would overlap."""
    store = MemoryStore()
    late = Interrupted(store, keys.BLOCKS)
    async with running(late) as run, running(store) as other:
        await run.apply(flat("10.40.0.0/24", 29))

        async def change() -> None:
            await other.apply(flat("10.40.0.0/24", 28))

        late.before = change
        await run.add_node("n1")
        await run.ip("n1", "c1")
        blocks = {item.key for item in (await store.list(keys.BLOCKS)).items}
        assert blocks == {"blocks/pods/10.40.0.0_28"}
        assert await faults(store) == []


async def test_a_topology_decided_before_a_claim_is_decided_again() -> None:
    """I12: the block that was claimed meanwhile stands in the way, as soon as it has an address."""
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:
        await other.apply(flat("10.40.0.0/24", 29))
        await until(run.ipamd.state.in_force)

        async def add() -> None:
            await other.add_node("n1")
            await other.ip("n1", "c1")

        late.before = add
        with pytest.raises(Refused, match="block 10"):
            await run.apply(flat("10.40.0.0/24", 28))
        assert (await other.show()).generation == 1


async def test_a_block_claimed_while_a_topology_is_written_is_given_back_too() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:
        await other.apply(flat("10.40.0.0/24", 29))
        await until(run.ipamd.state.in_force)

        async def add() -> None:
            await other.add_node("n1")
            await until(lambda: other.ipamd.state.blocks.rows)

        late.before = add
        await run.apply(flat("10.40.0.0/24", 28))
        await until(lambda: "blocks/pods/10.40.0.0_28" in other.ipamd.state.blocks.rows)
        assert len((await store.list(keys.BLOCKS)).items) == 1
        assert await faults(store) == []


async def test_an_address_taken_while_its_block_is_given_back_keeps_the_block() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:
        await other.apply(flat())
        await other.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)

        async def take() -> None:
            await other.ip("n1", "c1")

        late.before = take
        with pytest.raises(Refused, match="1 held"):
            await run.apply(flat("10.50.0.0/16"))
        assert await faults(store) == []


async def test_an_address_decided_before_its_block_was_given_back_comes_from_the_new_one() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run, running(store) as other:
        await other.apply(flat())
        await other.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows and not run.ipamd.state.uneven)

        async def change() -> None:
            await other.apply(flat("10.50.0.0/16"))

        late.before = change
        assert await run.ip("n1", "c1") == "10.50.0.0"
        assert await faults(store) == []


async def test_a_damaged_address_counts_as_held_where_it_lies() -> None:
    store = MemoryStore()
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)
        await store.txn([], [Put("addresses/pods/10.40.0.3", b"\xff")])
        with pytest.raises(Refused, match=r"block 10\.40\.0\.0/29 .* 1 held"):
            await run.apply(flat("10.50.0.0/16"))


async def test_a_topology_decided_before_a_node_came_places_that_node_too() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:

        async def add() -> None:
            await other.add_node("n1")

        late.before = add
        await run.apply(flat())
        assert [place.network for place in (await run.node("n1")).node.placements] == ["pods"]


async def test_a_pod_that_goes_while_its_address_is_written_gets_none() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "old")

        async def recreate() -> None:
            await store.txn([], [Delete(keys.pod("default", "web"))])
            await write_pod(store, "default", "web", "new")

        late.before = recreate
        with pytest.raises(Exception, match="another pod of that name, of uid new"):
            await run.allocate("n1", "c1", ("default", "web", "old"))
        assert (await store.list(keys.ADDRESSES)).items == ()


async def test_a_node_that_begins_to_drain_while_an_address_is_written_gets_none() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run:
        await run.apply(flat())
        await run.add_node("n1")

        async def drain() -> None:
            item = await store.get("nodes/n1")
            node = store_pb2.Node.FromString(item.value if item else b"")
            node.state = store_pb2.NODE_STATE_DRAINING
            await store.txn([], [Put("nodes/n1", node.SerializeToString())])

        late.before = drain
        with pytest.raises(Refused, match="draining"):
            await run.allocate("n1", "c1")
        assert (await store.list(keys.ADDRESSES)).items == ()


async def test_an_address_that_another_ipamd_took_meanwhile_is_not_taken_again() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run, running(store) as other:
        await run.apply(flat())
        await run.add_node("n1")

        async def take() -> None:
            await other.allocate("n1", "c0")

        late.before = take
        assert await run.ip("n1", "c1") == "10.40.0.1"
        assert await faults(store) == []


async def test_a_release_that_another_ipamd_did_meanwhile_is_done_once() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.ATTACHMENTS)
    async with running(store) as other, running(late) as run:
        await other.apply(flat())
        await other.add_node("n1")
        await other.allocate("n1", "c1")

        async def release_and_take() -> None:
            await other.release("n1", "c1")

        late.before = release_and_take
        assert not (await run.release("n1", "c1")).released
        assert len((await store.list(keys.JOURNAL)).items) == 1
        assert await faults(store) == []


async def test_an_address_in_nobodys_block_stays_when_all_blocks_of_its_network_go() -> None:
    store = MemoryStore()
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)
        await store.txn([], [Put("addresses/pods/10.40.200.3", b"")])
        await until(lambda: run.ipamd.state.addresses.rows)
        await run.apply(flat("10.50.0.0/16"))
        assert [item.key for item in (await store.list(keys.ADDRESSES)).items] == ["addresses/pods/10.40.200.3"]
        assert [item.key for item in (await store.list(keys.BLOCKS)).items if "10.40" in item.key] == []


async def test_an_ipamd_that_hears_of_the_topology_before_the_old_blocks_end_counts_the_new_ones_as_taken() -> None:
    """The watches of topology and blocks are two: old /30s may go when a new /29 in their place is known already."""
    occupancy = Occupancy(lambda: 0.0)
    small = [
        Row(f"blocks/p/10.0.0.{4 * n}_30", BlockRecord("p", ip_network(f"10.0.0.{4 * n}/30"), "n", "u"), 1, 1) for n in (0, 1)
    ]
    large = Row("blocks/p/10.0.0.0_29", BlockRecord("p", ip_network("10.0.0.0/29"), "n", "u"), 2, 2)
    for row in small:
        occupancy.set_block(None, row)
    occupancy.set_topology([Prefix("p", "p", "g", ip_network("10.0.0.0/28"), pad=False, block_mask=29)])
    occupancy.set_block(None, large)
    for row in small:
        occupancy.set_block(row, None)
    node = NodeRecord("n", "u", (), ())
    holdings = occupancy.holdings(node, Placement("p", "p", "g", ip_network("10.0.0.0/28")))
    assert holdings is not None
    assert str(holdings.group.lowest_free()) == "10.0.0.8/29"


def tenants() -> dict[str, Any]:
    """Blocks are a tenant's: none is claimed ahead, so an allocation has to wait for one."""
    document = flat("10.40.0.0/24", 29)
    document["networks"][0]["owner"] = "tenant"
    return document


async def test_a_node_that_begins_to_drain_while_a_block_is_claimed_gets_no_address() -> None:
    """I9: what was decided for a ready node must not be compared with the draining one."""
    store = MemoryStore()
    late = Interrupted(store, keys.BLOCKS)
    async with running(late) as run, running(store) as other:
        await run.apply(tenants())
        await run.add_node("n1")
        await write_pod(store, "default", "web")
        await until(lambda: other.ipamd.state.node("n1"))

        async def drain() -> None:
            await other.drain("n1")
            await until(lambda: (row := run.ipamd.state.node("n1")) and row.value.draining)

        late.before = drain
        with pytest.raises(Refused, match="draining"):
            await run.allocate("n1", "c1", ("default", "web", ""))
        assert (await store.list(keys.ADDRESSES)).items == ()


async def test_a_node_that_becomes_another_while_a_block_is_claimed_gets_no_address_of_the_one_before() -> None:
    """I9: the request is of the incarnation that is no more."""
    store = MemoryStore()
    late = Interrupted(store, keys.BLOCKS)
    async with running(late) as run, running(store) as other:
        await run.apply(tenants())
        await run.add_node("n1", uid="old")
        await write_pod(store, "default", "web")
        await until(lambda: other.ipamd.state.node("n1"))

        async def recreate() -> None:
            await other.remove("n1", force=True)
            await other.add_node("n1", uid="new")
            await until(lambda: (row := run.ipamd.state.node("n1")) and row.value.uid == "new")

        late.before = recreate
        with pytest.raises(Refused, match="another incarnation"):
            await run.allocate("n1", "c1", ("default", "web", ""), "old")
        assert (await store.list(keys.ADDRESSES)).items == ()
        assert await faults(store) == []


def keeping_back(*reserved: str) -> dict[str, Any]:
    """A topology that keeps these addresses from being given out."""
    document = flat()
    document["networks"][0]["reserved"] = list(reserved)
    return document


async def test_an_address_decided_before_a_topology_keeps_it_back_is_not_written_after() -> None:
    """I10: an address that the document reserves is nobody's."""
    store = MemoryStore()
    late = Interrupted(store, keys.ADDRESSES)
    async with running(late) as run, running(store) as other:
        await other.apply(flat())
        await other.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows and not run.ipamd.state.uneven)

        async def keep_back() -> None:
            await other.apply(keeping_back("10.40.0.0/30"))

        late.before = keep_back
        assert await run.ip("n1", "c1") == "10.40.0.4"
        assert await faults(store) == []


async def test_a_topology_that_keeps_back_an_address_taken_meanwhile_is_refused() -> None:
    store = MemoryStore()
    late = Interrupted(store, keys.TOPOLOGY)
    async with running(late) as run, running(store) as other:
        await other.apply(flat())
        await other.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)

        async def take() -> None:
            await other.ip("n1", "c1")

        late.before = take
        with pytest.raises(Refused, match=r"would reserve addresses that are held: 1, the lowest 10\.40\.0\.0"):
            await run.apply(keeping_back("10.40.0.0/30"))
        assert (await other.show()).generation == 1


async def test_an_address_of_a_pair_that_another_ipamd_takes_while_the_other_waits_for_a_block_is_not_taken_again() -> None:
    """I1: what was picked is looked at again before it is written; else it is compared as the other's, and taken from it."""
    document = flat("10.40.0.0/24", 29)
    document["networks"][0]["dual"] = "six"
    document["networks"].append({"name": "six", "cidr": "fd00::/64", "block_mask": 125, "owner": "tenant"})
    document["topologies"].append({"networks": ["six"], "map": [{"name": "everyone", "groups": []}]})
    store = MemoryStore()
    late = Interrupted(store, f"{keys.BLOCKS}six/")
    async with running(late) as run, running(store) as other:
        await run.apply(document)
        await run.add_node("n1")
        await write_pod(store, "default", "one")
        await write_pod(store, "default", "two")
        await until(lambda: other.ipamd.state.blocks.rows and run.ipamd.state.blocks.rows)

        async def take() -> None:
            await other.allocate("n1", "c1", ("default", "one", ""))
            await until(lambda: "addresses/pods/10.40.0.0" in run.ipamd.state.addresses.rows)

        late.before = take
        answer = await run.allocate("n1", "c2", ("default", "two", ""))
        assert answer.addresses[0].ip == "10.40.0.1"
        assert await faults(store) == []
