"""Nobody waits for nothing: who was not woken looks by itself,
and who would wait for itself is told.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import pytest
from asking import PATIENCE, Async, Sync, Told, Way, idle, made
from forking import FORKS, in_a_child
from test_limiter import OK, Clock
from waiting import until

from opea_core import OPEA, ClientClosed, ConfigurationError, events
from opea_core.policy import SECOND
from opea_core.policy.scheduler import OFFER_TTL
from opea_core.testing import Hold, ScriptedServer, chat, stream
from opea_core.transport import limiter as limiters
from opea_core.transport import waking
from opea_core.transport.limiter import Limiter

ITSELF = "it would wait for itself"


class Interrupted(BaseException):
    """What Ctrl-C is, for one thread or task."""


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets answers that hold go on; set at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def waiting(opea: OPEA, count: int) -> None:
    until(lambda: opea.get_stats()["queued"] == count, f"{count} calls to wait")


def waiting_on(opea: OPEA) -> None:
    """Block until a call that waits has asked some times again, and was not refused."""
    limiter, asked = opea._engine.limiter, set[int]()

    def some_times() -> bool:
        asked.update(
            at for tickets in list(limiter._timekeepers.values()) for at in list(tickets.values())
        )
        return len(asked) > 4

    waiting(opea, 1)
    until(some_times, "a call to look again")
    assert opea.get_stats()["queued"] == 1


# --- interrupted between the lock and the waking


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits looks often whether it need not."""
    for module in (limiters, waking):
        monkeypatch.setattr(module, "LOOKS_EVERY", SECOND // 20)


def interrupt(limiter: Limiter, operation: str) -> Callable[[], bool]:
    """The next such operation is interrupted after its lock, when it is about to wake somebody;
    tells whether it was.
    """
    real, after = getattr(limiter, operation), limiter._after
    done: list[bool] = []

    def interrupted(*args: Any, **named: Any) -> Any:
        thread = threading.get_ident()

        def wake(wakes: list[Any], but: Any = None) -> None:
            if (
                not done
                and threading.get_ident() == thread
                and [ticket for ticket in wakes if ticket is not but]
            ):
                done.append(True)
                setattr(limiter, operation, real)
                raise Interrupted
            after(wakes, but)

        limiter._after = wake  # type: ignore[method-assign]
        try:
            return real(*args, **named)
        finally:
            limiter._after = after  # type: ignore[method-assign]

    setattr(limiter, operation, interrupted)
    return lambda: bool(done)


@pytest.fixture(params=["sync", "async", "both"])
def waiters(request: pytest.FixtureRequest) -> Iterator[Callable[..., list[Future[Told]]]]:
    """Starts so many calls, which wait, in threads or in an event loop or some in both."""
    loop = Async()
    ways: list[Way] = {"sync": [Sync()], "async": [loop], "both": [Sync(), loop]}[request.param]

    def start(opea: OPEA, count: int) -> list[Future[Told]]:
        before = opea.get_stats()["queued"]
        calls = [
            ways[number % len(ways)].start(opea, "chat", f"waits {number}")
            for number in range(count)
        ]
        waiting(opea, before + count)
        return calls

    yield start
    loop.close()


Waiters = Callable[[OPEA, int], list[Future[Told]]]


def test_after_an_interrupted_end_the_next_ones_go_on(
    way: Way, waiters: Waiters, server: ScriptedServer, go: threading.Event, often: None
) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Hold(go)))
    holder = way.start(opea, "chat", "holder")
    server.wait_seen(1)
    calls = waiters(opea, 5)
    was = interrupt(opea._engine.limiter, "settle")
    go.set()
    with pytest.raises(Interrupted):
        holder.result(PATIENCE)
    assert [call.result(PATIENCE).error for call in calls] == [None] * 5
    assert was()
    assert idle(opea)


