from romana.v1 import node_pb2 as _node_pb2
from romana.v1 import store_pb2 as _store_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DocumentFault(_message.Message):
    __slots__ = ("path", "message")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    path: str
    message: str
    def __init__(self, path: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Faults(_message.Message):
    __slots__ = ("faults",)
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    faults: _containers.RepeatedCompositeFieldContainer[DocumentFault]
    def __init__(self, faults: _Optional[_Iterable[_Union[DocumentFault, _Mapping]]] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: bytes
    def __init__(self, document: _Optional[bytes] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("generation", "changed", "revision")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    changed: bool
    revision: int
    def __init__(self, generation: _Optional[int] = ..., changed: bool = ..., revision: _Optional[int] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: bytes
    def __init__(self, document: _Optional[bytes] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("ok", "faults", "refusals", "prefixes")
    OK_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    faults: _containers.RepeatedCompositeFieldContainer[DocumentFault]
    refusals: _containers.RepeatedScalarFieldContainer[str]
    prefixes: _containers.RepeatedCompositeFieldContainer[Prefix]
    def __init__(self, ok: bool = ..., faults: _Optional[_Iterable[_Union[DocumentFault, _Mapping]]] = ..., refusals: _Optional[_Iterable[str]] = ..., prefixes: _Optional[_Iterable[_Union[Prefix, _Mapping]]] = ...) -> None: ...

class ShowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowResponse(_message.Message):
    __slots__ = ("document", "generation", "prefixes", "revision")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    document: bytes
    generation: int
    prefixes: _containers.RepeatedCompositeFieldContainer[Prefix]
    revision: int
    def __init__(self, document: _Optional[bytes] = ..., generation: _Optional[int] = ..., prefixes: _Optional[_Iterable[_Union[Prefix, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class Prefix(_message.Message):
    __slots__ = ("network", "path", "name", "cidr", "pad", "nodes", "block_mask", "blocks_owned", "blocks_total", "assignment", "routing")
    class AssignmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CIDR_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_MASK_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_OWNED_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    network: str
    path: str
    name: str
    cidr: str
    pad: bool
    nodes: _containers.RepeatedScalarFieldContainer[str]
    block_mask: int
    blocks_owned: int
    blocks_total: int
    assignment: _containers.ScalarMap[str, str]
    routing: str
    def __init__(self, network: _Optional[str] = ..., path: _Optional[str] = ..., name: _Optional[str] = ..., cidr: _Optional[str] = ..., pad: bool = ..., nodes: _Optional[_Iterable[str]] = ..., block_mask: _Optional[int] = ..., blocks_owned: _Optional[int] = ..., blocks_total: _Optional[int] = ..., assignment: _Optional[_Mapping[str, str]] = ..., routing: _Optional[str] = ...) -> None: ...
