"""`romana ipam check` in a lab: nothing is wrong where nothing is, with every agent's word; damage is found and mended."""

import asyncio

import pytest

from romana.store.etcd import EtcdStore
from tests.e2e.conftest import ROMANA, Lab, run
from tests.etcd.damage import forget

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_nothing_is_wrong_in_a_healthy_lab_and_every_agent_is_heard(lab: Lab) -> None:
    pods = [lab.add_pod(f"checked-{number}", f"node-{number}") for number in (1, 2)]
    try:
        done = lab.romana("ipam", "check", "-o", "json", "--wait-s", "60")
        assert (done.code, done.json["findings"]) == (0, []), done.out
        assert (done.json["nodes_asked"], done.json["nodes_heard"]) == (3, 3)
        key = _endpoint("checked-1", pods[0]["container_id"])
        asyncio.run(_lose(lab, key))
        found = lab.romana("ipam", "check", "-o", "json", "--wait-s", "0")
        assert (found.code, [one["kind"] for one in found.json["findings"]]) == (1, ["attachment-no-endpoint"])
        environ = {"ROMANA_CONFIG": lab.up["config"], "ROMANA_IPAM_CHECK_APART_S": "0.1"}
        repaired = run([ROMANA, "ipam", "check", "--repair", "--wait-s", "0", "-o", "json"], environ=environ)
        assert (repaired.code, [one["outcome"] for one in repaired.json["findings"]]) == (0, ["repaired"]), repaired.err
        assert lab.romana("store", "get", key).code == 0
    finally:
        for number in (1, 2):
            assert lab.delete_pod(f"checked-{number}").code == 0
    assert lab.romana("ipam", "check", "--wait-s", "0").code == 0


def _endpoint(pod: str, container_id: str) -> str:
    return f"endpoints/default/{pod}/{container_id}"


async def _lose(lab: Lab, key: str) -> None:
    store = EtcdStore([lab.up["etcd"][0]])
    try:
        await forget(store, key)
    finally:
        await store.close()
