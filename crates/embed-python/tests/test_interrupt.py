"""Calls that nobody waits for any more are dropped."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType

import pytest

import embed

# More than a test could wait for.
LONG = 100_000


def texts() -> list[str]:
    return [f"{number} words and more words about nothing in particular " * 8 for number in range(LONG)]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that signal")
def test_ctrl_c_interrupts_a_call_and_the_next_one_is_answered(model: embed.Embedder) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        # A signal that comes earlier proves nothing; the next one follows.
        if frame is not None and frame.f_code.co_name == "encode":
            signal.default_int_handler(number, frame)

    several = texts()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
        with pytest.raises(KeyboardInterrupt):
            model.encode(several)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # It would stand behind the other one, which takes far longer than that.
    assert model.encode(["still there"], timeout=60).shape == (1, 384)


async def test_a_cancelled_task_drops_its_call(model: embed.Embedder) -> None:
    several = texts()
    calls = [asyncio.create_task(model.aencode(several)), asyncio.create_task(model.aencode_rows(several))]
    await asyncio.wait(calls, timeout=0.2)
    for call in calls:
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    vectors = await model.aencode(["still there"], timeout=60)
    assert vectors.shape == (1, 384)


async def test_a_call_of_asyncio_leaves_the_loop_to_others(model: embed.Embedder) -> None:
    call = asyncio.create_task(model.aencode(["some text"] * 50))
    turns = 0
    while not call.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 1 and (await call).shape == (50, 384)
