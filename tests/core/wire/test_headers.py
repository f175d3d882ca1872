"""Response headers: how long to wait, and which request it was."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opea_core.wire.headers import REQUEST_ID_HEADERS, request_id, retry_after, shown

NOW = 1_700_000_000.0
"""2023-11-14T22:13:20Z, a Tuesday."""


def wait(headers: dict[str, str], body: str = "", status: int = 429) -> float | None:
    return retry_after(status, headers, body, NOW)


# --- Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0.5", 0.5),
        (" 5 ", 5),
        ("5s", 5),
        ("1m30s", 90),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10),
        ("Tue Nov 14 22:13:30 2023", 10),
        ("Tue, 14 Nov 2023 22:13:10 GMT", None),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("", None),
        ("soon", None),
        ("Tue, 99 Nov 2023 99:99:99 GMT", None),
    ],
)
@pytest.mark.parametrize("name", ["retry-after", "llm_provider-retry-after"])
def test_retry_after_is_a_number_or_a_date(name: str, value: str, seconds: float | None) -> None:
    assert wait({name: value}) == seconds


def test_a_date_is_taken_relative_to_the_answers_own_date() -> None:
    headers = {
        "retry-after": "Sun, 06 Nov 1994 08:49:47 GMT",
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
    }
    assert wait(headers) == 10


def test_a_date_that_cannot_be_read_is_replaced_by_our_clock() -> None:
    assert wait({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT", "date": "yesterday"}) == 10


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after-ms": "250", "retry-after": "1"}, 0.25, id="milliseconds first"),
        pytest.param(
            {"retry-after-ms": "0", "retry-after": "1"}, 1, id="zero milliseconds do not count"
        ),
        pytest.param({"retry-after-ms": "-5"}, None, id="nor do negative ones"),
        pytest.param({"retry-after-ms": "x", "retry-after": "1"}, 1, id="nor what is no number"),
        pytest.param(
            {"retry-after": "1", "llm_provider-retry-after": "9"},
            1,
            id="the plain one before the proxied one",
        ),
        pytest.param(
            {"retry-after": "1", "x-ratelimit-reset-requests": "9s"},
            1,
            id="retry-after before a reset",
        ),
        pytest.param(
            {"retry-after": "0", "x-ratelimit-reset-requests": "9s"},
            9,
            id="a reset when retry-after says nothing",
        ),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_the_order_of_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert wait(headers) == seconds


def test_headers_come_before_the_body() -> None:
    assert wait({"x-ratelimit-reset-requests": "9s"}, "try again in 5s") == 9


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_wait_on_success_means_nothing(status: int) -> None:
    assert (
        wait(
            {"retry-after": "5", "retry-after-ms": "5", "x-ratelimit-reset-requests": "5"},
            "try again in 5s",
            status,
        )
        is None
    )


@pytest.mark.parametrize("status", [408, 429, 498, 500, 503, 529])
def test_retry_after_counts_on_every_error(status: int) -> None:
    assert wait({"retry-after": "5"}, status=status) == 5


# --- reset headers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12ms", 0.012),
        ("1.2s", 1.2),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("30", 30),
        ("0.5", 0.5),
        (str(int(NOW) + 20), 20),
        (str((int(NOW) + 20) * 1000), 20),
        ("2023-11-14T22:13:40Z", 20),
        ("2023-11-14T23:13:40+01:00", 20),
        ("Tue, 14 Nov 2023 22:13:40 GMT", 20),
        ("0", None),
        ("0s", None),
        ("0ms", None),
        ("-1", None),
        (str(int(NOW) - 20), None),
        ("2023-11-14T22:13:00Z", None),
        ("", None),
        ("never", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("1h2x", None),
    ],
)
@pytest.mark.parametrize("name", ["x-ratelimit-reset-requests", "ratelimit-reset"])
def test_the_values_of_reset_headers(name: str, value: str, seconds: float | None) -> None:
    assert wait({name: value}) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "name",
    [
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-reset",
        "x-rate-limit-reset-requests",
        "x-rate-limit-reset-tokens",
        "ratelimit-reset",
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-tokens-reset",
        "ratelimitbysize-reset",
    ],
)
def test_the_names_of_reset_headers(name: str) -> None:
    assert wait({name: "7s"}) == 7


@pytest.mark.parametrize(
    "name",
    [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-tokens",
        "x-reset",
        "reset",
        "x-password-reset",
    ],
)
def test_other_headers_are_no_reset(name: str) -> None:
    assert wait({name: "7s"}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param(
            {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6s"},
            6,
            id="the longest",
        ),
        pytest.param(
            {
                "x-ratelimit-reset-requests": "60s",
                "x-ratelimit-remaining-requests": "10",
                "x-ratelimit-reset-tokens": "6s",
                "x-ratelimit-remaining-tokens": "0",
            },
            6,
            id="the one of which nothing remains",
        ),
        pytest.param(
            {
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6s",
                "x-ratelimit-remaining-tokens": "0",
            },
            6,
            id="the longest of those of which nothing remains",
        ),
        pytest.param(
            {
                "anthropic-ratelimit-requests-reset": "2s",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "6s",
                "anthropic-ratelimit-tokens-remaining": "5",
            },
            2,
            id="remaining by the other order of words",
        ),
        pytest.param(
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "99999999999999999999",
                "x-ratelimit-reset-tokens": "6s",
            },
            6,
            id="remaining beyond 64 bits",
        ),
        pytest.param(
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "lots",
                "x-ratelimit-reset-tokens": "6s",
            },
            6,
            id="remaining that is no number",
        ),
        pytest.param(
            {"x-ratelimit-reset-requests": "-1", "x-ratelimit-reset-tokens": "6s"},
            6,
            id="an unknown reset is passed over",
        ),
    ],
)
def test_which_reset_is_chosen(headers: dict[str, str], seconds: float) -> None:
    assert wait(headers) == seconds


def test_rate_limit_headers_on_other_errors_are_no_wait() -> None:
    assert wait({"x-ratelimit-reset-requests": "6s"}, "try again in 5s", status=400) is None


# --- hints in the body


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ("Please try again in 5.2s.", 5.2),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 6m0s.", 360),
        ("Please try again in 1h2m3.5s", 3723.5),
        ("retry after 45 seconds", 45),
        ("Please retry after 45 seconds.", 45),
        ("Retry in 2 minutes", 120),
        ("Try again in 1 hour", 3600),
        ("please wait 7 seconds before", 7),
        ("TRY AGAIN IN 3 SECONDS", 3),
        ('{"error":{"details":[{"@type":"RetryInfo","retryDelay":"34.4s"}]}}', 34.4),
        ('{"retryDelay": "34s"}', 34),
        ("try again in 0s", None),
        ("try again later", None),
        ("the last 5 seconds", None),
        ("version 5s of the model", None),
        ("", None),
    ],
)
def test_hints_in_the_body(body: str, seconds: float | None) -> None:
    assert wait({}, body) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "value", [str(int(NOW + 20) * 1000), int(NOW + 20) * 1000, int(NOW + 20), "20"]
)
def test_reset_headers_inside_the_body(value: Any) -> None:
    body = {
        "error": {
            "message": "m",
            "code": 429,
            "metadata": {"headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": value}},
        }
    }
    assert wait({}, json.dumps(body)) == 20


@pytest.mark.parametrize(
    "metadata",
    [None, [], "x", {"headers": None}, {"headers": "x"}, {"headers": {"X-RateLimit-Reset": None}}],
)
def test_odd_metadata_in_the_body_is_no_wait(metadata: Any) -> None:
    assert wait({}, json.dumps({"error": {"metadata": metadata}})) is None


# --- nothing ever raises


VALUES = (
    st.sampled_from(
        [
            "5",
            "0",
            "-1",
            "nan",
            "inf",
            "1e400",
            "1_0",
            "5s",
            "1h",
            "Tue, 14 Nov 2023 22:13:30 GMT",
            "2023-11-14T22:13:40Z",
            "٣",
        ]
    )
    | st.text(max_size=12)
    | st.from_regex(r"\A\d{1,30}(\.\d{1,3})?(ms|s|m|h)?\Z")
    | st.from_regex(r"\A(Mon|Tue), \d{1,3} (Jan|Nov) \d{1,6} \d\d:\d\d:\d\d (GMT|[+-]\d{4,7})\Z")
    | st.floats().map(str)
)
NAMES = st.sampled_from(
    [
        "date",
        "retry-after",
        "retry-after-ms",
        "llm_provider-retry-after",
        "x-ratelimit-reset-requests",
        "x-ratelimit-remaining-requests",
        "x",
    ]
)
BODIES = (
    VALUES
    | VALUES.map(lambda value: f"try again in {value} seconds")
    | VALUES.map(lambda value: f'{{"retryDelay":"{value}s"}}')
    | VALUES.map(
        lambda value: json.dumps({"error": {"metadata": {"headers": {"X-RateLimit-Reset": value}}}})
    )
)


@given(
    st.dictionaries(NAMES, VALUES),
    BODIES,
    st.sampled_from([200, 400, 429, 503]),
    st.sampled_from([NOW, 0.0]),
)
@example({"retry-after-ms": "5e-324"}, "", 429, NOW)
@example({}, '{"error":{"metadata":' + "[" * 100_000, 429, NOW)
@example({}, "\ud800 metadata", 429, NOW)
def test_the_wait_is_none_or_finite_and_above_zero(
    headers: dict[str, str], body: str, status: int, wall: float
) -> None:
    seconds = retry_after(status, headers, body, wall)
    assert seconds is None or (math.isfinite(seconds) and seconds > 0)


# --- request ids and showing headers


@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-requestid",
        "x-generation-id",
        "x-litellm-call-id",
        "cf-ray",
    ],
)
def test_the_request_id_may_have_any_of_these_names(name: str) -> None:
    assert request_id({"content-type": "x", name: "r1"}) == "r1"


def test_the_first_request_id_that_is_not_empty_counts() -> None:
    assert request_id({"cf-ray": "c", "x-request-id": ""}) == "c"
    assert (
        request_id(dict.fromkeys(reversed(REQUEST_ID_HEADERS), "x") | {"x-request-id": "first"})
        == "first"
    )
    assert request_id({}) is None


@pytest.mark.parametrize(
    "name", ["set-cookie", "www-authenticate", "proxy-authenticate", "authorization", "cookie"]
)
def test_secrets_among_the_headers_are_not_shown(name: str) -> None:
    assert shown({name: "secret", "server": "nginx"}) == {name: "***", "server": "nginx"}


@pytest.mark.parametrize(
    "piece",
    [
        "wait" + " " * 60_000,
        "retry in" + "\t" * 60_000,
        "wait " + "0" * 60_000,
        "wait again " * 6_000,
        "try again in 1s " * 4_000 + "x",
    ],
)
def test_a_wait_is_looked_for_in_one_pass_whatever_the_body_says(piece: str) -> None:
    """A pattern that tries each blank again takes hours here, and no deadline could end it."""
    assert retry_after(429, {}, piece, NOW) in (None, 1.0)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 5.2s", 5.2),
        ("retry after 45 seconds", 45),
        ("wait 1m 2s", 62),
        ("wait for: about 3 min", 180),
        ("available in 20ms", 0.02),
    ],
)
def test_the_wait_in_words_is_read(words: str, seconds: float) -> None:
    assert retry_after(429, {}, words, NOW) == pytest.approx(seconds)
