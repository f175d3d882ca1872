"""Cancelling a task at its n-th suspension, and interrupting a thread."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any


class At:
    """Awaits a coroutine, and strikes when it waits for the n-th time, with what it waits for."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], number: int, strike: Callable[[Any], object]
    ) -> None:
        self._coroutine = coroutine
        self._number = number
        self._strike = strike
        self.count = 0

    @property
    def reached(self) -> bool:
        """Whether the coroutine waited so often at all."""
        return self.count >= self._number

    def __await__(self) -> Generator[Any, Any, Any]:
        step, argument = self._coroutine.send, None
        while True:
            try:
                waits_for = step(argument)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            self.count += 1
            if self.count == self._number:
                self._strike(waits_for)
            try:
                step, argument = self._coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - the coroutine has to see it
                step, argument = self._coroutine.throw, error  # type: ignore[assignment]


class CancelledAt(At):
    """Awaits a coroutine, and has the task cancelled when it waits for the n-th time.

    ``late`` cancels it when what it waits for is there already, but the task has not resumed: the
    moment at which a place was given to somebody who will never take it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, late: bool) -> None:
        super().__init__(coroutine, number, self._cancel)
        self._late = late

    def _cancel(self, waits_for: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._late and isinstance(waits_for, asyncio.Future):
            waits_for.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Press Ctrl-C so many seconds from now; only in the main thread."""

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
