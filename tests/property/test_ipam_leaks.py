"""Whatever leaks, however the store is damaged, whoever is silent, and whatever comes at the same time: no repair takes anything
from what lives, and in the end nothing that can be repaired is left.

Machines are the truth: what lives on them, their boot, whether their agents speak. Two ipamd with their reconcilers work on one
store that loses answers. A machine whose node was removed and whose agent is silent is gone; that is what removal says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipam import codec_address
from ipam.allocation import Wanted
from ipam.check.decision import findings
from ipam.check.finding import Finding, Presence
from ipam.check.reading import whole
from ipam.check.reconciler import Reconciler
from ipam.check.repairs import Repairs
from ipam.commit import Committer, Txn
from ipam.records import AttachmentId
from ipam.server import Ipamd
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import RomanaError
from romana.store.api import Delete, Put, Store, TxnResult
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import Endpoint
from tests.fakes.losing_store import LosingStore
from tests.ipamd import Clock, until

DOCUMENT = (
    b'{"networks": [{"name": "p", "cidr": "10.0.0.0/27", "block_mask": 30}],'
    b' "topologies": [{"networks": ["p"], "map": [{"name": "a"}]}]}'
)

ROUNDS_MAX = 100

Step = tuple[str, int, int]
node, container = st.integers(0, 1), st.integers(0, 3)
together = st.one_of(
    st.tuples(st.sampled_from(["add", "add", "die", "delete"]), node, container),
    st.tuples(st.just("sync"), node, st.just(0)),
)
alone = st.one_of(
    st.tuples(st.sampled_from(["reboot", "hush", "speak", "drop", "join"]), node, st.just(0)),
    st.tuples(st.sampled_from(["lose attachment", "lose address", "lose endpoint", "stray endpoint"]), node, container),
)
group = st.one_of(st.lists(together, min_size=1, max_size=6), st.lists(alone, min_size=1, max_size=2))


def race(kind: str, which: int, number: int, reconciler: int) -> list[list[Step]]:
    """Something leaks and is seen once; an ADD comes beside the second sighting."""
    return [
        [("add", which, number)],
        [(kind, which, number)],
        [("sync", reconciler, 0)],
        [("sync", reconciler, 0), ("late add", which, number)],
    ]


kinds = st.sampled_from(["reboot", "lose attachment", "stray endpoint", "die"])
chapter = st.one_of(group.map(lambda steps: [steps]), st.builds(race, kinds, node, container, node))


@dataclass
class Machine:
    """What is true of a node."""

    name: str
    boot: int = 1
    speaks: bool = True
    live: set[AttachmentId] = field(default_factory=set)
    busy: list[AttachmentId] = field(default_factory=list)
    """Of ADDs and DELs under way."""

    def presence(self) -> Presence:
        interfaces = frozenset(attachment.host_interface for attachment in (*self.live, *self.busy))
        return Presence(self.name, f"boot-{self.boot}", interfaces)


@dataclass
class World:
    """Two ipamd, two machines, and what callers were told."""

    losses: Sequence[str]
    pause: int
    """How often others get their turn between the decision of a repair and its write."""
    delay: int
    """And before a late ADD begins."""
    backing: MemoryStore = field(default_factory=MemoryStore)
    machines: list[Machine] = field(default_factory=lambda: [Machine("n0"), Machine("n1")])
    told: dict[AttachmentId, str] = field(default_factory=dict)
    damaged: set[AttachmentId] = field(default_factory=set)
    """Those that the store had without their address at some time: what they are told is not promised."""
    ipamds: list[Ipamd] = field(default_factory=list)
    reconcilers: list[Reconciler] = field(default_factory=list)
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def start(self) -> None:
        store = LosingStore(self.backing, lambda number: self.losses[number % len(self.losses)])
        ipamd = Ipamd(store, 0, lag_s=lambda: 0.0)
        self.tasks.append(asyncio.create_task(ipamd.follow()))
        await until(lambda: ipamd.state.whole or self.tasks[-1].done())
        self.ipamds.append(ipamd)
        repairs = Repairs(store, Late(store, ipamd.state.committed, self.pause), lambda: 1_700_000_000_000, 0)
        self.reconcilers.append(Reconciler(store, ipamd.state, Heard(self), repairs, Clock(), apart_s=0))  # type: ignore[arg-type]

    def presences(self) -> dict[str, Presence]:
        return {machine.name: machine.presence() for machine in self.machines if machine.speaks}

    async def do(self, step: Step) -> None:
        kind, which, number = step
        machine, attachment = self.machines[which], AttachmentId(f"n{which}", "c", f"c{number}", "eth0")
        if kind == "sync":
            await self.sync(which)
        elif kind in {"add", "late add", "die", "delete"}:
            for _ in range(self.delay if kind == "late add" else 0):
                await asyncio.sleep(0)
            calls: dict[str, Callable[[Machine, AttachmentId], Awaitable[None]]] = {
                "add": self.add, "late add": self.add, "die": self.die, "delete": self.delete,
            }  # fmt: skip
            await calls[kind](machine, attachment)
        elif kind in {"reboot", "hush", "speak", "drop", "join"}:
            await self.change(kind, machine)
        else:
            await self.damage(kind, attachment)

    async def sync(self, which: int) -> None:
        try:
            await self.reconcilers[which].sync()
        except RomanaError:
            return  # tried again in the next round

    async def add(self, machine: Machine, attachment: AttachmentId) -> None:
        if attachment in machine.live or attachment in machine.busy:
            return  # the agent refuses it
        machine.busy.append(attachment)
        try:
            granted = await self.ipamds[0].allocations.allocate(Wanted(attachment, boot_id=f"boot-{machine.boot}"))
        except RomanaError:
            return
        else:
            machine.live.add(attachment)
            if attachment not in self.damaged:
                self.told[attachment] = str(granted.record.addresses[0].ip)
        finally:
            machine.busy.remove(attachment)

    async def die(self, machine: Machine, attachment: AttachmentId) -> None:
        machine.live.discard(attachment)
        self.told.pop(attachment, None)

    async def delete(self, machine: Machine, attachment: AttachmentId) -> None:
        if attachment in machine.busy:
            return  # the agent lets one wait for the other
        machine.busy.append(attachment)
        await self.die(machine, attachment)
        try:
            await self.ipamds[1].releases.release(attachment)
        except RomanaError:
            return
        finally:
            machine.busy.remove(attachment)

    async def change(self, kind: str, machine: Machine) -> None:
        is_node = await self.backing.get(keys.node(machine.name)) is not None
        if kind == "join":
            await self.join(machine)
        elif kind == "drop":
            await self.backing.txn([], [Delete(keys.node(machine.name))])
        elif kind in {"hush", "speak"}:
            machine.speaks = kind == "speak"
        gone = not machine.speaks and (kind == "drop" or not is_node)
        if kind == "reboot" or gone:
            machine.boot += kind == "reboot"
            for attachment in list(machine.live):
                await self.die(machine, attachment)

    async def join(self, machine: Machine) -> None:
        try:
            await self.ipamds[0].nodes.add(machine.name, "", (ip_address(f"192.0.2.{machine.name[1:]}"),), {})
        except RomanaError:
            return

    async def damage(self, kind: str, attachment: AttachmentId) -> None:
        """What lives and was told is not promised any more: the store has lost it."""
        item = await self.backing.get(attachment.key)
        endpoint = keys.endpoint("", "", attachment.container_id)
        if kind == "stray endpoint":
            value = Endpoint(addresses=["10.0.0.9"], node=attachment.node, host_interface=attachment.host_interface)
            if await self.backing.get(endpoint) is None:
                await self.backing.txn([], [Put(endpoint, value.SerializeToString())])
            return
        if item is None:
            return
        addresses = codec_address.read_attachment(item).addresses
        lost = {"lose attachment": attachment.key, "lose address": keys.address("p", addresses[0].ip), "lose endpoint": endpoint}
        if kind == "lose address" and not await self.holds(attachment, lost[kind]):
            return  # it is another's by now
        await self.backing.txn([], [Delete(lost[kind])])
        if kind != "lose endpoint":
            self.told.pop(attachment, None)
        if kind == "lose address":
            self.damaged.add(attachment)

    async def holds(self, attachment: AttachmentId, key: str) -> bool:
        item = await self.backing.get(key)
        record = codec_address.read_address(item) if item else None
        return record is not None and record.held and record.attachment == attachment

    async def stolen(self) -> list[str]:
        """What lives, and has not what it was told that it has."""
        found = []
        for attachment, ip in self.told.items():
            item = await self.backing.get(attachment.key)
            has = {str(one.ip) for one in codec_address.read_attachment(item).addresses} if item else set()
            if has != {ip} or not await self.holds(attachment, f"addresses/p/{ip}"):
                found.append(f"{attachment}: {ip}, attachment has {has}")
        return found


class Late(Committer):
    """Lets others go first."""

    def __init__(self, store: Store, committed: Callable[[Txn, int], None], pause: int) -> None:
        super().__init__(store, committed)
        self._pause = pause

    async def commit(self, txn: Txn) -> TxnResult:
        for _ in range(self._pause):
            await asyncio.sleep(0)
        return await super().commit(txn)


class Heard:
    """What agents say, as `ipam.check.presences` has it: seen after they were asked."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ask(self, nodes: Iterable[str], _: float) -> dict[str, Presence]:
        await asyncio.sleep(0)
        return {name: presence for name, presence in self._world.presences().items() if name in set(nodes)}

    def boot_id(self, name: str) -> str:
        presence = self._world.presences().get(name)
        return presence.boot_id if presence else ""


