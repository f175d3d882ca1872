"""Many calls over one object.

As many are on their way as there is room for, and requests are pulled as they are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from opea_core.batch.feed import END, Raised
from opea_core.batch.requests import custom_id
from opea_core.batch.result import Result
from opea_core.batch.window import Window
from opea_core.errors import ConfigurationError, OPEAError
from opea_core.log import logger
from opea_core.transport.permit_holders import Caller

AnswerT = TypeVar("AnswerT")
Ask: TypeAlias = Callable[[Any, Callable[[bool], None]], Coroutine[Any, Any, AnswerT]]
"""Makes the call for a request; tells whether it has a permit, or has to wait for one."""


class Source(Protocol):
    """Where requests come from."""

    async def next(self) -> Any:
        """The next one, END, or Raised."""

    def close(self) -> None:
        """No more is wanted."""


_LOOK = 0.02
"""Seconds after which it is looked for room while nothing ends."""
_HELD = 16
"""Results that wait for a sync loop that is slower than the server."""


class AsyncMany(AsyncIterator[Result[AnswerT]], Generic[AnswerT]):
    """Results as they may be handed out. ``stopped`` says why not all requests were sent, if so."""

    def __init__(self, source: Source, ask: Ask[AnswerT], ordered: bool, most: int | None) -> None:
        self._source = source
        self._ask = ask
        self._window = Window(ordered, most)
        self._ended: deque[asyncio.Task[Any]] = deque()
        self._news = asyncio.Event()
        self._results = self._run()
        self._caller = Caller()

    @property
    def stopped(self) -> str | None:
        """Why no further request was sent, where nothing could work."""
        return self._window.stopped

    def __aiter__(self) -> AsyncMany[AnswerT]:
        return self

    async def __anext__(self) -> Result[AnswerT]:
        with self._caller.awaits():
            return await anext(self._results)

    async def aclose(self) -> None:
        """End it: what is on its way is cancelled, and no further request goes out."""
        await self._results.aclose()

    async def _run(self) -> AsyncGenerator[Result[AnswerT], None]:
        running = set[asyncio.Task[Any]]()
        getting: asyncio.Task[Any] | None = None
        problem: BaseException | None = None
        window, is_over = self._window, False
        try:
            while True:
                for result in window.ready():
                    yield result
                is_over = is_over or window.stopped is not None
                if getting is None and not is_over and window.has_room():
                    getting = self._begin(self._source.next())
                if is_over and getting is None and not running:
                    break
                await self._anything(looks=getting is None and not is_over)
                while self._ended:
                    task = self._ended.popleft()
                    if task is not getting:
                        running.discard(task)
                        window.end(task.result())
                        continue
                    getting, found = None, task.result()
                    problem = found.error if isinstance(found, Raised) else None
                    is_over = problem is not None or found is END
                    if not is_over:
                        running.add(self._begin(self._one(window.start(), found)))
            # Only after everything in flight has ended, so that no answer is lost to it (M2).
            if problem is not None:
                raise problem
            if window.stopped is not None:
                logger.warning("%s", window.stopped)
        finally:
            self._source.close()
            # Nobody is left to read the answers (M4).
            await _end_all({*running, *([getting] if getting else ())})

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._note)
        return task

    def _note(self, task: asyncio.Task[Any]) -> None:
        self._ended.append(task)
        self._news.set()

    async def _anything(self, looks: bool) -> None:
        """Wait until something ends; with ``looks`` not for long, as there may be room by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK if looks else None):
                await self._news.wait()
        self._news.clear()

    async def _one(self, index: int, request: Any) -> Result[AnswerT]:
        result: Result[AnswerT] = Result(index, custom_id(request), request)
        try:
            result.response = await self._ask(
                request, lambda has_place: self._placed(index, has_place)
            )
        except OPEAError as error:
            # One refused request must not lose the answers to the others (M2).
            result.error = error
        return result

    def _placed(self, index: int, has_place: bool) -> None:
        self._window.place(index, has_place)
        self._news.set()


