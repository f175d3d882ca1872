"""Answers handed on as bytes: all of them, in order, and no end mark of what is not whole."""

from __future__ import annotations

import gzip
from typing import Any, Literal

import pytest

from opea_core import errors
from opea_core.testing import chunk, sse
from opea_core.wire.raw_reader import RawCall, RawReader
from opea_core.wire.response_spec import ResponseSpec

WHOLE = sse(chunk({"content": "a [DONE] b"}), chunk({}, "stop")).body
NO_REASON = sse(chunk({"content": "a [DONE] b"})).body
MARK = b"data: [DONE]\n\n"


def reader(
    events: Literal["chat", "responses"] = "chat",
    status: int = 200,
    headers: dict[str, str] | None = None,
    stream: bool = True,
) -> RawReader:
    expected = ResponseSpec(
        "chat" if events == "chat" else "document", stream, "m", lambda: "id", choices=1
    )
    return RawCall(b"", "", events=events).opened(status, [], headers or {}, expected)


def handed(found: RawReader, *parts: bytes) -> bytes:
    """What a caller gets who takes each piece when it has come, as drivers read."""
    taken: list[bytes] = []
    for part in parts:
        found.feed(part)
        if found.done:
            break
        taken += found.pieces
        found.pieces.clear()
    found.end()
    return b"".join([*taken, *found.pieces])


@pytest.mark.parametrize("at", range(0, len(WHOLE), 3))
def test_a_whole_stream_is_handed_on_however_it_is_cut(at: int) -> None:
    found = reader()
    assert handed(found, WHOLE[:at], WHOLE[at:]) == WHOLE
    assert (found.problem, len(found.chunks)) == (None, 0)
    assert found.response is not None


@pytest.mark.parametrize("at", range(0, len(NO_REASON), 3))
def test_a_stream_without_a_finish_reason_loses_its_end_mark_however_it_is_cut(at: int) -> None:
    found = reader()
    got = handed(found, NO_REASON[:at], NO_REASON[at:])
    assert found.problem is not None
    assert found.problem.cls is errors.EndpointConnectionError
    assert NO_REASON.startswith(got)
    assert len(got) < len(NO_REASON) - 2  # no client sees a whole mark
    assert at > len(NO_REASON) - len(MARK) or got == NO_REASON.removesuffix(MARK)


def test_a_packed_end_mark_is_kept_back_too() -> None:
    found = reader(headers={"content-encoding": "gzip"})
    assert handed(found, gzip.compress(NO_REASON)) == b""
    assert found.problem is not None


def test_a_plain_answer_keeps_every_byte() -> None:
    body = b' {"choices":[{"message":{"content":"[DONE]"},"finish_reason":"stop"}]}\n'
    found = reader(stream=False)
    assert handed(found, body[:9], body[9:]) == body
    assert found.problem is None


USED = b'"usage":{"prompt_tokens":3,"completion_tokens":2}'
PLAIN: dict[str, tuple[bytes, type[errors.OPEAError] | None]] = {
    "a text": (b'{"message":{"content":"x"},"finish_reason":"length"}', None),
    "a completion": (b'{"text":"x","finish_reason":"stop"}', None),
    "a call": (
        (
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}'
            b',"finish_reason":"tool_calls"}'
        ),
        None,
    ),
    "a call without a name": (
        (
            b'{"message":{"content":"x","tool_calls":[{"function":{"arguments":"{}"}}]}'
            b',"finish_reason":"stop"}'
        ),
        errors.BadAnswerError,
    ),
    "given up": (
        b'{"message":{"content":"x"},"finish_reason":"network_error"}',
        errors.ServerError,
    ),
    "an error in a choice": (
        b'{"message":{"content":"x"},"finish_reason":"stop","error":{"message":"m","code":500}}',
        errors.ServerError,
    ),
    "nothing": (b'{"message":{"content":""}}', errors.BadAnswerError),
    "no choice": (b"", errors.BadAnswerError),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_plain_answer_is_judged_as_any_other_and_its_tokens_are_counted(case: str) -> None:
    choice, problem = PLAIN[case]
    found = reader(stream=False)
    handed(found, b'{"choices":[' + choice + b"]," + USED + b"}")
    assert (found.problem and found.problem.cls) == problem
    if problem is None:
        assert found.response is not None
        assert found.response.usage is not None
        assert (found.response.usage.prompt_tokens, found.response.usage.completion_tokens) == (
            3,
            2,
        )


def test_an_error_keeps_its_body() -> None:
    found = reader(status=400)
    assert handed(found, b'{"error":', b'"[DONE]"}') == b'{"error":"[DONE]"}'
    assert found.problem is not None


EVENTS: dict[str, tuple[list[Any], type[errors.OPEAError] | None]] = {
    "completed": ([{"type": "response.completed"}], None),
    "incomplete": ([{"type": "response.incomplete"}], None),
    "cut": ([{"type": "response.output_text.delta"}], errors.EndpointConnectionError),
    "created": ([{"type": "response.created"}], errors.EndpointConnectionError),
    "mark": ([{"type": "response.created"}, "[DONE]"], errors.EndpointConnectionError),
    "failed": (
        [{"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}],
        errors.RateLimited,
    ),
    "error": ([{"type": "error", "message": "m"}], errors.ServerError),
    "no type": ([{"object": "response"}], errors.ServerError),
    **{
        f"{kind!r} as a type": ([{"type": kind}], errors.ServerError)
        for kind in (None, [], {}, 1, True)
    },
    "no JSON": (["{"], errors.BadAnswerError),
}


@pytest.mark.parametrize("case", EVENTS)
def test_events_of_the_responses_api(case: str) -> None:
    events, problem = EVENTS[case]
    found = reader("responses")
    handed(found, sse(*events, done=False).body)
    assert (found.problem and found.problem.cls) == problem


@pytest.mark.parametrize(
    ("kind", "started"), [("response.created", False), ("response.output_text.delta", True)]
)
def test_content_of_the_responses_api_begins_behind_what_announces_it(
    kind: str, started: bool
) -> None:
    found = reader("responses")
    found.feed(sse({"type": kind}, done=False).body)
    assert found.started is started
