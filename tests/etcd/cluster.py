"""Three real members of one etcd, in one directory; each can be killed, frozen and started again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.etcd.leftovers import new_directory
from tests.etcd.server import EtcdServer

__all__ = ["NAMES", "EtcdCluster"]

NAMES = ("m1", "m2", "m3")


class EtcdCluster:
    """Use it as a context manager."""

    def __init__(self, *options: str) -> None:
        """`options` go to every member's command line."""
        self.directory = new_directory()
        self.members = [EtcdServer(*options, name=name, of=NAMES, directory=self.directory) for name in NAMES]

    @property
    def targets(self) -> list[str]:
        """The members' gRPC targets."""
        return [member.target for member in self.members]

    def targets_from(self, first: int) -> list[str]:
        """The same, with that member first: the one in use until it fails."""
        return [*self.targets[first:], *self.targets[:first]]

    def start(self) -> None:
        """Start those members that do not run, and wait for all."""
        idle = [member for member in self.members if not member.runs]
        for member in idle:
            member.launch()
        for member in idle:
            member.await_ready()

    def __enter__(self) -> "EtcdCluster":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all members and remove their directory."""
        for member in self.members:
            member.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def frozen(self, number: int) -> Iterator[None]:
        """That member answers nothing inside."""
        self.members[number].freeze()
        try:
            yield
        finally:
            self.members[number].thaw()

    def logs(self) -> str:
        """What the members have said, for a person."""
        return "\n".join(path.read_text() for path in sorted(Path(self.directory).glob("*-log")))
