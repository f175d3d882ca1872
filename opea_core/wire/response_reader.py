"""One response body, read as it arrives: whatever form it takes, and whatever is wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.types import ChatChunk, ChatResponse, Json
from opea_core.wire import jsontext
from opea_core.wire.assemble import Assembler
from opea_core.wire.byte_pieces import Pieces
from opea_core.wire.choice import ChoiceFailed
from opea_core.wire.error_body import MAX_BODY, ErrorBody, has_error, read_error
from opea_core.wire.error_class import error_class
from opea_core.wire.ignored_options import NOTHING, Asked, ignored
from opea_core.wire.inflate import Inflater, UndecodableBody
from opea_core.wire.merge import LARGE, TooMany, check_weight, too_heavy
from opea_core.wire.sse import BOM, Event, EventTooLarge, SSEDecoder
from opea_core.wire.usage import is_broken

if TYPE_CHECKING:
    from opea_core.wire.raw_reader import RawCall
    from opea_core.wire.responses.events import ResponseEvents

_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
_FEW = 4 * 1024 * 1024
"""Bytes of memory that any answer may take."""
_MOST_BEFORE = 1000
"""Pieces that say nothing, kept until one comes that does."""
_PLENTY = 256
"""Chunks after which the rest of a packed read waits until these were taken."""
_PROGRESS_STEP = 64 * 1024
_DEFAULTS = Capabilities()


@dataclass(slots=True)
class ResponseSpec:
    """What a request asks for, and within which bounds."""

    shape: Literal["chat", "document"]
    """An answer with choices, or any JSON document (embeddings, models)."""
    stream: bool
    model: str
    new_id: Callable[[], str]
    capabilities: Capabilities = _DEFAULTS
    dialect: Literal["chat", "responses"] = "chat"
    names: Mapping[str, str] = field(default_factory=dict)
    """The caller's names of tools, by those that were sent."""
    asked: Asked = NOTHING
    choices: int | None = None
    """How many were asked for; None if that is not known."""
    max_response_bytes: int = 128 * 1024 * 1024
    max_event_bytes: int = 16 * 1024 * 1024
    raw: RawCall | None = None
    """Of another HTTP client, which wants the bytes."""


class Problem(NamedTuple):
    """What is wrong with an answer: its class, what happened, and the server's words."""

    cls: type[errors.OPEAError]
    what: str
    body: ErrorBody = ErrorBody()
    retryable: bool = True
    """False for what cannot be different the next time (an oversized or undecodable body)."""


