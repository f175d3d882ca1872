"""A plain answer: one JSON document, or what servers send in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opea_core import errors
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.byte_pieces import Pieces
from opea_core.wire.error_body import MAX_BODY, ErrorBody, has_error, read_error
from opea_core.wire.error_class import error_class
from opea_core.wire.events_reader import EventsReader
from opea_core.wire.merge import check_weight
from opea_core.wire.response_spec import Problem, ResponseSpec
from opea_core.wire.sse import Event

if TYPE_CHECKING:
    from opea_core.wire.responses.events import ResponseEvents


class DocumentReader(EventsReader):
    """How a whole body is read."""

    __slots__ = ("_parts",)

    def __init__(self, status: int, expected: ResponseSpec) -> None:
        super().__init__(status, expected)
        self._parts = Pieces()

    def _end_document(self, cut: bool) -> None:
        data = self._parts.joined()
        self._parts.clear()
        # Before it is parsed, as small values take far more memory than their text (L5).
        check_weight(data, self._heaviest)
        if data.lstrip()[:1] == b"<":
            # A login page answers 200, and its title is a better hint than that it is not JSON.
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
            # Gateways put an end mark, or events, behind a plain answer that was whole before (P6).
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
        # Events without the frame of a stream, one JSON document after the other.
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
        # An empty text would look like a model that had nothing to say (P13).
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


def _excerpt(data: bytes, size: int = 300) -> str:
    return data[:size].decode("utf-8", "replace") + ("…" if len(data) > size else "")
