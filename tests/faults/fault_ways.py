"""Every way to ask, in the three packages: the same question,
and what its caller was told, in one form.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from asking import PATIENCE, idle
from llama_index.core.llms import ChatMessage
from waiting import until

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM
from opea_core import OPEA

RIGHT = 'This is the scripted model. You wrote: "Hello"'
"""What the scripted model says to the question."""


@dataclass
class Told:
    """What a caller was told: pieces of text (one, if it did not stream),
    and maybe an error after some of them.
    """

    pieces: list[str] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @contextmanager
    def telling(self) -> Iterator[Told]:
        """Around a call: takes its time and its error."""
        began = time.monotonic()
        try:
            yield self
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            self.error = error
        self.seconds = time.monotonic() - began


_MAKES: dict[str, Callable[..., Any]] = {
    "core": OPEA,
    "aiohttp": partial(OPEA, http_library="aiohttp"),
    "langchain": ChatOPEA,
    "llama_index": OPEALLM,
}
"""By package; ``aiohttp`` is the core with its async connections made by aiohttp."""
_WHOLE: dict[str, Callable[[Any], str]] = {
    "core": lambda answer: answer.content,
    "aiohttp": lambda answer: answer.content,
    "langchain": lambda message: str(message.text),
    "llama_index": lambda answer: (
        answer.text if hasattr(answer, "text") else answer.message.content
    ),
}
_PIECE: dict[str, Callable[[Any], str]] = {
    **_WHOLE,
    "llama_index": lambda response: response.delta or "",
}


@dataclass(frozen=True)
class Way:
    """A method of a package's object."""

    package: str
    method: str

    def __str__(self) -> str:
        return f"{self.package} {self.method}"

    @property
    def face(self) -> str:
        """The package whose object it is: that of ``aiohttp`` is the core's."""
        return "core" if self.package == "aiohttp" else self.package

    @property
    def is_async(self) -> bool:
        return self.method.startswith("a")

    @property
    def is_stream(self) -> bool:
        return "stream" in self.method

    def make(self, **options: Any) -> Any:
        """An object of the package."""
        return _MAKES[self.package](**{"model": "scripted-model"} | options)

    def call(self, made: Any, text: str = "Hello", **options: Any) -> Any:
        """What the method gives: an answer, an awaitable, or something that streams."""
        takes_messages = self.package == "llama_index" and "chat" in self.method
        return getattr(made, self.method)(
            [ChatMessage(role="user", content=text)] if takes_messages else text, **options
        )

    def ask(self, made: Any, text: str = "Hello", **options: Any) -> Told:
        """One call of a sync method."""
        with Told().telling() as told:
            given = self.call(made, text, **options)
            if self.is_stream:
                for part in given:
                    told.pieces.append(_PIECE[self.package](part))
            else:
                told.pieces.append(_WHOLE[self.package](given))
        return told

    async def aask(self, made: Any, text: str = "Hello", **options: Any) -> Told:
        """One call of an async method."""
        with Told().telling() as told:
            given = self.call(made, text, **options)
            if asyncio.iscoroutine(given):  # LlamaIndex's streams are awaited first
                given = await given
            if self.is_stream:
                async for part in given:
                    told.pieces.append(_PIECE[self.package](part))
            else:
                told.pieces.append(_WHOLE[self.package](given))
        return told

    def read_one(self, given: Any) -> str:
        """The first piece of a sync stream."""
        return _PIECE[self.package](next(piece for piece in given if _PIECE[self.package](piece)))


def core_of(made: Any) -> OPEA:
    """The OPEA object behind an object of any package."""
    return made if isinstance(made, OPEA) else made.client


WAYS = tuple(
    Way(package, method)
    for package, methods in {
        "core": "chat achat stream_chat astream_chat",
        "aiohttp": "chat achat astream_chat",
        "langchain": "invoke ainvoke stream astream",
        "llama_index": "chat achat stream_chat astream_chat complete stream_complete",
    }.items()
    for method in methods.split()
)
CROWDS = tuple(way for way in WAYS if way.method in ("chat", "achat", "invoke", "ainvoke"))
"""Plain answers, in sync and async, of each package: for what many callers do at once."""
DECK = tuple(
    Way(*way.split())
    for way in (
        *("core chat", "langchain ainvoke", "llama_index chat"),
        *("core achat", "langchain invoke", "llama_index achat"),
        *("aiohttp achat", "langchain invoke", "llama_index achat"),
        *("aiohttp chat", "langchain ainvoke", "llama_index chat"),
    )
)
"""The same, in an order in which three in a row meet every package, sync and async,
also at the end and the beginning.
"""
STREAMS = tuple(way for way in WAYS if way.is_stream and way.method != "stream_complete")


