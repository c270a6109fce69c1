"""ipset's messages as bytes and back. Pure. Source: linux/netfilter/ipset/ip_set.h, net/netfilter/ipset/ip_set_core.c.

Without NLM_F_EXCL adding what is there and deleting what is not are no errors. Many members go into one message (IPSET_ATTR_ADT);
the kernel stops at the first that it refuses and keeps what came before it.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

from policyd.ipset.codec import A_DATA, NESTED, NET_BYTEORDER, encode, split
from policyd.ipset.model import Family, Header, IpSet, Member, SetType
from romana.netlink.wire import CREATE, DUMP, Message, Reply, attribute, parse_attributes, text, u32

__all__ = [
    "add",
    "create",
    "delete",
    "destroy",
    "list_headers",
    "list_members",
    "parse_header",
    "parse_members",
    "parse_revision",
    "probe",
    "swap",
]

SUBSYSTEM = 6  # NFNL_SUBSYS_IPSET, linux/netfilter/nfnetlink.h
CREATE_SET, DESTROY_SET, SWAP, LIST, ADD, DELETE, TYPE = 2, 3, 6, 7, 9, 10, 13  # enum ipset_cmd
PROTOCOL_VERSION = 6  # IPSET_PROTOCOL_MIN: every kernel since 2.6.39 speaks it

# Attributes of a command, of a set or member, of creation, of a listed set
A_PROTOCOL, A_SETNAME, A_TYPENAME, A_REVISION, A_FAMILY, A_FLAGS, _, A_ADT, A_LINENO = range(1, 10)
HASHSIZE, MAXELEM = 18, 19
ELEMENTS, REFERENCES = 24, 25
FLAG_LIST_HEADER = 4  # IPSET_FLAG_LIST_HEADER

AF = {4: 2, 6: 10}  # AF_INET, AF_INET6
FAMILY_OF_AF: dict[int, Family] = {2: 4, 10: 6}

MAX_ELEMENTS = 1 << 21
"""A limit only: memory is taken as members come. The kernel's own default, 65,536, is too small for a whole cluster's pods."""
HASHSIZE_MIN, HASHSIZE_MAX = 64, 1 << 20  # ip_set_hash_gen.h IPSET_MIMINAL_HASHSIZE; buckets doubled one by one above
CHUNK_BYTES = 60_000  # an attribute's length is 16 bits

_NFGEN = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource id


def probe(kind: SetType, family: Family) -> Message:
    """Asks whether the kernel has this type; it answers ENOENT or a negative private error when not."""
    payload = _head(family) + attribute(A_TYPENAME, text(kind.value)) + attribute(A_FAMILY, bytes([AF[family]]))
    return Message(f"find set type {kind.value} for IPv{family}", _kind(TYPE), 0, payload)


def create(wanted: IpSet, size: int, revision: int) -> Message:
    """Makes an empty set, ready for `size` members; no error when one of that name and type is there."""
    buckets = min(max(HASHSIZE_MIN, 1 << (size // 2).bit_length()), HASHSIZE_MAX)
    data = attribute(HASHSIZE | NET_BYTEORDER, struct.pack(">I", buckets))
    data += attribute(MAXELEM | NET_BYTEORDER, struct.pack(">I", MAX_ELEMENTS))
    payload = _head(wanted.family, wanted.name) + attribute(A_TYPENAME, text(wanted.type.value))
    payload += attribute(A_REVISION, bytes([revision])) + attribute(A_FAMILY, bytes([AF[wanted.family]]))
    return Message(f"create set {wanted.name}", _kind(CREATE_SET), CREATE, payload + attribute(A_DATA | NESTED, data))


def add(name: str, family: Family, members: Iterable[Member]) -> Iterator[Message]:
    """Messages that put these into a set."""
    return _change("add to", ADD, name, family, members)


def delete(name: str, family: Family, members: Iterable[Member]) -> Iterator[Message]:
    """Messages that take these out of a set."""
    return _change("delete from", DELETE, name, family, members)


def destroy(name: str, family: Family) -> Message:
    """Removes a set that no rule uses."""
    return Message(f"destroy set {name}", _kind(DESTROY_SET), 0, _head(family, name))


def swap(first: str, second: str, family: Family) -> Message:
    """Exchanges the members of two sets of one type and family, at one stroke; rules keep to the names."""
    payload = _head(family, first) + attribute(A_TYPENAME, text(second))  # IPSET_ATTR_SETNAME2
    return Message(f"swap sets {first} and {second}", _kind(SWAP), 0, payload)


def list_headers() -> Message:
    """Lists all sets of the network namespace, anybody's, without members."""
    payload = _head(4) + attribute(A_FLAGS | NET_BYTEORDER, struct.pack(">I", FLAG_LIST_HEADER))
    return Message("list the sets", _kind(LIST), DUMP, payload)


def list_members(name: str, family: Family) -> Message:
    """Lists one set."""
    return Message(f"list set {name}", _kind(LIST), DUMP, _head(family, name))


def parse_header(reply: Reply) -> Header | None:
    """The set in an answer to `list_headers`; None when it is neither IPv4's nor IPv6's (a list of sets)."""
    found = parse_attributes(reply.payload[_NFGEN.size :])
    family = FAMILY_OF_AF.get(found.get(A_FAMILY, b"\0")[0])
    counts = parse_attributes(found.get(A_DATA, b""))
    if family is None:
        return None
    return Header(_text(found[A_SETNAME]), _text(found[A_TYPENAME]), family, _be32(counts[ELEMENTS]), _be32(counts[REFERENCES]))


def parse_members(replies: Sequence[Reply]) -> frozenset[bytes]:
    """The members in answers to `list_members`, undecoded; a large set comes in several."""
    containers = (parse_attributes(reply.payload[_NFGEN.size :]).get(A_ADT, b"") for reply in replies)
    return frozenset(member for container in containers for member in split(container))


def parse_revision(reply: Reply) -> int:
    """The newest revision of the type in an answer to `probe`."""
    return parse_attributes(reply.payload[_NFGEN.size :])[A_REVISION][0]


def _change(verb: str, command: int, name: str, family: Family, members: Iterable[Member]) -> Iterator[Message]:
    head = _head(family, name) + attribute(A_LINENO, u32(0))
    for chunk in _chunks(map(encode, members)):
        yield Message(f"{verb} set {name}", _kind(command), 0, head + attribute(A_ADT | NESTED, chunk))


def _chunks(encoded: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for one in encoded:
        if len(chunk) + len(one) > CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
        chunk += one
    if chunk:
        yield bytes(chunk)


def _head(family: Family, name: str = "") -> bytes:
    payload = _NFGEN.pack(AF[family], 0, 0) + attribute(A_PROTOCOL, bytes([PROTOCOL_VERSION]))
    return payload + (attribute(A_SETNAME, text(name)) if name else b"")


def _kind(command: int) -> int:
    return SUBSYSTEM << 8 | command


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("ascii", "replace")


def _be32(value: bytes) -> int:
    return int(struct.unpack(">I", value)[0])
