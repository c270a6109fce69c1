"""Which attachments of a node are left over."""

from hypothesis import given
from hypothesis import strategies as st

from cni.request import AttachmentId
from cni.stale import judge_all

ONE, TWO = (AttachmentId("romana", name, "eth0") for name in ("c1", "c2"))
KEYS = [AttachmentId("romana", f"c{number}", "eth0") for number in range(4)]


def test_attachment_of_another_boot_is_stale_at_first_sight() -> None:
    verdict = judge_all({ONE: "old", TWO: "now"}, set(), {}, boot_id="now", now_s=1, grace_s=60)
    assert verdict.stale == (ONE,)
    assert verdict.suspects == {TWO: 1}


def test_attachment_of_this_boot_is_stale_when_seen_twice_a_grace_apart() -> None:
    assert not judge_all({ONE: "now"}, set(), {ONE: 1}, boot_id="now", now_s=60, grace_s=60).stale
    assert judge_all({ONE: "now"}, set(), {ONE: 1}, boot_id="now", now_s=61, grace_s=60).stale == (ONE,)


def test_unknown_boot_counts_as_this_one() -> None:
    assert judge_all({ONE: ""}, set(), {}, boot_id="now", now_s=1, grace_s=60).suspects == {ONE: 1}


def test_interface_that_is_back_begins_anew() -> None:
    verdict = judge_all({ONE: "now"}, {ONE}, {ONE: 1}, boot_id="now", now_s=100, grace_s=60)
    assert (verdict.stale, verdict.suspects) == ((), {})


def test_even_without_grace_one_look_is_not_enough_in_this_boot() -> None:
    assert not judge_all({ONE: "now"}, set(), {}, boot_id="now", now_s=1, grace_s=0).stale


@given(
    listed=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "now", "old"])),
    alive=st.sets(st.sampled_from(KEYS)),
    suspects=st.dictionaries(st.sampled_from(KEYS), st.floats(0, 100)),
    now_s=st.floats(100, 200),
)
def test_nobody_with_an_interface_is_ever_stale(
    listed: dict[AttachmentId, str], alive: set[AttachmentId], suspects: dict[AttachmentId, float], now_s: float
) -> None:
    verdict = judge_all(listed, alive, suspects, boot_id="now", now_s=now_s, grace_s=60)
    assert not alive & ({*verdict.stale} | verdict.suspects.keys())
    assert {*verdict.stale} | verdict.suspects.keys() == listed.keys() - alive
