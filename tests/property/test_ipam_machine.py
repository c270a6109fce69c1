"""Two ipamd that hear late or not at all, any order of all that operators, agents and pods do: I1 to I14 hold after each step.

The names of the invariants are those of docs/ipam.md; `test_allocator_machine` has the order of choice (I11) in full.
"""

from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ipam import codec, codec_address
from ipam.allocation import Granted, Wanted
from ipam.invariants import faults, index_faults
from ipam.records import AddressRecord, AttachmentId, AttachmentRecord, BlockRecord
from ipam.releasing import Released
from ipam.topology.reading import read_document
from romana import keys
from romana.errors import Exhausted, Refused, RomanaError
from romana.keys import Address, Network
from romana.store.api import Put
from romana.v1.store_pb2 import Pod
from tests.property.test_ipamd_sequences import DOCUMENTS, PODS, RESERVED
from tests.stale_ipamd import COOLDOWN_S, Replica, StaleWorld

NODES = ("n0", "n1", "n2")
REPLICA, NODE, CONTAINER = st.integers(0, 1), st.sampled_from(NODES), st.integers(0, 9)
FIXED = {"fixed": "10.0.0.5", "fixed-six": "10.0.0.18,fd00::2"}
ONE_NETWORK = 15  # so many of the documents, from the first on, have one network whose blocks are nodes'

ASKED = st.tuples(st.sampled_from(["allocate", "release"]), REPLICA, NODE, CONTAINER)


def place(node: str, container: int) -> AttachmentId:
    return AttachmentId(node, "c", f"c{container}", "eth0")


