"""The journal is pruned, and says who held an address; on a store in memory and on etcd."""

import asyncio
import json
import os
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from ipam.holders import holders_at
from ipam.holdings import KEPT_MS
from ipam.journal import PAGE, ROUND, Journal
from romana import keys
from romana.cli.main import main
from romana.store.api import Put, Store
from romana.store.etcd import EtcdStore
from romana.store.limits import MAX_OPS
from romana.v1.store_pb2 import JournalRecord
from tests.etcd.server import EtcdServer
from tests.ipamd import Clock, flat, running, until, write_pod

NOW_MS = 1_764_061_200_000
IP = "10.40.0.0"


def _records(first_ms: int, count: int) -> list[str]:
    return [keys.journal(first_ms + number, f"{IP}-{number}") for number in range(count)]


async def _write(store: Store, *names: str) -> None:
    for start in range(0, len(names), MAX_OPS):
        await store.txn([], [Put(name, b"") for name in names[start : start + MAX_OPS]])


async def _left(store: Store) -> list[str]:
    return [item.key for item in (await store.list(keys.JOURNAL)).items]


async def test_what_is_older_than_a_week_goes_over_many_pages(store: Store) -> None:
    old, young = _records(NOW_MS - KEPT_MS - 10_000, 3 * PAGE + 7), _records(NOW_MS - KEPT_MS, 5)
    await _write(store, *old, *young, "nodes/n1")
    assert await Journal(store, lambda: NOW_MS).prune() == (len(old), False)
    assert await _left(store) == young
    assert await store.get("nodes/n1") is not None
    assert await Journal(store, lambda: NOW_MS).prune() == (0, False)


async def test_key_that_is_no_record_stays_and_the_records_around_it_go(store: Store) -> None:
    old = _records(NOW_MS - KEPT_MS - 1000, 5)
    strange = old[2].rpartition("/")[0] + "x/strange"  # sorts behind the third, and has no time
    await _write(store, *old, strange)
    while (await Journal(store, lambda: NOW_MS).prune())[0]:
        pass
    assert await _left(store) == [strange]


async def test_of_too_many_records_the_oldest_go(store: Store) -> None:
    young = _records(NOW_MS - 1000, 2 * PAGE + 50)
    await _write(store, *young)
    assert await Journal(store, lambda: NOW_MS, most=60).prune() == (len(young) - 60, False)
    assert await _left(store) == young[-60:]


async def test_a_round_is_bounded_and_the_next_goes_on(store: Store) -> None:
    old = _records(NOW_MS - KEPT_MS - 10_000, ROUND * PAGE + 1)
    await _write(store, *old)
    journal = Journal(store, lambda: NOW_MS)
    assert await journal.prune() == (ROUND * PAGE, True)
    assert await journal.prune() == (1, False)
    assert await _left(store) == []


async def test_several_at_once_delete_no_more_than_one_would(store: Store) -> None:
    young = _records(NOW_MS - 1000, 4 * PAGE)
    await _write(store, *young)

    async def work() -> None:
        while (await Journal(store, lambda: NOW_MS, most=100).prune())[1]:
            pass

    await asyncio.gather(*(work() for _ in range(5)))
    assert await _left(store) == young[-100:]


async def test_ipamd_prunes_by_itself_now_and_then(store: Store) -> None:
    clock = Clock()
    async with running(store, clock=clock) as run:
        await until(lambda: run.ipamd.state.whole)
        for _ in range(2):  # the second time: what became too old after the first look
            (old,) = _records(1000, 1)
            await _write(store, old)
            start = (await store.list(keys.JOURNAL)).revision + 1
            clock.now_s += 61
            async with asyncio.timeout(60), aclosing(store.watch(keys.JOURNAL, start)) as watch:
                (event,) = (await anext(watch)).events
            assert (event.key, event.value) == (old, None)


async def test_who_held_it_is_told_of_the_living_and_of_the_past(store: Store) -> None:
    async with running(store, cooldown_s=0) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await write_pod(store, "default", "web", "u1")
        before_ms = time.time_ns() // 1_000_000 - 1
        await run.allocate("n1", "c1", ("default", "web", "u1"))
        await run.release("n1", "c1")
    (item,) = (await store.list(keys.JOURNAL)).items
    past = JournalRecord.FromString(item.value)
    since_ms, until_ms = past.since.ToMilliseconds(), past.until.ToMilliseconds()
    now_ms = until_ms + 1000
    ip = ip_address(past.ip)
    (holding,) = (await holders_at(store, ip, since_ms, now_ms)).holdings
    assert holding.attachment is not None
    assert holding.pod is not None
    assert (holding.attachment.container_id, holding.pod.uid, holding.until_ms) == ("c1", "u1", until_ms)
    assert (await holders_at(store, ip, before_ms, now_ms)).holdings == ()
    assert (await holders_at(store, ip, until_ms + 1, now_ms)).holdings == ()
    assert (await holders_at(store, ip_address("10.40.0.77"), since_ms, now_ms)).holdings == ()
    async with running(store, cooldown_s=0) as run:
        address = (await run.allocate("n1", "c2")).addresses[0].ip
    later_ms = time.time_ns() // 1_000_000 + 1
    (living,) = (await holders_at(store, ip_address(address), later_ms, later_ms)).holdings
    assert living.attachment is not None
    assert (living.attachment.container_id, living.until_ms) == ("c2", None)


@pytest.mark.etcd
def test_the_command_says_who_held_it_or_what_it_does_not_know(
    shared_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = f"/who-{os.getpid()}/"
    ended_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 - 3_600_000
    record = JournalRecord(network="pods", ip=IP)
    record.pod.namespace, record.pod.name = "default", "web"
    record.attachment.node, record.attachment.container_id = "n1", "c1"
    record.since.FromMilliseconds(ended_ms - 600_000)
    record.until.FromMilliseconds(ended_ms)

    async def write() -> None:
        store = EtcdStore([shared_etcd.target], prefix)
        await store.txn([], [Put("schema", b"\x08\x01"), Put(keys.journal(ended_ms, f"{IP}-7"), record.SerializeToString())])
        await store.close()

    asyncio.run(write())
    for name, value in {"CONFIG": os.devnull, "ETCD_ENDPOINTS": shared_etcd.target, "ETCD_PREFIX": prefix}.items():
        monkeypatch.setenv(f"ROMANA_{name}", value)

    def who(at: str, *more: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["romana", "ipam", "who", IP, "--at", at, *more])
        code = 0
        try:
            main()
        except SystemExit as err:
            code = int(err.code or 0)
        return code, capsys.readouterr().out

    def minute(at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")

    code, out = who(minute(ended_ms - 300_000), "-o", "json")
    told = json.loads(out)
    assert (code, told["state"], told["holders"][0]["pod"]["name"]) == (0, "held", "web")
    code, out = who(minute(ended_ms - 300_000))
    assert code == 0
    assert "default/web" in out
    code, out = who(minute(ended_ms + 60_000))
    assert (code, "nobody held it" in out) == (1, True)
    code, out = who("1999-01-01T00:00+02:00")
    assert (code, "not known" in out) == (1, True)
    assert json.loads(who("1999-01-01", "-o", "json")[1])["state"] == "unknown"
    assert who("yesterday")[0] == 2
    assert who("2999-01-01")[0] == 2
