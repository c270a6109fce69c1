"""Bad input: a precise status with a reason for programs, and not one key of the store is another than before."""

import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from romana import keys
from romana.errors import Exhausted, Fault, InvalidInput, NotFound, Refused, RomanaError
from romana.store.api import KeyValue, Put, Store
from romana.store.etcd import EtcdStore
from romana.v1 import ipam_pb2, node_pb2, store_pb2
from tests.etcd.server import EtcdServer
from tests.ipamd import Running, attachment, running, until

pytestmark = pytest.mark.etcd

GROUPS = 10_000
PARTS = 6  # of the cases: each test has an ipamd of its own, and some documents are large


@dataclass(frozen=True)
class Bad:
    """A request, and what it has to be answered."""

    call: Callable[[Running], Awaitable[object]]
    error: type[RomanaError]
    reason: str
    words: str
    faults: tuple[str, ...] = ()
    """Paths of the faults that travel with it."""


def document() -> dict[str, Any]:
    """`open` and `six` are a pair, `cards` is of tenant payments alone, `far` takes no node here, `tiny` is used up."""
    return {
        "networks": [
            {"name": "open", "cidr": "10.40.0.0/24", "block_mask": 29, "dual": "six", "reserved": ["10.40.0.128/25"]},
            {"name": "six", "cidr": "fd00:40::/120", "block_mask": 126},
            {"name": "cards", "cidr": "10.41.0.0/24", "block_mask": 29, "tenants": ["payments"], "fallback": False},
            {"name": "far", "cidr": "10.42.0.0/24", "block_mask": 29, "tenants": ["far"]},
            {"name": "tiny", "cidr": "10.43.0.0/32", "block_mask": 32, "tenants": ["small"], "fallback": False},
        ],
        "topologies": [
            {"networks": ["open", "cards", "tiny"], "map": [{"name": "all"}]},
            {"networks": ["six"], "map": [{"name": "all"}]},
            {"networks": ["far"], "map": [{"name": "elsewhere", "assignment": {"rack": "r9"}}]},
        ],
    }


PODS = {
    "web": {}, "outside": {"ip": "10.99.0.1"}, "taken": {"ip": "10.40.0.0"}, "garbage": {"ip": "10.40.0.300"},
    "twice": {"ip": "10.40.0.1,10.40.0.2"}, "zone": {"ip": "fd00:40::1%eth0"}, "mapped": {"ip": "::ffff:10.40.0.9"},
    "reserved": {"ip": "10.40.0.200"}, "others": {"ip": "10.40.0.9"}, "half-outside": {"ip": "10.40.0.40,fd00:99::1"},
    "half-taken": {"ip": "10.40.0.48,fd00:40::"}, "half-others": {"ip": "10.40.0.56,fd00:40::5"},
    "unknown-network": {"network": "nowhere"}, "one-family": {"network": "open,cards"},
    "wrong-family": {"network": "six", "ip": "10.40.0.5"}, "cards": {"network": "cards"}, "far": {"network": "far"},
}  # fmt: skip
TENANTS = {"far": "far", "small": "small", "small-too": "small"}


async def world(store: Store, run: Running) -> None:
    """Two nodes with a pod each, and the Pod objects of all cases; nothing is left for ipamd to do by itself."""
    await run.apply(document())
    await run.add_node("n1", uid="uid-1")
    await run.add_node("n2", uid="uid-2")
    names = {name: ("default", annotations) for name, annotations in PODS.items()}
    names |= {name: (tenant, names.get(name, ("", {}))[1]) for name, tenant in TENANTS.items()}
    for name, (namespace, annotations) in names.items():
        message = store_pb2.Pod(annotations={f"romana.io/{key}": text for key, text in annotations.items()})
        await store.txn([], [Put(keys.pod(namespace, name), message.SerializeToString())])
    given = [await run.allocate(node, container) for node, container in (("n1", "first"), ("n2", "second"))]
    assert [answer.addresses[0].ip for answer in given] == ["10.40.0.0", "10.40.0.8"]
    await run.allocate("n1", "small", ("small", "small", ""))


