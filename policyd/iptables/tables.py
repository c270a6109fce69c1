"""The one place that changes legacy filter tables: under the xtables lock, by python-iptables or by iptables-restore."""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from policyd.ipset.model import Family
from policyd.iptables import native
from policyd.iptables.blob import TableState
from policyd.iptables.change import RuleChange, restore_text, saved_chains
from policyd.iptables.table import read_table
from romana.errors import FatalError, Unavailable

__all__ = ["XTABLES_LOCK", "LegacyTables"]

XTABLES_LOCK = Path("/run/xtables.lock")
"""Every iptables of the node must use the same file: in a container, mount the node's (man 8 iptables, XTABLES_LOCKFILE)."""

NATIVE_MAX = 40
"""Above this many rules the program is quicker than python-iptables, which builds 2,500 to 3,800 rules a second."""

LOCK_WAIT_S = 10
LOCK_PAUSE_S = 0.005
PROGRAM_TIMEOUT_S = 60

_PREFIX: Mapping[Family, str] = {4: "iptables", 6: "ip6tables"}


class LegacyTables:
    """The filter tables of the network namespace that the calling thread is in."""

    def __init__(self, lock: Path = XTABLES_LOCK) -> None:
        self._lock = lock

    def commit(self, family: Family, change: RuleChange) -> TableState:
        """Carry out a change at one stroke; the table after it, read under the same lock, so that all of it is our doing.

        Raises Unavailable, and then nothing of the change is done.
        """
        with self._locked():
            if change.size <= NATIVE_MAX:
                native.commit(family, change)
            else:
                self._restore(family, restore_text(change))
            return read_table(family)

    def saved(self, family: Family) -> Mapping[str, tuple[str, ...]]:
        """Our chains as iptables-save writes them. Raises Unavailable where a foreign rule cannot be printed here."""
        return saved_chains(self._run(f"{_PREFIX[family]}-legacy-save", "-t", "filter"))

    def stamps(self, family: Family, chain: str) -> tuple[str, ...]:
        """What the rules of a chain set as connection mark; works whatever foreign rules there are."""
        with self._locked():
            return tuple(native.stamps(family, chain))

    def _restore(self, family: Family, text: str) -> None:
        """We hold the lock, and the program wants one: it gets another file's."""
        with NamedTemporaryFile(prefix="romana-xtables-") as stand_in:
            self._run(f"{_PREFIX[family]}-legacy-restore", "--noflush", "--wait", text=text, lock=Path(stand_in.name))

    def _run(self, *command: str, text: str = "", lock: Path | None = None) -> str:
        environment = {**os.environ, "XTABLES_LOCKFILE": str(lock or self._lock)}
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, check=False, timeout=PROGRAM_TIMEOUT_S, env=environment
            )
        except FileNotFoundError as err:
            raise FatalError(f"{command[0]} is not installed; Debian's package is iptables") from err
        except (OSError, subprocess.TimeoutExpired) as err:
            raise Unavailable(f"{command[0]} does not end: {err}") from err
        if done.returncode:
            raise Unavailable(f"{' '.join(command)} failed with exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("a") as file:
            deadline = time.monotonic() + LOCK_WAIT_S
            while not _try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self._lock} is held by another program for over {LOCK_WAIT_S} s")
                time.sleep(LOCK_PAUSE_S)
            yield


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
