"""`romana bench cni`: our plugin beside the reference plugins ptp and host-local, whole processes, in turns.

    lab of two nodes, everything real ─→ pairs of ADD and DEL, one at a time ─→ bursts ─→ 250 pods ─→ the same netlink steps alone

On node-1 ADD waits until policy is in force, as it is shipped; on node-2 it does not, as ptp does not. On both the address is
durable in etcd, and the Pod is known by name, before ADD answers; host-local writes a file that it does not sync.
"""

import asyncio
import gc
import itertools
import os
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cni.bytecode import python_shim
from cni.compiling import compiled_shim
from romana.bench import machine
from romana.bench.cni_calls import Plugin, Target, burst, cpu_ms, resident_mib
from romana.bench.cni_floor import steps
from romana.bench.report import Report, Series
from romana.errors import ConfigError, FatalError, NotFound
from romana.lab import namespaces, processes
from romana.lab.down import take_down
from romana.lab.plan import plan_lab
from romana.lab.spec import LabSpec
from romana.lab.up import bring_up, find_programs
from romana.netlink.netns import call_in
from romana.objects.applying import apply_pod
from romana.objects.models import PodObject
from romana.store.opening import open_store

__all__ = ["measure"]

REFERENCE = "ptp + host-local"
REFERENCE_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
BURSTS = (10, 50, 100)
PODS = 250
"""As many as a node is designed for."""
TIMEOUT_S = 60.0
WITH_POLICY, WITHOUT_POLICY = "node-1", "node-2"

Answer = TypeVar("Answer")


@dataclass
class _Samples:
    """What was taken so far, by the name of the series."""

    ms: dict[str, list[float]] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def add(self, plugin: Plugin, what: str, *samples: float) -> None:
        self.ms.setdefault(f"{plugin.name}: {what}", []).extend(samples)
        if plugin.name != REFERENCE:
            self.peers[f"{plugin.name}: {what}"] = f"{REFERENCE}: {what}"

    def spend(self, plugin: Plugin, what: str, process: str, ms: float) -> None:
        if plugin.name != REFERENCE:
            self.cpu.setdefault(f"{plugin.name}: CPU of a pair, {what}, {process}", []).append(ms)

    def series(self) -> list[Series]:
        """Of the CPU by process only the mean says anything: it is counted in hundredths of a second."""
        found = [Series(name, "ms", (statistics.fmean(samples),)) for name, samples in self.cpu.items()]
        return found + [Series(name, "ms", tuple(samples), self.peers.get(name, "")) for name, samples in self.ms.items()]


async def measure(pairs: int, rounds: int, say: Callable[[str], None]) -> Report:
    """So many pairs one at a time, so many rounds of each burst, of every plugin. Raises what bringing up a lab does."""
    began, where = machine.now(), machine.describe()
    reference = _reference_dir()
    programs, etcd = find_programs()
    plan = plan_lab(f"bench-{os.getpid()}", 2, [], None, programs=programs, etcd=etcd)
    with tempfile.TemporaryDirectory(prefix="romana-bench-") as folder:
        try:
            await bring_up(plan.lab, plan.topology, say)
            await _switch_policy_off(plan.lab)
            await _write_pods(plan.lab)
            plugins = [_reference(reference, Path(folder)), *_ours(plan.lab, Path(folder))]
            series = await asyncio.to_thread(_measured, plan.lab, plugins, pairs, rounds, say)
        finally:
            take_down(plan.lab.name)
    notes = (
        "ADD of ours includes the address durable in etcd; 'without policy' does not wait for policyd, as ptp does not",
        "bursts: total is from the first start to the last end, p99 that of one call in each burst",
        "CPU of ours is that of plugin, agent, ipamd, etcd and policyd together",
    )
    return Report("cni", began, where, tuple(series), {"pairs": pairs, "rounds": rounds, "bursts": list(BURSTS)}, notes)


def _reference_dir() -> str:
    for folder in REFERENCE_DIRS:
        if Path(folder, "ptp").exists() and Path(folder, "host-local").exists():
            return folder
    raise ConfigError("the reference plugins are not here: apt-get install containernetworking-plugins")


