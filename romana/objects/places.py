"""Where objects lie in the store, and which prefix a receipt names for them. Pure."""

from romana import keys
from romana.objects.kinds import NAMESPACE, POD, Kind

__all__ = ["BUILT_IN_NAMESPACES", "UNDELETABLE_NAMESPACES", "contents", "key_of", "listed", "watched"]

BUILT_IN_NAMESPACES = ("default", "kube-system")
UNDELETABLE_NAMESPACES = ("default", "kube-system", "kube-public")  # NamespaceLifecycle, immortalNamespaces


def key_of(kind: Kind, namespace: str, name: str) -> str:
    """The key of an object; `namespace` is empty for kinds of the whole cluster."""
    if kind is NAMESPACE:
        return keys.namespace(name)
    return keys.pod(namespace, name) if kind is POD else keys.policy(namespace, kind.name, name)


def listed(kind: Kind, namespace: str | None) -> str:
    """The prefix of all objects of a kind in a namespace, or in all of them."""
    if kind is NAMESPACE:
        return keys.NAMESPACES
    if kind is POD:
        return keys.PODS if namespace is None else keys.join(keys.PODS, namespace) + "/"
    return keys.POLICIES if namespace is None else keys.join(keys.POLICIES, namespace, kind.name) + "/"


def watched(kind: Kind, namespace: str) -> str:
    """The prefix that nodes watch for an object and name in their receipts: of pods, those of the namespaces in their scope."""
    if kind is NAMESPACE:
        return keys.NAMESPACES
    return listed(POD, namespace) if kind is POD else keys.POLICIES


def contents(namespace: str) -> tuple[str, ...]:
    """The prefixes of all that goes with a namespace: pods first, so that none is seen without the policies that isolate it."""
    return listed(POD, namespace), keys.join(keys.POLICIES, namespace) + "/"