def test_after_an_interrupted_leave_the_next_ones_go_on(
    way: Way, waiters: Waiters, server: ScriptedServer, go: threading.Event, often: None
) -> None:
    opea = made(server, max_concurrent=1)
    server.script(stream(["a", Hold(go), "b"]))
    if isinstance(way, Async):
        achunks = opea.astream_chat("holder")
        way.run(lambda: anext(achunks)).result(PATIENCE)
        close: Callable[[], Any] = achunks.aclose
    else:
        chunks = opea.stream_chat("holder")
        next(chunks)
        close = chunks.close
    calls = waiters(opea, 5)
    was = interrupt(opea._engine.limiter, "leave")
    with pytest.raises(Interrupted):
        way.run(close).result(PATIENCE)
    assert [call.result(PATIENCE).error for call in calls] == [None] * 5
    assert was()
    assert idle(opea)


def closed(
    opea: OPEA, server: ScriptedServer, go: threading.Event, waiters: Waiters, count: int
) -> list[BaseException | None]:
    """What so many waiters are told when the closing of their object is interrupted."""
    server.script(chat("x").after(Hold(go)))
    Sync().start(opea, "chat", "holder")
    server.wait_seen(1)
    calls = waiters(opea, count)
    was = interrupt(opea._engine.limiter, "close")
    with pytest.raises(Interrupted):
        opea.close()
    assert was()
    return [call.result(1).error for call in calls]


def test_after_an_interrupted_close_everybody_is_told(
    waiters: Waiters, server: ScriptedServer, go: threading.Event, often: None
) -> None:
    told = closed(made(server, max_concurrent=1), server, go, waiters, 3)
    assert [type(error) for error in told] == [ClientClosed] * 3


def test_after_an_interrupted_close_more_than_look_are_told(
    server: ScriptedServer, go: threading.Event, often: None
) -> None:
    def start(opea: OPEA, count: int) -> list[Future[Told]]:
        calls = [Sync().start(opea, "chat", "waits") for _ in range(count)]
        waiting(opea, count)
        return calls

    told = closed(made(server, max_concurrent=1), server, go, start, 6)
    assert [type(error) for error in told] == [ClientClosed] * 6


def test_places_that_an_interrupted_discovery_found_are_taken(
    waiters: Waiters, server: ScriptedServer, go: threading.Event, often: None
) -> None:
    opea = made(server, max_concurrent=1)
    server.script(*[chat("x").after(Hold(go))] * 4)
    holder = Sync().start(opea, "chat", "holder")
    server.wait_seen(1)
    calls = waiters(opea, 3)
    limiter = opea._engine.limiter
    was = interrupt(limiter, "configure")
    with pytest.raises(Interrupted):
        limiter.configure(
            [endpoint.config.replace(max_concurrent=4) for endpoint in limiter.endpoints]
        )
    server.wait_seen(4)
    assert was()
    go.set()
    assert [call.result(PATIENCE).error for call in (holder, *calls)] == [None] * 4


def test_one_that_looks_wakes_all_that_were_not_woken() -> None:
    """Places came free for waiters of several loops and of none,
    and who gave them back was interrupted.
    """
    clock = Clock(max_concurrent=3)
    holders = [clock.ticket(f"holder {n}") for n in range(3)]
    permits = [clock.granted(ticket) for ticket in holders]
    names = ["one", "two", "three", "four"]
    waiters = [
        clock.waiting(name, owner=owner)
        for name, owner in zip(names, ("a loop", "another loop", None, None), strict=True)
    ]
    clock.limiter._after = lambda wakes, but=None: None  # type: ignore[method-assign]
    for ticket, permit in zip(holders, permits, strict=True):
        clock.limiter.settle(ticket, permit, OK)
    del clock.limiter._after
    clock.now += SECOND
    assert clock.limiter.ask(waiters[3])[0] is None
    assert sorted(clock.woken) == ["one", "three", "two"]
    for waiter in waiters[:3]:
        clock.granted(waiter)


def test_a_waiter_or_two_of_each_owner_look_every_two_seconds() -> None:
    clock = Clock()
    clock.granted(clock.ticket("holder"))
    for owner in (None, "a loop", "another loop"):
        untils = [clock.limiter.ask(clock.ticket("waits", owner=owner))[1] for _ in range(10)]
        assert untils.count(2 * SECOND) == 3
        assert untils.count(None) == 7


