"""Release, cool-down, Lookup; on a store in memory and on etcd."""

import asyncio

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import InvalidInput
from romana.store.api import Delete, Put, Store
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Clock, flat, running, until, write_pod


async def test_release_deletes_attachment_and_endpoint_and_the_address_cools(store: Store) -> None:
    async with running(store, cooldown_s=7) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web")
        await run.allocate("n1", "c1", ("default", "web", ""))
        answer = await run.release("n1", "c1")
        assert answer.released
        assert [address.ip for address in answer.addresses] == ["10.40.0.0"]
        item = await store.get("addresses/pods/10.40.0.0")
        assert item is not None
        assert item.mod_revision == answer.revision
        address = store_pb2.Address.FromString(item.value)
        assert (address.state, address.cooldown_s) == (store_pb2.ADDRESS_STATE_COOLING, 7)
        assert address.released.ToMilliseconds() >= address.since.ToMilliseconds() > 0
        assert (await store.list(keys.ATTACHMENTS)).items == ()
        assert (await store.list(keys.ENDPOINTS)).items == ()
        assert await faults(store) == []


async def test_the_journal_says_who_had_the_address_from_when_to_when(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "u1")
        await run.allocate("n1", "c1", ("default", "web", "u1"))
        answer = await run.release("n1", "c1")
        (item,) = (await store.list(keys.JOURNAL)).items
        record = store_pb2.JournalRecord.FromString(item.value)
        assert item.mod_revision == answer.revision
        assert (record.network, record.ip, record.pod.uid, record.attachment.container_id) == ("pods", "10.40.0.0", "u1", "c1")
        assert record.since.ToMilliseconds() <= record.until.ToMilliseconds()
        assert item.key.startswith(f"journal/{record.until.ToMilliseconds():015d}/")


