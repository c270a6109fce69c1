"""Evidence: one probe at a time, its age told, a frozen other side noticed, and conditions in words."""

import asyncio

from romana.counting import Counter, Distribution, buckets, outcome_of
from romana.errors import Ambiguous, Unavailable
from romana.health.conditions import all_met, failed, met, note, report
from romana.health.evidence import FRESH_S, STALE_S, Evidence
from romana.health.store_metrics import Watches
from romana.health.sync_metrics import STUCK_S, synced
from romana.reconcile import Outcome
from romana.store.counts import StoreCounts
from romana.store.failures import Rejected, TokenRefused
from tests.ipamd import Clock


class Etcd:
    """The other side: answers, refuses, or hangs."""

    def __init__(self) -> None:
        self.asked = 0
        self.error = ""
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def ask(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        await self.thawed.wait()
        if self.error:
            raise Unavailable(self.error)
        return f"revision {self.asked}"


async def test_many_askers_share_one_probe_and_its_answer_is_used_while_it_is_fresh() -> None:
    etcd, clock = Etcd(), Clock()
    evidence = Evidence("etcd", etcd.ask, clock)
    found = await asyncio.gather(*(evidence.condition() for _ in range(100)))
    assert {condition.is_met for condition in found} == {True}
    clock.now_s += FRESH_S / 2
    assert "revision 1, heard 0.5 s ago" in (await evidence.condition()).evidence
    assert etcd.asked == 1
    clock.now_s += FRESH_S
    assert "revision 2, heard 0.0 s ago" in (await evidence.condition()).evidence


async def test_an_error_fails_it_at_once_and_the_next_answer_mends_it() -> None:
    etcd, clock = Etcd(), Clock()
    evidence = Evidence("etcd", etcd.ask, clock)
    etcd.error = "nobody there"
    assert (await evidence.condition()).line() == "[-]etcd failed: nobody there"
    etcd.error = ""
    assert not (await evidence.condition()).is_met  # asked no oftener than once in FRESH_S, in failure too
    assert etcd.asked == 1
    clock.now_s += 2 * FRESH_S
    assert (await evidence.condition()).is_met
    etcd.error = "gone"
    clock.now_s += 2 * FRESH_S
    told = await evidence.condition()
    assert not told.is_met
    assert "gone; before: revision 2, heard 2.0 s ago" in told.evidence


async def test_a_frozen_side_is_believed_until_its_last_answer_is_stale_and_back_without_a_restart() -> None:
    etcd, clock = Etcd(), Clock()
    evidence = Evidence("etcd", etcd.ask, clock)
    assert (await evidence.condition()).is_met
    etcd.thawed.clear()
    clock.now_s += STALE_S - 0.1
    assert (await evidence.condition()).is_met
    clock.now_s += 0.2
    assert not (await evidence.condition()).is_met
    assert etcd.asked == 2
    etcd.thawed.set()
    async with asyncio.timeout(60):
        while not (await evidence.condition()).is_met:
            clock.now_s += FRESH_S
    await evidence.close()


async def test_closing_ends_a_probe_under_way() -> None:
    etcd = Etcd()
    etcd.thawed.clear()
    evidence = Evidence("etcd", etcd.ask)
    assert not (await evidence.condition()).is_met
    await evidence.close()
    assert evidence.known().line() == "[-]etcd failed: has not answered yet"


def test_readiness_is_of_all_that_count_and_each_has_its_line() -> None:
    good, bad, told = met("a", "is\nso"), failed("b", "is not"), note("c", "by the way")
    assert all_met([good, told])
    assert not all_met([good, bad])
    assert report([good, bad, told]) == "[+]a ok: is so\n[-]b failed: is not\n[~]c: by the way\nreadyz failed"
    assert report([good]).endswith("readyz passed")


async def test_a_sync_that_fails_hangs_or_never_came_is_told() -> None:
    clock = Clock()
    outcome = Outcome(clock)
    assert synced("routes", outcome, lambda: "waits for nodes/").line() == "[-]routes failed: waits for nodes/"
    error: Exception | None = Unavailable("no kernel")
    hangs = asyncio.Event()
    hangs.set()

    async def sync() -> None:
        await hangs.wait()
        if error:
            raise error

    guarded = outcome.guard(sync)
    for _ in range(2):
        try:
            await guarded()
        except Unavailable:
            assert synced("routes", outcome, str).line() == "[-]routes failed: no kernel (never before)"
        error = None
    clock.now_s += 3
    assert synced("routes", outcome, str).line() == "[+]routes ok: synced 3.0 s ago"
    hangs.clear()
    task = asyncio.ensure_future(outcome.guard(sync)())
    await asyncio.sleep(0)
    clock.now_s += STUCK_S + 1
    assert "has run for 61 s" in synced("routes", outcome, str).evidence
    hangs.set()
    await task
    assert synced("routes", outcome, str).is_met
    assert {labels: sum(spread.counts) for labels, spread in outcome.seconds.spreads.items()} == {("ok",): 2, ("unavailable",): 1}


def test_watches_may_be_opened_again_but_not_be_down_for_long() -> None:
    counts, clock = StoreCounts(), Clock()
    watches = Watches(counts, clock)
    counts.watch("pods/a/").wanted = 2
    counts.watch("nodes/").wanted = counts.watch("nodes/").standing = 1
    assert watches.condition().is_met
    clock.now_s += STALE_S + 1
    assert watches.condition().line() == "[-]watches failed: down for 11.0 s: pods/"
    counts.watch("pods/b/").standing = 2
    assert watches.condition().line() == "[+]watches ok: 3 stand"
    counts.watch("pods/b/").standing = 1
    assert watches.condition().is_met


def test_a_distribution_counts_each_value_below_its_bound_and_all_below_infinity() -> None:
    seen = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        seen.observe(value, "x")
    assert buckets(seen.spreads["x",], seen.bounds) == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    counter = Counter()
    counter.count("a")
    counter.count("a", by=2)
    assert counter.values == {("a",): 3}


def test_outcomes_are_a_few_words_whatever_is_raised() -> None:
    assert outcome_of(None) == "ok"
    assert outcome_of(Ambiguous("x")) == "ambiguous"
    assert outcome_of(Rejected("x")) == outcome_of(TokenRefused("x")) == "unavailable"
    assert outcome_of(KeyError("x")) == "bug"
    assert outcome_of(asyncio.CancelledError()) == "cancelled"