def test_what_a_finaliser_gave_back_comes_back_once_although_that_was_interrupted() -> None:
    clock = Clock()
    holder = clock.ticket("holder")
    clock.granted(holder)
    waits = clock.waiting("waits")
    told: list[str] = []
    leave = clock.limiter._leave

    def interrupted(*args: Any) -> Any:
        clock.limiter._leave = leave  # type: ignore[method-assign]
        leave(*args)
        raise Interrupted

    clock.limiter._leave = interrupted  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        clock.limiter.abandon(holder, lambda: told.append("holder"))
    clock.now += 2 * SECOND
    clock.limiter.stats()
    assert told == ["holder"]
    clock.granted(waits)
    assert clock.in_flight() == 1


def test_an_offer_that_lapsed_wakes_its_waiter_again() -> None:
    """It may have been woken in vain: in a loop that stood still,
    or by somebody who was interrupted.
    """
    clock = Clock()
    first = clock.ticket("first")
    clock.granted(first)
    slow, next_ = clock.waiting("slow"), clock.waiting("next")
    clock.limiter.leave(first)
    assert clock.woken == ["slow"]
    clock.now += OFFER_TTL
    clock.granted(next_)
    assert clock.woken == ["slow", "slow"]
    assert clock.limiter.ask(slow)[0] is None
    clock.limiter.leave(next_)
    clock.granted(slow)


# --- waiting for oneself


Case = Callable[[ScriptedServer], Any]


def run(case: Case, server: ScriptedServer) -> Future[Any]:
    """A case in a thread of its own, or in an event loop."""
    if not asyncio.iscoroutinefunction(case):
        return Sync().run(lambda: case(server))
    return Sync().run(lambda: asyncio.run(case(server)))


def alone(server: ScriptedServer, **options: Any) -> OPEA:
    """An OPEA with one place, at a server whose streams go on for ever after their beginning."""
    server.always(
        lambda seen: (
            stream(["a", Hold(threading.Event()), "b"]) if seen.body.get("stream") else chat("x")
        )
    )
    return made(server, **{"max_concurrent": 1} | options)


def call_in_its_own_stream(server: ScriptedServer) -> Any:
    opea = alone(server)
    with opea.stream_chat("outer") as chunks:
        next(chunks)
        return opea.chat("inner")


async def call_in_its_own_async_stream(server: ScriptedServer) -> Any:
    opea = alone(server)
    async with opea.astream_chat("outer") as chunks:
        await anext(chunks)
        return await opea.achat("inner")


async def call_in_its_own_async_stream_over_aiohttp(server: ScriptedServer) -> Any:
    opea = alone(server, http_library="aiohttp")
    async with opea.astream_chat("outer") as chunks:
        await anext(chunks)
        return await opea.achat("inner")


async def sync_call_in_its_own_async_stream(server: ScriptedServer) -> Any:
    opea = alone(server)
    async with opea.astream_chat("outer") as chunks:
        await anext(chunks)
        return opea.chat("inner")


def two_streams_of_one_thread(server: ScriptedServer) -> Any:
    opea = alone(server)
    with opea.stream_chat("one") as one, opea.stream_chat("two") as two:
        return next(one), next(two)


async def two_streams_of_one_task(server: ScriptedServer) -> Any:
    opea = alone(server)
    async with opea.astream_chat("one") as one, opea.astream_chat("two") as two:
        return await anext(one), await anext(two)


def call_in_a_stream_of_bodies(server: ScriptedServer) -> Any:
    opea = alone(server)
    bodies = opea.make_stream_request(BODY)
    try:
        next(bodies)
        return opea.make_post_request(BODY)
    finally:
        bodies.close()


def as_many_streams_as_places(server: ScriptedServer) -> Any:
    opea = alone(server, max_concurrent=3)
    with opea.stream_chat("1") as one, opea.stream_chat("2") as two, opea.stream_chat("3") as three:
        next(one), next(two), next(three)
        return opea.chat("inner")


def call_in_a_hook(server: ScriptedServer) -> Any:
    found: list[BaseException] = []

    def hook(event: events.Event) -> None:
        if isinstance(event, events.AttemptStarted):
            try:
                opea.chat("inner")
            except ConfigurationError as error:
                found.append(error)

    opea = alone(server, hooks=[hook])
    opea.chat("outer")
    raise found[0]


