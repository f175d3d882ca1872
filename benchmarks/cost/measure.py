"""CPU time, memory, and the small loops every scenario uses."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .targets import Target

T = TypeVar("T")
cpu = time.process_time  # user + system, of all threads
Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """A target, where the server is, and how much to do."""

    make: type[Target]
    server: str
    scale: float = 1.0

    def url(self, **options: int) -> str:
        """A base URL that makes the server behave so."""
        return (
            f"{self.server}/"
            f"{','.join(f'{name}={value}' for name, value in options.items()) or 'x'}/v1"
        )

    def count(self, number: int, least: int = 2) -> int:
        """So many, at this scale."""
        return max(least, round(number * self.scale))

    def sync(self, url: str, work: Callable[[Target], T]) -> T:
        """Do it with a sync client."""
        target = self.make(url, False)
        try:
            return work(target)
        finally:
            target.close()

    def run(self, url: str, work: Callable[[Target], Awaitable[T]]) -> T:
        """Do it with an async client, in a loop of its own."""

        async def main() -> T:
            target = self.make(url, True)
            try:
                return await work(target)
            finally:
                await target.aclose()

        return asyncio.run(main())

    def connections(self) -> int:
        """How many the server has taken; one more with each question."""
        with urllib.request.urlopen(f"{self.server}/x/stats") as answer:  # noqa: S310 - loopback
            number: int = json.load(answer)["connections"]
            return number


def memory() -> float:
    """KiB of this process that are in memory now (where the system does not tell:
    at most so far).
    """
    status = Path("/proc/self/status")
    if status.exists():
        return float(
            next(
                line.split()[1]
                for line in status.read_text().splitlines()
                if line.startswith("VmRSS")
            )
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


def cost(work: Callable[[], object], rounds: int = 3) -> float:
    """CPU seconds of the median round."""
    taken = []
    for _ in range(rounds):
        gc.collect()
        start = cpu()
        work()
        taken.append(cpu() - start)
    return statistics.median(taken)


async def acost(work: Callable[[], Awaitable[object]], rounds: int = 3) -> float:
    """``cost``, async."""
    taken = []
    for _ in range(rounds):
        gc.collect()
        start = cpu()
        await work()
        taken.append(cpu() - start)
    return statistics.median(taken)


def length(pieces: Iterator[str]) -> int:
    """Characters of a whole stream."""
    return sum(len(piece) for piece in pieces)


async def alength(pieces: AsyncIterator[str]) -> int:
    """``length``, async."""
    total = 0
    async for piece in pieces:
        total += len(piece)
    return total


async def crowd(work: Callable[[], Awaitable[object]], callers: int, each: int) -> None:
    """So many callers at once, each with so many calls one after the other."""

    async def caller() -> None:
        for _ in range(each):
            await work()

    await asyncio.gather(*(caller() for _ in range(callers)))
