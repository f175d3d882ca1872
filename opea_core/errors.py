"""Every error this package raises.

OPEAError
├── ConfigurationError              what can never work as it is set
├── RequestError                    a 4xx that only the caller can mend
│   ├── AuthenticationError         401
│   ├── PermissionDeniedError       403
│   ├── NotFoundError               404
│   └── InvalidRequestError         400, 405, 413, 415, 422, 424
│       └── ContextOverflowError    more tokens than the model's window
├── RateLimited                     429, 498
│   └── QuotaExceeded               402, or 429 with a quota code
├── ServerError                     5xx
│   └── BadAnswerError              HTML, broken JSON, an empty answer
├── EndpointConnectionError         no connection, or it broke before an answer
│   └── CertificateError            TLS certificate not accepted
├── EndpointTimeout                 connect, first_event or idle passed
│   └── DeadlineExceeded            the deadline of the whole call passed
├── StreamInterrupted               broke off after something was handed out; ``.partial``
├── QueueFull                       the local queue took no more
├── NoEndpointAvailable             every endpoint is resting
├── ClientClosed                    the object was closed
└── RefusalError                    the model refused to answer

``str(error)`` says what happened and where, then what to do, then how often it was tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from opea_core.display_text import fit, redact_urls

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.types import ChatResponse

TRANSIENT_STATUS = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that failed: where, how far it came, and how it ended."""

    endpoint: str
    phase: str
    error: str
    message: str
    status_code: int | None = None
    request_id: str | None = None
    seconds: float = 0.0


_LONGEST = 3000
"""Characters of a message or a hint."""


class ErrorDetails(TypedDict, total=False):
    """What an error may carry besides its text."""

    status_code: int | None
    type: str | None
    code: str | int | None
    param: str | None
    retry_after: float | None
    request_id: str | None
    endpoint: str | None
    url: str | None
    body: str | None
    headers: Mapping[str, str]
    attempts: tuple[Attempt, ...]
    seconds: float | None
    partial: ChatResponse | None
    retry_suppressed: str | None
    deadline_exceeded: bool


class OPEAError(Exception):
    """Base of all errors; carries the server's words, the status and every attempt."""

    status_code: int | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds the server asked to wait, or None."""
    request_id: str | None = None
    endpoint: str | None = None
    """Label of the endpoint the error came from."""
    url: str | None = None
    """Where the request went, without user info and query values."""
    body: str | None = None
    """What the server answered, at most 64 KiB, secrets taken out."""
    headers: Mapping[str, str] = {}
    attempts: tuple[Attempt, ...] = ()
    seconds: float | None = None
    partial: ChatResponse | None = None
    """What had arrived before the failure, or None."""
    retry_suppressed: str | None = None
    """Why a retry that was due did not happen (``"budget"``), or None."""
    deadline_exceeded: bool = False

    in_short: str | None = None
    """What happened, without the server's words: for those whose request it was not."""
    is_rate_limit_error = False
    is_auth_error = False
    is_timeout = False
    _transient = False

    def __init__(self, message: str, hint: str = "", **details: Unpack[ErrorDetails]) -> None:
        message, hint = fit(message, _LONGEST), fit(hint, _LONGEST)
        super().__init__(message)
        self.message = message
        self.hint = hint
        vars(self).update(details)

    @property
    def is_transient_error(self) -> bool:
        """Whether the same request may well succeed later.

        So it is for 500, 502, 503, 504, a failed connection and a timeout.

        For a rate limit see ``is_rate_limit_error`` and ``retry_after``.
        """
        return self._transient or self.status_code in TRANSIENT_STATUS

    def __str__(self) -> str:
        return "\n".join(line for line in self._lines() if line)

    def _lines(self) -> tuple[str, ...]:
        """What happened, what to do, how often it was tried."""
        tally = ", ".join(part for part in (self._count(), self._rest().removesuffix(".")) if part)
        return self.message, self.hint, tally and f"{tally}."

    def _count(self) -> str:
        count = len(self.attempts)
        seconds = f" in {self.seconds:.1f} s" if self.seconds is not None else ""
        places = Counter(attempt.endpoint for attempt in self.attempts)
        if len(places) > 1:
            shares = ", ".join(f"{number} at {place}" for place, number in places.items())
            seconds = f" ({shares}){seconds}"
        return f"{count} attempt{'s' if count > 1 else ''}{seconds}" if count else ""

    def _rest(self) -> str:
        suppressed = f"no further retry: {self.retry_suppressed}" if self.retry_suppressed else ""
        request = f"request id {self.request_id}" if self.request_id else ""
        rest = ", ".join(part for part in (suppressed, request) if part)
        return rest and f"{rest}."

    def stripped(self) -> OPEAError:
        """A copy that holds on to nothing: no answer, no body, no traceback."""
        kept = ("status_code", "type", "code", "retry_after", "request_id", "endpoint")
        copy = type(self)(self.in_short or self.message, self.hint)
        vars(copy).update({name: vars(self)[name] for name in kept if name in vars(self)})
        return copy

    def with_details(self, **details: Unpack[ErrorDetails]) -> OPEAError:
        """The same error with more known about it."""
        vars(self).update(details)
        return self