async def _end_all(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


class Many(Iterator[Result[AnswerT]], Generic[AnswerT]):
    """The same for sync code: the calls are made in an event loop of their own, in a thread."""

    def __init__(self, make: Callable[[], AsyncMany[AnswerT]]) -> None:
        self._caller = Caller()
        self._pump: _Pump[AnswerT] = _Pump(make, self._caller)
        self._is_over = False

    @property
    def stopped(self) -> str | None:
        """Why no further request was sent, where nothing could work."""
        return self._pump.stopped

    def __iter__(self) -> Many[AnswerT]:
        return self

    def __next__(self) -> Result[AnswerT]:
        if self._is_over:
            raise StopIteration
        try:
            with self._caller.blocks():
                found = self._pump.take()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if isinstance(found, Result):
            return found
        self._is_over = True
        if found is not END:
            raise found
        raise StopIteration

    def close(self) -> None:
        """End it: what is on its way is cancelled, and no further request goes out."""
        self._is_over = True
        self._pump.stop()
        self._pump.join()

    def __enter__(self) -> Many[AnswerT]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Results that nobody holds any more cannot be read (M4).
    def __del__(self) -> None:
        self._pump.stop()


class _Pump(Generic[AnswerT]):
    """The thread's side.

    It knows nothing of the loop it works for, so that one that is left behind ends it.
    """

    def __init__(self, make: Callable[[], AsyncMany[AnswerT]], caller: Caller) -> None:
        self._make = make
        self._changed = threading.Condition()
        self._held: deque[Result[AnswerT]] = deque()
        self._end: Any = None
        """END, or what the input raised, once all results are in ``_held``."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._is_stopped = False
        # A fork takes no threads along, so a child would wait for results for ever.
        self._process = os.getpid()
        self.stopped: str | None = None
        context = contextvars.copy_context()
        caller.give_to(context)
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name="opea-many", daemon=True
        )

    def take(self) -> Any:
        """The next result; END, or what the input raised, where there is none.

        Raises ConfigurationError after a fork.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                "These results belong to another process: a fork takes no threads along.",
                "Ask for them in the process that reads them.",
            )
        with self._changed:
            # At the first result that is wanted: an iterator that nobody reads asks nothing.
            if self._thread.ident is None and not self._is_stopped:
                self._thread.start()
            self._changed.wait_for(lambda: self._held or self._end is not None or self._is_stopped)
            if self._is_stopped:
                return END
            if not self._held:
                end, self._end = self._end, END  # an error is raised once
                return end
            found = self._held.popleft()
        self._tell(lambda: self._room.set() if self._room else None)
        return found

    def stop(self) -> None:
        """Cancel what is on its way. From any thread, and more than once."""
        self._is_stopped = True
        if os.getpid() != self._process:
            return
        with self._changed:
            self._changed.notify_all()
        if self._task is not None:
            self._tell(self._task.cancel)

    def join(self) -> None:
        """Wait until the thread is over."""
        if (
            self._thread.ident is not None
            and self._thread is not threading.current_thread()
            and os.getpid() == self._process
        ):
            self._thread.join()

    def _tell(self, what: Callable[[], Any]) -> None:
        """Have something done in the loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(what)

    def _work(self) -> None:
        end: Any = END
        try:
            asyncio.run(self._pass_on())
        except BaseException as error:  # noqa: BLE001
            # It is the caller's, and is raised in his thread.
            end = error
        finally:
            with self._changed:
                self._end = end
                self._changed.notify_all()

    async def _pass_on(self) -> None:
        self._room = asyncio.Event()
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._is_stopped:
            return
        many = self._make()
        try:
            async for result in many:
                await self._put(result)
        finally:
            self.stopped = many.stopped
            await many.aclose()

    async def _put(self, result: Result[AnswerT]) -> None:
        room = self._room
        while room is not None and len(self._held) >= _HELD:
            room.clear()
            # Looked at again: a result may have been taken just before the event was cleared.
            if len(self._held) >= _HELD:
                await room.wait()
        with self._changed:
            self._held.append(result)
            self._changed.notify_all()
