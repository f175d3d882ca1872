"""How an answer of the Responses dialect ended, what it cost, and what went wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from responses_written import (
    BEGUN,
    added,
    answer,
    call,
    ended,
    event,
    message,
    on,
    problem,
    read,
    response,
    sse,
    summary,
    told,
    whole,
    written,
)

from opea_core import errors
from opea_core.types import Json

SAID, CALL = message("Hello."), call('{"x": 1}')
CUT_CALL = call('{"x": 48151', status="incomplete")


def incomplete(reason: str) -> Json:
    """The fields of a response that was cut for this reason."""
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


LONG = incomplete("max_output_tokens")


def both(*items: Json, limit: int | None = None, **fields: Any) -> list[Any]:
    """The same answer, plain and streamed."""
    return [
        read(response(*items, **fields), limit=limit),
        read(sse(whole(*items, **fields)), limit=limit),
    ]


@pytest.mark.parametrize(
    ("items", "fields", "reason"),
    [
        ([SAID], {}, "stop"),
        ([SAID], {"status": None}, "stop"),
        ([SAID], {"status": "complete"}, "stop"),
        ([SAID, CALL], {}, "tool_calls"),
        ([SAID], incomplete("max_output_tokens"), "length"),
        ([CALL], incomplete("max_output_tokens"), "length"),
        ([SAID], incomplete("max_tokens"), "length"),
        ([SAID], incomplete("content_filter"), "content_filter"),
        ([SAID], incomplete("tired"), "tired"),
    ],
    ids=str,
)
def test_the_status_inside_the_response_is_the_reason(
    items: list[Json], fields: Json, reason: str
) -> None:
    assert [answer(reader).finish_reason for reader in both(*items, **fields)] == [reason] * 2


def test_the_name_of_the_last_event_does_not_count() -> None:
    end = ended(SAID, kind="incomplete")
    assert told([*BEGUN, *written(0, SAID), end]).finish_reason == "stop"


def test_cut_off_arguments_are_an_invalid_call_whatever_the_status() -> None:
    for fields in ({}, LONG):
        for reader in both(CUT_CALL, **fields):
            said = answer(reader)
            assert (said.finish_reason, said.tool_calls) == ("length", [])
            assert [c.arguments for c in said.invalid_tool_calls] == ['{"x": 48151']


@pytest.mark.parametrize(
    ("items", "used", "reason"),
    [
        ([SAID], 15, "stop"),
        ([SAID], 16, "length"),
        ([SAID], 17, "stop"),  # the limit was ignored
        ([CALL], 15, "tool_calls"),
        ([CALL], 16, "length"),
    ],
)
def test_an_answer_of_all_the_tokens_that_were_asked_for_is_cut(
    items: list[Json], used: int, reason: str
) -> None:
    readers = both(*items, limit=16, usage={"output_tokens": used})
    assert [answer(reader).finish_reason for reader in readers] == [reason] * 2


def test_reasoning_may_use_up_all_tokens() -> None:
    for reader in both(summary("Hm, hm."), **LONG):
        said = answer(reader)
        assert (said.content, said.reasoning, said.finish_reason) == ("", "Hm, hm.", "length")
        assert said.warnings == ["reasoning used up the token limit: there is no text"]


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", "incomplete"])
def test_a_response_that_is_no_answer_is_an_error(status: str) -> None:
    for reader in both(SAID, status=status):
        assert "response" in problem(reader).body.message


FAILED = {"code": "server_error", "message": "The model is gone."}


@pytest.mark.parametrize(
    "body",
    [
        response(status="failed") | {"error": FAILED},
        sse([*BEGUN, event("failed", response=response(status="failed") | {"error": FAILED})]),
        sse([*BEGUN, {"type": "error", "error": FAILED | {"type": "server_error"}}]),
        sse([*BEGUN, {"type": "error", **FAILED, "param": None}]),
        sse([*BEGUN, {"type": "error", **FAILED, "param": None}], named=False),
        sse([*BEGUN, *written(0, SAID), {"type": "error", "error": FAILED}]),
    ],
    ids=["plain", "failed", "nested", "flat", "flat without a name", "after a text"],
)
def test_an_error_is_told_in_the_servers_words(body: Any) -> None:
    found = problem(read(body))
    assert (found.cls, found.body.message, found.body.code) == (
        errors.ServerError,
        "The model is gone.",
        "server_error",
    )


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        ("rate_limit_exceeded", errors.RateLimited),
        ("insufficient_quota", errors.QuotaExceeded),
        ("context_length_exceeded", errors.ContextOverflowError),
        ("model_not_found", errors.NotFoundError),
        ("invalid_prompt", errors.InvalidRequestError),
        ("image_too_large", errors.InvalidRequestError),
    ],
)
def test_errors_in_streams_are_told_apart_by_their_codes(code: str, cls: type) -> None:
    error = {"code": code, "message": "No."}
    for end in (
        {"type": "error", "error": error},
        event("failed", response=response(status="failed") | {"error": error}),
    ):
        assert problem(read(sse([*BEGUN, end]))).cls is cls


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (404, "model_not_found", errors.NotFoundError),
        (400, "context_length_exceeded", errors.ContextOverflowError),
        (400, "previous_response_not_found", errors.InvalidRequestError),
        (401, "invalid_api_key", errors.AuthenticationError),
        (429, "insufficient_quota", errors.QuotaExceeded),
    ],
)
def test_errors_with_a_status_are_those_of_chat(status: int, code: str, cls: type) -> None:
    error = {"message": "No.", "type": "invalid_request_error", "code": code, "param": None}
    assert problem(read({"error": error}, status=status)).cls is cls


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_stream_without_an_end_is_broken(is_cut: bool) -> None:
    for size in range(len(BEGUN), len(whole(SAID, CALL))):
        reader = read(sse(whole(SAID, CALL)[:size]), is_cut=is_cut)
        assert problem(reader).cls is errors.EndpointConnectionError


def test_what_came_of_a_broken_stream_is_kept() -> None:
    reader = read(sse([*BEGUN, added(0, SAID), on(0, SAID, "output_text.delta", delta="Hel")]))
    problem(reader)
    partial = reader.partial()
    assert partial is not None
    assert partial.content == "Hel"


# --- forms


def test_a_plain_answer_to_a_stream_is_read() -> None:
    reader = read(response(SAID, CALL), stream=True)
    assert answer(reader).content == "Hello."
    assert "".join(chunk.content for chunk in reader.chunks) == "Hello."


def test_a_stream_for_a_plain_call_is_read() -> None:
    reader = read(sse(whole(SAID, CALL)), stream=False)
    assert answer(reader).raw == whole(SAID, CALL)[-1]["response"]


def test_an_end_mark_behind_a_plain_answer_is_left_alone() -> None:
    body = json.dumps(response(SAID)).encode() + b"\n\ndata: [DONE]\n\n"
    assert answer(read(body, stream=False)).content == "Hello."


def test_an_answer_of_chat_is_read_all_the_same() -> None:
    chat = {
        "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    }
    assert answer(read(chat)).content == "Hi"
    piece = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    stream = sse([f"data: {json.dumps(piece)}\n\n", "data: [DONE]\n\n"])
    assert answer(read(stream)).content == "Hi"


def test_of_several_responses_the_first_counts() -> None:
    """As llama-server gives them for ``n``; that others came is told where ``n`` was asked for."""
    assert answer(read([response(SAID), response(CALL)])).content == "Hello."


@pytest.mark.parametrize(
    "body", [[], [1], {}, {"output": None}, {"object": "response"}, {"id": "resp_1"}]
)
def test_what_is_no_response_is_a_bad_answer(body: Any) -> None:
    assert problem(read(body)).cls is errors.BadAnswerError


def test_an_answer_that_says_nothing_is_still_one() -> None:
    assert [answer(reader).content for reader in both()] == ["", ""]


# --- counts


def test_counts_have_the_names_of_chat() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 17,
        "cost": 0.25,
    }
    for reader in both(SAID, usage=usage):
        found = answer(reader).usage
        assert found is not None
        assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (10, 7, 17)
        assert (found.cached_tokens, found.cache_creation_tokens) == (4, 2)
        assert found.reasoning_tokens == 5
        assert found.raw == usage


def test_counts_without_details_are_counts() -> None:
    for reader in both(SAID, usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}):
        found = answer(reader).usage
        assert found is not None
        assert (found.prompt_tokens, found.reasoning_tokens) == (1, None)


def test_no_counts_are_none() -> None:
    assert [answer(reader).usage for reader in both(SAID, usage=None)] == [None, None]


# --- bounds


def test_more_items_than_any_answer_has_are_an_error() -> None:
    events = [event("output_text.delta", output_index=n, delta="x") for n in range(10_001)]
    found = problem(read(sse(events)))
    assert found.what == "the answer has more than 10000 items"
    assert not found.retryable


def test_values_of_items_are_weighed() -> None:
    """Small events whose values take far more memory than they have bytes."""
    heavy = {"type": "message", "content": [{"type": "x", "x": [{}] * 20_000}]}
    events = [event("output_item.done", output_index=0, item=heavy) for _ in range(12)]
    found = problem(read(sse(events), most=1_000_000))
    assert "would take more than" in found.what
