"""The whole cluster as the store holds it now, for commands that ask about policy."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from policyd import records
from policyd.cluster import Cluster
from romana import keys
from romana.errors import InvalidInput
from romana.store.api import KeyValue, Store

__all__ = ["read_cluster"]

Value = TypeVar("Value")


async def read_cluster(store: Store) -> Cluster:
    """Namespaces, pods, endpoints and policies; records that cannot be read count as absent, as they do for policyd."""
    prefixes = (keys.NAMESPACES, keys.PODS, keys.ENDPOINTS, keys.POLICIES)
    namespaces, pods, endpoints, policies = [(await store.list(prefix)).items for prefix in prefixes]
    return Cluster.of(
        _read(namespaces, records.read_namespace),
        _read(pods, records.read_pod),
        _read(endpoints, records.read_endpoint),
        (policy for item in policies if (policy := records.read_policy(item)) is not None),
    )


def _read(items: Iterable[KeyValue], read: Callable[[KeyValue], Value]) -> Iterator[Value]:
    for item in items:
        try:
            yield read(item)
        except InvalidInput:
            continue
