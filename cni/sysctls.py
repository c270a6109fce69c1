"""Kernel settings that attachments need; /proc/sys/net is that of the calling thread's network namespace. Blocking.

linux, Documentation/networking/ip-sysctl.rst: rp_filter, ip_forward; disable_ipv6, accept_ra, forwarding of IPv6.
"""

from collections.abc import Iterator
from pathlib import Path

from cni.errors import PLUMBING_FAILED, CniError
from romana.names import HOST_INTERFACE_PREFIX
from romana.netlink.wire import AF_INET, AF_INET6

__all__ = ["IPV4", "IPV6", "families", "forward_ipv4", "forward_ipv6", "prepare_ipv6", "protect_host_end", "reverse_path_filter"]

IPV4 = Path("/proc/sys/net/ipv4")
IPV6 = Path("/proc/sys/net/ipv6")
"""Absent where the kernel has no IPv6."""


def families() -> tuple[int, ...]:
    """What this kernel speaks: AF_INET, and AF_INET6 unless that was switched off at boot (ipv6.disable)."""
    return (AF_INET, AF_INET6) if IPV6.exists() else (AF_INET,)


def protect_host_end(interface: str) -> None:
    """Before it is up: it takes only packets from addresses that are routed to it (RFC 3704), and no router's advertisements.

    Else a pod could send with another's address, or make itself the node's way out (CVE-2020-13401).
    """
    _write(f"{IPV4}/conf/{interface}/rp_filter", "1")
    accept_ra = f"{IPV6}/conf/{interface}/accept_ra"
    if IPV6.exists():
        _write(accept_ra, "0")


def prepare_ipv6(interface: str) -> None:
    """Let an interface have IPv6, which runtimes switch off, and only what we give it."""
    _write(f"{IPV6}/conf/{interface}/accept_ra", "0")
    _write(f"{IPV6}/conf/{interface}/disable_ipv6", "0")


def forward_ipv4() -> None:
    """Let this node forward packets."""
    if _read(IPV4 / "ip_forward") != "1":  # writing it resets other settings of every interface
        _write(IPV4 / "ip_forward", "1")


def forward_ipv6() -> None:
    """The same for IPv6. Forwarding would end what an uplink learns by router's advertisements, so that is told to go on."""
    forwarding = IPV6 / "conf" / "all" / "forwarding"
    if _read(forwarding) == "1":
        return
    for accept_ra in _listening():
        _write(accept_ra, "2")
    _write(forwarding, "1")


def reverse_path_filter(interface: str) -> str:
    """What rp_filter is; empty when there is no such interface."""
    return _read(IPV4 / "conf" / interface / "rp_filter")


def _listening() -> Iterator[Path]:
    for accept_ra in IPV6.glob("conf/*/accept_ra"):
        name = accept_ra.parent.name
        if name not in {"all", "default", "lo"} and not name.startswith(HOST_INTERFACE_PREFIX) and _read(accept_ra) == "1":
            yield accept_ra


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _write(path: Path | str, value: str) -> None:
    try:
        with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - on the way of every ADD; a Path costs as much as the write
            file.write(value.encode())
    except OSError as err:
        raise CniError(PLUMBING_FAILED, f"cannot write {value} to {path}: {err.strerror}") from err
