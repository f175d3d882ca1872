"""Load on a server, level by level: how fast it answers, and whether more at once still pays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opea_core import OPEA, OPEAError

LEVELS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_GAIN = 1.1
"""A level that brings less than a tenth more does not pay."""
_ERRORS = 0.1
"""With so large a share of errors a level is too much."""
_EACH = 3
"""Answers of each of those that ask at once; never fewer than ``_LEAST`` together."""
_LEAST = 8


@dataclass(frozen=True)
class Answered:
    """One streamed answer, in seconds."""

    first: float
    """From sending the request to its first content."""
    whole: float
    tokens: int

    @property
    def per_token(self) -> float | None:
        """Between two tokens; None where there was only one."""
        return (self.whole - self.first) / (self.tokens - 1) if self.tokens > 1 else None


@dataclass
class Level:
    """What came of asking so many at once."""

    at_once: int
    seconds: float = 0.0
    answers: list[Answered] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """The class of each error."""

    @property
    def tokens_per_second(self) -> float:
        """Of all answers together."""
        tokens = sum(answer.tokens for answer in self.answers)
        return tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def asked(self) -> int:
        """Requests that were sent."""
        return len(self.answers) + len(self.errors)

    def first(self, share: float) -> float | None:
        """The time below which so many first contents came."""
        return percentile([answer.first for answer in self.answers], share)

    def per_token(self, share: float) -> float | None:
        """The time below which so many answers had each of their tokens."""
        times = (answer.per_token for answer in self.answers)
        return percentile([found for found in times if found is not None], share)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share does not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -(-int(share * 100) * len(ordered) // 100) - 1))]


def pays(levels: Sequence[Level]) -> str | None:
    """Why to stop after these levels; None where the next one may bring more."""
    last = levels[-1]
    if len(last.errors) > _ERRORS * last.asked:
        return f"{len(last.errors)} of {last.asked} requests failed"
    before = max((level.tokens_per_second for level in levels[:-1]), default=0.0)
    if last.tokens_per_second < _GAIN * before:
        return f"{last.at_once} at once bring less than a tenth more than fewer do"
    return None


async def measure(opea: OPEA, at_once: int, prompt: str, max_tokens: int) -> Level:
    """Keep so many requests on their way until enough are answered."""
    level = Level(at_once)
    numbers = iter(range(max(_LEAST, at_once * _EACH)))
    started = time.perf_counter()
    asking = (_ask_on(opea, level, numbers.__next__, prompt, max_tokens) for _ in range(at_once))
    await asyncio.gather(*asking)
    level.seconds = time.perf_counter() - started
    return level


async def _ask_on(
    opea: OPEA, level: Level, following: Callable[[], int], prompt: str, max_tokens: int
) -> None:
    while True:
        try:
            number = following()
        except StopIteration:
            return
        # Each prompt begins in a way of its own, so that no cache of the server answers for it.
        text = f"({level.at_once}-{number}) {prompt}"
        try:
            level.answers.append(await _ask(opea, text, max_tokens))
        except OPEAError as error:
            level.errors.append(type(error).__name__)


async def _ask(opea: OPEA, prompt: str, max_tokens: int) -> Answered:
    started, first, pieces = time.perf_counter(), None, 0
    stream = opea.astream_chat(prompt, max_tokens=max_tokens)
    async with stream:
        async for chunk in stream:
            if chunk.content or chunk.reasoning:
                first = first or time.perf_counter()
                pieces += 1
    ended, response = time.perf_counter(), stream.response
    usage = response.usage if response is not None else None
    counted = usage.completion_tokens if usage is not None else None
    return Answered((first or ended) - started, ended - started, counted or pieces)
