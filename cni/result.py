"""Results and errors as the runtime reads them, in every version of the specification. Pure.

CNI spec 1.1, section 5 "Result types"; the older shapes: SPEC.md of 0.2.0, 0.3.1, 0.4.0 and 1.0.0.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cni.errors import INVALID_CONFIG, CniError
from cni.netconf import NetConf
from cni.prev_result import check_prev_result
from cni.wiring import gateway_of
from romana.netlink.ip import IPInterface

__all__ = ["Attached", "check_chained", "error_document", "result_document"]

DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class Attached:
    """What an ADD made: both ends of the veth pair and the pod's addresses."""

    host_interface: str
    host_mac: str
    pod_interface: str
    pod_mac: str
    netns: str
    mtu_bytes: int
    addresses: tuple[IPInterface, ...]


def result_document(conf: NetConf, attached: Attached) -> bytes:
    """The JSON document for the configuration's version, never another one. What plugins before us made is kept."""
    if not conf.at_least("0.3.0"):
        return _dump(_document_0_2(conf, attached))
    before: Mapping[str, Any] = conf.prev_result or {}
    interfaces = list(before.get("interfaces") or [])
    ours = len(interfaces) + 1  # the pod's end
    document: dict[str, Any] = {
        "cniVersion": conf.version,
        "interfaces": [*interfaces, *_interfaces(conf, attached)],
        "ips": [*(before.get("ips") or []), *(_ip(conf, address, ours) for address in attached.addresses)],
        "routes": [*(before.get("routes") or []), *map(_default_route, _first_of_each_family(attached).values())],
    }
    dns = conf.dns or before.get("dns") or {}
    if dns or not conf.at_least("1.0.0"):
        document["dns"] = dict(dns)
    return _dump(document)


def check_chained(conf: NetConf) -> None:
    """Raise CniError 7 for a result of plugins before us that cannot be added to. CNI spec 1.1, section 3."""
    before = conf.prev_result
    if before is None:
        return
    if not conf.at_least("0.3.0"):
        raise CniError(INVALID_CONFIG, f"version {conf.version} has no chains, but there is a prevResult")
    check_prev_result(before, conf.version)


def error_document(version: str, err: CniError) -> bytes:
    """The JSON document of a failed call; without `details` when there are none."""
    document: dict[str, Any] = {"cniVersion": version, "code": err.code, "msg": err.msg}
    if err.details:
        document["details"] = err.details
    return _dump(document)


def _document_0_2(conf: NetConf, attached: Attached) -> dict[str, Any]:
    """0.1.0 and 0.2.0 know one address per family and no interfaces."""
    ips = {
        f"ip{version}": {"ip": str(address), "gateway": str(gateway_of(address.ip)), "routes": [_default_route(address)]}
        for version, address in sorted(_first_of_each_family(attached).items())
    }
    return {"cniVersion": conf.version, **ips, "dns": dict(conf.dns)}


def _first_of_each_family(attached: Attached) -> dict[int, IPInterface]:
    found: dict[int, IPInterface] = {}
    for address in attached.addresses:
        found.setdefault(address.version, address)
    return found


def _default_route(address: IPInterface) -> dict[str, str]:
    return {"dst": DEFAULT_ROUTES[address.version], "gw": str(gateway_of(address.ip))}


def _interfaces(conf: NetConf, attached: Attached) -> list[dict[str, Any]]:
    """The host's end first, then the pod's."""
    found: list[dict[str, Any]] = [
        {"name": attached.host_interface, "mac": attached.host_mac},
        {"name": attached.pod_interface, "mac": attached.pod_mac, "sandbox": attached.netns},
    ]
    if conf.at_least("1.1.0"):
        for interface in found:
            interface["mtu"] = attached.mtu_bytes
    return found


def _ip(conf: NetConf, address: IPInterface, interface: int) -> dict[str, Any]:
    version = {} if conf.at_least("1.0.0") else {"version": str(address.version)}
    return {**version, "interface": interface, "address": str(address), "gateway": str(gateway_of(address.ip))}


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"
