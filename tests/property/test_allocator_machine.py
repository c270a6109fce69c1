"""Nodes of one group take and release addresses in any order; the allocator keeps the invariants of an address pool.

I1 an address has one holder | I3 blocks overlap nothing and lie in their group | I4 a block has one owner
I10 free + held + cooling + reserved = size | I11 no reuse before the cool-down unless nothing else is left, oldest release first
"""

from dataclasses import replace
from ipaddress import IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from ipam.allocator import Holdings, Pick, PickKind, after, choose, counts, next_block, wants_next_block
from ipam.blocks import Block, GroupBlocks, group_blocks, ranges_of, reserved_in
from ipam.topology.carving import Prefix
from romana.errors import Exhausted
from romana.keys import Address, Network

COOLDOWN_S = 30.0
GROUP = IPv4Network("10.0.0.32/28")
NODES = ("n0", "n1", "n2")

Held = tuple[str, Address]


def addresses_of(block: Network) -> list[Address]:
    return [block.network_address + offset for offset in range(block.num_addresses)]


class AllocatorMachine(RuleBasedStateMachine):
    """The model: who holds what, and when each address was released; both kept apart from the allocator's own state."""

    held = Bundle("held")

    @initialize(block_mask=st.sampled_from([29, 30, 31, 32]))
    def start(self, block_mask: int) -> None:
        self.now_s = 1000.0
        self.group: GroupBlocks = group_blocks(Prefix("pods", "pods/1", "r", GROUP, pad=False, block_mask=block_mask))
        self.own: dict[str, tuple[Block, ...]] = dict.fromkeys(NODES, ())
        self.holder: dict[Address, str] = {}
        self.released_s: dict[Address, float] = {}
        self.reserved: set[Network] = set()

    def holdings(self, node: str) -> Holdings:
        return Holdings(node, self.group, self.own[node])

    def keep(self, node: str, holdings: Holdings) -> None:
        self.group, self.own[node] = holdings.group, holdings.blocks

    @rule(target=held, node=st.sampled_from(NODES))
    def allocate(self, node: str) -> Held:
        holdings = self.holdings(node)
        try:
            pick = choose(holdings, self.now_s)
        except Exhausted:
            self.check_nothing_is_left(holdings)
            return multiple()  # type: ignore[return-value]
        self.check_order(holdings, pick)
        self.keep(node, after(holdings, pick))
        assert pick.ip not in self.holder  # I1
        self.holder[pick.ip] = node
        self.released_s.pop(pick.ip, None)
        return node, pick.ip

    @rule(target=held, node=st.sampled_from(NODES), offset=st.integers(0, 15))
    def take_a_fixed_address(self, node: str, offset: int) -> Held:
        """What `ipam.fixed` does: an address of an own block that nobody holds and that is not reserved, cooling or not."""
        ip = GROUP.network_address + offset
        own = [block for block in self.own[node] if ip in block.cidr]
        if not own or ip in self.holder or own[0].is_reserved(own[0].offset(ip)):
            assert not own or ip in self.holder or self.is_reserved(ip)
            return multiple()  # type: ignore[return-value]
        assert not self.is_reserved(ip)
        self.keep(node, self.holdings(node).with_held(ip))
        self.holder[ip] = node
        self.released_s.pop(ip, None)
        return node, ip

    @rule(offset=st.integers(0, 15), length=st.sampled_from([29, 30, 31, 32]))
    def reserve(self, offset: int, length: int) -> None:
        """An operator's reservation: refused where an address is held."""
        cidr = IPv4Network((int(GROUP.network_address) + offset, length), strict=False)
        if not any(ip in cidr for ip in self.holder):
            self.set_reserved(self.reserved | {cidr})

    @rule()
    def release_all_reservations(self) -> None:
        self.set_reserved(set())

    def set_reserved(self, reserved: set[Network]) -> None:
        self.reserved = reserved
        ranges = ranges_of(reserved)
        self.own = {
            node: tuple(replace(block, reserved=reserved_in(block.cidr, ranges)) for block in blocks)
            for node, blocks in self.own.items()
        }
        self.group = group_blocks(self.prefix(), self.all_blocks(), ranges)

    def is_reserved(self, ip: Address) -> bool:
        return any(ip in cidr for cidr in self.reserved)

    @rule(lease=consumes(held))
    def release(self, lease: Held) -> None:
        node, ip = lease
        self.keep(node, self.holdings(node).with_cooling(ip, self.now_s + COOLDOWN_S))
        del self.holder[ip]
        self.released_s[ip] = self.now_s

    @rule(passed_s=st.sampled_from([0.0, 1.0, 2.0, 15.0, 28.0, 30.0]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule(node=st.sampled_from(NODES))
    def claim_ahead(self, node: str) -> None:
        holdings = self.holdings(node)
        block = next_block(holdings, self.now_s)
        assert (block is not None) == wants_next_block(holdings, self.now_s)
        if block is not None:
            self.keep(node, holdings.with_block(holdings.group.new_block(block)))

    @rule(node=st.sampled_from(NODES))
    def give_back_an_empty_cooled_block(self, node: str) -> None:
        for block in self.own[node]:
            cooled = all(entry.ready_s <= self.now_s for entry in block.cooling)
            if not block.held and cooled:
                self.keep(node, self.holdings(node).without_block(block.cidr))
                self.released_s = {ip: at_s for ip, at_s in self.released_s.items() if ip not in block.cidr}
                return

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        """What a replica reads from the store gives the state it had."""
        rebuilt = Holdings(node, group_blocks(self.prefix(), self.all_blocks(), ranges_of(self.reserved)))
        for block in self.own[node]:
            rebuilt = rebuilt.with_block(rebuilt.group.new_block(block.cidr))
        for ip, holder in self.holder.items():
            rebuilt = rebuilt.with_held(ip) if holder == node else rebuilt
        for ip, at_s in self.released_s.items():
            rebuilt = rebuilt.with_cooling(ip, at_s + COOLDOWN_S) if self.owner(ip) == node else rebuilt
        assert rebuilt == self.holdings(node)

    def prefix(self) -> Prefix:
        return Prefix("pods", "pods/1", "r", GROUP, pad=False, block_mask=self.group.block_mask)

    def all_blocks(self) -> list[Network]:
        return [block.cidr for blocks in self.own.values() for block in blocks]

    def owner(self, ip: Address) -> str:
        return next(node for node, blocks in self.own.items() if any(ip in block.cidr for block in blocks))

    def unused(self, node: str) -> list[Address]:
        own = [block.ip(offset) for block in self.own[node] for offset in range(block.size)]
        return [ip for ip in own if ip not in self.holder and ip not in self.released_s and not self.is_reserved(ip)]

    def resting(self, node: str) -> list[tuple[float, Address]]:
        return sorted((at_s, ip) for ip, at_s in self.released_s.items() if self.owner(ip) == node)

    def check_order(self, holdings: Holdings, pick: Pick) -> None:
        unused = self.unused(holdings.owner)
        resting = [entry for entry in self.resting(holdings.owner) if not self.is_reserved(entry[1])]
        assert not self.is_reserved(pick.ip)
        cooled = [entry for entry in resting if entry[0] + COOLDOWN_S <= self.now_s]
        if unused:
            assert (pick.kind, pick.ip) == (PickKind.FRESH, min(unused, key=int))
        elif cooled:
            assert pick.kind is PickKind.COOLED
            assert self.released_s[pick.ip] == cooled[0][0]  # I11
        elif self.group.taken < self.group.total:
            assert pick.kind is PickKind.NEW_BLOCK
            assert pick.ip == min(ip for ip in addresses_of(pick.block) if not self.is_reserved(ip))
        else:
            assert pick.kind is PickKind.STILL_COOLING
            assert self.released_s[pick.ip] == resting[0][0]  # I11

    def check_nothing_is_left(self, holdings: Holdings) -> None:
        assert not self.unused(holdings.owner)
        assert all(self.is_reserved(ip) for _, ip in self.resting(holdings.owner))
        assert self.group.taken == self.group.total

    @invariant()
    def blocks_overlap_nothing_and_lie_in_the_group(self) -> None:  # I3, I4
        blocks = self.all_blocks()
        assert len(set(blocks)) == len(blocks)
        assert all(block.prefixlen == self.group.block_mask and block.network_address in GROUP for block in blocks)
        assert self.group == group_blocks(self.prefix(), blocks, ranges_of(self.reserved))

    @invariant()
    def every_address_is_free_held_or_cooling(self) -> None:  # I10
        for node in NODES:
            tally = counts(self.holdings(node), self.now_s)
            assert tally.held == sum(holder == node for holder in self.holder.values())
            assert tally.cooling + tally.cooled == len(self.resting(node))
            assert tally.free == len(self.unused(node))
            size = sum(block.size for block in self.own[node])
            assert tally.free + tally.held + tally.cooling + tally.cooled + tally.reserved == size

    @invariant()
    def held_addresses_lie_in_blocks_of_their_holder(self) -> None:  # I1, I4
        for ip, node in self.holder.items():
            assert self.holdings(node).block_of(ip) == self.holdings(node).block_of(ip).with_held(ip)


AllocatorMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAllocatorMachine = AllocatorMachine.TestCase
