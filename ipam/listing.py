"""Lists the attachments of a node, for its agent after a start and for people."""

from ipam.codec import parse
from romana import keys
from romana.store.api import Store
from romana.v1.store_pb2 import Attachment

__all__ = ["attachments_of"]


async def attachments_of(store: Store, node: str) -> tuple[int, list[Attachment]]:
    """The revision of the store, and the node's attachments at it, in the order of their keys; none for an unknown node.

    Raises Unavailable. A damaged one is logged, and comes with its key alone.
    """
    listing = await store.list(f"{keys.ATTACHMENTS}{node}/")
    found = [parse(Attachment, item) for item in listing.items]
    for message, item in zip(found, listing.items, strict=True):
        if not message.HasField("key"):
            _, key_node, conf, container_id, ifname = item.key.split("/")
            message.key.node, message.key.conf = key_node, conf
            message.key.container_id, message.key.ifname = container_id, ifname
    return listing.revision, found
