"""Containers by podman: it calls VERSION before every ADD and DEL, knows no namespace, and its result types end at 1.0.0."""

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Lab, eventually, run
from tests.e2e.runtimes.podman import IMAGE, Podman
from tests.e2e.runtimes.probe import lacks

REASON = lacks("podman", "runc", "busybox")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(REASON), reason=f"podman: {REASON}")]


@pytest.fixture(scope="module")
def one(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A podman on node-1."""
    yield from _podman(lab, "node-1", tmp_path_factory.mktemp("podman-1"))


@pytest.fixture(scope="module")
def two(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A podman on node-2."""
    yield from _podman(lab, "node-2", tmp_path_factory.mktemp("podman-2"))


def _podman(lab: Lab, node: str, folder: Path) -> Iterator[Podman]:
    podman = Podman(lab, node, folder)
    try:
        yield podman
    finally:
        podman("rm", "--force", "--all", "--time", "0")


def attachments(lab: Lab) -> set[str]:
    """Keys of the store that are there while a container is."""
    return set(lab.romana("store", "list", "attachments/", "-o", "json").json["keys"])


def test_containers_on_two_nodes_reach_each_other_and_leave_nothing(lab: Lab, one: Podman, two: Podman) -> None:
    before = attachments(lab)
    first, second = one.start("a"), two.start("b")
    network = one.network("a")
    assert (network["IPPrefixLen"], network["Gateway"]) == (32, "169.254.1.1")
    one("exec", "a", "/bin/ping", "-c", "1", "-W", "5", second)
    two("exec", "b", "/bin/ping", "-c", "1", "-W", "5", first)
    one.remove("a")
    two.remove("b")
    assert eventually(lambda: attachments(lab) <= before)
    for podman in (one, two):
        links = run(["ip", "-n", Path(podman.node["netns"]).name, "-br", "link"]).out
        assert " rom" not in f" {links}".replace("\n", " ")


def test_a_container_that_is_stopped_and_started_has_a_working_network_again(one: Podman, two: Podman) -> None:
    other = two.start("there")
    one.start("again")
    one("stop", "--time", "0", "again")
    one("start", "again")
    one("exec", "again", "/bin/ping", "-c", "1", "-W", "5", other)
    one.remove("again")
    two.remove("there")


def test_many_at_once_get_an_address_each(one: Podman) -> None:
    names = [f"many-{number}" for number in range(6)]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as at_once:
        addresses = list(at_once.map(one.start, names))
    assert len(set(addresses)) == len(names)
    one.remove(*names)


def test_a_wrong_configuration_is_told_in_words_and_the_right_one_works_again(lab: Lab, one: Podman) -> None:
    before = attachments(lab)
    right = one.conflist.read_text()
    network = json.loads(right)
    network["plugins"][0]["mtu"] = 5
    one.conflist.write_text(json.dumps(network))
    try:
        failed = one("run", "--detach", "--name", "early", IMAGE, fails=True)
    finally:
        one.conflist.write_text(right)
    assert "mtu" in failed.err
    assert eventually(lambda: attachments(lab) <= before)
    one.remove("early")
    assert one.start("later").startswith("10.40.")
    one.remove("later")
