"""NetworkPolicy read word by word from the Kubernetes documentation, on raw JSON: the oracle of policyd's evaluator.

Slow and obvious on purpose, and without a line of ours. Quoted are the page "Network Policies" (concepts) and the API reference
of NetworkPolicy v1 ("API").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Json = Mapping[str, Any]


@dataclass
class NaivePod:
    """A pod that has its own network and runs; `ports` as in a container: name, port, protocol."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    ports: Sequence[Json] = ()
    addresses: Sequence[str] = ()


@dataclass
class NaiveCluster:
    """Labels of namespaces by name, pods, NetworkPolicy objects."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Sequence[NaivePod] = ()
    policies: Sequence[Json] = field(default_factory=list)


def allows(cluster: NaiveCluster, source: str, destination: str, protocol: str, port: int | None) -> bool:
    """Whether a connection between two addresses is allowed.

    "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod and the
    ingress policy on the destination pod need to allow the connection." """
    sender, receiver = pod_at(cluster, source), pod_at(cluster, destination)
    if sender is not None and sender is receiver:  # "A Pod cannot block access to itself."
        return True
    egress = sender is None or permits(cluster, sender, "Egress", receiver, destination, receiver, protocol, port)
    ingress = receiver is None or permits(cluster, receiver, "Ingress", sender, source, receiver, protocol, port)
    return egress and ingress


def pod_at(cluster: NaiveCluster, address: str) -> NaivePod | None:
    for pod in cluster.pods:
        if ip_address(address) in [ip_address(own) for own in pod.addresses]:
            return pod
    return None


def permits(
    cluster: NaiveCluster,
    pod: NaivePod,
    direction: str,
    peer: NaivePod | None,
    peer_address: str,
    receiver: NaivePod | None,
    protocol: str,
    port: int | None,
) -> bool:
    """ "By default, a pod is non-isolated [...]; all connections are allowed. A pod is isolated [...] if there is any
    NetworkPolicy that both selects the pod and has [the direction] in its policyTypes [...]. When a pod is isolated [...] the
    only allowed connections are those allowed by the [...] list of some NetworkPolicy that applies to the pod [...]. The
    effects of those lists combine additively." """
    isolated, allowed = False, False
    for policy in cluster.policies:
        spec = policy["spec"]
        if policy["metadata"]["namespace"] != pod.namespace or direction not in types(spec):
            continue
        if not selects(spec.get("podSelector") or {}, pod.labels):
            continue
        isolated = True
        field_name, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
        for rule in spec.get(field_name) or []:
            peer_fits = not rule.get(peers) or any(
                peer_matches(cluster, pod.namespace, entry, peer, peer_address) for entry in rule[peers]
            )
            port_fits = not rule.get("ports") or any(port_matches(entry, receiver, protocol, port) for entry in rule["ports"])
            allowed = allowed or (peer_fits and port_fits)
    return allowed or not isolated


def types(spec: Json) -> list[str]:
    """API: "If this field is not specified, it will default based on the existence of ingress or egress rules; policies that
    contain an egress section are assumed to affect egress, and all policies [...] are assumed to affect ingress." """
    if spec.get("policyTypes"):
        return list(spec["policyTypes"])
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """API, LabelSelector: "matchLabels and matchExpressions are ANDed. An empty label selector matches all objects." """
    for key, value in (selector.get("matchLabels") or {}).items():
        if key not in labels or labels[key] != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        meets = {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not meets[operator]:
            return False
    return True


def peer_matches(cluster: NaiveCluster, own_namespace: str, entry: Json, peer: NaivePod | None, peer_address: str) -> bool:
    """API, NetworkPolicyPeer: ipBlock alone, or podSelector in the policy's namespace, or all pods of the selected namespaces, or
    the selected pods of the selected namespaces. A selector that is "present but empty" selects all."""
    if entry.get("ipBlock") is not None:
        block, address = entry["ipBlock"], ip_address(peer_address)
        if address not in ip_network(block["cidr"], strict=False):
            return False
        return not any(address in ip_network(cidr, strict=False) for cidr in block.get("except") or [])
    if peer is None:
        return False
    namespaces, pods = entry.get("namespaceSelector"), entry.get("podSelector")
    if namespaces is None:
        return peer.namespace == own_namespace and selects(pods or {}, peer.labels)
    if peer.namespace not in cluster.namespaces or not selects(namespaces, cluster.namespaces[peer.namespace]):
        return False
    return pods is None or selects(pods, peer.labels)


def port_matches(entry: Json, receiver: NaivePod | None, protocol: str, port: int | None) -> bool:
    """API, NetworkPolicyPort: protocol "defaults to TCP"; port is "a numerical or named port on a pod. If this field is not
    provided, this matches all port names and numbers"; endPort: "the range of ports from port to endPort [...] allowed"."""
    if port is None or (entry.get("protocol") or "TCP") != protocol:
        return False
    wanted = entry.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        named = (
            [own for own in receiver.ports if own.get("name") == wanted and (own.get("protocol") or "TCP") == protocol]
            if receiver
            else []
        )
        return port in [own["port"] for own in named]
    return bool(wanted <= port <= (entry.get("endPort") or wanted))
