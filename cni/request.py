"""One call of the plugin, parsed from environment and standard input. Pure. CNI spec 1.1, section 2 "Execution protocol"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cni.errors import INVALID_ENVIRONMENT, CniError
from cni.netconf import NAME_RULE, NetConf, is_name
from romana.names import is_namespace_name, is_object_name

__all__ = ["STARTED", "AttachmentId", "PodId", "Request"]

REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}
"""CNI_PATH is not demanded: we delegate to nobody."""

STARTED = "ROMANA_STARTED_NS"
"""When the shim started, by the machine's monotonic clock: an ADD that started before its DEL must not finish after it."""

IFNAME_MAX = 15  # IFNAMSIZ less the NUL, linux/if.h
IFNAMES_TAKEN = frozenset({".", "..", "all", "default"})
"""The kernel takes no interface of these names: they are folders of /proc/sys/net/ipv4/conf. A % would be a pattern (`eth%d`)."""

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")  # as ipamd has it: a UUID, or the hash of a static pod

POD_ARGS = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID")

KNOWN_ARGS = frozenset(
    {"IgnoreUnknown", "IP", "MAC", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"}
)
"""What containerd and CRI-O send in CNI_ARGS."""


@dataclass(frozen=True, slots=True)
class PodId:
    """The pod that the runtime named; `uid` is empty when it did not say."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class AttachmentId:
    """CNI's key of an attachment, on this node. Never the pod's name: a pod's next sandbox has another container id."""

    conf: str
    container_id: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.conf}/{self.container_id}/{self.ifname}"

    @classmethod
    def of(cls, *parts: object) -> "AttachmentId":
        """From a file, where anything may stand; raises TypeError for what is no key."""
        words = tuple(part for part in parts if isinstance(part, str))
        if len(words) != len(parts):
            raise TypeError(f"{parts!r} is no attachment")
        return cls(*words)


@dataclass(frozen=True, slots=True)
class Request:
    """A checked call."""

    command: str
    attachment: AttachmentId
    netns: str
    """CNI_NETNS as it was given; only the descriptor is used, this is for the result."""
    netns_override: bool
    """CNI_NETNS may be the agent's own."""
    pod: PodId | None
    """None for an attachment without a pod, which no policy selects."""
    conf: NetConf
    started_ns: int

    @classmethod
    def parse(cls, environ: Mapping[str, str], stdin: bytes) -> "Request":
        """Raises CniError 4 for the environment, 6, 7 and 1 for the configuration, in the order that Go's skel has."""
        command = environ.get("CNI_COMMAND", "")
        if command not in REQUIRED:
            raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
        _check_present(command, environ)
        conf = NetConf.parse(stdin, own_keys=command == "ADD")
        attachment = AttachmentId(conf.name, _container_id(environ), _ifname(environ))
        pod = _pod(parse_args(environ.get("CNI_ARGS", ""))) if command == "ADD" else None
        started = environ.get(STARTED, "")
        return cls(
            command=command,
            attachment=attachment,
            netns=environ.get("CNI_NETNS", ""),
            netns_override=_is_true(environ.get("CNI_NETNS_OVERRIDE", "")),
            pod=pod,
            conf=conf,
            started_ns=int(started) if started.isdecimal() else 0,
        )


def parse_args(text: str) -> Mapping[str, str]:
    """CNI_ARGS, `K=V;K=V` in any order; raises CniError 4 for a pair without `=` or, unless IgnoreUnknown, an unknown key."""
    args: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}; must be KEY=VALUE;KEY=VALUE")
        args[key] = value
    unknown = sorted(set(args) - KNOWN_ARGS)
    if unknown and not _is_true(args.get("IgnoreUnknown", "")):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: unknown args {unknown}", "add IgnoreUnknown=1 to CNI_ARGS")
    return args


def _pod(args: Mapping[str, str]) -> PodId | None:
    for key in ("IP", "MAC"):
        if args.get(key):
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: {key}={args[key]} is not supported; romana chooses it")
    namespace, name, uid = (args.get(key, "") for key in POD_ARGS)
    if not namespace or not name:
        _refuse_half_a_pod(args)
        return None
    for key, value, fits, rule in (
        ("K8S_POD_NAMESPACE", namespace, is_namespace_name(namespace), "a DNS label in lower case (RFC 1123)"),
        ("K8S_POD_NAME", name, is_object_name(name), "a DNS name in lower case (RFC 1123)"),
        ("K8S_POD_UID", uid, not uid or _UID.fullmatch(uid), f"empty or match {_UID.pattern}"),
    ):
        if not fits:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: {key} is {value!r}; must be {rule}")
    return PodId(namespace, name, uid)


def _refuse_half_a_pod(args: Mapping[str, str]) -> None:
    """A runtime that knows pods gives all of a pod's name (containerd, CRI-O); one that does not gives nothing of it (cnitool).

    podman alone gives a name, that of its container, without a namespace: it knows no Pod objects. Anything else is half a pod:
    taken for none, its policies would be passed by.
    """
    given = {key for key in POD_ARGS if key in args}
    missing = [key for key in ("K8S_POD_NAMESPACE", "K8S_POD_NAME") if not args.get(key)]
    if not given or (given == {"K8S_POD_NAME"} and args["K8S_POD_NAME"]):
        return
    stated = ", ".join(f"{key}={args[key]}" for key in POD_ARGS if key in args)
    raise CniError(
        INVALID_ENVIRONMENT,
        f"CNI_ARGS: {' and '.join(missing)} empty or missing, but there is {stated}",
        "give K8S_POD_NAMESPACE and K8S_POD_NAME, or for an attachment without a pod none of them",
    )


def _check_present(command: str, environ: Mapping[str, str]) -> None:
    missing = [name for name in REQUIRED[command] if not environ.get(name)]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    for name in REQUIRED[command]:
        if any("\udc80" <= char <= "\udcff" for char in environ[name]):  # bytes that are no text: PEP 383
            raise CniError(INVALID_ENVIRONMENT, f"{name} is {environ[name]!r}; must be UTF-8")


def _container_id(environ: Mapping[str, str]) -> str:
    container_id = environ["CNI_CONTAINERID"]
    if not is_name(container_id):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_CONTAINERID is {container_id!r}; {NAME_RULE}")
    return container_id


def _ifname(environ: Mapping[str, str]) -> str:
    ifname = environ["CNI_IFNAME"]
    wrong = (
        len(ifname.encode("utf-8", "surrogateescape")) > IFNAME_MAX
        or ifname in IFNAMES_TAKEN
        or any(char in "/:%" or char.isspace() for char in ifname)
    )
    if wrong:
        rule = f"at most {IFNAME_MAX} bytes, without / : % and white space, and none of {', '.join(sorted(IFNAMES_TAKEN))}"
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME is {ifname!r}; must be {rule}")
    return ifname


def _is_true(text: str) -> bool:
    return text.lower() in {"1", "true"}
