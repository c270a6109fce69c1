"""Releases that no DEL waits for: owed in the journal before the DEL is answered, told to ipamd at once after it.

    DEL ─→ line "delete" ─→ interface gone ─→ answer
                                  └─→ Release at ipamd ─→ line "released"
                                           └── no answer: remembered durably, tried again (cni/agent_del.py)

Nothing is told before the interface is gone, so no address is given out while it is in use. An ADD of the same attachment waits
for its release, and one that ipamd refuses waits for all that are under way, and asks once more. What an agent that died still
owed is done by its next process, from the journal. Used on the event loop alone.
"""

import asyncio
from collections.abc import Coroutine

from cni.request import AttachmentId

__all__ = ["Releasing"]


class Releasing:
    """The releases that are under way, at most one for each attachment."""

    def __init__(self) -> None:
        self._tasks: dict[AttachmentId, asyncio.Task[object]] = {}

    def is_under_way(self, attachment: AttachmentId) -> bool:
        """True until ipamd has answered, or did not."""
        return attachment in self._tasks

    def start(self, attachment: AttachmentId, release: Coroutine[object, object, object]) -> None:
        """Run it; what comes before it for this attachment must be finished. `release` must raise nothing."""
        task = asyncio.get_running_loop().create_task(release)
        self._tasks[attachment] = task
        task.add_done_callback(lambda _: self._tasks.pop(attachment, None))

    async def wait(self, attachment: AttachmentId) -> None:
        """Return when none is under way for this attachment."""
        if attachment in self._tasks:
            await asyncio.wait({self._tasks[attachment]})

    async def wait_for_all(self) -> bool:
        """Return when those of this moment are over; False when there was none."""
        tasks = set(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks)
        return bool(tasks)
