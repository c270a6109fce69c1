"""Namespaces in the store, and their deletion with all that is in them."""

from collections.abc import Sequence

from romana import keys
from romana.errors import Ambiguous, Conflict, NotFound, Refused
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD
from romana.objects.models import NamespaceObject
from romana.objects.places import UNDELETABLE_NAMESPACES, contents, watched
from romana.objects.records import refuse_mirrored, value_over
from romana.objects.writing import ATTEMPTS, Written, deletion_revision, remove, write
from romana.store.api import Compare, CompareField, CompareOp, Delete, KeyValue, Store

__all__ = ["delete_namespace", "ensure_namespace"]

PAGE = 100  # keys in a transaction; etcd takes 128 operations
ROUNDS = 20  # for as long as somebody goes on adding objects


async def ensure_namespace(store: Store, name: str) -> Written:
    """Make a Namespace object unless it exists; an existing one stays as it is."""
    wanted = NamespaceObject(name)
    return await write(store, keys.namespace(name), lambda current: current.value if current else value_over(wanted, None))


async def delete_namespace(store: Store, name: str) -> dict[str, int]:
    """Delete a namespace after its pods and policies; gives per watched prefix the revision of its last deletion.

    Killed half-way it leaves the namespace, and a repetition goes on. Until the namespace itself is gone, others may still add
    to it; its own deletion compares that nothing is left."""
    key = keys.namespace(name)
    if name in UNDELETABLE_NAMESPACES:
        raise Refused(f'namespaces "{name}" is forbidden: this namespace may not be deleted')
    current = await store.get(key)
    if current is None:
        raise NotFound(f'namespaces "{name}" not found')
    refuse_mirrored(NAMESPACE, name, current)
    pods, policies = contents(name)
    revisions = {watched(POD, name): 0, watched(NETWORK_POLICY, name): 0}
    empty = [Compare(prefix, CompareField.CREATE, CompareOp.EQUAL, 0, prefix=True) for prefix in (pods, policies)]
    for _ in range(ROUNDS):
        for prefix, place in zip((pods, policies), revisions, strict=True):
            revisions[place] = max(revisions[place], await _clear(store, prefix))
        try:
            written = await remove(store, key, f'namespaces "{name}" not found', lambda _: None, only_if=empty)
        except Conflict:
            continue
        return {prefix: revision for prefix, revision in {**revisions, keys.NAMESPACES: written.revision}.items() if revision}
    raise Conflict(f"namespace {name} is not deleted: somebody goes on adding pods or policies to it")


async def _clear(store: Store, prefix: str) -> int:
    """Delete everything below a prefix, page by page; the revision of the last deletion, 0 when there was nothing."""
    last = 0
    for _ in range(ROUNDS):
        items = (await store.list(prefix)).items
        if not items:
            break
        for start in range(0, len(items), PAGE):
            last = max(last, await _delete_page(store, items[start : start + PAGE]))
    return last


async def _delete_page(store: Store, page: Sequence[KeyValue]) -> int:
    """Delete keys in one transaction; 0 when the first one was changed meanwhile, so that they must be listed again."""
    first = page[0]
    lost: Ambiguous | None = None
    for _ in range(ATTEMPTS):
        try:
            # The compare makes sure that something is deleted: else the revision would be none of this prefix.
            result = await store.txn([Compare.unchanged(first)], [Delete(item.key) for item in page])
        except Ambiguous as err:
            lost = err
            if await store.get(first.key) is None:
                return await deletion_revision(store, first)
            continue
        return result.revision if result.succeeded else 0
    raise lost or Conflict(f"{first.key} is being changed by somebody else again and again")
