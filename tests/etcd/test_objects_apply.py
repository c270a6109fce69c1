"""Objects in the store, in memory and on a real etcd: whole, idempotent, refused as a whole."""

import json
from collections.abc import Sequence

import pytest

from romana.errors import Ambiguous, Conflict, InvalidInput, NotFound, Refused
from romana.objects import applying
from romana.objects.applying import Applied, apply_objects, apply_pod, delete_object, delete_pod
from romana.objects.kinds import NAMESPACE, NETWORK_POLICY, POD
from romana.objects.manifest import Identity, parse
from romana.objects.models import NamespaceObject, Object, PodObject, PolicyObject, Port
from romana.objects.namespaces import ensure_namespace
from romana.objects.reading import list_objects, read_object
from romana.objects.writing import Action
from romana.store.api import Delete, Put, Store
from romana.store.memory import MemoryStore
from romana.v1.store_pb2 import SOURCE_APPLY, SOURCE_KUBE, Endpoint, Namespace, Pod, Policy

POLICY = PolicyObject("default", "p", {"podSelector": {}, "policyTypes": ["Ingress"]}, {"a": "b"})
OTHER = PolicyObject("default", "p", {"podSelector": {"matchLabels": {"x": "y"}}, "policyTypes": ["Egress"]})
WEB = PodObject("default", "web", {"app": "web"}, (Port(80, "TCP", "http"),), "node-1", True, {"romana.io/x": "y"})


async def applied(store: Store, *objects: Object, dry_run: bool = False) -> list[Applied]:
    """What became of objects."""
    return [one async for one in apply_objects(store, objects, dry_run=dry_run)]


def actions(found: Sequence[Applied]) -> list[str]:
    """The actions alone."""
    return [one.action.value for one in found]


async def revision(store: Store, key: str) -> int:
    """mod_revision of a key that is there."""
    item = await store.get(key)
    assert item is not None
    return item.mod_revision


async def test_a_policy_is_stored_defaulted_under_its_key(store: Store) -> None:
    (one,) = await applied(store, POLICY)
    item = await store.get("policies/default/NetworkPolicy/p")
    assert item is not None
    record = Policy.FromString(item.value)
    stored = json.loads(record.object)
    assert (record.source, stored["apiVersion"], stored["spec"]) == (SOURCE_APPLY, "networking.k8s.io/v1", POLICY.spec)
    assert {**stored["metadata"], "uid": ""} == {"name": "p", "namespace": "default", "labels": {"a": "b"}, "uid": ""}
    assert (one.action, one.revisions) == (Action.CREATED, {"policies/": item.mod_revision})


async def test_applied_again_nothing_is_written_and_the_revision_is_that_of_the_object(store: Store) -> None:
    objects = (NamespaceObject("team", {"a": "b"}), WEB, POLICY)
    first = await applied(store, *objects)
    before = await store.list("")
    again = await applied(store, *objects)
    assert (actions(first), actions(again)) == (["created"] * 3, ["unchanged"] * 3)
    assert [one.revisions for one in again] == [one.revisions for one in first]
    assert (await store.list("")).items == before.items


async def test_an_object_is_replaced_as_a_whole_and_keeps_its_uid(store: Store) -> None:
    await applied(store, POLICY, WEB)
    before = [await read_object(store, NETWORK_POLICY, "default", "p"), await read_object(store, POD, "default", "web")]
    assert actions(await applied(store, OTHER, PodObject("default", "web"))) == ["configured", "configured"]
    after = [await read_object(store, NETWORK_POLICY, "default", "p"), await read_object(store, POD, "default", "web")]
    assert [one["metadata"]["uid"] for one in after] == [one["metadata"]["uid"] for one in before]
    assert ("labels" in after[0]["metadata"], after[0]["spec"]) == (False, OTHER.spec)
    assert (after[1]["spec"], after[1]["metadata"].keys()) == ({}, {"name", "namespace", "uid", "resourceVersion"})


async def test_revisions_name_the_prefix_that_nodes_watch(store: Store) -> None:
    found = await applied(store, PodObject("team", "p"), NamespaceObject("team"), POLICY)
    assert [(one.kind, list(one.revisions)) for one in found] == [
        (NAMESPACE, ["namespaces/"]),
        (POD, ["pods/team/"]),
        (NETWORK_POLICY, ["policies/"]),
    ]


async def test_a_namespace_gets_the_label_with_its_name_and_default_is_there(store: Store) -> None:
    await applied(store, NamespaceObject("team", {"a": "b"}))
    found = {row["metadata"]["name"]: row["metadata"]["labels"] for row in await list_objects(store, NAMESPACE, None)}
    assert found == {
        "default": {"kubernetes.io/metadata.name": "default"},
        "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
        "team": {"a": "b", "kubernetes.io/metadata.name": "team"},
    }


