"""The command line against a lab: answers, exit codes, and errors that name field, value and way out."""

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.e2e.conftest import ROMANA, Lab, run
from tests.ipamd import Calls

pytestmark = [pytest.mark.e2e]


def test_status_has_evidence_for_every_component(lab: Lab) -> None:
    done = lab.romana("status", "--wait", "-o", "json")
    assert done.code == 0, done.out
    checks = {check["id"]: check for check in done.json["checks"]}
    daemons = {f"{daemon} on node-{number}" for daemon in ("routed", "policyd") for number in (1, 2, 3)}
    assert set(checks) - {"returning"} == {"etcd", "ipamd", "topology", "groups", "nodes", *daemons}
    assert all(check["evidence"] for check in checks.values())


def test_show_gives_back_what_can_be_applied_again(lab: Lab) -> None:
    shown = lab.romana("topology", "show", "-o", "json").json
    done = lab.romana("topology", "apply", "-", "-o", "json", stdin=json.dumps(shown["document"]))
    assert done.code == 0, done.err
    assert done.json["changed"] is False
    assert done.json["generation"] == shown["generation"]
    assert lab.romana("topology", "show").out.count("10.40.0.0/16") == 1


def test_what_show_prints_can_be_piped_as_it_is(lab: Lab) -> None:
    shown = lab.romana("topology", "show", "-o", "json").out
    assert lab.romana("topology", "plan", "-", stdin=shown).code == 0
    assert lab.romana("topology", "apply", "-", "-o", "json", stdin=shown).json["changed"] is False
    forecast = lab.romana("topology", "forecast", "--nodes", "1", "--pods-per-node", "1", "-", stdin=shown)
    assert forecast.code == 0, forecast.err


def test_a_wrong_document_is_refused_with_every_path_and_changes_nothing(lab: Lab) -> None:
    wrong = {"networks": [{"name": "a", "cidr": "10.0.0.1/8", "blok_mask": 29}], "topologies": [{"networks": ["b"], "map": []}]}
    before = lab.romana("topology", "show", "-o", "json").json
    checked = lab.romana("topology", "check", "-", stdin=json.dumps(wrong))
    applied = lab.romana("topology", "apply", "-", stdin=json.dumps(wrong))
    assert (checked.code, applied.code) == (1, 4)
    for text in (checked.err, applied.err):
        assert "networks[0].cidr" in text
        assert "block_mask" in text
        assert "topologies[0]" in text
    assert lab.romana("topology", "show", "-o", "json").json == before


def test_a_document_that_would_strand_a_live_address_is_refused(lab: Lab) -> None:
    pod = lab.add_pod("anchor", "node-1")
    other = {
        "networks": [{"name": "pods", "cidr": "10.99.0.0/16"}],
        "topologies": [{"networks": ["pods"], "map": [{"name": "g", "groups": []}]}],
    }
    done = lab.romana("topology", "apply", "-", stdin=json.dumps(other))
    assert done.code == 4
    assert "10.40." in done.err
    assert lab.romana("ipam", "who", pod["ips"][0], "-o", "json").json["state"] == "held"
    assert lab.delete_pod("anchor").code == 0


def test_nodes_are_listed_shown_and_added_again_without_change(lab: Lab) -> None:
    (first, *_) = lab.romana("node", "list", "-o", "json").json["nodes"]
    again = lab.romana("node", "add", first["name"], "--address", first["addresses"][0], "-o", "json")
    assert again.json["changed"] is False
    shown = lab.romana("node", "show", "node-1", "-o", "json").json
    assert shown["uid"] == first["uid"]
    assert shown["blocks"]
    assert lab.romana("node", "show", "nobody").code == 1
    taken = lab.romana("node", "add", "thief", "--address", first["addresses"][0])
    assert taken.code == 4
    assert first["name"] in taken.err


def test_addresses_outside_free_and_malformed_are_told_apart(lab: Lab) -> None:
    outside = lab.romana("ipam", "who", "192.0.2.99", "-o", "json")
    assert (outside.code, outside.json["state"]) == (1, "outside")
    assert lab.romana("ipam", "who", "10.40.255.255", "-o", "json").json["state"] == "unclaimed"
    malformed = lab.romana("ipam", "who", "10.40.0")
    assert malformed.code == 2
    assert "10.40.0" in malformed.err


def test_etcd_or_ipamd_away_is_exit_code_3_with_the_endpoint() -> None:
    environ = {"ROMANA_IPAM_ENDPOINTS": "unix:/nonexistent/ipamd", "ROMANA_ETCD_ENDPOINTS": "unix:/nonexistent/etcd"}
    done = run([ROMANA, "node", "list"], environ=environ)
    assert (done.code, "unix:/nonexistent/ipamd" in done.err) == (3, True)
    done = run([ROMANA, "block", "list"], environ=environ)
    assert (done.code, "unix:/nonexistent/etcd" in done.err) == (3, True)


def test_status_says_of_etcd_and_ipamd_each_that_it_is_away() -> None:
    environ = {"ROMANA_IPAM_ENDPOINTS": "unix:/nonexistent/ipamd", "ROMANA_ETCD_ENDPOINTS": "unix:/nonexistent/etcd"}
    done = run([ROMANA, "status", "-o", "json"], environ=environ)
    assert [(check["id"], check["ok"]) for check in done.json["checks"]] == [("etcd", False), ("ipamd", False)]
    assert done.code == 3