async def call_in_a_hook_of_an_async_call(server: ScriptedServer) -> Any:
    found: list[BaseException] = []

    def hook(event: events.Event) -> None:
        if isinstance(event, events.AttemptStarted):
            try:
                opea.chat("inner")
            except ConfigurationError as error:
                found.append(error)

    opea = alone(server, hooks=[hook])
    await opea.achat("outer")
    raise found[0]


def call_in_a_key_function(server: ScriptedServer, **options: Any) -> Any:
    opea = alone(server, api_key=lambda: opea.chat("inner").content, **options)
    return opea.chat("outer")


def call_in_a_key_function_that_has_a_deadline(server: ScriptedServer, **options: Any) -> Any:
    return call_in_a_key_function(server, deadline=PATIENCE, **options)


async def call_in_an_async_key_function(server: ScriptedServer, **options: Any) -> Any:
    async def key() -> str:
        return (await opea.achat("inner")).content

    opea = alone(server, api_key=key, **options)
    return await opea.achat("outer")


def async_key_function_of_a_sync_call(server: ScriptedServer, **options: Any) -> Any:
    async def key() -> str:
        return (await opea.achat("inner")).content

    opea = alone(server, api_key=key, **options)
    return opea.chat("outer")


async def sync_key_function_of_an_async_call(server: ScriptedServer, **options: Any) -> Any:
    opea = alone(server, api_key=lambda: opea.chat("inner").content, **options)
    return await opea.achat("outer")


Call = Callable[[OPEA], Any]


def answered_while(
    other: Call, work: Call, opea: OPEA, server: ScriptedServer, go: threading.Event
) -> Any:
    """What comes of work that has to wait for another call, which ends when it waits."""
    holder = Sync().run(lambda: other(opea))
    server.wait_seen(1)
    call = Sync().run(lambda: work(opea))
    waiting_on(opea)
    go.set()
    holder.result(PATIENCE)
    return call.result(PATIENCE)


def within_a_stream(opea: OPEA) -> Any:
    with opea.stream_chat("outer") as chunks:
        next(chunks)
        return opea.chat("inner").content


async def within_an_async_stream(opea: OPEA) -> Any:
    async with opea.astream_chat("outer") as chunks:
        await anext(chunks)
        return (await opea.achat("inner")).content


