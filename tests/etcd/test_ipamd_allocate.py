"""Allocate: which address, for whom, and what is refused; on a store in memory and on etcd."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ipam.invariants import faults, index_faults
from romana import keys
from romana.errors import Exhausted, InvalidInput, NotFound, Refused
from romana.names import host_interface
from romana.store.api import Put, Store
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Running, attachment, flat, running, until, write_pod


@pytest.fixture
async def ipamd(store: Store) -> AsyncIterator[Running]:
    """An ipamd with one flat topology (/29 blocks) and node n1; what it wrote is right at the end."""
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1", uid="uid-1")
        yield run
        assert await faults(store) == []
        await until(lambda: not run.ipamd.state.uneven)
        assert await index_faults(store, run.ipamd.state) == []


async def value(store: Store, key: str) -> bytes:
    item = await store.get(key)
    assert item is not None, key
    return item.value


async def test_addresses_come_lowest_first_and_the_first_and_last_of_a_block_are_used(ipamd: Running) -> None:
    assert [await ipamd.ip("n1", f"c{i}") for i in range(9)] == [f"10.40.0.{i}" for i in range(9)]


async def test_address_attachment_and_endpoint_are_written_in_one_transaction(ipamd: Running, store: Store) -> None:
    await write_pod(store, "default", "web", "pod-uid")
    answer = await ipamd.allocate("n1", "c1", ("default", "web", "pod-uid"), node_uid="uid-1")
    items = [
        await store.get(key) for key in ("addresses/pods/10.40.0.0", "attachments/n1/romana/c1/eth0", "endpoints/default/web/c1")
    ]
    assert {item.mod_revision if item else 0 for item in items} == {answer.revision}
    written = store_pb2.Attachment.FromString(await value(store, "attachments/n1/romana/c1/eth0"))
    assert (written.node_uid, written.boot_id, written.pod.uid) == ("uid-1", "boot-1", "pod-uid")
    endpoint = store_pb2.Endpoint.FromString(await value(store, "endpoints/default/web/c1"))
    assert (list(endpoint.addresses), endpoint.node, endpoint.pod_uid) == (["10.40.0.0"], "n1", "pod-uid")
    assert answer.host_interface == endpoint.host_interface == host_interface("n1", "romana", "c1", "eth0")
    assert not answer.existing


async def test_a_repeat_gets_the_same_answer_and_says_that_it_existed(ipamd: Running, store: Store) -> None:
    """I5."""
    await write_pod(store, "default", "web")
    for pod in (None, ("default", "web", "")):
        first = await ipamd.allocate("n1", f"c-{bool(pod)}", pod)
        again = await ipamd.allocate("n1", f"c-{bool(pod)}", pod)
        assert (first.existing, again.existing) == (False, True)
        assert list(first.addresses) == list(again.addresses)
        assert (first.host_interface, first.revision) == (again.host_interface, again.revision)


async def test_the_same_attachment_asked_for_many_times_at_once_gets_one_address(ipamd: Running) -> None:
    answers = await asyncio.gather(*(ipamd.allocate("n1", "c1") for _ in range(20)))
    assert len({answer.addresses[0].ip for answer in answers}) == 1
    assert sorted(answer.existing for answer in answers) == [False] + [True] * 19


async def test_requests_at_once_never_pick_the_same_address(ipamd: Running) -> None:
    ips = await asyncio.gather(*(ipamd.ip("n1", f"c{i}") for i in range(100)))
    assert len(set(ips)) == 100


async def test_an_attachment_of_another_pod_is_refused(ipamd: Running, store: Store) -> None:
    await write_pod(store, "default", "web")
    await write_pod(store, "default", "db")
    await ipamd.allocate("n1", "c1", ("default", "web", ""))
    with pytest.raises(Refused, match="belongs to default/web, not to default/db"):
        await ipamd.allocate("n1", "c1", ("default", "db", ""))


async def test_two_interfaces_of_one_container_have_two_endpoints(ipamd: Running, store: Store) -> None:
    first = await ipamd.allocate("n1", "c1")
    second = await ipamd.allocate("n1", "c1", ifname="net1")
    assert first.addresses[0].ip != second.addresses[0].ip
    assert await store.get("endpoints/_/_/c1:net1")


async def test_one_container_id_on_two_nodes_is_two_attachments_with_an_endpoint_each(ipamd: Running, store: Store) -> None:
    await ipamd.add_node("n2")
    await write_pod(store, "default", "web")
    for pod in (None, ("default", "web", "")):
        container = f"c{bool(pod)}"
        ips = [await ipamd.ip(node, container, pod) for node in ("n1", "n2")]
        assert len(set(ips)) == 2
        assert await faults(store) == []
        await ipamd.release("n1", container)
        assert await ipamd.ip("n2", container, pod) == ips[1]
        assert await ipamd.ip("n1", container, pod) not in ips
        await ipamd.release("n2", container)


async def test_an_attachment_without_a_pod_is_anonymous(ipamd: Running, store: Store) -> None:
    await ipamd.allocate("n1", "c1")
    assert await store.get("endpoints/_/_/c1")


async def test_a_pod_that_is_not_in_the_store_gets_nothing_and_is_named(ipamd: Running, store: Store) -> None:
    with pytest.raises(NotFound, match="no key pods/default/web"):
        await ipamd.allocate("n1", "c1", ("default", "web", ""))
    await write_pod(store, "default", "web")
    assert await ipamd.ip("n1", "c1", ("default", "web", "")) == "10.40.0.0"


async def test_a_pod_of_the_same_name_and_another_uid_is_not_the_pod(ipamd: Running, store: Store) -> None:
    await write_pod(store, "default", "web", "new")
    with pytest.raises(NotFound, match="another pod of that name, of uid new"):
        await ipamd.allocate("n1", "c1", ("default", "web", "old"))
    assert await ipamd.ip("n1", "c1", ("default", "web", "new")) == "10.40.0.0"


async def test_an_unknown_node_is_named(ipamd: Running) -> None:
    with pytest.raises(NotFound, match="node n9 is not known"):
        await ipamd.allocate("n9", "c1")


async def test_another_incarnation_of_the_node_is_fenced_off(ipamd: Running) -> None:
    """S6, I9."""
    with pytest.raises(Refused, match="another incarnation: its uid is uid-1"):
        await ipamd.allocate("n1", "c1", node_uid="uid-0")
    assert (await ipamd.allocate("n1", "c1", node_uid="uid-1")).addresses[0].ip == "10.40.0.0"


async def test_a_draining_node_gets_no_new_address_and_keeps_the_old_ones(ipamd: Running, store: Store) -> None:
    await ipamd.allocate("n1", "c1")
    node = (await ipamd.node("n1")).node
    node.state = store_pb2.NODE_STATE_DRAINING
    await store.txn([], [Put(keys.node("n1"), node.SerializeToString())])
    await until(lambda: (row := ipamd.ipamd.state.node("n1")) and row.value.draining)
    with pytest.raises(Refused, match="draining"):
        await ipamd.allocate("n1", "c2")
    assert (await ipamd.allocate("n1", "c1")).existing


async def test_without_a_topology_the_refusal_says_so(store: Store) -> None:
    async with running(store) as run:
        await run.add_node("n1")
        with pytest.raises(Refused, match="no topology was applied yet"):
            await run.allocate("n1", "c1")


async def test_a_node_in_no_group_is_refused_naming_the_labels_that_it_lacks(store: Store) -> None:
    document = flat()
    document["topologies"][0]["map"] = [{"name": "rack-1", "assignment": {"rack": "r1"}, "groups": []}]
    async with running(store) as run:
        await run.add_node("n1")
        await run.apply(document)
        with pytest.raises(Refused, match="rack=r1") as caught:
            await run.allocate("n1", "c1")
        assert caught.value.faults


async def test_a_full_group_is_exhausted_at_once_and_recovers_by_a_release(store: Store) -> None:
    """S11."""
    async with running(store, cooldown_s=0) as run:
        await run.apply(flat("10.40.0.0/29", 30))
        await run.add_node("n1")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 1)
        await run.add_node("n2")
        await until(lambda: len(run.ipamd.state.blocks.rows) == 2)  # else n1 might claim it ahead
        for i in range(4):
            assert await run.ip("n1", f"c{i}") == f"10.40.0.{i}"
        for i in range(4):
            assert await run.ip("n2", f"d{i}") == f"10.40.0.{4 + i}"
        with pytest.raises(Exhausted, match=r"no address left for n1 in group pods \(everyone, 10.40.0.0/29\)"):
            await run.allocate("n1", "c9")
        await run.release("n1", "c2")
        assert await run.ip("n1", "c9") == "10.40.0.2"
        with pytest.raises(Exhausted):
            await run.allocate("n1", "c10")
        assert await faults(store) == []


async def test_a_tenants_networks_come_first_and_the_open_ones_after(store: Store) -> None:
    document = {
        "networks": [
            {"name": "common", "cidr": "10.50.0.0/24", "block_mask": 30},
            {"name": "cards", "cidr": "172.30.8.0/30", "block_mask": 30, "tenants": ["payments"]},
        ],
        "topologies": [{"networks": ["common", "cards"], "map": [{"name": "flat", "groups": []}]}],
    }
    async with running(store) as run:
        await run.apply(document)
        await run.add_node("n1")
        for namespace in ("payments", "hr"):
            await write_pod(store, namespace, "p")
        ips = [await run.ip("n1", f"c{i}", ("payments", "p", "")) for i in range(5)]
        assert ips == ["172.30.8.0", "172.30.8.1", "172.30.8.2", "172.30.8.3", "10.50.0.0"]
        assert await run.ip("n1", "d", ("hr", "p", "")) == "10.50.0.1"
        assert await run.ip("n1", "anonymous") == "10.50.0.2"


async def test_every_wrong_field_is_named(ipamd: Running) -> None:
    request = ipam_pb2.AllocateRequest(
        attachment=store_pb2.AttachmentKey(node="N/1", conf="a b", container_id="../etc", ifname="this-is-far-too-long"),
        node_uid="a/b",
        pod=store_pb2.PodRef(namespace="_", name="x/y"),
    )
    with pytest.raises(InvalidInput) as caught:
        await ipamd.ipam(lambda stub, left: stub.Allocate(request, timeout=left))
    assert [fault.path for fault in caught.value.faults] == [
        "attachment.node", "attachment.conf", "attachment.container_id", "attachment.ifname",
        "node_uid", "pod.namespace", "pod.name",
    ]  # fmt: skip


WRONG_FIELDS = [
    *(("attachment", field, "a b") for field in ("node", "conf", "container_id", "ifname")),
    *(("pod", field, "a b") for field in ("namespace", "name", "uid")),
    *(("", field, "a b") for field in ("node_uid", "boot_id")),
    ("attachment", "container_id", "c" * 256),
    ("attachment", "conf", "c" * 256),
]


@pytest.mark.parametrize(("message", "field", "value"), WRONG_FIELDS)
async def test_the_words_of_a_refusal_have_the_path_of_the_field(message: str, field: str, value: str, ipamd: Running) -> None:
    """The agent chooses CNI's error code by it."""
    request = ipam_pb2.AllocateRequest(attachment=attachment("n1", "c1"), pod=store_pb2.PodRef(namespace="default", name="p"))
    setattr(getattr(request, message) if message else request, field, value)
    with pytest.raises(InvalidInput) as caught:
        await ipamd.ipam(lambda stub, left: stub.Allocate(request, timeout=left))
    path = f"{message}.{field}" if message else field
    assert [fault.path for fault in caught.value.faults] == [path]
    assert f"{path}: " in str(caught.value)