async def keyspace(store: Store, run: Running) -> tuple[KeyValue, ...]:
    """Everything, with revisions, once ipamd has claimed ahead what it wants."""
    await until(lambda: not run.ipamd.state.uneven)
    return (await store.list("")).items


def pod(name: str, namespace: str = "default", node: str = "n1") -> Callable[[Running], Awaitable[object]]:
    return lambda run: run.allocate(node, "c1", (namespace, name, ""))


def asked(**fields: Any) -> Callable[[Running], Awaitable[object]]:
    """An Allocate with these fields, which else would be granted."""
    request = ipam_pb2.AllocateRequest(**{"attachment": attachment("n1", "c1"), **fields})
    return lambda run: run.ipam(lambda stub, left: stub.Allocate(request, timeout=left))


def key(**fields: str) -> store_pb2.AttachmentKey:
    return store_pb2.AttachmentKey(**{"node": "n1", "conf": "romana", "container_id": "c1", "ifname": "eth0", **fields})


def node(**fields: Any) -> Callable[[Running], Awaitable[object]]:
    request = node_pb2.AddNodeRequest(**{"name": "n3", "addresses": ["198.18.9.9"], **fields})
    return lambda run: run.topology(lambda stub, left: stub.AddNode(request, timeout=left))


def reserve(cidr: str, note: str = "") -> Callable[[Running], Awaitable[object]]:
    request = ipam_pb2.ReserveRequest(cidr=cidr, note=note)
    return lambda run: run.ipam(lambda stub, left: stub.Reserve(request, timeout=left))


def lives(**fields: Any) -> Callable[[Running], Awaitable[object]]:
    """A Reassert of one attachment with these fields."""
    entry = store_pb2.Attachment(**{"key": key(), **fields})
    request = ipam_pb2.ReassertRequest(node="n1", node_uid="uid-1", attachments=[entry])
    return lambda run: run.ipam(lambda stub, left: stub.Reassert(request, timeout=left))


def groups(count: int, **last: Any) -> bytes:
    """A document of that many groups; `last` goes into the last one."""
    tree: dict[str, Any] = {"networks": [{"name": "big", "cidr": "10.0.0.0/8"}]}
    entries: list[dict[str, Any]] = [{"name": f"g{number}"} for number in range(count)]
    entries[-1] |= last
    return json.dumps(tree | {"topologies": [{"networks": ["big"], "map": entries}]}).encode()


def applied(raw: bytes) -> Callable[[Running], Awaitable[object]]:
    return lambda run: run.apply(raw)


INVALID, ANNOTATION = "INVALID_REQUEST", "ANNOTATION_INVALID"


def invalid(call: Callable[[Running], Awaitable[object]], *paths: str) -> Bad:
    """A request with wrong fields, all of which are named."""
    return Bad(call, InvalidInput, INVALID, "the request is wrong", paths)


MAP = "topologies[0].map"
HELD = ("",) * 5
"""A fault, of no place in the document, for each of the five blocks with a live address."""

