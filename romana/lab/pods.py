"""Pods of a lab: what a kubelet and its runtime do for one (Pod object, network namespace, the CNI program), and nothing past it.

A record `<run>/pods/<namespace>/<pod>.json` is written before the pod's namespace is made, so that `down` finds it.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from romana.errors import InvalidInput, NotFound, RomanaError, Unavailable
from romana.lab import namespaces
from romana.lab.processes import write_atomically
from romana.lab.progress import Say, Steps, to_the_end
from romana.lab.spec import LabSpec
from romana.objects.applying import apply_pod, delete_pod
from romana.objects.models import PodObject
from romana.objects.namespaces import ensure_namespace
from romana.objects.pod_objects import check_pod
from romana.store.opening import open_store

__all__ = ["PodRecord", "add_pod", "call_cni", "delete", "find_pod", "records"]

IFNAME = "eth0"
STORE_TIMEOUT_S = 15.0  # a killed etcd is back after one or two
UNDO_TIMEOUT_S = 5.0

Undo = tuple[str, Callable[[], Awaitable[object]]]
"""What a step made, and how it is taken back."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A pod that this lab made."""

    name: str
    namespace: str
    node: str
    netns: str
    """Path of its network namespace."""
    container_id: str
    ips: tuple[str, ...] = ()
    cni_result: Mapping[str, Any] | None = None

    @property
    def netns_name(self) -> str:
        """Name of its network namespace."""
        return Path(self.netns).name


def records(lab: LabSpec) -> list[PodRecord]:
    """All pods of a lab by namespace and name."""
    found = [json.loads(path.read_text()) for path in sorted((lab.run / "pods").glob("*/*.json"))]
    return [PodRecord(**{**value, "ips": tuple(value["ips"])}) for value in found]


def find_pod(lab: LabSpec, namespace: str, name: str) -> PodRecord:
    """The pod of that name; raises NotFound naming those there are."""
    for pod in records(lab):
        if (pod.namespace, pod.name) == (namespace, name):
            return pod
    there = ", ".join(f"{pod.namespace}/{pod.name}" for pod in records(lab)) or "none"
    raise NotFound(f"lab {lab.name} has no pod {namespace}/{name} (there: {there})")


async def add_pod(lab: LabSpec, wanted: PodObject, say: Say = lambda _: None) -> PodRecord:
    """Store the Pod object, make its network namespace, execute its node's CNI program; all of it undone when that fails."""
    check_pod(wanted)
    lab.node(wanted.node)
    netns = lab.pod_netns(wanted.namespace, wanted.name)
    path = str(namespaces.netns_path(netns))
    pod = PodRecord(wanted.name, wanted.namespace, wanted.node, path, secrets.token_hex(32))
    _claim(lab, pod)
    undo: list[Undo] = []
    async with Steps(say) as steps:
        try:
            result = await _make(lab, pod, wanted, undo, steps)
        except BaseException as err:
            steps.doing("what was begun to be undone")
            await _undo(lab, pod, undo, err)
            raise
    pod = replace(pod, ips=tuple(ip["address"].split("/")[0] for ip in result["ips"]), cni_result=result)
    _save(lab, pod)
    return pod


async def _make(lab: LabSpec, pod: PodRecord, wanted: PodObject, undo: list[Undo], steps: Steps) -> dict[str, Any]:
    """The steps of `add_pod`; each puts what takes it back into `undo` before it begins."""
    steps.doing("etcd")
    store = await open_store(lab.etcd_endpoints, timeout_s=STORE_TIMEOUT_S)
    try:
        undo.append((f"Pod object {pod.namespace}/{pod.name}", lambda: _delete_object(lab, pod, UNDO_TIMEOUT_S)))
        await ensure_namespace(store, wanted.namespace)
        stored, _ = await apply_pod(store, wanted)
    finally:
        await store.close()
    undo.append((f"network namespace {pod.netns_name}", lambda: to_the_end(namespaces.remove, [pod.netns_name])))
    await to_the_end(namespaces.ensure_netns, pod.netns_name)
    undo.append((f"attachment of {pod.container_id}", lambda: call_cni(lab, pod, "DEL", stored.uid)))
    steps.doing("the CNI program")
    return await call_cni(lab, pod, "ADD", stored.uid)


