"""The command line on policy: waiting tells the truth, and what `matrix` and `why` say is what packets do."""

import json
from itertools import permutations

import pytest

from policyd.policy import ObjectName
from tests import cases
from tests.e2e.conftest import Done, Lab
from tests.e2e.policy_guard import BACK, FRONT, PROBE, policyd
from tests.e2e.policy_own_cases import BLOG, OWN_CASES, PODS, network_policy
from tests.e2e.policy_world import NODES, Stage, World
from tests.e2e.test_faults import frozen

pytestmark = [pytest.mark.e2e]

NAMES = [ObjectName(*pod.split("/")) for pod in PODS]
EGRESS = "{egress: [{to: [{podSelector: {matchLabels: {role: backend}}}], ports: [{port: web}]}], policyTypes: [Egress]}"
SITUATIONS = {
    "one-end": [network_policy("backend", BLOG)],
    "both-ends": [network_policy("backend", BLOG), network_policy("frontend", EGRESS, name="out")],
    "deny-all": [
        network_policy("", "policyTypes: [Ingress, Egress]"),
        network_policy("log", "ingress: [{from: [{podSelector: {}}]}]", namespace="ops"),
    ],
}


def situation(live: Stage, name: str) -> dict[str, dict[tuple[str, str], bool]]:
    """Bring the lab there; who reaches whom by packets, per service."""

    async def probed() -> dict[str, dict[tuple[str, str], bool]]:
        wanted = cases.Live.of(OWN_CASES[0])
        for policy in SITUATIONS[name]:
            wanted.apply({"create_policy": policy})
        await live.world.reach(wanted)
        await live.world.settle()
        prober = live.world.prober
        return {"80/TCP": await prober.matrix("TCP", 80), "53/UDP": await prober.matrix("UDP", 53)}

    return live.run(probed())


@pytest.mark.parametrize("name", SITUATIONS)
def test_matrix_says_what_packets_do(lab: Lab, live: Stage, name: str) -> None:
    for port, cells in situation(live, name).items():
        told = lab.romana("policy", "matrix", "--port", port, "-o", "json")
        assert told.code == 0, told.err
        assert sorted(told.json["pods"]) == sorted(PODS)
        assert {(a, b): told.json["allowed"][a][b] for a, b in permutations(PODS, 2)} == cells
        assert len(set(cells.values())) == 2, "a situation in which all are alike shows nothing"


def test_why_says_what_packets_do_by_its_exit_code(lab: Lab, live: Stage) -> None:
    cells = situation(live, "both-ends")["80/TCP"]
    told = {(a, b): lab.romana("policy", "why", a, f"{b}:80").code for a, b in permutations(PODS, 2)}
    assert told == {pair: 0 if reached else 1 for pair, reached in cells.items()}


def test_why_names_the_rule_that_decides_at_each_end(lab: Lab, live: Stage) -> None:
    situation(live, "both-ends")

    def ends(source: ObjectName, destination: str) -> tuple[dict[str, object], dict[str, object]]:
        found = lab.romana("policy", "why", str(source), destination, "-o", "json").json
        return found["egress"], found["ingress"]

    egress, ingress = ends(FRONT, f"{BACK}:80")
    assert (egress["rule"], ingress["rule"]) == (
        "shop/out egress[0].to[0] ports[0]",
        "shop/p ingress[0].from[0] ports[0]",
    )
    egress, ingress = ends(PROBE, f"{BACK}:80")
    assert (egress["allowed"], egress["isolating"]) == (True, [])
    assert (ingress["allowed"], ingress["rule"], ingress["isolating"]) == (False, None, ["shop/p"])
    words = lab.romana("policy", "why", str(PROBE), f"{BACK}:80")
    assert words.code == 1
    assert "DENIED" in words.out
    assert "isolated by shop/p" in words.out
    outside = lab.romana("policy", "why", "198.51.100.7", f"{BACK}:80")
    assert (outside.code, "isolated by shop/p" in outside.out) == (1, True)


def applied(lab: Lab, policy: object, timeout: str) -> Done:
    """`romana apply --wait` of one policy."""
    return lab.romana("apply", "-f", "-", "--wait", "--timeout", timeout, "-o", "json", stdin=json.dumps(policy))


def test_wait_names_the_node_that_does_not_have_it_in_time_and_only_that_one(lab: Lab, live: Stage, guarded: World) -> None:
    policy = network_policy("frontend", "ingress: []", name="late")
    with frozen(policyd(guarded, "node-2").pid):
        done = applied(lab, policy, "2s")
        assert done.code == 3
        assert (done.json["waited"]["behind"], done.json["waited"]["silent"]) == (["node-2"], [])
        assert sorted(done.json["waited"]["enforced"]) == ["node-1", "node-3"]
        words = lab.romana("apply", "-f", "-", "--wait", "--timeout", "1s", stdin=json.dumps(policy))
        assert words.code == 3
        assert "node-2" in words.err
        assert "node-1" not in words.err + words.out
    assert applied(lab, policy, "30s").code == 0
    assert lab.romana("delete", "networkpolicy", "late", "-n", "shop", "--wait").code == 0


def test_a_policy_that_selects_nobody_is_acknowledged_by_every_node(lab: Lab, live: Stage, guarded: World) -> None:
    done = applied(lab, network_policy("nobody", "ingress: []", name="idle"), "30s")
    assert done.code == 0, done.err
    assert sorted(done.json["waited"]["enforced"]) == list(NODES)
    assert lab.romana("delete", "networkpolicy", "idle", "-n", "shop", "--wait").code == 0
