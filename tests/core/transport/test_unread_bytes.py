"""What is asked of a kept connection before it is used again:
no byte of one answer reaches another call, and a call is one request.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme
from asking import PATIENCE, Told, Way, made
from doors import Door, door
from ends import TUNNELLED, End
from hypothesis import given
from hypothesis import strategies as st
from test_tls import context_of
from waiting import until

from opea_core import EndpointConnectionError, events
from opea_core.policy import SECOND
from opea_core.testing import chat, stream
from opea_core.testing.damage import wire
from opea_core.transport import deadline
from opea_core.transport.deadline import AsyncDeadlineBackend, DeadlineBackend, SocketState
from opea_core.transport.http.unread_bytes import _Records, behind_answer, in_transport, is_readable

LAYERS = {"TCP": 0, "TLS": 1, "TLS in the TLS of a proxy": 2}
ALWAYS, NEVER = 10**9 * SECOND, -(10**9) * SECOND
"""What counts as at once, so that it does not matter how busy the machine is."""


def answer(word: str) -> bytes:
    """Plain or streamed, as the word says."""
    return wire(stream([f"to {word}"]) if word.startswith("stream_chat") else chat(f"to {word}"))


HEAD = answer("stray").index(b"\r\n\r\n") + 4
EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
CUTS = [
    *((b"", cut) for cut in (1, 3, HEAD // 2, HEAD, HEAD + 10, -1)),
    (b"\r\n", 2),
    (EARLY, len(EARLY)),
]
"""What stands before a stray answer, and where that is cut.

Behind what a parser skips a whole answer follows.
"""
RECORD_CUTS = [(b"", cut) for cut in (10**6, -7, 3, 5)]
"""The same of the record it comes in: not cut, not far from its end,
inside its head, behind that.
"""


class Certified:
    """A certificate for a server, and who trusts it."""

    def __init__(self, file: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(file))
        self.file = str(file)
        self.server = context_of(authority.issue_cert("127.0.0.1"))
        self.client = ssl.create_default_context(cafile=self.file)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("tls") / "ca.pem")


Serve = Callable[[End, int], None]
"""Serves a connection, of which it is told the number."""


class Place:
    """A server that notes on which connection it was asked what, and a client."""

    def __init__(self, way: Way, certified: Certified, layers: int, serve: Serve) -> None:
        self.asked: list[tuple[int, str]] = []
        self.attempts = 0
        self._way, self._serve = way, serve
        self._contexts = [certified.server] * layers
        self._numbers = itertools.count(1)
        with ExitStack() as stack:
            self._door = stack.enter_context(door(self._accept))
            self.url = f"{'https' if layers else 'http'}://127.0.0.1:{self._door.port}/v1"
            options = {"proxy": f"https://127.0.0.1:{self._door.port}"} if layers > 1 else {}
            self.opea = made(self, verify=certified.client, hooks=[self._hear], **options)
            stack.callback(
                lambda: way.run(self.opea.close if way.name == "sync" else self.opea.aclose).result(
                    PATIENCE
                )
            )
            self.close = stack.pop_all().close

    def _accept(self, connection: socket.socket, _: Door) -> None:
        number = next(self._numbers)
        self._serve(
            End(connection, self._contexts, lambda word: self.asked.append((number, word))), number
        )

    def _hear(self, event: events.Event) -> None:
        self.attempts += isinstance(event, events.AttemptStarted)

    def ask(self, word: str, **options: Any) -> Told:
        """Ask by the method with which the word begins."""
        return self._way.ask(self.opea, word.split()[0], word, **options)

    def lines(self) -> list[SocketState]:
        """Those of the connections that are kept."""
        drivers = self.opea._engine.drivers
        places = drivers._aio._places.values() if drivers._aio else ()
        return [
            *drivers.sync.slots.lines(),
            *(line for place in places for line in place.slots.lines()),
        ]


Opened = Callable[[int, Serve], Place]


@pytest.fixture
def opened(way: Way, certified: Certified, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Servers, which are closed in the end."""
    monkeypatch.setenv("SSL_CERT_FILE", certified.file)  # for a proxy
    with ExitStack() as stack:

        def make(layers: int, serve: Serve) -> Place:
            place = Place(way, certified, layers, serve)
            stack.callback(place.close)
            return place

        yield make


def texts(told: list[Told]) -> list[Any]:
    return [one.error or one.text for one in told]


