"""Cancelling a task at its n-th suspension, and interrupting a thread."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Generator, Iterator
from typing import Any


class CancelledAt:
    """Awaits a coroutine, and has the task cancelled when it waits for the n-th time.

    ``late`` cancels it when what it waits for is there already, but the task has not resumed: the moment
    at which a place was given to somebody who will never take it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, late: bool) -> None:
        self._coroutine = coroutine
        self._number = number
        self._late = late
        self.count = 0

    @property
    def reached(self) -> bool:
        """Whether the coroutine waited so often at all."""
        return self.count >= self._number

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        step, argument = self._coroutine.send, None
        while True:
            try:
                waits_for = step(argument)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            self.count += 1
            if self.count == self._number:
                if self._late and isinstance(waits_for, asyncio.Future):
                    waits_for.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            try:
                step, argument = self._coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - the coroutine has to see it
                step, argument = self._coroutine.throw, error  # type: ignore[assignment]


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
