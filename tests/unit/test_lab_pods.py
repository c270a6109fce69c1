"""Records of a lab's pods: exclusive, and never half a one."""

import json
from pathlib import Path

import pytest

from romana.errors import InvalidInput, NotFound, Unavailable
from romana.lab import pods, spec
from romana.lab.plan import plan_lab
from romana.lab.pods import PodRecord, add_pod, call_cni, find_pod, records
from romana.lab.spec import LabSpec
from romana.objects.models import PodObject

POD = PodRecord("web", "default", "node-1", "/run/netns/lab-pod-default.web", "c1")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabSpec:
    """A lab whose folders are the test's."""
    monkeypatch.setattr(spec, "RUN_ROOT", tmp_path)
    return plan_lab("lab", 1, [], None, programs="/nowhere", etcd="/nowhere").lab


def test_a_pod_is_claimed_once_and_its_record_is_whole(lab: LabSpec) -> None:
    pods._claim(lab, POD)
    with pytest.raises(InvalidInput, match="lab pod del web"):
        pods._claim(lab, POD)
    assert records(lab) == [POD] == [find_pod(lab, "default", "web")]
    assert [path.name for path in (lab.run / "pods/default").iterdir()] == ["web.json"]
    with pytest.raises(NotFound, match="default/web"):
        find_pod(lab, "default", "other")


async def test_without_etcd_a_pod_leaves_no_record_and_waiting_is_told(lab: LabSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "STORE_TIMEOUT_S", 2.3)
    told: list[str] = []
    with pytest.raises(Unavailable, match="etcd"):
        await add_pod(lab, PodObject("default", "web", node="node-1"), told.append)
    assert records(lab) == []
    assert ["waiting for etcd" in text for text in told] == [True]


async def test_a_node_without_cni_configuration_is_told_how_it_gets_one(lab: LabSpec) -> None:
    with pytest.raises(Unavailable, match="romana lab up --name lab"):
        await call_cni(lab, POD, "DEL")
    conf = lab.cni_conf_dir("node-1")
    conf.mkdir(parents=True)
    (conf / "10-romana.conflist").write_text(json.dumps({"name": "romana", "cniVersion": "1.0.0", "plugins": [{}]}))
    with pytest.raises(Unavailable, match="CNI DEL of default/web"):
        await call_cni(lab, POD, "DEL")
