"""The store's values as etcd's messages and back. Pure, but for the stubs."""

from romana.store.api import Compare, CompareField, CompareOp, Delete, Event, Get, KeyValue, Op, Put, TxnResult
from romana.store.etcdpb import kv_pb2, rpc_pb2
from romana.store.keyspace import Keyspace

__all__ = ["compare_message", "event", "key_value", "op_message", "txn_result"]

_RESULTS = {
    CompareOp.EQUAL: rpc_pb2.Compare.EQUAL,
    CompareOp.NOT_EQUAL: rpc_pb2.Compare.NOT_EQUAL,
    CompareOp.GREATER: rpc_pb2.Compare.GREATER,
    CompareOp.LESS: rpc_pb2.Compare.LESS,
}


def key_value(space: Keyspace, kv: kv_pb2.KeyValue) -> KeyValue:
    """etcd's key and value as ours."""
    return KeyValue(space.decode(kv.key), kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def event(space: Keyspace, message: kv_pb2.Event) -> Event:
    """etcd's event as ours."""
    put = message.type == kv_pb2.Event.PUT
    kv = message.kv
    return Event(space.decode(kv.key), kv.mod_revision, key_value(space, kv) if put else None)


def compare_message(space: Keyspace, compare: Compare) -> rpc_pb2.Compare:
    """Our condition as etcd's; its operand was checked by `limits.check_txn`."""
    message = rpc_pb2.Compare(
        result=_RESULTS[compare.op], key=space.encode(compare.key), range_end=space.end(compare.key, compare.prefix)
    )
    _set_operand(message, compare.field, compare.operand)
    return message


def _set_operand(message: rpc_pb2.Compare, field: CompareField, operand: int | bytes) -> None:
    if isinstance(operand, bytes):
        message.target, message.value = rpc_pb2.Compare.VALUE, operand
    elif field is CompareField.CREATE:
        message.target, message.create_revision = rpc_pb2.Compare.CREATE, operand
    elif field is CompareField.MOD:
        message.target, message.mod_revision = rpc_pb2.Compare.MOD, operand
    elif field is CompareField.VERSION:
        message.target, message.version = rpc_pb2.Compare.VERSION, operand
    else:
        message.target, message.lease = rpc_pb2.Compare.LEASE, operand


def op_message(space: Keyspace, op: Op) -> rpc_pb2.RequestOp:
    """Our operation as etcd's."""
    key = space.encode(op.key)
    match op:
        case Put():
            put = rpc_pb2.PutRequest(key=key, value=op.value, lease=op.lease)
            return rpc_pb2.RequestOp(request_put=put)
        case Delete():
            end = space.encode(op.until) if op.until else space.end(op.key, op.prefix)
            delete = rpc_pb2.DeleteRangeRequest(key=key, range_end=end)
            return rpc_pb2.RequestOp(request_delete_range=delete)
        case Get():
            get = rpc_pb2.RangeRequest(key=key, range_end=space.end(op.key, op.prefix), limit=op.limit)
            return rpc_pb2.RequestOp(request_range=get)


def txn_result(space: Keyspace, response: rpc_pb2.TxnResponse) -> TxnResult:
    """etcd's answer as ours."""
    ranges = [op.response_range for op in response.responses if op.WhichOneof("response") == "response_range"]
    gets = tuple(tuple(key_value(space, kv) for kv in found.kvs) for found in ranges)
    return TxnResult(response.succeeded, response.header.revision, gets)
