"""Records of the store become frozen values; one that cannot be read is a problem and nothing worse."""

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from romana.errors import InvalidInput
from romana.store.api import Delete, KeyValue, Put
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from routed.model import Block, Node
from routed.state import State, View, parse_block, parse_node
from tests.fakes.waiting import until


def item(key: str, value: bytes) -> KeyValue:
    return KeyValue(key, value, 1, 1, 1)


def test_records_become_values() -> None:
    node = store_pb2.Node(name="n1", uid="u1", addresses=["192.0.2.1", "2001:db8::1"]).SerializeToString()
    block = store_pb2.Block(node="n1", node_uid="u1").SerializeToString()
    assert parse_node(item("nodes/n1", node)) == Node("n1", "u1", (ip_address("192.0.2.1"), ip_address("2001:db8::1")))
    assert parse_block(item("blocks/pods/10.40.0.0_29", block)) == Block(ip_network("10.40.0.0/29"), "n1", "u1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nodes/n1", b"\xff"),
        ("nodes/n1", store_pb2.Node(name="n1").SerializeToString()),
        ("nodes/n1", store_pb2.Node(uid="u1", addresses=["192.0.2.300"]).SerializeToString()),
        ("nodes/n1/more", store_pb2.Node(uid="u1").SerializeToString()),
    ],
)
def test_unreadable_node_is_refused(key: str, value: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_node(item(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("blocks/pods/10.40.0.0_29", b"\xff"),
        ("blocks/pods/10.40.0.0_29", b""),
        ("blocks/pods/10.40.0.1_29", store_pb2.Block(node_uid="u1").SerializeToString()),
        ("blocks/10.40.0.0_29", store_pb2.Block(node_uid="u1").SerializeToString()),
    ],
)
def test_unreadable_block_is_refused(key: str, value: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_block(item(key, value))


async def followed(state: State) -> list[asyncio.Task[None]]:
    async def follow(index: int, whole: asyncio.Event) -> None:
        async for _ in state.sources()[index].watch():
            whole.set()

    events = [asyncio.Event(), asyncio.Event()]
    tasks = [asyncio.create_task(follow(index, event)) for index, event in enumerate(events)]
    for event in events:
        await event.wait()
    return tasks


async def test_view_follows_the_store_and_names_what_cannot_be_read() -> None:
    store = MemoryStore()
    block = store_pb2.Block(node="n1", node_uid="u1").SerializeToString()
    first = await store.txn([], [Put("blocks/pods/10.40.0.0_29", block), Put("nodes/n1", b"\xff")])
    state = State(store)
    tasks = await followed(state)
    view = state.view()
    applied = {"nodes/": first.revision, "blocks/": first.revision}
    assert view == View((), (Block(ip_network("10.40.0.0/29"), "n1", "u1"),), applied, view.problems)
    assert [(problem.id, "nodes/n1" in problem.text) for problem in view.problems] == [("bad-record", True)]

    result = await store.txn([], [Delete("blocks/pods/10.40.0.0_29")])
    await until(lambda: state.view().applied["blocks/"] == result.revision)
    assert state.view().blocks == ()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