BODY = {"messages": [{"role": "user", "content": "Hello"}]}
KEYS = [
    call_in_a_key_function,
    call_in_a_key_function_that_has_a_deadline,
    call_in_an_async_key_function,
    async_key_function_of_a_sync_call,
    sync_key_function_of_an_async_call,
]
REFUSED: list[Case] = [
    call_in_its_own_stream, call_in_its_own_async_stream, call_in_its_own_async_stream_over_aiohttp,
    sync_call_in_its_own_async_stream, two_streams_of_one_thread, two_streams_of_one_task,
    call_in_a_stream_of_bodies, as_many_streams_as_places, call_in_a_hook,
    call_in_a_hook_of_an_async_call, *KEYS,
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_who_would_wait_for_itself_is_told_so(
    case: Case, server: ScriptedServer, often: None
) -> None:
    with pytest.raises(ConfigurationError, match=ITSELF):
        run(case, server).result(PATIENCE)
    assert "inner" not in [seen.body["messages"][0]["content"] for seen in server.seen]


@pytest.mark.parametrize("case", KEYS, ids=lambda case: case.__name__)
def test_a_key_function_that_needs_its_own_key_is_told_so_with_any_number_of_places(
    case: Any, server: ScriptedServer
) -> None:
    async def of_many(server: ScriptedServer) -> Any:
        value = case(server, max_concurrent=9)
        return await value if isinstance(value, Awaitable) else value

    work: Case = (
        of_many
        if asyncio.iscoroutinefunction(case)
        else lambda server: case(server, max_concurrent=9)
    )
    with pytest.raises(
        ConfigurationError, match="The api_key function calls the object that asks it"
    ):
        run(work, server).result(PATIENCE)
    assert server.seen == []


def test_who_would_wait_for_itself_behind_many_others_is_told_so(
    way: Way, server: ScriptedServer, often: None
) -> None:
    """They wait for its stream, and see to the clock for all."""
    opea, others = alone(server), threading.Event()

    def before() -> None:
        until(lambda: opea.get_stats()["queued"] == 4, "the others to wait")
        others.set()

    def call_in_a_stream() -> Any:
        with opea.stream_chat("outer") as chunks:
            next(chunks)
            before()
            return opea.chat("inner")

    async def acall_in_a_stream() -> Any:
        async with opea.astream_chat("outer") as chunks:
            await anext(chunks)
            await asyncio.to_thread(before)
            return await opea.achat("inner")

    call = way.run(acall_in_a_stream if isinstance(way, Async) else call_in_a_stream)
    server.wait_seen(1)
    calls = [way.start(opea, "chat", "other") for _ in range(4)]
    assert others.wait(PATIENCE)
    with pytest.raises(ConfigurationError, match=ITSELF):
        call.result(2)
    assert [call.result(PATIENCE).error for call in calls] == [None] * 4


# --- and who would not


def call_in_a_stream_where_a_place_is_free(server: ScriptedServer) -> Any:
    opea = alone(server, max_concurrent=2)
    with opea.stream_chat("outer") as chunks:
        return next(chunks) and opea.chat("inner").content


async def call_in_an_async_stream_where_a_place_is_free(server: ScriptedServer) -> Any:
    opea = alone(server, max_concurrent=2)
    async with opea.astream_chat("outer") as chunks:
        return await anext(chunks) and (await opea.achat("inner")).content


def call_after_its_own_stream(server: ScriptedServer) -> Any:
    opea = alone(server)
    with opea.stream_chat("outer") as chunks:
        next(chunks)
    return opea.chat("inner").content


def two_threads_each_with_a_stream(server: ScriptedServer) -> Any:
    opea = made(server, max_concurrent=1)
    calls = [Sync().run(lambda: list(opea.stream_chat("Hello"))[-1].response) for _ in range(2)]
    return all(call.result(PATIENCE) for call in calls)


async def two_tasks_each_with_a_stream(server: ScriptedServer) -> Any:
    opea = made(server, max_concurrent=1)

    async def one() -> Any:
        return [chunk async for chunk in opea.astream_chat("Hello")][-1].response

    return all(await asyncio.gather(one(), one()))


def key_function_that_calls_another_object(server: ScriptedServer) -> Any:
    other = made(server, max_concurrent=1)
    opea = alone(server, api_key=lambda: other.chat("inner").content)
    return opea.chat("outer").content


async def async_key_function_that_calls_another_object(server: ScriptedServer) -> Any:
    other = made(server, max_concurrent=1)

    async def key() -> str:
        return (await other.achat("inner")).content

    return (await alone(server, api_key=key).achat("outer")).content


@pytest.mark.parametrize(
    "case",
    [
        call_in_a_stream_where_a_place_is_free, call_in_an_async_stream_where_a_place_is_free,
        call_after_its_own_stream, two_threads_each_with_a_stream, two_tasks_each_with_a_stream,
        key_function_that_calls_another_object, async_key_function_that_calls_another_object,
    ],
    ids=lambda case: case.__name__,
)  # fmt: skip
def test_who_waits_for_others_gets_its_place(case: Case, server: ScriptedServer) -> None:
    assert run(case, server).result(PATIENCE)


def test_a_stream_that_another_thread_reads_on_is_waited_for(
    server: ScriptedServer, go: threading.Event, often: None
) -> None:
    opea, given = made(server, max_concurrent=1), threading.Event()
    server.script(stream(["a", Hold(given), "b", Hold(go), "c"]))

    def begin_hand_over_and_call() -> str:
        chunks = opea.stream_chat("outer")
        next(chunks)
        second: Future[Any] = Future()
        reader = threading.Thread(target=lambda: [second.set_result(next(chunks)), *chunks])
        reader.start()
        given.set()
        second.result(PATIENCE)
        answer = opea.chat("inner").content
        reader.join(PATIENCE)
        return answer

    call = Sync().run(begin_hand_over_and_call)
    waiting_on(opea)
    go.set()
    assert call.result(PATIENCE)


def test_a_stream_that_another_task_reads_on_is_waited_for(
    server: ScriptedServer, go: threading.Event, often: None
) -> None:
    opea, given = made(server, max_concurrent=1), threading.Event()
    server.script(stream(["a", Hold(given), "b", Hold(go), "c"]))

    async def begin_hand_over_and_call() -> str:
        chunks = opea.astream_chat("outer")
        await anext(chunks)
        second = asyncio.get_running_loop().create_future()

        async def read_on() -> None:
            second.set_result(await anext(chunks))
            async for _ in chunks:
                pass

        reader = asyncio.create_task(read_on())
        given.set()
        await second
        answer = (await opea.achat("inner")).content
        await reader
        return answer

    call = Sync().run(lambda: asyncio.run(begin_hand_over_and_call()))
    waiting_on(opea)
    go.set()
    assert call.result(PATIENCE)


@pytest.mark.parametrize(
    "work",
    [within_a_stream, lambda opea: asyncio.run(within_an_async_stream(opea))],
    ids=["sync", "async"],
)
def test_a_place_that_somebody_else_holds_is_waited_for_within_a_stream(
    work: Call, server: ScriptedServer, go: threading.Event, often: None
) -> None:
    server.script(chat("x").after(Hold(go)), stream(["a", Hold(go), "b"]))
    opea = made(server, max_concurrent=2)
    assert answered_while(lambda opea: opea.chat("other"), work, opea, server, go)


def test_another_endpoints_place_is_waited_for_within_a_stream(
    server: ScriptedServer, second: ScriptedServer, go: threading.Event, often: None
) -> None:
    server.script(chat("x").after(Hold(go)))
    second.script(stream(["a", Hold(threading.Event()), "b"]))
    opea = OPEA(
        endpoints=[
            {"base_url": server.url, "max_concurrent": 1},
            {"base_url": second.url, "max_concurrent": 1, "tier": 1},
        ],
        model="m",
    )
    assert answered_while(lambda opea: opea.chat("other"), within_a_stream, opea, server, go)


def test_what_was_held_before_is_held_no_more(
    server: ScriptedServer, go: threading.Event, often: None
) -> None:
    """A thread that had a stream, and asked a key function for it,
    waits for others as anybody does.
    """
    opea, begun = made(server, max_concurrent=1, api_key=lambda: "a-key"), threading.Event()
    server.script(chat("x"), stream(["a", "b"]), stream(["a", "b"]), chat("x").after(Hold(go)))

    def work() -> str:
        opea.chat("first")
        list(opea.stream_chat("second"))
        with opea.stream_chat("third") as chunks:
            next(chunks)
        holder.append(Sync().start(opea, "chat", "other"))
        server.wait_seen(4)
        begun.set()
        return opea.chat("inner").content

    holder: list[Future[Told]] = []
    call = Sync().run(work)
    assert begun.wait(PATIENCE)
    waiting_on(opea)
    go.set()
    assert call.result(PATIENCE)
    assert holder[0].result(PATIENCE).error is None


def test_a_thread_of_a_pool_that_read_a_chunk_waits_with_its_next_work(
    server: ScriptedServer, go: threading.Event
) -> None:
    """So do web servers read a stream: any thread of theirs gets the next chunk,
    and other requests meanwhile.
    """
    opea = made(server, max_concurrent=1)
    server.script(stream(["a", Hold(go), "b"]))
    chunks = opea.stream_chat("outer")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, chunks).result(PATIENCE)
        call = pool.submit(opea.chat, "another request")
        until(lambda: call.done() or opea.get_stats()["queued"] == 1, "the call to wait")
        waits = not call.done()
        go.set()
        assert "".join(chunk.content for chunk in chunks) == "b"
        assert waits
        assert call.result(PATIENCE).content


