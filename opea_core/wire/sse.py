"""Server-sent events as a push parser: bytes in, events out.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation,
with the deviations that servers need: an event is dispatched at the end of the body too, and a
field ``error`` is an event of that name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from opea_core.wire.byte_pieces import Pieces

# Nowhere else: U+2028 and its like occur raw inside JSON strings (P3).
_LINE_END = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event; ``data`` is stripped, several data lines are joined with a line feed."""

    data: bytes
    name: str = ""


class EventTooLarge(ValueError):
    """An event grew beyond the bound."""


class SSEDecoder:
    """Splits an event stream that arrives in arbitrary pieces.

    Lines end at CRLF, LF or CR and nowhere else; they are split as bytes, so a character cut
    between two reads stays whole. Comments and heartbeats (events without data) yield nothing.
    """

    __slots__ = ("_data", "_name", "_pending", "_size", "_start", "_tail_cr", "max_event_bytes")

    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self.max_event_bytes = max_event_bytes
        self._pending = Pieces()  # of a line that has not ended yet
        self._size = 0  # of the lines of an event that has not ended yet
        # Of an event that has not ended yet: nothing, or all its lines joined.
        self._data: list[bytes | bytearray] = []
        self._name = ""
        self._start = True
        self._tail_cr = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises EventTooLarge beyond the bound."""
        if not data:
            return []
        # Nearly every read is one whole event, which then needs no splitting (decision 9).
        if data.startswith(b"data: {") and self._is_one(data):
            self._start = False
            return [Event(data[6:].strip())]
        if self._tail_cr:  # "\r" ended a line in the last piece: a "\n" now belongs to it
            self._tail_cr = False
            data = data.removeprefix(b"\n")
        if b"\n" not in data and b"\r" not in data:
            self._keep(data)
            return []
        # A line may come in a million reads, so it is joined only once its end is there (L7).
        if self._pending:
            self._pending.add(data)
            data = self._pending.joined()
            self._pending.clear()
        if self._start:
            self._start = False
            data = data.removeprefix(BOM)
        if b"\r" in data:
            # The line counts as ended now: the LF of a CRLF may come with the next read, or never.
            self._tail_cr = data.endswith(b"\r")
            lines = _LINE_END.split(data)
        else:
            lines = data.split(b"\n")
        rest = lines.pop()
        events = self._lines(lines)
        if rest:
            self._keep(rest)
        return events

    def _is_one(self, data: bytes) -> bool:
        """Whether it is one whole event of one line.

        Most servers write (and flush) each of theirs like that.
        """
        if self._pending or self._data or self._name or self._tail_cr or b"\r" in data:
            return False
        return (
            data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n")
            and len(data) <= self.max_event_bytes
        )

    def end(self) -> list[Event]:
        """The event that the end of the body completes, although no blank line follows."""
        # Some servers never send the last blank line (P5).
        events = self.feed(b"\n\n") if self._pending or self._data or self._name else []
        self._data.clear()
        self._size = 0
        return events

    def _keep(self, piece: bytes) -> None:
        self._pending.add(piece)
        self._grow(0)

    def _grow(self, size: int) -> None:
        # All lines of an event count (L2): many short ones fill memory as one long one does.
        self._size += size
        if self._size + self._pending.size > self.max_event_bytes:
            raise EventTooLarge(f"an event is larger than {self.max_event_bytes} bytes")

    def _lines(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                value = line[5:].strip()
                if value and not value.startswith(b":"):  # a re-wrapped comment is a comment
                    self._add(value)
            elif not line:
                if data:
                    events.append(Event(bytes(data[0]), self._name))
                    data.clear()
                    self._size = 0
                self._name = ""
            else:
                self._other(line)
        return events

    def _other(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"event":
            self._name = value.decode("utf-8", "replace")
        # Not in the standard, by which a parser would drop the error in silence (P7).
        elif field == b"error":
            self._name = "error"
            if value:
                self._add(value)

    def _add(self, value: bytes) -> None:
        """One more line of the event: the first as it is, as most events have no other."""
        if not self._data:
            self._data.append(value)
        else:
            # A bytearray grows in place; bytes would be copied whole with each further line (L7).
            if isinstance(self._data[0], bytes):
                self._data[0] = bytearray(self._data[0])
            self._data[0] += b"\n" + value
        self._grow(len(value) + 1)
