"""How long a server asks to wait, in headers or in an error's words; ids of requests.

Nothing here ever raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from opea_core.display_text import fit, redact_url
from opea_core.wire import jsontext

REQUEST_ID_HEADERS = (
    "x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-generation-id",
    "x-litellm-call-id", "cf-ray",
)  # fmt: skip
_LONGEST_ID = 200
_SECRET_HEADERS = frozenset(
    {"set-cookie", "authorization", "proxy-authenticate", "www-authenticate", "cookie"}
)

_GO_DURATION = (
    r"^(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$"
)
_BODY_WAIT = (  # possessive, so that a body of blanks or digits is read once and not once per blank
    r"(?i)(?:try again|retry(?:ing)?|wait|available)\s++(?:again\s++)?(?:in|after|for)?\s*+:?\s*+"
    r"(?:about\s++)?((?:\d++(?:\.\d++)?\s*+"
    r"(?:ms|milliseconds?|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])\s*+)++)"
)
_BODY_PART = r"(?i)(?<!\d)(\d++(?:\.\d++)?)\s*+(ms|milli|h|m|s)"
_RETRY_DELAY = r'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"'
_UNIT = {"ms": 0.001, "milli": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
# A wait of thirty years is none: such a number is a moment.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12


def request_id(headers: Mapping[str, str]) -> str | None:
    """The server's id of the exchange, from the first header that has one."""
    return next(
        (fit(headers[name], _LONGEST_ID) for name in REQUEST_ID_HEADERS if headers.get(name)), None
    )


def shown(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers fit for showing.

    Those that may carry secrets are blanked, a location is shown without them.
    """
    fit = {name: "***" if name in _SECRET_HEADERS else value for name, value in headers.items()}
    if "location" in fit:
        fit["location"] = redact_url(fit["location"])
    return fit


def retry_after(status: int, headers: Mapping[str, str], body: str, wall: float) -> float | None:
    """Seconds the server asked to wait, or None; only finite values above 0 count.

    ``headers`` has lower-case names; ``wall`` is Unix time, used when a date must be compared and
    the answer carries no ``Date`` of its own. A wait on a success status means nothing.
    """
    # Some gateways send the header with every success (R16).
    if status < 400:
        return None
    # The server's clock and ours differ, and a date is by the server's (P34).
    now = _date(headers.get("date", "")) or wall
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and _usable(milliseconds / 1000):
        return milliseconds / 1000
    for name in ("retry-after", "llm_provider-retry-after"):
        if name in headers:
            wait = _seconds_or_date(headers[name], now)
            if wait is not None:
                return wait
    # Reset headers come with every answer; only here do they say why it was refused.
    if status not in (429, 498, 503):
        return None
    return _reset(headers, now) or _reset(_body_headers(body), now) or _body_wait(body)


def _seconds_or_date(text: str, now: float) -> float | None:
    value = _number(text)
    if value is None:
        value = _duration(text.strip())
    if value is None:
        moment = _date(text)
        value = None if moment is None else moment - now
    return value if value is not None and _usable(value) else None


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """The longest wait of the reset headers whose remaining count is 0.

    A reset whose count is not 0 says nothing of this answer; one without a count is believed where
    no other has one.
    """
    waits: list[tuple[bool, float]] = []
    for name, value in headers.items():
        lowered = name.lower()
        if "reset" not in lowered or not ("ratelimit" in lowered or "rate-limit" in lowered):
            continue
        wait = _until(value, now)
        if wait is not None:
            remaining = _number(
                headers.get(name.replace("reset", "remaining").replace("Reset", "Remaining"))
            )
            # A limit with room left did not cause the refusal (P35).
            if not remaining:
                waits.append((remaining == 0, wait))
    # A limit known to be used up counts before one without a count, however long its wait (P35).
    return max(waits)[1] if waits else None


HEADER_LEFT = "x-ratelimit-remaining-requests"
_LEFT_UNTIL = "x-ratelimit-reset-requests"


def allowance(headers: Mapping[str, str], now: float) -> tuple[int, float] | None:
    """How many requests a server says are left, and for how many seconds that holds.

    ``now`` is Unix time.
    """
    left = headers.get(HEADER_LEFT)
    if left is None:
        return None
    count, seconds = _number(left), _until(headers.get(_LEFT_UNTIL, ""), now)
    return (
        (int(count), seconds) if count is not None and count >= 0 and seconds is not None else None
    )


def _until(text: str, now: float) -> float | None:
    """A reset value: seconds, Go duration, epoch seconds or milliseconds, RFC 3339 or HTTP date."""
    value = _number(text)
    if value is not None:
        if value >= _EPOCH_MILLISECONDS:
            value = value / 1000 - now
        elif value >= _EPOCH_SECONDS:
            value -= now
    else:
        value = _duration(text.strip())
        if value is None:
            moment = _rfc3339(text) or _date(text)
            value = None if moment is None else moment - now
    return value if value is not None and _usable(value) else None


def _body_headers(body: str) -> dict[str, str]:
    """Headers that a router puts into ``error.metadata.headers`` of the body."""
    # A cheap look, for either case of the first letter: few bodies are worth parsing.
    if "etadata" not in body:
        return {}
    found: Any = None
    try:
        found, _ = jsontext.decode_first(body.encode("utf-8", "replace"))
    except ValueError:
        return {}
    for key in ("error", "metadata", "headers"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def _body_wait(body: str) -> float | None:
    # Google's form, which it calls RetryInfo.
    delay = re.search(_RETRY_DELAY, body)
    if delay:
        seconds = float(delay.group(1))
        return seconds if _usable(seconds) else None
    hint = re.search(_BODY_WAIT, body)
    if not hint:
        return None
    seconds = sum(
        float(number) * _UNIT[unit.lower()]
        for number, unit in re.findall(_BODY_PART, hint.group(1))
    )
    return seconds if _usable(seconds) else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _duration(text: str) -> float | None:
    found = re.match(_GO_DURATION, text)
    if not text or not found:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _date(text: str) -> float | None:
    """An HTTP date in any of the three forms of RFC 9110, as Unix time."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _rfc3339(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _usable(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0
