"""policyd around its core: what it hears becomes what it compiles, receipts and Await tell the truth, on a store in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from policyd.applied import Applied, Problem
from policyd.awaiting import Waiting
from policyd.compiled import Compiled
from policyd.state import State
from policyd.sync import Enforcer
from romana import keys
from romana.errors import Unavailable
from romana.reconcile import Pace, Report, run
from romana.store.api import Delete, Put
from romana.store.memory import MemoryStore
from romana.v1 import store_pb2
from tests.fakes.waiting import until

ISOLATING = b'{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p","namespace":"a"},"spec":%s}'
FROM_EVERYWHERE = b'{"podSelector":{},"policyTypes":["Ingress"],"ingress":[{"from":[{"namespaceSelector":{}}]}]}'
FROM_TEAM_B = b"""{"podSelector":{},"policyTypes":["Ingress"],
                   "ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"team":"b"}}}]}]}"""
FAST = Pace(rest_s=0.001, backoff_s=0.01)


class FakeDataplane:
    """Holds what it was last given; fails on demand."""

    backend = "fake"

    def __init__(self) -> None:
        self.holds = Compiled()
        self.failing = False
        self.problems: tuple[Problem, ...] = ()

    def apply(self, compiled: Compiled) -> Applied:
        if self.failing:
            raise Unavailable("the kernel says no")
        changed, self.holds = compiled != self.holds, compiled
        return Applied(changed, bumped=False, problems=self.problems)


class Daemon:
    """State, loop and waiting of one node."""

    def __init__(self, store: MemoryStore, node: str = "n1") -> None:
        self.store = store
        self.dataplane = FakeDataplane()
        self.waiting = Waiting()
        self.reports: list[Report] = []
        self.state = State(store, node)
        self.enforcer = Enforcer(self.state, node, self.dataplane, self.waiting, self.reports.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(run("policy", self.state.sources(), self.enforcer.sync, FAST))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def peers(self, interface: str = "rom1") -> set[str] | None:
        """Peers that may reach a pod's interface on any port; None: not isolated, KeyError: not covered."""
        pod = {pod.interface: pod for pod in self.dataplane.holds.pods}[interface]
        if pod.ingress is None:
            return None
        (group,) = [group for group in self.dataplane.holds.groups if group.id == pod.ingress]
        return {str(peer) for peer in group.peers}


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    made = MemoryStore()
    yield made
    await made.close()


async def put(store: MemoryStore, key: str, value: bytes) -> int:
    return (await store.txn([], [Put(key, value)])).revision


async def put_namespace(store: MemoryStore, name: str, **labels: str) -> None:
    await put(store, keys.namespace(name), store_pb2.Namespace(labels=labels).SerializeToString())


async def put_pod(store: MemoryStore, namespace: str, name: str, **labels: str) -> None:
    await put(store, keys.pod(namespace, name), store_pb2.Pod(uid=f"uid-{name}", labels=labels).SerializeToString())


async def attach(store: MemoryStore, node: str, namespace: str, pod: str, ip: str, interface: str) -> int:
    """What ipamd writes in one transaction."""
    container = f"c-{pod}"
    address = store_pb2.AssignedAddress(network="pods", ip=ip)
    ref = store_pb2.PodRef(namespace=namespace, name=pod, uid=f"uid-{pod}") if namespace else None
    attachment = store_pb2.Attachment(pod=ref, addresses=[address], host_interface=interface)
    endpoint = store_pb2.Endpoint(addresses=[ip], node=node, pod_uid=f"uid-{pod}" if namespace else "", host_interface=interface)
    writes = [
        Put(keys.attachment(node, "romana", container, "eth0"), attachment.SerializeToString()),
        Put(keys.endpoint(namespace, pod if namespace else "", container), endpoint.SerializeToString()),
    ]
    return (await store.txn([], writes)).revision


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for a condition; what it asks about may not be there yet."""

    def holds() -> bool:
        try:
            return bool(condition())
        except (KeyError, IndexError):
            return False

    await until(holds)


async def small_cluster(store: MemoryStore) -> int:
    """Pod a/one on this node, a/two, b/three and c/four on another; gives the revision of a/one's attachment."""
    await put_namespace(store, "a")
    await put_namespace(store, "b", team="b")
    await put_namespace(store, "c")
    for namespace, pod in (("a", "one"), ("a", "two"), ("b", "three"), ("c", "four")):
        await put_pod(store, namespace, pod)
    revision = await attach(store, "n1", "a", "one", "10.0.0.1", "rom1")
    await attach(store, "n2", "a", "two", "10.0.0.2", "rom2")
    await attach(store, "n2", "b", "three", "10.0.0.3", "rom3")
    await attach(store, "n2", "c", "four", "10.0.0.4", "rom4")
    return revision


async def test_a_pod_without_policies_is_covered_and_not_isolated(store: MemoryStore) -> None:
    revision = await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        key = keys.attachment("n1", "romana", "c-one", "eth0")
        applied = await daemon.waiting.wait(key, revision, 5)
        assert {"policies/", "namespaces/", "attachments/n1/", "pods/a/", "endpoints/a/"} == set(applied)


async def test_only_namespaces_that_policies_mean_are_watched(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        await put(store, keys.policy("a", "NetworkPolicy", "p"), policy(FROM_TEAM_B))
        await eventually(lambda: daemon.peers() == {"10.0.0.3/32"})
        await eventually(lambda: watched(daemon) == {"pods/a/", "pods/b/"})
        await put_namespace(store, "c", team="b")
        await eventually(lambda: daemon.peers() == {"10.0.0.3/32", "10.0.0.4/32"})
        await put(store, keys.policy("a", "NetworkPolicy", "p"), policy(FROM_EVERYWHERE))
        await eventually(lambda: daemon.peers() == {"10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"})
        await eventually(lambda: watched(daemon) == {"pods/"})  # the namespaces' watches end after the wider one has told all
        await store.txn([], [Delete(keys.policy("a", "NetworkPolicy", "p"))])
        await eventually(lambda: daemon.peers() is None and watched(daemon) == {"pods/a/"})
        await eventually(lambda: set(daemon.state.index.covered) == {("a", "one"), ("a", "two")})


async def test_a_policy_is_not_reported_before_the_pods_that_it_means_are_known(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        revision = await put(store, keys.policy("a", "NetworkPolicy", "p"), policy(FROM_TEAM_B))
        await eventually(lambda: daemon.reports[-1].applied["policies/"] >= revision)
        assert daemon.peers() == {"10.0.0.3/32"}


async def test_an_unreadable_policy_isolates_allows_nothing_and_is_a_problem(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await put(store, keys.policy("a", "NetworkPolicy", "bad"), b"\xff\xff\xff")
        await eventually(lambda: daemon.peers() == set())
        await eventually(lambda: "a/bad" in str(daemon.reports[-1].problems))  # the report follows the kernel
        await put(store, keys.policy("a", "ClusterThing", "x"), b"\xff")
        await store.txn([], [Delete(keys.policy("a", "NetworkPolicy", "bad"))])
        await eventually(lambda: daemon.peers() is None and not daemon.reports[-1].problems)


async def test_a_pod_whose_object_is_gone_or_another_is_not_covered(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        await store.txn([], [Delete(keys.pod("a", "one"))])
        await eventually(lambda: daemon.dataplane.holds.pods == ())
        await put(store, keys.pod("a", "one"), store_pb2.Pod(uid="another").SerializeToString())
        await put(store, keys.pod("a", "one"), b"\xff\xff\xff")
        await eventually(lambda: daemon.reports[-1].problems and daemon.dataplane.holds.pods == ())
        await put_pod(store, "a", "one")
        await eventually(lambda: daemon.peers() is None and not daemon.reports[-1].problems)


async def test_a_released_attachment_leaves_and_its_address_goes_to_the_next_pod_alone(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        gone = [Delete(keys.attachment("n1", "romana", "c-one", "eth0")), Delete(keys.endpoint("a", "one", "c-one"))]
        await store.txn([], gone)
        await eventually(lambda: daemon.dataplane.holds.pods == ())
        await attach(store, "n1", "a", "two", "10.0.0.1", "rom9")
        await eventually(lambda: daemon.peers("rom9") is None)
        await eventually(lambda: [pod.interface for pod in daemon.dataplane.holds.pods] == ["rom9"])


async def test_anonymous_attachments_are_covered_without_a_pod(store: MemoryStore) -> None:
    daemon = Daemon(store)
    async with daemon.running():
        revision = await attach(store, "n1", "", "anon", "10.0.0.7", "rom7")
        await eventually(lambda: daemon.peers("rom7") is None)
        await daemon.waiting.wait(keys.attachment("n1", "romana", "c-anon", "eth0"), revision, 5)


async def test_a_failed_apply_moves_no_receipt_and_answers_no_wait(store: MemoryStore) -> None:
    daemon = Daemon(store)
    daemon.dataplane.failing = True
    revision = await small_cluster(store)
    key = keys.attachment("n1", "romana", "c-one", "eth0")
    async with daemon.running():
        await eventually(lambda: len(daemon.reports) > 1)
        assert all(not report.applied and "the kernel says no" in str(report.problems) for report in daemon.reports)
        with pytest.raises(Unavailable, match="has not brought the kernel up to date"):
            await daemon.waiting.wait(key, revision, 0.05)
        daemon.dataplane.failing = False
        await daemon.waiting.wait(key, revision, 5)


async def test_waiting_says_what_it_waits_for(store: MemoryStore) -> None:
    await small_cluster(store)
    daemon = Daemon(store)
    async with daemon.running():
        await eventually(lambda: daemon.peers() is None)
        with pytest.raises(Unavailable, match="does not know its Pod object or the attachment"):
            await daemon.waiting.wait("attachments/n1/romana/nobody/eth0", 1, 0.05)
        with pytest.raises(Unavailable, match="older attachment"):
            await daemon.waiting.wait(keys.attachment("n1", "romana", "c-one", "eth0"), 10_000, 0.05)


def policy(spec: bytes) -> bytes:
    return store_pb2.Policy(object=ISOLATING % spec).SerializeToString()


def watched(daemon: Daemon) -> set[str]:
    return {prefix for prefix in daemon.state.applied if prefix.startswith("pods/")}
