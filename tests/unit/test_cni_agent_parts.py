"""The agent's smaller parts: locks, pending releases, installation, the judgement of what stands in the way."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from cni.agent_locks import REMEMBER_NS, Abort, Locks
from cni.agent_pending import PendingReleases
from cni.agent_wire import encode_answer, parse_environment, parse_header
from cni.errors import CniError
from cni.install import Shim, install, uninstall
from cni.request import AttachmentId
from cni.wiring import ALIAS_MAX, HostEnd, alias, judge
from romana.errors import InvalidInput
from romana.netlink.links import Link

KEY = AttachmentId("romana", "c1", "eth0")
OTHER = AttachmentId("romana", "c1", "net1")


async def test_calls_of_one_attachment_wait_for_each_other_and_others_do_not() -> None:
    locks, order = Locks(), list[str]()

    async def work(key: AttachmentId, name: str) -> None:
        async with locks.hold(key):
            order.append(f"{name} in")
            await asyncio.sleep(0.01)
            order.append(f"{name} out")

    await asyncio.gather(work(KEY, "a"), work(KEY, "b"), work(OTHER, "c"))
    assert order.index("a out") < order.index("b in")
    assert order.index("c in") < order.index("a out")
    assert not locks._locks


async def test_del_gives_up_adds_that_started_before_it_only() -> None:
    locks, early, late = Locks(), Abort(), Abort()

    async def add(abort: Abort, started_ns: int) -> None:
        async with locks.adding(KEY, started_ns, abort):
            await asyncio.sleep(0.01)
            abort.check()

    running = asyncio.create_task(add(early, 10))
    waiting = asyncio.create_task(add(late, 30))
    await asyncio.sleep(0)
    async with locks.deleting(KEY, 20, now_ns=25):
        pass
    with pytest.raises(CniError, match="DEL of the same attachment"):
        await running
    await waiting


async def test_add_that_arrives_after_its_del_is_given_up_and_a_newer_one_is_not() -> None:
    locks = Locks()
    async with locks.deleting(KEY, 20, now_ns=25):
        pass
    with pytest.raises(CniError, match="already done") as caught:
        async with locks.adding(KEY, 10, Abort()):
            pytest.fail("entered")
    assert caught.value.code == 11
    async with locks.adding(KEY, 21, Abort()):
        pass
    async with locks.adding(OTHER, 10, Abort()):
        pass


async def test_an_attachment_is_alone_until_another_is_worked_on() -> None:
    locks = Locks()
    seen = [locks.is_alone]
    async with locks.hold(KEY):
        seen.append(locks.is_alone)
        async with locks.hold(OTHER):
            seen.append(locks.is_alone)
        seen.append(locks.is_alone)
    assert seen == [True, True, False, True]


async def test_deletions_are_forgotten_when_no_earlier_add_can_arrive_any_more() -> None:
    locks = Locks()
    async with locks.deleting(KEY, 20, now_ns=25):
        pass
    async with locks.deleting(OTHER, 30 + REMEMBER_NS, now_ns=30 + REMEMBER_NS):
        pass
    assert list(locks._deleted) == [OTHER]


def test_pending_releases_survive_and_keep_odd_names(tmp_path: Path) -> None:
    long = AttachmentId("romana", "c" * 255, "a%b")
    PendingReleases(tmp_path).add(KEY)
    PendingReleases(tmp_path).add(long)
    again = PendingReleases(tmp_path)
    assert set(again.all()) == {KEY, long}
    assert again.has(long)
    again.remove(long)
    again.remove(long)
    assert again.all() == [KEY]


def test_release_that_cannot_be_read_is_no_release(tmp_path: Path) -> None:
    pending = PendingReleases(tmp_path)
    (tmp_path / "pending" / "x.part").write_text("{")
    (tmp_path / "pending" / "y.json").write_text("{")
    assert pending.all() == []


def test_request_header_of_another_protocol_is_refused() -> None:
    assert parse_header(b"ROM1\0\0\0\x05\0\0\0\x07") == (5, 7)
    for header in (b"GET / HTTP/1", b"ROM1\xff\0\0\0\0\0\0\0"):
        with pytest.raises(InvalidInput):
            parse_header(header)


def test_environment_block_keeps_bytes_that_are_no_text() -> None:
    assert parse_environment(b"A=b=c\0D=\xff\0E=") == {"A": "b=c", "D": "\udcff", "E": ""}


def test_answer_is_status_length_and_output() -> None:
    assert encode_answer(1, b"xy") == b"\x01\0\0\0\x02xy"


def test_install_writes_binary_sidecar_and_conflist(tmp_path: Path) -> None:
    for _ in range(2):
        conflist = install(tmp_path / "bin", tmp_path / "conf", "/run/a.sock", shim=Shim.PYTHON)
    binary = tmp_path / "bin" / "romana"
    assert binary.stat().st_mode & 0o777 == 0o755
    assert binary.read_text().startswith("#!/usr/bin/python3 -IS\n")
    assert (tmp_path / "bin" / "romana.socket").read_text() == "/run/a.sock\n"
    assert conflist == tmp_path / "conf" / "10-romana.conflist"
    assert json.loads(conflist.read_text()) == {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "romana",
        "plugins": [{"type": "romana"}],
    }
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "10-romana.conflist",
        "romana",
        "romana.socket",
    ]
    uninstall(tmp_path / "bin", tmp_path / "conf")
    uninstall(tmp_path / "bin", tmp_path / "conf")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def link(kind: str = "veth", mac: str = "ee:ee:ee:ee:ee:ee", text: str = "") -> Link:
    return Link(index=7, name="rom1", up=True, operstate=6, mac=mac, mtu_bytes=1500, kind=kind, alias=text, peer_index=2)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, HostEnd.ABSENT),
        (link(), HostEnd.UNFINISHED),
        (link(text=alias(KEY)), HostEnd.FINISHED),
        (link(text=alias(OTHER)), HostEnd.FOREIGN),
        (link(kind="dummy"), HostEnd.FOREIGN),
        (link(mac="02:00:00:00:00:01"), HostEnd.FOREIGN),
    ],
)
def test_interface_of_our_name_is_ours_only_with_our_marks(found: Link | None, verdict: HostEnd) -> None:
    assert judge(found, alias(KEY)) is verdict


def test_alias_fits_and_differs_for_the_longest_keys() -> None:
    first, second = (alias(AttachmentId("n" * 255, "c" * 254 + end, "e" * 15)) for end in "ab")
    assert first != second
    assert len(first) <= ALIAS_MAX


def test_release_that_is_remembered_and_forgotten_at_once_is_the_same_on_disk_and_in_memory(tmp_path: Path) -> None:
    """Else a file that nobody knows of is replayed by the agent's next process, when the attachment may live again."""
    pending = PendingReleases(tmp_path)
    key = AttachmentId("romana", "c1", "eth0")
    for _ in range(60):
        adding = threading.Thread(target=pending.add, args=(key,))
        adding.start()
        while not pending.has(key):
            pass
        pending.remove(key)
        adding.join()
        assert pending.has(key) == (key in PendingReleases(tmp_path).all())
