"""The etcd members of a lab: names, places, command lines. Pure.

All run in the control namespace. Members talk to one another on loopback, member k at 127.0.0.k:2380; clients come by a unix
socket, which is reachable from every namespace, or inside the lab by the control namespace's address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from romana.errors import UsageError

__all__ = ["MEMBERS_MAX", "Member", "check_members", "members"]

MEMBERS_MAX = 7  # etcd's FAQ, "What is maximum cluster size?"
CLIENT_PORT, PORTS_APART = 2379, 10
CLIENT_SOCKET = "client:2379"


@dataclass(frozen=True, slots=True)
class Member:
    """One member, counted from 1."""

    number: int
    run: Path
    """The lab's folder for sockets."""
    state: Path
    """The lab's folder for data."""

    @property
    def id(self) -> str:
        """Of its process; the first is `etcd`, however many there are."""
        return "etcd" if self.number == 1 else f"etcd-{self.number}"

    @property
    def folder(self) -> Path:
        """Its working directory."""
        return self.run / self.id

    @property
    def socket(self) -> str:
        """Path of its clients' socket. etcd 3.4 takes `unix://NAME:PORT` for a file NAME:PORT in its working directory."""
        return f"{self.folder}/{CLIENT_SOCKET}"

    @property
    def endpoint(self) -> str:
        """gRPC target for clients."""
        return f"unix:{self.socket}"

    @property
    def peer(self) -> str:
        """URL for the other members."""
        return f"http://127.0.0.{self.number}:2380"

    @property
    def initial(self) -> str:
        """Its part of `--initial-cluster`."""
        return f"{self._name}={self.peer}"

    @property
    def _name(self) -> str:
        return "lab" if self.number == 1 else f"lab-{self.number}"

    def command(self, etcd: str, address: str, cluster: Sequence["Member"]) -> tuple[str, ...]:
        """Its command line; `address` is the control namespace's."""
        port = CLIENT_PORT + PORTS_APART * (self.number - 1)
        client = f"http://{address}:{port}"
        return (
            etcd,
            f"--name={self._name}",
            f"--data-dir={self.state}/{self.id}",
            f"--listen-client-urls=unix://{CLIENT_SOCKET},http://127.0.0.1:{port},{client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            "--initial-cluster=" + ",".join(member.initial for member in cluster),
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
            "--experimental-watch-progress-notify-interval=10s",
            "--logger=zap",
        )


def members(count: int, run: Path, state: Path) -> tuple[Member, ...]:
    """All members of a lab of so many."""
    return tuple(Member(number, run, state) for number in range(1, count + 1))


def check_members(count: int) -> int:
    """The number of members when a lab can have so many; raises UsageError."""
    if not 1 <= count <= MEMBERS_MAX:
        raise UsageError(f"--etcd-members {count}: a lab has 1 to {MEMBERS_MAX}; 3 survive the loss of one")
    return count
