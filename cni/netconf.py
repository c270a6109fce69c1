"""The network configuration on standard input, checked. Pure. CNI spec 1.1, section 1 "Network configuration format"."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from cni.errors import DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG, CniError

__all__ = [
    "CURRENT_VERSION",
    "NAME_RULE",
    "VERSIONS",
    "NetConf",
    "decoded",
    "is_name",
    "kind_of",
    "stated_version",
    "version_number",
]

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT_VERSION = VERSIONS[-1]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # of networks and ids of containers, CNI spec 1.1, sections 1 and 2
_NAME_MAX = 255  # the specification has no limit, runtimes use 64; NAME_MAX, linux/limits.h, as ipamd has it
NAME_RULE = f"must match {_NAME.pattern} and have at most {_NAME_MAX} characters"

MTU_MIN = 68  # RFC 791: every link must carry 68 bytes
MTU_MAX = 65535  # the length field of an IPv4 header, RFC 791


def is_name(text: str) -> bool:
    """True for what can be the name of a network or the id of a container."""
    return len(text) <= _NAME_MAX and _NAME.fullmatch(text) is not None


def version_number(version: str) -> tuple[int, ...]:
    """A version as numbers that compare: 0.4.0 < 1.0.0."""
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True, slots=True)
class NetConf:
    """The keys that concern us; unknown ones are other people's."""

    name: str
    version: str
    mtu_bytes: int = 0
    """0: the configuration does not say."""
    dns: Mapping[str, Any] = field(default_factory=dict)
    """Copied into the result as it is."""
    networks: tuple[str, ...] = ()
    """Networks of the topology to take addresses of, one per family at most; empty: ipamd chooses."""
    prev_result: Any = None
    """Whatever stood there; only ADD and CHECK look at it."""

    @classmethod
    def parse(cls, stdin: bytes, *, own_keys: bool) -> "NetConf":
        """Name and version checked, and with `own_keys` ours too: DEL must work with a configuration that went wrong since ADD.

        Raises CniError 6 (not an object, or name or version of another type), 7 (name), 1 (version), 7 (own keys), in this order.
        """
        raw = decoded(stdin)
        name = _string(raw, "name")
        version = _string(raw, "cniVersion") or VERSIONS[0]  # absent means 0.1.0, as libcni has it
        if not name:
            raise CniError(INVALID_CONFIG, "missing network name", "give the network configuration a name")
        if not is_name(name):
            raise CniError(INVALID_CONFIG, f"network name {name!r} cannot be; {NAME_RULE}")
        if version not in VERSIONS:
            details = f'config is "{version}", plugin supports [{" ".join(VERSIONS)}]'
            raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI versions", details)
        wrong = [*_mtu_faults(raw), *_dns_faults(raw), *_network_faults(raw)] if own_keys else []
        if wrong:
            raise CniError(INVALID_CONFIG, "; ".join(wrong), "correct the network configuration")
        if not own_keys:
            return cls(name, version, prev_result=raw.get("prevResult"))
        return cls(name, version, raw.get("mtu") or 0, _dns(raw), _networks(raw), raw.get("prevResult"))

    def at_least(self, version: str) -> bool:
        """True when the configuration's version is that or a later one."""
        return version_number(self.version) >= version_number(version)


def stated_version(stdin: bytes) -> str:
    """The version to answer an error with: the configuration's own if it can be read and is ours, else the current one."""
    try:
        version = _string(decoded(stdin), "cniVersion") or VERSIONS[0]
    except CniError:
        return CURRENT_VERSION
    return version if version in VERSIONS else CURRENT_VERSION


def decoded(stdin: bytes) -> Mapping[str, Any]:
    """The configuration as it stands there; raises CniError 6 for what is no JSON object."""
    try:
        raw = json.loads(stdin)
    except (ValueError, RecursionError) as err:
        raise CniError(DECODING_FAILURE, f"cannot decode the network configuration: {_why(err)}") from err
    if not isinstance(raw, dict):
        raise CniError(DECODING_FAILURE, f"the network configuration must be a JSON object, not {kind_of(raw)}")
    return raw


def _why(err: ValueError | RecursionError) -> str:
    """In words of JSON: those of Python's errors help nobody who wrote a configuration."""
    if isinstance(err, json.JSONDecodeError):
        return f"it is no JSON: {err.msg[:1].lower()}{err.msg[1:]} at line {err.lineno}, column {err.colno}"
    if isinstance(err, UnicodeDecodeError):
        return f"it is not UTF-8: byte {err.start}"
    if isinstance(err, RecursionError):
        return "it is nested too deep"
    return "a number has too many digits"  # int() takes 4300, sys.int_info


def _string(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CniError(DECODING_FAILURE, f"{key} must be a string, not {kind_of(value)}")
    return value


def kind_of(value: Any) -> str:
    """The type of a JSON value, in JSON's words."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "null")


def _mtu_faults(raw: Mapping[str, Any]) -> list[str]:
    mtu = raw.get("mtu")
    if mtu is None or (type(mtu) is int and MTU_MIN <= mtu <= MTU_MAX):
        return []
    return [f"mtu is {json.dumps(mtu)}; must be a number from {MTU_MIN} to {MTU_MAX}"]


def _dns_faults(raw: Mapping[str, Any]) -> list[str]:
    dns = raw.get("dns")
    if dns is None:
        return []
    if not isinstance(dns, dict):
        return [f"dns is {kind_of(dns)}; must be an object"]
    faults = [] if isinstance(dns.get("domain", ""), str) else [f"dns.domain is {kind_of(dns['domain'])}; must be a string"]
    for key in ("nameservers", "search", "options"):
        faults += _strings_faults(key, dns.get(key))
    servers = [server for server in _strings(dns.get("nameservers")) if not _is_ip(server)]
    return faults + [f"dns.nameservers has {server!r}; must be an IP address" for server in servers]


def _networks(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """`networks`, or `network` for a single one."""
    return (raw["network"],) if raw.get("network") else tuple(raw.get("networks") or ())


def _network_faults(raw: Mapping[str, Any]) -> list[str]:
    one, several = raw.get("network"), raw.get("networks")
    if one is not None and several is not None:
        return ["network and networks say the same thing twice; give one of them"]
    listed = [one] if one is not None else several
    rule = "must be the name of a network of the topology"
    if listed is None:
        return []
    if not isinstance(listed, list):
        return [f"networks is {kind_of(several)}; must be an array of names"]
    key = "network" if one is not None else "networks"
    return [f"{key} has {name!r}; {rule}" for name in listed if not isinstance(name, str) or not is_name(name)]


def _dns(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration's, or the runtime's where it gives one (CONVENTIONS.md of the CNI project, capability `dns`)."""
    runtime = raw.get("runtimeConfig")
    given = runtime.get("dns") if isinstance(runtime, dict) else None
    words = {"servers": "nameservers", "searches": "search", "options": "options"}
    named = {words[key]: value for key, value in given.items() if key in words} if isinstance(given, dict) else {}
    return named or raw.get("dns") or {}


def _strings_faults(key: str, value: Any) -> list[str]:
    if value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return []
    return [f"dns.{key} must be an array of strings"]


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
