"""Objects into the store and out of it: the only writer of them beside the kube mirror.

objects --> refused as a whole? --> Namespaces first, then the rest, one transaction each --> what was written, for receipts
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from romana import keys
from romana.errors import Fault, InvalidInput, NotFound, Refused
from romana.objects.kinds import NAMESPACE, POD, Kind
from romana.objects.manifest import Identity
from romana.objects.models import Object, PodObject
from romana.objects.namespaces import delete_namespace, ensure_namespace
from romana.objects.places import BUILT_IN_NAMESPACES, key_of, watched
from romana.objects.pod_objects import check_pod
from romana.objects.records import is_mirrored, kind_and_place, refuse_mirrored, value_over
from romana.objects.writing import Action, Written, remove, write
from romana.store.api import KeyValue, Store
from romana.store.limits import MAX_BYTES
from romana.v1.store_pb2 import Pod

__all__ = ["Applied", "apply_objects", "apply_pod", "delete_object", "delete_pod", "refuse_mirrored_cluster"]

VALUE_MAX = MAX_BYTES - 4096  # room for keys and compares in the same transaction


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one object, and per watched prefix the revision that nodes have to reach for it to be in force."""

    kind: Kind
    namespace: str
    name: str
    action: Action
    revisions: Mapping[str, int] = field(default_factory=dict)


async def apply_objects(store: Store, objects: Sequence[Object], *, dry_run: bool = False) -> AsyncIterator[Applied]:
    """Write objects, each as a whole; what is refused is found out before the first is written.

    Namespaces come first, so that a manifest may hold them in any order. Applied again, it changes nothing."""
    await refuse_mirrored_cluster(store)
    _refuse_huge(objects)
    await _refuse_homeless(store, objects)
    if not dry_run:
        for name in BUILT_IN_NAMESPACES:
            await ensure_namespace(store, name)
    for value in sorted(objects, key=lambda value: kind_and_place(value)[0] is not NAMESPACE):
        yield await (_plan(store, value) if dry_run else _apply(store, value))


async def apply_pod(store: Store, wanted: PodObject) -> tuple[Pod, bool]:
    """Write a Pod object that comes from no manifest; gives it as stored, with its uid, and whether that changed anything."""
    check_pod(wanted)
    written = await _write(store, wanted)
    return Pod.FromString(written.value), written.action is not Action.UNCHANGED


async def delete_object(store: Store, identity: Identity) -> Applied:
    """Delete an object, a namespace with all in it; raises NotFound in the API's words. No address is released: DEL does."""
    kind, namespace, name = identity.kind, identity.namespace, identity.name
    if kind is NAMESPACE:
        return Applied(kind, "", name, Action.DELETED, await delete_namespace(store, name))

    def check(item: KeyValue) -> None:
        refuse_mirrored(kind, name, item)

    written = await remove(store, key_of(kind, namespace, name), f'{kind.resource} "{name}" not found', check)
    return Applied(kind, namespace, name, Action.DELETED, {watched(kind, namespace): written.revision})


async def delete_pod(store: Store, namespace: str, name: str) -> bool:
    """Delete a Pod object; False when there was none."""
    try:
        await delete_object(store, Identity(POD, namespace, name))
    except NotFound:
        return False
    return True


async def refuse_mirrored_cluster(store: Store) -> None:
    """Raise Refused where romana-kube mirrors a cluster's objects: kube-system is there in every cluster."""
    if is_mirrored(NAMESPACE, await store.get(keys.namespace("kube-system"))):
        raise Refused("the objects here are mirrored from a Kubernetes cluster: change them there, with kubectl")


async def _apply(store: Store, value: Object) -> Applied:
    kind, namespace, name = kind_and_place(value)
    written = await _write(store, value)
    return Applied(kind, namespace, name, written.action, {watched(kind, namespace): written.revision})


async def _write(store: Store, value: Object) -> Written:
    kind, namespace, name = kind_and_place(value)

    def over(current: KeyValue | None) -> bytes:
        refuse_mirrored(kind, name, current)
        return value_over(value, current)

    return await write(store, key_of(kind, namespace, name), over, namespace)


async def _plan(store: Store, value: Object) -> Applied:
    kind, namespace, name = kind_and_place(value)
    current = await store.get(key_of(kind, namespace, name))
    if current is None:
        return Applied(kind, namespace, name, Action.CREATED)
    refuse_mirrored(kind, name, current)
    same = value_over(value, current) == current.value
    return Applied(kind, namespace, name, Action.UNCHANGED if same else Action.CONFIGURED)


def _refuse_huge(objects: Iterable[Object]) -> None:
    faults = []
    for value in objects:
        kind, namespace, name = kind_and_place(value)
        size = len(value_over(value, None))
        if size > VALUE_MAX:
            text = f"has {size} bytes; etcd takes no more than {VALUE_MAX} at once"
            faults.append(Fault(f"{kind.singular}/{name}" + (f" in {namespace}" if namespace else ""), text))
    if faults:
        raise InvalidInput("the manifest is too large for the store:", faults)


async def _refuse_homeless(store: Store, objects: Iterable[Object]) -> None:
    """Raise Refused, in the API's words, for objects of namespaces that neither exist nor come with them."""
    places = [kind_and_place(value) for value in objects]
    known = {name for kind, _, name in places if kind is NAMESPACE} | set(BUILT_IN_NAMESPACES)
    wanted = sorted({namespace for _, namespace, _ in places if namespace} - known)
    missing = [name for name in wanted if await store.get(keys.namespace(name)) is None]
    if missing:
        raise Refused("nothing is applied:", [Fault("", f'namespaces "{name}" not found') for name in missing])
