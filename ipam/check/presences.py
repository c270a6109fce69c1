"""Asks agents what is on their nodes, by way of the call that they make every few seconds, and keeps what they say in memory.

    ask ──→ number ──→ the agent's next Recovery call is answered with it ──→ it looks, and says what is there, with the number

The number makes sure that the agent looked after it was asked, whichever clocks there are and however long a call was under way.
Numbers of another ipamd, or of this one before it was started again, are not known here, so their answers count for nothing.
"""

import asyncio
import random
from collections.abc import Callable, Iterable

from ipam.check.finding import Presence

__all__ = ["HeardPresences"]

SPEAKS_S = 60.0  # an agent that has not called for so long is not waited for


class _Ask:
    def __init__(self, number: int, waiting: set[str]) -> None:
        self.number = number
        self.waiting = waiting
        self.heard: dict[str, Presence] = {}
        self.done = asyncio.Event()


class HeardPresences:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._number = random.getrandbits(62)  # not to be mistaken for another process's; no secret
        self._called: dict[str, float] = {}
        self._boots: dict[str, str] = {}
        self._wanted: dict[str, int] = {}
        self._asks: set[_Ask] = set()

    async def ask(self, nodes: Iterable[str], wait_s: float) -> dict[str, Presence]:
        """What the agents of these nodes say is there, seen after this was called; without those that do not answer in time.

        Agents that have not called lately are asked too, and not waited for.
        """
        self._number += 1
        asked = set(nodes)
        for node in asked:
            self._wanted[node] = self._number
        ask = _Ask(self._number, {node for node in asked if self._speaks(node)})
        if not ask.waiting:
            return {}
        self._asks.add(ask)
        try:
            async with asyncio.timeout(wait_s):
                await ask.done.wait()
        except TimeoutError:
            pass  # those that did not answer are left out
        finally:
            self._asks.discard(ask)
        return ask.heard

    def called(self, node: str, boot_id: str) -> int:
        """An agent has called: the number that it is to answer, 0 for none."""
        self._called[node] = self._clock()
        self._boots[node] = boot_id
        return self._wanted.get(node, 0)

    def boot_id(self, node: str) -> str:
        """In which boot the node's agent was when it called last; empty where that is not known here."""
        return self._boots.get(node, "")

    def told(self, presence: Presence, question: int) -> None:
        """An agent has answered."""
        if self._wanted.get(presence.node) == question:
            del self._wanted[presence.node]
        for ask in self._asks:
            if ask.number <= question <= self._number and presence.node in ask.waiting:
                ask.heard[presence.node] = presence
                ask.waiting.discard(presence.node)
                if not ask.waiting:
                    ask.done.set()

    def _speaks(self, node: str) -> bool:
        called_s = self._called.get(node)
        return called_s is not None and self._clock() - called_s < SPEAKS_S
