"""One response body, read as it arrives: whatever form it takes, and whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opea_core import errors
from opea_core.types import ChatResponse
from opea_core.wire.document_reader import DocumentReader
from opea_core.wire.error_body import MAX_BODY, read_error
from opea_core.wire.error_class import error_class
from opea_core.wire.inflate import Inflater, UndecodableBody
from opea_core.wire.merge import TooMany
from opea_core.wire.response_spec import Problem, ResponseSpec
from opea_core.wire.sse import BOM, EventTooLarge

_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
_PLENTY = 256
"""Chunks after which the rest of a packed read waits until these were taken."""
# A plain body has no events to count, so each 64 KiB of it are one piece with content (T4).
_PROGRESS_STEP = 64 * 1024


class ResponseReader(DocumentReader):
    """Feed it the body; it tells what came.

    ``chunks`` fills with pieces to hand out; ``progress`` grows with every piece that has content
    (not with keep-alives or padding); ``started`` says that first content came, ``done`` that
    nothing more needs to be read; after ``end()`` either ``problem`` or the answer (``response``,
    ``document``) is there.
    """

    __slots__ = ("_came", "_feed", "_inflater", "_most", "_packed", "_size", "ended")

    def __init__(self, status: int, headers: Mapping[str, str], expected: ResponseSpec) -> None:
        super().__init__(status, expected)
        self._most = expected.max_response_bytes
        self._packed: Iterator[bytes] | None = None
        self._size = 0
        self._came = 0
        """Bytes as they came, before they were unpacked."""
        # Not bound to self: an answer must not wait for the garbage collector.
        self._feed = ResponseReader._sniff
        self._inflater: Inflater | None = None
        self.ended = False
        try:
            self._inflater = Inflater(headers.get("content-encoding", ""))
        except UndecodableBody as error:
            self._undecodable(str(error))
        if status >= 300:
            self._feed = ResponseReader._collect_error

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        # Nothing behind the end mark belongs to the answer.
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
            # One packed read can hold very many events, and their chunks take far more memory than
            # it. A plain body is no larger than what came, so nothing of it is held back.
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
        # Both are bounded (L1): few packed bytes can unpack to gigabytes, and many to nothing.
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
        # The rest of a BOM that was cut comes with the next read.
        if len(head) < len(BOM) and BOM.startswith(head):
            return self._parts.add(head)
        if not text:
            return None  # padding is not kept: it may go on for minutes
        # Real servers label events as JSON, and HTML as anything (P1).
        if text[:1] in b"{[<":
            feed = ResponseReader._collect
        elif text.startswith(_SSE_FIELDS):
            # It could go on for ever, each event in time; those of a response end with it.
            expected = self._expected
            if expected.shape == "document" and not expected.stream and self._events is None:
                what = "a stream of events came where a document was asked for"
                return self._fail(Problem(errors.BadAnswerError, what, retryable=False))
            feed, self._are_events = ResponseReader._feed_sse, True
        # "da" may become "data:" or a plain word; the next bytes tell.
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
        # No more of an error is read than it keeps (L8).
        if self._size > MAX_BODY:
            self.done = True

    def _collect(self, data: bytes) -> None:
        self._parts.add(data)
        self._advance()

    def _advance(self) -> None:
        if not self._expected.stream:
            self.started = True
        self.progress = max(self.progress, 1 + self._size // _PROGRESS_STEP)

    def _fail_status(self) -> None:
        body = read_error(self._parts.joined(), self.status)
        self._fail(Problem(error_class(self.status, body), "", body))
