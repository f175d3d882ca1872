"""An answer that is handed on as the server sent it, and read only to know how it goes.

A call that another HTTP client makes over ours is answered with raw bytes. Whether content has
begun, whether the answer is whole and what is wrong with it is found out as for every other call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from opea_core import errors
from opea_core.types import ChatResponse, Json
from opea_core.wire import jsontext
from opea_core.wire.error_body import read_error
from opea_core.wire.response_reader import ResponseReader
from opea_core.wire.response_spec import Problem, ResponseSpec
from opea_core.wire.sse import Event
from opea_core.wire.usage import read_usage

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Names and values in their order, as they came."""
_END_MARK = b"[DONE]"
_BEGINNING = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDED = frozenset({"stop", "length", "content_filter"})
_WHOLE = frozenset({"response.completed", "response.incomplete"})


@dataclass(slots=True)
class RawCall:
    """A request whose bytes are somebody else's, and the last answer it got."""

    content: bytes = field(repr=False)
    suffix: str
    """The path behind an endpoint's base URL."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; none of them is secret."""
    events: Literal["chat", "responses"] = "chat"
    """What the events of a stream are made of."""
    reader: RawReader | None = None
    """Of the last attempt that was answered."""

    def opened(
        self, status: int, raw: RawHeaders, headers: Mapping[str, str], expected: ResponseSpec
    ) -> RawReader:
        """The reader of an answer whose head came: ``headers`` has ``raw`` by lower-case name."""
        cls = RawResponsesReader if self.events == "responses" else RawReader
        self.reader = cls(status, headers, expected, raw)
        return self.reader


class RawReader(ResponseReader):
    """``pieces`` fills with the bytes as they came; nothing is handed out in our own form."""

    __slots__ = ("headers", "pieces")

    def __init__(
        self, status: int, headers: Mapping[str, str], expected: ResponseSpec, raw: RawHeaders
    ) -> None:
        super().__init__(status, headers, expected)
        # Nobody takes chunks here, and a deque of no length keeps none.
        self.chunks = deque(maxlen=0)
        self.pieces: deque[bytes] = deque()
        self.headers = raw

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if data and not self.done:
            self.pieces.append(data)
        super().feed(data)

    def end(self, cut: bool = False) -> None:
        """The body is over; ``cut`` says that the connection broke before its end."""
        known, marked = self.problem, self.done
        super().end(cut)
        # An SDK stops reading at the mark, and takes what came for the whole answer (U6).
        if marked and self.problem is not known and self._expected.stream:
            self._withhold_end_mark()

    def _withhold_end_mark(self) -> None:
        """Keep back the end mark of a stream that is not whole.

        A client stops reading at the mark, and would never see the error that comes behind it.
        """
        rest = b"".join(self.pieces)
        self.pieces.clear()
        mark = rest.rfind(_END_MARK)
        # A mark that is not to be seen came in two pieces, or packed.
        before = rest[: max(0, rest.rfind(b"data", 0, mark))] if mark >= 0 else b""
        if before:
            self.pieces.append(before)

    def _plain(self, document: Json) -> None:
        """A plain answer; an ordinary one is not put together, as nobody asks for ours of it."""
        usage = document.get("usage")
        # To put it together is a fifth of the work, and nobody would see it.
        if isinstance(usage, dict | None) and _is_ordinary(document["choices"]):
            self.response = ChatResponse(usage=read_usage(usage))
        else:
            super()._plain(document)

    def _end_events(self, cut: bool) -> None:
        super()._end_events(cut)
        # An SDK would take what came for the whole answer (U6).
        if self.problem is None and not self._assembler.has_finish_reason:
            what = "the stream ended without a finish reason"
            self._fail(Problem(errors.EndpointConnectionError, what))


class RawResponsesReader(RawReader):
    """The same for the events of the Responses API, which has other names and no end mark."""

    __slots__ = ()

    def _event(self, event: Event) -> None:
        # A stream of this dialect ends with its last event, whatever a gateway adds (D11).
        if event.data == _END_MARK:
            return None
        self.progress += 1
        try:
            document = jsontext.decode(event.data)
        except ValueError:
            body = read_error(event.data)
            what = "an event is no JSON object"
            return self._fail(Problem(errors.BadAnswerError, what, body))
        kind = document.get("type") if isinstance(document, dict) else None
        if not isinstance(kind, str) or kind in ("error", "response.failed"):
            return self._fail_event(_error_of(document, event.data))
        if kind in _WHOLE:
            self.started = self.done = True
        elif kind not in _BEGINNING:
            self.started = True

    def _end_events(self, cut: bool) -> None:  # noqa: ARG002 - it ends with an event, cut or not
        if not self.done:
            what = "connection closed before the response was completed"
            self._fail(Problem(errors.EndpointConnectionError, what))


def _is_ordinary(choices: list[Any]) -> bool:
    """Whether every choice is a text that ended as texts do."""
    for choice in choices:
        reason = choice.get("finish_reason") if isinstance(choice, dict) else None
        if not isinstance(reason, str) or reason not in _ENDED or choice.get("error"):
            return False
        message = choice.get("message")
        text = choice.get("text") if message is None else message
        if isinstance(message, dict):
            text = None if message.get("tool_calls") else message.get("content")
        if not isinstance(text, str) or not text:
            return False
    return bool(choices)


def _error_of(document: Any, data: bytes) -> bytes:
    """The error of an event as other servers write it."""
    inside = document.get("response") if isinstance(document, dict) else None
    error = inside.get("error") if isinstance(inside, dict) else None
    return jsontext.encode_again({"error": error}) if error else data
