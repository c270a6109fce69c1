"""The order of an update, with packets: sets shrink before connections are judged anew, and pods change group unseen."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from policyd.compiled import Direction, Protocol
from policyd.ipset.model import Family
from policyd.iptables.dataplane import IptablesDataplane
from policyd.iptables.plan import Plan
from policyd.iptables.render import RuleSet
from tests.kernel.policy_flows import TcpFlow, UdpFlow
from tests.kernel.policy_node import Node, isolating, new_node

pytestmark = pytest.mark.kernel

PORT = 5000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with new_node(tmp_path, "a", "b", "c") as made:
        yield made


def bump_before_shrinking(self: IptablesDataplane, desired: Mapping[Family, RuleSet], plans: Mapping[Family, Plan]) -> None:
    """The wrong order, slow enough for a packet between the two."""
    for family, plan in plans.items():
        self._grow(plan)
        self._commit(family, plan.rules, desired[family].chains)
    self._bump()
    time.sleep(0.1)
    for plan in plans.values():
        self._shrink(plan)


@pytest.mark.parametrize("right", [True, False], ids=["shrink, bump", "bump, shrink"])
def test_fault_8_flow_that_never_pauses_is_cut_only_if_sets_shrink_before_the_bump(
    node: Node, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    wide = isolating(1, Direction.INGRESS, (a.ipv4, Protocol.TCP, PORT), (c.ipv4, Protocol.TCP, PORT))
    tight = isolating(1, Direction.INGRESS, (c.ipv4, Protocol.TCP, PORT))
    pods = [a.pod(), b.pod(wide.id), c.pod()]
    node.apply(pods, wide)
    end = threading.Event()
    with TcpFlow(a, b, PORT) as flow:

        def stream() -> None:
            while not end.wait(0.002):
                flow.far.send(b"x")

        thread = threading.Thread(target=stream)
        thread.start()
        try:
            if not right:
                monkeypatch.setattr(IptablesDataplane, "_carry_out", bump_before_shrinking)
            node.apply(pods, tight)
            time.sleep(0.05)
            drain(flow)
            time.sleep(0.4)  # a retransmission comes after 200 ms at least
            assert (drain(flow) == 0) is right
        finally:
            end.set()
            thread.join()


def drain(flow: TcpFlow) -> int:
    count = 0
    while True:
        try:
            count += len(flow.near.recv(65536))
        except BlockingIOError:
            return count


def test_pods_that_change_group_while_members_change_end_where_they_should(node: Node) -> None:
    """And the names that they had halfway are gone."""
    a, b, c = node["a"], node["b"], node["c"]
    old, other = isolating(1, Direction.INGRESS), isolating(2, Direction.INGRESS, (a.ipv4, Protocol.UDP, PORT))
    node.apply([a.pod(), b.pod(old.id), c.pod(old.id)], old)
    grown = isolating(1, Direction.INGRESS, (a.ipv4, Protocol.UDP, PORT + 1))
    pods = [a.pod(), b.pod(other.id), c.pod(grown.id)]
    assert node.apply(pods, grown, other).bumped
    assert not node.apply(pods, grown, other).changed
    assert not node.verify(full=True)
    groups = {line.split()[0].split("-")[-1] for line in node.saved() if line.startswith((":ROMANA-iG", ":ROMANA-iR"))}
    assert groups == {grown.id, other.id}
    for pod, port in ((b, PORT), (c, PORT + 1)):
        with UdpFlow(a, pod, port) as allowed, UdpFlow(a, pod, 2 * PORT + 1 - port, 40_001) as forbidden:
            assert (allowed.request(5), forbidden.request(5)) == (5, 0)
