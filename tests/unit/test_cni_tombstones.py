"""DELs that the agent's next process still knows of."""

import os
from pathlib import Path

import pytest

from cni.agent_locks import Abort, Locks
from cni.agent_tombstones import LINES_MAX, Tombstones
from cni.errors import CniError
from cni.request import AttachmentId
from romana.errors import ConfigError

ONE, TWO = (AttachmentId("romana", name, "eth0") for name in ("c1", "c" * 255))


def test_next_process_knows_the_last_del_of_each(tmp_path: Path) -> None:
    first = Tombstones(tmp_path, "boot")
    for key, started_ns in ((ONE, 5), (TWO, 6), (ONE, 7)):
        first.add(key, started_ns)
    assert list(Tombstones(tmp_path, "boot").all().items()) == [(TWO, 6), (ONE, 7)]  # first was killed: nothing is closed


def test_another_boots_dels_mean_nothing(tmp_path: Path) -> None:
    Tombstones(tmp_path, "boot").add(ONE, 5)
    assert Tombstones(tmp_path, "next").all() == {}


@pytest.mark.parametrize(
    "torn", ["", "[", '["boot", 5, "romana"]', "\x00\x00", "null", '{"a": 1}', '["boot", "x", "a", "b", "c"]']
)
def test_torn_line_is_passed_over(tmp_path: Path, torn: str) -> None:
    Tombstones(tmp_path, "boot").add(ONE, 5)
    with (tmp_path / "tombstones").open("a") as file:
        file.write(torn)
    again = Tombstones(tmp_path, "boot")
    again.add(TWO, 6)
    assert Tombstones(tmp_path, "boot").all() == {ONE: 5, TWO: 6}


def test_file_does_not_grow_for_ever_and_keeps_the_youngest(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path, "boot")
    for number in range(LINES_MAX * 2):
        stones.add(AttachmentId("romana", f"c{number}", "eth0"), number)
    lines = (tmp_path / "tombstones").read_text().splitlines()
    assert LINES_MAX // 2 <= len(lines) <= LINES_MAX
    assert f"c{LINES_MAX * 2 - 1}" in lines[-1]


def test_file_that_cannot_be_written_anew_takes_dels_still_and_nobody_elses_file_does(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path, "boot")
    (tmp_path / "tombstones.part").mkdir()
    for number in range(LINES_MAX):
        stones.add(AttachmentId("romana", f"c{number}", "eth0"), number)
    stones.add(ONE, 1)  # one line too many: cannot be written anew
    with (tmp_path / "other").open("w") as other:  # would have the number of a descriptor that was closed too early
        stones.add(TWO, 2)
        assert other.tell() == 0
    assert (tmp_path / "other").read_text() == ""
    (tmp_path / "tombstones.part").rmdir()
    assert TWO in Tombstones(tmp_path, "boot").all()


def test_half_a_line_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stones = Tombstones(tmp_path, "boot")
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, blob: write(fd, blob[:7]))
        stones.add(ONE, 5)
    stones.add(TWO, 6)
    assert Tombstones(tmp_path, "boot").all() == {TWO: 6}


def test_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(ConfigError, match=r"agent\.state_dir"):
        Tombstones(tmp_path / "state", "boot")


async def test_late_add_is_refused_by_the_next_process_and_a_newer_one_is_not(tmp_path: Path) -> None:
    Tombstones(tmp_path, "boot").add(ONE, 20)
    locks = Locks(Tombstones(tmp_path, "boot").all())
    with pytest.raises(CniError, match="already done"):
        async with locks.adding(ONE, 10, Abort()):
            pytest.fail("entered")
    async with locks.adding(ONE, 21, Abort()):
        pass