async def _undo(lab: LabSpec, pod: PodRecord, undo: Sequence[Undo], err: BaseException) -> None:
    """Take back, last step first, what can be; while something is left the record stays, so that `lab pod del` can finish."""
    left = []
    for what, step in reversed(undo):
        try:
            await step()
        except RomanaError as failure:
            left.append(f"{what} ({failure})")
    if not left:
        _path(lab, pod).unlink(missing_ok=True)
        return
    way_out = f"romana lab pod del {pod.name} --namespace {pod.namespace} --lab {lab.name} removes it"
    raise Unavailable(f"{err}; not undone: {'; '.join(left)}; {way_out}") from err


async def delete(lab: LabSpec, pod: PodRecord) -> None:
    """CNI DEL, then the namespace, then the Pod object."""
    await call_cni(lab, pod, "DEL")
    await to_the_end(namespaces.remove, [pod.netns_name])
    await _delete_object(lab, pod, STORE_TIMEOUT_S)
    _path(lab, pod).unlink(missing_ok=True)


async def call_cni(lab: LabSpec, pod: PodRecord, command: str, uid: str = "") -> dict[str, Any]:
    """Execute the node's CNI program as a runtime does; gives the parsed result, raises Unavailable with the error's words."""
    conflist = lab.cni_conf_dir(pod.node) / "10-romana.conflist"
    if not conflist.exists():
        raise Unavailable(f"{conflist} is not there; romana lab up --name {lab.name} finishes the lab")
    network = json.loads(conflist.read_text())
    stdin = {**network["plugins"][0], "name": network["name"], "cniVersion": network["cniVersion"]}
    if command == "DEL" and pod.cni_result:
        stdin["prevResult"] = pod.cni_result
    arguments = {"K8S_POD_NAMESPACE": pod.namespace, "K8S_POD_NAME": pod.name, "K8S_POD_INFRA_CONTAINER_ID": pod.container_id}
    pairs = {"IgnoreUnknown": "1", **arguments, **({"K8S_POD_UID": uid} if uid else {})}
    environ = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns,
        "CNI_IFNAME": IFNAME,
        "CNI_PATH": str(lab.cni_bin_dir(pod.node)),
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in pairs.items()),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    program = str(lab.cni_bin_dir(pod.node) / "romana")
    command_line = namespaces.enter(lab.netns(pod.node), [program])
    return await to_the_end(_execute, command_line, environ, json.dumps(stdin), f"CNI {command} of {pod.namespace}/{pod.name}")


def _execute(command: Sequence[str], environ: Mapping[str, str], stdin: str, what: str) -> dict[str, Any]:
    done = subprocess.run(command, env=dict(environ), input=stdin, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout) if done.stdout.strip() else {}
    except ValueError:
        answer = {"msg": f"answer is not JSON: {done.stdout!r}"}
    if done.returncode:
        details = f" ({answer['details']})" if answer.get("details") else ""
        raise Unavailable(f"{what} failed with code {answer.get('code')}: {answer.get('msg') or done.stderr.strip()}{details}")
    return dict(answer)


async def _delete_object(lab: LabSpec, pod: PodRecord, timeout_s: float) -> None:
    store = await open_store(lab.etcd_endpoints, timeout_s=timeout_s)
    try:
        await delete_pod(store, pod.namespace, pod.name)
    finally:
        await store.close()


def _claim(lab: LabSpec, pod: PodRecord) -> None:
    """Write the first record of a pod, unless there is one: of two that add the same pod at once, one is told so."""
    path = _path(lab, pod)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")  # no reader sees half a record, also when this is killed
    aside.write_text(json.dumps(asdict(pod)))
    try:
        path.hardlink_to(aside)
    except FileExistsError as err:
        way_out = f"romana lab pod del {pod.name} --namespace {pod.namespace} removes it"
        raise InvalidInput(f"lab {lab.name} has a pod {pod.namespace}/{pod.name} already; {way_out}") from err
    finally:
        aside.unlink()


def _save(lab: LabSpec, pod: PodRecord) -> None:
    write_atomically(_path(lab, pod), json.dumps(asdict(pod), indent=2))


def _path(lab: LabSpec, pod: PodRecord) -> Path:
    return lab.run / "pods" / pod.namespace / f"{pod.name}.json"
