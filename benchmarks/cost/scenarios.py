"""What is done with each client. A scenario gives figures: metric and value, lower is better."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import statistics
from collections.abc import Callable

from .measure import Bench, Figures, acost, alength, cost, cpu, crowd, length, memory
from .targets import Target

_CHUNKS = 2000
_BURST, _PACED = {"n": _CHUNKS, "co": 64}, {"n": _CHUNKS, "gap": 150}
_IN_FLIGHT = 500


def one_by_one(bench: Bench) -> Figures:
    """Sync calls, one after the other."""

    def work(target: Target) -> Figures:
        for _ in range(20):
            assert len(target.chat()) > 1000
        count, before = bench.count(170), bench.connections()
        taken = cost(lambda: [target.chat() for _ in range(count)])
        assert bench.connections() == before + 1, "a connection was not kept"
        return {"S1.sync.cpu_us": taken / count * 1e6}

    return bench.sync(bench.url(), work)


def at_once(bench: Bench, name: str, callers: int, each: int, latency: int) -> Figures:
    """Async calls of many callers."""
    each = bench.count(each)

    async def work(target: Target) -> Figures:
        await crowd(target.achat, callers, 1)
        taken = await acost(lambda: crowd(target.achat, callers, each), 1)
        return {name: taken / (callers * each) * 1e6}

    return bench.run(bench.url(lat=latency), work)


def stream_sync(bench: Bench) -> Figures:
    """One stream of 2,000 chunks: 64 in one write, and one each 150 microseconds."""

    def work(target: Target) -> float:
        assert length(target.stream()) == _TEXT, "the text is not whole"
        return cost(lambda: length(target.stream()), bench.count(5)) / _CHUNKS * 1e6

    return {
        f"S3.sync.{name}.cpu_us": bench.sync(bench.url(**how), work)
        for name, how in (("burst", _BURST), ("paced", _PACED))
    }


def stream_async(bench: Bench) -> Figures:
    """``stream_sync`` in a loop."""

    async def work(target: Target) -> float:
        assert await alength(target.astream()) == _TEXT, "the text is not whole"
        return await acost(lambda: alength(target.astream()), bench.count(5)) / _CHUNKS * 1e6

    return {
        f"S3.async.{name}.cpu_us": bench.run(bench.url(**how), work)
        for name, how in (("burst", _BURST), ("paced", _PACED))
    }


def many_streams(bench: Bench) -> Figures:
    """50 streams of 200 chunks at once."""

    async def work(target: Target) -> Figures:
        await crowd(lambda: alength(target.astream()), 50, 1)
        each = bench.count(2, 1)
        taken = await acost(lambda: crowd(lambda: alength(target.astream()), 50, each), 1)
        return {"S4.cpu_us": taken / (50 * 200 * each) * 1e6}

    return bench.run(bench.url(n=200), work)


def in_flight(bench: Bench) -> Figures:
    """The memory of calls that wait for their answer;
    the server answers half a second after the last has come.
    """

    async def work(target: Target) -> Figures:
        calls = [asyncio.create_task(target.achat()) for _ in range(_IN_FLIGHT)]
        gc.collect()
        before = peak = memory()
        while not all(call.done() for call in calls):
            await asyncio.sleep(0.02)
            peak = max(peak, memory())
        await asyncio.gather(*calls)
        return {"S6.kib": (peak - before) / _IN_FLIGHT}

    async def warm(target: Target) -> None:
        await target.achat()

    bench.run(bench.url(), warm)
    return bench.run(bench.url(hold=_IN_FLIGHT, lat=500, run=os.getpid()), work)


def vectors(bench: Bench) -> Figures:
    """256 vectors of 1,024 numbers: as numbers, and as the client asks when told nothing
    (base64 with the SDK).
    """
    texts = [f"text number {i} to embed" for i in range(256)]

    def work(target: Target, floats: bool) -> float:
        found = target.embed(texts, floats)
        assert len(found) == 256
        assert {len(vector) for vector in found} == {1024}
        return cost(lambda: target.embed(texts, floats), bench.count(5)) * 1e3

    asked = {"float": True, "default": False}
    return {
        f"S7.{name}.cpu_ms": bench.sync(bench.url(), functools.partial(work, floats=floats))
        for name, floats in asked.items()
    }


def first_token(bench: Bench) -> Figures:
    """Until the first piece of a stream is there."""
    count = bench.count(100, 20)

    def work(target: Target) -> float:
        taken = []
        for _ in range(count + 20):
            start = cpu()
            pieces = iter(target.stream())
            next(pieces)
            taken.append(cpu() - start)
            length(pieces)
        return statistics.median(taken[20:]) * 1e6

    async def awork(target: Target) -> float:
        taken = []
        for _ in range(count + 20):
            start = cpu()
            pieces = target.astream()
            await anext(pieces)
            taken.append(cpu() - start)
            await alength(pieces)
        return statistics.median(taken[20:]) * 1e6

    url = bench.url(n=5)
    found = {"S8.ttft_async.cpu_us": bench.run(url, awork)}
    return (
        found
        if "S1" in bench.make.lacks
        else {"S8.ttft_sync.cpu_us": bench.sync(url, work), **found}
    )


def held_loop(bench: Bench) -> Figures:
    """CPU time between two turns of another task, at most,
    while 50 streams come in bursts of 200 chunks; and the longest collection.
    """

    async def work(target: Target) -> Figures:
        await crowd(lambda: alength(target.astream()), 50, 1)
        gc.collect()
        streams = asyncio.create_task(crowd(lambda: alength(target.astream()), 50, 1))
        longest, last, collections = 0.0, cpu(), [0.0]

        def collecting(phase: str, _: dict[str, int]) -> None:
            collections[-1] = cpu() - collections[-1]  # first when it begins
            if phase == "stop":
                collections.append(0.0)

        gc.callbacks.append(collecting)
        while not streams.done():
            await asyncio.sleep(0)
            longest, last = max(longest, cpu() - last), cpu()
        gc.callbacks.remove(collecting)
        await streams
        return {"S9.burst.held_ms": longest * 1e3, "S9.burst.gc_ms": max(collections) * 1e3}

    return bench.run(bench.url(n=200, co=200), work)


def tool_arguments(bench: Bench, method: str = "tools", name: str = "S10") -> Figures:
    """Arguments of 20 KB in pieces of 5 characters, and how much more that is than 5 KB (4:
    linear; 16: quadratic).
    """

    def work(target: Target, size: int) -> float:
        read: Callable[[], str] = getattr(target, method)
        once = cost(lambda: _check(read(), size), 1)
        return once if once > 1 else cost(read, bench.count(5))

    small, large = (
        bench.sync(bench.url(args=size, co=64), functools.partial(work, size=size))
        for size in (5000, 20000)
    )
    return {f"{name}.20k.cpu_ms": large * 1e3, f"{name}.growth": large / small}


def _check(arguments: str, size: int) -> None:
    assert len(arguments) == size, f"{len(arguments)} characters of {size}"


_TEXT = (
    _CHUNKS
    // 16
    * sum(
        map(len, (" the quick brown fox jumps over a lazy dog, while seven étoiles shine bright.",))
    )
)
SCENARIOS: dict[str, Callable[[Bench], Figures]] = {
    "S1": one_by_one,
    "S2": functools.partial(at_once, name="S2.c50.cpu_us", callers=50, each=20, latency=20),
    "S2b": functools.partial(at_once, name="S2b.c200.cpu_us", callers=200, each=2, latency=50),
    "S3s": stream_sync,
    "S3a": stream_async,
    "S4": many_streams,
    "S6": in_flight,
    "S7": vectors,
    "S8": first_token,
    "S9": held_loop,
    "S10": tool_arguments,
    "S10acc": functools.partial(tool_arguments, method="added", name="S10acc"),
}
