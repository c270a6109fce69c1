"""Batches, lists, reservations, fixed addresses, and the reasons of refusals; on a store in memory and on etcd."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Exhausted, InvalidInput, NotFound, Refused, RomanaError
from romana.rpc.status import error_of
from romana.store.api import Put, Store
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Running, attachment, flat, running, until


@pytest.fixture
async def ipamd(store: Store) -> AsyncIterator[Running]:
    """An ipamd with one flat topology (/29 blocks) and nodes n1 and n2; what it wrote is right at the end."""
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1", uid="uid-1")
        await run.add_node("n2", uid="uid-2")
        yield run
        assert await faults(store) == []


async def pod(store: Store, name: str, namespace: str = "default", label: str = "", **annotations: str) -> tuple[str, str, str]:
    labels = {"romana.io/segment": label} if label else {}
    message = store_pb2.Pod(labels=labels, annotations={f"romana.io/{key}": text for key, text in annotations.items()})
    await store.txn([], [Put(keys.pod(namespace, name), message.SerializeToString())])
    return namespace, name, ""


async def reserve(run: Running, cidr: str) -> ipam_pb2.ReserveResponse:
    request = ipam_pb2.ReserveRequest(cidr=cidr, note="for the printers")
    return await run.ipam(lambda stub, left: stub.Reserve(request, timeout=left))


async def revision(store: Store, run: Running | None = None) -> int:
    """The store's; with an ipamd, once that has claimed ahead what it wants."""
    if run is not None:
        await until(lambda: not run.ipamd.state.uneven)
    return (await store.status()).revision


async def test_one_bad_request_of_a_batch_fails_alone_and_with_its_reason(ipamd: Running) -> None:
    wanted = [attachment("n1", "c1"), attachment("n9", "c2"), attachment("n1", "a b"), attachment("n1", "c3")]
    batch = ipam_pb2.AllocateBatchRequest(requests=[ipam_pb2.AllocateRequest(attachment=each) for each in wanted])
    outcomes = (await ipamd.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))).outcomes
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["response", "error", "error", "response"]
    assert [outcome.error.reason for outcome in outcomes[1:3]] == ["NODE_UNKNOWN", "INVALID_REQUEST"]
    assert {outcome.response.addresses[0].ip for outcome in (outcomes[0], outcomes[3])} == {"10.40.0.0", "10.40.0.1"}
    error = error_of(outcomes[1].error.code, outcomes[1].error.message, outcomes[1].error.reason)
    assert (type(error), error.reason) == (NotFound, "NODE_UNKNOWN")


async def test_a_batch_gives_as_many_addresses_as_it_asks_for_and_takes_them_back(ipamd: Running, store: Store) -> None:
    keys_ = [attachment("n1", f"c{i}") for i in range(200)]
    batch = ipam_pb2.AllocateBatchRequest(requests=[ipam_pb2.AllocateRequest(attachment=each) for each in keys_])
    answer = await ipamd.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))
    assert len({outcome.response.addresses[0].ip for outcome in answer.outcomes}) == 200
    assert await faults(store) == []
    again = await ipamd.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))
    assert [o.response.addresses for o in again.outcomes] == [o.response.addresses for o in answer.outcomes]
    assert all(outcome.response.existing for outcome in again.outcomes)
    back = ipam_pb2.ReleaseBatchRequest(requests=[ipam_pb2.ReleaseRequest(attachment=each) for each in keys_])
    released = await ipamd.ipam(lambda stub, left: stub.ReleaseBatch(back, timeout=left))
    assert all(outcome.response.released for outcome in released.outcomes)
    assert not (await store.list(keys.ATTACHMENTS)).items


async def test_a_batch_that_is_too_large_is_refused_as_a_whole(ipamd: Running, store: Store) -> None:
    batch = ipam_pb2.AllocateBatchRequest(requests=[ipam_pb2.AllocateRequest(attachment=attachment("n1", "c"))] * 1001)
    with pytest.raises(InvalidInput, match="at most 1000"):
        await ipamd.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))
    assert not (await store.list(keys.ATTACHMENTS)).items


