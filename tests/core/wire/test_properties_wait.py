"""How long a server asks to wait: whatever it sends, and every form that is documented."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core.wire.headers import retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RESETS = [
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-rate-limit-reset-tokens",
    "ratelimit-reset",
    "ratelimitbysize-reset",
]


def wait(
    headers: dict[str, str], body: str = "", status: int = 429, wall: datetime = NOW
) -> float | None:
    return retry_after(status, headers, body, wall.timestamp())


# --- anything at all

NAMES = st.sampled_from(
    [
        "date",
        "retry-after",
        "retry-after-ms",
        "llm_provider-retry-after",
        *RESETS,
        "x-ratelimit-remaining-requests",
        "X",
    ]
)
NUMBERS = st.sampled_from(
    [
        "-1",
        "0",
        "nan",
        "-inf",
        "1e999",
        "9" * 400,
        "0x10",
        "1_0",
        "٣",
        "+5",
        "5,5",
        "5;6",
        "1e-320",
        " 7 ",
        "7\x00",
    ]
)
DATES = st.datetimes().map(lambda at: format_datetime(at)) | st.datetimes().map(
    lambda at: at.isoformat() + "Z"
)
ANYTHING = (
    st.text(max_size=20)
    | st.binary(max_size=20).map(lambda data: data.decode("latin-1"))
    | NUMBERS
    | DATES
    | st.floats().map(repr)
    | st.from_regex(r"\A(\d{0,25}(\.\d{0,4})?(h|m|s|ms|us|d)){1,4}\Z")
)
TREES = st.recursive(
    ANYTHING | st.none() | st.floats() | st.integers(),
    lambda inner: st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=5,
)


def said_by_a_router(value: Any) -> str:
    return json.dumps({"error": {"message": "no", "metadata": {"headers": value}}})


BODIES = (
    ANYTHING
    | ANYTHING.map(lambda text: f"Please try again in {text}.")
    | TREES.map(said_by_a_router)
    | ANYTHING.map(lambda t: f'"retryDelay": "{t}s"')
)


@fixed(400, few=150)
@given(
    headers=st.dictionaries(NAMES | st.text(max_size=9).map(str.lower), ANYTHING, max_size=4),
    body=BODIES,
    status=st.integers(100, 599) | st.sampled_from([429, 503]),
    wall=st.sampled_from([0.0, -1.0, NOW.timestamp(), 253_402_300_799.0]),
)
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, "", 429, 0.0)
@example({"date": "Mon, 01 Jan 0001 00:00:00 +2359", "retry-after": "5"}, "", 429, 0.0)
@example({}, said_by_a_router({"X-RateLimit-Reset": {}}), 429, 0.0)
def test_whatever_comes_it_is_nothing_or_finite_and_above_zero(
    headers: dict[str, str], body: str, status: int, wall: float
) -> None:
    seconds = retry_after(status, headers, body, wall)
    assert seconds is None or (type(seconds) is float and math.isfinite(seconds) and seconds > 0)
    assert status >= 400 or seconds is None


# --- the documented forms

SECONDS = st.integers(1, 86_400)
PLACES = ["retry-after", "llm_provider-retry-after"]


@pytest.mark.parametrize("name", PLACES)
@fixed(60)
@given(seconds=st.floats(0.001, 1e6), status=st.sampled_from([400, 429, 500, 503, 529]))
def test_a_number_is_that_many_seconds(name: str, seconds: float, status: int) -> None:
    assert wait({name: repr(seconds)}, status=status) == seconds


@fixed(60)
@given(milliseconds=st.integers(1, 10**9), beside=SECONDS)
def test_milliseconds_come_first(milliseconds: int, beside: int) -> None:
    assert (
        wait({"retry-after-ms": str(milliseconds), "retry-after": str(beside)})
        == milliseconds / 1000
    )


def http_dates(at: datetime) -> list[str]:
    """The three forms of RFC 9110."""
    return [
        at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        at.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        at.strftime("%a %b ") + f"{at.day:2d}" + at.strftime(" %H:%M:%S %Y"),
    ]


@fixed(100)
@given(
    seconds=SECONDS,
    now=st.datetimes(datetime(1995, 1, 1), datetime(2060, 1, 1)),
    form=st.integers(0, 2),
    own=st.booleans(),
)
def test_a_date_is_counted_from_the_answers_own_date(
    seconds: int, now: datetime, form: int, own: bool
) -> None:
    now = now.replace(microsecond=0, tzinfo=UTC)
    headers = {"retry-after": http_dates(now + timedelta(seconds=seconds))[form]}
    if own:
        assert wait(headers | {"date": http_dates(now)[0]}, wall=NOW) == seconds
    else:
        assert wait(headers, wall=now) == seconds


@fixed(60)
@given(ago=st.integers(0, 10**8), form=st.integers(0, 2))
def test_a_date_that_has_passed_says_nothing(ago: int, form: int) -> None:
    assert wait({"retry-after": http_dates(NOW - timedelta(seconds=ago))[form]}) is None


@st.composite
def go_durations(draw: st.DrawFn) -> tuple[str, float]:
    """As Go prints and servers write them, and their seconds."""
    parts = [
        (draw(st.integers(0, 99)), unit, worth)
        for unit, worth in (("h", 3600), ("m", 60), ("s", 1), ("ms", 0.001))
        if draw(st.booleans())
    ]
    tenths = draw(st.integers(1, 9))
    text = "".join(f"{count}{unit}" for count, unit, _ in parts)
    seconds = sum(count * worth for count, _, worth in parts)
    if not seconds:
        return f"{tenths}.5s", tenths + 0.5
    return text, seconds


@pytest.mark.parametrize("name", RESETS)
@fixed(60)
@given(duration=go_durations(), status=st.sampled_from([429, 503]))
def test_a_reset_may_be_a_duration(name: str, duration: tuple[str, float], status: int) -> None:
    assert wait({name: duration[0]}, status=status) == pytest.approx(duration[1])


@pytest.mark.parametrize("name", RESETS)
@fixed(60)
@given(
    seconds=SECONDS, form=st.sampled_from(["seconds", "epoch", "milliseconds", "rfc3339", "offset"])
)
def test_a_reset_may_be_a_number_or_a_moment(name: str, seconds: int, form: str) -> None:
    at = NOW + timedelta(seconds=seconds)
    forms = {
        "seconds": str(seconds),
        "epoch": str(int(at.timestamp())),
        "milliseconds": str(int(at.timestamp() * 1000)),
        "rfc3339": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "offset": (at + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S+05:00"),
    }
    assert wait({name: forms[form]}) == pytest.approx(seconds)
    router = said_by_a_router({"X-RateLimit-Reset": forms[form]})
    assert wait({}, router) == pytest.approx(seconds)


@fixed(100)
@given(
    resets=st.lists(
        st.tuples(SECONDS, st.sampled_from([None, "0", "5", "9" * 30, "many"])),
        min_size=1,
        max_size=4,
    )
)
def test_of_several_resets_the_used_up_one_counts_and_none_of_which_something_remains(
    resets: list[tuple[int, str | None]],
) -> None:
    headers: dict[str, str] = {}
    for number, (seconds, remaining) in enumerate(resets):
        headers[f"x-ratelimit-reset-{number}"] = f"{seconds}s"
        if remaining is not None:
            headers[f"x-ratelimit-remaining-{number}"] = remaining
    used_up = [seconds for seconds, remaining in resets if remaining == "0"]
    unknown = [seconds for seconds, remaining in resets if remaining in (None, "many")]
    assert wait(headers) == max(used_up or unknown, default=None)


HINTS = [
    "try again in {}",
    "Please retry after {}.",
    "Rate limit: available in {}",
    "Limit reached, retrying in {}",
    "wait {} and",
]
UNITS = {
    "s": 1.0,
    " seconds": 1.0,
    " second": 1.0,
    " minutes": 60.0,
    "m": 60.0,
    "ms": 0.001,
    " hours": 3600.0,
    " secs": 1.0,
}


@pytest.mark.parametrize("hint", HINTS)
@fixed(60)
@given(number=st.integers(1, 900), fraction=st.integers(0, 99), unit=st.sampled_from(sorted(UNITS)))
def test_the_words_of_an_answer_may_say_it(
    hint: str, number: int, fraction: int, unit: str
) -> None:
    body = json.dumps({"error": {"message": hint.format(f"{number}.{fraction:02d}{unit}")}})
    assert wait({}, body) == pytest.approx((number + fraction / 100) * UNITS[unit])
    assert wait({}, body, status=500) is None, "words of other failures are not read"


@fixed(40)
@given(number=st.integers(0, 900), fraction=st.integers(1, 999))
def test_googles_retry_delay(number: int, fraction: int) -> None:
    detail = {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": f"{number}.{fraction:03d}s",
    }
    body = json.dumps({"error": {"code": 429, "message": "no", "details": [detail]}})
    assert wait({}, body) == pytest.approx(number + fraction / 1000)
