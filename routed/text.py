"""Routes and operations as an operator reads them, close to `ip route`'s words. Pure."""

from romana.names import ROUTE_PROTOCOL_ROUTED
from routed.model import Add, Delete, Installed, Op, Replace
from routed.plan import RTN_UNREACHABLE, installed

__all__ = ["op_text", "route_of", "route_text"]


def route_of(op: Op) -> Installed:
    """The route that an operation is about: the new one, or the one to be deleted."""
    return op.old if isinstance(op, Delete) else installed(op.route)


def route_text(route: Installed, protocol: int = ROUTE_PROTOCOL_ROUTED) -> str:
    """`10.40.0.8/29 via 192.0.2.2 proto 82`."""
    via = f"via {route.next_hop or 'an interface'}"
    if route.type == RTN_UNREACHABLE:
        via = "unreachable"
    return f"{route.destination} {via} proto {protocol}" + (f" metric {route.metric}" if route.metric else "")


def op_text(op: Op) -> str:
    """`add 10.40.0.8/29 via 192.0.2.2 proto 82`."""
    verb = {Add: "add", Replace: "replace", Delete: "delete"}[type(op)]
    return f"{verb} {route_text(route_of(op))}"
