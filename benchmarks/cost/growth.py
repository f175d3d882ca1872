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
    """The last 10,000 of 100,000 calls, in turn with the first 10,000 of a new client,
    and the memory that came before.

    In turn, because the same call costs half as much again in another minute of a busy machine.
    """
    tenth = bench.count(10_000, 500)

    def block(target: Target) -> float:
        start = cpu()
        for _ in range(_BLOCK):
            target.chat()
        return cpu() - start

    def work(old: Target) -> Figures:
        sizes = []
        for _ in range(9):
            for _ in range(tenth // _BLOCK):
                block(old)
            sizes.append(memory())
        time = bench.sync(
            bench.url(),
            lambda new: _in_turn(lambda: block(old), lambda: block(new), tenth // _BLOCK),
        )
        return {"calls.time": time, "calls.kib": sizes[-1] - sizes[0]}

    return bench.sync(bench.url(), work)


def _in_turn(many: Callable[[], float], few: Callable[[], float], rounds: int) -> float:
    """How much more the first costs than the second, by the medians; each is tried once before."""
    pairs = [(many(), few()) for _ in range(rounds + 1)][1:]
    return statistics.median(pair[0] for pair in pairs) / statistics.median(
        pair[1] for pair in pairs
    )


def chunks(bench: Bench) -> Figures:
    """A stream of 20,000 chunks: the last 2,000 beside the first,
    and the memory of one chunk between.
    """
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
    found = {
        "sync": thrice(lambda: bench.sync(url, work)),
        "async": thrice(lambda: bench.run(url, awork)),
    }
    return {
        f"chunks.{mode}.{name}": value
        for mode, figures in found.items()
        for name, value in figures.items()
    }


def endpoints(bench: Bench) -> Figures:
    """A call with 100 endpoints beside a call with one."""

    def opea(number: int) -> Any:
        urls = [{"base_url": bench.url(e=i), "api_key": KEY} for i in range(number)]
        return import_module("opea_core").OPEA(endpoints=urls, model=MODEL)

    def read(client: Any) -> float:
        return cost(lambda: [client.chat(MESSAGES) for _ in range(_BLOCK)], 1)

    with opea(1) as few, opea(100) as many:
        return {"endpoints.time": _in_turn(lambda: read(many), lambda: read(few), bench.count(20))}


def tickets(bench: Bench) -> Figures:
    """A call out of 10,000 that wait for 50 places, beside a call out of 100,
    and the memory of one that waits.
    """
    total, sizes = bench.count(10_000, 1000), []

    async def read(waiting: int, repeat: int) -> float:
        async with import_module("opea_core").OPEA(
            bench.url(), api_key=KEY, model=MODEL, max_concurrent_requests=50
        ) as client:
            await crowd(lambda: client.achat(MESSAGES), 50, 2)
            before, start = memory(), cpu()
            for _ in range(repeat):
                running = [asyncio.create_task(client.achat(MESSAGES)) for _ in range(waiting)]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                sizes.append((memory() - before) / waiting)
                await asyncio.gather(*running)
            return cpu() - start

    time = _in_turn(
        lambda: asyncio.run(read(total, 1)), lambda: asyncio.run(read(100, total // 100)), 3
    )
    return {"tickets.time": time, "tickets.kib": sizes[0]}


GROWTH: dict[str, Callable[[Bench], Figures]] = {
    "calls": calls,
    "chunks": chunks,
    "endpoints": endpoints,
    "tickets": tickets,
}
