"""A stream of events, put together as they come, and what an answer must be to count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.types import ChatChunk, ChatResponse, Json
from opea_core.wire import jsontext
from opea_core.wire.assemble import Assembler
from opea_core.wire.choice import ChoiceFailed
from opea_core.wire.error_body import has_error, read_error
from opea_core.wire.error_class import error_class
from opea_core.wire.ignored_options import ignored
from opea_core.wire.merge import LARGE, check_weight, too_heavy
from opea_core.wire.response_spec import Problem, ResponseSpec
from opea_core.wire.sse import Event, SSEDecoder
from opea_core.wire.usage import is_broken

if TYPE_CHECKING:
    from opea_core.wire.responses.events import ResponseEvents

_MOST_BEFORE = 1000
"""Pieces that say nothing, kept until one comes that does."""
_FEW = 4 * 1024 * 1024
"""Bytes of memory that any answer may take."""


class EventsReader:
    """What is known of an answer, and how events of a stream add to it."""

    __slots__ = (
        "_are_events",
        "_assembler",
        "_events",
        "_expected",
        "_heaviest",
        "_sse",
        "_weight",
        "chunks",
        "document",
        "done",
        "problem",
        "progress",
        "response",
        "started",
        "status",
        "warnings",
    )  # fmt: skip

    def __init__(self, status: int, expected: ResponseSpec) -> None:
        self.status = status
        self._expected = expected
        # Small values take far more memory than their text, so they have their own bound (L5).
        self._heaviest = max(_FEW, 3 * expected.max_response_bytes)
        self._assembler = Assembler(
            expected.new_id,
            expected.capabilities.think_tags,
            expected.choices,
            self._heaviest,
            expected.names,
        )
        self._events = None if expected.dialect == "chat" else _response_events(expected)
        self._sse = SSEDecoder(expected.max_event_bytes)
        self._are_events = False
        """Whether the body is a stream of events."""
        self._weight = 0
        """Of what was kept beside text, event by event."""
        self.chunks: deque[ChatChunk] = deque()
        self.document: Any = None
        self.response: ChatResponse | None = None
        self.problem: Problem | None = None
        self.warnings: list[str] = []
        self.progress = 0
        self.started = False
        self.done = False

    @property
    def complete(self) -> bool:
        """Whether the answer is whole even if the body breaks off now."""
        raise NotImplementedError

    def _feed_sse(self, data: bytes) -> None:
        for event in self._weighed(self._sse.feed(data)):
            self._event(event)
            if self.done:
                return

    def _weighed(self, events: Iterable[Event]) -> Iterator[Event]:
        """Events that may be parsed: 1 MB of empty lists takes 24 MB once it is (L5)."""
        for event in events:
            if len(event.data) > LARGE:
                check_weight(event.data, self._heaviest)
            yield event

    def _event(self, event: Event) -> None:
        if event.data == b"[DONE]":
            # Of a response it is the end behind the last event, or where nothing was said at all.
            is_broken_off = self._events is not None and self._events.response is None
            self.done = not (is_broken_off and self._assembler.started)
            return
        self.progress += 1
        try:
            document = jsontext.decode(event.data)
        except ValueError:
            return self._odd_event(event)
        self._document_event(document, event)
        if self._assembler.kept_values:
            self._weigh(event)

    def _weigh(self, event: Event) -> None:
        """Count what was kept of an event: each may be small, and all of them be much."""
        self._assembler.kept_values = False
        self._weight += jsontext.weight(event.data, self._heaviest)
        if self._weight > self._heaviest:
            raise too_heavy()

    def _document_event(self, document: Any, event: Event) -> None:
        # Also beside choices and under a 2xx status, where a standard parser drops it (P7).
        if not isinstance(document, dict) or event.name == "error" or has_error(document):
            if (
                isinstance(document, dict)
                and event.name == "error"
                and "choices" in document
                and not document.get("error")
            ):
                document = {**document, "error": document.get("message") or "error"}
            return self._fail_event(event.data)
        if self._events is not None and "choices" not in document:
            return self._translated(self._events, document, event.name)
        chunk = self._pushed(document)
        if chunk is not None:
            self._hand(chunk)

    def _translated(self, events: ResponseEvents, document: Json, name: str) -> None:
        """Take an event of the Responses dialect as the chat events that say the same."""
        from opea_core.wire.responses.ending import NoAnswer

        piece = events.next_piece(document)
        if piece is not None:
            piece_chunk = self._assembler.push(piece)
            piece_chunk.raw = document
            return self._hand(piece_chunk)
        # These events hold whole objects, which are kept and have to be weighed.
        if "item" in document or "response" in document:
            self._assembler.kept_values = True
        before = self.progress
        try:
            for chat in events.chat_events(document, name):
                chunk = self._pushed(chat)
                if chunk is None:
                    return
                chunk.raw, before = document, 0
                self._hand(chunk)
        except NoAnswer as failed:
            return self._fail_event(jsontext.encode_again({"error": failed.error}))
        if before:  # nothing was said: a sign of life at most
            self.progress = before - (document.get("type") == events.KEEPALIVE)
            self._hand(ChatChunk(raw=document))
        self.done = self.done or events.response is not None

    def _pushed(self, document: Json, plain: bool = False) -> ChatChunk | None:
        """The next piece, unless a choice holds an error, which is then that of the answer."""
        try:
            return self._assembler.push(document, plain=plain)
        except ChoiceFailed as failed:
            self._fail_event(jsontext.encode_again({"error": failed.error}))
            return None

    def _release(self) -> None:
        """Take what waited for more."""
        try:
            chunk = self._assembler.release()
        except ChoiceFailed as failed:
            return self._fail_event(jsontext.encode_again({"error": failed.error}))
        if chunk is not None:
            self._hand(chunk)

    def _odd_event(self, event: Event) -> None:
        """Not one JSON document.

        Several lines glued together, the end mark among them, or an error in plain words.
        """
        try:
            # Gateways glue lines together, and nothing of the answer is missing (P6).
            for document in jsontext.decode_lines(event.data):
                if not self.done:
                    self._document_event(document, event)
            if self._assembler.kept_values:
                self._weigh(event)
            self.done = self.done or event.data.endswith(b"[DONE]")
        except ValueError:
            if event.name == "error":
                return self._fail_event(event.data)
            self._fail(
                Problem(errors.BadAnswerError, "an event is no JSON object", read_error(event.data))
            )

    def _fail_event(self, data: bytes) -> None:
        body = read_error(data)
        self._fail(Problem(error_class(None, body), "the server reported an error", body))

    def _hand(self, chunk: ChatChunk) -> None:
        """Queue a piece, unless it says that the server gave up."""
        # Of any choice: what came before is not the answer that the server meant to give (P14).
        for piece in (
            (chunk, *chunk.other_choices) if chunk.finish_reason or chunk.other_choices else ()
        ):
            if is_broken(piece.finish_reason):
                return self._fail(
                    Problem(
                        errors.ServerError,
                        f"the server gave up (finish_reason {piece.finish_reason!r})",
                    )
                )
        # Of events for a plain call nobody takes the pieces.
        kept = self._expected.stream or not self._are_events
        # Pieces without content wait for the first with some, and a stream may send nothing else.
        if kept and (self._assembler.started or len(self.chunks) < _MOST_BEFORE):
            self.chunks.append(chunk)
        if not self.started and self._assembler.started:
            self.started = True

    def _end_stream(self, cut: bool) -> None:
        # The last event of a body that broke off is not known to be whole.
        for event in self._weighed([] if self.done else self._sse.end()):
            # An event that is none of these was cut in the middle.
            if not self.done and (
                event.data == b"[DONE]" or event.name == "error" or _is_json(event.data)
            ):
                self._event(event)
        if self.problem is None:
            self._end_events(cut)

    def _end_events(self, cut: bool) -> None:
        """Whether what came is a whole answer."""
        self._release()
        if self.problem is not None:
            return
        assembler = self._assembler
        # A finish reason does not end the reading: some servers send usage or text behind it (P11).
        ended = self.done
        if not self.progress:
            self._fail(
                Problem(errors.BadAnswerError, "the answer is empty: the stream held no event")
            )
        elif (
            not ended and not self.complete and (cut or not all(assembler.finish_reasons or [None]))
        ):
            self._fail(
                Problem(errors.EndpointConnectionError, "connection closed without an end mark")
            )
        # An end mark behind nothing is how some servers fail before the first token (P12, P13).
        elif not assembler.has_finish_reason and not assembler.started:
            self._fail(
                Problem(
                    errors.BadAnswerError,
                    "the answer is empty: the stream ended without any content",
                )
            )
        elif not assembler.has_finish_reason and self._expected.capabilities.strict_finish:
            self._fail(
                Problem(
                    errors.BadAnswerError,
                    "the stream ended without a finish reason (strict_finish)",
                )
            )
        else:
            # Some servers never send one; there is content, so the answer counts (P12).
            if not assembler.has_finish_reason:
                self.warnings.append("the stream ended without a finish reason")
            if cut or not ended:
                self.warnings.append("the stream ended without [DONE]")
            self._finish(None if self._events is None else self._events.response)

    def _finish(self, raw: Json | None) -> None:
        response, held = self._assembler.finish(self._expected.model, raw)
        # Nobody could run such a call, or answer it (P30).
        if any(not call.name for choice in response.choices for call in choice.invalid_tool_calls):
            return self._fail(Problem(errors.BadAnswerError, "a tool call has no name"))
        if held is not None:
            self._hand(held)
        if self._events is not None and not self._expected.capabilities.think_tags:
            self._settle(self._events.text, response)
        if response.finish_reason == "length" and not response.content and response.reasoning:
            self.warnings.append("reasoning used up the token limit: there is no text")
        self.warnings.extend(ignored(self._expected.asked, response))
        response.warnings = self.warnings
        if self._expected.shape == "document":
            self.document = raw  # a stream came for a plain call
            return
        self.response = response
        # Without content, so that joining all chunks gives the answer exactly once (S4).
        self.chunks.append(
            ChatChunk(
                type="complete",
                done=True,
                role=response.role,
                finish_reason=response.finish_reason,
                response=response,
                usage=response.usage,
            )
        )

    def _settle(self, text: str, response: ChatResponse) -> None:
        """The last word of the server counts where its pieces said something else."""
        if text and jsontext.mended(text) != response.content:
            response.choices[0].content = jsontext.mended(text)
            self.warnings.append("the streamed text is not the one of the final answer")

    def _fail(self, problem: Problem) -> None:
        if self.problem is None:
            self.problem = problem
        self.done = True


def _response_events(expected: ResponseSpec) -> ResponseEvents:
    from opea_core.wire.responses.events import ResponseEvents

    return ResponseEvents(expected.asked.max_tokens)


def _is_json(data: bytes) -> bool:
    try:
        return any(True for _ in jsontext.decode_lines(data))
    except ValueError:
        return False
