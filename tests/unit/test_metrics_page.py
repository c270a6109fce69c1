"""docs/metrics.md lists what each daemon exposes, no more and no less: name, type, labels; each metric in its section once."""

import re
from types import SimpleNamespace
from typing import cast

import pytest

from cni.agent_counts import CallCounts
from cni.agent_health import agent_health
from cni.agent_parts import Parts
from cni.agent_reassert import Reassertion
from ipam.metrics import ipam_sources
from policyd.counts import PolicyCounts
from policyd.metrics import policyd_health
from policyd.state import State as PolicyState
from romana.config import Config, HealthConfig
from romana.health.daemon import Health
from romana.health.store_metrics import Watches, store_source
from romana.reconcile import Outcome
from romana.rpc.client import Client
from romana.store.counts import StoreCounts
from romana.store.memory import MemoryStore
from routed.counts import RouteCounts
from routed.metrics import routed_health
from routed.state import State as RouteState
from tests.ipamd import flat, running
from tests.metrics_page import PAGE, documented, exposed

CONFIG = Config(health=HealthConfig(ipamd="off", agent="off", routed="off", policyd="off"))


async def ipamd_page() -> str:
    """Of an ipamd that has done a bit of everything."""
    async with running(MemoryStore()) as run:
        await run.apply(flat())
        await run.add_node("n1")
        await run.ip("n1", "c1")
        ipamd = run.ipamd
        health = Health("ipamd", "off", [store_source(counted()), *ipam_sources(ipamd.state, ipamd.counts, ipamd.recovery)])
        return await page_of(health)


async def routed_page() -> str:
    counts, store = RouteCounts(), MemoryStore()
    counts.synced(["add"], 1, 0, 0, is_repair=False)
    health = Health("routed", "off", [store_source(counted())])
    routed_health(health, store, Watches(counted()), RouteState(store), counts, outcome())
    return await page_of(health)


async def policyd_page() -> str:
    counts, store = PolicyCounts(), MemoryStore()
    counts.compile_s.observe(1.0)
    counts.apply_s.observe(1.0)
    health = Health("policyd", "off", [store_source(counted())])
    policyd_health(health, store, Watches(counted()), PolicyState(store, "n1"), counts, outcome())
    return await page_of(health)


async def agent_page() -> str:
    counts = CallCounts()
    counts.seconds.observe(1.0, "ADD", "0")
    memory = SimpleNamespace(records=tuple, intents=list)
    parts = SimpleNamespace(
        memory=memory, pending=SimpleNamespace(all=list), policy=SimpleNamespace(socket="", is_required=False)
    )
    health = agent_health(CONFIG, cast("Parts", parts), Client([]), cast("Reassertion", SimpleNamespace(untold="")), counts)
    return await page_of(health)


PAGES = {"ipamd": ipamd_page, "routed": routed_page, "policyd": policyd_page, "agent": agent_page}


def counted() -> StoreCounts:
    counts = StoreCounts()
    counts.calls.observe(1.0, "get", "ok")
    counts.watch("nodes/")
    return counts


def outcome() -> Outcome:
    made = Outcome()
    made.seconds.observe(1.0, "ok")
    return made


async def page_of(health: Health) -> str:
    return (await health.metrics()).body.decode()


@pytest.mark.parametrize("daemon", PAGES)
async def test_the_page_lists_what_the_daemon_exposes_with_type_and_labels(daemon: str) -> None:
    found, listed = exposed(await PAGES[daemon]()), documented(daemon)
    assert found.keys() - listed.keys() == set(), "add them to docs/metrics.md"
    assert listed.keys() - found.keys() == set(), "docs/metrics.md lists what is not there"
    assert found == listed


def test_every_daemon_that_can_be_asked_is_compared() -> None:
    assert set(PAGES) == set(HealthConfig.model_fields)


def test_no_metric_is_listed_twice_and_rules_name_only_what_there_is() -> None:
    names = re.findall(r"^\| `([a-z_]+)` \| (?:counter|gauge|histogram) \|", PAGE.read_text(), re.MULTILINE)
    assert len(names) == len(set(names))
    for used in re.findall(
        r"\bromana_[a-z_]+", "\n".join(re.findall(r"```(?:yaml|promql)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    ):
        assert used in names or re.sub("_(bucket|sum|count)$", "", used) in names, used
