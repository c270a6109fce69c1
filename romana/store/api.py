"""The store as the rest of the project sees it: a revisioned key-value store with transactions, watches and leases.

Two implementations pass one contract test: `romana.store.etcd.EtcdStore` (etcd's v3 API) and `romana.store.memory.MemoryStore`
(in one process, for tests). Keys are relative to the store's prefix (`nodes/n1`, not `/romana/v1/nodes/n1`) and are text;
values are bytes. A *prefix* argument is a plain string prefix of such keys; `""` means everything below the store's prefix.

    list(prefix) -> Listing(revision R)  then  watch(prefix, R + 1) -> Batch, Batch, ...       nothing missing, nothing twice

Errors, all from `romana.errors`: reads raise `Unavailable`; writes raise `Unavailable` when they surely did not happen and
`Ambiguous` when the answer was lost; a watch raises `Compacted` when the history it needs is gone.
Source: etcd v3.4 API reference (api/etcdserverpb/rpc.proto), reference figures in docs/adr/0001.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

__all__ = [
    "Batch",
    "Compare",
    "CompareField",
    "CompareOp",
    "Delete",
    "Event",
    "Get",
    "KeyValue",
    "Lease",
    "Listing",
    "Op",
    "Put",
    "Status",
    "Store",
    "TxnResult",
]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it was at some revision."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys below a prefix, sorted by key, as they were at one revision."""

    revision: int
    items: tuple[KeyValue, ...]


class CompareField(Enum):
    """What of a key a transaction compares. An absent key has 0 (or empty bytes) in every field."""

    CREATE = "create_revision"
    MOD = "mod_revision"
    VERSION = "version"
    LEASE = "lease"
    VALUE = "value"

    __hash__ = (
        object.__hash__
    )  # members are single objects; Enum's own is written in Python, and every transaction hashes compares


class CompareOp(Enum):
    """How a transaction compares. A compare of VALUE never holds for an absent key, whatever the operator."""

    EQUAL = "="
    NOT_EQUAL = "!="
    GREATER = ">"
    LESS = "<"

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction. With `prefix`, it must hold for every key below `key`; when there is none, it is judged as
    for one absent key (etcd v3.4, etcdserver/apply.go, applyCompare)."""

    key: str
    field: CompareField
    op: CompareOp
    operand: int | bytes
    prefix: bool = False

    def __hash__(self) -> int:
        """Of the key alone: every transaction hashes its compares several times, and hardly two are of one key."""
        return hash(self.key)

    @classmethod
    def absent(cls, key: str) -> "Compare":
        """Holds when the key does not exist."""
        return cls(key, CompareField.CREATE, CompareOp.EQUAL, 0)

    @classmethod
    def unchanged(cls, item: KeyValue) -> "Compare":
        """Holds when the key was not written since `item` was read."""
        return cls(item.key, CompareField.MOD, CompareOp.EQUAL, item.mod_revision)

    @classmethod
    def at(cls, key: str, mod_revision: int) -> "Compare":
        """Holds when the key's mod_revision is this one (0: the key is absent)."""
        return cls(key, CompareField.MOD, CompareOp.EQUAL, mod_revision)


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; with `lease`, it goes when that lease ends."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key, or with `prefix` every key below it, or with `until` every key from this one up to that, which stays."""

    key: str
    prefix: bool = False
    until: str = ""

    def covers(self, key: str) -> bool:
        """Whether it removes this key."""
        if self.until:
            return self.key <= key < self.until
        return key.startswith(self.key) if self.prefix else key == self.key


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key, or with `prefix` the keys below it, inside a transaction."""

    key: str
    prefix: bool = False
    limit: int = 0


Op = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class TxnResult:
    """The outcome of a transaction: which branch ran, at which revision, and what its `Get`s found, one tuple each, in order."""

    succeeded: bool
    revision: int
    gets: tuple[tuple[KeyValue, ...], ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A key was written (`value` is the new state) or removed (`value` is None)."""

    key: str
    mod_revision: int
    value: KeyValue | None


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of whole revisions, in order; the events of one transaction are never split over two batches."""

    revision: int
    """mod_revision of the last event: a resumed watch starts after it."""
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What the store says of itself."""

    version: str
    cluster_id: int
    member_id: int
    revision: int
    db_size: int
    """Bytes."""
    leader: int
    """Member id; 0: none."""
    problems: tuple[str, ...] = ()
    """Raised alarms (NOSPACE: etcd refuses writes), in etcd's words."""


class Lease(Protocol):
    """A lease that is kept alive until it is revoked or lost."""

    id: int
    ttl_s: int

    @property
    def lost(self) -> bool:
        """True once the store said that the lease is gone, or could not be asked for a whole TTL: stop writing under it."""

    async def revoke(self) -> None:
        """End the lease and all keys under it; without effect when it is gone already."""


class Store(Protocol):
    """See the module's docstring."""

    @property
    def replaced(self) -> int:
        """How often it turned out that another history answers than before: a restored etcd, or another cluster. What was read
        before the last time may be wrong in any way."""

    async def get(self, key: str) -> KeyValue | None:
        """The key as it is now (linearizable), or None."""

    async def list(self, prefix: str, page_size: int = 500) -> Listing:
        """All keys below the prefix at one revision, read in pages; started again when that revision is compacted meanwhile."""

    async def count(self, prefix: str) -> int:
        """How many keys there are below the prefix; no value is sent."""

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Run `success` if every compare holds, else `failure`, atomically. At most 128 operations a branch, no key put twice.

        Raises InvalidInput for a transaction over the limits, before anything is sent; NotFound when a put's lease is gone."""

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        """Every change below the prefix from `revision` on, for ever: reconnects and resumes by itself, without loss or repeat.

        Raises Compacted when the kept history does not reach back to `revision - 1`, and when `revision - 1` lies in the future
        (etcd was restored from a backup). Ends only when the store is closed."""

    async def grant_lease(self, ttl_s: int) -> Lease:
        """A new lease, kept alive in the background at a third of its time to live."""

    async def compact(self, revision: int) -> None:
        """Forget the history before `revision`; raises Compacted when that is gone already, or lies in the future."""

    async def status(self) -> Status:
        """Ask the store for its state; raises Unavailable when it does not answer within a few seconds."""

    async def close(self) -> None:
        """End all watches, leases' keepalives and connections."""
