"""Streams that nobody reads to their end: closed, left, dropped, closed from elsewhere,
or left behind by their loop.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from asking import PATIENCE, Sync, idle, made

from opea_core import OPEA, StreamInterrupted, Timeouts, events
from opea_core.testing import Hold, ScriptedServer, Wait, chat, chunk, sse, stream

TWO = ["a", Wait(60), "b"]


@pytest.fixture
def heard() -> list[events.Event]:
    return []


@pytest.fixture
def opea(server: ScriptedServer, heard: list[events.Event]) -> Iterator[OPEA]:
    """An OPEA with one place, so that a place that is not given back is missed."""
    server.script(stream(TWO))
    with made(server, max_concurrent=1, hooks=[heard.append]) as opea:
        yield opea


def names(heard: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in heard]


def check(opea: OPEA, server: ScriptedServer, heard: list[events.Event]) -> None:
    """The server was told, the place is free, and starts and ends balance."""
    server.wait(lambda: server.seen[0].disconnected)
    assert opea.chat("next", deadline=2).content
    assert idle(opea)
    assert opea.get_stats("one")["breaker"] == "closed"
    assert opea.get_stats()["errors"] == 0
    kinds = names(heard)
    assert kinds.count("StreamAbandoned") == 1
    assert kinds.count("CallStarted") == kinds.count("CallEnded") == 2
    assert kinds.count("AttemptStarted") == kinds.count("AttemptEnded") == 2


# --- sync


def test_closed(opea: OPEA, server: ScriptedServer, heard: list[events.Event]) -> None:
    chunks = opea.stream_chat("Hello")
    assert next(chunks).content == "a"
    chunks.close()
    chunks.close()
    assert list(chunks) == []
    assert chunks.response is not None
    assert chunks.response.content == "a"
    check(opea, server, heard)


def test_left_by_break_in_a_with(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    with opea.stream_chat("Hello") as chunks:
        for piece in chunks:
            assert piece.content == "a"
            break
    check(opea, server, heard)


def test_left_by_an_exception(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    def read() -> None:
        with opea.stream_chat("Hello") as chunks:
            for _ in chunks:
                raise LookupError

    with pytest.raises(LookupError):
        read()
    check(opea, server, heard)


def test_dropped(opea: OPEA, server: ScriptedServer, heard: list[events.Event]) -> None:
    chunks = opea.stream_chat("Hello")
    next(chunks)
    told = len(heard)
    box = [chunks]
    del chunks
    with pytest.warns(ResourceWarning, match="stream"):
        box.clear()
    assert len(heard) == told  # hooks are not called in a finaliser
    check(opea, server, heard)


def test_dropped_in_a_cycle_by_another_thread(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    def read() -> None:
        knot: list[Any] = [opea.stream_chat("Hello")]
        knot.append(knot)
        next(knot[0])

    Sync().run(read).result(PATIENCE)
    with pytest.warns(ResourceWarning, match="stream"):
        Sync().run(gc.collect).result(PATIENCE)
    check(opea, server, heard)


def test_dropped_while_another_call_waits(opea: OPEA, server: ScriptedServer) -> None:
    chunks = opea.stream_chat("Hello")
    next(chunks)
    waits = Sync().start(opea, "chat", "next")
    time.sleep(0.02)
    assert not waits.done()
    box = [chunks]
    del chunks
    with pytest.warns(ResourceWarning, match="stream"):
        box.clear()
    assert waits.result(PATIENCE).error is None


def test_a_dropped_stream_that_was_read_to_its_end_says_nothing(server: ScriptedServer) -> None:
    with made(server) as opea, warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks = opea.stream_chat("Hello")
        assert list(chunks)
        del chunks
        gc.collect()


def test_a_dict_stream_left_by_break(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    for piece in (
        chunks := opea.make_stream_request({"messages": [{"role": "user", "content": "Hello"}]})
    ):
        assert piece["content"] == "a"
        break
    chunks.close()  # type: ignore[attr-defined]
    check(opea, server, heard)


def test_closed_from_another_thread_while_it_is_read(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    """A reader that waits wakes up at once, and sees an end."""
    chunks = opea.stream_chat("Hello")
    next(chunks)
    reader = Sync().run(lambda: list(chunks))
    time.sleep(0.03)
    chunks.close()
    assert reader.result(PATIENCE) == []
    check(opea, server, heard)


def test_closed_before_its_first_use(server: ScriptedServer) -> None:
    with made(server) as opea:
        chunks = opea.stream_chat("Hello")
        chunks.close()
        assert list(chunks) == []
        with opea.stream_chat("Hello") as chunks:
            chunks.close()
            assert list(chunks) == []
    assert len(server.seen) == 1


def test_an_unused_stream_sends_nothing_and_warns_of_nothing(server: ScriptedServer) -> None:
    with made(server) as opea, warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks = opea.stream_chat("Hello")
        assert (chunks.response, chunks.request_id, chunks.endpoint) == (None, None, None)
        del chunks
        gc.collect()
        assert idle(opea)
    assert server.seen == []
    assert opea.get_stats()["requests"] == 0


def test_a_stream_ends_once(server: ScriptedServer) -> None:
    with made(server) as opea:
        server.script(stream([str(number) for number in range(200)]))
        chunks = opea.stream_chat("Hello")
        assert "".join(chunk.content for chunk in chunks) == "".join(map(str, range(200)))
        assert list(chunks) == []
    assert len(server.seen) == 1


def test_a_consumer_that_takes_its_time_is_no_idle_server(server: ScriptedServer) -> None:
    with made(server, timeouts=Timeouts(first_event=0.2, idle=0.06)) as opea:
        server.script(stream(["a", Wait(0.02), "b", Wait(0.02), "c"]))
        got = []
        for piece in opea.stream_chat("Hello"):
            got.append(piece.content)
            time.sleep(0.1)
        assert "".join(got) == "abc"


MANY = b"".join(
    b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % number for number in range(6)
)


def test_a_consumer_that_takes_its_time_over_many_chunks(server: ScriptedServer) -> None:
    """They came in one piece, so that the server may well be silent while they are looked at."""
    with made(server, timeouts=Timeouts(first_event=0.2, idle=0.06)) as opea:
        server.script(sse(MANY, Wait(0.02), chunk({"content": "!"}), chunk({}, "stop")))
        got = []
        for piece in opea.stream_chat("Hello"):
            got.append(piece.content)
            time.sleep(0.03)
        assert "".join(got) == "012345!"


# --- async


async def acheck(opea: OPEA, server: ScriptedServer, heard: list[events.Event]) -> None:
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)
    assert (await opea.achat("next", deadline=2)).content
    assert idle(opea)
    kinds = names(heard)
    assert kinds.count("StreamAbandoned") == 1
    assert kinds.count("CallStarted") == kinds.count("CallEnded") == 2
    assert kinds.count("AttemptStarted") == kinds.count("AttemptEnded") == 2


async def test_aclosed(opea: OPEA, server: ScriptedServer, heard: list[events.Event]) -> None:
    chunks = opea.astream_chat("Hello")
    assert (await anext(chunks)).content == "a"
    await chunks.aclose()
    await chunks.aclose()
    assert [chunk async for chunk in chunks] == []
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_left_by_break_in_an_async_with(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    async with opea.astream_chat("Hello") as chunks:
        async for _ in chunks:
            break
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_aclosed_by_another_task_while_it_is_read(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    chunks = opea.astream_chat("Hello")
    await anext(chunks)

    async def read() -> list[Any]:
        return [piece async for piece in chunks]

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    await chunks.aclose()
    assert await asyncio.wait_for(reader, 1) == []
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_a_dict_stream_left_by_break_in_a_loop(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    async for piece in opea.amake_stream_request(
        {"messages": [{"role": "user", "content": "Hello"}]}
    ):
        assert piece["content"] == "a"
        break
    gc.collect()
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_a_stream_within_a_time_limit_of_asyncio(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    async def read() -> None:
        async with asyncio.timeout(0.05):
            async for _ in opea.astream_chat("Hello"):
                pass

    with pytest.raises(TimeoutError):
        await read()
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_dropped_in_a_loop(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    chunks = opea.astream_chat("Hello")
    await anext(chunks)
    box = [chunks]
    del chunks
    with pytest.warns(ResourceWarning, match="stream"):
        box.clear()
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_dropped_by_another_thread_than_the_loops(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    box = [opea.astream_chat("Hello")]
    await anext(box[0])
    with pytest.warns(ResourceWarning, match="stream"):
        await asyncio.to_thread(box.clear)
    await acheck(opea, server, heard)
    await opea.aclose()


async def test_an_unused_async_stream_sends_nothing(server: ScriptedServer) -> None:
    async with made(server) as opea:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opea.astream_chat("Hello")
            gc.collect()
        await opea.astream_chat("Hello").aclose()
    assert server.seen == []


async def test_a_slow_consumer_in_a_loop(server: ScriptedServer) -> None:
    async with made(server, timeouts=Timeouts(first_event=0.2, idle=0.06)) as opea:
        server.script(stream(["a", Wait(0.02), "b", Wait(60), "c"]))
        chunks = opea.astream_chat("Hello")
        assert (await anext(chunks)).content == "a"
        await asyncio.sleep(0.1)
        assert (await anext(chunks)).content == "b"
        with pytest.raises(StreamInterrupted, match="idle"):  # now it is the server
            await anext(chunks)


async def test_a_slow_consumer_of_many_chunks_in_a_loop(server: ScriptedServer) -> None:
    async with made(server, timeouts=Timeouts(first_event=0.2, idle=0.06)) as opea:
        server.script(sse(MANY, Wait(0.2), chunk({"content": "!"}), chunk({}, "stop")))
        got = []
        async for piece in opea.astream_chat("Hello"):
            got.append(piece.content)
            await asyncio.sleep(0.03)
        assert "".join(got) == "012345!"


async def test_chunks_that_are_there_already_leave_others_their_turn(
    server: ScriptedServer,
) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with made(server) as opea:
        server.script(stream([str(number) for number in range(1000)]))
        other = asyncio.create_task(count())
        chunks = [chunk async for chunk in opea.astream_chat("Hello")]
        other.cancel()
    assert len(chunks) == 1002
    assert turns > 20


def test_a_stream_that_its_loop_left_behind(
    opea: OPEA, server: ScriptedServer, heard: list[events.Event]
) -> None:
    """The loop has ended, and with it the connection; dropping the stream gives the place back."""
    box: list[Any] = []

    async def main() -> None:
        box.append(opea.astream_chat("Hello"))
        await anext(box[0])

    asyncio.run(main())
    server.wait(lambda: server.seen[0].disconnected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        box.clear()
        gc.collect()
    check(opea, server, heard)


def test_a_stream_read_in_another_loop_is_an_error_or_an_end(
    opea: OPEA, server: ScriptedServer
) -> None:
    box: list[Any] = []

    async def begin() -> None:
        box.append(opea.astream_chat("Hello"))
        await anext(box[0])

    async def go_on() -> None:
        try:
            assert [chunk async for chunk in box[0]] == []
        except Exception as error:  # noqa: BLE001 - which one is looked at below
            assert "loop" in str(error).lower() or isinstance(error, StreamInterrupted)  # noqa: PT017

    asyncio.run(begin())
    asyncio.run(go_on())
    box[0] = None
    gc.collect()
    assert opea.chat("next", deadline=2).content


def test_a_loop_that_is_closed_with_calls_waiting(server: ScriptedServer) -> None:
    """Nobody in that loop ever takes the offered place: it goes to the next one."""
    go = threading.Event()
    with made(server, max_concurrent=1) as opea:
        server.script(chat("x").after(Hold(go)))
        holder = Sync().start(opea, "chat", "holder")
        server.wait_seen(1)
        loop = asyncio.new_event_loop()
        dead = loop.create_task(opea.achat("never"))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        waits = Sync().start(opea, "chat", "next")
        time.sleep(0.02)
        go.set()
        assert holder.result(PATIENCE).error is None
        assert waits.result(PATIENCE).error is None
        dead._log_destroy_pending = False  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del dead
            gc.collect()
        assert opea.chat("and on it goes", deadline=3).content
        assert opea.get_stats()["in_flight"] == 0