async def test_into_an_absent_namespace_nothing_of_the_manifest_is_applied(store: Store) -> None:
    with pytest.raises(Refused, match='namespaces "nosuch" not found'):
        await applied(store, POLICY, PolicyObject("nosuch", "p", POLICY.spec))
    assert (await store.list("")).items == ()
    with pytest.raises(Refused, match='namespaces "nosuch" not found'):
        await apply_pod(store, PodObject("nosuch", "p"))


async def test_a_dry_run_tells_and_writes_nothing(store: Store) -> None:
    assert actions(await applied(store, POLICY, NamespaceObject("team"), PodObject("team", "p"), dry_run=True)) == ["created"] * 3
    assert (await store.list("")).items == ()
    await applied(store, POLICY)
    assert actions(await applied(store, POLICY, dry_run=True)) == ["unchanged"]
    assert actions(await applied(store, OTHER, dry_run=True)) == ["configured"]
    assert (await read_object(store, NETWORK_POLICY, "default", "p"))["spec"] == POLICY.spec


async def test_what_is_too_large_for_etcd_is_refused_before_anything_is_written(store: Store) -> None:
    huge = PolicyObject("default", "huge", POLICY.spec, annotations={f"k{index}": "x" * 1000 for index in range(1000)})
    with pytest.raises(InvalidInput, match="huge in default: has 10"):
        await applied(store, POLICY, huge)
    assert (await store.list("")).items == ()


async def test_what_kubernetes_mirrors_is_refused(store: Store) -> None:
    mirrored = Policy(object=b"{}", source=SOURCE_KUBE).SerializeToString()
    await store.txn([], [Put("policies/default/NetworkPolicy/p", mirrored)])
    for work in (applied(store, POLICY), applied(store, POLICY, dry_run=True)):
        with pytest.raises(Refused, match="mirrored from Kubernetes"):
            await work
    with pytest.raises(Refused, match="mirrored from Kubernetes"):
        await delete_object(store, Identity(NETWORK_POLICY, "default", "p"))
    await store.txn([], [Put("namespaces/kube-system", Namespace(source=SOURCE_KUBE).SerializeToString())])
    with pytest.raises(Refused, match="with kubectl"):
        await applied(store, WEB)


@pytest.mark.parametrize("damaged", [b"\xff", Policy(object=b"[").SerializeToString(), Policy(object=b"3").SerializeToString()])
async def test_a_damaged_key_is_named_and_mended_by_applying(store: Store, damaged: bytes) -> None:
    key = "policies/default/NetworkPolicy/p"
    await store.txn([], [Put(key, damaged)])
    with pytest.raises(Exception, match=key):
        await list_objects(store, NETWORK_POLICY, None)
    assert actions(await applied(store, POLICY)) == ["configured"]
    assert (await read_object(store, NETWORK_POLICY, "default", "p"))["spec"] == POLICY.spec


async def test_what_is_read_can_be_applied_again_without_change(store: Store) -> None:
    await applied(store, NamespaceObject("team", {"a": "b"}), WEB, POLICY)
    kinds = (NAMESPACE, POD, NETWORK_POLICY)
    documents = [document for kind in kinds for document in await list_objects(store, kind, None)]
    manifest = parse(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}).encode(), strict=True)
    found = await applied(store, *manifest.objects)
    assert actions(found) == ["unchanged"] * 5