# --- no byte of one answer reaches another call


@pytest.mark.parametrize(
    ("layers", "at"),
    [
        pytest.param(n, at, id=f"{name}, cut inside {at}")
        for name, n in LAYERS.items()
        for at in range(n + 1)
    ],
)
def test_each_call_gets_its_own_answer(way: Way, opened: Opened, layers: int, at: int) -> None:
    """A stray answer, cut inside so many layers, begins with the one before;
    its rest comes when the next request has come.
    """
    rows = [
        (method, *row)
        for method in ("chat", "stream_chat")
        for row in (CUTS if at == layers else RECORD_CUTS)
    ]
    words = [f"{method} {n}" for n, (method, *_) in enumerate([*rows, rows[0]])]

    def serve(end: End, number: int) -> None:
        if number > len(rows):
            return end.answer(answer)
        method, before, cut = rows[number - 1]
        right = end.sealed(answer(end.request()), to=at)
        stray = end.sealed(before + answer(f"{method} stray"), to=at)
        end.send(right + stray[:cut], of=at)
        word = end.request()
        end.send(stray[cut:], of=at)
        end.send(answer(word))

    place = opened(layers, serve)
    assert texts([place.ask(word) for word in words]) == [f"to {word}" for word in words]
    assert place.asked == list(enumerate(words, 1))  # each on a connection of its own, and once
    assert place.attempts == len(words)


@pytest.mark.parametrize("layers", [0, 1], ids=["TCP", "TLS"])
@pytest.mark.parametrize("cut", [10**6, 3], ids=["whole", "cut"])
def test_so_it_does_if_a_stray_answer_came_meanwhile(
    way: Way, opened: Opened, layers: int, cut: int
) -> None:
    """An event loop may have read it, and given it to the parser."""
    go = threading.Event()

    def serve(end: End, number: int) -> None:
        end.send(answer(end.request()))
        if number == 1:
            go.wait(PATIENCE)
            end.send(answer("chat stray")[:cut])
        end.answer(answer)

    place = opened(layers, serve)
    assert texts([place.ask("chat 1")]) == ["to chat 1"]
    [line] = place.lines()
    line.came = False
    go.set()
    until(
        lambda: line.came or (way.name != "aiohttp" and is_readable(line.socket)),
        "the stray answer",
    )
    assert texts([place.ask("chat 2")]) == ["to chat 2"]
    assert (place.asked, place.attempts) == ([(1, "chat 1"), (2, "chat 2")], 2)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_a_connection_without_anything_unread_is_used_again(
    way: Way, opened: Opened, layers: int
) -> None:
    words = ["chat 1", "stream_chat 2", "chat 3", "stream_chat 4"]
    place = opened(layers, lambda end, _: end.answer(answer))
    assert texts([place.ask(word) for word in words]) == [f"to {word}" for word in words]
    assert place.asked == [(1, word) for word in words]
    assert [line.connecting_took > 0 for line in place.lines()] == [True]


# --- max_retries=0 is one request


@pytest.mark.parametrize("layers", [0, 1], ids=["TCP", "TLS"])
def test_a_connection_that_was_closed_meanwhile_is_not_asked(
    way: Way, opened: Opened, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "_AT_ONCE", NEVER)
    place = opened(layers, lambda end, _: end.send(answer(end.request())))
    words = ["chat 1", "chat 2", "stream_chat 3"]
    for word in words:
        assert texts([place.ask(word, max_retries=0)]) == [f"to {word}"]
        until(
            lambda: all(is_readable(line.socket) for line in place.lines()),
            "the end of the connection",
        )
    assert place.asked == list(enumerate(words, 1))
    assert (place.attempts, place.opea.get_stats()["requests"]) == (3, 3)


