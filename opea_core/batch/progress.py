"""How a batch gets on: its figures, and lines of them now and then."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from opea_core.batch.summary import spoken
from opea_core.errors import ConfigurationError

if TYPE_CHECKING:
    from opea_core.batch.work import Batch

Way: TypeAlias = Literal["auto", "bar", "lines", "none"]
WAYS: tuple[Way, ...] = ("auto", "bar", "lines", "none")
_FIRST, _EVERY, _LEAVING = 5.0, 60.0, 1.0
_LOOK = 0.2
_MEMORY = 30.0
"""Seconds over which the pace is measured."""


class Progress(Protocol):
    """Shows a batch while it runs."""

    async def show(self, batch: Batch) -> None:
        """Show it until cancelled."""


@dataclass
class Figures:
    """How a batch stands at a moment."""

    done: int
    """Rows that need nothing more: answered, failed, given up, changed, or there before."""
    total: int | None
    here: int
    """Rows that ended in this run."""
    per_second: float
    tokens_per_second: float
    left: float | None
    """Seconds until the end, if it goes on like this."""
    retries: int
    failed: dict[str, int]
    running: int
    seconds: float
    is_stopping: bool
    endpoints: dict[str, Any]

    def line(self) -> str:
        """All of it on one line."""
        share = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
        parts = [
            f"{self.done:,}{share} rows",
            f"{self.per_second:,.1f} rows/s",
            f"{self.tokens_per_second:,.0f} tokens/s",
        ]
        if self.left is not None:
            parts.append(f"{spoken(self.left)} left")
        if self.retries:
            parts.append(f"{self.retries:,} retries")
        if self.failed:
            parts.append(f"failed: {self.failures()}")
        return f"{', '.join(parts)}; {'; '.join(self.places())}"

    def failures(self) -> str:
        """What failed, by kind."""
        return ", ".join(f"{count:,} {name}" for name, count in self.failed.items())

    def places(self) -> list[str]:
        """Each endpoint in a few words."""
        return [
            " ".join(word for word in (label, *place(of)) if word)
            for label, of in self.endpoints.items()
        ]


def place(figures: dict[str, Any]) -> list[str]:
    """An endpoint: in flight and room, breaker and cooldown, latency."""
    median = figures["latency"]["p50"]
    resting = figures["closed_for"]
    return [
        f"{figures['in_flight']}/{figures['concurrency_limit']} in flight",
        figures["breaker"] + (f", rests {resting:.0f} s" if resting else ""),
        "" if median is None else f"p50 {median:.2f} s",
    ]


class Pace:
    """Turns counts into figures: how many a second, over the last half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._points: list[tuple[float, int, int]] = []

    def figures(self, batch: Batch) -> Figures:
        """How a batch stands now."""
        now = self._clock()
        here = batch.answered + sum(batch.failed.values())
        tokens = sum(batch.tokens)
        points = self._points
        points.append((now, here, tokens))
        # Over the last half minute: a restart long ago says nothing about the time left.
        while len(points) > 2 and points[1][0] < now - _MEMORY:
            points.pop(0)
        since, rows, earlier = points[0] if len(points) > 1 else (batch.started, 0, 0)
        seconds = max(now - since, 1e-3)
        per_second = (here - rows) / seconds
        ledger = batch.ledger
        done = here + ledger.there + ledger.given_up + ledger.changed
        # Lines are only counted about, and a share above 100 % helps nobody.
        total = max(batch.total, done) if batch.total is not None else None
        stats = batch.opea.get_stats()
        return Figures(
            done=done,
            total=total,
            here=here,
            per_second=per_second,
            tokens_per_second=(tokens - earlier) / seconds,
            left=(total - done) / per_second if total is not None and per_second > 0 else None,
            retries=stats["retries"],
            failed=dict(batch.failed),
            running=batch.running,
            seconds=now - batch.started,
            is_stopping=batch.is_stopping,
            endpoints=stats["endpoints"],
        )


class Silent:
    """Shows nothing."""

    async def show(self, batch: Batch) -> None:
        """Nothing to do."""


class Lines:
    """A line on standard error: soon after the start, then every minute."""

    def __init__(self, every: float = _EVERY, first: float = _FIRST) -> None:
        self._every = every
        self._first = first

    async def show(self, batch: Batch) -> None:
        """Write lines until cancelled."""
        pace, due, has_told = Pace(), self._first, False
        while True:
            figures = pace.figures(batch)
            if figures.is_stopping and not has_told:
                has_told, due = True, figures.seconds
                say(leaving(figures.running))
            if figures.seconds >= due:
                due = figures.seconds + (_LEAVING if has_told else self._every)
                text = f"{figures.running} still on their way" if has_told else figures.line()
                say(f"{time.strftime('%H:%M:%S')}  {text}")
            await asyncio.sleep(_LOOK)


def leaving(running: int) -> str:
    """What to say when no more rows are sent."""
    return (
        f"No new rows: {running} on their way are finished and written. "
        "Ctrl-C again stops at once; the output is whole all the same."
    )


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def chosen(way: str) -> Progress:
    """What shows a batch; raises ConfigurationError for ``bar`` without rich, or an unknown way."""
    if way not in WAYS:
        raise ConfigurationError(f"progress is {way!r}; it is one of {', '.join(WAYS)}.")
    if way == "none":
        return Silent()
    if way == "bar" or (way == "auto" and sys.stderr.isatty()):
        from opea_core.lazy_imports import importing

        with importing:
            try:
                from opea_core.batch.bar import Bar
            except ImportError:
                if way == "bar":
                    raise ConfigurationError(
                        "The bar is drawn by rich, which is not installed.",
                        "pip install 'opea-core[cli]', or progress='lines'.",
                    ) from None
            else:
                return Bar()
    return Lines()
