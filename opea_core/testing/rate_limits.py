"""How servers say when to come back: every form of a stated wait, and some that are absurd."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType

from opea_core.testing.answers import Answer, json_answer

_MESSAGE = "Rate limit reached"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


@dataclass(frozen=True, slots=True)
class Stated:
    """The headers and the body in which a wait is said."""

    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = _MESSAGE
    error: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the error object."""


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(time.time() + seconds, UTC)


def _dated(form: str) -> Callable[[float], Stated]:
    return lambda seconds: Stated({"retry-after": _at(seconds).strftime(form)})


def _header(name: str, value: Callable[[float], str]) -> Callable[[float], Stated]:
    return lambda seconds: Stated({name: value(seconds)})


def _by_the_servers_clock(seconds: float) -> Stated:
    """The server's clock is a day behind, as its own Date header shows."""
    return Stated(
        {
            "date": format_datetime(_at(-86400), usegmt=True),
            "retry-after": format_datetime(_at(seconds - 86400), usegmt=True),
        }
    )


def _reset(value: Callable[[float], str]) -> Callable[[float], Stated]:
    return lambda seconds: Stated(
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": value(seconds)}
    )


def _router(seconds: float) -> Stated:
    return Stated(
        error={
            "metadata": {
                "headers": {
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": f"{_at(seconds).timestamp() * 1000:.0f}",
                }
            }
        }
    )


STATED_WAITS: Mapping[str, Callable[[float], Stated]] = MappingProxyType(
    {
        "seconds": _header("retry-after", lambda s: f"{s:g}"),
        "milliseconds": _header("retry-after-ms", lambda s: f"{s * 1000:g}"),
        "date": lambda s: Stated({"retry-after": format_datetime(_at(s), usegmt=True)}),
        "date of RFC 850": _dated("%A, %d-%b-%y %H:%M:%S GMT"),
        "date of asctime": _dated("%a %b %d %H:%M:%S %Y"),
        "date by the server's clock": _by_the_servers_clock,
        "LiteLLM's header": _header("llm_provider-retry-after", lambda s: f"{s:g}"),
        "reset in seconds": _reset(lambda s: f"{s:g}s"),
        "reset in milliseconds": _reset(lambda s: f"{s * 1000:g}ms"),
        "reset as an epoch": _reset(lambda s: f"{_at(s).timestamp():.3f}"),
        "reset as an epoch in milliseconds": _reset(lambda s: f"{_at(s).timestamp() * 1000:.0f}"),
        "reset as RFC 3339": _reset(lambda s: _at(s).isoformat().replace("+00:00", "Z")),
        "the IETF's header": _header("ratelimit-reset", lambda s: f"{s:g}"),
        "in the message": lambda s: Stated(message=f"{_MESSAGE}. Please try again in {s:g}s."),
        "Google's retryDelay": lambda s: Stated(
            error={"details": [{"@type": _RETRY_INFO, "retryDelay": f"{s:g}s"}]}
        ),
        "a router's metadata": _router,
    }
)
"""How a wait of so many seconds is said, by name."""

ABSURD_WAITS = (
    "3600",
    "-1",
    "0",
    "soon",
    "NaN",
    "inf",
    "1e999",
    "5e-324",
    "",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "9" * 400,
)
"""Values of Retry-After that no client should wait for."""


def rate_limit(wait: float | str | None = 1.0, form: str = "seconds", status: int = 429) -> Answer:
    """A 429 (or another status) with a wait.

    Seconds in one of the forms, a Retry-After of any text, or None for none.
    """
    if form not in STATED_WAITS:
        raise ValueError(
            f"There is no form {form!r} of a wait. There are: {', '.join(STATED_WAITS)}."
        )
    if not isinstance(wait, int | float | str | None) or wait != wait:
        raise ValueError(f"{wait!r} is no wait: give seconds, the text of a Retry-After, or None.")
    if wait is None:
        said = Stated()
    elif isinstance(wait, str):
        said = Stated({"retry-after": wait})
    else:
        said = STATED_WAITS[form](wait)
    return json_answer(
        {
            "error": {
                "message": said.message,
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
                **said.error,
            }
        },
        status,
        said.headers,
    )
