"""Memory doesn't grow with the number of calls, dropped and interrupted ones among them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

import embed

# `EMBED_TEST_CALLS=100000` for a longer run.
CALLS = int(os.environ.get("EMBED_TEST_CALLS", "3000"))
ROUND = 500
"""Calls of a round. Those of its threads are futures of Python all at once, whose memory stays with Python."""
MOST = 5_000_000
"""Bytes, from the end of the warm-up to the end of the last round."""

LONG = [f"{number} words and more words about nothing in particular " * 8 for number in range(200)]


def resident() -> int:
    """Bytes of memory that is no file's."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def interrupt(number: int, frame: FrameType | None) -> None:
    # A signal that comes earlier proves nothing; the next one follows.
    if frame is not None and frame.f_code.co_name == "encode":
        signal.default_int_handler(number, frame)


class Caller:
    """Makes calls of every kind, and counts how they ended."""

    def __init__(self, model: embed.Embedder, articles: list[str]) -> None:
        self.model = model
        self.texts = [text[: 10 + number % 70] for number, text in enumerate(articles)]
        self.articles = articles
        self.ended = dict.fromkeys(["answered", "refused", "late", "dropped", "interrupted"], 0)

    def some(self, number: int, count: int) -> list[str]:
        return [f"{number} {self.texts[(number * 7 + at) % len(self.texts)]}" for at in range(count)]

    def one(self, number: int) -> None:
        """A call of the calling thread."""
        match number % 10:
            case 0:
                rows = self.model.encode_rows([*self.some(number, 2), ""])
                assert rows[2].error is not None
                self.ended["refused"] += 1
            case 1 if number % 20 == 1:
                try:
                    self.model.encode(LONG, timeout=0.001)
                except embed.EmbedError as error:
                    assert error.kind == "timeout", error.kind
                    self.ended["late"] += 1
            case 2 if number % 100 == 2:
                self.model.encode(self.articles[number % len(self.articles)], truncate="end")
                self.ended["answered"] += 1
            case _:
                self.model.encode(self.some(number, 1 + number % 3))
                self.ended["answered"] += 1

    def interrupted(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            with pytest.raises(KeyboardInterrupt):
                self.model.encode(LONG * 5)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.ended["interrupted"] += 1

    async def tasks(self, first: int, count: int) -> None:
        """Calls of asyncio, of which every sixteenth is cancelled."""
        for at in range(first, first + count, 16):
            calls = [asyncio.create_task(self.model.aencode(self.some(at + of, 2))) for of in range(15)]
            dropped = asyncio.create_task(self.model.aencode_rows(LONG))
            await asyncio.gather(*calls)
            dropped.cancel()
            self.ended["answered"] += 15
            with pytest.raises(asyncio.CancelledError):
                await dropped
            self.ended["dropped"] += 1

    def warm_up(self) -> None:
        """Gives every thread of the model the largest pieces of work that it can have, for which it keeps its memory. Those of
        a text that comes alone go to whichever thread is free, so it takes several until each has had some."""
        longest = " ".join(self.articles)[:4000]
        self.model.encode([longest] * 16, truncate="end")
        for _ in range(40):
            self.model.encode(longest, truncate="end")
        self.round(0)

    def round(self, first: int) -> None:
        """Half of the calls from four threads, the other half from asyncio, after one of this thread, which is interrupted."""
        self.interrupted()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self.one, range(first, first + ROUND // 2)))
        asyncio.run(self.tasks(first, ROUND // 2))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_memory_does_not_grow_with_calls(model: embed.Embedder, articles: list[str]) -> None:
    caller = Caller(model, articles)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        caller.warm_up()
        held = [resident()]
        print(f"after the warm-up: {held[0] / 1e6:.1f} MB", flush=True)
        for first in range(0, CALLS, ROUND):
            caller.round(first)
            held.append(resident())
            if len(held) % max(1, CALLS // ROUND // 10) == 0:
                print(f"{first + ROUND:,} calls: {held[-1] / 1e6:.1f} MB", flush=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(caller.ended)
    assert all(caller.ended.values()), caller.ended
    assert held[-1] - held[0] < MOST, [f"{bytes / 1e6:.1f} MB" for bytes in held]