def _reference(folder: str, data: Path) -> Plugin:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.99.0.0/16"}]],
        "dataDir": str(data),
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    conf = {"cniVersion": "1.0.0", "name": "reference", "type": "ptp", "ipMasq": False, "ipam": ipam}
    return Plugin(REFERENCE, Path(folder, "ptp"), conf, folder)


def _ours(lab: LabSpec, folder: Path) -> Iterator[Plugin]:
    """Each shim that there is, on both nodes."""
    for name, make in (("C shim", _compile), ("Python shim", _copy)):
        for node, suffix in ((WITH_POLICY, ""), (WITHOUT_POLICY, ", without policy")):
            binary = folder / node / name.split()[0] / "romana"
            binary.parent.mkdir(parents=True)
            if not make(binary):
                continue
            binary.with_name("romana.socket").write_text(f"{lab.agent_socket(node)}\n")
            yield Plugin(name + suffix, binary, {"cniVersion": "1.0.0", "name": "romana", "type": "romana"}, "/nowhere")


def _copy(binary: Path) -> bool:
    binary.write_bytes(python_shim())
    binary.chmod(0o755)
    return True


def _compile(binary: Path) -> bool:
    try:
        binary.write_bytes(compiled_shim())
    except NotFound:  # no compiler here: the report then has no such series
        return False
    binary.chmod(0o755)
    return True


async def _switch_policy_off(lab: LabSpec) -> None:
    """On one node; its agent is started anew by the lab."""
    folder = lab.node_run(WITHOUT_POLICY) / "conf.d"
    folder.mkdir(exist_ok=True)
    (folder / "bench.toml").write_text("[policy]\nrequired = false\n")
    old = processes.read_one(lab, f"agent@{WITHOUT_POLICY}")
    if old is None:
        raise FatalError("the agent does not run")
    old.signal(signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_S):
        while _agent_pid(lab, WITHOUT_POLICY) == old.pid or not lab.agent_socket(WITHOUT_POLICY).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # another process's work: there is no event


def _agent_pid(lab: LabSpec, node: str) -> int:
    found = processes.read_one(lab, f"agent@{node}")
    return found.pid if found else 0


async def _write_pods(lab: LabSpec) -> None:
    store = await open_store(lab.etcd_endpoints, timeout_s=TIMEOUT_S)
    try:
        for node, number in itertools.product((WITH_POLICY, WITHOUT_POLICY), range(PODS + 1)):
            await apply_pod(store, PodObject("default", _pod_name(node, number), {"app": "bench"}, node=node))
    finally:
        await store.close()


def _pod_name(node: str, number: int) -> str:
    return f"bench-{node}-{number}"


def _measured(lab: LabSpec, plugins: Sequence[Plugin], pairs: int, rounds: int, say: Callable[[str], None]) -> list[Series]:
    samples = _Samples()
    gc.freeze()
    with _pods(lab) as netns:
        say(f"one at a time: {pairs} pairs of {len(plugins)} plugins")
        for plugin, path in zip(plugins[-2:], netns[PODS:], strict=True):  # a node has pods: its policyd follows their namespace
            _attach(lab, plugin, _targets(plugin, [path], PODS))
        _alternate(lab, plugins, netns[:1], pairs, samples, "one at a time")
        for size in BURSTS:
            say(f"bursts of {size}: {rounds} of {len(plugins)} plugins")
            _alternate(lab, plugins, netns[:size], rounds, samples, f"burst of {size}")
        say(f"{PODS} pods")
        memory = _memory(lab, plugins[-2], netns)
        say("the kernel's part alone")
        floor = _floor(lab, netns[0], pairs)
    return [*samples.series(), *floor, memory]


@contextmanager
def _pods(lab: LabSpec) -> Iterator[list[Path]]:
    names = [lab.netns(f"bench-{number}") for number in range(PODS + 2)]
    try:
        for name in names:
            namespaces.ensure_netns(name)
        yield [namespaces.netns_path(name) for name in names]
    finally:
        namespaces.remove(names)


