"""`prevResult`, the result of the plugins before, held to the shape that its version has. Pure.

CNI spec 1.1, section 5 "Result types"; SPEC.md of 0.3.1, 0.4.0 and 1.0.0 for what differs: `version` stands in `ips` before 1.0.0
only, `mtu`, `socketPath` and `pciID` of interfaces and the attributes of routes since 1.1.0. A key that the version does not have
is somebody's own, and nobody's business. Null is as good as absent: that is how Go writes a list of nothing.

Every fault is named with its path (`prevResult.ips[1].address`), all at once; the rest of the agent then reads it without care.
"""

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from cni.errors import INVALID_CONFIG, CniError
from cni.netconf import VERSIONS, kind_of, version_number

__all__ = ["check_prev_result"]

SAID_MAX = 80  # characters of a wrong value that a message repeats
FAULTS_MAX = 16  # that a message names: libcni and the runtimes log it whole

# net.ParseMAC of Go: EUI-48, EUI-64, or the 20 octets of IP over InfiniBand
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}(([:][0-9a-fA-F]{2}){2}|([:][0-9a-fA-F]{2}){14})?")

Check = Callable[[str, Any], list[str]]


def check_prev_result(result: Any, conf_version: str) -> None:
    """Raise CniError 7 with every fault. `conf_version` is one that has interfaces (0.3.0 and later).

    The result's own version, where it states one, must have the shape that the configuration's has: both go into one document.
    """
    if not isinstance(result, dict):
        raise _refusal([_must("prevResult", result, "an object")])
    stated = result.get("cniVersion")
    version = conf_version if stated is None else stated
    fitting = [name for name in VERSIONS if not _below(name, "0.3.0") and _below(name, "1.0.0") == _below(conf_version, "1.0.0")]
    if version not in fitting:
        raise _refusal([_must("prevResult.cniVersion", stated, f"of the configuration's shape: {', '.join(fitting)}")])
    faults = _Shape(version).faults(result)
    if faults:
        raise _refusal(faults)


def _refusal(faults: list[str]) -> CniError:
    more = [f"and {len(faults) - FAULTS_MAX} faults more"] if len(faults) > FAULTS_MAX else []
    return CniError(INVALID_CONFIG, "; ".join([*faults[:FAULTS_MAX], *more]), "give the result of ADD, as the plugin printed it")


class _Shape:
    """What a result of one version looks like."""

    def __init__(self, version: str) -> None:
        self._states_family = _below(version, "1.0.0")
        self._has_attributes = not _below(version, "1.1.0")

    def faults(self, result: Mapping[str, Any]) -> list[str]:
        interfaces = result.get("interfaces")
        count = len(interfaces) if isinstance(interfaces, list) else 0
        return [
            *_each("prevResult.interfaces", interfaces, self._interface),
            *_each("prevResult.ips", result.get("ips"), lambda path, ip: self._ip(path, ip, count)),
            *_each("prevResult.routes", result.get("routes"), self._route),
            *_optional("prevResult.dns", result.get("dns"), _dns),
        ]

    def _interface(self, path: str, value: Any) -> list[str]:
        if not isinstance(value, dict):
            return [_must(path, value, "an object")]
        found = _required(f"{path}.name", value.get("name"), _name)
        found += _optional(f"{path}.mac", value.get("mac"), _mac)
        found += _optional(f"{path}.sandbox", value.get("sandbox"), _text)
        if self._has_attributes:
            found += _optional(f"{path}.mtu", value.get("mtu"), _unsigned)
            for key in ("socketPath", "pciID"):
                found += _optional(f"{path}.{key}", value.get(key), _text)
        return found

    def _ip(self, path: str, value: Any, interfaces: int) -> list[str]:
        if not isinstance(value, dict):
            return [_must(path, value, "an object")]
        found = _required(f"{path}.address", value.get("address"), _cidr)
        found += _optional(f"{path}.gateway", value.get("gateway"), _ip)
        index = value.get("interface")
        if index is not None and not (type(index) is int and 0 <= index < interfaces):
            found.append(_must(f"{path}.interface", index, f"an index of prevResult.interfaces, which has {interfaces}"))
        if self._states_family and not found:
            family = str(ip_interface(value["address"]).version)
            if value.get("version") != family:
                found.append(_must(f"{path}.version", value.get("version"), f'"{family}", as its address is'))
        return found

    def _route(self, path: str, value: Any) -> list[str]:
        if not isinstance(value, dict):
            return [_must(path, value, "an object")]
        found = _required(f"{path}.dst", value.get("dst"), _cidr)
        found += _optional(f"{path}.gw", value.get("gw"), _ip)
        if self._has_attributes:
            for key in ("mtu", "advmss", "table", "scope"):
                found += _optional(f"{path}.{key}", value.get(key), _unsigned)
            found += _optional(f"{path}.priority", value.get("priority"), _whole)
        return found


def _dns(path: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [_must(path, value, "an object")]
    found = _optional(f"{path}.domain", value.get("domain"), _text)
    found += _each(f"{path}.nameservers", value.get("nameservers"), _ip)
    for key in ("search", "options"):
        found += _each(f"{path}.{key}", value.get(key), _text)
    return found


def _each(path: str, value: Any, check: Check) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [_must(path, value, "an array")]
    return [fault for index, item in enumerate(value) for fault in check(f"{path}[{index}]", item)]


def _optional(path: str, value: Any, check: Check) -> list[str]:
    """Absent, null and an empty text are the same to Go."""
    return [] if value is None or value == "" else check(path, value)


def _required(path: str, value: Any, check: Check) -> list[str]:
    return [f"{path} is missing"] if value is None or value == "" else check(path, value)


def _text(path: str, value: Any) -> list[str]:
    return [] if isinstance(value, str) else [_must(path, value, "a string")]


def _name(path: str, value: Any) -> list[str]:
    fits = isinstance(value, str) and not any(char == "/" or char.isspace() for char in value)
    return [] if fits else [_must(path, value, "the name of an interface")]


def _mac(path: str, value: Any) -> list[str]:
    fits = isinstance(value, str) and _MAC.fullmatch(value)
    return [] if fits else [_must(path, value, "a MAC address, as 02:00:00:00:00:01")]


def _ip(path: str, value: Any) -> list[str]:
    return [] if _reads(ip_address, value) else [_must(path, value, "an IP address, as 10.0.0.1")]


def _cidr(path: str, value: Any) -> list[str]:
    fits = isinstance(value, str) and "/" in value and _reads(ip_interface, value)
    return [] if fits else [_must(path, value, "an address with its prefix length, as 10.0.0.5/32")]


def _unsigned(path: str, value: Any) -> list[str]:
    return [] if type(value) is int and value >= 0 else [_must(path, value, "a number, 0 or more")]


def _whole(path: str, value: Any) -> list[str]:
    return [] if type(value) is int else [_must(path, value, "a whole number")]


def _reads(read: Callable[[str], object], value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        read(value)
    except ValueError:
        return False
    return True


def _below(version: str, other: str) -> bool:
    return version_number(version) < version_number(other)


def _must(path: str, value: Any, rule: str) -> str:
    """What stands there, in JSON and not at length."""
    if isinstance(value, list | dict):
        said = kind_of(value)
    else:
        said = json.dumps(value)
        said = said if len(said) <= SAID_MAX else f"{said[:SAID_MAX]}..."
    return f"{path} is {said}; must be {rule}"
