"""What CHECK compares: what an ADD's result promises, and what is there. Pure. CNI spec 1.1, section 4 "CHECK".

Only what we made is looked at: addresses, routes and interfaces of later plugins are not our business.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Any

from cni.errors import INCOMPATIBLE_VERSION, INVALID_CONFIG, CniError
from cni.prev_result import check_prev_result
from cni.request import Request
from cni.wiring import GATEWAYS, gateway_of
from romana.names import GATEWAY_MAC
from romana.netlink.ip import PERMANENT, IPAddress, IPInterface, IPNetwork, Neighbour, Route, family_of
from romana.netlink.links import Link
from romana.netlink.wire import AF_INET

__all__ = ["Promised", "Seen", "differences"]


@dataclass(frozen=True, slots=True)
class Promised:
    """What the result of ADD, the configuration's `prevResult`, says about our attachment."""

    ifname: str
    netns: str
    sandbox: str
    mac: str
    mtu_bytes: int
    """0: the result does not say, because its version is below 1.1.0."""
    addresses: tuple[IPInterface, ...]
    """Those with our gateway; a later plugin may have added others."""
    routes: tuple[tuple[IPNetwork, str], ...]
    """Destination and gateway (or an empty string) of every route, later plugins' too: the specification asks for them."""

    @classmethod
    def parse(cls, request: Request) -> "Promised":
        """Raises CniError 1 for a version without CHECK, 7 for a `prevResult` that is missing or cannot be read."""
        if not request.conf.at_least("0.4.0"):
            raise CniError(INCOMPATIBLE_VERSION, "config version does not allow CHECK", f"it is {request.conf.version}")
        if request.conf.prev_result in (None, {}):
            raise CniError(INVALID_CONFIG, "prevResult is missing; CHECK needs the result of ADD")
        check_prev_result(request.conf.prev_result, request.conf.version)
        return cls._read(request, request.conf.prev_result)

    @classmethod
    def _read(cls, request: Request, result: Mapping[str, Any]) -> "Promised":
        ifname = request.attachment.ifname
        interfaces = list(result.get("interfaces") or [])
        ours = [number for number, found in enumerate(interfaces) if found["name"] == ifname and found.get("sandbox")]
        pod = interfaces[ours[0]] if ours else {}
        on_ours = [ip for ip in result.get("ips") or [] if ip.get("interface") in ours]
        gateways = {str(gateway) for gateway in GATEWAYS.values()}
        routes = [(ip_network(route["dst"], strict=False), route.get("gw") or "") for route in result.get("routes") or []]
        return cls(
            ifname=ifname,
            netns=request.netns,
            sandbox=pod.get("sandbox") or "",
            mac=(pod.get("mac") or "").lower(),
            mtu_bytes=pod.get("mtu") or 0 if request.conf.at_least("1.1.0") else 0,
            addresses=tuple(ip_interface(ip["address"]) for ip in on_ours if ip.get("gateway") in gateways),
            routes=tuple(routes),
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel has."""

    pod: Link | None
    host: Link | None
    addresses: tuple[tuple[int, IPInterface], ...]
    """In the pod, with the index of their interface; of the families that were promised."""
    routes: tuple[Route, ...]
    """In the pod; of both families."""
    gateways: Mapping[int, Neighbour | None]
    """In the pod, by family."""
    host_routes: Mapping[IPAddress, Route | None]
    """What decides on the node for packets to each address."""
    reverse_path_filter: str
    """Of the host's end: 1 is strict; empty when there is none."""
    host_neighbours: Mapping[IPAddress, Neighbour | None]


def differences(promised: Promised, host_interface: str, seen: Seen) -> list[str]:
    """Everything that is not as ADD left it, each named; empty when all is well."""
    return [
        *_result_differences(promised),
        *_pod_differences(promised, seen),
        *_host_differences(host_interface, seen),
        *(text for address in promised.addresses for text in _path_differences(address.ip, host_interface, seen)),
    ]


def _result_differences(promised: Promised) -> Iterator[str]:
    if not promised.sandbox:
        yield f"prevResult has no interface {promised.ifname} in a sandbox"
    elif promised.sandbox != promised.netns:
        yield f"prevResult has sandbox {promised.sandbox}, CNI_NETNS is {promised.netns}"
    elif not promised.addresses:
        yield f"prevResult has no address of romana's on {promised.ifname}"


def _pod_differences(promised: Promised, seen: Seen) -> Iterator[str]:
    pod = seen.pod
    if pod is None:
        yield f"pod interface {promised.ifname} is missing"
        return
    if not pod.up:
        yield f"pod interface {pod.name} is down"
    if pod.mac != promised.mac:
        yield f"pod interface {pod.name} has MAC {pod.mac}, ADD gave {promised.mac}"
    if promised.mtu_bytes not in {0, pod.mtu_bytes}:
        yield f"pod interface {pod.name} has MTU {pod.mtu_bytes}, ADD gave {promised.mtu_bytes}"
    for address in promised.addresses:
        if (pod.index, address) not in seen.addresses:
            yield f"address {address} is missing on {pod.name}"
    yield from _way_out_differences(promised, pod, seen)


def _way_out_differences(promised: Promised, pod: Link, seen: Seen) -> Iterator[str]:
    for destination, gateway in promised.routes:
        if not any(_is_route(route, destination, gateway) for route in seen.routes):
            yield f"route {destination} via {gateway or pod.name} is missing in the pod"
    for hop in {gateway_of(address.ip): None for address in promised.addresses}:
        on_link = any(route.destination == ip_network(hop) and route.interface == pod.index for route in seen.routes)
        if family_of(hop) == AF_INET and not on_link:
            yield f"route {hop}/32 on {pod.name} is missing in the pod"
        if not _is_permanent(seen.gateways.get(family_of(hop)), GATEWAY_MAC):
            yield f"permanent neighbour {hop} at {GATEWAY_MAC} is missing in the pod"


def _host_differences(name: str, seen: Seen) -> Iterator[str]:
    host = seen.host
    if host is None:
        yield f"host interface {name} is missing"
        return
    if not host.up:
        yield f"host interface {name} is down"
    if host.mac != GATEWAY_MAC:
        yield f"host interface {name} has MAC {host.mac}, must be {GATEWAY_MAC}"
    if seen.reverse_path_filter != "1":
        yield f"host interface {name} has rp_filter {seen.reverse_path_filter}, must be 1"
    if seen.pod is not None and host.mtu_bytes != seen.pod.mtu_bytes:
        yield f"host interface {name} has MTU {host.mtu_bytes}, {seen.pod.name} has {seen.pod.mtu_bytes}"
    if seen.pod is not None and host.peer_index != seen.pod.index:
        yield f"host interface {name} is not the other end of {seen.pod.name}"


def _path_differences(ip: IPAddress, name: str, seen: Seen) -> Iterator[str]:
    if seen.host is None:
        return  # route and neighbour went with it
    route = seen.host_routes.get(ip)
    if route is None or route.destination != ip_network(ip):
        yield f"host route {ip_network(ip)} is missing"
    elif route.interface != seen.host.index:
        yield f"host route {ip_network(ip)} is on another interface than {name} (index {route.interface})"
    if not _is_permanent(seen.host_neighbours.get(ip), seen.pod.mac if seen.pod else None):
        yield f"permanent neighbour {ip} is missing on {name}"


def _is_route(route: Route, destination: IPNetwork, gateway: str) -> bool:
    return route.destination == destination and (not gateway or str(route.gateway) == gateway)


def _is_permanent(neighbour: Neighbour | None, mac: str | None) -> bool:
    return neighbour is not None and bool(neighbour.state & PERMANENT) and mac in {None, neighbour.mac}