async def test_a_pod_is_read_with_the_addresses_that_are_its_own(store: Store) -> None:
    stored, changed = await apply_pod_in_default(store)
    own, old = Endpoint(addresses=["10.0.0.1"], pod_uid=stored.uid), Endpoint(addresses=["10.0.0.2"], pod_uid="another")
    names = {"endpoints/default/web/c1": own, "endpoints/default/web/c2": old, "endpoints/default/web2/c3": own}
    await store.txn([], [Put(key, end.SerializeToString()) for key, end in names.items()])
    for document in (await read_object(store, POD, "default", "web"), *(await list_objects(store, POD, "default"))):
        assert document["status"] == {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
        assert document["spec"]["containers"][0]["ports"] == [{"name": "http", "containerPort": 80, "protocol": "TCP"}]
    assert changed
    assert (await list_objects(store, POD, "other"), await list_objects(store, POD, "defaul")) == ([], [])


async def apply_pod_in_default(store: Store) -> tuple[Pod, bool]:
    """WEB, as the lab stores it."""
    await ensure_namespace(store, "default")
    return await apply_pod(store, WEB)


async def test_a_pod_that_comes_from_no_manifest_is_checked_and_stored(store: Store) -> None:
    stored, changed = await apply_pod_in_default(store)
    again, changed_again = await apply_pod(store, WEB)
    assert (stored == again, changed, changed_again) == (True, True, False)
    with pytest.raises(InvalidInput):
        await apply_pod(store, PodObject("default", "Web"))
    assert [await delete_pod(store, "default", "web") for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (Identity(POD, "default", "x"), 'pods "x" not found'),
        (Identity(NETWORK_POLICY, "default", "x"), r'networkpolicies\.networking\.k8s\.io "x" not found'),
        (Identity(NAMESPACE, "", "x"), 'namespaces "x" not found'),
    ],
)
async def test_what_is_not_there_is_named_in_the_words_of_the_api(store: Store, identity: Identity, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        await delete_object(store, identity)
    with pytest.raises(NotFound, match=words):
        await read_object(store, identity.kind, identity.namespace, identity.name)


async def test_a_deletion_tells_its_own_revision(store: Store) -> None:
    await applied(store, POLICY, WEB)
    before = (await store.list("")).revision
    one = await delete_object(store, Identity(NETWORK_POLICY, "default", "p"))
    assert (one.action, one.revisions) == (Action.DELETED, {"policies/": before + 1})
    assert await store.get("policies/default/NetworkPolicy/p") is None


@pytest.mark.parametrize("was_applied", [True, False])
async def test_a_lost_answer_to_a_write_is_settled_by_reading_back(was_applied: bool) -> None:
    store = MemoryStore()
    await ensure_namespace(store, "default")
    store.lose_next_answer(was_applied)
    _, changed = await apply_pod(store, WEB)
    assert changed
    assert len((await store.list("pods/")).items) == 1
    for _ in range(2):
        store.lose_next_answer(was_applied)
    assert actions([await applying._apply(store, POLICY)]) == ["created"]


@pytest.mark.parametrize("was_applied", [True, False])
async def test_a_lost_answer_to_a_deletion_still_tells_its_revision(was_applied: bool) -> None:
    store = MemoryStore()
    await applied(store, POLICY)
    before = await revision(store, "policies/default/NetworkPolicy/p")
    store.lose_next_answer(was_applied)
    one = await delete_object(store, Identity(NETWORK_POLICY, "default", "p"))
    assert one.revisions == {"policies/": before + 1}


async def test_answers_that_are_always_lost_leave_it_open() -> None:
    store = MemoryStore()
    await ensure_namespace(store, "default")
    for _ in range(20):
        store.lose_next_answer(applied=False)
    with pytest.raises(Ambiguous):
        await apply_pod(store, WEB)
    with pytest.raises(NotFound):
        await delete_object(store, Identity(POD, "default", "web"))


class Racing(MemoryStore):
    """A store in which somebody else is always a little quicker: `rival` runs before each transaction."""

    def __init__(self, rival: list[list[Put | Delete]]) -> None:
        super().__init__()
        self.rival = rival

    async def txn(self, compares, success, failure=()):  # type: ignore[no-untyped-def]
        if self.rival:
            self.write(self.rival.pop(0))
        return await super().txn(compares, success, failure)


def pods(*phases: str) -> list[list[Put | Delete]]:
    """Writes of the pod by somebody else."""
    return [[Put("pods/default/web", Pod(phase=phase, uid="1").SerializeToString())] for phase in phases]


async def test_a_rival_is_read_again_and_overwritten() -> None:
    store = Racing([])
    await ensure_namespace(store, "default")
    store.rival = pods("a", "b")
    stored, changed = await apply_pod(store, WEB)
    assert (stored.uid, stored.phase, changed) == ("1", "", True)
    store.rival = pods("c")
    assert await delete_pod(store, "default", "web")


async def test_a_namespace_deleted_meanwhile_is_not_written_into() -> None:
    store = Racing([])
    await ensure_namespace(store, "team")
    store.rival = [[Delete("namespaces/team")]]
    with pytest.raises(Refused, match='namespaces "team" not found'):
        await apply_pod(store, PodObject("team", "p"))
    assert (await store.list("pods/")).items == ()


async def test_an_endless_rival_is_a_conflict() -> None:
    store = Racing([])
    await ensure_namespace(store, "default")
    store.rival = pods(*map(str, range(20)))
    with pytest.raises(Conflict):
        await apply_pod(store, WEB)
    with pytest.raises(Conflict):
        await delete_pod(store, "default", "web")
    store.rival = [*pods("x"), [Delete("pods/default/web")]]
    assert not await delete_pod(store, "default", "gone")
