"""Connections made by aiohttp: the same answers and errors, and what is special about them.

What both kinds of connection share is tested with the fixture ``way``
and in the fault table, over aiohttp too.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asking import PATIENCE, made
from doors import Door, door

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM
from opea_core import (
    OPEA,
    ConfigurationError,
    EndpointConnectionError,
    InvalidRequestError,
    OPEAError,
    ServerError,
    StreamInterrupted,
)
from opea_core.testing import Hold, ScriptedServer, chat, error, faults, raw, stream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}\n\n'


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def read(opea: OPEA, goes_on: threading.Event) -> tuple[str, OPEAError | None]:
    """The text of a stream, whose server goes on after the first piece, and its error."""
    text = ""
    try:
        async for piece in opea.astream_chat("Hi"):
            text += piece.content
            goes_on.set()
    except OPEAError as broken:
        return text, broken
    return text, None


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (b"size?\r\nxx", "connection closed in the middle of the answer"),
        (b"5\r\nab", "connection closed in the middle of the answer"),
        (
            framed(b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'),
            "out of memory",
        ),
        (framed(b"data: no JSON\n\n"), "no JSON"),
        (framed(b"") + b"0\r\n\r\n", "connection closed without an end mark"),
    ],
    ids=["a bad chunk", "a cut chunk", "an error", "no JSON", "no end mark"],
)
def test_a_stream_that_breaks_off_after_something_was_read(
    server: ScriptedServer, then: bytes, says: str
) -> None:
    goes_on = threading.Event()
    server.script(raw(HEAD + framed(EVENT), Hold(goes_on), then))

    async def main() -> tuple[str, OPEAError | None]:
        async with made(server, http_library="aiohttp") as opea:
            return await asyncio.wait_for(read(opea, goes_on), PATIENCE)

    text, broken = asyncio.run(main())
    assert isinstance(broken, StreamInterrupted)
    assert (text, broken.partial and broken.partial.content, len(server.seen)) == (
        "Hello",
        "Hello",
        1,
    )
    assert says in str(broken)


@pytest.mark.parametrize(
    "fault",
    [faults.bad_chunk, faults.error_midway, faults.short_length],
    ids=lambda fault: fault.name,
)
def test_what_breaks_before_anything_was_handed_on_is_tried_again(
    server: ScriptedServer, fault: faults.Fault
) -> None:
    server.script(fault)

    async def main() -> str:
        async with made(server, http_library="aiohttp") as opea:
            return (await opea.achat("Hi")).content

    assert asyncio.run(main()) == 'This is the scripted model. You wrote: "Hi"'
    assert len(server.seen) == 2


def test_what_came_before_a_failure_is_not_lost(server: ScriptedServer) -> None:
    """aiohttp gives the failure first, when both were there before anybody read."""
    server.always(raw(HEAD + framed(EVENT) + b"5\r\nab"))

    async def main() -> OPEAError | None:
        async with made(server, http_library="aiohttp", max_retries=0) as opea:
            return (await read(opea, threading.Event()))[1]

    failed = asyncio.run(main())
    assert isinstance(failed, StreamInterrupted | EndpointConnectionError)
    assert failed.partial is not None
    assert failed.partial.content == "Hello"


@pytest.mark.parametrize(
    "make",
    [
        lambda url: OPEA(url, model="m", http_library="aiohttp"),
        lambda url: OPEA(url, model="m", async_http_client="aiohttp"),  # type: ignore[arg-type]
        lambda url: ChatOPEA(base_url=url, model="m", http_library="aiohttp").client,
        lambda url: OPEALLM(api_base=url, model="m", http_library="aiohttp").client,
    ],
    ids=["OPEA", "as it was asked for before", "ChatOPEA", "OPEALLM"],
)
def test_it_is_asked_for_with_a_word(
    server: ScriptedServer, make: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp

    sessions: list[Any] = []
    begin = aiohttp.ClientSession.__init__

    def counted(self: Any, *args: Any, **options: Any) -> None:
        sessions.append(self)
        begin(self, *args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", counted)
    opea = make(server.url)

    async def main() -> None:
        async with opea:
            for _ in range(3):
                assert (await opea.achat("Hi")).content

    asyncio.run(main())
    assert (len(sessions), server.connections) == (1, 1)  # a kept connection is used again
    assert sessions[0].closed


def test_it_goes_with_what_a_client_of_ones_own_does_not(server: ScriptedServer) -> None:
    made(server, http_library="aiohttp", verify=False, trust_env=False).close()


def test_what_it_cannot_do_is_said_at_once(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="'httpx', 'httpx2', 'aiohttp', not 'requests'"):
        made(server, http_library="requests")
    opea = made(server, http_library="aiohttp", proxy="socks5://localhost:1")
    with pytest.raises(ConfigurationError, match="no SOCKS"):
        asyncio.run(opea.achat("Hi"))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "opea_core.transport.http.library.find_spec",
        lambda name: None if name == "aiohttp" else found(name),
    )
    with pytest.raises(ConfigurationError, match=r"opea-core\[aiohttp\]"):
        made(server, http_library="aiohttp")


def test_a_stray_answer_that_the_loop_has_not_seen_yet(server: ScriptedServer) -> None:
    """A loop that was busy since has not read it; the connection is not used again all the same."""
    server.script(faults.stray, chat("the right one"))

    async def main() -> str:
        async with made(server, http_library="aiohttp") as opea:
            await opea.achat("Hi")
            gone = threading.Event()
            threading.Timer(0.05, gone.set).start()
            gone.wait(PATIENCE)  # holds the loop, on purpose
            return (await opea.achat("Hi")).content

    assert asyncio.run(main()) == "the right one"


def test_a_reset_is_no_end(server: ScriptedServer) -> None:
    """Of a body without a length, where aiohttp takes it for one."""
    goes_on = threading.Event()
    server.always(
        raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + EVENT,
            Hold(goes_on),
            end="reset",
        )
    )

    async def main() -> tuple[str, OPEAError | None]:
        async with made(server, http_library="aiohttp") as opea:
            return await asyncio.wait_for(read(opea, goes_on), PATIENCE)

    text, broken = asyncio.run(main())
    assert text == "Hello"
    assert isinstance(broken, StreamInterrupted)
    assert "connection reset" in str(broken)


def test_a_path_does_not_decide_what_is_wrong(server: ScriptedServer) -> None:
    server.always(faults.not_http)

    async def main() -> str:
        async with made(
            server,
            http_library="aiohttp",
            max_retries=0,
            base_url=f"{server.origin}/chunk/header/v1",
        ) as opea:
            with pytest.raises(EndpointConnectionError) as caught:
                await opea.achat("Hi")
            return str(caught.value)

    assert "does not speak HTTP" in asyncio.run(main())


def test_the_loss_of_an_old_connection_is_not_the_new_ones() -> None:
    """A refusal before the request was read leaves a connection that lingers;
    it is reset while the next answer is read.
    """
    goes_on, gone, connections = threading.Event(), threading.Event(), itertools.count()

    def serve(connection: socket.socket, it: Door) -> None:
        number = next(connections)
        it.read_head(connection)
        if number:
            connection.sendall(HEAD + framed(EVENT))
            gone.wait(PATIENCE)
            connection.sendall(framed(EVENT) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        goes_on.wait(PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        gone.set()

    async def main(port: int) -> tuple[str, OPEAError | None]:
        async with OPEA(
            f"http://127.0.0.1:{port}", model="m", http_library="aiohttp", max_retries=0
        ) as opea:
            with pytest.raises(InvalidRequestError):
                await opea.achat("x" * 16_000_000)
            return await asyncio.wait_for(read(opea, goes_on), PATIENCE)

    with door(serve) as it:
        assert asyncio.run(main(it.port)) == ("HelloHello", None)


def test_cookies_are_not_kept(server: ScriptedServer) -> None:
    server.always(
        chat("x").replace(headers={"content-type": "application/json", "set-cookie": "id=1"})
    )

    async def main() -> None:
        async with made(server, http_library="aiohttp") as opea:
            for _ in range(2):
                await opea.achat("Hi")

    asyncio.run(main())
    assert "cookie" not in server.seen[-1].headers


def test_bytes_behind_an_answer_do_not_become_the_next_one(server: ScriptedServer) -> None:
    server.script(faults.stray, error(503, "busy"), chat("the right one"))

    async def main() -> list[str]:
        async with made(server, http_library="aiohttp") as opea:
            return [(await opea.achat("Hi")).content for _ in range(2)]

    assert asyncio.run(main())[1] == "the right one"


def test_loops_come_and_go(server: ScriptedServer) -> None:
    """One object in a loop after the other: nothing of an earlier one is used,
    and nothing is left open.
    """
    opea = made(server, http_library="aiohttp")
    for _ in range(3):
        assert asyncio.run(opea.achat("Hi")).content
    gc.collect()  # an unclosed session would warn, and a warning is an error here
    assert server.connections == 3
    opea.close()


def test_a_crowd_of_streams(server: ScriptedServer) -> None:
    words = [f"{n} " for n in range(50)]
    server.always(stream(words))

    async def one(opea: OPEA) -> str:
        return "".join([piece.content async for piece in opea.astream_chat("Hi")])

    async def main() -> list[str]:
        async with made(server, http_library="aiohttp", max_concurrent=40) as opea:
            return await asyncio.wait_for(
                asyncio.gather(*(one(opea) for _ in range(120))), 6 * PATIENCE
            )

    assert asyncio.run(main()) == ["".join(words)] * 120


def test_an_error_status_and_a_gateway(server: ScriptedServer) -> None:
    server.script(error(500, "out of memory"), faults.html_502, raw(HEAD + framed(EVENT)[:7]))

    async def main() -> list[type[BaseException]]:
        found: list[type[BaseException]] = []
        async with made(server, http_library="aiohttp", max_retries=0) as opea:
            for _ in range(3):
                with pytest.raises(OPEAError) as caught:
                    await opea.achat("Hi")
                found.append(type(caught.value))
        return found

    assert asyncio.run(main()) == [ServerError, ServerError, EndpointConnectionError]
