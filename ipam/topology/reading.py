"""The topology document from bytes: structure, each field, then what holds between them. Pure.

bytes --text--> tree --here--> drafts and groups, faults --checks--> more faults --> TopologyDocument, or all faults at once
"""

import re
from collections.abc import Mapping

from ipam.topology import syntax
from ipam.topology.checks import (
    NetworkDraft,
    assignment_faults,
    carving_faults,
    dual_faults,
    host_faults,
    network_faults,
    reference_faults,
    reserved_faults,
    sibling_faults,
    stray_faults,
    unused_faults,
)
from ipam.topology.document import Group, Host, NetworkSpec, Topology, TopologyDocument, normalised
from ipam.topology.fields import Fields, at_key
from ipam.topology.text import Pairs, Tree, parse_text
from romana.errors import Fault, InvalidInput

__all__ = ["read_document"]

BLOCK_MASK_DEFAULT = {4: 29, 6: 125}  # Romana's 8 addresses a block

_DOCUMENT_KEYS = ("networks", "topologies")
_NETWORK_KEYS = ("name", "cidr", "block_mask", "tenants", "owner", "reserved", "cooldown_s", "dual", "fallback")
_TOPOLOGY_KEYS = ("networks", "map")
_GROUP_KEYS = ("name", "assignment", "routing", "groups", "weight", "cidr")
_HOST_KEYS = ("name", "ip")

_CIDR_OF_MEMBER = re.compile(r"(.+)\[\d+\]\.cidr(\[\d+\])?")

COOLDOWN_MAX_S = 86_400
NORMALISED_MAX_BYTES = 800_000  # of the 1,000,000 of a transaction (romana/store/limits.py): nodes are placed in the same one
WEIGHT_MAX = 1 << 16


def read_document(raw: bytes) -> TopologyDocument:
    """The document that JSON or YAML describes; raises one InvalidInput that lists every fault with its path."""
    faults: list[Fault] = []
    fields = Fields(parse_text(raw), "", "the document", _DOCUMENT_KEYS, faults)
    drafts = [_network(tree, path, faults) for path, tree in fields.items("networks", "networks")]
    faults += [*network_faults(drafts), *dual_faults(drafts)]
    for draft in drafts:
        faults += reserved_faults(draft)
    reader = _TopologyReader({draft.name: draft for draft in reversed(drafts) if draft.name is not None}, faults)
    topologies = tuple(reader.topology(tree, path) for path, tree in fields.items("topologies", "topologies"))
    # A network that is faulty itself, or is missed where topologies are, is told of once.
    faulty = {fault.path.partition("]")[0] + "]" for fault in faults}
    sound = [draft for draft in drafts if draft.path not in faulty]
    if not any(fault.path.startswith("topologies") for fault in faults):
        faults += unused_faults(sound, reader.users)
    if faults:
        count = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
        raise InvalidInput(f"the topology document has {count}", faults)
    document = TopologyDocument(tuple(_spec(draft) for draft in drafts), topologies)
    if (size := len(normalised(document))) > NORMALISED_MAX_BYTES:
        message = f"its normal form has {size} bytes; at most {NORMALISED_MAX_BYTES} are accepted, about 10,000 groups"
        raise InvalidInput("the topology document is too large", [Fault("", message)])
    return document


def _network(tree: Tree, path: str, faults: list[Fault]) -> NetworkDraft:
    fields = Fields(tree, path, "a network", _NETWORK_KEYS, faults)
    name = fields.text("name", syntax.network_name)
    cidr = fields.text("cidr", syntax.cidr)
    block_mask = fields.integer("block_mask")
    tenants = fields.texts("tenants", "tenants' names", syntax.tenant, required=False)
    if cidr is not None and block_mask is None and not fields.has("block_mask"):
        block_mask = max(BLOCK_MASK_DEFAULT[cidr.version], cidr.prefixlen)
    if cidr is not None and block_mask is not None and not cidr.prefixlen <= block_mask <= cidr.max_prefixlen:
        accepted = f"{cidr.prefixlen} (the mask of {cidr}) to {cidr.max_prefixlen} is accepted"
        faults.append(Fault(at_key(path, "block_mask"), f"found the number {block_mask}"[:60] + f"; {accepted}"))
        block_mask = None
    return NetworkDraft(
        path,
        name,
        cidr,
        block_mask,
        tuple(tenant for _, tenant in tenants),
        owner=fields.text("owner", syntax.owner, "node") or "node",
        reserved=fields.texts("reserved", "prefixes", syntax.cidr, required=False),
        cooldown_s=_bounded(fields, "cooldown_s", 0, COOLDOWN_MAX_S, faults),
        dual=fields.text("dual", syntax.network_name, "") or "",
        fallback=fields.boolean("fallback", default=True),
    )