async def test_attachments_of_a_node_are_listed_and_no_others(ipamd: Running) -> None:
    await asyncio.gather(*(ipamd.allocate(node, container) for node in ("n1", "n2") for container in ("a", "b")))
    request = ipam_pb2.ListAttachmentsRequest(node="n1")
    answer = await ipamd.ipam(lambda stub, left: stub.ListAttachments(request, timeout=left))
    assert [(found.key.node, found.key.container_id) for found in answer.attachments] == [("n1", "a"), ("n1", "b")]
    assert answer.attachments[0].addresses[0].ip.startswith("10.40.")
    assert answer.revision > 0


async def test_a_fixed_address_is_given_and_no_other_pod_gets_it(ipamd: Running, store: Store) -> None:
    fixed = await pod(store, "db", ip="10.40.0.5")
    assert await ipamd.ip("n1", "db", fixed) == "10.40.0.5"
    others = [await ipamd.ip("n1", f"c{i}") for i in range(9)]
    assert "10.40.0.5" not in others
    assert (await ipamd.allocate("n1", "db", fixed)).existing
    await ipamd.release("n1", "db")
    assert await ipamd.ip("n1", "db2", fixed) == "10.40.0.5"  # also while it cools: nothing else will do


async def test_a_fixed_address_of_a_block_that_nobody_has_brings_the_block(ipamd: Running, store: Store) -> None:
    fixed = await pod(store, "db", ip="10.40.77.3")
    assert await ipamd.ip("n2", "db", fixed) == "10.40.77.3"
    assert store_pb2.Block.FromString(await _value(store, "blocks/pods/10.40.77.0_29")).node == "n2"