ENDS: dict[str, tuple[int, str, bytes]] = {
    "nothing, but late": (NEVER, "chat 2", b""),
    "nothing, but late, in a stream": (NEVER, "stream_chat 2", b""),
    "nothing, but late, of a list": (NEVER, "models", b""),  # a GET, which some would send again
    "one byte": (ALWAYS, "chat 2", b"H"),
    "an interim answer": (ALWAYS, "chat 2", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "no status line": (ALWAYS, "chat 2", b"Hello\r\n\r\n"),
}
"""What comes of the second answer on a connection before it ends, and whether that is at once."""


@pytest.mark.parametrize(("at_once", "second", "sent"), ENDS.values(), ids=ENDS)
def test_what_a_server_may_have_had_is_not_sent_again(
    way: Way,
    opened: Opened,
    at_once: int,
    second: str,
    sent: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadline, "_AT_ONCE", at_once)

    def serve(end: End, number: int) -> None:
        end.send(answer(end.request()))
        end.request()
        end.send(sent)

    place = opened(0, serve)
    assert place.ask("chat 1").error is None
    args = () if second == "models" else (second,)
    error = way.ask(place.opea, second.split()[0], *args, max_retries=0).error
    assert isinstance(error, EndpointConnectionError)
    assert [attempt.phase for attempt in error.attempts] == ["maybe_sent"]
    assert place.asked == [(1, "chat 1"), (1, args[0] if args else "")]
    assert place.opea.get_stats()["requests"] == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_a_request_that_the_server_never_had_goes_out_again_and_counts(
    way: Way, opened: Opened, retries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "_AT_ONCE", ALWAYS)

    def serve(end: End, number: int) -> None:
        if number > 1:
            end.answer(answer)
        end.send(answer(end.request()))
        end.request()

    place = opened(0, serve)
    assert texts([place.ask(word, max_retries=retries) for word in ("chat 1", "chat 2")]) == [
        "to chat 1",
        "to chat 2",
    ]
    assert place.asked == [(1, "chat 1"), (1, "chat 2"), (2, "chat 2")]
    stats = place.opea.get_stats()
    assert (stats["requests"], stats["retries"], stats["errors"]) == (3, 0, 0)


AT = 1000 * SECOND
SOON = deadline._AT_ONCE


@pytest.mark.parametrize(
    ("known", "now", "stale"),
    [
        ({}, AT, True),  # nothing was written
        ({"fresh": True}, AT, False),
        ({"wrote": True}, AT + SOON - 1, True),
        ({"wrote": True}, AT + SOON, False),
        (
            {"wrote": True, "connecting_took": SECOND},
            AT + SOON + 2 * SECOND - 1,
            True,
        ),  # the word of it comes from far away
        ({"wrote": True, "connecting_took": SECOND}, AT + SOON + 2 * SECOND, False),
        ({"wrote": True, "fresh": True}, AT, False),
        ({"wrote": True, "came": True}, AT, False),
    ],
)
def test_a_connection_is_stale_that_broke_at_once_and_without_a_byte(
    known: dict[str, Any], now: int, stale: bool
) -> None:
    line = SocketState()
    line.wrote_at = AT
    for name, value in known.items():
        setattr(line, name, value)
    assert line.was_stale(now) is stale


def test_of_a_connection_of_somebody_else_it_is_a_guess() -> None:
    line = SocketState(own=False)
    line.begin(None, None)
    assert (line.wrote, line.was_stale(AT)) == (True, True)
    line.came = True
    assert not line.was_stale(AT)


# --- each layer


class Ours:
    """The client's end of a connection, without HTTP: a stream of ours, in sync or async."""

    def __init__(self, way: Way, certified: Certified, layers: int, port: int) -> None:
        self._way = way
        self.line = SocketState()
        backend: Any = (
            DeadlineBackend(self.line, httpcore)
            if way.name == "sync"
            else AsyncDeadlineBackend(self.line, httpcore)
        )
        self.stream: Any = way.run(lambda: backend.connect_tcp("127.0.0.1", port)).result(PATIENCE)
        for layer in range(layers):
            if layer:
                assert self.exchange(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n") == TUNNELLED
            self.stream = way.run(
                lambda: self.stream.start_tls(certified.client, "127.0.0.1", None)
            ).result(PATIENCE)

    def read(self, count: int) -> bytes:
        data: bytes = self._way.run(lambda: self.stream.read(count)).result(PATIENCE)
        return data

    def exchange(self, data: bytes, count: int = 1000) -> bytes:
        """Write and read: what is short goes out with the reading, what is long at once."""
        self._way.run(lambda: self.stream.write(data)).result(PATIENCE)
        return self.read(count)

    def close(self) -> None:
        self._way.run(self.stream.close if self._way.name == "sync" else self.stream.aclose).result(
            PATIENCE
        )

    @property
    def has_unread(self) -> bool:
        return bool(self.stream.get_extra_info("is_readable"))


@pytest.mark.parametrize("way", ["sync", "async"], indirect=True)
@pytest.mark.parametrize("size", [5, 100_000])
def test_bytes_that_come_after_the_connection_was_taken_are_seen_before_anything_is_sent(
    way: Way, certified: Certified, size: int
) -> None:
    """It was asked whether it has any, and they came between that and the writing."""
    taken, read = threading.Event(), []

    def serve(connection: socket.socket, _: Door) -> None:
        end = End(connection)
        read.append(end.read())
        end.send(b"one")
        taken.wait(PATIENCE)
        end.send(b"stray")
        with contextlib.suppress(ConnectionResetError):  # they were not read
            read.append(connection.recv(1))
        taken.clear()

    with door(serve) as it:
        ours = Ours(way, certified, 0, it.port)
        assert ours.exchange(b"1") == b"one"
        ours.line.begin(None, None)
        assert not ours.has_unread
        taken.set()
        until(lambda: ours.has_unread, "the stray bytes")
        with pytest.raises(httpcore.ReadError, match="nobody asked for"):
            ours.exchange(b"2" * size)
        assert (ours.line.wrote, ours.line.was_stale(AT)) == (False, True)
        ours.close()
        until(lambda: not taken.is_set(), "the end")
    assert b"".join(read) == b"1"


@pytest.mark.parametrize("way", ["sync", "async"], indirect=True)
@pytest.mark.parametrize("layers", [1, 2], ids=["TLS", "TLS in TLS"])
def test_the_rest_of_a_record_is_in_no_socket(way: Way, certified: Certified, layers: int) -> None:
    def serve(connection: socket.socket, _: Door) -> None:
        end = End(connection, [certified.server] * layers)
        end.read()
        end.send(b"ab")
        end.read()

    with door(serve) as it:
        ours = Ours(way, certified, layers, it.port)
        assert ours.exchange(b"1", 1) == b"a"
        found = [(ours.has_unread, is_readable(ours.line.socket))]
        assert ours.read(1) == b"b"
        found.append((ours.has_unread, is_readable(ours.line.socket)))
        ours.close()
    assert found == [(True, False), (False, False)]


RECORDS = st.lists(
    st.builds(
        lambda head, body: head + len(body).to_bytes(2, "big") + body,
        st.binary(min_size=3, max_size=3),
        st.binary(),
    )
)


@given(RECORDS, st.lists(st.integers(0, 60)), st.booleans())
def test_records_are_counted_however_they_are_cut(
    records: list[bytes], cuts: list[int], first_was_there: bool
) -> None:
    data = b"".join(records)
    whole = {0, *itertools.accumulate(map(len, records))}
    ends = [
        *itertools.takewhile(lambda end: end < len(data), itertools.accumulate(cuts)),
        len(data),
    ]
    pieces = [data[start:end] for start, end in itertools.pairwise([0, *ends])]
    taken = ssl.MemoryBIO()
    if first_was_there:
        taken.write(pieces[0])
    counted, at = _Records(taken), 0
    for number, piece in enumerate(pieces):
        if number or not first_was_there:
            assert counted.write(memoryview(piece)) == len(piece)
        at += len(piece)
        assert counted.pending == len(piece)
        assert counted.has_some is (bool(piece) or at not in whole)
        assert taken.read() == piece  # what TLS takes is what came
        assert counted.has_some is (at not in whole)


def test_a_socket_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, an end, and what cannot be asked are all the same."""

    def found() -> list[bool]:
        ours, other = socket.socketpair()
        with ours, other:
            states = [is_readable(ours)]
            other.send(b"x")
            states.append(is_readable(ours))
            ours.recv(1)
            states.append(is_readable(ours))
            other.close()
            states.append(is_readable(ours))
        return [*states, is_readable(ours), is_readable(None)]

    assert found() == [False, True, False, True, True, True]
    monkeypatch.delattr(select, "poll")
    assert found() == [False, True, False, True, True, True]


class Foreign:
    """The transport of an event loop whose TLS is its own."""

    def __init__(self, sock: socket.socket, **more: Any) -> None:
        self._more = {"socket": sock, **more}

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> Any:
        return self._more.get(name)


def test_what_cannot_be_asked_counts_as_having_some() -> None:
    assert behind_answer(object())
    assert in_transport(None)
    ours, other = socket.socketpair()
    with ours, other:
        assert not in_transport(Foreign(ours))
        assert in_transport(Foreign(ours, ssl_object=object()))