async def test_a_container_id_and_a_network_name_of_255_characters_work(ipamd: Running) -> None:
    """Whatever a file system takes as a name."""
    key = store_pb2.AttachmentKey(node="n1", conf="n" * 255, container_id="c" * 255, ifname="eth0")
    answer = await ipamd.ipam(lambda stub, left: stub.Allocate(ipam_pb2.AllocateRequest(attachment=key), timeout=left))
    assert answer.addresses[0].ip == "10.40.0.0"
    found = await ipamd.lookup("10.40.0.0")
    assert found.attachment == key
    released = await ipamd.ipam(lambda stub, left: stub.Release(ipam_pb2.ReleaseRequest(attachment=key), timeout=left))
    assert released.released


async def test_an_empty_request_is_refused_and_writes_nothing(ipamd: Running, store: Store) -> None:
    before = (await store.list("")).items
    with pytest.raises(InvalidInput):
        await ipamd.ipam(lambda stub, left: stub.Allocate(ipam_pb2.AllocateRequest(), timeout=left))
    assert [item for item in (await store.list("")).items if not item.key.startswith("blocks/")] == [
        item for item in before if not item.key.startswith("blocks/")
    ]


async def test_an_address_key_that_cannot_be_read_is_never_given_out(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await until(lambda: run.ipamd.state.blocks.rows)
        await store.txn([], [Put("addresses/pods/10.40.0.1", b"\xff\xff")])
        await until(lambda: "addresses/pods/10.40.0.1" in run.ipamd.state.addresses.rows)
        assert [await run.ip("n1", f"c{i}") for i in range(3)] == ["10.40.0.0", "10.40.0.2", "10.40.0.3"]
        assert await value(store, "addresses/pods/10.40.0.1") == b"\xff\xff"


async def test_a_repeat_is_answered_also_when_the_group_is_full(store: Store) -> None:
    async with running(store) as run:
        await run.apply(flat("10.40.0.0/30", 30))
        await run.add_node("n1")
        first = [await run.ip("n1", f"c{i}") for i in range(4)]
        with pytest.raises(Exhausted):
            await run.allocate("n1", "c4")
        assert [await run.ip("n1", f"c{i}") for i in range(4)] == first