def _alternate(lab: LabSpec, plugins: Sequence[Plugin], netns: Sequence[Path], rounds: int, samples: _Samples, what: str) -> None:
    for number in range(rounds + 1):
        for plugin in (*plugins[number % len(plugins) :], *plugins[: number % len(plugins)]):
            if number:
                _pair(lab, plugin, netns, samples, what)
            else:
                _pair(lab, plugin, netns, _Samples(), what)  # caches are filled, connections made


def _pair(lab: LabSpec, plugin: Plugin, netns: Sequence[Path], samples: _Samples, what: str) -> None:
    node, targets = _node_of(plugin), _targets(plugin, netns)
    daemons = {} if plugin.name == REFERENCE else _daemons(lab, node)
    before, own_ms = {name: cpu_ms(pid) for name, pid in daemons.items()}, 0.0
    for command in ("ADD", "DEL"):
        took = _in_node(lab, node, lambda command=command: burst(plugin, command, targets))  # type: ignore[misc]
        own_ms += took.cpu_ms
        if len(netns) == 1:
            samples.add(plugin, f"{command}, {what}", took.total_ms)
        else:
            samples.add(plugin, f"{command}, {what}, total", took.total_ms)
            samples.add(plugin, f"{command}, {what}, p99", statistics.quantiles(took.each_ms, n=100, method="inclusive")[-1])
    spent = {name: cpu_ms(pid) - before[name] for name, pid in daemons.items()} | {"plugin": own_ms}
    samples.add(plugin, f"CPU of a pair, {what}", sum(spent.values()) / len(netns))
    for name, ms in spent.items():
        samples.spend(plugin, what, name, ms / len(netns))


def _node_of(plugin: Plugin) -> str:
    return WITHOUT_POLICY if plugin.name.endswith("without policy") else WITH_POLICY


def _targets(plugin: Plugin, netns: Sequence[Path], first: int = 0) -> list[Target]:
    names = (_pod_name(_node_of(plugin), first + number) for number in range(len(netns)))
    words = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="
    return [Target.of(path, words + name) for path, name in zip(netns, names, strict=True)]


def _daemons(lab: LabSpec, node: str) -> dict[str, int]:
    names = {"agent": f"agent@{node}", "policyd": f"policyd@{node}", "ipamd": "ipamd", "etcd": "etcd"}
    found = {name: processes.read_one(lab, process) for name, process in names.items()}
    return {name: process.pid for name, process in found.items() if process}


def _in_node(lab: LabSpec, node: str, work: Callable[[], Answer]) -> Answer:
    fd = os.open(namespaces.netns_path(lab.netns(node)), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return call_in(fd, work)
    finally:
        os.close(fd)


def _attach(lab: LabSpec, plugin: Plugin, targets: Sequence[Target]) -> None:
    _in_node(lab, _node_of(plugin), lambda: burst(plugin, "ADD", targets))


def _memory(lab: LabSpec, plugin: Plugin, netns: Sequence[Path]) -> Series:
    """Of the agent, with all pods attached."""
    node, targets = _node_of(plugin), _targets(plugin, netns[:PODS])
    for start in range(0, PODS, 25):
        _in_node(lab, node, lambda start=start: burst(plugin, "ADD", targets[start : start + 25]))  # type: ignore[misc]
    resident = resident_mib(_agent_pid(lab, node))
    for start in range(0, PODS, 25):
        _in_node(lab, node, lambda start=start: burst(plugin, "DEL", targets[start : start + 25]))  # type: ignore[misc]
    return Series(f"memory of the agent, {PODS} pods", "MiB", (resident,))


def _floor(lab: LabSpec, netns: Path, pairs: int) -> list[Series]:
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        took = _in_node(lab, WITHOUT_POLICY, lambda: [steps(fd) for _ in range(pairs)])
    finally:
        os.close(fd)
    adds, deletes = zip(*took, strict=True)
    peers = f"{REFERENCE}: ADD, one at a time", f"{REFERENCE}: DEL, one at a time"
    return [Series("netlink steps of ADD", "ms", adds, peers[0]), Series("RTM_DELLINK, acknowledged", "ms", deletes, peers[1])]
