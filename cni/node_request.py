"""A call that is about the node and no container, checked. Pure. CNI spec 1.1, section 4 "GC" and "STATUS"."""

from collections.abc import Mapping
from dataclasses import dataclass

from cni.errors import INCOMPATIBLE_VERSION, INVALID_CONFIG, CniError
from cni.netconf import NetConf, decoded
from cni.request import STARTED, AttachmentId

__all__ = ["NODE_COMMANDS", "NodeRequest", "stale"]

NODE_COMMANDS = ("GC", "STATUS")
SINCE = "1.1.0"
VALID = "cni.dev/valid-attachments"


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A checked call."""

    command: str
    conf: NetConf
    valid: frozenset[tuple[str, str]] | None
    """Container ids and interface names that the runtime still has; None when it does not say, and then nothing is stale."""
    started_ns: int

    @classmethod
    def parse(cls, environ: Mapping[str, str], stdin: bytes) -> "NodeRequest":
        """Raises CniError 6, 7 and 1 for the configuration; 1 too for a version that knows no such command."""
        command, conf = environ.get("CNI_COMMAND", ""), NetConf.parse(stdin, own_keys=command_reads_own_keys(environ))
        if not conf.at_least(SINCE):
            raise CniError(INCOMPATIBLE_VERSION, f"config version does not allow {command}", f"it is {conf.version}")
        started = environ.get(STARTED, "")
        valid = _valid(decoded(stdin)) if command == "GC" else None
        return cls(command, conf, valid, int(started) if started.isdecimal() else 0)


def command_reads_own_keys(environ: Mapping[str, str]) -> bool:
    """STATUS tells of a wrong configuration; GC must work with one that went wrong since ADD."""
    return environ.get("CNI_COMMAND") == "STATUS"


def stale(known: frozenset[AttachmentId], request: NodeRequest) -> list[AttachmentId]:
    """Those of this network that the runtime does not have, in a stable order."""
    if request.valid is None:
        return []
    ours = (key for key in known if key.conf == request.conf.name)
    return sorted((key for key in ours if (key.container_id, key.ifname) not in request.valid), key=str)


def _valid(raw: Mapping[str, object]) -> frozenset[tuple[str, str]] | None:
    if VALID not in raw:
        return None
    listed = [] if raw[VALID] is None else raw[VALID]  # null is a list of nothing, as libcni writes it
    if not isinstance(listed, list):
        raise CniError(INVALID_CONFIG, f"{VALID} must be an array of objects with containerID and ifname")
    return frozenset(_pair(entry) for entry in listed)


def _pair(entry: object) -> tuple[str, str]:
    pair = (entry.get("containerID"), entry.get("ifname")) if isinstance(entry, dict) else (None, None)
    container_id, ifname = pair
    # An entry that cannot be read could be the very pod that is then taken for stale: nothing is done.
    if not isinstance(container_id, str) or not isinstance(ifname, str) or not container_id or not ifname:
        raise CniError(INVALID_CONFIG, f"{VALID} has {entry!r}; it must be an object with containerID and ifname")
    return container_id, ifname
