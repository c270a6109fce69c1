"""Whatever happens in whatever order, to two ipamd on one store: the invariants of ipam.invariants hold after every step.

Steps run alone or several at once; answers are lost, ipamd are killed and started again, the topology changes under all of it:
to other groups, block sizes, prefixes and networks, so that blocks have to be given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipam.allocation import Wanted
from ipam.invariants import faults, index_faults
from ipam.records import AttachmentId
from ipam.server import Ipamd
from ipam.topology.reading import read_document
from romana.errors import RomanaError
from romana.store.memory import MemoryStore
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock, until

NETWORKS = [(b"p", 0, 26, 30), (b"p", 0, 25, 30), (b"p", 0, 26, 29), (b"p", 1, 26, 30), (b"q", 0, 26, 30)]
DOCUMENTS = [
    b'{"networks": [{"name": "%s", "cidr": "10.0.%d.0/%d", "block_mask": %d}], "topologies": [{"networks": ["%s"], "map": [%s]}]}'
    % (name, third, length, mask, name, groups)
    for name, third, length, mask in NETWORKS
    for groups in (b'{"name": "a"}', b'{"name": "a"}, {"name": "b"}', b'{"name": "a", "assignment": {"n": "0"}}, {"name": "b"}')
]

number = st.integers(0, 2)
step = st.one_of(
    st.tuples(st.just("allocate"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("allocate"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("release"), st.integers(0, 1), number, st.integers(0, 9)),
    st.tuples(st.just("node"), st.integers(0, 1), number, number),
    st.tuples(st.just("apply"), st.integers(0, 1), st.integers(0, len(DOCUMENTS) - 1), st.just(0)),
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
            }  # fmt: skip
            try:
                await calls[kind](self.running[which][0], first, second)
            except RomanaError:
                return  # refused, exhausted, try again: all fine as long as the invariants hold

    async def allocate(self, ipamd: Ipamd, node: int, container: int) -> None:
        attachment = AttachmentId(f"n{node}", "c", f"c{container}", "eth0")
        before = self.told.get(attachment.key)
        granted = await ipamd.allocations.allocate(Wanted(attachment))
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

    async def kill(self, which: int) -> None:
        task = self.running[which][1]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run(rounds: Sequence[Sequence[Step]], losses: Sequence[str]) -> None:
    world = World(losses)
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
def test_no_sequence_of_steps_and_faults_breaks_an_invariant(rounds: list[list[Step]], losses: list[str]) -> None:
    asyncio.run(run(rounds, losses))
