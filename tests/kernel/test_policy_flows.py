"""Live connections while policies change: what becomes forbidden is cut, what stays allowed loses nothing, floods find no gap."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Self

import pytest

from policyd.compiled import Direction, Group, PortPeers, Protocol
from policyd.ipset.kernel import Sets
from policyd.iptables.tables import LegacyTables
from romana.errors import Unavailable
from tests.kernel.policy_flows import UdpFlow
from tests.kernel.policy_node import Node, Place, isolating, new_node

pytestmark = pytest.mark.kernel

PORT = 5000
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with new_node(tmp_path, "a", "b", "c", "d") as made:
        yield made


class Flood:
    """Datagrams from one place to another as fast as one thread can, or paced; a new flow each, or always the same."""

    def __init__(self, source: Place, target: Place, port: int, *, pause_s: float = 0.0, fresh: bool = False) -> None:
        self._receiver = target.call(lambda: _bound(port))
        self._senders = source.call(
            lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200 if fresh else 1)]
        )
        self._to = (str(target.ipv4), port)
        self._pause_s = pause_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = self.received = 0

    def _send(self) -> None:
        for sender in itertools.cycle(self._senders):
            if self._end.wait(self._pause_s) if self._pause_s else self._end.is_set():
                return
            sender.sendto(b"x", self._to)
            self.sent += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        time.sleep(0.05)
        self.received = self.drain()
        for sock in (self._receiver, *self._senders):
            sock.close()

    def drain(self) -> int:
        """How many have arrived since the last time."""
        count = 0
        while True:
            try:
                self._receiver.recv(16)
            except BlockingIOError:
                return count
            count += 1


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
    sock.bind(("", port))
    sock.setblocking(False)
    return sock


def group(*peers: IPv4Address, more: int = 0) -> Group:
    """Ingress from these to PORT and PORT + 1; `more` other peers make it another group of the same rules."""
    ports = {PortPeers(IPv4Network(peer), Protocol.UDP, port) for peer in peers for port in (PORT, PORT + 1)}
    others = {PortPeers(IPv4Network((0x0A090000 + number, 32)), Protocol.UDP, PORT) for number in range(more)}
    return Group(f"{more:010x}", Direction.INGRESS, frozenset(ports | others))


def test_tightened_policy_cuts_the_forbidden_flow_and_only_it(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]

    def apply(found: Group) -> bool:
        return node.apply([a.pod(), b.pod(found.id), c.pod()], found).bumped

    apply(group(a.ipv4, c.ipv4))
    with UdpFlow(a, b, PORT) as kept, UdpFlow(c, b, PORT + 1) as cut:
        kept.establish()
        cut.establish()
        with Flood(a, b, PORT + 1 + 1000, pause_s=0.001):
            assert apply(group(a.ipv4))
            assert (cut.request(10), cut.answer(10)) == (0, 0)
            assert (kept.answer(10), kept.request(10)) == (10, 10)
        assert not apply(group(a.ipv4, c.ipv4))  # wider: nothing to judge anew
        assert (cut.request(10), cut.answer(10)) == (10, 10)


def test_flow_that_stays_allowed_loses_no_packet_while_policies_change(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    with Flood(a, b, PORT, pause_s=0.0005) as stream:
        node.apply([a.pod(), b.pod(), c.pod()])
        time.sleep(0.05)
        stream.drain()
        before, bumps = stream.sent, 0
        for turn in range(40):
            found = group(a.ipv4, c.ipv4, more=turn % 7 * 50) if turn % 2 else group(a.ipv4, more=turn % 5 * 50)
            bumps += node.apply([a.pod(), b.pod(found.id), c.pod()], found).bumped
    assert bumps > 10
    assert stream.sent - before > 200
    assert stream.received >= stream.sent - before


@pytest.mark.parametrize("fresh", [True, False], ids=["new flows", "one flow"])
def test_update_under_flood_opens_nothing_and_loses_nothing(node: Node, fresh: bool) -> None:
    a, b, c, d = (node[name] for name in "abcd")
    first = group(a.ipv4)
    node.apply([a.pod(), b.pod(first.id), c.pod(), d.pod()], first)
    with Flood(c, b, PORT + 1, fresh=fresh) as forbidden, Flood(a, b, PORT, fresh=fresh) as allowed:
        for turn in range(30):
            found = group(a.ipv4, *([d.ipv4] if turn % 2 else []), more=turn % 3 * 100)  # other groups, other members
            rest = [a.pod(), c.pod(), *([d.pod()] if turn % 4 else [])]  # and pods that come and go
            node.apply([b.pod(found.id), *rest], found)
    assert forbidden.sent > 1000
    assert forbidden.received == 0
    assert allowed.sent > 1000
    assert allowed.received == allowed.sent


def test_bump_is_spared_when_nothing_narrows(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    small, large = group(a.ipv4), group(a.ipv4, c.ipv4)
    assert not node.apply([a.pod(), b.pod(small.id)], small).bumped
    assert not node.apply([a.pod(), b.pod(large.id)], large).bumped
    assert not node.apply([a.pod(), b.pod(large.id), c.pod()], large).bumped  # a new pod with an address never used
    assert not node.apply([a.pod(), b.pod(), c.pod()]).bumped  # isolated no more
    assert node.apply([a.pod(), b.pod(small.id), c.pod()], small).bumped
    node.remove_pod("c")
    assert not node.apply([a.pod(), b.pod(small.id)], small).bumped  # its veth is gone, its address not used again
    heir = node.add_pod("heir", c.ipv4)
    assert node.apply([a.pod(), b.pod(small.id), heir.pod()], small).bumped


def test_restart_leaves_flows_alone_and_opens_nothing(node: Node) -> None:
    a, b, c = node["a"], node["b"], node["c"]
    found = group(a.ipv4)
    pods = [a.pod(), b.pod(found.id), c.pod()]
    node.apply(pods, found)
    with Flood(c, b, PORT + 1) as forbidden, Flood(a, b, PORT, pause_s=0.0005) as allowed:
        for _ in range(5):
            node.restart()
            node.apply(pods, found)
    assert (forbidden.received, allowed.received) == (0, allowed.sent)


def test_foreign_flush_is_repaired_and_flows_that_came_meanwhile_are_judged(node: Node) -> None:
    a, b = node["a"], node["b"]
    closed = isolating(9, Direction.INGRESS)
    node.iptables("-t nat -A POSTROUTING -s 192.0.2.1 -j MASQUERADE")  # as with kube-proxy, all is tracked without our rules too
    node.apply([a.pod(), b.pod(closed.id)], closed)
    with UdpFlow(a, b, PORT) as flow:
        assert flow.request(3) == 0
        node.iptables("-F")
        flow.establish()  # nobody judges now
        assert node.verify()
        node.apply([a.pod(), b.pod(closed.id)], closed)
        assert (flow.request(10), flow.answer(10)) == (0, 0)


class Failing:
    """Makes the step after the next `after` ones fail, as a busy lock or a full disk would."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for owner, name in ((Sets, "create"), (Sets, "add"), (Sets, "delete"), (Sets, "destroy"), (LegacyTables, "commit")):
            patch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                raise Unavailable("for the test")
            return real(*arguments)

        return step


