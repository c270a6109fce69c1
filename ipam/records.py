"""What ipamd keeps in the store, as values; `ipam.codec` writes and reads them. Pure."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from ipam.topology.carving import Prefix, carve
from ipam.topology.document import TopologyDocument, normalised
from ipam.topology.pending import would_move
from ipam.topology.placement import Candidates, Placement, placement_in
from romana import keys, names
from romana.keys import Address, Network

__all__ = [
    "AddressRecord",
    "Assigned",
    "AttachmentId",
    "AttachmentRecord",
    "BlockRecord",
    "NodeRecord",
    "PodId",
    "ReservationRecord",
    "Share",
    "TopologyRecord",
    "address_key",
    "block_key",
    "endpoint_key",
    "endpoint_keys",
]


# One request asks for these several times. Kept here and not in the value: 150,000 of those are held for long.
_attachment_key = lru_cache(maxsize=4096)(keys.attachment)
block_key = lru_cache(maxsize=4096)(keys.block)
address_key = lru_cache(maxsize=4096)(keys.address)
_host_interface = lru_cache(maxsize=4096)(names.host_interface)


@dataclass(frozen=True, slots=True)
class TopologyRecord:
    """The topology in force."""

    document: TopologyDocument
    raw: bytes
    """The normalised document."""
    generation: int
    prefixes: tuple[Prefix, ...]
    candidates: Candidates = field(compare=False)
    """Which of the prefixes take a node."""

    @classmethod
    def of(cls, document: TopologyDocument, generation: int) -> "TopologyRecord":
        """The record of a document, with what follows from it."""
        prefixes = carve(document)
        return cls(document, normalised(document), generation, prefixes, Candidates(prefixes))

    def takes(self, node: "NodeRecord", placement: Placement) -> bool:
        """Whether the node may stand just there: not, while it waits to be placed anew."""
        fitting = self.candidates.of(node.name, dict(node.labels)).get(placement.network, ())
        leaves = [leaf for leaf in self.prefixes if not leaf.pad] if placement.kept else fitting
        return any(placement_in(leaf) == replace(placement, kept=False) for leaf in leaves)

    def would_move(self, node: "NodeRecord", placement: Placement) -> bool:
        """Whether the node stays there only until it was drained."""
        return would_move(self.candidates, node.name, dict(node.labels), placement)

    def has_placed(self, node: "NodeRecord") -> bool:
        """Whether the node stands in every network that has a group for it, and in no other."""
        networks = {placement.network for placement in node.placements}
        kept = {placement.network for placement in node.placements if placement.kept}
        wanted = self.candidates.of(node.name, dict(node.labels)).keys()
        return networks == wanted | kept and all(self.takes(node, placement) for placement in node.placements)


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node; `uid` is its incarnation."""

    name: str
    uid: str
    addresses: tuple[Address, ...]
    labels: tuple[tuple[str, str], ...]
    """Sorted."""
    placements: tuple[Placement, ...] = ()
    draining: bool = False

    def placement(self, network: str) -> Placement | None:
        """Where its addresses of that network come from."""
        return next((placement for placement in self.placements if placement.network == network), None)


@dataclass(frozen=True, slots=True)
class Share:
    """Whose blocks on a node: everybody's (both empty), or, where the network says `owner: tenant`, a tenant's segment's."""

    tenant: str = ""
    segment: str = ""

    def of(self, node: str) -> str:
        """The owner in words."""
        return f"{node}, tenant {self.tenant}, segment {self.segment}" if self.tenant else node


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block in the hands of a node's incarnation."""

    network: str
    cidr: Network
    node: str
    node_uid: str
    share: Share = Share()


@dataclass(frozen=True, slots=True)
class ReservationRecord:
    """Addresses that an operator keeps from being given out."""

    network: str
    cidr: Network
    note: str = ""
    since_ms: int = 0
    confirmed: bool = False
    """Whether it was seen, after it was written, that none of its addresses is held."""


@dataclass(frozen=True, slots=True)
class AttachmentId:
    """The CNI key of one interface of one container."""

    node: str
    conf: str
    container_id: str
    ifname: str

    @property
    def key(self) -> str:
        """Its key in the store."""
        return _attachment_key(self.node, self.conf, self.container_id, self.ifname)

    @property
    def host_interface(self) -> str:
        """The name of the host's end of its veth pair."""
        return _host_interface(self.node, self.conf, self.container_id, self.ifname)

    def __str__(self) -> str:
        return f"{self.container_id}/{self.ifname} of {self.conf} on node {self.node}"


@dataclass(frozen=True, slots=True)
class PodId:
    """A pod; `uid` is empty when the runtime did not say."""

    namespace: str
    name: str
    uid: str = ""

    def same(self, other: "PodId") -> bool:
        """Whether both may be one pod: an unknown uid agrees with any."""
        named = (self.namespace, self.name) == (other.namespace, other.name)
        return named and (self.uid == other.uid or not self.uid or not other.uid)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f" (uid {self.uid})" if self.uid else "")


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An address that is held, or cools. Times are UTC, in milliseconds since 1970."""

    network: str
    ip: Address
    block: Network
    attachment: AttachmentId | None
    """The holder, or the last one; None where the record cannot be read: then it counts as held."""
    pod: PodId | None
    since_ms: int
    released_ms: int | None = None
    """Set while cooling."""
    cooldown_s: int = 0

    @property
    def held(self) -> bool:
        """In use, as against cooling."""
        return self.released_ms is None


@dataclass(frozen=True, slots=True)
class Assigned:
    """An address as an attachment has it."""

    network: str
    ip: Address
    block: Network
    key: str = field(init=False, compare=False, repr=False)
    """Of the address in the store. Kept, as an allocation asks for it many times; nobody keeps thousands of these."""
    block_key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Put the keys together."""
        object.__setattr__(self, "key", address_key(self.network, self.ip))
        object.__setattr__(self, "block_key", block_key(self.network, self.block))

    @property
    def text(self) -> str:
        """The address, canonical."""
        return self.key.rpartition("/")[2]

    @property
    def block_text(self) -> str:
        """The block's prefix."""
        return self.block_key.rpartition("/")[2].replace("_", "/")


@dataclass(frozen=True, slots=True)
class AttachmentRecord:
    """One interface of one container and its addresses."""

    id: AttachmentId
    node_uid: str
    boot_id: str
    pod: PodId | None
    addresses: tuple[Assigned, ...]
    created_ms: int

    @property
    def endpoint_keys(self) -> tuple[str, str]:
        """See `endpoint_keys`."""
        return endpoint_keys(self.id, self.pod)


def endpoint_key(attachment: AttachmentId, pod: PodId | None) -> str:
    """The key that an attachment's endpoint has, unless another attachment has that one already."""
    namespace, name = (pod.namespace, pod.name) if pod else ("", "")
    return keys.endpoint(namespace, name, attachment.container_id, attachment.ifname)


def endpoint_keys(attachment: AttachmentId, pod: PodId | None) -> tuple[str, str]:
    """The keys that an attachment's endpoint may have: the plain one, and the one for when another attachment has that.

    The plain one knows neither node nor configuration: runtimes make container ids unique, scripts and tests do not.
    """
    namespace, name = (pod.namespace, pod.name) if pod else ("", "")
    full = f"{attachment.container_id}@{attachment.node}@{attachment.conf}"  # no container id has an "@" (CNI)
    return endpoint_key(attachment, pod), keys.endpoint(namespace, name, full, attachment.ifname)
