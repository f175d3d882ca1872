"""One row of the table of calls, and what happens when it is asked for in sync or async."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from asking import PATIENCE, WAYS, Told, idle, made

from opea_core import OPEAError, Timeouts, events
from opea_core.testing import Answer, ScriptedServer, Seen

DEAD = "dead"
"""A server that refuses connections."""

# What the hooks are told between CallStarted and CallEnded (but for CallQueued, which depends on
# how fast a pause passes).
GOT = "CallGranted"
GOOD = "AttemptStarted HeadersReceived FirstContent AttemptEnded"
BAD = "AttemptStarted HeadersReceived AttemptEnded"
LOST = "AttemptStarted AttemptEnded"
AGAIN = "RetryScheduled"
ONE_GOOD = f"{GOT} {GOOD}"
ONE_BAD = f"{GOT} {BAD}"

Answers = Sequence[Answer | Callable[[Seen], Answer | None]] | Answer | str
"""Answers in their order, before the scripted model answers; one answer for ever; or DEAD."""


@dataclass(frozen=True, eq=False)
class Row:
    """A call, and what comes of it whichever way it is asked for."""

    name: str
    answers: Answers = ()
    second: Answers | None = None
    """What a second endpoint answers; None: there is none."""
    method: str = "chat"
    args: tuple[Any, ...] = ("Hello",)
    call: Mapping[str, Any] = field(default_factory=dict)
    opea: Mapping[str, Any] = field(default_factory=dict)
    before: int = 0
    """So many calls are made first, and not looked at."""

    gives: Any = None
    """The text of the answer; or a function of the response that says whether it is right."""
    error: type[OPEAError] | None = None
    says: str = ""
    """A part of the error's text."""
    has: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the response or the error."""
    requests: tuple[int, ...] = (1,)
    """What each server saw."""
    attempts: int | None = None
    """How many attempts the answer or error reports;
    as many as there were requests unless given.
    """
    failed: Sequence[str] = ()
    """The phase and endpoint of each attempt of an error: ``status one``."""
    events: str | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the last request that the first server saw: path, query, headers, body."""
    seconds: float = 0.0
    """How long it takes at least; what takes more than ``PATIENCE`` fails."""

    def __str__(self) -> str:
        return self.name


@dataclass
class Transcript:
    """All that can be known of one call."""

    told: Told
    seen: list[list[Seen]]
    events: list[events.Event]
    stats: dict[str, Any]
    before: dict[str, Any]
    everything_is_back: bool

    @property
    def outcome(self) -> Any:
        """The error, or the response."""
        return self.told.error or self.told.response

    @property
    def told_hooks(self) -> list[events.Event]:
        """The events, but for those that depend on how fast a pause passes."""
        return [event for event in self.events if not isinstance(event, events.CallQueued)]

    @property
    def event_names(self) -> str:
        """The kinds of events in their order."""
        return " ".join(type(event).__name__ for event in self.told_hooks)

    def counted(self, name: str) -> Any:
        """What the call added to a figure of the statistics."""
        now, before = self.stats[name], self.before[name]
        return (
            {k: v - before.get(k, 0) for k, v in now.items() if v - before.get(k, 0)}
            if isinstance(now, dict)
            else now - before
        )

    @property
    def comparable(self) -> dict[str, Any]:
        """What must be the same in sync and async: all but ports, ids and durations."""
        told = self.told
        error = told.error
        return {
            "error": None if error is None else (type(error).__name__, _plain(vars(error))),
            "response": None if error is not None else _plain(told.response),
            "chunks": [
                (chunk.content, chunk.reasoning, chunk.finish_reason, chunk.type)
                for chunk in told.chunks
            ],
            "requests": [
                [
                    (
                        s.method,
                        s.path,
                        s.query,
                        s.body,
                        sorted(set(s.headers) - {"connection"}),
                        s.disconnected,
                    )
                    for s in seen
                ]
                for seen in self.seen
            ],
            "events": [(type(event).__name__, _plain(vars(event))) for event in self.told_hooks],
            "stats": _plain(self.stats),
        }


_PASSING = {
    "origin",
    "at",
    "seconds",
    "call_id",
    "request_id",
    "delay",
    "waited",
    "latency",
    "first_content",
    "closed_for",
    "cause",
    "__cause__",
    "raw",
}
_PASSING |= {"elapsed", "queued_seconds", "headers", "meta", "retry_after"}


def _plain(value: Any) -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if k not in _PASSING}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, str):
        return re.sub(r"127\.0\.0\.1:\d+", "HOST", re.sub(r"\d+(\.\d+)? s\b", "N s", value))
    return value


@lru_cache(maxsize=4)
def transcript(row: Row, way_name: str) -> Transcript:
    """Ask for the row's call, once for each way; the tests of a row come one after the other."""
    with ExitStack() as stack:
        servers = []
        for answers in (row.answers, row.second):
            if answers is None:
                continue
            server = stack.enter_context(ScriptedServer())
            if answers == DEAD:
                server.pause()
            elif isinstance(answers, Answer):
                server.always(answers)
            else:
                server.script(*answers)  # type: ignore[arg-type]
            servers.append(server)
        way = WAYS[way_name]()
        stack.callback(way.close)
        heard: list[events.Event] = []
        opea = made(*servers, **row.opea, hooks=[heard.append])
        for _ in range(row.before):
            assert way.ask(opea, "chat", "before").error is None
            if (
                getattr(row.answers[0] if isinstance(row.answers, list) else None, "end", "keep")
                == "close"
            ):
                servers[0].wait(
                    lambda: not servers[0]._open, PATIENCE
                )  # it has closed, so the client can see it
        heard.clear()
        already = [len(server.seen) for server in servers]
        before = opea.get_stats()
        told = way.ask(opea, row.method, *row.args, **row.call)
        for server in servers:
            server.wait(
                lambda server=server: not server.in_flight
            )  # a client that gave up has hung up
        seen = [server.seen[count:] for server, count in zip(servers, already, strict=True)]
        back, stats = idle(opea), opea.get_stats()
        way.run(opea.close if way_name == "sync" else opea.aclose).result(5)
        return Transcript(told, seen, heard, stats, before, back)


def limits(**seconds: float) -> Mapping[str, Any]:
    """Options of an OPEA that tries once, with these time limits."""
    return {"timeouts": Timeouts(**seconds), "max_retries": 0}