class IpamMachine(RuleBasedStateMachine):
    """The model: `told` has what callers were told and did not release; `unsure` what may be there, as nobody was answered."""

    @initialize(document=st.integers(0, len(DOCUMENTS) - 1))
    def begin(self, document: int) -> None:
        self.world = StaleWorld()
        self.told: dict[str, tuple[str, ...]] = {}
        self.unsure: set[str] = set()
        self.released_s: dict[str, float] = {}
        self.boots = dict.fromkeys(NODES, 1)
        self.document = document
        self.seen = (-1, [""])
        self.world.do(self._begin(document))

    async def _begin(self, document: int) -> None:
        for pod in PODS.values():
            annotations = {"romana.io/ip": FIXED[pod.name]} if pod.name in FIXED else {}
            value = Pod(labels={"romana.io/segment": "s"}, annotations=annotations).SerializeToString()
            await self.world.store.txn([], [Put(keys.pod(pod.namespace, pod.name), value)])
        one = self.replica(0).ipamd
        await one.topologies.apply(read_document(DOCUMENTS[document]))
        for number, name in enumerate(NODES[:2]):
            await one.nodes.add(name, "", (ip_address(f"192.0.2.{number}"),), {"n": str(number)})
        await self.replica(1).catch_up()

    def replica(self, which: int) -> Replica:
        return self.world.replicas[which]

    def ask(self, call: Awaitable[object]) -> object:
        return self.world.do(self.world.attempt(call))

    # Pods

    @rule(which=REPLICA, node=NODE, container=CONTAINER)
    def allocate(self, which: int, node: str, container: int) -> None:
        """By an ipamd that may know little; what it says is then held against all that there is."""
        self.add(node, container, self.ask(self.allocation(which, node, container)()), None)

    @rule(node=NODE, containers=st.permutations(range(6)), count=st.integers(2, 6))
    def allocate_by_turns(self, node: str, containers: list[int], count: int) -> None:
        """Neither hears of what the other gives."""
        for turn, container in enumerate(containers[:count]):
            self.allocate(turn % 2, node, container)

    @rule(node=NODE, containers=st.permutations(range(6)))
    def release_all_by_turns(self, node: str, containers: list[int]) -> None:
        for turn, container in enumerate(containers):
            self.release(turn % 2, node, container)

    @rule(which=REPLICA, node=NODE, container=st.integers(0, 5))
    def allocate_knowing_all(self, which: int, node: str, container: int) -> None:
        self.world.do(self.replica(which).catch_up())
        before = Truth(self)
        self.add(node, container, self.ask(self.allocation(which, node, container)()), before)

    @rule(asked=st.lists(ASKED, min_size=2, max_size=6))
    def at_once(self, asked: list[tuple[str, int, str, int]]) -> None:
        calls = [(self.allocation if kind == "allocate" else self.releasing)(*rest) for kind, *rest in asked]  # type: ignore[arg-type]
        outcomes = self.world.do(self.world.all_at_once(calls))
        many = {place(node, container).key for _, _, node, container in asked}
        for (_, _, node, container), outcome in zip(asked, outcomes, strict=True):
            key = place(node, container).key
            if sum(place(*other[2:]).key == key for other in asked) > 1:
                self.forget(key)  # which of them came first is unknown
            elif isinstance(outcome, Granted):
                self.add(node, container, outcome, None)
            else:
                self.drop(key, outcome)
        assert many

    def allocation(self, which: int, node: str, container: int) -> Callable[[], Awaitable[Granted]]:
        wanted = Wanted(place(node, container), boot_id=str(self.boots[node]), pod=PODS.get(container))
        return lambda: self.replica(which).ipamd.allocations.allocate(wanted)

    def releasing(self, which: int, node: str, container: int) -> Callable[[], Awaitable[Released]]:
        return lambda: self.replica(which).ipamd.releases.release(place(node, container))

    @rule(which=REPLICA, node=NODE, container=CONTAINER)
    def release(self, which: int, node: str, container: int) -> None:
        """Of what is there, was there, or never was: a DEL may come late, or twice."""
        self.drop(place(node, container).key, self.ask(self.releasing(which, node, container)()))

    @rule(which=REPLICA, node=NODE)
    def reboot(self, which: int, node: str) -> None:
        """The agent gives back what earlier boots have left."""
        self.boots[node] += 1
        for record in self.attachments():
            if record.id.node == node and record.boot_id != str(self.boots[node]):
                self.drop(record.id.key, self.ask(self.replica(which).ipamd.releases.release(record.id)))

    # Operators

    @rule(which=REPLICA, node=NODE, label=st.integers(0, 2))
    def add_node(self, which: int, node: str, label: int) -> None:
        """A new one, or one that was removed: then under another uid."""
        address = ip_address(f"192.0.2.{NODES.index(node)}")
        self.ask(self.replica(which).ipamd.nodes.add(node, "", (address,), {"n": str(label)}))

    @rule(which=REPLICA, node=NODE, draining=st.booleans())
    def drain(self, which: int, node: str, draining: bool) -> None:
        self.ask(self.replica(which).ipamd.life.drain(node, draining=draining))

    @rule(which=REPLICA, node=NODE, force=st.booleans())
    def remove_node(self, which: int, node: str, force: bool) -> None:
        left = [record.id.key for record in self.attachments() if record.id.node == node]
        outcome = self.ask(self.replica(which).ipamd.life.remove(node, force=force))
        if not force and left:
            assert isinstance(outcome, RomanaError)
        for key in left if force else ():
            self.drop(key, outcome)

    @rule(which=REPLICA, document=st.integers(0, len(DOCUMENTS) - 1))
    def change_topology(self, which: int, document: int) -> None:
        before = [item for item in self.world.do(self.world.store.list("")).items if not item.key.startswith(keys.ADDRESSES)]
        outcome = self.ask(self.replica(which).ipamd.topologies.apply(read_document(DOCUMENTS[document])))
        if isinstance(outcome, Refused):
            after = self.world.do(self.world.store.list("")).items
            assert [item for item in after if not item.key.startswith(keys.ADDRESSES)] == before

    @rule(which=REPLICA, cidr=st.sampled_from(RESERVED), reserved=st.booleans())
    def reserve(self, which: int, cidr: Network, reserved: bool) -> None:
        reservations = self.replica(which).ipamd.reservations
        self.ask(reservations.reserve(cidr, "") if reserved else reservations.release(cidr))

    # What ipamd does by itself, and what happens to it

    @rule(which=REPLICA)
    def look_after_nodes(self, which: int) -> None:
        """Claims ahead, places, gives back what nodes that are gone have left."""
        self.ask(self.replica(which).ipamd._upkeep.sync())

    @rule(which=REPLICA, prefix=st.integers(0, 4), count=st.integers(1, 5))
    def hear(self, which: int, prefix: int, count: int) -> None:
        """Of some changes, of one kind: the watches are several, and each may lag by itself."""
        replica = self.replica(which)
        for _ in range(count):
            self.world.do(replica.hear(replica.ipamd.state.prefixes[prefix]))

    @rule(which=REPLICA)
    def restart(self, which: int) -> None:
        self.world.do(self.world.restart(which))

    @rule(losses=st.lists(st.sampled_from(["", "after", "before", "late"]), min_size=1, max_size=3))
    def lose_answers(self, losses: list[str]) -> None:
        self.world.losses += losses

    @rule(passed_s=st.sampled_from([1.0, 4.0, 6.0]))
    def wait(self, passed_s: float) -> None:
        self.world.clock.now_s += passed_s

    @rule(jump_ms=st.sampled_from([-3_600_000, 3_600_000]))
    def jump(self, jump_ms: int) -> None:
        """The wall clock, which decides nothing."""
        self.world.wall_ms += jump_ms

    # The model

    def add(self, node: str, container: int, outcome: object, before: "Truth | None") -> None:
        key = place(node, container).key
        if not isinstance(outcome, Granted):
            if isinstance(outcome, Exhausted) and before is not None:
                self.i13_exhausted_only_when_nothing_is_left(before, node)
            if not isinstance(outcome, Exhausted | Refused):
                self.unsure.add(key)
            return
        ips = tuple(str(address.ip) for address in outcome.record.addresses)
        self.i5_a_repeat_gets_the_same(key, ips, outcome)
        if before is not None and not outcome.existing:
            self.i11_nothing_rested_is_given_early(before, node, ips)
        self.told[key] = ips
        self.unsure.discard(key)
        for ip in ips:
            self.released_s.pop(ip, None)

    def drop(self, key: str, outcome: object) -> None:
        ips = self.told.pop(key, ())
        if isinstance(outcome, RomanaError):
            self.unsure.add(key)
        else:
            self.unsure.discard(key)
        for ip in ips:
            self.released_s[ip] = self.world.clock.now_s

    def forget(self, key: str) -> None:
        for ip in self.told.pop(key, ()):
            self.released_s[ip] = self.world.clock.now_s
        self.unsure.add(key)

    def attachments(self) -> list[AttachmentRecord]:
        return [codec_address.read_attachment(item) for item in self.world.do(self.world.store.list(keys.ATTACHMENTS)).items]

    def broken(self, name: str) -> list[str]:
        """What the store says against one invariant."""
        revision = self.world.do(self.world.store.status()).revision
        if self.seen[0] != revision:
            first = {key: ips[0] for key, ips in self.told.items()}
            lines = [line for line in self.world.do(faults(self.world.store, first)) if "journal" not in line]  # the wall jumps
            self.seen = (revision, lines)
        return [line for line in self.seen[1] if line.startswith(f"{name}:")]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.i10_the_index_is_the_store()
        finally:
            self.world.close()

    # The invariants

    @invariant()
    def i1_one_live_attachment_has_an_address(self) -> None:
        assert self.broken("I1") == []
        ips = [ip for ips in self.told.values() for ip in ips]
        assert len(set(ips)) == len(ips)

    @invariant()
    def i2_what_was_told_is_there(self) -> None:
        assert self.broken("I2") == []

    @invariant()
    def i3_blocks_overlap_nothing_and_lie_in_their_group(self) -> None:
        assert self.broken("I3") == []

    @invariant()
    def i4_a_used_block_has_an_owner(self) -> None:
        assert self.broken("I4") == []

    @invariant()
    def i5_attachments_addresses_and_endpoints_agree(self) -> None:
        assert self.broken("I5") == []

    def i5_a_repeat_gets_the_same(self, key: str, ips: tuple[str, ...], outcome: Granted) -> None:
        assert self.told.get(key, ips) == ips
        assert key not in self.told or outcome.existing

    @invariant()
    def i6_i7_only_what_was_released_is_gone(self) -> None:
        """No release, removal, change or background work frees what a caller was told and did not give back."""
        there = {record.id.key for record in self.attachments()}
        assert self.told.keys() <= there

    @invariant()
    def i8_what_failed_leaves_nothing_or_what_one_release_cleans(self) -> None:
        assert self.broken("I8") == []
        assert {record.id.key for record in self.attachments()} <= self.told.keys() | self.unsure

    @invariant()
    def i9_an_incarnation_owns_not_a_name(self) -> None:
        assert self.broken("I9") == []

    def i10_the_index_is_the_store(self) -> None:
        for replica in self.world.replicas:
            self.world.do(replica.catch_up())
            assert self.world.do(index_faults(self.world.store, replica.ipamd.state)) == []

    @rule()
    def i10_held_free_and_cooling_are_all(self) -> None:
        self.i10_the_index_is_the_store()

    def i11_nothing_rested_is_given_early(self, before: "Truth", node: str, ips: tuple[str, ...]) -> None:
        early = [ip for ip in ips if self.released_s.get(ip, float("-inf")) + COOLDOWN_S > self.world.clock.now_s]
        assert not early or not before.fresh(node), early

    @invariant()
    def i12_no_change_strands_a_live_address(self) -> None:
        assert self.broken("I12") == []

    def i13_exhausted_only_when_nothing_is_left(self, before: "Truth", node: str) -> None:
        assert not before.fresh(node)
        assert not before.resting(node)

    @invariant()
    def i14_whatever_was_heard_late_or_lost(self) -> None:
        """Clocks jump, watches lag, answers are lost all the time here: nothing at all may be wrong."""
        self.broken("I14")
        assert self.seen[1] == []


