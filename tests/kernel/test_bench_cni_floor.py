"""The kernel's part of an ADD and a DEL, as the benchmark measures it, leaves nothing."""

import json

import pytest

from romana.bench.cni_floor import steps
from romana.netlink import netns
from tests.fakes.cni_node import ip, namespace, opened

pytestmark = pytest.mark.kernel


def test_steps_are_measured_and_leave_nothing() -> None:
    with namespace("node") as node, namespace("pod") as pod, opened(node) as node_fd, opened(pod) as pod_fd:
        for _ in range(3):
            assert min(netns.call_in(node_fd, lambda: steps(pod_fd))) > 0
        assert [link["ifname"] for name in (node, pod) for link in json.loads(ip("-n", name, "-j", "link"))] == ["lo", "lo"]
