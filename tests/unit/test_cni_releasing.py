"""Releases that are under way: one for each attachment, and whoever must can wait for them."""

import asyncio

from cni.agent_releasing import Releasing
from cni.request import AttachmentId

ONE, TWO = (AttachmentId("romana", name, "eth0") for name in ("c1", "c2"))


async def test_a_release_is_under_way_until_it_is_over() -> None:
    releasing, answered = Releasing(), asyncio.Event()
    releasing.start(ONE, answered.wait())
    assert releasing.is_under_way(ONE)
    assert not releasing.is_under_way(TWO)
    waiting = asyncio.create_task(releasing.wait(ONE))
    await releasing.wait(TWO)  # none: at once
    assert not waiting.done()
    answered.set()
    await waiting
    assert not releasing.is_under_way(ONE)


async def test_all_are_waited_for_and_none_is_told() -> None:
    releasing, first, second = Releasing(), asyncio.Event(), asyncio.Event()
    assert not await releasing.wait_for_all()
    releasing.start(ONE, first.wait())
    releasing.start(TWO, second.wait())
    waiting = asyncio.create_task(releasing.wait_for_all())
    first.set()
    await releasing.wait(ONE)
    assert not waiting.done()
    second.set()
    assert await waiting
    assert not await releasing.wait_for_all()
