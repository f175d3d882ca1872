"""Threads, event loops and forked children that all use one object,
with calls that end in every way.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from inspection import Inspector
from storm import settled

from opea_core import OPEA, BreakerPolicy, OPEAError
from opea_core.testing import Answer, ScriptedServer, Seen, Wait, chat, error, stream

LIMIT = 5
PATIENCE = 120.0


class Interrupt(BaseException):
    """What Ctrl-C is to the main thread."""


def mixed(*servers: ScriptedServer, hooks: Any) -> OPEA:
    """One object, two endpoints, five places each."""
    return OPEA(
        endpoints=[
            {"base_url": server.url, "label": f"gpu{i}", "max_concurrent": LIMIT}
            for i, server in enumerate(servers)
        ],
        model="scripted-model",
        retry={"initial_delay": 0.001, "max_delay": 0.005},
        breaker=BreakerPolicy(break_duration=0.005, max_break_duration=0.02, probe_interval=0.05),
        timeouts={"first_event": 30, "idle": 30},
        hooks=hooks,
    )


def answers(seed: int) -> Callable[[Seen], Answer | None]:
    """Quick, slow, in pieces, and sometimes nothing."""
    chance = random.Random(seed)

    def answer(seen: Seen) -> Answer | None:
        draw = chance.random()
        if draw < 0.03:
            return chat("x").replace(before="reset")
        if draw < 0.06:
            return error(503, "busy")
        if draw < 0.08:
            return error(429, "slow down", headers={"retry-after-ms": "3"})
        if seen.body.get("stream"):
            return stream(
                [
                    piece
                    for number in range(6)
                    for piece in (f"{number} ", Wait(chance.random() * 0.003))
                ]
            )
        if "messages" in seen.body:
            return chat("x").after(Wait(chance.random() * 0.005))
        return None

    return answer


class Mix:
    """Counts how the calls of all threads and loops ended."""

    def __init__(self, opea: OPEA, seed: int) -> None:
        self.opea = opea
        self.seed = seed
        self.knots = True
        """Whether dropped streams stand in a cycle,
        so that only the collector of garbage finds them.
        """
        self.ends: Counter[str] = Counter()
        self.errors: list[str] = []
        self.litter: list[Any] = []
        """Streams that were begun, for the garbage collector of another thread."""

    def _told(self, error: BaseException | None) -> None:
        self.ends[type(error).__name__ if error else "well"] += 1
        if error is not None and not isinstance(
            error, OPEAError | asyncio.CancelledError | Interrupt
        ):
            self.errors.append(repr(error))

    def _drop(self, chunks: Any) -> None:
        knot: list[Any] = [chunks]
        if self.knots:
            knot.append(knot)
        self.litter.append(knot)

    # --- threads

    def thread(self, number: int, calls: int) -> None:
        """Calls one after the other."""
        chance = random.Random(f"{self.seed} thread {number}")
        for _ in range(calls):
            try:
                self._call(chance)
                self._told(None)
            except BaseException as error:  # noqa: BLE001 - all that ends a call is counted
                self._told(error)

    def _call(self, chance: random.Random) -> None:
        draw = chance.random()
        if draw < 0.4:
            self.opea.chat("Hello", priority=chance.randint(0, 9))
        elif draw < 0.55:
            self.opea.embed(["a", "b"])
        else:
            self._stream(chance, draw)

    def _stream(self, chance: random.Random, draw: float) -> None:
        chunks = self.opea.stream_chat("Hello", priority=chance.randint(0, 9))
        for number, _ in enumerate(chunks):
            if draw < 0.65 and number == 2:
                chunks.close()
            elif draw < 0.75 and number == 1:
                self._drop(chunks)
                return
            elif draw < 0.8 and number == 1:
                raise Interrupt

    # --- loops

    def loop(self, number: int, tasks: int) -> None:
        """One ``asyncio.run``."""
        asyncio.run(self._main(random.Random(f"{self.seed} loop {number}"), tasks))

    async def _main(self, chance: random.Random, tasks: int) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.errors.append(str(context))
        )
        await asyncio.gather(*(self._task(random.Random(chance.random())) for _ in range(tasks)))

    async def _task(self, chance: random.Random) -> None:
        task = asyncio.ensure_future(self._acall(chance))
        if chance.random() < 0.3:
            await asyncio.wait([task], timeout=chance.random() * 0.05)
            task.cancel()
        await asyncio.wait([task])
        self._told(asyncio.CancelledError() if task.cancelled() else task.exception())

    async def _acall(self, chance: random.Random) -> None:
        draw = chance.random()
        if draw < 0.4:
            await self.opea.achat("Hello", priority=chance.randint(0, 9))
        elif draw < 0.55:
            await self.opea.aembed(["a", "b"])
        else:
            await self._astream(chance, draw)

    async def _astream(self, chance: random.Random, draw: float) -> None:
        chunks = self.opea.astream_chat("Hello", priority=chance.randint(0, 9))
        number = 0
        async for _ in chunks:
            number += 1
            if draw < 0.65 and number == 3:
                await chunks.aclose()
            elif draw < 0.75 and number == 2:
                self._drop(chunks)
                return

    # --- the collector of garbage

    def sweep(self, over: threading.Event) -> None:
        """Drops what others began and left, in a thread of its own."""
        while not over.wait(0.03):
            self.litter.clear()
            gc.collect()
        self.litter.clear()
        gc.collect()


def together(works: list[Callable[[], Any]]) -> None:
    """Run each in a thread; an error of one, or a hang, is raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            raise TimeoutError("a thread hangs")
    if raised:
        raise raised[0]


def in_a_child(work: Callable[[], list[str]]) -> list[str]:
    """What a forked child finds wrong."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            threading.Timer(60, os._exit, (9,)).start()
            try:
                found = work()
            except BaseException as error:  # noqa: BLE001 - the parent is to hear of it
                found = [f"raised {error!r}"]
            os.write(write, ("\n".join(found) or "well").encode()[:4096])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(pid, 0)
    return [] if told == "well" else [f"in a child: {told or 'it died'}"]


def child_of(mix: Mix, inspector: Inspector) -> list[str]:
    """The child uses the object in threads and a loop of its own, with an inspector of its own."""
    inspector.forget()
    mix.ends.clear()
    mix.errors.clear()
    over = threading.Event()
    sweeper = threading.Thread(target=mix.sweep, args=(over,), daemon=True)
    sweeper.start()
    together([lambda: mix.thread(100, 6), lambda: mix.thread(101, 6), lambda: mix.loop(102, 8)])
    over.set()
    sweeper.join(30)
    return settled(mix.opea, inspector, 20) + mix.errors
