"""Whether a call or a chunk costs more after many others, with many endpoints, or in a long queue.

Every figure of time is a ratio: the last tenth to the first tenth, or many to few. 1 is flat.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .measure import Bench, Figures, cost, cpu, crowd, memory
from .targets import KEY, MESSAGES, MODEL, Target

_BLOCK = 100


def calls(bench: Bench) -> Figures:
    """100,000 calls: the last 10,000 beside the first, and the memory that came between."""
    tenth = bench.count(10_000, 500)

    def block(target: Target) -> float:
        start = cpu()
        for _ in range(_BLOCK):
            target.chat()
        return cpu() - start

    def work(target: Target) -> Figures:
        tenths, grown = [], []
        for _ in range(10):
            tenths.append(statistics.median(block(target) for _ in range(tenth // _BLOCK)))
            grown.append(memory())
        return {"calls.time": tenths[-1] / tenths[0], "calls.kib": grown[-1] - grown[0]}

    return bench.sync(bench.url(), work)


def chunks(bench: Bench) -> Figures:
    """A stream of 20,000 chunks: the last 2,000 beside the first, and the memory of one chunk between."""
    count = bench.count(20_000, 5000)
    tenth = count // 10

    def marks() -> tuple[Callable[[str], None], Callable[[], Figures]]:
        seen, times, sizes = 0, [cpu()], [memory()]

        def one(_: str) -> None:
            nonlocal seen
            seen += 1
            if seen % tenth == 0:
                times.append(cpu())
                sizes.append(memory())

        def figures() -> Figures:
            parts = [end - start for start, end in itertools.pairwise(times)][:10]
            return {"time": parts[9] / parts[0], "kib": (sizes[10] - sizes[1]) / (9 * tenth)}

        return one, figures

    def work(target: Target) -> Figures:
        one, figures = marks()
        for piece in target.stream():
            one(piece)
        return figures()

    async def awork(target: Target) -> Figures:
        one, figures = marks()
        async for piece in target.astream():
            one(piece)
        return figures()

    def thrice(read: Callable[[], Figures]) -> Figures:
        rounds = [read() for _ in range(4)][1:]
        return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}

    url = bench.url(n=count, co=64)
    found = {"sync": thrice(lambda: bench.sync(url, work)), "async": thrice(lambda: bench.run(url, awork))}
    return {f"chunks.{mode}.{name}": value for mode, figures in found.items() for name, value in figures.items()}


def endpoints(bench: Bench) -> Figures:
    """A call with 100 endpoints beside a call with one; both keep one connection."""
    count = bench.count(500, 100)

    def opea(number: int) -> Any:
        urls = [{"base_url": bench.url(e=i), "api_key": KEY} for i in range(number)]
        return import_module("opea_core").OPEA(endpoints=urls, model=MODEL)

    def read(client: Any) -> float:
        with client:
            for _ in range(200):
                client.chat(MESSAGES)
            return cost(lambda: [client.chat(MESSAGES) for _ in range(count)], 5)

    few, many = opea(1), opea(100)
    return {"endpoints.time": 1 / read(few) * read(many)}


def tickets(bench: Bench) -> Figures:
    """A call out of 10,000 that wait for 50 places, beside a call out of 100, and the memory of one that waits."""
    total = bench.count(10_000, 1000)

    async def read(waiting: int, repeat: int) -> Figures:
        async with import_module("opea_core").OPEA(bench.url(), api_key=KEY, model=MODEL, max_concurrent_requests=50) as client:

            async def call() -> object:
                return await client.achat(MESSAGES)

            await crowd(call, 50, 2)
            before, start = memory(), cpu()
            for _ in range(repeat):
                running = [asyncio.create_task(call()) for _ in range(waiting)]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                size = memory()
                await asyncio.gather(*running)
            return {"time": (cpu() - start) / (repeat * waiting), "kib": (size - before) / waiting}

    many, few = asyncio.run(read(total, 1)), asyncio.run(read(100, total // 100))
    return {"tickets.time": many["time"] / few["time"], "tickets.kib": many["kib"]}


GROWTH: dict[str, Callable[[Bench], Figures]] = {"calls": calls, "chunks": chunks, "endpoints": endpoints, "tickets": tickets}
