"""An act of a client as a request of the API. No I/O."""

from dataclasses import dataclass
from random import Random

from romana import keys
from romana.bench.hammer.draws import Act, Kind
from romana.bench.hammer.nodes import Nodes
from romana.bench.hammer.world import pods
from romana.v1 import ipam_pb2, store_pb2

__all__ = ["Asked", "attachment_key", "request"]

CONF = "hammer"
PODS = {(pod.namespace, pod.name): pod for pod in pods()}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for."""

    key: str
    """The attachment's key in the store."""
    request: ipam_pb2.AllocateRequest
    ip: str = ""
    """The address that its pod asks for."""


def request(act: Act, index: int, container: str, nodes: Nodes, random: Random) -> Asked:
    """A new attachment; the one of a batch with that index."""
    node = nodes.at(act.node)
    attachment = store_pb2.AttachmentKey(node=node.spec.name, conf=CONF, container_id=container, ifname="eth0")
    wanted = ipam_pb2.AllocateRequest(attachment=attachment, boot_id=f"boot-{random.randrange(3)}")
    wanted.node_uid = node.uid if act.fenced else ""
    tenant, name = (
        (act.tenant, f"pod-{(act.pod + index) % 4}") if act.kind is not Kind.FIXED else ("default", f"fixed-{act.fixed}")
    )
    if tenant:
        wanted.pod.namespace, wanted.pod.name = tenant, name
    pod = PODS.get((tenant, name))
    return Asked(attachment_key(attachment), wanted, str(pod.ip) if pod and pod.ip else "")


def attachment_key(key: store_pb2.AttachmentKey) -> str:
    """Its key in the store."""
    return keys.attachment(key.node, key.conf, key.container_id, key.ifname)
