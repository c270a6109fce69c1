"""Our own cases with real packets, and pods that no policy can select."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from tests import cases
from tests.e2e.cni_call import Container
from tests.e2e.conftest import Lab
from tests.e2e.policy_own_cases import OWN_CASES, network_policy
from tests.e2e.policy_world import Stage, play
from tests.prober.prober import End

pytestmark = [pytest.mark.e2e]

FRONT, ANONYMOUS = "shop/front", "anonymous"


@pytest.mark.parametrize("case", OWN_CASES, ids=lambda case: case.id)
def test_packets_are_as_our_own_case_says(live: Stage, case: cases.Case) -> None:
    live.run(play(live.world, case))


@contextmanager
def anonymous(lab: Lab, live: Stage) -> Iterator[str]:
    """A container whose runtime named no pod, as one end of the prober; gives its address."""
    with Container(lab, "node-2") as container:
        done = container.call("ADD")
        assert done.code == 0, done.out
        ip = done.json["ips"][0]["address"].split("/")[0]
        fd = os.open(container.netns, os.O_RDONLY | os.O_CLOEXEC)
        live.world.prober.pods[ANONYMOUS] = End(fd, IPv4Address(ip))
        try:
            yield ip
        finally:
            live.world.prober.remove(ANONYMOUS)
            os.close(fd)


def test_a_container_without_a_pod_is_isolated_by_nothing_and_meant_by_its_address_alone(lab: Lab, live: Stage) -> None:
    async def to_and_fro() -> tuple[bool, bool]:
        await live.world.settle()
        pairs = [(ANONYMOUS, FRONT), (FRONT, ANONYMOUS)]
        cells = await live.world.prober.matrix("TCP", 80, pairs=pairs)
        return cells[pairs[0]], cells[pairs[1]]

    async def story(ip: str) -> list[tuple[bool, bool]]:
        bare = cases.Live.of(OWN_CASES[0])
        await live.world.reach(bare)
        found = [await to_and_fro()]
        for peer in ("{namespaceSelector: {}}", f"{{ipBlock: {{cidr: {ip}/32}}}}"):
            bare.apply({"create_policy": network_policy("", f"ingress: [{{from: [{peer}]}}]")})
            await live.world.reach(bare)
            found.append(await to_and_fro())
        return found

    with anonymous(lab, live) as ip:
        assert live.run(story(ip)) == [(True, True), (False, True), (True, True)]
