"""Pods by containerd's CRI, as kubelet asks for them: a sandbox, its network from our result, and three DELs."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.conftest import Lab, eventually, run
from tests.e2e.runtimes.containerd import LOOPBACK, Containerd
from tests.e2e.runtimes.probe import lacks

REASON = lacks("containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox") or (
    "" if LOOPBACK.exists() else f"not installed: {LOOPBACK}; ./dev test installs it as root"
)
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(REASON), reason=f"containerd: {REASON}")]


@pytest.fixture(scope="module")
def containerd(lab: Lab) -> Iterator[Containerd]:
    """A containerd on node-1; its folder's path is short, for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ctd-", dir="/var/tmp"))
    daemon = Containerd(lab, "node-1", folder)
    try:
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(folder)


@pytest.fixture
def uid(lab: Lab) -> Iterator[str]:
    """The UID of a Pod object `default/web` that is in the store, as the mirror of Kubernetes would have put it there."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"role": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]},
    }
    assert lab.romana("apply", "-f", "-", stdin=json.dumps(pod)).code == 0
    yield str(lab.romana("get", "pod", "web", "-n", "default", "-o", "json").json["metadata"]["uid"])
    lab.romana("delete", "pod", "web", "-n", "default")


def attachments(lab: Lab) -> set[str]:
    """Keys of the store that are there while a sandbox is."""
    return set(lab.romana("store", "list", "attachments/", "-o", "json").json["keys"])


def ping(lab: Lab, source: str, address: str) -> bool:
    """One packet and its answer, from the network namespace of a lab's pod."""
    return run(["nsenter", f"--net={source}", "--", "busybox", "ping", "-c", "1", "-W", "5", address]).code == 0


def test_a_sandbox_has_our_address_and_is_reached_and_leaves_nothing(lab: Lab, containerd: Containerd, uid: str) -> None:
    assert containerd.network_ready()
    before = attachments(lab)
    other = lab.add_pod("other", "node-2")
    sandbox = containerd.run("default", "web", uid)
    try:
        address = containerd.address(sandbox)
        who = lab.romana("ipam", "who", address, "-o", "json").json
        assert (who["pod"]["name"], who["attachment"]["container_id"]) == ("web", sandbox)
        assert ping(lab, other["netns"], address)
    finally:
        containerd.remove(sandbox)
        assert lab.delete_pod("other").code == 0
    assert eventually(lambda: attachments(lab) <= before)
    assert " rom" not in f" {run(['ip', '-n', Path(containerd.node['netns']).name, '-br', 'link']).out}".replace("\n", " ")


def test_a_pod_that_the_store_does_not_know_fails_with_words_and_succeeds_when_it_does(
    lab: Lab, containerd: Containerd, uid: str
) -> None:
    before = attachments(lab)
    with pytest.raises(grpc.RpcError, match="default/stranger"):
        containerd.run("default", "stranger", "no-such-uid")
    assert eventually(lambda: attachments(lab) <= before)
    sandbox = containerd.run("default", "web", uid, attempt=1)
    containerd.remove(sandbox)


def test_a_second_sandbox_of_one_pod_while_the_first_is_not_yet_removed(lab: Lab, containerd: Containerd, uid: str) -> None:
    """kubelet makes a new sandbox with a new id when one died; the old one's DEL may come later and must not touch it."""
    first = containerd.run("default", "web", uid, attempt=0)
    containerd.cri.call("StopPodSandbox", pod_sandbox_id=first)
    second = containerd.run("default", "web", uid, attempt=1)
    containerd.remove(first)
    other = lab.add_pod("other", "node-3")
    assert ping(lab, other["netns"], containerd.address(second))
    containerd.remove(second)
    assert lab.delete_pod("other").code == 0


def test_a_containerd_that_was_killed_finds_its_sandbox_and_removes_it(lab: Lab, containerd: Containerd, uid: str) -> None:
    before = attachments(lab)
    sandbox = containerd.run("default", "web", uid, attempt=2)
    address = containerd.address(sandbox)
    containerd.kill()
    containerd.start()
    assert containerd.address(sandbox) == address
    containerd.remove(sandbox)
    assert eventually(lambda: attachments(lab) <= before)
