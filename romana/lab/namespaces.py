"""Network namespaces and links of a lab, made and removed with `ip` (man 8 ip-netns, man 8 ip-link)."""

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from romana.errors import Unavailable
from romana.lab.ipv6 import FABRIC_NET6, beside
from romana.lab.spec import CONTROL, FABRIC, FABRIC_NET, LabSpec

__all__ = ["ensure_fabric", "ensure_netns", "enter", "netns_path", "remove"]

NETNS_DIR = Path("/run/netns")


def netns_path(name: str) -> Path:
    """Where a named namespace is mounted."""
    return NETNS_DIR / name


def enter(netns: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` inside a namespace. Not `ip netns exec`: that remounts /sys and hides the cgroups."""
    return ["nsenter", f"--net={netns_path(netns)}", "--", *command]


def ensure_netns(name: str) -> None:
    """Make a namespace with `lo` up, if it is not there."""
    path = netns_path(name)
    if path.exists() and not os.path.ismount(path):
        path.unlink()  # `ip netns add` was killed between making the file and mounting the namespace on it
    if not path.exists():
        _ip(["netns", "add", name])
    _ip(["-n", name, "link", "set", "lo", "up"])


def remove(names: Iterable[str]) -> None:
    """Remove namespaces; one that is gone is no error."""
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def ensure_fabric(lab: LabSpec) -> None:
    """The ToR router and its segment, the control namespace, the nodes; what is missing is made, what is there stays.

    Existence says nothing: whoever made it may have been killed half-way. So every step is one that is safe to repeat."""
    tor = lab.netns(FABRIC)
    ensure_netns(tor)
    # One segment: the ToR bridges its ports and routes out of them. Pods' packets cross it as any node's do.
    bridge = [] if "br0" in _links(tor) else ["link add br0 type bridge stp_state 0"]
    _batch(tor, [*bridge, f"address replace {FABRIC_NET[1]}/24 dev br0", "link set br0 up"])
    _sysctl(tor, "net.ipv4.ip_forward=1")
    if lab.ipv6:
        _ensure_ipv6(tor, "br0", FABRIC_NET[1])
        _sysctl(tor, "net.ipv6.conf.all.forwarding=1")
    members = [(CONTROL, FABRIC_NET[2]), *((node.name, node.address) for node in lab.nodes)]
    for number, (thing, address) in enumerate(members):
        _ensure_member(tor, f"port{number}", lab.netns(thing), f"{address}/{FABRIC_NET.prefixlen}")
        if lab.ipv6:
            _ensure_ipv6(lab.netns(thing), "eth0", address)
            _batch(lab.netns(thing), [f"route replace default via {beside(FABRIC_NET[1])} dev eth0"])


def _ensure_ipv6(netns: str, interface: str, address: IPv4Address) -> None:
    """The address of IPv6 beside that of IPv4, usable at once: without detection of duplicates, which takes a second or two."""
    for setting in ("disable_ipv6=0", "accept_ra=0", "accept_dad=0"):
        _sysctl(netns, f"net.ipv6.conf.{interface}.{setting}")
    _batch(netns, [f"address replace {beside(address)}/{FABRIC_NET6.prefixlen} dev {interface} nodad"])


def _ensure_member(tor: str, port: str, netns: str, address: str) -> None:
    ensure_netns(netns)
    if port not in _links(tor) or "eth0" not in _links(netns):
        # Both ends of a veth pair come and go together; what bears one of the names alone is no pair of ours.
        _delete_link(tor, port)
        _delete_link(netns, "eth0")
        _batch(tor, [f"link add {port} master br0 type veth peer name eth0 netns {netns}"])
    _batch(tor, [f"link set {port} master br0 up"])
    default = f"route replace default via {FABRIC_NET[1]}"
    _batch(netns, [f"address replace {address} dev eth0", "link set eth0 up", default])


def _links(netns: str) -> set[str]:
    return {link["ifname"] for link in json.loads(_ip(["-n", netns, "-j", "link", "show"]))}


def _delete_link(netns: str, name: str) -> None:
    if name in _links(netns):
        _ip(["-n", netns, "link", "delete", name])


def _sysctl(netns: str, setting: str) -> None:
    key, value = setting.split("=")
    path = "/proc/sys/" + key.replace(".", "/")
    _run(enter(netns, ["sh", "-c", 'echo "$1" > "$2"', "sh", value, path]), "")


def _batch(netns: str, lines: Sequence[str]) -> None:
    _run(["ip", "-n", netns, "-batch", "-"], "\n".join(lines) + "\n")


def _ip(arguments: Sequence[str]) -> str:
    return _run(["ip", *arguments], "")


def _run(command: Sequence[str], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout
