from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_READY: _ClassVar[NodeState]
    NODE_STATE_DRAINING: _ClassVar[NodeState]

class AddressState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADDRESS_STATE_UNSPECIFIED: _ClassVar[AddressState]
    ADDRESS_STATE_HELD: _ClassVar[AddressState]
    ADDRESS_STATE_COOLING: _ClassVar[AddressState]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_KUBE: _ClassVar[Source]
    SOURCE_APPLY: _ClassVar[Source]
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_READY: NodeState
NODE_STATE_DRAINING: NodeState
ADDRESS_STATE_UNSPECIFIED: AddressState
ADDRESS_STATE_HELD: AddressState
ADDRESS_STATE_COOLING: AddressState
SOURCE_UNSPECIFIED: Source
SOURCE_KUBE: Source
SOURCE_APPLY: Source

class Schema(_message.Message):
    __slots__ = ("major", "minor")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    major: int
    minor: int
    def __init__(self, major: _Optional[int] = ..., minor: _Optional[int] = ...) -> None: ...

class TopologyRecord(_message.Message):
    __slots__ = ("document", "generation", "applied")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    document: bytes
    generation: int
    applied: _timestamp_pb2.Timestamp
    def __init__(self, document: _Optional[bytes] = ..., generation: _Optional[int] = ..., applied: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("network", "group_path", "group_name", "group_cidr")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    GROUP_PATH_FIELD_NUMBER: _ClassVar[int]
    GROUP_NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_CIDR_FIELD_NUMBER: _ClassVar[int]
    network: str
    group_path: str
    group_name: str
    group_cidr: str
    def __init__(self, network: _Optional[str] = ..., group_path: _Optional[str] = ..., group_name: _Optional[str] = ..., group_cidr: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "uid", "addresses", "labels", "placements", "state")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    placements: _containers.RepeatedCompositeFieldContainer[Placement]
    state: NodeState
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., placements: _Optional[_Iterable[_Union[Placement, _Mapping]]] = ..., state: _Optional[_Union[NodeState, str]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("node", "node_uid", "tenant", "segment")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODE_UID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    node: str
    node_uid: str
    tenant: str
    segment: str
    def __init__(self, node: _Optional[str] = ..., node_uid: _Optional[str] = ..., tenant: _Optional[str] = ..., segment: _Optional[str] = ...) -> None: ...

class AttachmentKey(_message.Message):
    __slots__ = ("node", "conf", "container_id", "ifname")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CONF_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IFNAME_FIELD_NUMBER: _ClassVar[int]
    node: str
    conf: str
    container_id: str
    ifname: str
    def __init__(self, node: _Optional[str] = ..., conf: _Optional[str] = ..., container_id: _Optional[str] = ..., ifname: _Optional[str] = ...) -> None: ...

class PodRef(_message.Message):
    __slots__ = ("namespace", "name", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("state", "attachment", "pod", "block", "since", "released", "cooldown_s")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_S_FIELD_NUMBER: _ClassVar[int]
    state: AddressState
    attachment: AttachmentKey
    pod: PodRef
    block: str
    since: _timestamp_pb2.Timestamp
    released: _timestamp_pb2.Timestamp
    cooldown_s: int
    def __init__(self, state: _Optional[_Union[AddressState, str]] = ..., attachment: _Optional[_Union[AttachmentKey, _Mapping]] = ..., pod: _Optional[_Union[PodRef, _Mapping]] = ..., block: _Optional[str] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., released: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., cooldown_s: _Optional[int] = ...) -> None: ...

class AssignedAddress(_message.Message):
    __slots__ = ("network", "ip", "block")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    network: str
    ip: str
    block: str
    def __init__(self, network: _Optional[str] = ..., ip: _Optional[str] = ..., block: _Optional[str] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("key", "node_uid", "boot_id", "pod", "addresses", "host_interface", "created")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_UID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    HOST_INTERFACE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    key: AttachmentKey
    node_uid: str
    boot_id: str
    pod: PodRef
    addresses: _containers.RepeatedCompositeFieldContainer[AssignedAddress]
    host_interface: str
    created: _timestamp_pb2.Timestamp
    def __init__(self, key: _Optional[_Union[AttachmentKey, _Mapping]] = ..., node_uid: _Optional[str] = ..., boot_id: _Optional[str] = ..., pod: _Optional[_Union[PodRef, _Mapping]] = ..., addresses: _Optional[_Iterable[_Union[AssignedAddress, _Mapping]]] = ..., host_interface: _Optional[str] = ..., created: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("addresses", "node", "pod_uid", "host_interface")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    POD_UID_FIELD_NUMBER: _ClassVar[int]
    HOST_INTERFACE_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    node: str
    pod_uid: str
    host_interface: str
    def __init__(self, addresses: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., pod_uid: _Optional[str] = ..., host_interface: _Optional[str] = ...) -> None: ...

class NamedPort(_message.Message):
    __slots__ = ("name", "port", "protocol")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    protocol: str
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("uid", "labels", "ports", "node", "phase", "deletion", "host_network", "annotations", "source")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    UID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DELETION_FIELD_NUMBER: _ClassVar[int]
    HOST_NETWORK_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    uid: str
    labels: _containers.ScalarMap[str, str]
    ports: _containers.RepeatedCompositeFieldContainer[NamedPort]
    node: str
    phase: str
    deletion: _timestamp_pb2.Timestamp
    host_network: bool
    annotations: _containers.ScalarMap[str, str]
    source: Source
    def __init__(self, uid: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., ports: _Optional[_Iterable[_Union[NamedPort, _Mapping]]] = ..., node: _Optional[str] = ..., phase: _Optional[str] = ..., deletion: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., host_network: bool = ..., annotations: _Optional[_Mapping[str, str]] = ..., source: _Optional[_Union[Source, str]] = ...) -> None: ...

class Namespace(_message.Message):
    __slots__ = ("uid", "labels", "source")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    UID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    uid: str
    labels: _containers.ScalarMap[str, str]
    source: Source
    def __init__(self, uid: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., source: _Optional[_Union[Source, str]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("object", "source")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    object: bytes
    source: Source
    def __init__(self, object: _Optional[bytes] = ..., source: _Optional[_Union[Source, str]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("id", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("applied", "since", "backend", "problems")
    class AppliedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    applied: _containers.ScalarMap[str, int]
    since: _timestamp_pb2.Timestamp
    backend: str
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, applied: _Optional[_Mapping[str, int]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., backend: _Optional[str] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class JournalRecord(_message.Message):
    __slots__ = ("network", "ip", "attachment", "pod", "since", "until")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    network: str
    ip: str
    attachment: AttachmentKey
    pod: PodRef
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, network: _Optional[str] = ..., ip: _Optional[str] = ..., attachment: _Optional[_Union[AttachmentKey, _Mapping]] = ..., pod: _Optional[_Union[PodRef, _Mapping]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
