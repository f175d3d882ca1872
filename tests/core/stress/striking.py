"""Cancelling work at its n-th wait the ways programs do it, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
from asking import idle, made
from inspection import Inspector
from stepping import At
from storm import Calls

from opea_core import OPEA, events
from opea_core.testing import Answer, ScriptedServer

Work = Callable[[OPEA], Awaitable[Any]]
_MOST = 150


def at_wait(coroutine: Coroutine[Any, Any, Any], number: int, strike: Callable[[], object]) -> At:
    """Strikes when the coroutine waits for the n-th time."""
    return At(coroutine, number, lambda _: strike())


Way = Callable[[Coroutine[Any, Any, Any], int], Awaitable[At]]


async def by_task(work: Coroutine[Any, Any, Any], number: int) -> At:
    """``task.cancel()``."""
    task = asyncio.current_task()
    assert task is not None
    at = at_wait(work, number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await at
    task.uncancel()
    return at


async def by_timeout(work: Coroutine[Any, Any, Any], number: int) -> At:
    """``asyncio.timeout``."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            at = at_wait(work, number, lambda: limit.reschedule(loop.time()))
            await at
    return at


async def by_scope(work: Coroutine[Any, Any, Any], number: int) -> At:
    """A cancel scope of anyio, which cancels again and again until it is left."""
    with anyio.CancelScope() as scope:
        at = at_wait(work, number, scope.cancel)
        await at
    return at


async def by_group(work: Coroutine[Any, Any, Any], number: int) -> At:
    """A ``TaskGroup`` of which another task fails, as langgraph runs its nodes."""
    failed = asyncio.Event()

    async def sibling() -> None:
        await failed.wait()
        raise LookupError

    at = at_wait(work, number, failed.set)
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            other = group.create_task(sibling())
            group.create_task(_awaited(at))
            await holds(lambda: at.reached or other.done() or len(group._tasks) < 2)  # type: ignore[attr-defined]
            if not at.reached:
                other.cancel()
    return at


async def _awaited(at: At) -> None:
    await at


WAYS: dict[str, Way] = {
    "task": by_task,
    "timeout": by_timeout,
    "scope": by_scope,
    "group": by_group,
}


async def holds(predicate: Callable[[], Any]) -> None:
    """Wait until it holds; TimeoutError otherwise."""
    async with asyncio.timeout(20):
        for _ in iter(lambda: bool(predicate()), True):
            await asyncio.sleep(0.002)


class World:
    """An object, what its hooks heard, and an inspector; ``check`` after the work was cancelled."""

    def __init__(self, *servers: ScriptedServer, **options: Any) -> None:
        self.servers = servers
        self.calls, self.inspector = Calls(), Inspector()
        self.heard = 0
        self.at_event: tuple[int, Callable[[], object]] | None = None
        """What to do when the hooks hear of the n-th event."""
        self.opea = made(*servers, hooks=[self.calls, self.inspector, self._hear], **options)
        self.inspector.watch(self.opea)

    def _hear(self, event: events.Event) -> None:
        self.heard += 1
        if self.at_event is not None and self.heard == self.at_event[0]:
            self.at_event[1]()

    async def check(self) -> None:
        """Nothing is left over, and starts and ends balance."""
        for _ in range(1000):
            if (
                idle(self.opea)
                and len(asyncio.all_tasks()) == 1
                and not any(s.in_flight for s in self.servers)
            ):
                break
            await asyncio.sleep(0.002)
        self.inspector.look()
        assert self.inspector.wrong == []
        assert idle(self.opea)
        assert len(asyncio.all_tasks()) == 1
        assert [server.in_flight for server in self.servers] == [0] * len(self.servers)
        assert self.calls.started == self.calls.ended
        assert set(self.calls.attempts.values()) <= {0}


Make = Callable[[], "contextlib.AbstractAsyncContextManager[World]"]


def at(*servers: ScriptedServer, script: tuple[Answer, ...] = (), **options: Any) -> Make:
    """A world of its own for each try, in which the first server first answers with the script."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[World]:
        servers[0]._script.clear()
        servers[0].script(*script)
        world = World(*servers, **options)
        async with world.opea:
            yield world

    return make


def cancelled_everywhere(
    make: Make, work: Callable[[World], Coroutine[Any, Any, Any]], way: Way = by_task
) -> int:
    """Do the work again and again, cancelled at its first wait, its second ...,
    until it is not reached; gives how often.
    """

    async def one(number: int) -> bool:
        async with make() as world:
            struck = await way(_quiet(work(world)), number)
            await world.check()
        return struck.reached

    number = 1
    while asyncio.run(one(number)):
        number += 1
        assert number < _MOST
    return number - 1


def cancelled_at_each_event(make: Make, work: Callable[[World], Coroutine[Any, Any, Any]]) -> int:
    """The same for work that is done in several tasks:
    cancelled right after the first event, the second ...
    """

    async def one(number: int) -> bool:
        async with make() as world:
            task = asyncio.ensure_future(_quiet(work(world)))
            world.at_event = number, lambda: asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.wait([task])
            reached = world.heard >= number
            world.at_event = None
            await world.check()
        return reached

    number = 1
    while asyncio.run(one(number)):
        number += 1
        assert number < _MOST
    return number - 1


async def _quiet(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):  # it may as well end, well or not
        await work