def _pairs() -> list[tuple[Way, Way]]:
    """A plain and a streamed way of two packages, one of them sync and one async;
    neighbours are of other packages.
    """
    found = [
        (plain, stream)
        for plain in WAYS
        for stream in WAYS
        if (plain.is_stream, stream.is_stream) == (False, True)
        and plain.is_async != stream.is_async
        and plain.face != stream.face
    ]
    kinds = ["core langchain", "langchain llama_index", "core llama_index"]
    by_kind = [
        [pair for pair in found if " ".join(sorted(way.face for way in pair)) == kind]
        for kind in kinds
    ]
    return [pairs[turn % len(pairs)] for turn in range(max(map(len, by_kind))) for pairs in by_kind]


PAIRS = _pairs()
"""What the records of the table take in turn: each meets a plain answer and a stream,
and two in a row meet every package.
"""


class Session:
    """An object that is asked in one way: in this thread, or in one event loop."""

    def __init__(self, way: Way, made: Any) -> None:
        self.way, self.made, self.core = way, made, core_of(made)
        self._runner = asyncio.Runner() if way.is_async else None

    def ask(self, text: str = "Hello", **options: Any) -> Told:
        if self._runner is None:
            return self.way.ask(self.made, text, **options)
        return self._runner.run(self.way.aask(self.made, text, **options))

    def settle(self, quiet: Callable[[], bool], patience: float = PATIENCE) -> list[str]:
        """Wait until everything came back and ``quiet`` holds; what did not."""

        def left() -> list[str]:
            return [
                what
                for what, is_left in (
                    ("places or connections", not idle(self.core)),
                    ("requests", not quiet()),
                )
                if is_left
            ]

        if self._runner is not None:
            return self._runner.run(_settled(left, patience))
        end = time.monotonic() + patience
        while (found := left()) and time.monotonic() < end:
            threading.Event().wait(0.002)
        return found

    def close(self) -> None:
        if self._runner is None:
            self.core.close()
        else:
            self._runner.run(self.core.aclose())
            self._runner.close()


async def _settled(left: Callable[[], list[str]], patience: float) -> list[str]:
    def all_left() -> list[str]:
        return left() + [
            f"the task {task.get_name()}"
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task()
        ]

    end = time.monotonic() + patience
    while (found := all_left()) and time.monotonic() < end:  # noqa: ASYNC110 - what changes is in other threads
        await asyncio.sleep(0.002)
    return found


class Crowd:
    """Many callers of one object at once, in threads or in one event loop,
    while the test does something else.
    """

    def __init__(
        self, way: Way, made: Any, questions: Iterable[str] | int, rounds: int = 1, **options: Any
    ) -> None:
        texts = ["Hello"] * questions if isinstance(questions, int) else list(questions)
        self._told: list[Told] = []

        def ask(text: str) -> None:
            self._told.extend(way.ask(made, text, **options) for _ in range(rounds))

        async def aask(text: str) -> None:
            for _ in range(rounds):
                self._told.append(await way.aask(made, text, **options))

        async def gather() -> None:
            await asyncio.gather(*map(aask, texts))

        if way.is_async:
            self._threads = [threading.Thread(target=lambda: asyncio.run(gather()), daemon=True)]
        else:
            self._threads = [
                threading.Thread(target=ask, args=(text,), daemon=True) for text in texts
            ]
        for thread in self._threads:
            thread.start()

    @property
    def finished(self) -> int:
        """How many were told something so far."""
        return len(self._told)

    def told(self, patience: float = 30) -> list[Told]:
        """What all of them were told."""
        until(
            lambda: not any(thread.is_alive() for thread in self._threads), "all callers", patience
        )
        return self._told

    def errors(self, patience: float = 30) -> list[str]:
        """What went wrong, of all of them."""
        return [repr(told.error) for told in self.told(patience) if told.error is not None]
