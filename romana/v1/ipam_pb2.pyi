from google.protobuf import timestamp_pb2 as _timestamp_pb2
from romana.v1 import store_pb2 as _store_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LookupState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOOKUP_STATE_UNSPECIFIED: _ClassVar[LookupState]
    LOOKUP_STATE_OUTSIDE: _ClassVar[LookupState]
    LOOKUP_STATE_UNCLAIMED: _ClassVar[LookupState]
    LOOKUP_STATE_FREE: _ClassVar[LookupState]
    LOOKUP_STATE_HELD: _ClassVar[LookupState]
    LOOKUP_STATE_COOLING: _ClassVar[LookupState]
LOOKUP_STATE_UNSPECIFIED: LookupState
LOOKUP_STATE_OUTSIDE: LookupState
LOOKUP_STATE_UNCLAIMED: LookupState
LOOKUP_STATE_FREE: LookupState
LOOKUP_STATE_HELD: LookupState
LOOKUP_STATE_COOLING: LookupState

class AllocateRequest(_message.Message):
    __slots__ = ("attachment", "node_uid", "boot_id", "pod")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_UID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    attachment: _store_pb2.AttachmentKey
    node_uid: str
    boot_id: str
    pod: _store_pb2.PodRef
    def __init__(self, attachment: _Optional[_Union[_store_pb2.AttachmentKey, _Mapping]] = ..., node_uid: _Optional[str] = ..., boot_id: _Optional[str] = ..., pod: _Optional[_Union[_store_pb2.PodRef, _Mapping]] = ...) -> None: ...

class AllocateResponse(_message.Message):
    __slots__ = ("addresses", "host_interface", "revision", "existing")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    HOST_INTERFACE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[_store_pb2.AssignedAddress]
    host_interface: str
    revision: int
    existing: bool
    def __init__(self, addresses: _Optional[_Iterable[_Union[_store_pb2.AssignedAddress, _Mapping]]] = ..., host_interface: _Optional[str] = ..., revision: _Optional[int] = ..., existing: bool = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("attachment",)
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    attachment: _store_pb2.AttachmentKey
    def __init__(self, attachment: _Optional[_Union[_store_pb2.AttachmentKey, _Mapping]] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("released", "addresses", "revision")
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    released: bool
    addresses: _containers.RepeatedCompositeFieldContainer[_store_pb2.AssignedAddress]
    revision: int
    def __init__(self, released: bool = ..., addresses: _Optional[_Iterable[_Union[_store_pb2.AssignedAddress, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("ip",)
    IP_FIELD_NUMBER: _ClassVar[int]
    ip: str
    def __init__(self, ip: _Optional[str] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("state", "network", "group_path", "group_name", "block", "node", "attachment", "pod", "since", "released")
    STATE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PATH_FIELD_NUMBER: _ClassVar[int]
    GROUP_NAME_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    state: LookupState
    network: str
    group_path: str
    group_name: str
    block: str
    node: str
    attachment: _store_pb2.AttachmentKey
    pod: _store_pb2.PodRef
    since: _timestamp_pb2.Timestamp
    released: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[_Union[LookupState, str]] = ..., network: _Optional[str] = ..., group_path: _Optional[str] = ..., group_name: _Optional[str] = ..., block: _Optional[str] = ..., node: _Optional[str] = ..., attachment: _Optional[_Union[_store_pb2.AttachmentKey, _Mapping]] = ..., pod: _Optional[_Union[_store_pb2.PodRef, _Mapping]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., released: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
