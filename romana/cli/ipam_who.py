"""How `romana ipam who IP` says what ipamd knows of an address; the past is in `romana.cli.ipam_at`."""

from typing import Any

from romana.cli.output import as_dict, enum_word
from romana.v1.ipam_pb2 import (
    LOOKUP_STATE_COOLING,
    LOOKUP_STATE_FREE,
    LOOKUP_STATE_HELD,
    LOOKUP_STATE_OUTSIDE,
    LOOKUP_STATE_RESERVED,
    LOOKUP_STATE_UNCLAIMED,
    LookupResponse,
    LookupState,
)

__all__ = ["document", "lines"]


def document(ip: str, answer: LookupResponse) -> dict[str, Any]:
    """The answer for programs: `says` is the first line for people."""
    return {"ip": ip, "says": _sentence(answer), **as_dict(answer)}


def lines(ip: str, answer: LookupResponse) -> list[str]:
    """The answer for people."""
    found = [f"{ip} is {_sentence(answer)}"]
    if answer.network:
        group = f"group {answer.group_path} ({answer.group_name})" if not answer.pad else f"pad {answer.group_path}"
        found.append(f"  network     {answer.network}, {group}{_end_of_network(answer)}")
    if answer.reservation and answer.state != LOOKUP_STATE_RESERVED:
        found.append(f"  reserved    {_reservation(answer)}")
    if answer.block:
        found.append(f"  block       {answer.block} of node {answer.node}")
    return found + _holder_lines(answer)


def _sentence(answer: LookupResponse) -> str:
    state = enum_word(LookupState.DESCRIPTOR, LookupState.Name(answer.state))
    words = {
        LOOKUP_STATE_OUTSIDE: "outside every network",
        LOOKUP_STATE_UNCLAIMED: "never given out: it lies in a pad" if answer.pad else f"free, in no block yet{_was(answer)}",
        LOOKUP_STATE_FREE: f"free{_was(answer)}",
        LOOKUP_STATE_HELD: "held",
        LOOKUP_STATE_COOLING: f"cooling until {answer.cooling_until.ToJsonString()}{_was(answer)}",
        LOOKUP_STATE_RESERVED: f"reserved {_reservation(answer)}",
    }
    return words.get(answer.state, state)


def _reservation(answer: LookupResponse) -> str:
    by = "the topology" if answer.reserved_by_topology else answer.reservation_note
    return f"({by}) by {answer.reservation}" if by else f"by {answer.reservation}"


def _was(answer: LookupResponse) -> str:
    """Whose a released address was."""
    if not answer.HasField("released"):
        return ""
    return f" (was {_holder(answer)} until {answer.released.ToJsonString()})"


def _holder(answer: LookupResponse) -> str:
    if answer.HasField("pod"):
        return f"{answer.pod.namespace}/{answer.pod.name}"
    if answer.HasField("attachment"):
        return f"container {answer.attachment.container_id} of node {answer.attachment.node}"
    return "somebody's whose record cannot be read"


def _end_of_network(answer: LookupResponse) -> str:
    """The first address is the network's own in classic IPv4, the last its broadcast address; routed /32s need neither."""
    ends = [name for name, is_it in (("first", answer.first_of_network), ("last", answer.last_of_network)) if is_it]
    kind = "the network's own, " if answer.first_of_network else ""
    return f"; {kind}its {' and '.join(ends)} address, given out as any other" if ends else ""


def _holder_lines(answer: LookupResponse) -> list[str]:
    found = []
    if answer.HasField("attachment"):
        key = answer.attachment
        found.append(f"  attachment  {key.node} {key.conf} {key.container_id} {key.ifname}")
    if answer.HasField("pod"):
        found.append(f"  pod         {answer.pod.namespace}/{answer.pod.name}")
    if answer.HasField("since"):
        found.append(f"  since       {answer.since.ToJsonString()}")
    if answer.HasField("released"):
        found.append(f"  released    {answer.released.ToJsonString()}")
    return found