def test_apply_that_fails_at_any_step_opens_nothing_and_the_next_one_completes_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c, d = (node[name] for name in "abcd")
    wide, narrow = group(a.ipv4, c.ipv4), group(c.ipv4, more=5)
    failing, failed = Failing(monkeypatch), True
    for steps in itertools.count():
        if not failed:
            break
        assert steps < 100
        failing.left = -1
        node.apply([a.pod(), b.pod(wide.id), c.pod(), d.pod()], wide)
        with (
            UdpFlow(a, b, PORT, 41_000) as cut,
            UdpFlow(c, b, PORT + 1, 42_000) as kept,
            UdpFlow(d, b, PORT + 2, 43_000) as never,
        ):
            cut.establish()
            kept.establish()
            failing.left, failed = steps, False
            try:
                node.apply([a.pod(), b.pod(narrow.id), c.pod()], narrow)
            except Unavailable:
                failed = True
            assert never.request(2) == 0, steps
            assert kept.request(2) == 2, steps
            failing.left = -1
            node.apply([a.pod(), b.pod(narrow.id), c.pod()], narrow)
            assert (cut.request(2), cut.answer(2), kept.request(2), kept.answer(2), never.request(2)) == (0, 0, 2, 2, 0), steps
            assert not node.apply([a.pod(), b.pod(narrow.id), c.pod()], narrow).changed
    assert steps > 6
