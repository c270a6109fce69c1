"""The keys of the store, relative to its prefix, built and taken apart in one place. Pure.

    schema | topology | history
    restored                                            while the store recovers, and below it
    restored/<node>
    nodes/<node>
    blocks/<network>/<cidr>                             a CIDR is written 10.40.0.0_29
    reservations/<network>/<cidr>
    addresses/<network>/<ip>                            canonical text, RFC 5952
    attachments/<node>/<conf>/<container>/<ifname>
    endpoints/<namespace>/<pod>/<container>[:<ifname>]  "_"/"_" for an attachment without a pod
    pods/<namespace>/<pod>   namespaces/<name>   policies/<namespace or _>/<kind>/<name>
    receipts/<node>/<daemon>
    journal/<UTC ms>/<id>

No name in a key contains `/`; names from outside are checked before they come here, and `join` refuses one all the same.
Why it is laid out so: docs/adr/0004-key-layout.md.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from romana.errors import InvalidInput

__all__ = [
    "ADDRESSES",
    "ANONYMOUS",
    "ATTACHMENTS",
    "BLOCKS",
    "ENDPOINTS",
    "HISTORY",
    "JOURNAL",
    "NAMESPACES",
    "NODES",
    "PODS",
    "POLICIES",
    "RECEIPTS",
    "RESERVATIONS",
    "RESTORED",
    "RESTORED_NODES",
    "SCHEMA",
    "TOPOLOGY",
    "Address",
    "Network",
    "address",
    "attachment",
    "block",
    "endpoint",
    "join",
    "journal",
    "journal_time",
    "namespace",
    "node",
    "parse_address",
    "parse_block",
    "parse_reservation",
    "pod",
    "policy",
    "receipt",
    "reservation",
    "restored_node",
    "split",
]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SCHEMA = "schema"
HISTORY = "history"
RESTORED = "restored"
RESTORED_NODES = "restored/"
TOPOLOGY = "topology"
NODES = "nodes/"
BLOCKS = "blocks/"
RESERVATIONS = "reservations/"
ADDRESSES = "addresses/"
ATTACHMENTS = "attachments/"
ENDPOINTS = "endpoints/"
PODS = "pods/"
NAMESPACES = "namespaces/"
POLICIES = "policies/"
RECEIPTS = "receipts/"
JOURNAL = "journal/"

ANONYMOUS = "_"
"""Stands for namespace and pod of an attachment that the runtime named no pod for."""


def join(prefix: str, *parts: str) -> str:
    """The key below `prefix` with these parts; raises InvalidInput for a part that is empty or would be two."""
    for part in parts:
        if not part or "/" in part or "\0" in part:
            raise InvalidInput(f"{part!r} cannot be part of a key below {prefix}: it must be non-empty and without '/'")
    return prefix + "/".join(parts)


def split(prefix: str, key: str, parts: int) -> tuple[str, ...]:
    """The parts of a key below `prefix`; raises InvalidInput when there are not exactly that many."""
    found = tuple(key.removeprefix(prefix).split("/"))
    if not key.startswith(prefix) or len(found) != parts or not all(found):
        raise InvalidInput(f"key {key!r} is not {prefix} with {parts} parts")
    return found


def node(name: str) -> str:
    """Key of a node."""
    return join(NODES, name)


def block(network: str, cidr: Network) -> str:
    """Key of a block: `blocks/pods/10.40.0.0_29`."""
    return join(BLOCKS, network, str(cidr).replace("/", "_"))


def parse_block(key: str) -> tuple[str, Network]:
    """Network name and CIDR of a block's key."""
    return _parse_cidr(BLOCKS, key)


def reservation(network: str, cidr: Network) -> str:
    """Key of a reservation: `reservations/pods/10.40.0.0_29`."""
    return join(RESERVATIONS, network, str(cidr).replace("/", "_"))


def parse_reservation(key: str) -> tuple[str, Network]:
    """Network name and CIDR of a reservation's key."""
    return _parse_cidr(RESERVATIONS, key)


def _parse_cidr(prefix: str, key: str) -> tuple[str, Network]:
    network, text = split(prefix, key, 2)
    try:
        return network, ip_network(text.replace("_", "/"))
    except ValueError as err:
        raise InvalidInput(f"key {key!r}: {err}") from err


def address(network: str, ip: Address) -> str:
    """Key of an address: `addresses/pods/10.40.0.1`."""
    return join(ADDRESSES, network, str(ip))


def parse_address(key: str) -> tuple[str, Address]:
    """Network name and address of an address's key."""
    network, text = split(ADDRESSES, key, 2)
    try:
        return network, ip_address(text)
    except ValueError as err:
        raise InvalidInput(f"key {key!r}: {err}") from err


def attachment(node_name: str, conf: str, container_id: str, ifname: str) -> str:
    """Key of an attachment: the CNI key below its node."""
    return join(ATTACHMENTS, node_name, conf, container_id, ifname)


def endpoint(namespace_name: str, pod_name: str, container_id: str, ifname: str = "eth0") -> str:
    """Key of an endpoint; interfaces beside `eth0` carry their name, so that two attachments of a container never share a key."""
    container = container_id if ifname == "eth0" else f"{container_id}:{ifname}"
    return join(ENDPOINTS, namespace_name or ANONYMOUS, pod_name or ANONYMOUS, container)


def pod(namespace_name: str, pod_name: str) -> str:
    """Key of a Pod object."""
    return join(PODS, namespace_name, pod_name)


def namespace(name: str) -> str:
    """Key of a Namespace object."""
    return join(NAMESPACES, name)


def policy(namespace_name: str, kind: str, name: str) -> str:
    """Key of a policy; `namespace_name` is empty for kinds of the whole cluster."""
    return join(POLICIES, namespace_name or ANONYMOUS, kind, name)


def receipt(node_name: str, daemon: str) -> str:
    """Key of what a daemon of a node reports."""
    return join(RECEIPTS, node_name, daemon)


def journal(utc_ms: int, record_id: str) -> str:
    """Key of a journal record; 15 digits keep keys in the order of time until the year 33658."""
    return join(JOURNAL, f"{utc_ms:015d}", record_id)


def journal_time(key: str) -> int | None:
    """The UTC ms in the key of a journal record; None when it is no such key."""
    digits = key.removeprefix(JOURNAL).partition("/")[0]
    return int(digits) if key.startswith(JOURNAL) and digits.isdecimal() else None


def restored_node(name: str) -> str:
    """Key of how far a node is in the recovery of a restored store."""
    return join(RESTORED_NODES, name)
