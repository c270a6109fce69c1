"""Makes what should never be: each function damages a store in one way, past ipamd, as a bug, an old backup or a person would."""

from romana import keys
from romana.store.api import Delete, Put, Store
from romana.v1 import store_pb2
from tests.ipamd import attachment

__all__ = ["endpoint_key", "forget", "key", "lose_attachment", "replace_node", "stray_endpoint"]


def key(node: str, container: str) -> str:
    """Of an attachment."""
    return keys.attachment(node, "romana", container, "eth0")


def endpoint_key(container: str) -> str:
    """Of the endpoint of an attachment without a pod."""
    return keys.endpoint("", "", container)


async def forget(store: Store, *names: str) -> None:
    """Delete keys."""
    await store.txn([], [Delete(name) for name in names])


async def replace_node(store: Store, name: str, uid: str) -> None:
    """Another incarnation has the name, and what the old one had is still there."""
    item = await store.get(keys.node(name))
    assert item is not None
    node = store_pb2.Node.FromString(item.value)
    node.uid = uid
    await store.txn([], [Put(item.key, node.SerializeToString())])


async def lose_attachment(store: Store, node: str, container: str) -> None:
    """The address is held, and nobody has it; the endpoint is there, too."""
    await forget(store, key(node, container))


async def stray_endpoint(store: Store, node: str, container: str, ip: str) -> None:
    """An endpoint that belongs to nobody."""
    name = attachment(node, container)
    from romana.names import host_interface

    value = store_pb2.Endpoint(
        addresses=[ip], node=node, host_interface=host_interface(name.node, name.conf, name.container_id, name.ifname)
    )
    await store.txn([], [Put(endpoint_key(container), value.SerializeToString())])
