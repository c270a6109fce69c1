"""Whether what an attachment stands for still lives, from the store and the node's own word. Pure. Unknown counts as live.

no such node             an operator, or Kubernetes, has removed it: gone, unless its agent says that the interface is there,
                         or the Pod object says that the pod runs there
another incarnation      the same, and the agent that has the name now must say that the interface is not there
another boot             the agent says that it booted anew, and that the interface is not there: nothing outlives a boot
the same boot            the agent says that the interface is not there: gone, but an ADD of the same attachment may bring it
                         back without a write, so only the agent, which excludes ADDs, may give it back
"""

from dataclasses import dataclass
from enum import Enum

from ipam.check.finding import Fact, Presence
from ipam.check.snapshot import Snapshot
from ipam.records import PodId
from romana import keys

__all__ = ["Judged", "Life", "Presences", "judge"]

Presences = dict[str, Presence]
"""By name of the node, what its agent said after the snapshot was taken."""


class Life(Enum):
    """What is known."""

    LIVES = "nothing says that it is gone"
    NODE_GONE = "its node was removed"
    NODE_REPLACED = "its node is another incarnation now"
    BOOT_REPLACED = "its node has booted since"
    NO_INTERFACE = "it has no interface on its node"
    DOUBTED = "its node was removed or replaced, but something says that it lives, or nobody says that it does not"


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer and what it rests on."""

    life: Life
    facts: tuple[Fact, ...] = ()
    why: str = ""
    """Of DOUBTED, in words."""


def judge(
    snapshot: Snapshot,
    presences: Presences,
    node: str,
    host_interface: str,
    *,
    uid: str = "",
    boot_id: str = "",
    pod: PodId | None = None,
) -> Judged:
    """Of one host interface on a node; `uid` and `boot_id`: the incarnation and the boot that it is of, empty where not known."""
    kept, presence = snapshot.nodes.get(node), presences.get(node)
    node_fact = Fact(keys.node(node), kept.revision, f"uid {kept.value.uid}") if kept else Fact(keys.node(node), 0, "absent")
    there = presence is not None and host_interface in presence.interfaces
    word = _word(presence, host_interface, there=there)
    if kept is not None and (uid in {"", kept.value.uid} or not kept.value.uid):  # a node that cannot be read has none
        if presence is None or there:
            return Judged(Life.LIVES)
        life = Life.BOOT_REPLACED if boot_id and boot_id != presence.boot_id else Life.NO_INTERFACE
        return Judged(life, (node_fact, *word))
    facts = (node_fact, *_pod_fact(snapshot, pod), *word)
    if there:
        return Judged(Life.DOUBTED, facts, f"the agent of {node} has its interface")
    if _pod_runs(snapshot, pod, node):
        return Judged(Life.DOUBTED, facts, f"its Pod object says that it runs on {node}")
    if kept is not None and presence is None:
        return Judged(Life.DOUBTED, facts, f"the agent of {node} was not heard")
    return Judged(Life.NODE_GONE if kept is None else Life.NODE_REPLACED, facts)


def _word(presence: Presence | None, host_interface: str, *, there: bool) -> tuple[Fact, ...]:
    if presence is None:
        return ()
    said = f"boot {presence.boot_id}, interface {host_interface} {'is there' if there else 'is not there'}"
    return (Fact(f"agent of {presence.node}", 0, said),)


def _pod_fact(snapshot: Snapshot, pod: PodId | None) -> tuple[Fact, ...]:
    if pod is None:
        return ()
    key = keys.pod(pod.namespace, pod.name)
    kept = snapshot.pods.get(key)
    if kept is None:
        return (Fact(key, 0, "absent"),)
    return (Fact(key, kept.revision, f"uid {kept.value.uid}, node {kept.value.node}{', finished' * kept.value.finished}"),)


def _pod_runs(snapshot: Snapshot, pod: PodId | None, node: str) -> bool:
    """Whether the Pod object may be of this pod, on this node, and not finished; what it does not say speaks for life."""
    kept = snapshot.pods.get(keys.pod(pod.namespace, pod.name)) if pod else None
    if pod is None or kept is None or kept.value.finished:
        return False
    same = not pod.uid or not kept.value.uid or pod.uid == kept.value.uid
    return same and kept.value.node in {"", node}
