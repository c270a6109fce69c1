"""Where a daemon's health is told: `off`, `ADDRESS:PORT` with a numeric address, or `unix:/path`. Pure."""

from dataclasses import dataclass
from ipaddress import ip_address

__all__ = ["OFF", "HealthAddress", "check_health_address", "parse_health_address"]

OFF = "off"
UNIX = "unix:"
PATH_MAX = 107  # bytes; linux/un.h UNIX_PATH_MAX less the NUL

_ACCEPTED = "must be ADDRESS:PORT with a numeric address, unix:/absolute/path, or off"


@dataclass(frozen=True, slots=True)
class HealthAddress:
    """Either a path, or an address and a port."""

    text: str
    path: str = ""
    host: str = ""
    port: int = 0


def parse_health_address(text: str) -> HealthAddress | None:
    """The address; None for `off`. Raises ValueError for what is none."""
    if text == OFF:
        return None
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not path.startswith("/") or path.endswith("/") or "\0" in path or len(path.encode()) > PATH_MAX:
            raise ValueError(f"{_ACCEPTED}, a path of at most {PATH_MAX} bytes")
        return HealthAddress(text, path=path)
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(_ACCEPTED) from None
    if bracketed != (ip.version == 6) or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(_ACCEPTED)
    return HealthAddress(text, host=str(ip), port=int(port))


def check_health_address(text: str) -> str:
    """The text when it is an address or `off`; raises ValueError."""
    parse_health_address(text)
    return text
