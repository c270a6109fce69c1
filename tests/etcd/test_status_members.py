"""`romana status` tells of every member of etcd, also of one that answers nothing."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from romana.cli.etcd_members import Member, alarms_of, member_fault
from romana.cli.main import main
from romana.errors import RomanaError
from romana.store.api import Put
from romana.store.etcd import EtcdStore
from tests.etcd.cluster import EtcdCluster

WAIT_S = 60.0

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(etcd_installed: None) -> Iterator[EtcdCluster]:
    """Three members."""
    with EtcdCluster("--quota-backend-bytes=4000000") as made:
        yield made


def fill(cluster: EtcdCluster) -> None:
    """Write until the quota is used up."""

    async def write() -> str:
        store = EtcdStore(cluster.targets)
        try:
            await store.txn([], [Put(f"full/{time.monotonic_ns()}", bytes(900_000))])
        except RomanaError as err:
            return str(err)
        finally:
            await store.close()
        return ""

    while "space exceeded" not in asyncio.run(write()):
        pass


def test_every_member_is_told_and_a_frozen_or_full_one_is_named(
    cluster: EtcdCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"CONFIG": os.devnull, "ETCD_ENDPOINTS": ",".join(cluster.targets), "IPAM_ENDPOINTS": "unix:/nowhere/ipamd.sock"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ROMANA_{name}", value)
    for module in ("status", "context"):
        monkeypatch.setattr(f"romana.cli.{module}.CALL_TIMEOUT_S", 1.0)  # there is no ipamd to wait for

    def status(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["romana", "status", *more])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    def told_when(so: Callable[[list[dict[str, Any]]], object]) -> tuple[list[dict[str, Any]], list[str]]:
        """The members once that is so (a busy machine may keep a member from answering), and what is not well of them."""
        give_up = time.monotonic() + WAIT_S
        while True:
            told = json.loads(status("-o", "json"))
            if so(told["etcd_members"]):
                return told["etcd_members"], [one["id"] for one in told["checks"] if one["id"].startswith("etcd member")]
            assert time.monotonic() < give_up, told

    def reachable(members: list[dict[str, Any]]) -> list[bool]:
        return [member["reachable"] for member in members]

    members, unwell = told_when(lambda members: all(reachable(members)) and sum(member["leader"] for member in members) == 1)
    assert [member["endpoint"] for member in members] == cluster.targets
    assert len({member["member_id"] for member in members}) == 3
    assert all(member["db_size"] > 0 and not member["alarms"] for member in members)
    assert not unwell

    with cluster.frozen(1):
        members, unwell = told_when(lambda members: reachable(members) == [True, False, True])
        assert f"etcd member {cluster.targets[1]}" in unwell
        assert "NOT REACHABLE" in status()

    fill(cluster)
    members, unwell = told_when(lambda members: all(reachable(members)) and any(member["alarms"] for member in members))
    full = [member["endpoint"] for member in members if member["alarms"] == ["NOSPACE"]]
    assert {f"etcd member {endpoint}" for endpoint in full} <= set(unwell)


@pytest.mark.parametrize(
    ("problems", "alarms"),
    [
        ((), ()),
        (("memberID:1 alarm:NOSPACE ",), ("NOSPACE",)),
        (("memberID:2 alarm:CORRUPT ", "memberID:1 alarm:NOSPACE "), ("NOSPACE",)),
        (("etcdserver: no leader",), ()),
    ],
)
def test_an_alarm_is_told_of_the_member_that_raised_it(problems: tuple[str, ...], alarms: tuple[str, ...]) -> None:
    assert alarms_of(problems, 1) == alarms


def test_a_member_without_a_leader_is_not_well() -> None:
    assert member_fault(Member("a", reachable=True, has_leader=True)) is None
    assert "no leader" in (member_fault(Member("a", reachable=True)) or ("",))[0]
