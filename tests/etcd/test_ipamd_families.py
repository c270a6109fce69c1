"""Pairs of networks (`dual`), blocks of tenants (`owner: tenant`), chosen networks, fallback and cool-down by network."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ipam.invariants import faults
from romana import keys
from romana.errors import Exhausted, Refused
from romana.store.api import Put, Store
from romana.v1 import ipam_pb2, store_pb2
from tests.ipamd import Clock, Running, attachment, running, until

SHARED = Path(__file__).parents[2].parent / "shared" / "topologies"
EXAMPLES = [json.loads(path.read_text()) for path in sorted(SHARED.glob("e*.json"))]


def pair(v6_cidr: str = "fd00:40::/64", **more: Any) -> dict[str, Any]:
    """An IPv4 network of 16 addresses and its IPv6 one, both in one flat topology."""
    return {
        "networks": [
            {"name": "v4", "cidr": "10.40.0.0/28", "block_mask": 30, "dual": "v6", **more},
            {"name": "v6", "cidr": v6_cidr, "block_mask": 126},
        ],
        "topologies": [{"networks": [name], "map": [{"name": "all", "groups": []}]} for name in ("v4", "v6")],
    }


async def pod(store: Store, namespace: str, name: str, segment: str = "", **annotations: str) -> tuple[str, str, str]:
    labels = {"romana.io/segment": segment} if segment else {}
    message = store_pb2.Pod(labels=labels, annotations={f"romana.io/{key}": text for key, text in annotations.items()})
    await store.txn([], [Put(keys.pod(namespace, name), message.SerializeToString())])
    return namespace, name, ""


async def ips(run: Running, node: str, container: str, pod: tuple[str, str, str] | None = None) -> list[str]:
    return [address.ip for address in (await run.allocate(node, container, pod)).addresses]


async def test_a_pair_of_networks_gives_one_address_of_each_family_in_one_transaction(store: Store) -> None:
    async with running(store) as run:
        await run.apply(pair())
        await run.add_node("n1")
        assert await ips(run, "n1", "c1") == ["10.40.0.0", "fd00:40::"]
        assert await ips(run, "n1", "c2") == ["10.40.0.1", "fd00:40::1"]
        written = [await store.get(key) for key in ("addresses/v4/10.40.0.1", "addresses/v6/fd00:40::1")]
        attached = await store.get("attachments/n1/romana/c2/eth0")
        assert attached is not None
        assert {item.mod_revision for item in written if item} == {attached.mod_revision}
        assert (await run.allocate("n1", "c2")).existing
        released = await run.release("n1", "c2")
        assert [address.ip for address in released.addresses] == ["10.40.0.1", "fd00:40::1"]
        assert await faults(store) == []


async def test_s14_where_one_family_is_full_nothing_of_the_other_is_kept(store: Store) -> None:
    async with running(store) as run:
        await run.apply(pair("fd00:40::/126"))
        await run.add_node("n1")
        for i in range(4):
            await run.allocate("n1", f"c{i}")
        await until(lambda: not run.ipamd.state.uneven)
        before = (await store.list("")).items
        for i in range(20):
            with pytest.raises(Exhausted, match="of network v6") as caught:
                await run.allocate("n1", f"d{i}")
            assert caught.value.reason == "NETWORK_EXHAUSTED"
        assert (await store.list("")).items == before
        await run.release("n1", "c0")
        assert await ips(run, "n1", "d") == ["10.40.0.4", "fd00:40::"]  # the IPv4 one was never used: it comes first
        assert await faults(store) == []


async def test_a_fixed_address_for_each_family_and_for_one_alone(store: Store) -> None:
    async with running(store) as run:
        await run.apply(pair())
        await run.add_node("n1")
        both = await pod(store, "default", "both", ip="fd00:40::2,10.40.0.3")
        assert await ips(run, "n1", "c1", both) == ["10.40.0.3", "fd00:40::2"]
        one = await pod(store, "default", "one", ip="10.40.0.2")
        assert await ips(run, "n1", "c2", one) == ["10.40.0.2", "fd00:40::"]
        taken = await pod(store, "default", "taken", ip="10.40.0.1,fd00:40::2")
        await until(lambda: not run.ipamd.state.uneven)
        before = (await store.status()).revision
        with pytest.raises(Refused, match=r"fd00:40::2 is taken: pod default/both") as caught:
            await run.allocate("n1", "c3", taken)
        assert caught.value.reason == "ADDRESS_TAKEN"
        assert (await store.status()).revision == before
        assert await ips(run, "n1", "c4") == ["10.40.0.0", "fd00:40::1"]


async def test_networks_are_chosen_by_the_pod_and_before_it_by_the_configuration(store: Store) -> None:
    async with running(store) as run:
        await run.apply(pair())
        await run.add_node("n1")
        chooses = await pod(store, "default", "chooses", network="v6")
        assert await ips(run, "n1", "c1", chooses) == ["fd00:40::"]
        request = ipam_pb2.AllocateRequest(attachment=attachment("n1", "c2"), networks=["v4"])
        request.pod.namespace, request.pod.name = chooses[:2]
        answer = await run.ipam(lambda stub, left: stub.Allocate(request, timeout=left))
        assert [address.ip for address in answer.addresses] == ["10.40.0.0"]


async def test_a_tenant_that_may_not_fall_back_is_refused_when_its_network_is_full(store: Store) -> None:
    def document(fallback: bool) -> dict[str, Any]:
        return {
            "networks": [
                {"name": "cards", "cidr": "172.30.8.0/31", "block_mask": 31, "tenants": ["payments"], "fallback": fallback},
                {"name": "common", "cidr": "10.50.0.0/24", "block_mask": 30},
            ],
            "topologies": [{"networks": ["cards", "common"], "map": [{"name": "flat", "groups": []}]}],
        }

    async with running(store) as run:
        await run.apply(document(fallback=False))
        await run.add_node("n1")
        tenant = await pod(store, "payments", "p")
        assert [await run.ip("n1", f"c{i}", tenant) for i in range(2)] == ["172.30.8.0", "172.30.8.1"]
        with pytest.raises(Exhausted, match="of network cards"):
            await run.allocate("n1", "c2", tenant)
        await run.apply(document(fallback=True))
        assert await run.ip("n1", "c2", tenant) == "10.50.0.0"
        stranger = await pod(store, "hr", "p", network="cards")
        with pytest.raises(Refused, match="does not admit tenant 'hr'; it admits payments") as caught:
            await run.allocate("n1", "c3", stranger)
        assert caught.value.reason == "TENANT_NOT_ADMITTED"


async def test_the_networks_own_cool_down_is_the_one_that_counts(store: Store) -> None:
    clock = Clock()
    document = pair(cooldown_s=100)
    async with running(store, cooldown_s=5, clock=clock) as run:
        await run.apply(document)
        await run.add_node("n1")
        await run.allocate("n1", "c1")
        await run.release("n1", "c1")
        cooling = [await store.get(key) for key in ("addresses/v4/10.40.0.0", "addresses/v6/fd00:40::")]
        assert [store_pb2.Address.FromString(item.value).cooldown_s for item in cooling if item] == [100, 5]


async def test_blocks_of_tenants_come_as_in_romana(store: Store) -> None:
    """Romana's example E1: a block for each tenant, segment and node; and no other tenant's pod in it."""
    document = {
        "networks": [{"name": "pods", "cidr": "10.40.0.0/16", "block_mask": 29, "owner": "tenant"}],
        "topologies": [{"networks": ["pods"], "map": [{"name": "everyone", "groups": []}]}],
    }
    wanted = [("n1", "web", "10.40.0.0"), ("n2", "web", "10.40.0.8"), ("n1", "db", "10.40.0.16")]
    wanted += [("n1", "web", f"10.40.0.{i}") for i in range(1, 8)] + [("n1", "web", "10.40.0.24")]
    async with running(store) as run:
        await run.apply(document)
        for name in ("n1", "n2"):
            await run.add_node(name)
        for number, (node, segment, ip) in enumerate(wanted):
            assert await run.ip(node, f"c{number}", await pod(store, "default", f"p{number}", segment)) == ip
        block = await store.get("blocks/pods/10.40.0.16_29")
        assert block is not None
        found = store_pb2.Block.FromString(block.value)
        assert (found.node, found.tenant, found.segment) == ("n1", "default", "db")
        assert await faults(store) == []


@pytest.mark.skipif(not EXAMPLES, reason="the reference layouts are not beside the repository; Romana's E1 above stays")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"].split()[0])
async def test_reference_allocations_come_out_exactly_where_tenants_own_blocks(example: dict[str, Any], store: Store) -> None:
    topology = copy.deepcopy(example["topology"])
    for network in topology["networks"]:
        network["owner"] = "tenant"
    fixed = {host["name"]: host["ip"] for host in _hosts(topology)}
    async with running(store) as run:
        await run.apply(topology)
        for name, ip in fixed.items():
            await run.add_node(name, ip)
        for number, placed in enumerate(example["expected"]["placements"]):
            if placed["groups"] and placed["node"] not in fixed:
                await run.add_node(placed["node"], f"198.18.0.{number + 1}", labels=placed["labels"])
        for number, wanted in enumerate(example["expected"]["allocations"]):
            who = await pod(store, wanted["tenant"], f"p{number}", wanted["segment"])
            (address,) = (await run.allocate(wanted["node"], f"c{number}", who)).addresses
            assert {"address": address.ip, "block": address.block, "network": address.network} == wanted["answer"]
        assert await faults(store) == []


def _hosts(topology: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    waiting = [entry for each in topology["topologies"] for entry in each["map"]]
    while waiting:
        entry = waiting.pop()
        found += [entry] if "ip" in entry else []
        waiting += entry.get("groups", [])
    return found
