"""Callers that leave: consumers, cancelled tasks, Ctrl-C, objects that are closed;
in the three packages.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asking import idle
from fault_table import of
from fault_ways import CROWDS, STREAMS, Crowd, Way, core_of
from stepping import CancelledAt, interrupted_after
from waiting import until

from opea_core import ClientClosed
from opea_core.testing import Hold, ScriptedServer, faults, stream

Made = Callable[..., Any]
SYNC_STREAMS = [way for way in STREAMS if not way.is_async]
ASYNC_STREAMS = [way for way in STREAMS if way.is_async]
SYNC, ASYNC = [way for way in CROWDS if not way.is_async], [way for way in CROWDS if way.is_async]
pytestmark = pytest.mark.filterwarnings(
    "ignore:a stream was dropped before its end:ResourceWarning"
)


def endless(server: ScriptedServer) -> None:
    """The next answer begins, and goes on for ever."""
    server.script(
        stream(
            [
                "a ",
                {"reasoning_content": "."},
                "b ",
                {"reasoning_content": "."},
                Hold(threading.Event()),
                "c",
            ]
        )
    )


def everything_is_back(server: ScriptedServer, it: Any) -> None:
    """The server saw the client hang up and stopped, and nothing is held."""
    server.wait(lambda: bool(server.seen) and server.seen[-1].disconnected)
    until(lambda: idle(core_of(it)), "everything to come back")


def leave(how: str, given: Any) -> None:
    if how == "closed":
        given.close()


@of("left")
@pytest.mark.parametrize("how", ["closed", "dropped"])
@pytest.mark.parametrize("way", SYNC_STREAMS, ids=str)
def test_a_consumer_that_leaves_the_loop(
    way: Way, server: ScriptedServer, made: Made, how: str
) -> None:
    it = made(way, server)
    endless(server)
    given = way.call(it)
    assert way.read_one(given).strip() == "a"
    leave(how, given)
    del given
    gc.collect()
    everything_is_back(server, it)
    assert way.ask(it).error is None


@of("left")
@pytest.mark.parametrize("how", ["closed", "dropped", "cancelled"])
@pytest.mark.parametrize("way", ASYNC_STREAMS, ids=str)
async def test_an_async_consumer_that_leaves_the_loop(
    way: Way, server: ScriptedServer, made: Made, how: str
) -> None:
    it = made(way, server)
    endless(server)
    begun = asyncio.Event()

    async def read() -> None:
        given = way.call(it)
        given = await given if asyncio.iscoroutine(given) else given
        async for _ in given:
            begun.set()
            if how != "cancelled":
                break
        if how == "closed":
            await given.aclose()

    task = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 10)
    if how == "cancelled":
        task.cancel()
    await asyncio.wait([task])
    del task
    gc.collect()
    await asyncio.to_thread(everything_is_back, server, it)
    assert (await way.aask(it)).error is None
    await core_of(it).aclose()


@of("left")
@pytest.mark.parametrize("way", ASYNC, ids=str)
@pytest.mark.parametrize("late", [False, True])
def test_a_task_cancelled_wherever_it_waits(
    way: Way, server: ScriptedServer, made: Made, late: bool
) -> None:
    """A call that waits for a place, is refused, sent again and answered;
    cancelled at each of its suspensions.
    """
    it = made(way, server, max_concurrent=1)

    async def cancelled(number: int) -> bool:
        server.script(faults.status(503))
        stepper = CancelledAt(way.call(it), number, late)

        async def run() -> None:
            await stepper

        await asyncio.wait([asyncio.ensure_future(run())])
        await asyncio.to_thread(
            until, lambda: idle(core_of(it)), f"everything to come back ({number})"
        )
        server._script.clear()  # it may not have got so far
        assert (await way.aask(it)).error is None, "or each refusal makes the next wait longer"
        return stepper.reached

    async def main() -> int:
        number = 1
        while await cancelled(number):
            number += 1
        await core_of(it).aclose()
        return number

    assert asyncio.run(main()) >= 3


@of("left")
@pytest.mark.parametrize("way", [*SYNC, *SYNC_STREAMS], ids=str)
def test_ctrl_c_in_the_middle_of_a_call(way: Way, server: ScriptedServer, made: Made) -> None:
    it = made(way, server)
    server.script(faults.hang)
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.2):
        way.ask(it)
    everything_is_back(server, it)
    assert way.ask(it).error is None


@of("left")
@pytest.mark.parametrize("way", CROWDS, ids=str)
def test_an_object_that_is_closed_ends_its_calls(
    way: Way, server: ScriptedServer, made: Made
) -> None:
    it = made(way, server, max_concurrent=1)
    server.script(faults.hang)
    crowd = Crowd(way, it, 3)
    server.wait_seen(1)
    until(lambda: core_of(it).get_stats()["queued"] == 2, "two to wait")
    core_of(it).close()
    assert [isinstance(told.error, ClientClosed) for told in crowd.told()] == [True] * 3
    everything_is_back(server, it)
