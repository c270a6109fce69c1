"""What a lab says of itself: the JSON of `lab up` and `lab status` (docs/architecture.md, "Lab")."""

import json
from typing import Any

from romana.lab import namespaces, processes
from romana.lab.pods import PodRecord, records
from romana.lab.spec import CONTROL, FABRIC, NODE_DAEMONS, REFUSED, LabSpec, NodeSpec

__all__ = ["describe", "describe_pod", "missing_processes"]


def describe(lab: LabSpec) -> dict[str, Any]:
    """Paths, endpoints and the pids of this moment; a pid is null while its process is being started again."""
    pids = processes.read_all(lab)
    refused = _refused(lab)
    control = (*(member.id for member in lab.members), "ipamd", "supervisor", "guard")
    return {
        "name": lab.name,
        "etcd": list(lab.etcd_endpoints),
        "ipam": lab.ipam_endpoint,
        "config": str(lab.config),
        "nodes": [{**_node(lab, node, pids), "refused": refused.get(node.name)} for node in lab.nodes],
        "control": {
            "netns": str(namespaces.netns_path(lab.netns(CONTROL))),
            "pids": {name: pids.get(name) for name in control},
        },
        "fabric": {"netns": str(namespaces.netns_path(lab.netns(FABRIC)))},
        "pods": [describe_pod(pod) for pod in records(lab)],
        "web": None,
    }


def describe_pod(pod: PodRecord) -> dict[str, Any]:
    """The JSON of `lab pod add`."""
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "node": pod.node,
        "netns": pod.netns,
        "ips": list(pod.ips),
        "container_id": pod.container_id,
        "cni_result": pod.cni_result,
    }


def _refused(lab: LabSpec) -> dict[str, str]:
    path = lab.run / REFUSED
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _node(lab: LabSpec, node: NodeSpec, pids: dict[str, int]) -> dict[str, Any]:
    return {
        "name": node.name,
        "netns": str(namespaces.netns_path(lab.netns(node.name))),
        "address": str(node.address),
        "addresses": [str(address) for address in lab.addresses(node)],
        "labels": node.labels,
        "cni_bin": str(lab.cni_bin_dir(node.name) / "romana"),
        "cni_bin_dir": str(lab.cni_bin_dir(node.name)),
        "cni_conf_dir": str(lab.cni_conf_dir(node.name)),
        "conflist": str(lab.cni_conf_dir(node.name) / "10-romana.conflist"),
        "agent_socket": str(lab.agent_socket(node.name)),
        "pids": {daemon: pids.get(f"{daemon}@{node.name}") for daemon in NODE_DAEMONS},
    }


def missing_processes(lab: LabSpec) -> list[str]:
    """Ids of the processes that should run and do not, just now."""
    pids = processes.read_all(lab)
    return [name for name in ("guard", "supervisor", *(spec.id for spec in lab.processes())) if name not in pids]