async def test_many_attachments_that_want_one_address_at_once_have_one_winner(ipamd: Running, store: Store) -> None:
    fixed = await pod(store, "db", ip="10.40.9.9")
    answers = await asyncio.gather(*(ipamd.allocate("n1", f"c{i}", fixed) for i in range(12)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert all(isinstance(answer, RomanaError) for answer in answers if isinstance(answer, BaseException))


async def _value(store: Store, key: str) -> bytes:
    item = await store.get(key)
    assert item is not None, key
    return item.value


REFUSALS = [
    ({"ip": "10.41.0.1"}, InvalidInput, "ADDRESS_OUTSIDE", "10.41.0.1 is in no network"),
    ({"ip": "10.40.0.300"}, InvalidInput, "ANNOTATION_INVALID", "no IPv4 or IPv6 address"),
    ({"ip": "::ffff:10.40.0.1"}, InvalidInput, "ANNOTATION_INVALID", "plain IPv4"),
    ({"ip": "10.40.0.1,10.40.0.2"}, InvalidInput, "ADDRESS_WRONG_FAMILY", "two IPv4"),
    ({"ip": "fd00::1"}, InvalidInput, "ADDRESS_OUTSIDE", "fd00::1 is in no network"),
    ({"ip": "10.40.0.1,,"}, InvalidInput, "ANNOTATION_INVALID", "an entry is empty"),
    ({"network": "other"}, NotFound, "NETWORK_UNKNOWN", "it has pods"),
    ({"ip": "10.40.0.0"}, Refused, "ADDRESS_TAKEN", "attachment first/eth0 of romana on node n1, has it"),
    ({"ip": "10.40.0.9"}, Refused, "ADDRESS_NOT_ON_NODE", r"n2's .uid uid-2. and not n1's"),
    ({"ip": "10.40.200.1"}, Refused, "ADDRESS_RESERVED", "10.40.200.0/24"),
]


@pytest.mark.parametrize(("annotations", "error", "reason", "words"), REFUSALS)
async def test_what_cannot_be_given_is_refused_with_a_reason_and_nothing_is_written(
    ipamd: Running, store: Store, annotations: dict[str, str], error: type[RomanaError], reason: str, words: str
) -> None:
    assert await ipamd.ip("n1", "first") == "10.40.0.0"
    assert await ipamd.ip("n2", "second") == "10.40.0.8"
    await ipamd.ipam(lambda stub, left: stub.Reserve(ipam_pb2.ReserveRequest(cidr="10.40.200.0/24"), timeout=left))
    wanted = await pod(store, "p", **annotations)
    before = await revision(store, ipamd)
    with pytest.raises(error, match=words) as caught:
        await ipamd.allocate("n1", "c1", wanted)
    assert caught.value.reason == reason
    assert await revision(store) == before


async def test_every_refusal_that_needs_no_pod_has_its_reason_and_writes_nothing(ipamd: Running, store: Store) -> None:
    calls = {
        "NODE_UNKNOWN": ipamd.allocate("n9", "c"),
        "NODE_REPLACED": ipamd.allocate("n1", "c", node_uid="uid-0"),
        "POD_UNKNOWN": ipamd.allocate("n1", "c", ("default", "nobody", "")),
        "INVALID_REQUEST": ipamd.allocate("n1", "a b"),
    }
    before = await revision(store, ipamd)
    for reason, call in calls.items():
        with pytest.raises(RomanaError) as caught:
            await call
        assert caught.value.reason == reason
    assert await revision(store) == before


async def test_reserved_addresses_are_not_given_out_until_they_are_released(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/28", 29))
        await run.add_node("n1")
        for cidr in ("10.40.0.1/32", "10.40.0.4/30", "10.40.0.8/29"):
            assert [(await reserve(run, cidr)).existing for _ in range(2)] == [False, True]
        assert [await run.ip("n1", f"c{i}") for i in range(3)] == ["10.40.0.0", "10.40.0.2", "10.40.0.3"]
        with pytest.raises(Exhausted, match=r"no address left for n1 .*reserved \(in 2 ranges\).*release-reservation") as caught:
            await run.allocate("n1", "c3")
        assert caught.value.reason == "NETWORK_EXHAUSTED"
        free = ipam_pb2.ReleaseReservationRequest(cidr="10.40.0.8/29")
        await run.ipam(lambda stub, left: stub.ReleaseReservation(free, timeout=left))
        assert await run.ip("n1", "c3") == "10.40.0.8"
        with pytest.raises(NotFound, match=r"no reservation is just 10.40.0.8/29") as gone:
            await run.ipam(lambda stub, left: stub.ReleaseReservation(free, timeout=left))
        assert gone.value.reason == "RESERVATION_UNKNOWN"
        assert await faults(store) == []


async def test_what_the_document_reserves_is_released_in_the_document(store: Store) -> None:
    document = flat("10.40.0.0/28", 28)
    document["networks"][0]["reserved"] = ["10.40.0.0/30"]
    async with running(store) as run:
        await run.apply(document)
        free = ipam_pb2.ReleaseReservationRequest(cidr="10.40.0.0/30")
        with pytest.raises(NotFound, match=r"topology document reserves it \(network pods, key reserved\).*topology apply"):
            await run.ipam(lambda stub, left: stub.ReleaseReservation(free, timeout=left))


async def test_what_is_held_cannot_be_reserved_and_the_holder_is_named(ipamd: Running, store: Store) -> None:
    await ipamd.ip("n1", "c1")
    before = await revision(store, ipamd)
    with pytest.raises(Refused, match=r"10.40.0.0 by c1/eth0 of romana on node n1") as caught:
        await ipamd.ipam(lambda stub, left: stub.Reserve(ipam_pb2.ReserveRequest(cidr="10.40.0.0/24"), timeout=left))
    assert caught.value.reason == "ADDRESSES_HELD"
    assert await revision(store) == before


async def test_another_ipamd_that_has_not_heard_of_a_reservation_gives_nothing_of_it(ipamd: Running, store: Store) -> None:
    async with running(store) as other:
        reserve = ipam_pb2.ReserveRequest(cidr="10.40.0.0/25")
        await other.ipam(lambda stub, left: stub.Reserve(reserve, timeout=left))
        ips = await asyncio.gather(*(ipamd.ip("n1", f"c{i}") for i in range(20)))
        assert all(int(ip.rpartition(".")[2]) >= 128 or not ip.startswith("10.40.0.") for ip in ips)


async def test_a_batch_with_existing_attachments_answers_all(ipamd: Running) -> None:
    first = [await ipamd.ip("n1", f"c{i}") for i in range(3)]
    batch = ipam_pb2.AllocateBatchRequest(
        requests=[ipam_pb2.AllocateRequest(attachment=attachment("n1", f"c{i}")) for i in range(20)]
    )
    answer = await ipamd.ipam(lambda stub, left: stub.AllocateBatch(batch, timeout=left))
    assert [outcome.response.addresses[0].ip for outcome in answer.outcomes[:3]] == first
    assert [outcome.response.existing for outcome in answer.outcomes] == [True] * 3 + [False] * 17