async def test_release_of_what_is_not_there_is_a_success(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        assert not (await run.release("n1", "never")).released
        await run.allocate("n1", "c1")
        answers = await asyncio.gather(*(run.release("n1", "c1") for _ in range(10)))
        assert sum(answer.released for answer in answers) == 1
        assert not (await run.release("n1", "c1")).released
        assert len((await store.list(keys.JOURNAL)).items) == 1
        assert await faults(store) == []


async def test_delete_of_an_old_container_after_the_add_of_its_pods_new_one_keeps_the_new_address(store: Store) -> None:
    """S4, I6."""
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web-0", "old")
        old = await run.ip("n1", "old", ("default", "web-0", "old"))
        await write_pod(store, "default", "web-0", "new")
        new = await run.ip("n1", "new", ("default", "web-0", "new"))
        assert new != old
        await run.release("n1", "old")
        assert await run.ip("n1", "new", ("default", "web-0", "new")) == new
        assert await store.get("endpoints/default/web-0/new")
        assert (await run.lookup(new)).state == ipam_pb2.LOOKUP_STATE_HELD
        assert await faults(store) == []


async def test_release_leaves_an_address_alone_that_another_attachment_holds(store: Store) -> None:
    """I6: whatever put it there, the record of the address decides."""
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await run.allocate("n1", "c1")
        other = store_pb2.Address(
            state=store_pb2.ADDRESS_STATE_HELD,
            block="10.40.0.0/29",
            attachment=store_pb2.AttachmentKey(node="n1", conf="romana", container_id="other", ifname="eth0"),
        )
        await store.txn([], [Put("addresses/pods/10.40.0.0", other.SerializeToString())])
        assert (await run.release("n1", "c1")).released
        item = await store.get("addresses/pods/10.40.0.0")
        assert item is not None
        assert item.value == other.SerializeToString()


async def test_released_address_is_reused_last_and_oldest_first(store: Store) -> None:
    """I11."""
    clock = Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        await run.apply(flat("10.40.0.0/29", 30))
        await run.add_node("n1")
        for i in range(3):
            await run.allocate("n1", f"c{i}")
        await run.release("n1", "c1")
        clock.now_s += 0.001
        await run.release("n1", "c0")
        assert await run.ip("n1", "d0") == "10.40.0.3"  # never used
        assert await run.ip("n1", "d1") == "10.40.0.4"  # cooling ones rest: a new block
        clock.now_s += 31
        await run.release("n1", "c2")
        assert await run.ip("n1", "d2") == "10.40.0.5"
        assert [await run.ip("n1", f"e{i}") for i in range(4)] == ["10.40.0.6", "10.40.0.7", "10.40.0.1", "10.40.0.0"]
        assert await run.ip("n1", "f") == "10.40.0.2"  # the group is full: still cooling, all the same
        assert await faults(store) == []


async def test_cool_down_counts_from_when_this_ipamd_first_saw_the_release(store: Store) -> None:
    """I14, S17: the wall clock decides nothing; a restart counts anew."""
    async with running(store, cooldown_s=30) as run:
        await run.apply(flat("10.40.0.0/28", 30))
        await run.add_node("n1")
        await run.allocate("n1", "c0")
        await run.release("n1", "c0")
    clock = Clock()
    async with running(store, cooldown_s=30, clock=clock) as run:
        assert [await run.ip("n1", f"d{i}") for i in range(4)] == [f"10.40.0.{i}" for i in (1, 2, 3, 4)]
        clock.now_s += 30
        assert await run.ip("n1", "e") == "10.40.0.5"
        assert [await run.ip("n1", f"f{i}") for i in range(2)] == ["10.40.0.6", "10.40.0.7"]
        assert await run.ip("n1", "g") in {"10.40.0.0", "10.40.0.8"}  # cooled, unless a block was claimed ahead


async def test_another_ipamd_gives_out_what_this_one_released(store: Store) -> None:
    async with running(store, cooldown_s=0) as one, running(store, cooldown_s=0) as two:
        await one.apply(flat("10.40.0.0/30", 30))
        await one.add_node("n1")
        for i in range(4):
            await (one, two)[i % 2].allocate("n1", f"c{i}")
        await one.release("n1", "c3")
        await until(lambda: not two.ipamd.state.addresses.rows["addresses/pods/10.40.0.3"].value.held)
        assert await two.ip("n1", "d") == "10.40.0.3"
        assert await faults(store) == []


async def test_lookup_says_all_there_is_to_know(store: Store) -> None:
    async with running(store) as run:
        assert (await run.lookup("10.40.0.0")).state == ipam_pb2.LOOKUP_STATE_OUTSIDE
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "u1")
        await run.allocate("n1", "c1", ("default", "web", "u1"))
        held = await run.lookup("10.40.0.0")
        assert (held.state, held.network, held.group_name) == (ipam_pb2.LOOKUP_STATE_HELD, "pods", "everyone")
        assert (held.block, held.node, held.pod.name, held.attachment.container_id) == ("10.40.0.0/29", "n1", "web", "c1")
        assert (await run.lookup("10.40.0.1")).state == ipam_pb2.LOOKUP_STATE_FREE
        assert (await run.lookup("10.40.9.1")).state == ipam_pb2.LOOKUP_STATE_UNCLAIMED
        assert (await run.lookup("192.0.2.1")).state == ipam_pb2.LOOKUP_STATE_OUTSIDE
        await run.release("n1", "c1")
        cooling = await run.lookup("10.40.0.0")
        assert (cooling.state, cooling.pod.uid) == (ipam_pb2.LOOKUP_STATE_COOLING, "u1")
        assert cooling.released.ToMilliseconds() > 0


async def test_every_text_form_of_an_address_is_one_key_and_mapped_ones_are_refused(store: Store) -> None:
    """S15."""
    async with running(store) as run:
        await run.apply(flat("fd00:10::/64", 125, "six"))
        await run.add_node("n1", "2001:db8::1")
        assert await run.ip("n1", "c1") == "fd00:10::"
        assert await store.get("addresses/six/fd00:10::")
        for text in ("fd00:10::", "FD00:0010:0:0::0", "fd00:10:0:0:0:0:0:0"):
            assert (await run.lookup(text)).attachment.container_id == "c1"
        for text in ("::ffff:10.0.0.1", "10.0.0", "10.0.0.01", "fe80::1%eth0", ""):
            with pytest.raises(InvalidInput):
                await run.lookup(text)


async def test_an_address_whose_key_somebody_deleted_is_still_given_out_once(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await run.allocate("n1", "c1")
        await run.release("n1", "c1")
        await store.txn([], [Delete("addresses/pods/10.40.0.0")])
        ips = await asyncio.gather(*(run.ip("n1", f"d{i}") for i in range(8)))
        assert len(set(ips)) == 8
        assert await faults(store) == []