class Truth:
    """What a node could be given, counted address by address from the store; of topologies with one network."""

    def __init__(self, machine: IpamMachine) -> None:
        listing = machine.world.do(machine.world.store.list("")).items
        below = {prefix: [item for item in listing if item.key.startswith(prefix)] for prefix in (keys.BLOCKS, keys.ADDRESSES)}
        topology = [codec.read_topology(item) for item in listing if item.key == keys.TOPOLOGY]
        self.document = topology[0].document if topology else None
        self.blocks: list[BlockRecord] = [codec.read_block(item) for item in below[keys.BLOCKS]]
        self.used: dict[Address, AddressRecord] = {
            record.ip: record for record in map(codec_address.read_address, below[keys.ADDRESSES])
        }
        self.nodes = {node.name: node for node in map(codec.read_node, (i for i in listing if i.key.startswith(keys.NODES)))}
        reservations = map(codec.read_reservation, (item for item in listing if item.key.startswith(keys.RESERVATIONS)))
        self.reserved: list[Network] = [record.cidr for record in reservations]
        self.reserved += [cidr for network in self.document.networks for cidr in network.reserved] if self.document else []

    def candidates(self, name: str) -> list[Address]:
        """Addresses of its own blocks, and of those parts of its group that are in nobody's hands."""
        node = self.nodes.get(name)
        if self.document is None or len(self.document.networks) > 1 or self.document.networks[0].owner != "node" or node is None:
            return []
        network = self.document.networks[0]
        place = node.placement(network.name)
        if place is None or node.draining:
            return []
        others = [block.cidr for block in self.blocks if block.node_uid != node.uid and block.network == network.name]
        orphans = {record.block for record in self.used.values() if record.network == network.name}
        own = {block.cidr for block in self.blocks if block.node_uid == node.uid and block.network == network.name}
        found: list[Address] = []
        for cidr in ip_network(place.cidr).subnets(new_prefix=network.block_mask):
            free = not any(cidr.overlaps(other) for other in [*others, *(orphans - own)])
            found += [ip for ip in cidr if free and not any(ip in reserved for reserved in self.reserved)]
        return found

    def fresh(self, node: str) -> list[Address]:
        """Never used, or forgotten."""
        return [ip for ip in self.candidates(node) if ip not in self.used]

    def resting(self, node: str) -> list[Address]:
        """Released, cooled or not."""
        return [ip for ip in self.candidates(node) if ip in self.used and not self.used[ip].held]


SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))

IpamMachine.TestCase.settings = settings(SETTINGS, max_examples=12, stateful_step_count=40)
TestIpamMachine = IpamMachine.TestCase


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_long_runs() -> None:
    """S20."""
    run_state_machine_as_test(IpamMachine, settings=settings(SETTINGS, max_examples=3000, stateful_step_count=80))
