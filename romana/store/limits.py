"""What a transaction may hold, checked before anything is sent. Pure.

etcd refuses more than 128 operations or compares, a key that is put twice or put and deleted in one branch, and requests above
1.5 MB (etcd v3.4: `--max-txn-ops`, `--max-request-bytes`, etcdserver/api/v3rpc/key.go, checkTxnRequest and checkIntervals).
"""

from collections.abc import Sequence

from romana.errors import InvalidInput
from romana.store.api import Compare, CompareField, Delete, Op, Put

__all__ = ["LEASE_TTL_MAX_S", "MAX_BYTES", "MAX_OPS", "check_lease_ttl", "check_txn"]

MAX_OPS = 128  # etcd's default --max-txn-ops
MAX_BYTES = 1_000_000  # below etcd's default --max-request-bytes of 1.5 MiB, with room for the framing of 384 entries
LEASE_TTL_MAX_S = 9_000_000_000  # etcd v3.4, lease/lessor.go, MaxLeaseTTL


def check_txn(compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> None:
    """Raise InvalidInput when etcd would refuse this transaction, or when a compare's operand has the wrong type."""
    for name, entries in (("compares", compares), ("success operations", success), ("failure operations", failure)):
        if len(entries) > MAX_OPS:
            raise InvalidInput(f"transaction has {len(entries)} {name}; at most {MAX_OPS} are accepted")
    _check_keys(success)
    _check_keys(failure)
    # In plain loops: ipamd's transactions are full, and a call for each entry was a fifth of what sending one costs.
    size = 0
    for compare in compares:
        is_value = isinstance(compare.operand, bytes)
        if is_value is not (compare.field is CompareField.VALUE):
            _refuse_operand(compare)
        size += len(compare.key) + (len(compare.operand) if isinstance(compare.operand, bytes) else 0)
    for op in (*success, *failure):
        size += len(op.key) + (len(op.value) if isinstance(op, Put) else 0)
    if size > MAX_BYTES:
        raise InvalidInput(f"transaction has {size} bytes of keys and values; at most {MAX_BYTES} are accepted")


def check_lease_ttl(ttl_s: int) -> None:
    """Raise InvalidInput unless the lease's time to live is one that etcd grants."""
    if not 1 <= ttl_s <= LEASE_TTL_MAX_S:
        raise InvalidInput(f"lease's time to live is {ttl_s} s; 1 to {LEASE_TTL_MAX_S} are accepted")


def _refuse_operand(compare: Compare) -> None:
    wanted = bytes if compare.field is CompareField.VALUE else int
    found = type(compare.operand).__name__
    raise InvalidInput(f"compare of {compare.field.value} of {compare.key!r}: operand is {found}, not {wanted.__name__}")


def _check_keys(branch: Sequence[Op]) -> None:
    puts = [op.key for op in branch if isinstance(op, Put)]
    if len(set(puts)) < len(puts):
        twice = next(key for index, key in enumerate(puts) if key in puts[:index])
        raise InvalidInput(f"transaction puts {twice!r} twice")
    deletes = [op for op in branch if isinstance(op, Delete)]
    empty = next((op for op in deletes if op.until and op.until <= op.key), None)
    if empty is not None:
        raise InvalidInput(f"transaction deletes from {empty.key!r} until {empty.until!r}, which is not after it")
    deleted = {op.key for op in deletes if not op.prefix and not op.until}
    below = tuple(op.key for op in deletes if op.prefix and not op.until)
    ranges = [op for op in deletes if op.until]
    for key in puts if deletes else ():
        if key in deleted or key.startswith(below) or any(op.covers(key) for op in ranges):
            raise InvalidInput(f"transaction puts and deletes {key!r} in one branch")
