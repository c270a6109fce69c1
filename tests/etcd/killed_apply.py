"""A program that puts a topology in force and kills itself at a chosen transaction of that: `kill -9`, no cleaning up.

    python -m tests.etcd.killed_apply TARGET PREFIX DOCUMENT NUMBER before|after     prints how many there were; 0 kills never

Transactions that the change is made of: addresses forgotten, topology written, blocks given back, nodes placed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ipam.server import Ipamd
from ipam.topology.reading import read_document
from romana import keys
from romana.store.api import Compare, Delete, Op, Put, TxnResult
from romana.store.etcd import EtcdStore
from tests.fakes.losing_store import LosingStore
from tests.ipamd import until


class KillingStore(LosingStore):
    """Ends this process right before or right after the transaction of that number."""

    def __init__(self, store: EtcdStore, number: int, when: str) -> None:
        super().__init__(store, lambda _: "")
        self._number = number
        self._when = when
        self.steps = 0

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """As the store, or never."""
        if not any(map(_is_step, success)):
            return await super().txn(compares, success, failure)
        self.steps += 1
        if (self.steps, self._when) == (self._number, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = await super().txn(compares, success, failure)
        if (self.steps, self._when) == (self._number, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def _is_step(op: Op) -> bool:
    put = isinstance(op, Put) and op.key.startswith((keys.TOPOLOGY, keys.NODES))
    return put or (isinstance(op, Delete) and op.key.startswith((keys.ADDRESSES, keys.BLOCKS)))


async def _apply(target: str, prefix: str, document: bytes, number: int, when: str) -> None:
    store = KillingStore(EtcdStore([target], prefix), number, when)
    ipamd = Ipamd(store, cooldown_s=0, lag_s=lambda: 0.0, restore_hold_s=0.0)
    following = asyncio.create_task(ipamd.follow())
    await until(lambda: ipamd.state.whole or following.done())
    await ipamd.topologies.apply(read_document(document))
    sys.stdout.write(str(store.steps))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(_apply(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes(), int(sys.argv[4]), sys.argv[5]))
