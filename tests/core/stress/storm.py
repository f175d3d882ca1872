"""Thousands of calls with random faults and random ends, in threads or in one event loop,
and what must be true of them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from inspection import Inspector
from storm_faults import CONNECT_CLASS, Faults, expected, vectors

from opea_core import OPEA, BreakerPolicy, OPEAError, RetryPolicy, Timeouts, events
from opea_core.testing import ScriptedServer

KINDS = ("chat", "chat", "chat", "stream", "stream", "embed", "complete")
ENDS = ("read", "read", "read", "read", "cancel", "left", "dropped", "deadline")
"""What becomes of a call; a plain one is read where only a stream can be left or dropped."""
RETRIES = 3


@dataclass
class Part:
    """What one question was told."""

    number: int
    kind: str
    ends: str
    text: str = ""
    value: Any = None
    error: BaseException | None = None
    over: bool = False
    """The whole answer was read."""


class Calls:
    """A hook that counts the events that must balance."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.CallStarted):
            self.started[event.call_id] += 1
        elif isinstance(event, events.CallEnded):
            self.ended[event.call_id] += 1
        elif isinstance(event, events.AttemptStarted):
            self.attempts[event.call_id] += 1
        elif isinstance(event, events.AttemptEnded):
            self.attempts[event.call_id] -= 1

    def clear(self) -> None:
        for counts in (self.started, self.ended, self.attempts):
            counts.clear()


def stormy(*servers: ScriptedServer, hooks: Any = (), limits: tuple[int, ...] = (12, 8)) -> OPEA:
    """An object at several servers that is quick about everything."""
    return OPEA(
        endpoints=[
            {"base_url": server.url, "label": f"gpu{i}", "max_concurrent": limits[i % len(limits)]}
            for i, server in enumerate(servers)
        ],
        model="scripted-model",
        retry=RetryPolicy(max_retries=RETRIES, initial_delay=0.001, max_delay=0.005),
        breaker=BreakerPolicy(break_duration=0.005, max_break_duration=0.02, probe_interval=0.05),
        timeouts=Timeouts(first_event=20, idle=20),
        hooks=hooks,
    )