def test_the_store_is_read_as_lines_or_json(lab: Lab) -> None:
    listed = lab.romana("store", "list", "nodes/", "-o", "json").json["keys"]
    assert listed == lab.romana("store", "list", "nodes/").out.split() == ["nodes/node-1", "nodes/node-2", "nodes/node-3"]
    topology = lab.romana("store", "get", "topology", "-o", "json").json["value"]
    assert topology["document"]["networks"][0]["cidr"] == "10.40.0.0/16"
    assert topology["generation"] == 1
    assert lab.romana("store", "get", "nodes/node-1").json["value"]["state"] == "ready"
    assert lab.romana("store", "get", "nonsense").code == 1


def test_a_wrong_configuration_names_every_fault_and_is_exit_code_2() -> None:
    done = run([ROMANA, "config", "check"], environ={"ROMANA_IPAM_INSECURE": "maybe", "ROMANA_AGENT_MTU": "big"})
    assert done.code == 2
    assert "ROMANA_IPAM_INSECURE" in done.err
    assert "ROMANA_AGENT_MTU" in done.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("topology aply x", "aply"),
        ("node add x", "--address"),
        ("node add x --address 192.0.2.9 --label x", "'x'"),
        ("node add x --address 192.0.2.9 --label a=b --label a=c", "'a' is given twice"),
        ("topology check /nonexistent", "/nonexistent cannot be read"),
        ("apply -f /nonexistent", "/nonexistent cannot be read"),
        ("lab up --name usage --topology /nonexistent", "/nonexistent cannot be read"),
        ("lab up --name usage --nodes 0", "--nodes 0"),
        ("lab up --name usage --node a,x", "'x' is not LABEL=VALUE"),
        ("lab up --name Usage", "--name 'Usage'"),
        ("ipam who garbage", "'garbage'"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: str, word: str) -> None:
    done = run([ROMANA, *arguments.split()])
    assert (done.code, word in done.err) == (2, True), done.err
    assert not Path("/run/romana-lab/usage").exists()


@pytest.mark.parametrize(
    "document", ["{", '{"networks": []}', '{"topology": {}, "nodes": 5}', '{"topology": {}, "nodes": [{"nam": 1}]}']
)
def test_a_lab_of_a_wrong_document_is_refused_before_anything_is_built(document: str) -> None:
    done = run([ROMANA, "lab", "up", "--name", "wrong", "--topology", "-"], stdin=document)
    assert done.code == 4
    assert "Traceback" not in done.err
    assert not list(Path("/run/netns").glob("wrong-*"))
    assert not Path("/run/romana-lab/wrong").exists()


def test_what_is_not_there_is_named_with_what_is(lab: Lab) -> None:
    done = run([ROMANA, "lab", "status", "--name", "nosuchlab"])
    assert done.code == 1
    assert lab.name in done.err
    done = run([ROMANA, "lab", "pod", "add", "x", "--lab", lab.name, "--node", "node-9"])
    assert done.code == 4
    assert "node-1" in done.err


def test_a_node_drains_takes_pods_again_and_is_not_removed_while_it_has_some(lab: Lab) -> None:
    pod = lab.add_pod("stays", "node-3")
    try:
        drained = lab.romana("node", "drain", "node-3", "--timeout", "0.1", "-o", "json")
        assert (drained.code, drained.json["attachments"], drained.json["node"]["state"]) == (3, 1, "draining")
        assert f"{pod['container_id']}/eth0: pod default/stays, {pod['ips'][0]}" in drained.err
        refused = lab.romana("node", "remove", "node-3")
        assert (refused.code, pod["container_id"] in refused.err, "--force" in refused.err) == (4, True, True)
    finally:
        assert lab.romana("node", "drain", "node-3", "--undo").code == 0
        assert lab.delete_pod("stays").code == 0
    assert lab.romana("node", "drain", "nobody", "-o", "json").code == 1


def test_forecast_of_the_topology_in_force_and_plan_of_what_is_in_force_already(lab: Lab, tmp_path: Path) -> None:
    forecast = lab.romana("topology", "forecast", "--nodes", "3", "--pods-per-node", "5", "-o", "json")
    assert (forecast.code, forecast.json["pods"], forecast.json["first_failure"]) == (0, 15, "")
    shown = lab.romana("topology", "show", "-o", "json").json["document"]
    assert [one["network"] for one in forecast.json["growth"]] == [network["name"] for network in shown["networks"]]
    assert all(one["live"] >= 0 and one["over_days"] > 0 for one in forecast.json["growth"])
    document = tmp_path / "topology.json"
    document.write_text(json.dumps(lab.romana("topology", "show", "-o", "json").json["document"]))
    assert lab.romana("topology", "plan", str(document)).code == 0


def test_block_of_a_removed_node_is_on_its_way_back_and_no_problem(lab: Lab) -> None:
    """Its address cools for half a minute, in which nothing is wrong."""
    address = str(ip_address(lab.up["nodes"][0]["address"]) + 70)

    async def hold() -> None:
        calls = Calls(lab.up["ipam"])
        await calls.allocate("gone-1", "c1")
        await calls.client.close()

    assert lab.romana("node", "add", "gone-1", "--address", address).code == 0
    asyncio.run(hold())
    assert lab.romana("node", "remove", "gone-1", "--force").code == 0
    done = lab.romana("status", "--wait", "-o", "json")
    assert done.code == 0, done.out
    for check in done.json["checks"]:
        if check["id"] == "returning":  # unless this machine took longer
            assert "of node gone-1, which is gone, returns at" in check["evidence"]
