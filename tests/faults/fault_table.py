"""A record of the table of faults, and what comes of it in every way to ask."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import gc
import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import trustme
from asking import PATIENCE
from fault_ways import RIGHT, WAYS, Session, Told, Way
from leftovers import open_files
from no_secrets import CALL_HEADER, CALL_QUERY, HEADER, KEY, QUERY, echo
from waiting import until

from opea_core import BreakerPolicy, OPEAError, RetryPolicy, events
from opea_core.testing import Answer, Fault, ScriptedServer, Seen
from opea_core.testing.faults import Script, chosen
from opea_core.testing.server import Outage

WAITING = ("connect", "late", "stuck", "slow", "storm", "huge", "absurd")
"""Rows whose records are mostly waiting."""
LABELS = ("one", "two", "three")
SECRETIVE = {"api_key": KEY, "headers": {"x-internal": HEADER}, "query": {"code": QUERY}}
PER_CALL = {"extra_headers": {"x-mine": CALL_HEADER}, "extra_query": {"token": CALL_QUERY}}
USUAL = {
    "retry": RetryPolicy(max_retries=2, initial_delay=0.005, max_delay=0.01, jitter="none"),
    "breaker": BreakerPolicy(break_duration=30),
    "recovery_wait": 5,
}
"""Three attempts, and a breaker that stays open once it is."""


def right(_: Seen) -> None:
    """The scripted model answers."""


@dataclass(frozen=True)
class Node:
    """A server and how it misbehaves."""

    first: tuple[Script, ...] = ()
    """The answers to the first requests; ``then`` follows (None: right answers)."""
    then: Script | None = None
    outage: Outage | None = None
    tls: str | None = None
    """The certificate it has, if it speaks TLS."""
    url: Callable[[str], str] = str
    """The address that the client is given, made of the true one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the endpoint."""

    @property
    def faults(self) -> set[str]:
        """The names of the faults it uses."""
        return {script.name for script in (*self.first, self.then) if isinstance(script, Fault)}


WELL = Node()


def always(what: Script, **options: Any) -> Node:
    """It answers everything so."""
    return Node(then=what, **options)


def first(*what: Script, **options: Any) -> Node:
    """It answers so first, and right then."""
    return Node(first=what, **options)


def down(how: Outage, **options: Any) -> Node:
    """It is down from the start."""
    return Node(outage=how, **options)


READ_AT_ONCE = {"bad-chunk", "error-midway", "short-length"}
"""Faults that follow the beginning of an answer without a pause: aiohttp mostly reads both at once,
and then nothing was handed on that could break off."""


@dataclass(frozen=True)
class Outcome:
    """What comes of a call."""

    error: type[OPEAError] | None = None
    """None: the right answer."""
    says: tuple[str, ...] = ()
    """Patterns found in the text of the error: the server's words, and a hint that helps."""
    requests: tuple[int | range, ...] = (1,)
    """What each server was sent; a range where docs/resilience.md gives bounds."""
    attempts: int | None = None
    """How many the error tells, if not the requests."""
    left: bool = False
    """The last request was still being answered when the client hung up."""
    waits: float = 0.0
    """So many seconds at least lie between the first request and the last."""
    breaker: str | None = None
    """The state of the first endpoint's breaker."""
    has: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the error."""
    without_end: bool = False
    """The server goes on for ever: what came is not the beginning of the right answer."""

    @property
    def breaks_off(self) -> bool:
        return self.error is not None and self.error.__name__ == "StreamInterrupted"


def gives(*requests: int | range, **more: Any) -> Outcome:
    """The right answer, after so many requests at each server."""
    return Outcome(requests=requests or (1,), **more)


def fails(
    error: type[OPEAError], *says: str, requests: int | tuple[int | range, ...] = 1, **more: Any
) -> Outcome:
    """An error that says so."""
    return Outcome(error, says, requests if isinstance(requests, tuple) else (requests,), **more)


@dataclass(frozen=True, eq=False)
class Record:
    """How the servers misbehave, what the client is like, and what is expected."""

    row: str
    """The row of docs/resilience.md, by its key in ``fault_rows.ROWS``."""
    name: str
    at: tuple[Node, ...]
    plain: Outcome
    stream: Outcome | None = None
    """Of a streamed answer, if it is different."""
    options: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    before: int = 0
    """So many calls go well first."""

    def __str__(self) -> str:
        return f"{self.row}: {self.name}"

    @property
    def ways(self) -> tuple[Way, ...]:
        """How it can be asked: over aiohttp not what it sees as another fault;
        ``test_with_aiohttp.py`` has those.
        """
        other = any(node.faults & READ_AT_ONCE for node in self.at)
        return tuple(
            way for way in WAYS if not (other and way.package == "aiohttp" and way.is_async)
        )

    def outcome(self, way: Way) -> Outcome:
        return self.stream if way.is_stream and self.stream is not None else self.plain


@dataclass
class Done:
    """All that can be known of one call."""

    told: Told
    seen: list[list[Seen]]
    heard: list[events.Event]
    left_over: list[str]
    stats: dict[str, Any]
    printed: str
    """What can be printed of the object afterwards."""


class Played:
    """A record, asked in some ways; and what it left in the process."""

    def __init__(self, record: Record, ways: tuple[Way, ...], certificates: Certificates) -> None:
        self.record, self.ways = record, ways
        self.done: dict[Way, Done] = {}
        self.not_asked: dict[Way, Exception] = {}
        """The ways in which nothing can be known of the call, and why."""
        self.log: list[str] = []
        gc.collect()
        files, threads = open_files(), threading.active_count()
        with self._listening():
            self._run(certificates)
        with contextlib.suppress(TimeoutError):
            until(
                lambda: open_files() <= files and threading.active_count() <= threads,
                "files and threads",
                PATIENCE,
            )
        self.files_left, self.threads_left = (
            open_files() - files,
            threading.active_count() - threads,
        )

    def _run(self, certificates: Certificates) -> None:
        """In every way: at once if that is mostly waiting, else one after the other."""

        def play(*ways: Way) -> None:
            for way in ways:
                try:
                    self.done[way] = _play(self.record, way, certificates)
                except Exception as error:  # noqa: BLE001 - the other ways are asked all the same
                    self.not_asked[way] = error

        at_once = self.record.row in WAITING or "reset" in self.record.name
        threads = [
            threading.Thread(target=play, args=ways, daemon=True)
            for ways in (zip(self.ways) if at_once else [self.ways])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for way in self.ways:
            if way not in self.done and way not in self.not_asked:
                self.not_asked[way] = TimeoutError("it hangs")

    @contextlib.contextmanager
    def _listening(self) -> Any:
        """Hear every line of the log."""
        handler = logging.Handler()
        handler.emit = lambda line: self.log.append(line.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("opea_core")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def _play(record: Record, way: Way, certificates: Certificates) -> Done:
    heard: list[events.Event] = []
    with ExitStack() as stack:
        servers = [_started(node, stack, certificates) for node in record.at]
        session = Session(way, way.make(**_options(record, servers, heard, certificates)))
        for _ in range(record.before):
            assert session.ask(**record.call).error is None
        already = [len(server.seen) for server in servers]
        heard.clear()
        told = session.ask(**PER_CALL | record.call)
        left_over = session.settle(lambda: not any(server.in_flight for server in servers))
        core = session.core
        stats, printed = (
            core.get_stats(),
            f"{session.made!r} {core!r} {core.endpoints} {core.recent_requests()}",
        )
        session.close()
        for server in servers:
            with contextlib.suppress(TimeoutError):
                until(lambda server=server: not server._open, "the connections to end", PATIENCE)
            left_over += ["a connection after close"] * len(server._open)
        seen = [
            [it for it in server.seen[count:] if it.method == "POST"]
            for server, count in zip(servers, already, strict=True)
        ]
    return Done(told, seen, heard, left_over, stats, printed)


def _started(node: Node, stack: ExitStack, certificates: Certificates) -> ScriptedServer:
    server = stack.enter_context(
        ScriptedServer(tls=certificates.server(node.tls) if node.tls else None)
    )
    server.script(*map(_loud, node.first))
    if node.then is not None:
        server.always(_loud(node.then))
    if node.outage is not None:
        server.pause(node.outage)
    return server


def _loud(script: Script) -> Script:
    """The same, but its headers echo all that the client sent."""

    def loud(seen: Seen) -> Answer | Fault | None:
        said = chosen(script, seen)
        echoes = {"x-echo": echo(seen)}
        if isinstance(said, Answer):
            return said.replace(headers={**said.headers, **echoes})
        if isinstance(said, Fault):
            return dataclasses.replace(
                said, damage=lambda answer: _with_headers(said.damage(answer), echoes)
            )
        return said

    return loud


def _with_headers(answer: Answer, headers: Mapping[str, str]) -> Answer:
    return answer.replace(headers={**answer.headers, **headers})


def _options(
    record: Record,
    servers: list[ScriptedServer],
    heard: list[events.Event],
    certificates: Certificates,
) -> dict[str, Any]:
    endpoints = []
    for number, (node, server) in enumerate(zip(record.at, servers, strict=True)):
        verify = {"verify": certificates.trusted} if node.tls and node.tls != "self-signed" else {}
        url = {"base_url": node.url(server.url), "label": LABELS[number], "tier": number}
        endpoints.append({**url, **verify, **SECRETIVE, **node.options})
    hooks = [heard.append, *record.options.get("hooks", ())]
    return {**USUAL, "endpoints": endpoints, **record.options, "hooks": hooks}


class Certificates:
    """Certificates of a CA of our own."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.trusted = str(folder / "ca.pem")
        self._authority.cert_pem.write_to_path(self.trusted)

    @cached_property
    def _made(self) -> dict[str, trustme.LeafCert]:
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        return {
            "good": self._authority.issue_cert("127.0.0.1"),
            "self-signed": trustme.CA().issue_cert("127.0.0.1"),
            "expired": self._authority.issue_cert(
                "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1)
            ),
            "of another host": self._authority.issue_cert("elsewhere.example"),
        }

    def server(self, which: str) -> ssl.SSLContext:
        """What a server with this certificate speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._made[which].configure_cert(context)
        return context


def warm_up() -> None:
    """Ask once in every way, so that what is imported then does not count against the
    time limits of tests.
    """
    with ScriptedServer() as server:
        for way in WAYS:
            session = Session(way, way.make(base_url=server.url))
            told = session.ask()
            assert (told.text, told.error) == (RIGHT, None), str(way)
            session.close()
    gc.collect()
    # the frameworks' objects stay: each record looks for garbage, which takes long among so many
    gc.freeze()


def of(row: str) -> Callable[[Any], Any]:
    """Marks a test as one of a row of docs/resilience.md."""

    def mark(test: Any) -> Any:
        test.row = row
        return test

    return mark
