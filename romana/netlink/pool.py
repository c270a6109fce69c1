"""Open rtnetlink sockets of one network namespace, lent out: opening one costs as much as asking it."""

import contextlib
from collections.abc import Iterator

from romana.netlink.connection import Connection, NetlinkError

__all__ = ["Pool"]


class Pool:
    """Sockets of the namespace that every borrowing thread is in. There are as many as were ever lent at one time."""

    def __init__(self) -> None:
        self._idle: list[Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Connection]:
        """A socket for this thread alone. After anything but a refusal of the kernel it is closed: it may be out of step."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection()
        try:
            yield connection
        except NetlinkError:
            self._take_back(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._take_back(connection)

    def close(self) -> None:
        """Close all; those that are lent are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_back(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)
