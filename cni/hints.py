"""What to do about each refusal of ipamd's: the `details` of a failed call. Pure.

By reason (proto/romana/v1/ipam.proto lists them all), as one code stands for many: 101 for a node that drains as well as for a
tenant that no network takes. A test holds this table to that list.
"""

from romana.errors import Exhausted, InvalidInput, Refused, RomanaError

__all__ = ["HINTS", "hint"]

HINTS = {
    "INVALID_REQUEST": "correct what the message names, in the network configuration or in CNI_ARGS",
    "ANNOTATION_INVALID": "correct the Pod's annotation or label that the message names, and make the pod anew",
    "ADDRESS_OUTSIDE": "correct the Pod's romana.io/ip: networks and their prefixes are in `romana ipam show`",
    "ADDRESS_WRONG_FAMILY": "give the Pod one fixed address, or one network, of each family at most",
    "NODE_UNKNOWN": "add the node: romana node add NAME --address IP [--label KEY=VALUE]",
    "POD_UNKNOWN": "store the Pod object, or see why its mirror does not: romana get pod NAME -n NAMESPACE",
    "POD_REPLACED": "the runtime asks for an older Pod of that name: delete its sandbox; a newer one is made with the Pod that"
    " is there",
    "NETWORK_UNKNOWN": "correct `network` or `networks` of the configuration, or the Pod's romana.io/network: romana topology"
    " show",
    "RESERVATION_UNKNOWN": "what is reserved: romana ipam reservations",
    "NO_TOPOLOGY": "put a topology in force: romana topology apply FILE",
    "NODE_REPLACED": "the node was added anew under its name: try again; if it stays so, restart romana-agent on the node",
    "NODE_DRAINING": "start the pod on another node, or let this one have pods again: romana node drain NODE --undo",
    "NODE_IN_USE": "delete the node's pods, then try again: romana node drain NODE says how many are left",
    "NODE_IN_NO_GROUP": "give the node labels that a group asks for (romana topology show; romana node add NODE ... --label"
    " KEY=VALUE), or the topology a group for it",
    "TENANT_NOT_ADMITTED": "add the pod's namespace to `tenants` of a network, or a network without `tenants`: romana topology"
    " plan FILE",
    "ATTACHMENT_TAKEN": "DEL the attachment first, or use another CNI_CONTAINERID or CNI_IFNAME",
    "ADDRESS_TAKEN": "who holds it: romana ipam who ADDRESS; end that pod, or correct the Pod's romana.io/ip",
    "ADDRESS_NOT_ON_NODE": "start the pod on a node of the address's group (romana ipam who ADDRESS), or correct the Pod's"
    " romana.io/ip",
    "ADDRESS_RESERVED": "why it is reserved: romana ipam who ADDRESS; end that (romana ipam release-reservation CIDR, or"
    " `reserved` of the topology), or correct the Pod's romana.io/ip",
    "ADDRESSES_HELD": "end the pods that the message names, then reserve again",
    "STORE_DAMAGED": 'look at the key that the message names: romana store get KEY; docs/operations.md, "Restore"',
    "NETWORK_EXHAUSTED": "where it is full: romana ipam show; delete pods, end reservations (romana ipam reservations), remove"
    " nodes that are gone, or give the group a larger prefix: romana topology plan FILE",
    "CONFLICT": "try again later",
    "UNAVAILABLE": "try again later; what does not answer: romana status",
}
REFUSED_HINT = (
    "the message says what stands against it; node, its groups and their labels: romana node show NODE, romana topology show"
)


def hint(err: RomanaError) -> str:
    """What to do about it. An ipamd that gives no reason (an older one) has the hint of its error's kind."""
    if err.reason in HINTS:
        return HINTS[err.reason]
    if isinstance(err, Refused):
        return REFUSED_HINT
    kinds = {Exhausted: "NETWORK_EXHAUSTED", InvalidInput: "INVALID_REQUEST"}
    return HINTS[next((reason for kind, reason in kinds.items() if isinstance(err, kind)), "UNAVAILABLE")]
