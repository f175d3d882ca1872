"""Both drivers over a transport without network:
every response is closed, and before the next request goes out.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from asking import Way, idle, made
from hypothesis import example, given
from hypothesis import strategies as st
from same_examples import fixed
from waiting import until

from opea_core import OPEA, OPEAError, RetryPolicy, StreamInterrupted
from opea_core.testing import ScriptedServer, sse
from opea_core.transport.deadline import SocketState

QUICK = RetryPolicy(initial_delay=0.001, jitter="none", backoff_factor=1)
PLAIN = json.dumps(
    {"choices": [{"index": 0, "message": {"content": "abcd"}, "finish_reason": "stop"}]}
).encode()


def event(text: str, reason: str | None = None) -> bytes:
    return (
        b"data: %s\n\n"
        % json.dumps(
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}
        ).encode()
    )


STREAM = [event("ab"), event("cd"), event("", "stop"), b"data: [DONE]\n\n"]
BODIES: dict[str, list[bytes]] = {
    "plain": [PLAIN[:20], PLAIN[20:]],
    "stream": STREAM,
    "error": [b'{"error": {"message": "no"}}'],
    "cut": [PLAIN[:30]],
    "half a stream": STREAM[:1],
    "stream with an error": [b'data: {"error": {"message": "no"}}\n\n'],
    "html": [b"<html>"],
    "nothing": [],
    "behind the end": [*STREAM, b": more\n\n"],
}
ENDS: list[type[Exception] | None] = [
    None,
    None,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.RemoteProtocolError,
]
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 500, 503, 400]),
    st.sampled_from(sorted(BODIES)),
    st.sampled_from(ENDS),
)
SCRIPTS = st.lists(
    ANSWERS | st.sampled_from([httpx.ConnectError, httpx.ReadError]), min_size=1, max_size=6
)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that knows whether it was closed."""

    def __init__(self, parts: list[bytes], end: type[Exception] | None) -> None:
        self.parts, self.end, self.closed = parts, end, 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        if self.end is not None:
            raise self.end("it broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


class Scripted(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers from a script over and over, and looks whether what it gave before is closed."""

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.given: list[Body] = []
        self.count = 0
        self.lost = 0
        """Connections that broke before an answer: whether such a one was re-used is not known,
        so the first is sent again at no cost.
        """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert all(body.closed for body in self.given), "a response is closed before the next wait"
        step = self.script[self.count % len(self.script)]
        self.count += 1
        if isinstance(step, type):
            self.lost += step is httpx.ReadError
            raise step("it broke")
        status, body, end = step
        self.given.append(Body(BODIES[body], end))
        return httpx.Response(status, stream=self.given[-1])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)  # the loop closes what it was given to close
        return self.handle_request(request)


def opea_over(transport: Scripted, retries: int) -> OPEA:
    retry = QUICK.replace(max_retries=retries)
    return OPEA(
        "http://nowhere.example/v1",
        model="m",
        transport=transport,
        async_transport=transport,
        retry=retry,
        breaker=False,
    )


def read(opea: OPEA, stream: bool, leave_after: int) -> str:
    if not stream:
        return opea.chat("Hello").content
    text = ""
    with opea.stream_chat("Hello") as chunks:
        for number, chunk in enumerate(chunks):
            text += chunk.content
            if number >= leave_after:
                break
    return text


async def aread(opea: OPEA, stream: bool, leave_after: int) -> str:
    if not stream:
        return (await opea.achat("Hello")).content
    text = ""
    async with opea.astream_chat("Hello") as chunks:
        number = 0
        async for chunk in chunks:
            text += chunk.content
            number += 1
            if number > leave_after:
                break
    return text


def asked(way: str, opea: OPEA, stream: bool, leave_after: int) -> str | OPEAError:
    """What a caller gets; the loop of an async one ends behind it."""
    try:
        return (
            asyncio.run(aread(opea, stream, leave_after))
            if way == "async"
            else read(opea, stream, leave_after)
        )
    except OPEAError as error:
        return error


@pytest.mark.parametrize("way", ["sync", "async"])
@fixed(100)
@given(
    script=SCRIPTS,
    stream=st.booleans(),
    retries=st.integers(0, 3),
    leave_after=st.sampled_from([9, 9, 0, 1]),
)
@example(script=[(200, "half a stream", httpx.ReadError)], stream=True, retries=1, leave_after=9)
@example(script=[(200, "half a stream", None)], stream=True, retries=1, leave_after=9)
def test_every_response_is_closed_and_what_was_handed_out_is_one_attempts_beginning(
    way: str, script: list[Any], stream: bool, retries: int, leave_after: int
) -> None:
    transport = Scripted(script)
    opea = opea_over(transport, retries)
    got = asked(way, opea, stream, leave_after)
    assert [body.closed for body in transport.given if not body.closed] == []
    resent = min(1, transport.lost)
    assert transport.count <= retries + 1 + resent
    assert idle(opea)
    if isinstance(got, str):
        assert "abcd".startswith(got)
        assert stream or got == "abcd"
    else:
        assert transport.count - resent <= len(got.attempts) <= transport.count
    if isinstance(got, StreamInterrupted):
        assert got.partial is not None
        assert "abcd".startswith(got.partial.content)
        assert (got.partial.endpoint, got.endpoint) == ("nowhere.example", "nowhere.example")
    opea.close()


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_an_answer_is_there_although_its_body_never_ends(
    way: Way, server: ScriptedServer, method: str
) -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    server.script(sse(said, "[DONE]", done=False, end="hang"))
    opea = made(server)
    assert way.ask(opea, method, "Hello").text == "a"
    until(lambda: idle(opea), "its place and its connection")
    opea.close()


def test_a_connection_of_the_parent_is_not_broken_in_a_forked_child() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = SocketState()
        line.socket = ours
        line.pid = os.getppid()  # it was opened in another process
        line.shutdown()
        ours.sendall(b"alive")
        assert theirs.recv(5) == b"alive"
        line.pid = os.getpid()
        line.shutdown()
        assert theirs.recv(5) == b""
