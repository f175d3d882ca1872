"""Who holds places.

A thread or a task that waits for a place which only it can give back would wait for ever.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from typing import Any

from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.scheduler import Ticket

_caller: ContextVar[Caller | None] = ContextVar("_caller", default=None)


class Caller:
    """Who waits for calls that others make for it: the threads and tasks of a batch.

    They cannot be given a place that only the caller can give back, as it waits for them.
    """

    def __init__(self) -> None:
        # A batch inside of another one: its caller is waited for, too.
        self._behind = _caller.get()
        self._holders: tuple[object, ...] = ()
        self._loop: object = None

    @contextmanager
    def blocks(self) -> Iterator[None]:
        """This thread waits, and so does its event loop; what begins in here acts for it."""
        task, loop = running_task(), None
        if task is not None:
            loop = task.get_loop()
        holders = (threading.get_ident(),) if task is None else (threading.get_ident(), _of(task))
        with self._waits(holders, loop):
            yield

    @contextmanager
    def awaits(self) -> Iterator[None]:
        """This task waits, and its event loop goes on; what begins in here acts for it."""
        task = running_task()
        with self._waits(() if task is None else (_of(task),), None):
            yield

    @contextmanager
    def _waits(self, holders: tuple[object, ...], loop: object) -> Iterator[None]:
        token = _caller.set(self)
        self._holders, self._loop = holders, loop
        try:
            yield
        finally:
            self._holders, self._loop = (), None
            with suppress(ValueError):  # a coroutine that was dropped is closed somewhere else
                _caller.reset(token)

    def give_to(self, context: Context) -> None:
        """What runs in a context acts for it."""
        context.run(_caller.set, self)

    def holders(self) -> tuple[object, ...]:
        """The threads and tasks that wait now, as holders of places."""
        return (*self._holders, *(self._behind.holders() if self._behind else ()))

    def loops(self) -> tuple[object, ...]:
        """The event loops that stand still as their thread waits now."""
        own = () if self._loop is None else (self._loop,)
        return (*own, *(self._behind.loops() if self._behind else ()))


def acting_for() -> Caller | None:
    """Who waits for the calls that are made here, if it is somebody else."""
    return _caller.get()


def running_task() -> Any:
    """The task that runs in this thread, if any."""
    asyncio = sys.modules.get("asyncio")  # not imported for this: without it there is no loop
    # Another thread may be in the middle of importing it.
    running_loop = getattr(asyncio, "_get_running_loop", None)
    if running_loop is None or running_loop() is None:
        return None
    return asyncio.current_task()  # type: ignore[union-attr]


def _of(task: Any) -> object:
    """A task as a holder: weakly, as a stream that it drops must not live on with it."""
    return weakref.ref(task)


class Holders:
    """The places that each thread or task holds at each endpoint.

    Called under the limiter's lock.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[object, EndpointState], dict[Ticket, None]] = {}

    def add(self, ticket: Ticket, permit: Permit) -> None:
        """The holder of a ticket got a place."""
        self._held.setdefault((ticket.holder, permit.endpoint), {})[ticket] = None

    def remove(self, ticket: Ticket, permit: Permit) -> None:
        """It gave the place back."""
        key = (ticket.holder, permit.endpoint)
        held = self._held.get(key, {})
        held.pop(ticket, None)
        if not held:
            self._held.pop(key, None)

    def hold_any(self, ticket: Ticket) -> bool:
        """Whether who waits with this ticket holds a place where it may go."""
        return any(
            (holder, endpoint) in self._held
            for holder in _waiting(ticket)
            if holder is not None
            for endpoint in ticket.route.endpoints
        )

    def hold_all(self, ticket: Ticket, endpoint: EndpointState) -> int | None:
        """When who waits with this ticket last read a stream of its own, if it holds all in flight.

        0 if none of them is a stream.

        Whoever read a stream last is likely to read on, but another thread or task may: then it is
        read while this one waits.
        """
        held = {
            other: None
            for holder in _waiting(ticket)
            for other in self._held.get((holder, endpoint), ())
        }
        return max(other.read_at for other in held) if 0 < endpoint.in_flight <= len(held) else None


def _waiting(ticket: Ticket) -> tuple[object, ...]:
    """Who waits with a ticket: the one that asks, and those it acts for."""
    caller = ticket.caller
    return (ticket.holder, *caller.holders()) if isinstance(caller, Caller) else (ticket.holder,)