class ConfigurationError(OPEAError):
    """What can never work as it is set.

    An option, a URL, a key, messages, a redirect, http where TLS is spoken.
    """

    def __init__(self, message: str, hint: str = "", **details: Unpack[ErrorDetails]) -> None:
        # A URL may stand where something else is wanted, and be quoted with its password (K5).
        super().__init__(redact_urls(message), hint, **details)


class RequestError(OPEAError):
    """The server refused the request as it is."""


class AuthenticationError(RequestError):
    """401: the key is wrong or missing."""

    is_auth_error = True


class PermissionDeniedError(RequestError):
    """403: the key may not do this."""

    is_auth_error = True


class NotFoundError(RequestError):
    """404: no such path, or no such model."""


class InvalidRequestError(RequestError):
    """The request is malformed or asks for something the server cannot do."""


class ContextOverflowError(InvalidRequestError):
    """More tokens than the model's context window holds."""


class RateLimited(OPEAError):
    """Too many requests; ``retry_after`` says how long the server asked to wait."""

    is_rate_limit_error = True


class QuotaExceeded(RateLimited):
    """The account has no quota or credit left; waiting does not help."""


class ServerError(OPEAError):
    """The server failed."""


class BadAnswerError(ServerError):
    """A success status with something that is no answer: HTML, broken JSON, nothing."""

    _transient = True


class EndpointConnectionError(OPEAError):
    """No connection could be made, or it broke before an answer came."""

    _transient = True

    def _lines(self) -> tuple[str, ...]:
        if not self.attempts or self.seconds is None or not self.message.endswith(")."):
            return super()._lines()
        return f"{self.message.removesuffix(').')}, {self._count()}).", self.hint, self._rest()


class CertificateError(EndpointConnectionError):
    """The server's TLS certificate was not accepted."""

    _transient = False


class EndpointTimeout(OPEAError):
    """A time limit passed before the server answered."""

    is_timeout = True
    _transient = True


class DeadlineExceeded(EndpointTimeout):
    """The ``deadline`` of the whole call passed."""

    deadline_exceeded = True


class StreamInterrupted(OPEAError):
    """A stream broke off after part of it was handed out; ``partial`` has what came."""

    _transient = True


class QueueFull(OPEAError):
    """The local queue took no more calls, or none was served within ``queue_timeout``."""


class NoEndpointAvailable(OPEAError):
    """Every endpoint is resting after failures, and none recovered in time."""

    _transient = True


class ClientClosed(OPEAError):
    """The object was closed before or during the call."""


class RefusalError(OPEAError):
    """The model refused to answer where an answer of a given form was needed."""


def nearest(name: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the closest of ``known``, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {found[0]!r}?" if found else ""