CASES: dict[str, Bad] = {
    "unknown node": Bad(lambda run: run.allocate("n9", "c1"), NotFound, "NODE_UNKNOWN", "romana node add n9"),
    "another incarnation": Bad(lambda run: run.allocate("n1", "c1", node_uid="uid-0"), Refused, "NODE_REPLACED", "uid-1"),
    "unknown pod": Bad(pod("nobody"), NotFound, "POD_UNKNOWN", "pods/default/nobody"),
    "another pod": Bad(lambda run: run.allocate("n1", "first", ("default", "web", "")), Refused, "ATTACHMENT_TAKEN", "no pod"),
    "tenant that no chosen network takes": Bad(pod("cards"), Refused, "TENANT_NOT_ADMITTED", "payments"),
    "node in no group of the tenant's network": Bad(pod("far", "far"), Refused, "NODE_IN_NO_GROUP", "rack"),
    "exhausted": Bad(pod("small-too", "small"), Exhausted, "NETWORK_EXHAUSTED", "network tiny"),
    "address outside every network": Bad(pod("outside"), InvalidInput, "ADDRESS_OUTSIDE", "10.99.0.1"),
    "one of a pair outside": Bad(pod("half-outside"), InvalidInput, "ADDRESS_OUTSIDE", "fd00:99::1"),
    "address taken": Bad(pod("taken"), Refused, "ADDRESS_TAKEN", "first/eth0"),
    "one of a pair taken": Bad(pod("half-taken"), Refused, "ADDRESS_TAKEN", "first/eth0"),
    "address of another node's block": Bad(pod("others"), Refused, "ADDRESS_NOT_ON_NODE", "n2"),
    "one of a pair in another node's block": Bad(pod("half-others"), Refused, "ADDRESS_NOT_ON_NODE", "n2"),
    "reserved address": Bad(pod("reserved"), Refused, "ADDRESS_RESERVED", "10.40.0.128/25"),
    "no address": Bad(pod("garbage"), InvalidInput, ANNOTATION, "10.40.0.300"),
    "address with a zone": Bad(pod("zone"), InvalidInput, ANNOTATION, "zone"),
    "mapped address": Bad(pod("mapped"), InvalidInput, ANNOTATION, "plain IPv4"),
    "two addresses of one family": Bad(pod("twice"), InvalidInput, "ADDRESS_WRONG_FAMILY", "two IPv4"),
    "two networks of one family": Bad(pod("one-family"), InvalidInput, "ADDRESS_WRONG_FAMILY", "one family"),
    "address of the other family": Bad(pod("wrong-family"), InvalidInput, "ADDRESS_OUTSIDE", "six"),
    "unknown network": Bad(pod("unknown-network"), NotFound, "NETWORK_UNKNOWN", "nowhere"),
    "unknown network of the configuration": Bad(asked(networks=["nowhere"]), NotFound, "NETWORK_UNKNOWN", "nowhere"),
    "no attachment": invalid(
        asked(attachment=store_pb2.AttachmentKey()),
        "attachment.node", "attachment.conf", "attachment.container_id", "attachment.ifname",
    ),
    "slash in a container": invalid(asked(attachment=key(container_id="a/b")), "attachment.container_id"),
    "NUL in a configuration": invalid(asked(attachment=key(conf="a\0b")), "attachment.conf"),
    "long interface": invalid(asked(attachment=key(ifname="e" * 16)), "attachment.ifname"),
    "long container": invalid(asked(attachment=key(container_id="c" * 256)), "attachment.container_id"),
    "pod without a name": invalid(asked(pod=store_pb2.PodRef(namespace="default")), "pod.name"),
    "boot id": invalid(asked(boot_id="a b"), "boot_id"),
    "negative revision": invalid(asked(seen_revision=-1), "seen_revision"),
    "history": invalid(asked(seen_history="h" * 10_000), "seen_history"),
    "node name": invalid(node(name="N_3"), "name"),
    "node without an address": invalid(node(addresses=[]), "addresses"),
    "node with two addresses of a family": invalid(node(addresses=["198.18.9.9", "198.18.9.8"]), "addresses[1]"),
    "node's label": invalid(node(labels={"a b": "c"}), "labels"),
    "node of pods' addresses": Bad(node(addresses=["10.40.0.7"]), Refused, "NODE_ADDRESS_TAKEN", "open", ("addresses[0]",)),
    "node of another incarnation": Bad(node(name="n1", uid="uid-0"), Refused, "NODE_REPLACED", "uid-1"),
    "unknown node to show": Bad(lambda run: run.node("n9"), NotFound, "NODE_UNKNOWN", "nodes/n9"),
    "re-asserted by another incarnation": Bad(
        lambda run: run.ipam(
            lambda stub, left: stub.Reassert(ipam_pb2.ReassertRequest(node="n1", node_uid="uid-0"), timeout=left)
        ),
        Refused, "NODE_REPLACED", "uid-1",
    ),
    "reservation that is not there": Bad(
        lambda run: run.ipam(
            lambda stub, left: stub.ReleaseReservation(ipam_pb2.ReleaseReservationRequest(cidr="10.40.0.64/29"), timeout=left)
        ),
        NotFound, "RESERVATION_UNKNOWN", "10.40.0.64/29",
    ),
    "reservation of what is held": Bad(reserve("10.40.0.0/29"), Refused, "ADDRESSES_HELD", "10.40.0.0"),
    "reservation outside": Bad(reserve("10.99.0.0/24"), InvalidInput, "ADDRESS_OUTSIDE", "10.99.0.0/24"),
    "reservation with host bits": invalid(reserve("10.40.0.65/29"), "cidr"),
    "reservation with a zone": invalid(reserve("fd00:40::40%eth0/124"), "cidr"),
    "long note": invalid(reserve("10.40.0.64/29", "x" * 257), "note"),
    "lookup of no address": invalid(lambda run: run.lookup("10.40.0"), "ip"),
    "re-asserted from beyond time": invalid(lives(created={"seconds": 2**40}), "attachments[0].created"),
    "re-asserted with a zone": invalid(
        lives(addresses=[{"network": "six", "ip": "fd00:40::4%x", "block": "fd00:40::4/126"}]), "attachments[0].addresses[0]"
    ),
    "re-asserted outside its block": invalid(
        lives(addresses=[{"network": "open", "ip": "10.40.0.9", "block": "10.40.0.0/29"}]), "attachments[0].addresses[0]"
    ),
    "re-asserted pod": invalid(lives(pod={"namespace": "a/b", "name": "c"}), "attachments[0].pod.namespace"),
    "no document": Bad(applied(b""), InvalidInput, INVALID, "document", ("",)),
    "document that is no text": Bad(applied(b"\xff\xfe\0"), InvalidInput, INVALID, "document", ("",)),
    "10,000 groups, one wrong": Bad(
        applied(groups(GROUPS, routing="fast")), InvalidInput, INVALID, "document", (f"{MAP}[{GROUPS - 1}].routing",)
    ),
    "10,000 groups in the way of live addresses": Bad(
        applied(groups(GROUPS)), Refused, "TOPOLOGY_IN_THE_WAY", "cannot be changed", HELD
    ),
    "40,000 groups": Bad(applied(groups(4 * GROUPS)), InvalidInput, INVALID, "too large", ("",)),
}  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
async def test_bad_input_has_its_status_and_reason_and_writes_nothing(shared_etcd: EtcdServer, part: int) -> None:
    """I8, S15. One ipamd for many cases: what is refused leaves it as it was."""
    store = EtcdStore([shared_etcd.target], f"/bad-{os.getpid()}-{part}/")
    async with running(store) as run:
        await world(store, run)
        before = await keyspace(store, run)
        for name in list(CASES)[part::PARTS]:
            assert (name, await wrong(run, CASES[name])) == (name, "")
            assert (name, await keyspace(store, run)) == (name, before)
    await store.close()


async def wrong(run: Running, bad: Bad) -> str:
    """What is wrong with the answer."""
    with pytest.raises(RomanaError) as caught:
        await bad.call(run)
    found: tuple[Fault, ...] = getattr(caught.value, "faults", ())
    expected = (bad.error, bad.reason, True, bad.faults or tuple(fault.path for fault in found))
    words = re.search(bad.words, str(caught.value)) is not None
    answer = (type(caught.value), caught.value.reason, words, tuple(fault.path for fault in found))
    return "" if answer == expected else f"{answer}: {caught.value}"
