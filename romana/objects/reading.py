"""Objects of the store as the API's documents."""

from collections import defaultdict
from typing import Any

from romana import keys
from romana.errors import NotFound
from romana.objects.kinds import NAMESPACE, POD, Kind
from romana.objects.places import key_of, listed
from romana.objects.records import document
from romana.store.api import KeyValue, Store
from romana.v1.store_pb2 import Endpoint

__all__ = ["list_objects", "read_object"]


async def read_object(store: Store, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
    """One object; raises NotFound in the API's words."""
    place = "" if kind is NAMESPACE else namespace
    item = await store.get(key_of(kind, place, name))
    if item is None:
        raise NotFound(f'{kind.resource} "{name}" not found')
    endpoints = await store.list(keys.join(keys.ENDPOINTS, namespace, name) + "/") if kind is POD else None
    return document(kind, place, name, item, map(_endpoint, endpoints.items if endpoints else ()))


async def list_objects(store: Store, kind: Kind, namespace: str | None) -> list[dict[str, Any]]:
    """All objects of a kind in a namespace, or in all of them, by namespace and name."""
    items = (await store.list(listed(kind, namespace))).items
    endpoints: dict[tuple[str, ...], list[Endpoint]] = defaultdict(list)
    if kind is POD and items:
        below = keys.ENDPOINTS if namespace is None else keys.join(keys.ENDPOINTS, namespace) + "/"
        for item in (await store.list(below)).items:
            endpoints[keys.split(keys.ENDPOINTS, item.key, 3)[:2]].append(_endpoint(item))
    return [document(kind, *place, item, endpoints.get(place, ())) for item in items for place in [_place(kind, item.key)]]


def _place(kind: Kind, key: str) -> tuple[str, str]:
    """Namespace and name of a key."""
    *before, name = key.split("/")
    return ("", name) if kind is NAMESPACE else (before[1], name)


def _endpoint(item: KeyValue) -> Endpoint:
    return Endpoint.FromString(item.value)
