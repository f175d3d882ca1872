"""Closing the object: everything that waits or runs ends with ClientClosed,
and so does everything later.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asking import PATIENCE, Sync, Way, idle, made
from waiting import until

from opea_core import OPEA, BreakerPolicy, ClientClosed
from opea_core.testing import Answer, Hold, ScriptedServer, Wait, chat, error, raw, stream

DATA = {"messages": [{"role": "user", "content": "Hello"}]}
DRIP = raw(
    b"HTTP/1.1 200 OK\r\n", *[step for i in range(99) for step in (Wait(0.02), b"x: %d\r\n" % i)]
)
RUNNING: dict[str, tuple[str, Answer]] = {
    "no answer": ("chat", chat("x").replace(before="hang")),
    "headers that drip": ("chat", DRIP),
    "a body that stops": ("chat", chat("x").after(b" ", Wait(60))),
    "a stream before its content": ("stream_chat", stream([Wait(60), "a"]).after(b": hi\n\n")),
    "a stream that is read": ("stream_chat", stream(["a", Wait(60), "b"])),
    "a completion": ("complete", chat("x").after(Wait(60))),
    "texts to embed": ("embed", chat("x").after(Wait(60))),
    "a dict": ("make_post_request", chat("x").after(Wait(60))),
    "a wait between two attempts": ("chat", error(429, "slow down", headers={"retry-after": "50"})),
}


def shut(way: Way, opea: OPEA) -> None:
    """Close it the way of the test."""
    way.run(opea.close if way.name == "sync" else opea.aclose).result(PATIENCE)


@pytest.mark.parametrize("how", ["its own way", "from another thread"])
@pytest.mark.parametrize("what", RUNNING)
def test_running_calls_end(way: Way, server: ScriptedServer, what: str, how: str) -> None:
    method, answer = RUNNING[what]
    server.always(answer)
    opea = made(server)
    call = way.start(opea, method, DATA if method == "make_post_request" else "Hello")
    server.wait_seen(1)
    time.sleep(0.03)
    shut(way, opea) if how == "its own way" else opea.close()
    told = call.result(PATIENCE)
    assert type(told.error) is ClientClosed, repr(told.error)
    server.wait(lambda: not server.in_flight)
    assert idle(opea)


def test_a_stream_that_is_closed_with_its_object_keeps_what_came(
    way: Way, server: ScriptedServer
) -> None:
    server.script(stream(["a", Wait(60), "b"]))
    opea = made(server)
    call = way.start(opea, "stream_chat", "Hello")
    server.wait_seen(1)
    time.sleep(0.03)
    shut(way, opea)
    told = call.result(PATIENCE)
    assert type(told.error) is ClientClosed
    assert [chunk.content for chunk in told.chunks] == ["a"]
    assert told.error.partial is not None
    assert told.error.partial.content == "a"


def test_waiting_calls_end(way: Way, server: ScriptedServer) -> None:
    server.script(chat("x").after(Wait(60)))
    opea = made(server, max_concurrent=1)
    calls = [way.start(opea, "chat", "holder")]
    server.wait_seen(1)
    calls += [
        way.start(opea, method, "waits") for method in ("chat", "stream_chat", "complete", "embed")
    ]
    time.sleep(0.03)
    shut(way, opea)
    assert [type(call.result(PATIENCE).error) for call in calls] == [ClientClosed] * 5
    assert len(server.seen) == 1
    assert idle(opea)


def test_calls_that_are_held_in_an_outage_end(way: Way, server: ScriptedServer) -> None:
    server.always(chat("x").replace(before="reset"))
    opea = made(server, breaker=BreakerPolicy(break_duration=5))
    calls = [way.start(opea, "chat", "Hello") for _ in range(3)]
    time.sleep(0.1)
    shut(way, opea)
    assert [type(call.result(PATIENCE).error) for call in calls] == [ClientClosed] * 3


def test_later_calls_are_refused(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server)
    created = opea.create_endpoint()
    foreign = f"{second.origin}/v1/chat/completions"
    way.ask(opea, "make_post_request_opea", foreign, DATA)
    count = len(second.seen)
    shut(way, opea)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("chat", ("Hello",)),
        ("stream_chat", ("Hello",)),
        ("complete", ("Hello",)),
        ("stream_complete", ("Hello",)),
        ("embed", ("Hello",)),
        ("models", ()),
        ("make_post_request", (DATA,)),
        ("make_stream_request", (DATA,)),
        ("make_post_request_opea", (foreign, DATA)),
        ("make_post_request_opea", ("http://127.0.0.1:9/v1", DATA)),
        ("make_stream_request_opea", (foreign, DATA)),
        ("make_request_with_endpoint", (created, DATA)),
    ]
    for method, args in calls:
        told = way.ask(opea, method, *args)
        assert type(told.error) is ClientClosed, f"{method}: {told.error!r}"
    assert way.ask(opea, "test_endpoint").value is False
    assert type(way.ask(opea, "endpoint_problem").value) is ClientClosed
    assert type(way.ask(opea, "endpoint_problem", foreign).value) is ClientClosed
    assert (server.seen, len(second.seen)) == ([], count)


def test_an_endpoint_created_after_the_close_is_closed_too(server: ScriptedServer) -> None:
    opea = made(server)
    opea.close()
    with pytest.raises(ClientClosed):
        opea.make_request_with_endpoint(opea.create_endpoint(), DATA)
    assert server.seen == []


def test_created_and_foreign_endpoints_are_closed_with_it(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server)
    server.always(chat("x").after(Wait(60)))
    second.always(chat("x").after(Wait(60)))
    calls = [
        way.start(opea, "make_request_with_endpoint", opea.create_endpoint(), DATA),
        way.start(opea, "make_post_request_opea", f"{second.origin}/v1/chat/completions", DATA),
        way.start(opea, "endpoint_problem", server.url),
    ]
    server.wait_seen(2)
    second.wait_seen(1)
    shut(way, opea)
    told = [call.result(PATIENCE) for call in calls]
    assert [type(t.error or t.value) for t in told] == [ClientClosed] * 3


def test_closing_twice_does_nothing_more(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    assert way.ask(opea, "chat", "Hello").error is None
    for _ in range(3):
        shut(way, opea)
        opea.close()
    assert idle(opea)


def test_closing_what_was_never_used() -> None:
    OPEA().close()
    asyncio.run(OPEA().aclose())


def test_figures_can_be_read_after_the_close(server: ScriptedServer) -> None:
    opea = made(server)
    opea.chat("Hello")
    opea.close()
    assert opea.get_stats()["success"] == 1
    assert len(opea.recent_requests()) == 1


def test_context_managers_close(server: ScriptedServer) -> None:
    with made(server) as opea:
        opea.chat("Hello")
    with pytest.raises(ClientClosed):
        opea.chat("Hello")

    async def main() -> OPEA:
        async with made(server) as opea:
            await opea.achat("Hello")
        return opea

    opea = asyncio.run(main())
    with pytest.raises(ClientClosed):
        opea.chat("Hello")


def test_an_idle_connection_is_hung_up(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    way.ask(opea, "chat", "Hello")
    connections = server._open
    server.wait(lambda: len(connections) == 1)
    shut(way, opea)
    until(lambda: not connections, "the connection to be closed")


def test_close_does_not_wait_for_a_loop(server: ScriptedServer) -> None:
    """Calls of a loop that is busy with something else end as soon as it comes back to them."""
    go = threading.Event()
    server.script(chat("x").after(Hold(go)))
    opea = made(server)
    stuck, free = threading.Event(), threading.Event()
    closed_meanwhile: list[bool] = []

    async def main() -> BaseException | None:
        task = asyncio.create_task(opea.achat("Hello"))
        await asyncio.to_thread(server.wait_seen, 1)
        stuck.set()
        closed_meanwhile.append(free.wait(PATIENCE))  # the loop does nothing else
        await asyncio.wait([task])
        return task.exception()

    outcome = Sync().run(lambda: asyncio.run(main()))
    assert stuck.wait(5)
    opea.close()
    free.set()
    assert type(outcome.result(2 * PATIENCE)) is ClientClosed
    assert closed_meanwhile == [True]
    go.set()


def test_calls_of_several_loops_and_threads_end(server: ScriptedServer) -> None:
    server.always(chat("x").after(Wait(60)))
    opea = made(server)

    async def main() -> list[Any]:
        return await asyncio.gather(
            *(opea.achat("Hello") for _ in range(3)), return_exceptions=True
        )

    loops = [Sync().run(lambda: asyncio.run(main())) for _ in range(3)]
    threads = [Sync().start(opea, "chat", "Hello") for _ in range(3)]
    server.wait_seen(12)
    asyncio.run(opea.aclose())
    assert [type(error) for loop in loops for error in loop.result(3)] == [ClientClosed] * 9
    assert [type(thread.result(3).error) for thread in threads] == [ClientClosed] * 3
    assert idle(opea)


def test_a_call_inside_the_closing_context_ends_too(server: ScriptedServer) -> None:
    server.script(chat("x").after(Wait(60)))

    async def main() -> None:
        async with made(server) as opea:
            task = asyncio.create_task(opea.achat("Hello"))
            await asyncio.to_thread(server.wait_seen, 1)
        with pytest.raises(ClientClosed):
            await task
        assert idle(opea)

    asyncio.run(main())
