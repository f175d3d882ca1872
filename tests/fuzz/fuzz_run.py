"""Asks in every way and serves mutated answers; tells what ends otherwise than it may."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from asking import idle
from fuzz_answers import Sent, answer, on_the_wire
from fuzz_ways import BY_NAME, WAYS, Way

from opea_core import OPEA, OPEAError, QueuePolicy, RetryPolicy
from opea_core.testing import ScriptedServer, raw
from opea_core.testing.model import ScriptedModel
from opea_core.testing.record import Seen

OPTIONS: dict[str, Any] = {
    "model": "m",
    "max_response_bytes": 2_000_000,
    "max_event_bytes": 500_000,
    "retry": RetryPolicy(max_retries=1, initial_delay=0, max_delay=0, max_retry_after=0),
    "queue": QueuePolicy(queue_timeout=0.05, recovery_wait=0),
}
"""Whatever a server says, nobody waits."""


def options(way: Way) -> dict[str, Any]:
    """How a way's object is made."""
    return OPTIONS | ({"dialect": "responses"} if way.kind.startswith("response") else {})


_ENDS = {
    "cut": httpx.RemoteProtocolError("cut"),
    "reset": httpx.ReadError("reset"),
    "late": httpx.ReadTimeout("late"),
}


class Replies(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport that gives some answers, and right ones after them."""

    def __init__(self, first: Iterable[Sent]) -> None:
        self._first = list(first)
        self._model = ScriptedModel("m")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._next(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._next(request)

    def _next(self, request: httpx.Request) -> httpx.Response:
        if self._first:
            sent = self._first.pop(0)
            headers = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.headers
            ]
            return httpx.Response(sent.status, headers=headers, stream=_Body(sent), request=request)
        body = request.content
        made = self._model.answer(
            Seen(
                request.method,
                request.url.path,
                {},
                {},
                body,
                json.loads(body) if body else None,
                1,
            )
        )
        return httpx.Response(
            made.status, headers=dict(made.headers), content=made.body, request=request
        )


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, sent: Sent) -> None:
        self._sent = sent

    def __iter__(self) -> Iterator[bytes]:
        yield from self._sent.pieces
        if self._sent.end:
            raise _ENDS[self._sent.end]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@dataclass
class Run:
    """Some cases of a seed, one after the other; ``faults`` says what went wrong."""

    seed: int
    wire: bool = False
    """Whether they go over sockets, with heads that are changed, too."""
    hangs: float = 30.0
    """Seconds that no case takes: each ends within milliseconds."""
    patience: float = 10.0
    """Seconds until what was held must be back."""
    faults: list[str] = field(default_factory=list)
    tried: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    thread: threading.Thread | None = None
    _now: str = ""

    def cases(self, numbers: Iterable[int], ways: tuple[Way, ...] = WAYS) -> Run:
        """Tries each number of each way, in a thread that is watched."""
        self.thread = thread = threading.Thread(
            target=self._all, args=(list(numbers), ways), daemon=True
        )
        thread.start()
        before, since = -1, time.monotonic()
        while thread.is_alive():
            thread.join(min(0.5, self.hangs))
            if self.tried != before:
                before, since = self.tried, time.monotonic()
            elif time.monotonic() - since > self.hangs:
                stack = "".join(
                    traceback.format_stack(sys._current_frames()[thread.ident or 0])[-12:]
                )
                self.faults.append(f"{self._now} hangs:\n{stack}")
                break
        return self

    def _all(self, numbers: list[int], ways: tuple[Way, ...]) -> None:
        with asyncio.Runner() as runner, ScriptedServer() as server, _garbage_between_cases():
            for number in numbers:
                for way in ways:
                    self._now = f"again({str(way)!r}, {self.seed}, {number}, wire={self.wire})"
                    began = time.monotonic()
                    try:
                        self._case(
                            way, Random(f"{self.seed} {number} {way} {self.wire}"), runner, server
                        )
                    except Exception as error:  # noqa: BLE001 - what is wrong with the fuzzer itself is told, too
                        self._fault([], error)
                    self.slowest = max(self.slowest, (time.monotonic() - began, self._now))
                    self.tried += 1
                gc.collect()

    def _case(
        self, way: Way, chance: Random, runner: asyncio.Runner, server: ScriptedServer
    ) -> None:
        answers = [answer(chance, way.kind) for _ in range(chance.choice((1, 2, 2, 4)))]
        if not self.wire:
            self.ask(way, answers, runner)
            return
        bodies = [on_the_wire(chance, sent) for sent in answers]
        left = iter(bodies)
        server.always(lambda _: next(map(raw, left), None))
        more: dict[str, Any] = {"http_library": "aiohttp"} if chance.random() < 0.3 else {}
        self._ask(way, bodies, runner, OPEA(base_url=server.url, **options(way), **more))

    def ask(self, way: Way, answers: list[Sent], runner: asyncio.Runner) -> None:
        """One case without sockets."""
        transport = Replies(answers)
        self._ask(
            way,
            answers,
            runner,
            OPEA(
                base_url="http://fuzz.test/v1",
                transport=transport,
                async_transport=transport,
                **options(way),
            ),
        )

    def _ask(
        self, way: Way, told: Sequence[Sent | bytes], runner: asyncio.Runner, opea: OPEA
    ) -> None:
        """Twice, as the second answer may be one that the first spoiled."""
        for _ in range(2):
            with self._checked(way, told):
                _ = runner.run(way.arun(opea)) if way.is_async else way.run(opea)
        if not _comes_back(opea, runner, self.patience):
            self._fault(told, AssertionError(f"held: {opea.get_stats()}"))
        if way.is_async:
            runner.run(opea.aclose())
        else:
            opea.close()

    @contextmanager
    def _checked(self, way: Way, told: Sequence[Sent | bytes]) -> Iterator[None]:
        outcome = "answer"
        try:
            yield
        except Exception as error:  # noqa: BLE001 - which one it is is what is tested
            outcome = type(error).__name__
            if not way.may_raise(error):
                self._fault(told, error)
            elif (problem := _unusable(error)) is not None:
                self._fault(told, problem)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _fault(self, told: Sequence[Sent | bytes], error: BaseException) -> None:
        where = "".join(traceback.format_exception(error, limit=-6, chain=False)).strip()
        self.faults.append(
            f"{self._now}\nanswers: " + "\n         ".join(map(_short, told)) + f"\n{where}"
        )


@contextmanager
def _garbage_between_cases() -> Iterator[None]:
    """No garbage is collected deep in a parser,
    where what finalizers do would end in a RecursionError.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _unusable(error: Exception) -> Exception | None:
    """What goes wrong with an error in the hands of its catcher."""
    try:
        str(error).encode()
        repr(error).encode("utf-8", "backslashreplace")
        if isinstance(error, OPEAError):
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again)) == (type(error), str(error))
            assert error.__cause__ is None or isinstance(
                error.__cause__, OPEAError | httpx.HTTPError | ValueError | OSError
            ), repr(error.__cause__)
    except Exception as problem:  # noqa: BLE001 - it is handed on
        return problem
    return None


def _comes_back(opea: OPEA, runner: asyncio.Runner, patience: float) -> bool:
    """Whether nothing is held: at once, or when the event loop (or a thread) had its turn."""
    end = time.monotonic() + patience
    while not idle(opea) and time.monotonic() < end:
        runner.run(asyncio.sleep(0.001))
    return idle(opea)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 3000 else f"{text[:1500]} ... {text[-1500:]}"


def again(way: str, seed: int, number: int, wire: bool = False) -> Run:
    """One case once more: ``python -c "import fuzz_run; fuzz_run.again(...)"`` in this folder."""
    return Run(seed, wire).cases([number], (BY_NAME[way],))


def tried(way: str, *answers: Sent) -> list[str]:
    """What goes wrong when a way is asked and gets these answers."""
    run = Run(0)
    with asyncio.Runner() as runner:
        run.ask(BY_NAME[way], list(answers), runner)
    return run.faults
