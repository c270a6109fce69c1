"""What outlives the agent: lines that add up, whatever cut them."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.agent_journal import LINES_MAX, Journal, Remembered, replay
from cni.request import AttachmentId
from romana.errors import ConfigError

ONE, TWO = (AttachmentId("romana", name, "eth0") for name in ("c1", "c" * 255))
WORDS = st.sampled_from(["intend", "settle", "finish", "forget", "grant", "delete", "released"])
OPS = st.tuples(WORDS, st.sampled_from([ONE, TWO]), st.integers(0, 3))


def lines(path: Path) -> list[str]:
    return (path / "journal").read_text().splitlines()


@given(st.lists(OPS))
def test_the_fewest_lines_add_up_to_the_same(ops: list[tuple[str, AttachmentId, int]]) -> None:
    whole = Remembered()
    for op, key, number in ops:
        whole.apply(op, key, {"number": number})
    assert replay(whole.lines()) == whole
    assert len(whole.lines()) <= 8


def test_next_process_knows_what_a_killed_one_wrote(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.append("intend", ONE)
    first.append("intend", TWO)
    first.append("finish", TWO, {"mac": "x"})
    second = Journal(tmp_path)  # the first was killed: nothing is closed
    assert second.intended() == [ONE]
    assert second.finished() == {TWO: {"mac": "x"}}
    second.append("settle", ONE)
    second.append("forget", TWO)
    third = Journal(tmp_path)
    assert (third.intended(), third.finished(), lines(tmp_path)) == ([], {}, [])


@pytest.mark.parametrize(
    "torn",
    [
        "",
        "[",
        '["intend", "romana"',
        "\x00\x00\x00",
        "null",
        "[]",
        '["intend", "a", "b", "c", 5]',
        '["intend", 1, 2, 3, {}]',
        "[" * 100_000,
    ],
)
def test_torn_line_costs_itself_alone(tmp_path: Path, torn: str) -> None:
    Journal(tmp_path).append("intend", ONE)
    with (tmp_path / "journal").open("a") as file:
        file.write(torn)
    again = Journal(tmp_path)
    again.append("intend", TWO)
    assert Journal(tmp_path).intended() == [ONE, TWO]


def test_full_disk_is_survived_and_what_it_cut_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, blob: write(fd, blob[:7]))  # man 2 write: less than was asked for
        journal.append("intend", ONE)
    assert journal.is_intended(ONE)
    assert Journal(tmp_path).intended() == []
    journal.append("intend", TWO)
    assert Journal(tmp_path).intended() == [ONE, TWO]


def test_file_that_cannot_be_written_anew_takes_lines_still(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    (tmp_path / "journal.part").mkdir()
    for _ in range(LINES_MAX + 2):
        journal.append("intend", ONE)
    journal.append("intend", TWO)
    (tmp_path / "journal.part").rmdir()
    assert len(lines(tmp_path)) == LINES_MAX + 3
    assert replay(lines(tmp_path)).intended == {ONE: None, TWO: None}
    journal.append("settle", ONE)
    assert replay(lines(tmp_path)).intended == {TWO: None}
    assert len(lines(tmp_path)) == 1


def test_history_is_forgotten_and_what_is_true_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("finish", TWO, {"mac": "x"})
    for _ in range(LINES_MAX):
        journal.append("intend", ONE)
        journal.append("settle", ONE)
    assert len(lines(tmp_path)) <= LINES_MAX + 2
    assert Journal(tmp_path).finished() == {TWO: {"mac": "x"}}


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def work(place: int) -> None:
        for number in range(200):
            journal.append("finish", AttachmentId("romana", f"c{place}-{number}", "eth0"), {"mac": "x" * 50})

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Journal(tmp_path).finished()) == 800


def test_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(ConfigError, match=r"agent\.state_dir"):
        Journal(tmp_path / "state")
