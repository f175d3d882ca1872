"""What many callers need and one of them does, while the others wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future


class Once:
    """Work that is done by one caller at a time, in threads and event loops alike.

    Whoever waits hears the error of the one who works, and does not try again itself: of a thousand
    callers each would otherwise take its turn to fail.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: _Work | None = None
        self._pid = os.getpid()

    def run(self, work: Callable[[], object], patience: float | None) -> None:
        """Do the work, or wait for whoever does it; at most ``patience`` seconds, None for ever.

        Raises what the work raises. Nothing is known if the time is over.
        """
        mine, turn = self._begin()
        if turn:
            with mine:
                work()
        elif mine.thread == threading.get_ident():
            work()  # a task of this very thread does it, and cannot go on while this waits
        else:
            mine.wait(patience)

    async def arun(self, work: Callable[[], Awaitable[object]], patience: float | None) -> None:
        """``run`` for async code."""
        mine, turn = self._begin()
        if turn:
            with mine:
                await work()
        else:
            await mine.await_(patience)

    def _begin(self) -> tuple[_Work, bool]:
        """The work that is being done, and whether it is the caller's to do."""
        if self._pid != os.getpid():  # a child of a fork: the thread that worked is not here
            self.__init__()  # type: ignore[misc]
        with self._lock:
            if self._work is not None and not self._work.done.done():
                return self._work, False
            self._work = _Work()
            return self._work, True


class _Work:
    """Work that somebody does."""

    def __init__(self) -> None:
        self.done: Future[Exception | None] = Future()
        self.thread = threading.get_ident()

    def __enter__(self) -> None:
        """It begins."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """It is over; who was cancelled or interrupted says nothing to the others."""
        self.done.set_result(error if isinstance(error, Exception) else None)

    def wait(self, patience: float | None) -> None:
        """Until it is over."""
        try:
            error = self.done.result(patience)
        except TimeoutError:
            return
        if error is not None:
            raise error

    async def await_(self, patience: float | None) -> None:
        """The async twin of ``wait``."""
        import asyncio  # it costs as much as httpx, and threads do not need it

        over = asyncio.shield(asyncio.wrap_future(self.done))
        try:
            error = await asyncio.wait_for(over, patience)
        except TimeoutError:
            return
        if error is not None:
            raise error
