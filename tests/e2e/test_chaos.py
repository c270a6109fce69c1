"""Chaos over a lab finds nothing; and its checks find what is really wrong."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from romana.bench.chaos.checks import settled
from romana.bench.chaos.kernel import KernelState, differences
from romana.lab import namespaces, pods, record
from romana.lab.pods import PodRecord
from romana.lab.probe import Answers, Flow, Pod
from tests.e2e.conftest import Lab, run

pytestmark = [pytest.mark.e2e]

BENCH = Path(__file__).resolve().parents[2] / "bench" / "chaos.py"


@pytest.mark.long
def test_two_minutes_of_chaos_find_nothing() -> None:
    done = run([sys.executable, str(BENCH), "--minutes", "2", "-o", "json"], timeout_s=900)
    assert done.code == 0, f"{done.out}\n{done.err}"
    figures = done.json["figures"]
    assert done.json["rounds"] > 0
    assert figures["adds"] > 0
    assert sum(figures["faults"].values()) > 0


def test_chaos_sees_what_is_wrong_and_nothing_else(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [lab.add_pod("c1", "node-1"), lab.add_pod("c2", "node-2")]
    spec = record.load(lab.name)
    told = {pod.name: pod for pod in pods.records(spec)}
    junk = spec.netns("junk")

    def wrong(pods_told: Mapping[str, PodRecord]) -> list[str]:
        return asyncio.run(settled(spec, pods_told))

    try:
        assert wrong(told) == []
        monkeypatch.setattr("romana.bench.chaos.checks.SETTLE_S", 0.0)
        c1 = told["c1"]
        assert _only(wrong({name: pod for name, pod in told.items() if name != "c1"}), "is in etcd and no pod's")
        assert _only(wrong({**told, "c3": replace(c1, name="c3", container_id="f" * 64)}), "attachment of c3 on node-1 is not in")
        assert _only(wrong({**told, "c1": replace(c1, ips=("10.40.9.9",))}), "c1 was told")
        namespaces.ensure_netns(junk)
        assert _only(wrong(told), f"{junk} is left over")
    finally:
        namespaces.remove([junk])
        for pod in made:
            assert lab.delete_pod(pod["name"]).code == 0


def test_what_is_lost_of_a_flow_is_seen_and_what_came_back_is_not_called_lost(lab: Lab) -> None:
    made = [lab.add_pod("f1", "node-1"), lab.add_pod("f2", "node-2")]
    one, two = (Pod(pod["name"], Path(pod["netns"]), pod["ips"][0]) for pod in made)

    async def flowed(*, answered: bool) -> tuple[Flow, int]:
        answers, flow = Answers(), Flow(one, two)
        try:
            if answered:
                await answers.start([one, two])
            flow.start()
            await asyncio.sleep(0.5)
            sent = flow.sent
            await flow.stop()
        finally:
            await answers.stop()
        return flow, sent

    try:
        whole, sent = asyncio.run(flowed(answered=True))
        assert sent > 0
        assert whole.missing(sent) == []
        assert not whole.broken
        dead, sent = asyncio.run(flowed(answered=False))
        assert dead.missing(sent) == list(range(sent))
        assert dead.broken
    finally:
        for pod in made:
            assert lab.delete_pod(pod["name"]).code == 0


PAIR = frozenset({("10.40.0.1", "rom1")})
EMPTY = KernelState(frozenset(), frozenset(), frozenset(), frozenset())


@pytest.mark.parametrize(
    "full",
    [
        replace(EMPTY, interfaces=frozenset({"rom1"})),
        replace(EMPTY, pod_routes=PAIR),
        replace(EMPTY, block_routes=PAIR),
        replace(EMPTY, admitted=PAIR),
    ],
)
def test_every_part_of_a_kernel_is_compared_both_ways(full: KernelState) -> None:
    assert list(differences("n", EMPTY, EMPTY)) == []
    assert [line.endswith("is missing") for line in differences("n", full, EMPTY)] == [True]
    assert [line.endswith("is left over") for line in differences("n", EMPTY, full)] == [True]


def _only(lines: list[str], words: str) -> bool:
    return len(lines) == 1 and words in lines[0]
