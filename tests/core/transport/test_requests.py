"""Large requests and odd servers: what is written slowly, refused early,
or sent to a name with several addresses.
"""

from __future__ import annotations

import socket
import threading

import pytest
from asking import Way, idle, made
from doors import Door, door

from opea_core import BreakerPolicy, EndpointTimeout, InvalidRequestError, Timeouts
from opea_core.testing import ScriptedServer, chat

LARGE = "word " * 600_000
OFF = BreakerPolicy(enabled=False)


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_a_prompt_of_megabytes(way: Way, server: ScriptedServer, method: str) -> None:
    assert way.ask(made(server), method, LARGE).error is None
    assert server.seen[0].body["messages"][0]["content"] == LARGE


def test_a_server_that_takes_no_bytes(way: Way, server: ScriptedServer) -> None:
    """Its buffers fill up, and writing stops: the time limit holds all the same."""
    over = threading.Event()

    def deaf(connection: socket.socket, _: Door) -> None:
        over.wait(5)

    with door(deaf) as it:
        opea = made(
            server,
            base_url=f"http://127.0.0.1:{it.port}",
            timeouts=Timeouts(first_event=0.2),
            max_retries=0,
        )
        told = way.ask(opea, "chat", LARGE * 5)
        over.set()
        assert isinstance(told.error, EndpointTimeout), repr(told.error)
        assert "(first_event)" in str(told.error)
        assert told.seconds >= 0.2
        assert [attempt.phase for attempt in told.error.attempts] == ["maybe_sent"]
        assert idle(opea)


def test_a_server_that_takes_no_bytes_and_a_deadline(way: Way, server: ScriptedServer) -> None:
    over = threading.Event()
    with door(lambda connection, it: over.wait(5) and None) as it:
        told = way.ask(
            made(server, base_url=f"http://127.0.0.1:{it.port}"), "chat", LARGE * 5, deadline=0.2
        )
        over.set()
        assert isinstance(told.error, EndpointTimeout), repr(told.error)
        assert told.error.deadline_exceeded


def test_a_request_that_is_refused_before_it_was_read(way: Way, server: ScriptedServer) -> None:
    """As proxies do with a body that is too large: their answer counts, not that writing failed."""

    def impatient(connection: socket.socket, it: Door) -> None:
        it.read_head(connection)
        connection.sendall(
            b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large"
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000_000):
            pass

    with door(impatient) as it:
        told = way.ask(
            made(server, base_url=f"http://127.0.0.1:{it.port}", breaker=OFF), "chat", LARGE
        )
        assert isinstance(told.error, InvalidRequestError), repr(told.error)
        assert told.error.status_code == 413
        assert it.connections == 1


def test_a_name_with_several_addresses(way: Way, server: ScriptedServer) -> None:
    """``localhost`` may be ::1 first, where nobody listens."""
    opea = made(server, base_url=server.url.replace("127.0.0.1", "localhost"))
    told = way.ask(opea, "chat", "Hello")
    assert told.error is None
    assert told.response.meta.attempts == 1
    assert server.seen[0].headers["host"].startswith("localhost:")


def test_a_host_header_of_ones_own(way: Way, server: ScriptedServer) -> None:
    opea = made(server, headers={"Host": "models.example"})
    assert way.ask(opea, "chat", "Hello").error is None
    assert way.ask(opea, "chat", "Hello", extra_headers={"host": "other.example"}).error is None
    assert [seen.headers["host"] for seen in server.seen] == ["models.example", "other.example"]


def test_a_connection_that_the_server_does_not_keep(way: Way, server: ScriptedServer) -> None:
    server.always(
        chat("x").replace(
            headers={"content-type": "application/json", "connection": "close"}, end="close"
        )
    )
    opea = made(server)
    for _ in range(3):
        assert way.ask(opea, "chat", "Hello").response.meta.attempts == 1
    assert [seen.connection for seen in server.seen] == [1, 2, 3]


def test_calls_one_after_the_other_share_a_connection(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    for method in ("chat", "stream_chat", "embed", "complete", "stream_complete", "chat"):
        assert way.ask(opea, method, "Hello").error is None
    assert {seen.connection for seen in server.seen} == {1}


def test_calls_at_once_do_not(way: Way, server: ScriptedServer) -> None:
    server.latency = 0.03
    opea = made(server)
    assert [
        call.result(5).error for call in [way.start(opea, "chat", "Hello") for _ in range(4)]
    ] == [None] * 4
    assert server.connections == 4