@dataclass
class Storm:
    """Questions from ``first`` on, drawn by the seed."""

    opea: OPEA
    seed: int
    parts: list[Part] = field(default_factory=list)

    def draw(self, number: int) -> tuple[random.Random, Part, dict[str, Any]]:
        """What is asked, how it ends, and with which options."""
        chance = random.Random(f"{self.seed}/{number}")
        part = Part(number, chance.choice(KINDS), chance.choice(ENDS))
        if part.kind != "stream" and part.ends in ("left", "dropped"):
            part.ends = "read"
        options: dict[str, Any] = {"priority": chance.randint(0, 9)}
        if chance.random() < 0.1:
            options["max_retries"] = chance.choice((0, 1))
        if chance.random() < 0.1:
            options["endpoint"] = chance.choice(self.opea.endpoints).label
        if part.ends == "deadline":
            options["deadline"] = chance.random() * 0.3
        self.parts.append(part)
        return chance, part, options

    # --- in threads

    def run_threads(self, first: int, calls: int, threads: int) -> None:
        """So many calls by so many threads."""
        numbers = iter(range(first, first + calls))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                self.ask(number)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
            assert not worker.is_alive(), f"a thread hangs (seed {self.seed})"

    def ask(self, number: int) -> None:
        """One call, in this thread."""
        chance, part, options = self.draw(number)
        try:
            if part.kind == "stream":
                self._read(chance, part, options)
            else:
                part.value = self._plain(part)(self._question(part), **options)
                part.over = True
        except Exception as error:  # noqa: BLE001 - what it may be is checked at the end
            part.error = error

    def _plain(self, part: Part, prefix: str = "") -> Any:
        return getattr(self.opea, prefix + part.kind)

    @staticmethod
    def _question(part: Part) -> Any:
        return (
            [f"question {part.number} a", f"question {part.number} b"]
            if part.kind == "embed"
            else f"question {part.number}"
        )

    def _read(self, chance: random.Random, part: Part, options: dict[str, Any]) -> None:
        chunks = self.opea.stream_chat(self._question(part), **options)
        stop = chance.randint(1, 6) if part.ends in ("left", "dropped", "cancel") else 1000
        closer = (
            threading.Timer(chance.random() * 0.05, chunks.close) if part.ends == "cancel" else None
        )
        if closer is not None:
            closer.daemon, stop = True, 1000
            closer.start()
        try:
            for chunk in chunks:
                part.text += chunk.content
                part.value = chunk.response
                stop -= 1
                if not stop:
                    break
            else:
                part.over = part.value is not None
        finally:
            if closer is not None:
                closer.cancel()
                closer.join()
        if part.ends == "left":
            chunks.close()

    # --- in an event loop

    async def run_tasks(self, first: int, calls: int, at_once: int) -> None:
        """So many calls, so many of them at once."""
        numbers = iter(range(first, first + calls))

        async def work() -> None:
            for number in numbers:
                await self.aask(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    async def aask(self, number: int) -> None:
        """One call as a task, cancelled now or never."""
        chance, part, options = self.draw(number)
        task = asyncio.ensure_future(self._acall(chance, part, options))
        if part.ends == "cancel":
            await asyncio.wait([task], timeout=chance.random() ** 3 * 0.6)
            task.cancel()
        await asyncio.wait([task])
        part.error = asyncio.CancelledError() if task.cancelled() else task.exception()

    async def _acall(self, chance: random.Random, part: Part, options: dict[str, Any]) -> None:
        if part.kind == "stream":
            await self._aread(chance, part, options)
        else:
            part.value = await self._plain(part, "a")(self._question(part), **options)
            part.over = True

    async def _aread(self, chance: random.Random, part: Part, options: dict[str, Any]) -> None:
        chunks = self.opea.astream_chat(self._question(part), **options)
        stop = chance.randint(1, 6) if part.ends in ("left", "dropped") else 1000
        async for chunk in chunks:
            part.text += chunk.content
            part.value = chunk.response
            stop -= 1
            if not stop:
                break
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        else:
            part.over = part.value is not None
        if part.ends == "left":
            await chunks.aclose()

    # --- what must be true

    def problems(self, faults: Faults, calls: Calls) -> list[str]:
        """What is wrong with how the calls ended."""
        found = [
            f"{part.number} ({part.kind}, {part.ends}): {what}"
            for part in self.parts
            for what in _wrong(part, faults)
        ]
        for call, count in calls.started.items():
            if count != 1 or calls.ended[call] != 1:
                found.append(f"a call started {count} times and ended {calls.ended[call]} times")
        found += [f"{left} attempts did not end" for left in calls.attempts.values() if left]
        if set(calls.ended) - set(calls.started):
            found.append("a call ended that never started")
        return found


def _wrong(part: Part, faults: Faults) -> list[str]:
    found = []
    if part.error is not None and not isinstance(part.error, OPEAError | asyncio.CancelledError):
        found.append(f"raised {part.error!r}")
    if isinstance(part.error, asyncio.CancelledError) and part.ends != "cancel":
        found.append("was cancelled by nobody")
    if part.error is None and part.ends == "read" and not part.over:
        found.append("ended early without an error")
    given = faults.given.get(part.number, [])
    paid = sum(name not in CONNECT_CLASS for name in given)
    if paid > RETRIES + 2:  # one is sent again for nothing when a kept connection was stale
        found.append(f"{len(given)} requests: {given}")
    whole = expected(part.number)
    if not whole.startswith(part.text):
        found.append(f"streamed {part.text!r}")
    if part.over:
        found += _wrong_answer(part, whole)
    return found


def _wrong_answer(part: Part, whole: str) -> list[str]:
    if part.kind == "embed":
        return (
            []
            if part.value.embeddings == vectors(part.number)
            else [f"got the vectors {part.value.embeddings}"]
        )
    text = part.value.text if part.kind == "complete" else part.value.content
    told = [] if text == whole else [f"got {text!r}"]
    if part.kind == "stream" and part.text != whole:
        told.append(f"streamed {part.text!r}, and ended")
    return told


def settled(opea: OPEA, inspector: Inspector, seconds: float = 10) -> list[str]:
    """Wait until everything came back; what did not."""
    end = time.monotonic() + seconds
    while (left := _left(opea)) and time.monotonic() < end:
        time.sleep(0.005)
    inspector.look()
    return [*left, *inspector.wrong]


def _left(opea: OPEA) -> list[str]:
    stats = opea.get_stats()
    limiter, drivers = opea._engine.limiter, opea._engine.drivers
    places = list(drivers._aio._places.values()) if drivers._aio else []
    left = {
        "in flight": stats["in_flight"],
        "queued": stats["queued"],
        "busy connections": len(drivers.sync.slots.busy)
        + sum(len(place.slots.busy) for place in places),
        "connections being closed": sum(len(place._closing) for place in places),
        "waiters": sum(map(len, limiter._waiting.values())),
        "keepers": sum(map(len, limiter._timekeepers.values())),
        "loops that hold places": len(limiter._owners),
        "finalisers' returns": len(limiter._returned) + len(limiter._untold),
    }
    return [f"{count} {what} left" for what, count in left.items() if count]


@contextlib.contextmanager
def quiet_drops() -> Any:
    """The one warning that is meant: a stream dropped before its end. Any other is an error."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a stream was dropped before its end", ResourceWarning)
        yield
