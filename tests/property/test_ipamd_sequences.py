"""Whatever happens in whatever order, to two ipamd on one store: the invariants of ipam.invariants hold after every step.

Steps run alone or several at once; answers are lost, ipamd are killed and started again, the topology changes under all of it:
to other groups, block sizes, prefixes and networks, so that blocks have to be given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ipam import codec, codec_address
from ipam.attempt import Wanted
from ipam.invariants import faults, index_faults
from ipam.records import AttachmentId, PodId
from ipam.server import Ipamd
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import RomanaError
from romana.store.api import Put
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import Pod
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock, until

NETWORKS = [(b"p", 0, 26, 30), (b"p", 0, 25, 30), (b"p", 0, 26, 29), (b"p", 1, 26, 30), (b"q", 0, 26, 30)]
DOCUMENTS = [
    b'{"networks": [{"name": "%s", "cidr": "10.0.%d.0/%d", "block_mask": %d}], "topologies": [{"networks": ["%s"], "map": [%s]}]}'
    % (name, third, length, mask, name, groups)
    for name, third, length, mask in NETWORKS
    for groups in (b'{"name": "a"}', b'{"name": "a"}, {"name": "b"}', b'{"name": "a", "assignment": {"n": "0"}}, {"name": "b"}')
]

DOCUMENTS += [
    b'{"networks": [%s], "topologies": [{"networks": ["p"], "map": [{"name": "a"}]}%s]}' % (networks, more)
    for networks, more in (
        (b'{"name": "p", "cidr": "10.0.0.0/26", "block_mask": 30, "owner": "tenant"}', b""),
        (b'{"name": "p", "cidr": "10.0.0.0/26", "block_mask": 30, "reserved": ["10.0.0.2/31", "10.0.0.8/30"]}', b""),
        (
            b'{"name": "p", "cidr": "10.0.0.0/26", "block_mask": 30, "dual": "six"},'
            b' {"name": "six", "cidr": "fd00::/124", "block_mask": 126}',
            b', {"networks": ["six"], "map": [{"name": "b"}]}',
        ),
    )
]
PODS = {6: PodId("red", "plain"), 7: PodId("blue", "plain"), 8: PodId("red", "fixed"), 9: PodId("red", "fixed-six")}
"""By container; the others have no pod."""
RESERVED = [ip_network(text) for text in ("10.0.0.4/30", "10.0.0.16/31", "10.0.0.32/27")]

number = st.integers(0, 2)
step = st.one_of(
    st.tuples(st.just("allocate"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("allocate"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("release"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("node"), st.integers(0, 1), number, number),
    st.tuples(st.just("apply"), st.integers(0, 1), st.integers(0, len(DOCUMENTS) - 1), st.just(0)),
    st.tuples(st.just("reserve"), st.integers(0, 1), number, st.just(0)),
    st.tuples(st.just("free"), st.integers(0, 1), number, st.just(0)),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([1, 6]), st.just(0)),
    st.tuples(st.just("kill"), st.integers(0, 1), st.just(0), st.just(0)),
)
Step = tuple[str, int, int, int]


@dataclass
class World:
    """Two ipamd on one store, and what callers were told."""

    losses: Sequence[str]
    backing: MemoryStore = field(default_factory=MemoryStore)
    clock: Clock = field(default_factory=Clock)
    told: dict[str, str] = field(default_factory=dict)
    running: list[tuple[Ipamd, "asyncio.Task[None]"]] = field(default_factory=list)

    async def start(self) -> tuple[Ipamd, "asyncio.Task[None]"]:
        store = LosingStore(self.backing, lambda number: self.losses[number % len(self.losses)])
        ipamd = Ipamd(store, 5, self.clock, lag_s=lambda: 0.0)
        task = asyncio.create_task(ipamd.follow())
        await until(lambda: ipamd.state.whole or task.done())
        return ipamd, task

    async def do(self, step: Step) -> None:
        kind, which, first, second = step
        if kind == "wait":
            self.clock.now_s += first
        elif kind == "kill":
            await self.kill(which)
            self.running[which] = await self.start()
        else:
            calls: dict[str, Callable[[Ipamd, int, int], Awaitable[None]]] = {
                "allocate": self.allocate, "release": self.release, "node": self.node, "apply": self.apply,
                "reserve": self.reserve, "free": self.free,
            }  # fmt: skip
            try:
                await calls[kind](self.running[which][0], first, second)
            except RomanaError:
                return  # refused, exhausted, try again: all fine as long as the invariants hold

    async def allocate(self, ipamd: Ipamd, node: int, container: int) -> None:
        attachment = AttachmentId(f"n{node}", "c", f"c{container}", "eth0")
        before = self.told.get(attachment.key)
        granted = await ipamd.allocations.allocate(Wanted(attachment, pod=PODS.get(container)))
        assert len({address.ip.version for address in granted.record.addresses}) == len(granted.record.addresses)
        ip = str(granted.record.addresses[0].ip)
        if before is not None and attachment.key in self.told:
            assert (ip, granted.existing) == (before, True)
        self.told[attachment.key] = ip

    async def release(self, ipamd: Ipamd, node: int, container: int) -> None:
        attachment = AttachmentId(f"n{node}", "c", f"c{container}", "eth0")
        self.told.pop(attachment.key, None)
        await ipamd.releases.release(attachment)
        self.told.pop(attachment.key, None)  # told meanwhile, by a step at the same time: which came first is unknown

    async def node(self, ipamd: Ipamd, node: int, label: int) -> None:
        await ipamd.nodes.add(f"n{node}", "", (ip_address(f"192.0.2.{node}"),), {"n": str(label)})

    async def apply(self, ipamd: Ipamd, document: int, _: int) -> None:
        await ipamd.topologies.apply(read_document(DOCUMENTS[document]))

    async def reserve(self, ipamd: Ipamd, which: int, _: int) -> None:
        await ipamd.reservations.reserve(RESERVED[which], "")

    async def free(self, ipamd: Ipamd, which: int, _: int) -> None:
        await ipamd.reservations.release(RESERVED[which])

    async def write_pods(self) -> None:
        fixed = {"fixed": "10.0.0.5", "fixed-six": "10.0.0.18,fd00::2"}
        for pod in PODS.values():
            annotations = {"romana.io/ip": fixed[pod.name]} if pod.name in fixed else {}
            value = Pod(labels={"romana.io/segment": "s"}, annotations=annotations).SerializeToString()
            await self.backing.txn([], [Put(keys.pod(pod.namespace, pod.name), value)])

    async def kill(self, which: int) -> None:
        task = self.running[which][1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def reserved_and_held(store: MemoryStore) -> set[str]:
    """Addresses that an operator reserved and that somebody holds: refused when they are reserved, not given out after."""
    reservations = map(codec.read_reservation, (await store.list(keys.RESERVATIONS)).items)
    reserved = [reservation.cidr for reservation in reservations if reservation.confirmed]
    addresses = [codec_address.read_address(item) for item in (await store.list(keys.ADDRESSES)).items]
    return {str(address.ip) for address in addresses if address.held and any(address.ip in cidr for cidr in reserved)}


async def run(rounds: Sequence[Sequence[Step]], losses: Sequence[str]) -> None:
    world = World(losses)
    await world.write_pods()
    world.running = [await world.start(), await world.start()]
    for number in range(2):
        await world.do(("node", 0, number, number))
    await world.do(("apply", 0, 0, 0))
    for steps in rounds:
        alone = [step for step in steps if step[0] in {"kill", "wait"}]
        await asyncio.gather(*(world.do(step) for step in steps if step not in alone))
        for step in alone:
            await world.do(step)
        assert await faults(world.backing, world.told) == [], steps
        assert await reserved_and_held(world.backing) == set(), steps
    await asyncio.sleep(0.03)  # writes that come late
    assert await faults(world.backing, world.told) == []
    for ipamd, task in world.running:
        assert not task.done()
        async with asyncio.timeout(30):
            while await index_faults(world.backing, ipamd.state):  # noqa: ASYNC110 - it follows the watch
                await asyncio.sleep(0.005)
    for which in range(2):
        await world.kill(which)
    await world.backing.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(step, min_size=1, max_size=8), max_size=10),
    st.lists(st.sampled_from(["", "", "", "after", "before", "late"]), min_size=1, max_size=7).filter(lambda kinds: "" in kinds),
)
@example([[("reserve", 0, 0, 0)], [("apply", 0, 12, 0)], [("allocate", 0, 0, 0)], [("allocate", 0, 1, 0)]], [""])
def test_no_sequence_of_steps_and_faults_breaks_an_invariant(rounds: list[list[Step]], losses: list[str]) -> None:
    """S20."""
    asyncio.run(run(rounds, losses))