def _bounded(fields: Fields, key: str, least: int, most: int, faults: list[Fault]) -> int | None:
    """A whole number within bounds; the field may be absent."""
    number = fields.integer(key)
    if number is None or least <= number <= most:
        return number
    faults.append(Fault(at_key(fields.path, key), f"found the number {number}"[:60] + f"; {least} to {most} is accepted"))
    return None


def _spec(draft: NetworkDraft) -> NetworkSpec:
    if draft.name is None or draft.cidr is None or draft.block_mask is None:
        raise InvalidInput(f"{draft.path} could not be read")
    reserved = tuple(cidr for _, cidr in draft.reserved)
    shape = (draft.owner, reserved, draft.cooldown_s, draft.dual, draft.fallback)
    return NetworkSpec(draft.name, draft.cidr, draft.block_mask, draft.tenants, *shape)


class _TopologyReader:
    """Reads topologies against the networks that are defined; `users` tells which topology has taken a network already."""

    def __init__(self, networks: Mapping[str, NetworkDraft], faults: list[Fault]) -> None:
        self._networks = networks
        self._faults = faults
        self.users: dict[str, str] = {}
        self._hosts: list[tuple[str, Host]] = []

    def topology(self, tree: Tree, path: str) -> Topology:
        """One topology; what could not be read in it is left out or empty."""
        before = len(self._faults)
        fields = Fields(tree, path, "a topology", _TOPOLOGY_KEYS, self._faults)
        places = fields.texts("networks", "networks' names", syntax.network_name)
        names = tuple(name for _, name in places)
        self._faults += reference_faults(places, self._networks, self.users)
        self._hosts = []
        entries = [(at, self._map_entry(entry, at)) for at, entry in fields.items("map", "groups")]
        self._faults += sibling_faults(entries)
        groups = tuple(group for _, group in entries)
        self._faults += host_faults(self._hosts)
        known = [self._networks[name] for name in names if name in self._networks]
        self._faults += stray_faults(at_key(path, "map"), groups, known)
        # Where a prefix of one of them could not be read, what is said of a list of groups only follows from that.
        unread = {match.group(1) for fault in self._faults[before:] if (match := _CIDR_OF_MEMBER.fullmatch(fault.path))}
        self._faults += [fault for fault in carving_faults(at_key(path, "map"), groups, known) if fault.path not in unread]
        return Topology(names, groups)

    def _map_entry(self, tree: Tree, path: str) -> Group:
        if not _is_host(tree):
            return self._group(tree, path, {})
        self._faults.append(Fault(path, 'a host (it has "ip"); a map lists groups, a host stands in the groups of a leaf'))
        return Group("")

    def _group(self, tree: Tree, path: str, inherited: Mapping[str, str]) -> Group:
        fields = Fields(tree, path, "a group", _GROUP_KEYS, self._faults)
        name = fields.text("name", syntax.group_name)
        assignment = fields.labels("assignment")
        self._faults += assignment_faults(at_key(path, "assignment"), inherited, assignment)
        routing = fields.text("routing", syntax.routing, "")
        members = fields.items("groups", "groups or hosts", required=False)
        effective = dict(inherited) | dict(assignment)
        self._mixed_faults(at_key(path, "groups"), members)
        hosts = tuple(host for at, member in members if _is_host(member) and (host := self._host(member, at)))
        siblings = [(at, self._group(member, at, effective)) for at, member in members if not _is_host(member)]
        self._faults += sibling_faults(siblings)
        groups = tuple(group for _, group in siblings)
        weight = _bounded(fields, "weight", 1, WEIGHT_MAX, self._faults) or 1
        cidrs = tuple(cidr for _, cidr in fields.one_or_more("cidr", "prefixes", syntax.cidr))
        return Group(name or "", assignment, routing or "", groups, hosts, weight, cidrs)

    def _mixed_faults(self, path: str, members: list[tuple[str, Tree]]) -> None:
        hosts = [at for at, member in members if _is_host(member)]
        if hosts and len(hosts) < len(members):
            kinds = f'{len(hosts)} hosts (with "ip") and {len(members) - len(hosts)} groups'
            message = f"{kinds} are mixed; either hosts or groups are accepted"
            self._faults.append(Fault(path, message))

    def _host(self, tree: Tree, path: str) -> Host | None:
        fields = Fields(tree, path, "a host", _HOST_KEYS, self._faults)
        name = fields.text("name", syntax.host_name)
        ip = fields.text("ip", syntax.host_address)
        if name is None or ip is None:
            return None
        self._hosts.append((path, Host(name, ip)))
        return Host(name, ip)


def _is_host(tree: Tree) -> bool:
    return isinstance(tree, Pairs) and any(key == "ip" for key, _ in tree.pairs)
