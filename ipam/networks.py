"""Which networks a pod may take its address from. Pure.

Romana's order: the networks that name the pod's tenant, then those open to any, each in the order of the document. The tenant of
a pod is its namespace, as in Romana's Kubernetes listener.
"""

from ipam.topology.document import TopologyDocument

__all__ = ["networks_for"]


def networks_for(document: TopologyDocument, tenant: str) -> tuple[str, ...]:
    """Names of networks, to be tried in this order; `tenant` is empty for an attachment without a pod."""
    named = [network.name for network in document.networks if tenant in network.tenants]
    return (*named, *(network.name for network in document.networks if not network.tenants))