async def test_a_stream_given_to_a_task_that_has_not_run_yet_is_waited_for(
    server: ScriptedServer,
) -> None:
    opea = made(server, max_concurrent=1)
    chunks = opea.astream_chat("outer")
    await anext(chunks)

    async def read_on() -> None:
        async for _ in chunks:
            pass

    reader = asyncio.create_task(read_on())
    try:
        assert (await opea.achat("inner")).content
    finally:
        await reader
        await opea.aclose()


# --- odd moments: a fork, and an import that is under way


@pytest.mark.skipif(not FORKS, reason="no os.fork here")
class TestFork:
    def test_a_lock_of_an_event_loops_connections_held_by_another_thread(
        self, server: ScriptedServer
    ) -> None:
        opea = made(server)
        way = Async()
        assert way.ask(opea, "chat", "Hello").error is None
        place = next(iter(opea._engine.drivers.aio._places.values()))
        with place.slots._lock:
            assert in_a_child(lambda: bool(asyncio.run(opea.achat("child")).content))
            assert in_a_child(lambda: opea.close() is None)
        assert way.ask(opea, "chat", "parent").error is None
        assert {seen.connection for seen in server.seen if "child" not in str(seen.body)} == {1}
        way.close()

    def test_a_stream_of_the_parent_is_closed_in_the_child_with_its_lock_held(
        self, server: ScriptedServer
    ) -> None:
        opea = made(server)
        with opea.stream_chat("Hello") as chunks:
            first = next(chunks).content
            with opea._engine.drivers.sync.slots._lock:
                assert in_a_child(lambda: chunks.close() is None)
            assert first + "".join(chunk.content for chunk in chunks)
        assert not server.seen[0].disconnected

    def test_the_child_lets_go_of_the_parents_sockets(self, server: ScriptedServer) -> None:
        opea = made(server)
        with_aiohttp = made(server, http_library="aiohttp")
        way = Async()
        assert way.ask(opea, "chat", "Hello").error is None
        place = next(iter(opea._engine.drivers.aio._places.values()))
        number = place.slots.lines()[0].socket.fileno()

        def is_closed() -> bool:
            try:
                os.fstat(number)
            except OSError:
                return True
            return False

        assert not is_closed()
        assert in_a_child(is_closed)
        assert way.ask(opea, "chat", "parent").error is None
        assert way.ask(with_aiohttp, "chat", "Hello").error is None
        way.close()

    def test_a_fork_waits_for_an_import_of_ours(self) -> None:
        """Its child could never end an import that another thread has begun."""
        done = subprocess.run(
            [sys.executable, "-c", FORK_AT_IMPORT],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "the child's call went well\n",
            "",
        )