class ResponseReader:
    """Feed it the body; it tells what came.

    ``chunks`` fills with pieces to hand out; ``progress`` grows with every piece that has content
    (not with keep-alives or padding); ``started`` says that first content came, ``done`` that
    nothing more needs to be read; after ``end()`` either ``problem`` or the answer (``response``,
    ``document``) is there.
    """

    __slots__ = (
        "_assembler", "_came", "_events", "_expected", "_feed", "_heaviest", "_inflater", "_most",
        "_packed", "_parts", "_size", "_sse", "_weight", "chunks", "document", "done", "ended",
        "problem", "progress", "response", "started", "status", "warnings",
    )  # fmt: skip

    def __init__(self, status: int, headers: Mapping[str, str], expected: ResponseSpec) -> None:
        self.status = status
        self._expected = expected
        self._most = expected.max_response_bytes
        self._packed: Iterator[bytes] | None = None
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
        self._parts = Pieces()
        self._size = 0
        self._weight = 0
        """Of what was kept beside text, event by event."""
        self._came = 0
        """Bytes as they came, before they were unpacked."""
        # Not bound to self: an answer must not wait for the garbage collector.
        self._feed = ResponseReader._sniff
        self._inflater: Inflater | None = None
        self.chunks: deque[ChatChunk] = deque()
        self.document: Any = None
        self.response: ChatResponse | None = None
        self.problem: Problem | None = None
        self.warnings: list[str] = []
        self.progress = 0
        self.started = False
        self.done = False
        self.ended = False
        try:
            self._inflater = Inflater(headers.get("content-encoding", ""))
        except UndecodableBody as error:
            self._undecodable(str(error))
        if status >= 300:
            self._feed = ResponseReader._collect_error

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self.done or self._inflater is None:
            return None
        self._came += len(data)
        try:
            if self._inflater.passes:
                return self._take(data)
            self._unpack(self._inflater, self._packed or iter(self._inflater.feed(data)))
        except (UndecodableBody, EventTooLarge, TooMany) as error:
            self._undecodable(str(error))
        except RecursionError:
            self._undecodable("the answer is nested too deeply")

    def _unpack(self, inflater: Inflater, pieces: Iterator[bytes]) -> None:
        """Take the pieces of a packed body; of a stream only as many as its reader can handle."""
        self._packed = None
        for piece in pieces:
            self._take(piece)
            if self.problem is not None or self.done:
                return
            if self._expected.stream and len(self.chunks) > _PLENTY and not inflater.passes:
                self._packed = pieces
                return

    @property
    def holds_back(self) -> bool:
        """Whether there is more of what came.

        Feed it nothing to go on, before the next bytes are read.
        """
        return self._packed is not None

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most or self._came > self._most:
            most = self._expected.max_response_bytes
            what = f"the answer is larger than {most} bytes (max_response_bytes)"
            return self._fail(Problem(errors.BadAnswerError, what, retryable=False))
        return self._feed(self, piece)

    def _undecodable(self, what: str) -> None:
        """The body says nothing; an error status still does."""
        if self.status >= 300:
            self._parts.clear()
            self.done = True
        else:
            self._fail(Problem(errors.BadAnswerError, what, retryable=False))

    def end(self, cut: bool = False) -> None:
        """The body is over; ``cut`` says that the connection broke before its end."""
        if self.ended:
            return
        self.ended = True
        try:
            self._end(cut)
        except (EventTooLarge, TooMany) as error:
            self._undecodable(str(error))
        except RecursionError:
            self._undecodable("the answer is nested too deeply")

    def _end(self, cut: bool) -> None:
        rest = b"" if self._inflater is None or self.done else self._inflater.end()
        if rest and self.problem is None:
            self._take(rest)
        if self.problem is None:
            if self._feed is ResponseReader._sniff and self._parts:
                self._decide(self._parts.joined(), final=True)
            if self._feed is ResponseReader._collect_error:
                self._fail_status()
            elif self._feed is ResponseReader._feed_sse:
                self._end_stream(cut)
            elif self._feed is ResponseReader._collect:
                self._end_document(cut)
            else:
                self._fail(Problem(errors.BadAnswerError, "the answer is empty"))

    def partial(self) -> ChatResponse | None:
        """What was put together so far, or None if there was nothing yet; changes nothing."""
        if self.response is not None:
            return self.response
        if not self._assembler.started:
            return None
        try:
            return self._assembler.finish(self._expected.model, so_far=True)[0]
        except (RecursionError, TooMany):
            # Nested deeper than can be copied, or more than may be looked at.
            return None

    @property
    def complete(self) -> bool:
        """Whether the answer is whole even if the body breaks off now.

        It is if every choice that was asked for said why it ended.
        """
        reasons = self._assembler.finish_reasons
        return self.problem is None and (
            self.done or (len(reasons) >= (self._expected.choices or 1) and all(reasons))
        )

    # --- which form it is

    def _sniff(self, data: bytes) -> None:
        if self._parts:
            self._parts.add(data)
            data = self._parts.joined()
            self._parts.clear()
        self._decide(data, final=False)

    def _decide(self, head: bytes, final: bool) -> None:
        """Choose by the first bytes that are not blank; the content type is only a hint."""
        text = head.removeprefix(BOM).lstrip()
        if len(head) < len(BOM) and BOM.startswith(head):
            return self._parts.add(head)
        if not text:
            return None  # padding is not kept: it may go on for minutes
        if text[:1] in b"{[<":
            feed = ResponseReader._collect
        elif text.startswith(_SSE_FIELDS):
            feed = ResponseReader._feed_sse
        elif not final and any(field.startswith(text) for field in _SSE_FIELDS):
            return self._parts.add(head)
        else:
            feed = ResponseReader._collect
        self._parts.clear()
        self._feed = feed
        return feed(self, head)

    def _collect_error(self, data: bytes) -> None:
        self._parts.add(data)
        self._advance()
        if self._size > MAX_BODY:
            self.done = True

    def _collect(self, data: bytes) -> None:
        self._parts.add(data)
        self._advance()

    def _advance(self) -> None:
        if not self._expected.stream:
            self.started = True
        self.progress = max(self.progress, 1 + self._size // _PROGRESS_STEP)

    # --- events

    def _feed_sse(self, data: bytes) -> None:
        for event in self._sse.feed(data):
            self._event(event)
            if self.done:
                return

    def _event(self, event: Event) -> None:
        if event.data == b"[DONE]":
            # Of a response it is the end behind the last event, or where nothing was said at all.
            is_broken_off = self._events is not None and self._events.response is None
            self.done = not (is_broken_off and self._assembler.started)
            return
        self.progress += 1
        if len(event.data) > LARGE:
            check_weight(event.data, self._heaviest)
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
            return self._fail_event(jsontext.encode({"error": failed.error}))
        if before:  # nothing was said: a sign of life at most
            self.progress = before - (document.get("type") == events.KEEPALIVE)
            self._hand(ChatChunk(raw=document))
        self.done = self.done or events.response is not None

    def _pushed(self, document: Json, plain: bool = False) -> ChatChunk | None:
        """The next piece, unless a choice holds an error, which is then that of the answer."""
        try:
            return self._assembler.push(document, plain=plain)
        except ChoiceFailed as failed:
            self._fail_event(jsontext.encode({"error": failed.error}))
            return None

    def _odd_event(self, event: Event) -> None:
        """Not one JSON document.

        Several lines glued together, the end mark among them, or an error in plain words.
        """
        try:
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
        kept = self._expected.stream or self._feed is not ResponseReader._feed_sse
        if kept and (self._assembler.started or len(self.chunks) < _MOST_BEFORE):
            self.chunks.append(chunk)
        if not self.started and self._assembler.started:
            self.started = True

    def _end_stream(self, cut: bool) -> None:
        for event in [] if self.done else self._sse.end():
            # An event that is none of these was cut in the middle.
            if not self.done and (
                event.data == b"[DONE]" or event.name == "error" or _is_json(event.data)
            ):
                self._event(event)
        if self.problem is None:
            self._end_events(cut)

    def _end_events(self, cut: bool) -> None:
        """Whether what came is a whole answer."""
        assembler = self._assembler
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
            if not assembler.has_finish_reason:
                self.warnings.append("the stream ended without a finish reason")
            if cut or not ended:
                self.warnings.append("the stream ended without [DONE]")
            self._finish(None if self._events is None else self._events.response)

    # --- documents

    def _end_document(self, cut: bool) -> None:
        data = self._parts.joined()
        self._parts.clear()
        check_weight(data, self._heaviest)
        if data.lstrip()[:1] == b"<":
            return self._fail(
                Problem(errors.BadAnswerError, "the answer is HTML", read_error(data))
            )
        try:
            document = jsontext.decode(data)
        except ValueError:
            return self._odd_document(data, cut)
        if self._events is not None and isinstance(document, list) and document:
            document = document[0]  # of several responses (n) the first counts
        if (
            self._expected.shape == "document"
            and document is not None
            and not (isinstance(document, dict) and document.get("error"))
        ):
            self.document = document
        elif (
            isinstance(document, dict)
            and not has_error(document)
            and isinstance(document.get("choices"), list)
        ):
            self._plain(document)
        elif (
            self._events is not None
            and isinstance(document, dict)
            and isinstance(document.get("output"), list)
        ):
            self._whole_response(self._events, document)
        else:
            self._fail_document(data)

    def _whole_response(self, events: ResponseEvents, document: Json) -> None:
        """A plain answer of the Responses dialect: what the last event of a stream would hold."""
        self._translated(events, {"type": "response.completed", "response": document}, "")
        if self.problem is None:
            self._finish(document)

    def _odd_document(self, data: bytes, cut: bool) -> None:
        """JSON with something after it: an end mark, further events; or no JSON at all."""
        try:
            first, rest = jsontext.decode_first(data)
        except ValueError:
            what = "the answer broke off" if cut else "the answer is no JSON"
            return self._fail(
                Problem(
                    errors.BadAnswerError,
                    what,
                    ErrorBody(message=_excerpt(data), text=_excerpt(data, MAX_BODY)),
                )
            )
        if self._expected.shape == "document":
            return self._fail(
                Problem(
                    errors.BadAnswerError, "something follows the JSON answer", read_error(data)
                )
            )
        if (
            isinstance(first, dict)
            and rest.startswith(("data:", "event:", "[DONE]"))
            and not has_error(first)
        ):
            if self._events is not None and "output" in first:
                return self._whole_response(self._events, first)
            return self._plain(first)
        try:
            documents = list(jsontext.decode_lines(data))
        except ValueError:
            return self._fail(
                Problem(
                    errors.BadAnswerError, "something follows the JSON answer", read_error(data)
                )
            )
        for document in documents:
            if self.problem is None:
                self.progress += 1
                self._document_event(document, Event(data))
        if self.problem is None:
            self.done = True
            self._end_events(cut)

    def _plain(self, document: Json) -> None:
        chunk = self._pushed(document, plain=True)
        if chunk is None:
            return None
        if not self._assembler.started:
            return self._fail(
                Problem(
                    errors.BadAnswerError, "the answer is empty: no content and no finish reason"
                )
            )
        self._hand(chunk)
        if self.problem is None:
            self._finish(document)

    def _fail_document(self, data: bytes) -> None:
        body = read_error(data, self.status)
        if (
            body.code is not None
            or body.type
            or b"error" in data[:4096]
            or b"detail" in data[:4096]
        ):
            self._fail(
                Problem(error_class(self.status, body), "the server reported an error", body)
            )
        else:
            what = "choices" if self._events is None else "output"
            self._fail(Problem(errors.BadAnswerError, f"the answer has no {what}", body))

    def _fail_status(self) -> None:
        body = read_error(self._parts.joined(), self.status)
        self._fail(Problem(error_class(self.status, body), "", body))

    # --- the end

    def _finish(self, raw: Json | None) -> None:
        response, held = self._assembler.finish(self._expected.model, raw)
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


def _excerpt(data: bytes, size: int = 300) -> str:
    return data[:size].decode("utf-8", "replace") + ("…" if len(data) > size else "")


def _is_json(data: bytes) -> bool:
    try:
        return any(True for _ in jsontext.decode_lines(data))
    except ValueError:
        return False