async def run(groups: Sequence[Sequence[Step]], losses: Sequence[str], pause: int, delay: int) -> None:
    world = World(losses, pause, delay)
    for _ in range(2):
        await world.start()
    await world.ipamds[0].topologies.apply(read_document(DOCUMENT))
    for machine in world.machines:
        await world.join(machine)
    for steps in groups:
        if {step[0] for step in steps} & {"reboot", "hush", "speak", "drop", "join"} or "lose" in str(steps):
            for step in steps:
                await world.do(step)
        else:
            await asyncio.gather(*map(world.do, steps))
        assert await world.stolen() == [], steps
    for machine in world.machines:
        machine.speaks = True
    await settled(world)
    assert await world.stolen() == []
    for task in world.tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*world.tasks, return_exceptions=True)
    await world.backing.close()


async def settled(world: World) -> None:
    """Until nothing that can be repaired is left; ipamd may hear late of what was written past it."""
    for _ in range(ROUNDS_MAX):
        if not await repairable(world):
            return
        await world.sync(0)
        await world.sync(1)
        await asyncio.sleep(0.005)
    assert await repairable(world) == []


async def repairable(world: World) -> list[Finding]:
    return [finding for finding in findings(await whole(world.backing), world.presences()) if finding.repair]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(chapter, max_size=10),
    st.lists(st.sampled_from(["", "", "", "after", "before"]), min_size=1, max_size=7).filter(lambda kinds: "" in kinds),
    st.integers(0, 12),
    st.integers(0, 60),
)
def test_no_repair_takes_anything_from_what_lives_and_all_that_leaks_is_repaired(
    chapters: list[list[list[Step]]], losses: list[str], pause: int, delay: int
) -> None:
    asyncio.run(run([steps for chapter in chapters for steps in chapter], losses, pause, delay))