FORK_AT_IMPORT = """
import asyncio, importlib.abc, importlib.machinery, os, signal, sys, threading, warnings
import httpx
from opea_core import OPEA

warnings.simplefilter("ignore")  # 3.12 warns of forks in a process with threads

class Answers(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        choice = {"message": {"content": "x"}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "opea_core.transport.drivers.aio":
            return None
        if threading.current_thread() is threading.main_thread():
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        # to find a module, Python holds a lock for which a fork waits anyway; to run it, none
        def slowly(module):
            begun.set()
            go.wait(10)
            run(module)

        spec.loader.exec_module = slowly
        return spec

begun, go = threading.Event(), threading.Event()
sys.meta_path.insert(0, Slow())
opea = OPEA("http://127.0.0.1:9", async_transport=Answers(), model="m")
other = threading.Thread(target=lambda: opea._engine.drivers.aio)
other.start()
begun.wait(10)
threading.Timer(0.2, go.set).start()
pid = os.fork()
if pid == 0:
    signal.alarm(8)
    asyncio.run(opea.achat("Hello"))
    os._exit(7)
other.join()
went_well = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("the child's call went well" if went_well else "it did not")
"""


class Holds(httpx.BaseTransport):
    """Answers when it may."""

    def __init__(self, go: threading.Event) -> None:
        self._go = go

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._go.wait(PATIENCE)
        return httpx.Response(
            200, json={"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
        )


def test_a_call_that_waits_while_another_thread_imports_asyncio(
    monkeypatch: pytest.MonkeyPatch, go: threading.Event
) -> None:
    opea = OPEA("http://127.0.0.1:9", transport=Holds(go), model="m", max_concurrent=1)
    holder = Sync().start(opea, "chat", "holder")
    until(lambda: opea.get_stats()["in_flight"] == 1, "the holder's place")
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))
    call = Sync().start(opea, "chat", "waits")
    waiting(opea, 1)
    monkeypatch.undo()
    go.set()
    assert (holder.result(PATIENCE).error, call.result(PATIENCE).error) == (None, None)
