"""What another HTTP client is answered: the server's own bytes, or an error it understands. No I/O.

The retries are OPEA's, so every error says ``x-should-retry: false``, which SDKs obey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opea_core import errors
from opea_core.wire import jsontext
from opea_core.wire.raw_reader import RawCall, RawHeaders, RawReader

_FINAL = (b"x-should-retry", b"false")
_REWRITTEN = frozenset({b"x-should-retry", b"content-length"})
_STATUS: Sequence[tuple[type[errors.OPEAError], int]] = (
    (errors.RateLimited, 429),
    (errors.EndpointTimeout, 504),
    (errors.StreamInterrupted, 502),
)
_NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An answer: a body that is there, or a stream of it."""

    status: int
    headers: RawHeaders
    content: bytes = b""
    stream: Any = None


def whole(reader: RawReader) -> Outgoing:
    """The server's answer as it is."""
    return Outgoing(reader.status, reader.headers, b"".join(reader.pieces))


def begun(reader: RawReader, stream: Any) -> Outgoing:
    """A stream of the server's whose first content has come."""
    return Outgoing(reader.status, reader.headers, stream=stream)


def refused(error: errors.OPEAError, raw: RawCall, from_sdk: bool) -> Outgoing | None:
    """The answer that an error is; None where no server answered and the client reads exceptions.

    A 2xx that is no answer and a redirect become a status that clients take for an error.
    """
    reader = raw.reader
    if error.status_code is None or reader is None:
        return made_up(error) if from_sdk else None
    if reader.status != error.status_code or reader.status < 400:
        return made_up(error)
    content = b"".join(reader.pieces)
    kept = [pair for pair in reader.headers if pair[0].lower() not in _REWRITTEN]
    length = (b"content-length", str(len(content)).encode())
    return Outgoing(reader.status, [*kept, length, _FINAL], content)


def made_up(error: errors.OPEAError) -> Outgoing:
    """An error in the words of OPEA, as servers of the protocol write theirs."""
    words = f"{error.message} {error.hint}".strip()
    said = {"message": words, "type": "opea_error", "param": None, "code": type(error).__name__}
    content = jsontext.encode({"error": said})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        _FINAL,
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", f"{error.retry_after:.3f}".encode()))
    if error.request_id is not None:
        headers.append((b"x-request-id", error.request_id.encode("ascii", "replace")))
    return Outgoing(_status(error), headers, content)


def _status(error: errors.OPEAError) -> int:
    """Its own error status, else 502 for what a server said and 503 or 504 for what none did."""
    found = error.status_code
    if found is not None:
        return found if found >= 400 else 502
    return next((status for cls, status in _STATUS if isinstance(error, cls)), 503)


def exception_name(error: errors.OPEAError) -> str | None:
    """What httpx calls it; None for what is no matter of the connection, and is raised as it is."""
    cause = error.__cause__ if isinstance(error, errors.StreamInterrupted) else error
    unsent = bool(error.attempts) and error.attempts[-1].phase == _NOT_SENT
    if isinstance(cause, errors.EndpointTimeout):
        return "ConnectTimeout" if unsent else "ReadTimeout"
    if isinstance(error, errors.QueueFull):
        return "PoolTimeout"
    if isinstance(error, errors.NoEndpointAvailable):
        return "ConnectError"
    if isinstance(error, errors.EndpointConnectionError):
        return "ConnectError" if unsent else "RemoteProtocolError"
    return "RemoteProtocolError" if isinstance(error, errors.StreamInterrupted) else None
