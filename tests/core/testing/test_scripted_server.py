"""The scripted server: what it sends, byte for byte, what it records, and how it ends."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from callers import CHAT, Caller, Wire, port_of

from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    Seen,
    Wait,
    chat,
    error,
    faults,
    html,
    in_turn,
    raw,
    sometimes,
    sse,
    stream,
)


def content(document: object) -> object:
    return document["choices"][0]["message"]["content"]  # type: ignore[index]


class TestScript:
    def test_scripted_answers_come_in_order_and_then_the_model(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        server.script(chat("first"), error(503, "busy", code="overloaded"))
        assert content(caller.ask("x")) == "first"
        status, body = caller.post({})
        assert (status, body["error"]["message"], body["error"]["code"]) == (
            503,
            "busy",
            "overloaded",
        )
        assert "scripted model" in str(content(caller.ask("x")))

    def test_always_follows_the_script_until_it_is_taken_back(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        server.always(chat("always"))
        server.script(chat("once"))
        assert [content(caller.ask("x")) for _ in range(3)] == ["once", "always", "always"]
        server.always(None)
        assert content(caller.ask("x")) != "always"

    def test_a_function_gets_the_request_and_may_leave_it_to_the_model(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        def answer(seen: Seen) -> Answer | None:
            return chat("special") if seen.body["messages"][0]["content"] == "a" else None

        server.always(answer)
        assert content(caller.ask("a")) == "special"
        assert "scripted model" in str(content(caller.ask("b")))

    def test_a_failing_function_is_a_500_that_says_so(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        server.script(lambda seen: seen.body["nothing"])
        status, body = caller.post({})
        assert status == 500
        assert "KeyError('nothing')" in body["error"]["message"]
        assert [repr(error) for error in server.errors] == ["KeyError('nothing')"]
        server.errors.clear()

    def test_a_failing_function_fails_the_test(self) -> None:
        server = ScriptedServer().start()
        server.always(lambda seen: "no answer")  # type: ignore[arg-type, return-value]
        assert httpx.post(server.origin + CHAT).status_code == 500
        with pytest.raises(RuntimeError, match="no answer"):
            server.__exit__(None, None, None)

    def test_what_the_test_raises_goes_first(self) -> None:
        server = ScriptedServer().start()
        server.errors.append(KeyError("of a script"))
        server.__exit__(ZeroDivisionError, ZeroDivisionError(), None)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda server: server.script("Paris"),
            lambda server: server.script([chat("a"), chat("b")]),
            lambda server: server.always(5),
            lambda server: server.pause("explode"),
            lambda server: faults.status(99),
            lambda server: faults.slowly(-1),
            lambda server: faults.rate_limited(2, "parsecs"),
            lambda server: faults.rate_limited(float("nan")),
            lambda server: in_turn(),
            lambda server: sometimes(1.5, faults.cut),
            lambda server: sometimes(0.5, "text"),
            lambda server: ScriptedServer(capacity=0),
            lambda server: ScriptedServer(port=99_999).start(),
        ],
    )
    def test_what_makes_no_sense_is_told_at_once(
        self, server: ScriptedServer, wrong: Callable[[ScriptedServer], object]
    ) -> None:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            wrong(server)

    def test_a_port_that_is_taken(self, server: ScriptedServer) -> None:
        other = ScriptedServer(port=int(server.origin.rpartition(":")[2]))
        with pytest.raises(OSError, match="cannot listen at"):
            other.start()
        other.stop()


class TestFraming:
    def test_a_plain_answer_has_its_length(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(Answer(203, {"x-a": "1"}, (b"ab", b"c"), end="close"))
        wire.post()
        assert wire.rest() == (
            b"HTTP/1.1 203 Non-Authoritative Information\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nabc"
        )

    def test_each_step_of_a_chunked_answer_is_a_chunk(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        server.script(Answer(steps=(b"", b"data: 1\n\n", b"x" * 20), length="chunked"))
        wire.post()
        assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (
            wire.until(b"0\r\n\r\n") == b"9\r\ndata: 1\n\n\r\n14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n"
        )

    def test_without_framing_the_body_ends_with_the_connection(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        server.script(Answer(steps=(b"ab",), length="none"))
        wire.post()
        assert wire.rest() == b"HTTP/1.1 200 OK\r\n\r\nab"

    def test_a_length_may_lie(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(Answer(steps=(b"ab",), length=99, end="close"))
        wire.post()
        assert wire.rest() == b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nab"

    def test_raw_bytes_are_sent_as_they_are(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(raw(b"HTP/9 banana\r\n", b"\x00\xff"))
        wire.post()
        assert wire.rest() == b"HTP/9 banana\r\n\x00\xff"

    def test_an_unknown_status_is_sent(self, server: ScriptedServer, caller: Caller) -> None:
        server.script(html(529, "<p>overloaded</p>"))
        assert caller.post({}) == (529, "<p>overloaded</p>")

    def test_bytes_before_a_hold_arrive_before_it_ends(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        event = threading.Event()
        server.script(stream(["one", Hold(event), "two"]))
        wire.post()
        assert b'"one"' in wire.until(b"\n\n\r\n")
        assert server.in_flight == 1
        event.set()
        assert b'"two"' in wire.until(b"0\r\n\r\n")

    def test_a_hold_before_any_bytes_holds_the_head_back(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        event = threading.Event()
        server.script(chat("late").after(Hold(event)))
        wire.post()
        server.wait_seen(1)
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        wire.socket.settimeout(5)
        event.set()
        assert wire.until(b"\r\n").startswith(b"HTTP/1.1 200")

    def test_a_wait_takes_its_time(self, server: ScriptedServer, caller: Caller) -> None:
        server.script(chat("x").after(Wait(0.05)))
        before = time.monotonic_ns()
        caller.ask("x")
        assert time.monotonic_ns() - before >= 50_000_000

    def test_small_steps_are_not_held_back(self, server: ScriptedServer, caller: Caller) -> None:
        """Nagle's algorithm would wait for an ACK, 40 ms and more."""
        caller.post({})
        (connection,) = server._open
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_a_body_larger_than_the_socket_buffers_arrives_whole(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        server.script(chat("x" * 8_000_000))
        assert content(caller.ask("x")) == "x" * 8_000_000


class TestEnds:
    def test_keep_uses_the_connection_again(self, server: ScriptedServer, caller: Caller) -> None:
        caller.ask("a")
        caller.ask("b")
        assert server.connections == 1
        assert [seen.connection for seen in server.seen] == [1, 1]

    def test_close_ends_it_after_a_complete_answer(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        server.script(sse("one", end="close"))
        wire.post()
        assert wire.rest().endswith(b"0\r\n\r\n")

    def test_cut_leaves_the_last_chunk_out(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(sse("one", end="cut"))
        wire.post()
        assert wire.rest().endswith(b"data: [DONE]\n\n\r\n")

    def test_reset_is_a_reset(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(sse("one", done=False, end="reset"))
        wire.post()
        wire.until(b"data: one\n\n\r\n")
        with pytest.raises(ConnectionResetError):
            wire.socket.recv(1)
        server.wait(lambda: server.seen[0].finished)
        assert not server.seen[0].disconnected

    def test_hang_lasts_until_the_client_goes(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(sse("one", end="hang"))
        wire.post()
        wire.until(b"[DONE]\n\n\r\n")
        assert server.in_flight == 1
        wire.socket.close()
        server.wait(lambda: server.seen[0].disconnected)
        assert server.in_flight == 0
        assert not server.seen[0].finished

    @pytest.mark.parametrize(
        ("before", "error"),
        [("close", http.client.RemoteDisconnected), ("reset", ConnectionResetError)],
    )
    def test_instead_of_an_answer(
        self, server: ScriptedServer, caller: Caller, before: str, error: type[Exception]
    ) -> None:
        server.script(chat("x").replace(before=before))
        with pytest.raises(error):
            caller.post({})

    def test_hang_before_the_answer_sends_nothing(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(chat("x").replace(before="hang"))
        wire.post()
        server.wait_seen(1)
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)

    def test_a_client_that_asks_for_it_gets_its_connection_closed(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        wire.send(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b"scripted-model" in wire.rest()


class TestRecord:
    def test_a_request_is_recorded(self, server: ScriptedServer, caller: Caller) -> None:
        before = time.monotonic_ns()
        caller.post({"a": [1]}, f"{CHAT}?api-version=1&empty=", Authorization="Bearer key")
        (seen,) = server.seen
        assert (seen.method, seen.path, seen.query) == (
            "POST",
            CHAT,
            {"api-version": "1", "empty": ""},
        )
        assert (seen.body, seen.raw_body) == ({"a": [1]}, b'{"a": [1]}')
        assert seen.headers["authorization"] == "Bearer key"
        assert before <= seen.at <= time.monotonic_ns()
        server.wait(lambda: seen.finished)
        assert not seen.disconnected

    def test_a_chunked_request_body_is_put_together(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        wire.send(
            b'POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{"a"\r\n3;'
            b"x=y\r\n:1}\r\n0\r\nt: 1\r\n\r\n"
        )
        wire.until(b"\r\n\r\n")
        assert server.seen[0].body == {"a": 1}

    def test_a_body_in_pieces_is_put_together(self, server: ScriptedServer, wire: Wire) -> None:
        wire.send(b"POST /x HTTP/1.1\r\ncontent-len")
        wire.send(b"gth: 4\r\n\r\n[1")
        server.wait(lambda: server.connections == 1)
        wire.send(b",]")
        wire.until(b"\r\n\r\n")
        assert (server.seen[0].raw_body, server.seen[0].body) == (b"[1,]", None)

    def test_requests_in_one_packet_are_answered_one_after_the_other(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        server.script(Answer(steps=(b"1",)), Answer(steps=(b"2",), end="close"))
        wire.send(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
        assert wire.rest().replace(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", b"") == b"12"
        assert [seen.path for seen in server.seen] == ["/a", "/b"]

    def test_a_request_is_seen_although_its_client_left_at_once(
        self, server: ScriptedServer, wire: Wire
    ) -> None:
        wire.post()
        wire.socket.close()
        server.wait(lambda: bool(server.seen) and server.in_flight == 0)

    @pytest.mark.parametrize(
        "line", [b"nonsense", b"GET /x HTTP/2", b"GET /x HTTP/1.1\r\ncontent-length: many"]
    )
    def test_what_is_no_http_gets_400(
        self, server: ScriptedServer, wire: Wire, line: bytes
    ) -> None:
        wire.send(line + b"\r\n\r\n")
        assert wire.rest().startswith(b"HTTP/1.1 400 Bad Request")
        assert server.seen == []

    def test_concurrent_requests_are_counted(self, server: ScriptedServer) -> None:
        event = threading.Event()
        server.always(chat("x").after(Hold(event)))
        threads = [
            threading.Thread(target=httpx.post, args=(server.url + "/chat/completions",))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        server.wait_seen(3)
        assert server.in_flight == 3
        event.set()
        for thread in threads:
            thread.join()
        server.wait(lambda: server.in_flight == 0)
        assert server.max_in_flight == 3

    def test_waiting_in_vain_says_what_was_there(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        caller.ask("x")
        server.wait(lambda: server.in_flight == 0)
        with pytest.raises(
            TimeoutError, match=r"2 requests in vain \(1 requests, 0 in flight, 1 connections\)"
        ):
            server.wait_seen(2, timeout=0)


class TestOutage:
    def test_a_paused_server_refuses_and_resets(self, server: ScriptedServer, wire: Wire) -> None:
        server.script(chat("x").replace(before="hang"))
        wire.post()
        server.wait_seen(1)
        server.pause()
        with pytest.raises(ConnectionResetError):
            wire.socket.recv(1)
        with pytest.raises(ConnectionRefusedError):
            Wire(server)
        assert not server.seen[0].disconnected

    def test_it_comes_back_on_the_same_port(self, server: ScriptedServer) -> None:
        origin = server.origin
        for _ in range(3):
            server.pause()
            server.pause()
            server.resume()
            server.resume()
            assert httpx.get(server.url + "/models").status_code == 200
        assert server.origin == origin

    def test_it_may_pause_from_within_an_answer(
        self, server: ScriptedServer, caller: Caller
    ) -> None:
        server.script(lambda seen: server.pause())
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            caller.post({})
        server.resume()
        assert httpx.get(server.url + "/models").status_code == 200


class TestLife:
    def test_nothing_is_left_after_stop(self) -> None:
        before = threading.active_count()
        with ScriptedServer() as server:
            wire = Wire(server)
            server.script(chat("x").after(Hold(threading.Event())))
            wire.post()
            server.wait_seen(1)
        assert threading.active_count() == before
        assert wire.rest() == b""
        wire.socket.close()
        with pytest.raises(ConnectionRefusedError):
            Wire(server)

    def test_stop_twice_does_nothing_more(self) -> None:
        server = ScriptedServer().start()
        server.stop()
        server.stop()

    def test_it_is_started_once(self, server: ScriptedServer) -> None:
        with pytest.raises(RuntimeError, match="once"):
            server.start()

    def test_before_its_start_it_has_no_address(self) -> None:
        with pytest.raises(RuntimeError, match="not been started"):
            _ = ScriptedServer().url

    def test_several_servers_live_side_by_side(self) -> None:
        with ScriptedServer(model="a") as one, ScriptedServer(model="b") as other:
            assert port_of(one) != port_of(other)
            for server, name in ((one, "a"), (other, "b")):
                assert httpx.get(server.url + "/models").json()["data"][0]["id"] == name

    async def test_it_serves_200_connections_at_once(self, server: ScriptedServer) -> None:
        event = threading.Event()
        server.always(chat("x").after(Hold(event)))

        async def call() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nconnection: "
                b"close\r\ncontent-length: 2\r\n\r\n{}"
            )
            answer = await reader.read()
            writer.close()
            return answer

        calls = [asyncio.create_task(call()) for _ in range(200)]
        await asyncio.to_thread(server.wait_seen, 200)
        assert server.in_flight == server.max_in_flight == 200
        event.set()
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in await asyncio.gather(*calls))
