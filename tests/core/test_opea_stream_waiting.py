"""``waiting``: how many chunks of a stream have come already. Those who join chunks look at it."""

from __future__ import annotations

import threading

from asking import made

from opea_core.testing import Hold, ScriptedServer, sse
from opea_core.testing.answers import chunk, encode


def events(*texts: str) -> bytes:
    """Events that come in one piece."""
    return b"".join(b"data: %b\n\n" % encode(chunk({"content": text})) for text in texts)


def test_chunks_that_came_together_wait(server: ScriptedServer) -> None:
    more = threading.Event()
    server.script(sse(events("a", "b", "c"), Hold(more), events("d"), chunk({}, "stop")))
    with made(server) as opea, opea.stream_chat("Hello") as stream:
        seen = [(next(stream).content, stream.waiting) for _ in range(3)]
        more.set()
        rest = "".join(each.content for each in stream)
    assert seen == [("a", 2), ("b", 1), ("c", 0)]
    assert rest == "d"
    assert stream.waiting == 0


async def test_chunks_that_came_together_wait_in_async_code(server: ScriptedServer) -> None:
    more = threading.Event()
    server.script(sse(events("a", "b", "c"), Hold(more), events("d"), chunk({}, "stop")))
    async with made(server) as opea, opea.astream_chat("Hello") as stream:
        seen = [((await anext(stream)).content, stream.waiting) for _ in range(3)]
        more.set()
        rest = "".join([each.content async for each in stream])
    assert seen == [("a", 2), ("b", 1), ("c", 0)]
    assert rest == "d"
    assert stream.waiting == 0


def test_before_the_request_nothing_waits(server: ScriptedServer) -> None:
    with made(server) as opea:
        assert opea.stream_chat("Hello").waiting == 0
        assert opea.astream_chat("Hello").waiting == 0
    assert server.seen == []


def test_what_was_not_taken_before_closing_is_no_longer_handed_out(server: ScriptedServer) -> None:
    server.script(sse(events("a", "b", "c"), chunk({}, "stop")))
    with made(server) as opea:
        stream = opea.stream_chat("Hello")
        next(stream)
        stream.close()
        assert list(stream) == []
