"""The NetworkPolicy conformance cases as steps on a live cluster; unit tests and packet probers share them.

The cases lie beside the repository, in ../shared/cases, because two of their suites derive from others' work; README.md there has
the format. Where the folder is absent, tests skip with `LACKING`.

    case.cluster --Live--> objects --actions of a step--> objects; expected(step) says who must reach whom
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from policyd.cluster import Cluster, Endpoint, NamedPort, NamespaceState, PodState
from policyd.compiled import Address, Protocol
from policyd.policy import NetworkPolicy, ObjectName
from policyd.policy_json import parse_closed
from tests.naive_policy import NaiveCluster, NaivePod, allows

PATH = Path(__file__).resolve().parents[2] / "shared/cases/conformance.json"
LACKING = "" if PATH.exists() else f"no conformance cases at {PATH}"
PLACEHOLDER = re.compile(r"\$\{(ip|net):([^}]*)\}")
NODES = ("n1", "n2", "n3")


@dataclass(frozen=True)
class Case:
    """One case of the file."""

    id: str
    name: str
    tags: tuple[str, ...]
    ip_dependent: bool
    cluster: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Probe:
    """One connection that must, or must not, be made."""

    source: ObjectName
    destination: ObjectName
    protocol: Protocol
    port: int
    allowed: bool


def load() -> list[Case]:
    """All cases; none where the folder is absent."""
    if LACKING:
        return []
    raw = json.loads(PATH.read_text())
    return [Case(r["id"], r["name"], tuple(r["tags"]), r["ip_dependent"], r["cluster"], tuple(r["steps"])) for r in raw]


def pod_name(text: str) -> ObjectName:
    """`ns/name` of the file as a name."""
    namespace, _, name = text.partition("/")
    return ObjectName(namespace, name)


@dataclass
class Live:
    """The cluster of a case while its steps are applied; `addresses` has real ones where pods got others than the nominal."""

    addresses: Mapping[ObjectName, Address] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    pods: dict[ObjectName, Mapping[str, Any]] = field(default_factory=dict)
    policies: dict[ObjectName, dict[str, Any]] = field(default_factory=dict)
    """As raw JSON, with real addresses."""

    @classmethod
    def of(cls, case: Case, addresses: Mapping[ObjectName, Address] | None = None) -> "Live":
        """The cluster before the first step."""
        live = cls(addresses or {}, {name: dict(labels) for name, labels in case.cluster["namespaces"].items()})
        for pod in case.cluster["pods"]:
            live.pods[ObjectName(pod["namespace"], pod["name"])] = pod
        return live

    def address(self, name: ObjectName) -> Address:
        """Where a pod is."""
        return self.addresses[name] if name in self.addresses else ip_address(self.pods[name]["nominal_ip"])

    def apply(self, action: Mapping[str, Any]) -> None:
        """Carry out one action of a step."""
        ((verb, argument),) = action.items()
        getattr(self, f"_{verb}")(argument)

    def _create_policy(self, document: Mapping[str, Any]) -> None:
        metadata = document["metadata"]
        real = PLACEHOLDER.sub(self._fill, json.dumps(document))
        self.policies[ObjectName(metadata["namespace"], metadata["name"])] = json.loads(real)

    _update_policy = _create_policy

    def _fill(self, found: re.Match[str]) -> str:
        """The text that a placeholder stands for."""
        kind, argument = found.groups()
        if kind == "ip":
            return str(self.address(pod_name(argument)))
        name, _, length = argument.rpartition("/")
        return str(ip_network(f"{self.address(pod_name(name))}/{length}", strict=False))

    def _delete_policy(self, argument: Mapping[str, str]) -> None:
        del self.policies[ObjectName(argument["namespace"], argument["name"])]

    def _delete_all_policies(self, _: object) -> None:
        self.policies.clear()

    def _create_namespace(self, argument: Mapping[str, Any]) -> None:
        self.namespaces[argument["name"]] = dict(argument["labels"])

    def _set_namespace_labels(self, argument: Mapping[str, Any]) -> None:
        self.namespaces[argument["namespace"]] = dict(argument["labels"])

    def _add_namespace_labels(self, argument: Mapping[str, Any]) -> None:
        self.namespaces[argument["namespace"]] |= argument["labels"]

    def _delete_namespace(self, name: str) -> None:
        del self.namespaces[name]
        self.pods = {key: pod for key, pod in self.pods.items() if key.namespace != name}
        self.policies = {key: policy for key, policy in self.policies.items() if key.namespace != name}

    def _create_pod(self, pod: Mapping[str, Any]) -> None:
        self.pods[ObjectName(pod["namespace"], pod["name"])] = pod

    def _delete_pod(self, argument: Mapping[str, str]) -> None:
        del self.pods[ObjectName(argument["namespace"], argument["name"])]

    def _set_pod_labels(self, argument: Mapping[str, Any]) -> None:
        name = ObjectName(argument["namespace"], argument["pod"])
        self.pods[name] = {**self.pods[name], "labels": dict(argument["labels"])}

    def _add_pod_labels(self, argument: Mapping[str, Any]) -> None:
        labels = self.pods[ObjectName(argument["namespace"], argument["pod"])]["labels"]
        self._set_pod_labels({**argument, "labels": {**labels, **argument["labels"]}})

    def cluster(self) -> Cluster:
        """The cluster as policyd sees it, its pods spread over NODES."""
        placed = [(name, pod, NODES[index % len(NODES)]) for index, (name, pod) in enumerate(sorted(self.pods.items()))]
        return Cluster.of(
            [NamespaceState(name, labels) for name, labels in self.namespaces.items()],
            [PodState(*name, "", pod["labels"], tuple(_named_ports(pod)), node) for name, pod, node in placed],
            [Endpoint(*name, "c", (self.address(name),), node, f"rom{index}") for index, (name, _, node) in enumerate(placed)],
            self.parsed(),
        )

    def parsed(self) -> list[NetworkPolicy]:
        """Its policies as values."""
        return [parse_closed(*name, document) for name, document in self.policies.items()]

    def naive(self) -> NaiveCluster:
        """The cluster as the naive evaluator sees it."""
        pods = [NaivePod(*name, pod["labels"], pod["ports"], [str(self.address(name))]) for name, pod in self.pods.items()]
        return NaiveCluster(self.namespaces, pods, list(self.policies.values()))


def _named_ports(pod: Mapping[str, Any]) -> Iterator[NamedPort]:
    for port in pod["ports"]:
        yield NamedPort(port["name"], port["port"], Protocol[port["protocol"]])


def expected(case: Case, step: Mapping[str, Any], live: Live) -> list[Probe]:
    """Every connection that is judged after a step; worked out again where it depends on addresses that are not the nominal."""
    again = case.ip_dependent and bool(live.addresses)
    return [_again(live, probe) if again else probe for probe in _probes(step)]


def _probes(step: Mapping[str, Any]) -> Iterator[Probe]:
    names = [pod_name(text) for text in step["pods"]]
    for service, rows in step["expected"].items():
        protocol, _, port = service.partition("/")
        for source, row in zip(names, rows, strict=True):
            for destination, mark in zip(names, row, strict=True):
                if mark in "01":
                    yield Probe(source, destination, Protocol[protocol], int(port), mark == "1")


def _again(live: Live, probe: Probe) -> Probe:
    source, destination = str(live.address(probe.source)), str(live.address(probe.destination))
    allowed = allows(live.naive(), source, destination, probe.protocol.name, probe.port)
    return Probe(probe.source, probe.destination, probe.protocol, probe.port, allowed)
