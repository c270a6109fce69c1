"""The transaction that writes again what a restored store has lost; the others are in `ipam.transactions`.

rewrite    attachment, endpoint absent; addresses, blocks, node as seen;     ->  addresses, attachment, endpoint;
           topology as seen where a block is claimed or moved                    blocks claimed or moved
"""

from collections.abc import Mapping, Sequence

from ipam import codec, codec_address
from ipam.commit import Txn, Write
from ipam.reasserting import Block
from ipam.records import AddressRecord, AttachmentRecord, BlockRecord, Share
from romana import keys
from romana.store.api import Compare, KeyValue, Put

__all__ = ["rewrite"]


def rewrite(
    attachment: AttachmentRecord,
    found: Mapping[str, KeyValue | None],
    blocks: Sequence[Block],
    shares: Sequence[Share],
    endpoint_key: str,
) -> Txn:
    """Write an attachment as it was granted; `found` has every key that it touches, as it was when this was decided.

    `blocks` and `shares` are of its addresses, in their order: what to do for the block, and whose it is on the node.
    """
    compares = [Compare.absent(attachment.id.key), Compare.absent(endpoint_key), _same(keys.node(attachment.id.node), found)]
    writes: list[Write] = [
        Put(attachment.id.key, codec_address.write_attachment(attachment)),
        Put(endpoint_key, codec_address.write_endpoint(attachment)),
    ]
    for address, block, share in zip(attachment.addresses, blocks, shares, strict=True):
        key, block_key = keys.address(address.network, address.ip), keys.block(address.network, address.block)
        record = AddressRecord(address.network, address.ip, address.block, attachment.id, attachment.pod, attachment.created_ms)
        compares += [_same(key, found), _same(block_key, found)]
        writes.append(Put(key, codec_address.write_address(record)))
        if block is not Block.OWN:
            compares.append(_same(keys.TOPOLOGY, found))
            owned = BlockRecord(address.network, address.block, attachment.id.node, attachment.node_uid, share)
            writes.append(Put(block_key, codec.write_block(owned)))
    return Txn(tuple(dict.fromkeys(compares)), tuple(dict.fromkeys(writes)))


def _same(key: str, found: Mapping[str, KeyValue | None]) -> Compare:
    item = found[key]
    return Compare.at(key, item.mod_revision if item else 0)
