"""Where a service is, as configurations say it: a gRPC target, `host:port` or `unix:/path`. Pure."""

import re
from ipaddress import AddressValueError, IPv6Address

__all__ = ["check_endpoint"]

PORT_MAX = 2**16 - 1

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_ACCEPTED = "must be HOST:PORT, [IPv6]:PORT, or unix:/absolute/path"


def check_endpoint(text: str) -> str:
    """The target when it is one; raises ValueError. What follows `unix:/` is a path, colons and all: etcd names sockets so."""
    if text.startswith("unix:/"):
        if text.strip("/") == "unix:" or "\0" in text or text.endswith("/"):
            raise ValueError(_ACCEPTED)
        return text
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX and _is_host(host)):
        raise ValueError(_ACCEPTED)
    return text


def _is_host(host: str) -> bool:
    if not (host.startswith("[") and host.endswith("]")):
        return _HOST.fullmatch(host) is not None
    try:
        IPv6Address(host[1:-1])
    except AddressValueError:
        return False
    return True
