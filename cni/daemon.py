"""`romana-agent`: the CNI agent of one node. `--config FILE` names the configuration (romana/config.py)."""

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import uvloop

from cni import plumbing
from cni.agent import Agent
from cni.agent_counts import CallCounts
from cni.agent_del import replay_pending
from cni.agent_health import agent_health
from cni.agent_ipam import Ipam
from cni.agent_journal import Journal
from cni.agent_keeper import keep
from cni.agent_ledger import Ledger
from cni.agent_locks import Locks
from cni.agent_memory import Memory
from cni.agent_parts import Parts
from cni.agent_pending import PendingReleases
from cni.agent_policy import Policy
from cni.agent_reassert import Reassertion
from cni.agent_server import AgentServer
from cni.agent_stale import release_stale
from cni.agent_tombstones import Tombstones
from cni.errors import CniError
from cni.plumbing import Uplink
from cni.reaper import Reaper
from romana import logs
from romana.config import Config, load, node_name, read_boot_id
from romana.errors import ConfigError
from romana.netlink.pool import Pool
from romana.rpc.client import Client

__all__ = ["main", "run"]

log = logging.getLogger(__name__)

THREADS = 4
"""Creating a veth pair holds the kernel's lock, so more threads would only wait for each other."""

STOP_S = 20.0
"""How long running calls may take to end after SIGTERM; ADDs are told to give up."""


def main() -> None:
    """Entry point of `romana-agent`."""
    parser = argparse.ArgumentParser(prog="romana-agent", description="CNI agent of one node.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration, TOML (default /etc/romana/config.toml)")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config)
        logs.set_up(config.log.level)
        uvloop.run(run(config))
    except ConfigError as err:
        sys.stderr.write(f"romana-agent: {err}\n")
        sys.exit(2)
    except CniError as err:  # of prepare_node: the machine, not the configuration
        sys.exit(f"romana-agent: {err}")


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    plumbing.prepare_node()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="worker") as threads, Pool() as pool:
        ipamd, policyd = Client(config.ipam.endpoints), Client([f"unix:{config.policy.socket}"])
        async with ipamd, policyd, Reaper(pool) as reaper:
            journal = Journal(Path(config.agent.state_dir))
            ledger = Ledger(Path(config.agent.state_dir), journal)
            parts = _parts(config, Ipam(ipamd, node_name(config), read_boot_id(), ledger), policyd, threads, reaper, journal)
            reassertion, counts = Reassertion(parts, ipamd, ledger, read_boot_id()), CallCounts()
            async with agent_health(config, parts, ipamd, reassertion, counts).serving():
                await _serve(config, parts, reassertion, counts, stopping)


def _parts(config: Config, ipam: Ipam, policyd: Client, threads: Executor, reaper: Reaper, journal: Journal) -> Parts:
    node, state_dir = node_name(config), Path(config.agent.state_dir)
    tombstones = Tombstones(state_dir, ipam.boot_id)
    return Parts(
        node=node,
        config=config.agent,
        ipam=ipam,
        policy=Policy(policyd, node, settings=config.policy),
        pending=PendingReleases(state_dir),
        locks=Locks(tombstones.all()),
        tombstones=tombstones,
        memory=Memory(journal),
        pool=reaper.pool,
        reaper=reaper,
        uplink=Uplink(),
        threads=threads,
    )


async def _serve(config: Config, parts: Parts, reassertion: Reassertion, counts: CallCounts, stopping: asyncio.Event) -> None:
    server = AgentServer(Path(config.agent.socket), counts.around(Agent(parts, reassertion.ready).answer))
    await server.start()
    background = (reassertion.run(), replay_pending(parts), keep(parts), release_stale(parts))
    working = [asyncio.create_task(work) for work in background]
    gc.freeze()  # what is there now stays: no collection need look at it again (docs.python.org, gc)
    log.info("agent serves", extra={"node": parts.node, "socket": config.agent.socket})
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({stopped, *working}, return_when=asyncio.FIRST_COMPLETED)
    parts.locks.abort_all("the agent is stopping")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await server.stop()
            await parts.releasing.wait_for_all()
    await _end(stopped)
    for task in working:
        await _end(task)
    parts.tombstones.close()
    log.info("agent stopped", extra={"node": parts.node})


async def _end(task: "asyncio.Task[None] | asyncio.Task[bool]") -> None:
    """Cancel a task; an error that had ended it is raised here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
