"""Owners of one group take and release addresses in any order; the allocator keeps the invariants of an address pool.

An owner is a node, or a tenant's segment on one. It may be removed, and come back as another; addresses are reserved; blocks
change their size under what is left of earlier ones. IPv4 and IPv6. The invariants are numbered as in docs/ipam.md; those that
are about several ipamd and their store are in test_ipam_machine.
"""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ipam.allocator import Holdings, Pick, PickKind, after, choose, counts, next_block, wants_next_block
from ipam.blocks import Block, GroupBlocks, group_blocks, ranges_of, reserved_in
from ipam.topology.carving import Prefix
from romana.errors import Exhausted
from romana.keys import Address, Network

COOLDOWN_S = 30.0
GROUPS: tuple[Network, ...] = (IPv4Network("10.0.0.32/28"), IPv6Network("fd00::20/124"))
NODES = ("n0", "n1", "n1, tenant red, segment s")

Held = tuple[str, Address]


def addresses_of(block: Network) -> list[Address]:
    return [block.network_address + offset for offset in range(block.num_addresses)]


class AllocatorMachine(RuleBasedStateMachine):
    """The model: who holds what, and when each address was released; both kept apart from the allocator's own state."""

    held = Bundle("held")

    @initialize(cidr=st.sampled_from(GROUPS), bits=st.integers(0, 3))
    def start(self, cidr: Network, bits: int) -> None:
        self.now_s = 1000.0
        self.cidr = cidr
        self.group: GroupBlocks = group_blocks(self.prefix(cidr.max_prefixlen - bits))
        self.orphans: list[Network] = []
        """Blocks of owners that are gone: taken, until nothing in them cools."""
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
            self.i13_exhausted_only_when_nothing_is_left(holdings)
            return multiple()  # type: ignore[return-value]
        self.i11_choice_is_in_order(holdings, pick)
        self.keep(node, after(holdings, pick))
        assert pick.ip not in self.holder
        self.holder[pick.ip] = node
        self.released_s.pop(pick.ip, None)
        return node, pick.ip

    @rule(target=held, node=st.sampled_from(NODES), offset=st.integers(0, 15))
    def take_a_fixed_address(self, node: str, offset: int) -> Held:
        """What `ipam.fixed` does: an address of an own block that nobody holds and that is not reserved, cooling or not."""
        ip = self.cidr.network_address + offset
        own = [block for block in self.own[node] if ip in block.cidr]
        if not own or ip in self.holder or own[0].is_reserved(own[0].offset(ip)):
            assert not own or ip in self.holder or self.is_reserved(ip)
            return multiple()  # type: ignore[return-value]
        assert not self.is_reserved(ip)
        self.keep(node, self.holdings(node).with_held(ip))
        self.holder[ip] = node
        self.released_s.pop(ip, None)
        return node, ip

    @rule(offset=st.integers(0, 15), bits=st.integers(0, 3))
    def reserve(self, offset: int, bits: int) -> None:
        """An operator's reservation: refused where an address is held."""
        cidr = ip_network((self.cidr.network_address + offset, self.cidr.max_prefixlen - bits), strict=False)
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
        self.group = group_blocks(self.prefix(self.group.block_mask), self.all_blocks(), ranges)

    def is_reserved(self, ip: Address) -> bool:
        return any(ip in cidr for cidr in self.reserved)

    @rule(lease=consumes(held))
    def release(self, lease: Held) -> None:
        node, ip = lease
        if self.holder.get(ip) != node or not any(ip in block.cidr for block in self.own[node]):
            return  # released when its owner was removed
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
    def remove_the_owner(self, node: str) -> None:
        """By force: what it held cools in blocks that are nobody's, whoever comes back under its name."""
        for ip in [ip for ip, holder in self.holder.items() if holder == node]:
            del self.holder[ip]
            self.released_s[ip] = self.now_s
        self.orphans += [block.cidr for block in self.own[node]]
        self.own[node] = ()

    @rule()
    def give_back_what_is_nobodys_and_has_cooled(self) -> None:
        for cidr in self.orphans:
            inside = [at_s for ip, at_s in self.released_s.items() if ip in cidr]
            if all(at_s + COOLDOWN_S <= self.now_s for at_s in inside):
                self.orphans = [other for other in self.orphans if other != cidr]
                self.released_s = {ip: at_s for ip, at_s in self.released_s.items() if ip not in cidr}
                self.recount(self.group.block_mask)
                return

    @precondition(lambda self: not any(self.own.values()))
    @rule(bits=st.integers(0, 3))
    def change_the_size_of_blocks(self, bits: int) -> None:
        """Only what is nobody's is left of the earlier size; the next blocks go around it."""
        self.recount(self.cidr.max_prefixlen - bits)

    def recount(self, block_mask: int) -> None:
        self.group = group_blocks(self.prefix(block_mask), self.all_blocks(), ranges_of(self.reserved))

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        """What a replica reads from the store gives the state it had."""
        rebuilt = Holdings(node, group_blocks(self.prefix(self.group.block_mask), self.all_blocks(), ranges_of(self.reserved)))
        for block in self.own[node]:
            rebuilt = rebuilt.with_block(rebuilt.group.new_block(block.cidr))
        for ip, holder in self.holder.items():
            rebuilt = rebuilt.with_held(ip) if holder == node else rebuilt
        for ip, at_s in self.released_s.items():
            rebuilt = rebuilt.with_cooling(ip, at_s + COOLDOWN_S) if self.owner(ip) == node else rebuilt
        assert rebuilt == self.holdings(node)

    def prefix(self, block_mask: int) -> Prefix:
        return Prefix("pods", "pods/1", "r", self.cidr, pad=False, block_mask=block_mask)

    def all_blocks(self) -> list[Network]:
        return [*(block.cidr for blocks in self.own.values() for block in blocks), *self.orphans]

    def owner(self, ip: Address) -> str:
        """Empty for an address of nobody's block."""
        return next((node for node, blocks in self.own.items() if any(ip in block.cidr for block in blocks)), "")

    def unused(self, node: str) -> list[Address]:
        own = [block.ip(offset) for block in self.own[node] for offset in range(block.size)]
        return [ip for ip in own if ip not in self.holder and ip not in self.released_s and not self.is_reserved(ip)]

    def resting(self, node: str) -> list[tuple[float, Address]]:
        return sorted((at_s, ip) for ip, at_s in self.released_s.items() if self.owner(ip) == node)

    def i11_choice_is_in_order(self, holdings: Holdings, pick: Pick) -> None:
        """Never used, lowest first; cooled, oldest first; a new block; still cooling, oldest first."""
        unused = self.unused(holdings.owner)
        resting = [entry for entry in self.resting(holdings.owner) if not self.is_reserved(entry[1])]
        assert not self.is_reserved(pick.ip)
        cooled = [entry for entry in resting if entry[0] + COOLDOWN_S <= self.now_s]
        if unused:
            assert (pick.kind, pick.ip) == (PickKind.FRESH, min(unused, key=int))
        elif cooled:
            assert pick.kind is PickKind.COOLED
            assert self.released_s[pick.ip] == cooled[0][0]
        elif self.group.taken < self.group.total:
            assert pick.kind is PickKind.NEW_BLOCK
            assert pick.ip == min(ip for ip in addresses_of(pick.block) if not self.is_reserved(ip))
        else:
            assert pick.kind is PickKind.STILL_COOLING
            assert self.released_s[pick.ip] == resting[0][0]

    def i13_exhausted_only_when_nothing_is_left(self, holdings: Holdings) -> None:
        assert not self.unused(holdings.owner)
        assert all(self.is_reserved(ip) for _, ip in self.resting(holdings.owner))
        taken = [ip for cidr in self.all_blocks() for ip in addresses_of(cidr)]
        whole: list[Network] = list(self.cidr.subnets(new_prefix=self.group.block_mask))
        left = [cidr for cidr in whole if not any(ip in taken for ip in addresses_of(cidr))]
        assert all(self.is_reserved(ip) for cidr in left for ip in addresses_of(cidr))

    @invariant()
    def i3_blocks_overlap_nothing_and_lie_in_the_group(self) -> None:
        blocks = self.all_blocks()
        inside = [ip for cidr in blocks for ip in addresses_of(cidr)]
        assert len(set(inside)) == len(inside)
        assert all(ip in self.cidr for ip in inside)
        assert all(block.cidr.prefixlen == self.group.block_mask for own in self.own.values() for block in own)
        assert self.group == group_blocks(self.prefix(self.group.block_mask), blocks, ranges_of(self.reserved))

    @invariant()
    def i10_every_address_is_free_held_cooling_or_reserved(self) -> None:
        """Counted one by one; W2: also after any order of releases."""
        for node in NODES:
            tally = counts(self.holdings(node), self.now_s)
            assert tally.held == sum(holder == node for holder in self.holder.values())
            assert tally.cooling + tally.cooled == len(self.resting(node))
            assert tally.free == len(self.unused(node))
            size = sum(block.size for block in self.own[node])
            assert tally.free + tally.held + tally.cooling + tally.cooled + tally.reserved == size

    @invariant()
    def i1_i4_held_addresses_lie_in_blocks_of_their_one_holder(self) -> None:
        for ip, node in self.holder.items():
            assert self.holdings(node).block_of(ip) == self.holdings(node).block_of(ip).with_held(ip)


AllocatorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestAllocatorMachine = AllocatorMachine.TestCase


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_long_runs() -> None:
    run_state_machine_as_test(AllocatorMachine, settings=settings(max_examples=5000, stateful_step_count=80, deadline=None))
