"""Answers put together from the events of a stream, or from one plain body, as decoded JSON."""

from __future__ import annotations

import copy
import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed
from thorough import most

from opea_core.types import ChatChunk, ChatResponse, Json, ToolCallDelta, Usage
from opea_core.wire.assemble import Assembler
from opea_core.wire.usage import finish_reason, merge_usage, read_usage


def delta(finish_reason: Any = None, index: int = 0, **fields: Any) -> Json:
    """An event with one choice."""
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


def plain(finish_reason: Any = "stop", **fields: Any) -> Json:
    """A plain answer with one choice."""
    return {"choices": [{"index": 0, "message": fields, "finish_reason": finish_reason}]}


def stream(
    *events: Json, model: str = "", think_tags: bool = False
) -> tuple[ChatResponse, list[ChatChunk]]:
    """The answer that the events make, and the pieces that are handed on."""
    numbers = count(1)
    assembler = Assembler(lambda: f"new{next(numbers)}", think_tags)
    chunks = [assembler.push(event) for event in events]
    response, held = assembler.finish(model)
    return response, chunks + ([held] if held else [])


def whole(event: Json, model: str = "", think_tags: bool = False) -> ChatResponse:
    """The answer that a plain body is."""
    assembler = Assembler(lambda: "new", think_tags)
    assembler.push(event, plain=True)
    return assembler.finish(model, event)[0]


def both(**fields: Any) -> list[ChatResponse]:
    """The answers to the same fields in a delta and in a message."""
    return [stream(delta(**fields), delta("stop"))[0], whole(plain(**fields))]


# --- reasoning


@pytest.mark.parametrize(
    ("fields", "reasoning", "field"),
    [
        pytest.param(
            {"reasoning_content": "why"}, "why", "reasoning_content", id="reasoning_content"
        ),
        pytest.param({"reasoning": "why"}, "why", "reasoning", id="reasoning"),
        pytest.param(
            {"reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
            "why",
            "reasoning_details",
            id="details",
        ),
        pytest.param(
            {"reasoning_details": [{"summary": "w"}, {"summary": "hy"}]},
            "why",
            "reasoning_details",
            id="summaries are joined",
        ),
        pytest.param(
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}]},
            "why",
            "thinking",
            id="thinking part",
        ),
        pytest.param(
            {"content": [{"type": "thinking", "thinking": "why"}]},
            "why",
            "thinking",
            id="thinking part with plain text",
        ),
        pytest.param(
            {"reasoning_content": "why", "content": [{"type": "thinking", "thinking": "why"}]},
            "why",
            "reasoning_content",
            id="a name and a thinking part, one text",
        ),
        pytest.param(
            {"reasoning_content": "why", "reasoning": "why"},
            "why",
            "reasoning_content",
            id="two names, one text",
        ),
        pytest.param(
            {"reasoning": "why", "reasoning_details": [{"text": "why"}]},
            "why",
            "reasoning",
            id="a name and details, one text",
        ),
        pytest.param(
            {"reasoning_content": "", "reasoning": "why"},
            "why",
            "reasoning",
            id="the first that is not empty",
        ),
        pytest.param(
            {"reasoning_content": None, "reasoning": "why"},
            "why",
            "reasoning",
            id="the first that is not null",
        ),
        pytest.param(
            {"reasoning_content": "", "content": "Hi"},
            "",
            None,
            id="empty beside content is no reasoning",
        ),
        pytest.param(
            {"reasoning": None, "content": "Hi"}, "", None, id="null beside content is no reasoning"
        ),
        pytest.param({"reasoning_details": []}, "", None, id="no details"),
        pytest.param({"reasoning": {"effort": "low"}}, "", None, id="an object is no reasoning"),
    ],
)
def test_reasoning_under_every_name(fields: Json, reasoning: str, field: str | None) -> None:
    for response in both(**fields):
        assert response.reasoning == reasoning
        assert response.choices[0].reasoning_field == field


def test_reasoning_and_content_stay_apart() -> None:
    response, chunks = stream(
        delta(reasoning="wh"),
        delta(reasoning="y"),
        delta(content="Hi", reasoning=""),
        delta("stop"),
    )
    assert (response.reasoning, response.content) == ("why", "Hi")
    assert [(chunk.reasoning, chunk.content) for chunk in chunks] == [
        ("wh", ""),
        ("y", ""),
        ("", "Hi"),
        ("", ""),
    ]


def test_an_answer_that_sits_in_the_reasoning_is_reported_as_it_is() -> None:
    for response in both(reasoning="42", content=None):
        assert (response.reasoning, response.content) == ("42", "")


def test_reasoning_details_are_kept_verbatim() -> None:
    details = [
        {"type": "reasoning.encrypted", "data": "abc", "index": 0},
        {"type": "reasoning.text", "text": "t", "signature": "s"},
    ]
    for response in both(reasoning_details=details):
        assert response.choices[0].reasoning_details == details


def test_reasoning_details_are_merged_by_their_index() -> None:
    response, _ = stream(
        delta(
            reasoning_details=[
                {"type": "reasoning.text", "index": 0, "text": "wh", "signature": None}
            ]
        ),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "y"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 1, "text": "so"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "signature": "s"}]),
    )
    assert response.choices[0].reasoning_details == [
        {"type": "reasoning.text", "index": 0, "text": "why", "signature": "s"},
        {"type": "reasoning.text", "index": 1, "text": "so"},
    ]


def test_think_tags_are_left_in_the_content_by_default() -> None:
    for response in both(content="<think>why</think>Hi"):
        assert (response.content, response.reasoning) == ("<think>why</think>Hi", "")


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>why</think>Hi"],
        ["<th", "ink>wh", "y</thi", "nk>H", "i"],
        list("<think>why</think>Hi"),
    ],
)
def test_think_tags_are_taken_out_on_request(pieces: list[str]) -> None:
    response, chunks = stream(
        *[delta(content=piece) for piece in pieces], delta("stop"), think_tags=True
    )
    assert (response.content, response.reasoning) == ("Hi", "why")
    assert "".join(chunk.content for chunk in chunks) == "Hi"
    assert "".join(chunk.reasoning for chunk in chunks) == "why"


def test_a_plain_answer_with_only_the_closing_tag_is_split() -> None:
    response = whole(plain(content="why</think>Hi"), think_tags=True)
    assert (response.content, response.reasoning) == ("Hi", "why")


def test_a_stream_with_only_the_closing_tag_keeps_to_what_was_handed_out() -> None:
    response, chunks = stream(
        delta(content="wh"),
        delta(content="y</thi"),
        delta(content="nk>Hi"),
        delta("stop"),
        think_tags=True,
    )
    assert "".join(chunk.content for chunk in chunks) == response.content
    assert "".join(chunk.reasoning for chunk in chunks) == response.reasoning


# --- content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("Hi", "Hi", id="text"),
        pytest.param("", "", id="empty"),
        pytest.param(None, "", id="null"),
        pytest.param([], "", id="no parts"),
        pytest.param(
            [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}],
            "Hi",
            id="parts are joined without separator",
        ),
        pytest.param(
            [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "Hi"}],
            "Hi",
            id="thinking is no text",
        ),
        pytest.param([{"type": "text", "text": None}], "", id="a part without text"),
        pytest.param(
            {"answer": 42, "é": None}, '{"answer": 42, "é": null}', id="an object is its JSON"
        ),
    ],
)
def test_content_of_every_shape(content: Any, text: str) -> None:
    for response in both(content=content):
        assert response.content == response.text == text


def test_content_may_be_absent() -> None:
    for response in both(role="assistant"):
        assert response.content == ""


def test_unknown_content_parts_are_kept() -> None:
    part = {"type": "reference", "reference_ids": [1]}
    for response in both(content=[{"type": "text", "text": "Hi"}, part]):
        assert response.content == "Hi"
        assert response.choices[0].parts == [part]


def test_a_refusal_counts_when_it_is_not_empty() -> None:
    response, chunks = stream(
        delta(refusal=None, content="x"),
        delta(refusal=""),
        delta(refusal="I "),
        delta(refusal="can't"),
    )
    assert response.refusal == "I can't"
    assert "".join(chunk.refusal for chunk in chunks) == "I can't"
    assert [response.refusal for response in both(refusal="", content="Hi")] == [None, None]


def test_the_message_may_be_absent_after_a_filter() -> None:
    response = whole(
        {
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "content_filter",
                    "content_filter_results": {"hate": {"filtered": True}},
                }
            ]
        }
    )
    assert (response.content, response.finish_reason) == ("", "content_filter")
    assert response.choices[0].extra == {"content_filter_results": {"hate": {"filtered": True}}}


def test_a_plain_answer_may_use_delta() -> None:
    assert whole(delta("stop", content="Hi")).content == "Hi"


def test_legacy_completions_have_text() -> None:
    response, chunks = stream(
        {"choices": [{"text": "H", "index": 0}]},
        {"choices": [{"text": "i", "index": 0, "finish_reason": "stop"}]},
    )
    assert response.content == "".join(chunk.content for chunk in chunks) == "Hi"
    assert whole({"choices": [{"text": "Hi", "index": 0, "finish_reason": "stop"}]}).content == "Hi"


# --- what events may lack


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"choices": []}, id="choices empty"),
        pytest.param({"choices": None}, id="choices null"),
        pytest.param({}, id="choices absent"),
        pytest.param({"choices": [None]}, id="choice null"),
        pytest.param({"choices": [{}]}, id="choice empty"),
        pytest.param({"choices": [{"index": 0, "delta": None}]}, id="delta null"),
        pytest.param({"choices": [{"index": 0, "delta": {}}]}, id="delta empty"),
        pytest.param(
            {
                "choices": [
                    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": ""}
                ]
            },
            id="role only",
        ),
        pytest.param(
            {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": []},
            id="content filter first",
        ),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_event_without_content_may_come_anywhere(event: Json, position: int) -> None:
    events = [delta(content="H"), delta("stop", content="i")]
    events.insert(position, event)
    response, chunks = stream(*events)
    assert (response.content, response.finish_reason) == ("Hi", "stop")
    assert "".join(chunk.content for chunk in chunks) == "Hi"


def test_usage_and_unknown_keys_are_read_from_an_event_without_choices() -> None:
    response, _ = stream(
        delta("stop", content="Hi"),
        {"choices": [], "usage": {"total_tokens": 3}, "citations": ["u"]},
    )
    assert response.usage is not None
    assert response.usage.total_tokens == 3
    assert response.raw["citations"] == ["u"]


def test_a_finish_reason_may_stand_without_delta() -> None:
    response, _ = stream(delta(content="Hi"), {"choices": [{"index": 0, "finish_reason": "stop"}]})
    assert response.finish_reason == "stop"


@pytest.mark.parametrize(
    "kind", ["", None, "chat.completion", "chat.completion.done", "text_completion", 1]
)
def test_the_object_field_means_nothing(kind: Any) -> None:
    response, _ = stream({**delta(content="Hi"), "object": kind}, {**delta("stop"), "object": kind})
    assert (response.content, response.finish_reason) == ("Hi", "stop")


def test_the_first_id_that_is_not_empty_counts() -> None:
    response, _ = stream(
        {"id": "", **delta(content="a")},
        {"id": "x", **delta(content="b")},
        {"id": "y", **delta("stop", content="c")},
    )
    assert (response.id, response.content) == ("x", "abc")


def test_the_servers_model_and_the_requested_one_are_both_kept() -> None:
    response, _ = stream(
        {"model": "", **delta(content="a")}, {"model": "served-1", **delta("stop")}, model="asked"
    )
    assert (response.model, response.requested_model) == ("served-1", "asked")


@pytest.mark.parametrize("model", [None, "", 7])
def test_without_the_servers_model_the_requested_one_stands(model: Any) -> None:
    assert stream({"model": model, **delta("stop", content="a")}, model="asked")[0].model == "asked"


@pytest.mark.parametrize("created", [None, 0, 1.5, 1_700_000_000_000, "yesterday"])
def test_created_may_be_anything(created: Any) -> None:
    assert stream({"created": created, **delta("stop", content="Hi")})[0].content == "Hi"


@pytest.mark.parametrize(
    ("roles", "role"),
    [([None, None], "assistant"), (["", ""], "assistant"), (["tool", None], "tool")],
)
def test_the_role_is_assistant_unless_the_server_says_otherwise(
    roles: list[Any], role: str
) -> None:
    response, chunks = stream(*[delta(role=said, content="x") for said in roles])
    assert response.role == role
    assert [chunk.role for chunk in chunks] == [role, role]


def test_unknown_keys_are_kept_and_lists_go_on() -> None:
    first = {
        "choices": [
            {
                "index": 0,
                "delta": {"content": "a", "provider_specific_fields": [1]},
                "stop_reason": 1,
            }
        ],
        "timings": {"n": 1},
    }
    last = {
        "choices": [
            {
                "index": 0,
                "delta": {"provider_specific_fields": [2]},
                "stop_reason": 2,
                "finish_reason": "stop",
            }
        ],
        "timings": {"n": 2},
    }
    response, _ = stream(first, last)
    assert response.raw["timings"] == {"n": 2}
    assert response.choices[0].extra["stop_reason"] == 2
    assert response.raw["choices"][0]["message"]["provider_specific_fields"] == [1, 2]


@pytest.mark.parametrize("key", ["native_finish_reason", "stop_reason", "matched_stop"])
def test_other_words_about_the_end_are_extra_information(key: str) -> None:
    event = {
        "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop", key: "</s>"}]
    }
    assert stream(event)[0].choices[0].extra[key] == "</s>"


# --- a cumulative message beside deltas


def test_a_cumulative_message_beside_deltas_is_not_counted_again() -> None:
    response, chunks = stream(
        {"choices": [{"index": 0, "delta": {"content": "H"}, "message": {"content": "H"}}]},
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": "i"},
                    "message": {"content": "Hi"},
                    "finish_reason": "stop",
                }
            ]
        },
    )
    assert response.content == "".join(chunk.content for chunk in chunks) == "Hi"


def test_a_message_that_says_more_than_the_deltas_is_not_used() -> None:
    response, chunks = stream(
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": "Hi"},
                    "message": {"content": "Hi there"},
                    "finish_reason": "stop",
                }
            ]
        }
    )
    assert response.content == "".join(chunk.content for chunk in chunks) == "Hi"


def test_a_cumulative_message_is_used_if_no_delta_has_text() -> None:
    response, chunks = stream(
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"role": "assistant", "content": ""},
                    "message": {"content": "H"},
                }
            ]
        },
        {
            "choices": [
                {"index": 0, "delta": {}, "message": {"content": "Hi"}, "finish_reason": "stop"}
            ]
        },
    )
    assert response.content == "".join(chunk.content for chunk in chunks) == "Hi"


def test_a_growing_message_without_delta_gives_what_is_new() -> None:
    response, chunks = stream(
        {"choices": [{"index": 0, "message": {"content": "H"}}]},
        {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]},
    )
    assert [chunk.content for chunk in chunks] == ["H", "i"]
    assert response.content == "Hi"


def test_a_final_message_does_not_repeat_the_tool_calls() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    response, _ = stream(
        delta(tool_calls=[call]),
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": None, "tool_calls": [call]},
                    "finish_reason": "tool_calls",
                }
            ]
        },
    )
    assert [call.id for call in response.tool_calls] == ["a"]


# --- several choices


def test_interleaved_choices_stay_apart() -> None:
    response, chunks = stream(
        delta(index=1, content="b"),
        delta(content="a"),
        delta(index=1, content="B"),
        delta("stop", content="A"),
        delta("length", index=1),
    )
    assert [
        (choice.index, choice.content, choice.finish_reason) for choice in response.choices
    ] == [(0, "aA", "stop"), (1, "bB", "length")]
    assert response.content == "".join(chunk.content for chunk in chunks) == "aA"
    assert "".join(piece.content for chunk in chunks for piece in chunk.other_choices) == "bB"


def test_several_choices_in_one_event() -> None:
    entries = [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]
    response, (chunk,) = stream({"choices": entries})
    assert (chunk.index, chunk.content) == (0, "a")
    assert [(piece.index, piece.content) for piece in chunk.other_choices] == [(1, "b")]
    assert [choice.content for choice in response.choices] == ["a", "b"]


@pytest.mark.parametrize(
    "choice", [{"delta": {"content": "x"}}, {"index": None, "delta": {"content": "x"}}]
)
def test_the_index_is_0_unless_the_server_says_otherwise(choice: Json) -> None:
    response, _ = stream({"choices": [choice]}, delta("stop", content="y"))
    assert [choice.content for choice in response.choices] == ["xy"]


def test_tool_calls_of_two_choices_stay_apart() -> None:
    events = [
        delta(
            index=index,
            tool_calls=[
                {
                    "index": 0,
                    "id": f"{index}",
                    "function": {"name": "f", "arguments": f'{{"n":{index}}}'},
                }
            ],
        )
        for index in (0, 1)
    ]
    response, _ = stream(*events)
    assert [[call.args for call in choice.tool_calls] for choice in response.choices] == [
        [{"n": 0}],
        [{"n": 1}],
    ]


def test_the_number_of_choices_is_what_the_server_sent() -> None:
    assert len(whole({"choices": [{"message": {"content": "a"}}]}).choices) == 1
    assert (
        len(
            whole(
                {"choices": [{"index": n, "message": {"content": "a"}} for n in range(3)]}
            ).choices
        )
        == 3
    )


# --- finish reasons


@pytest.mark.parametrize(
    ("raw", "reason", "with_calls"),
    [
        *[
            (raw, "stop", "tool_calls")
            for raw in ("stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence")
        ],
        *[(raw, "length", "length") for raw in ("length", "max_tokens", "model_length")],
        *[(raw, "tool_calls", "tool_calls") for raw in ("tool_calls", "function_call")],
        ("content_filter", "content_filter", "content_filter"),
        ("", None, None),
        (None, None, None),
        ("something_new", "something_new", "something_new"),
    ],
)
def test_finish_reasons_are_normalised(
    raw: Any, reason: str | None, with_calls: str | None
) -> None:
    assert finish_reason(raw, False) == reason
    assert finish_reason(raw, True) == with_calls


def test_the_raw_finish_reason_is_kept() -> None:
    for response in (
        stream(delta("eos_token", content="Hi"))[0],
        whole(plain("eos_token", content="Hi")),
    ):
        assert (response.finish_reason, response.choices[0].raw_finish_reason) == (
            "stop",
            "eos_token",
        )


def test_the_last_finish_reason_that_is_not_empty_counts() -> None:
    response, _ = stream(delta("stop", content="a"), delta("length"), delta(""), delta(None))
    assert response.finish_reason == "length"


def test_content_after_the_finish_reason_counts() -> None:
    response, chunks = stream(delta("stop", content="H"), delta(content="i"))
    assert response.content == "".join(chunk.content for chunk in chunks) == "Hi"
    assert response.finish_reason == "stop"


def test_tool_calls_after_the_finish_reason_count() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    response, _ = stream(delta("stop", content=""), delta(tool_calls=[call]))
    assert (response.finish_reason, [call.id for call in response.tool_calls]) == (
        "tool_calls",
        ["a"],
    )


def test_an_empty_finish_reason_means_not_finished() -> None:
    response, _ = stream(delta("", content="H"), delta("", content="i"))
    assert response.finish_reason is None


def test_the_finish_reason_may_be_spelled_otherwise() -> None:
    assert (
        stream({"choices": [{"index": 0, "delta": {"content": "x"}, "finishReason": "STOP"}]})[
            0
        ].finish_reason
        == "stop"
    )
    assert (
        whole(
            {"choices": [{"message": {"content": "x"}, "finish_details": {"type": "max_tokens"}}]}
        ).finish_reason
        == "length"
    )


# --- tool calls (their assembly is told in test_tools.py)


def test_tool_calls_of_a_stream() -> None:
    response, chunks = stream(
        delta(
            role="assistant",
            content=None,
            tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}],
        ),
        delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
        delta("tool_calls"),
    )
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
        ("a", "f", "{}")
    ]
    assert [list(chunk.tool_calls) for chunk in chunks] == [
        [ToolCallDelta(0, "a", "f", "")],
        [],
        [],
        [ToolCallDelta(0, None, None, "{}")],
    ]
    assert (response.content, response.finish_reason) == ("", "tool_calls")


def test_tool_calls_of_a_plain_answer() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    response = whole(plain("stop", content=None, tool_calls=[call, {**call, "id": "b"}]))
    assert [(call.id, call.args) for call in response.tool_calls] == [
        ("a", {"x": 1}),
        ("b", {"x": 1}),
    ]
    assert response.finish_reason == "tool_calls"


def test_a_legacy_function_call() -> None:
    for response in both(function_call={"name": "f", "arguments": "{}"}):
        assert [(call.name, call.arguments) for call in response.tool_calls] == [("f", "{}")]


def test_the_empty_legacy_decoy_is_ignored() -> None:
    for response in both(content="Hi", function_call={"name": "", "arguments": ""}):
        assert (response.tool_calls, response.invalid_tool_calls, response.finish_reason) == (
            [],
            [],
            "stop",
        )


@pytest.mark.parametrize("calls", [None, []])
def test_no_tool_calls(calls: Any) -> None:
    for response in both(content="Hi", tool_calls=calls):
        assert (response.tool_calls, response.finish_reason) == ([], "stop")


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length"])
def test_the_token_limit_marks_the_last_call_truncated(reason: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}
    for response in (
        stream(delta(reason, tool_calls=[call]))[0],
        whole(plain(reason, tool_calls=[call])),
    ):
        assert [(call.arguments, call.truncated) for call in response.invalid_tool_calls] == [
            ('{"x"', True)
        ]
        assert response.finish_reason == "length"


# --- usage


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        pytest.param(
            [{}, {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 14}],
            (9, 2, 14),
            id="on the last event",
        ),
        pytest.param(
            [
                {"prompt_tokens": 9, "completion_tokens": None},
                {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 14},
            ],
            (9, 2, 14),
            id="null first",
        ),
        pytest.param(
            [
                {"prompt_tokens": 9, "completion_tokens": 2},
                {"prompt_tokens": None, "completion_tokens": None},
            ],
            (9, 2, None),
            id="nulls erase nothing",
        ),
        pytest.param(
            [{"completion_tokens": 1}, {"completion_tokens": 2}],
            (None, 2, None),
            id="cumulative, never summed",
        ),
        pytest.param(
            [{"prompt_tokens": 9, "completion_tokens": 2}] * 2, (9, 2, None), id="sent twice"
        ),
        pytest.param(
            [{"prompt_tokens": 9}, {}, {"completion_tokens": 2}],
            (9, 2, None),
            id="fields on different events",
        ),
        pytest.param(
            [{"prompt_tokens": 0, "completion_tokens": 0}], (0, 0, None), id="zero is a count"
        ),
        pytest.param(
            [{"prompt_tokens": 9.0, "completion_tokens": True, "total_tokens": "9"}],
            (9, None, None),
            id="only numbers count",
        ),
    ],
)
def test_usage_is_the_last_value_of_every_field(
    events: list[Json], counts: tuple[int | None, ...]
) -> None:
    response, _ = stream(*[{**delta(content="a"), "usage": usage} for usage in events])
    assert response.usage is not None
    assert (
        response.usage.prompt_tokens,
        response.usage.completion_tokens,
        response.usage.total_tokens,
    ) == counts


@pytest.mark.parametrize("usage", [None, {}, [], "many"])
def test_usage_that_is_not_there_is_not_estimated(usage: Any) -> None:
    assert stream({**delta("stop", content="Hi"), "usage": usage})[0].usage is None
    assert stream(delta("stop", content="Hi"))[0].usage is None


def test_usage_may_hide_under_x_groq() -> None:
    response, _ = stream(
        delta(content="a"), {**delta("stop"), "x_groq": {"id": "r", "usage": {"prompt_tokens": 9}}}
    )
    assert response.usage is not None
    assert response.usage.prompt_tokens == 9


def test_usage_is_not_handed_on_before_the_end() -> None:
    _, chunks = stream(*[{**delta(content="a"), "usage": {"prompt_tokens": 9}}] * 2)
    assert [chunk.usage for chunk in chunks] == [None, None]


@pytest.mark.parametrize(
    ("raw", "cached", "reasoning"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, 3, None),
        ({"cached_tokens": 3}, 3, None),
        ({"prompt_cache_hit_tokens": 3}, 3, None),
        ({"cache_read_input_tokens": 3}, 3, None),
        ({"num_cached_tokens": 3}, 3, None),
        ({"prompt_tokens_details": None, "cached_tokens": 3}, 3, None),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 3}, 0, None),
        ({"completion_tokens_details": {"reasoning_tokens": 3}}, None, 3),
        ({"reasoning_tokens": 3}, None, 3),
        ({"completion_tokens_details": {"reasoning_tokens": None}, "reasoning_tokens": 3}, None, 3),
    ],
)
def test_cached_and_reasoning_tokens_under_every_name(
    raw: Json, cached: int | None, reasoning: int | None
) -> None:
    assert read_usage(raw) == Usage(cached_tokens=cached, reasoning_tokens=reasoning, raw=raw)


def test_nested_usage_is_merged_field_by_field() -> None:
    merged = merge_usage(
        {"prompt_tokens_details": {"cached_tokens": 3}},
        {"prompt_tokens_details": {"cached_tokens": None, "audio": 1}},
    )
    assert merged == {"prompt_tokens_details": {"cached_tokens": 3, "audio": 1}}


def test_merging_usage_changes_no_event_and_no_answer_so_far() -> None:
    first, second = {"a": {"x": {"y": 1}}}, {"a": {"x": {"y": 2}}, "b": 1}
    assembler = Assembler(lambda: "new")
    assembler.push({**delta(content="Hi"), "usage": first})
    so_far, _ = assembler.finish(so_far=True)
    assembler.push({**delta(), "usage": second})
    whole, _ = assembler.finish()
    assert (first, second) == ({"a": {"x": {"y": 1}}}, {"a": {"x": {"y": 2}}, "b": 1})
    assert so_far.usage is not None
    assert whole.usage is not None
    assert (so_far.usage.raw, so_far.raw["usage"], whole.usage.raw) == (first, first, second)


def test_what_else_the_server_says_about_usage_is_kept() -> None:
    response = whole({**plain(content="Hi"), "usage": {"prompt_tokens": 1, "cost": 0.5}})
    assert response.usage is not None
    assert response.usage.raw == {"prompt_tokens": 1, "cost": 0.5}


# --- the numbers of choices


def entry(index: Any, text: str, finish_reason: Any = None) -> Json:
    """An entry of a stream's ``choices``; an index of ... is left out."""
    return {"delta": {"content": text}, "finish_reason": finish_reason} | (
        {} if index is ... else {"index": index}
    )


A0 = {0: "a", 1: "b"}
NUMBERED: dict[str, tuple[int | None, list[list[Any]], dict[int, str]]] = {
    # choices asked for, events of (index, text) entries, the texts by our numbers
    "two entries of one choice in an event": (1, [[(0, "Hel"), (0, "lo")]], {0: "Hello"}),
    "three entries of two choices in an event": (
        2,
        [[(1, "a"), (0, "b"), (1, "c")]],
        {0: "b", 1: "ac"},
    ),
    "one, counted from 1": (1, [[(1, "a")], [(1, "b")]], {0: "ab"}),
    "one, counted from -1": (1, [[(-1, "a")], [(-1, "b")]], {0: "ab"}),
    "one of a huge number": (1, [[(10**30, "a")], [(10**30, "b")]], {0: "ab"}),
    "one that moves from 0": (1, [[(0, "a")], [(1, "b")]], A0),
    "one that moves to 0": (1, [[(1, "a")], [(0, "b")]], A0),
    "one that moves from -1 to 0": (1, [[(-1, "a")], [(0, "b")]], A0),
    "two": (2, [[(0, "a"), (1, "b")]], A0),
    "two, the second first": (2, [[(1, "b")], [(0, "a")]], A0),
    "two, counted from 1": (2, [[(1, "a"), (2, "b")]], A0),
    "two, counted from 1, in events of their own": (2, [[(1, "a")], [(2, "b")]], A0),
    "two, counted from 1, the second first": (2, [[(2, "b")], [(1, "a")]], A0),
    "one of two, counted from 1": (2, [[(1, "a")], [(1, "b")]], {0: "ab"}),
    "two of three, counted from 1": (3, [[(1, "a")], [(2, "b")]], A0),
    "two, the second first, and nothing of the first for long": (
        2,
        [*[[(1, "b")]] * 1500, [(0, "a")]],
        {0: "a", 1: "b" * 1500},
    ),
    "one of two, which may be the second, for long": (
        2,
        [[(1, "b")]] * 1001,
        {1: "b" * 1001},
    ),
    "two, counted from -1": (2, [[(-1, "a"), (-2, "b")]], A0),
    "a negative one beside 0": (1, [[(0, "a")], [(-1, "b")]], A0),
    "numbers with gaps": (2, [[(0, "a"), (7, "b")]], {0: "a", 7: "b"}),
    "more than were asked for": (1, [[(0, "a"), (1, "b"), (2, "c")]], {0: "a", 1: "b", 2: "c"}),
    "numbers that are text": (1, [[("0", "a")], [("1", "b")]], {0: "ab"}),
    "numbers with a point": (2, [[(0.0, "a")], [(1.0, "b")]], {0: "ab"}),
    "no numbers, in one event": (
        2,
        [[(..., "a"), (..., "b")], [(..., "A"), (..., "B")]],
        {0: "aA", 1: "bB"},
    ),
    "no number after some": (2, [[(0, "a"), (1, "b")], [(..., "?")]], {0: "a?", 1: "b"}),
    "something else beside a choice": (1, [[None, (0, "a")]], {0: "a"}),
    "nobody knows how many": (
        None,
        [[(5, "a")], [(0, "b")], [(-1, "c")]],
        {0: "b", 1: "c", 5: "a"},
    ),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_choices_are_handed_out_under_the_numbers_they_have_in_the_answer(name: str) -> None:
    asked, events, texts = NUMBERED[name]
    assembler = Assembler(lambda: "new", choices=asked)
    handed: dict[int, str] = {}
    for choices in events:
        chunk = assembler.push({"choices": [c and entry(*c) for c in choices]})
        _put(handed, chunk)
    _put(handed, assembler.release() or ChatChunk())
    response, held = assembler.finish()
    assert held is None
    assert {choice.index: choice.content for choice in response.choices} == texts
    assert {index: text for index, text in handed.items() if text} == texts
    assert response.content == texts[min(texts)]


def _put(handed: dict[int, str], chunk: ChatChunk) -> None:
    for piece in (chunk, *chunk.other_choices):
        handed[piece.index] = handed.get(piece.index, "") + piece.content


@fixed(most(300, 100))
@given(st.data(), st.integers(1, 4), st.sampled_from((0, 1)))
def test_a_stream_has_the_choices_in_the_order_of_a_plain_answer(
    data: st.DataObject, count: int, first: int
) -> None:
    """Wherever the server counts from, whichever choice speaks first and however many at once."""
    numbers = range(first, first + count)
    drawn = data.draw(st.lists(st.sampled_from(numbers), max_size=12))
    said = [*drawn, *data.draw(st.permutations(numbers))]
    events: list[list[tuple[int, str]]] = []
    for number in said:
        entries = [(number, f"{number} ")]
        if events and data.draw(st.booleans()):
            events[-1] += entries
        else:
            events.append(entries)
    assembler, handed = Assembler(lambda: "new", choices=count), dict[int, str]()
    for choices in events:
        _put(handed, assembler.push({"choices": [entry(*choice) for choice in choices]}))
    _put(handed, assembler.release() or ChatChunk())
    plainly = whole(
        {
            "choices": [
                {"index": number, "message": {"content": f"{number} " * said.count(number)}}
                for number in numbers
            ]
        }
    )
    expected = {choice.index: choice.content for choice in plainly.choices}
    response, _ = assembler.finish()
    assert {choice.index: choice.content for choice in response.choices} == expected
    assert {index: text for index, text in handed.items() if text} == expected


@pytest.mark.parametrize(
    "indices",
    [[0, 1], [1, 2], [0, 0], [0, -1], [5, 5], [None, None], ["0", "1"], [True, False]],
    ids=lambda indices: f"{indices}",
)
def test_whole_choices_are_numbered_by_their_places_unless_theirs_fit(indices: list[Any]) -> None:
    response = whole(
        {
            "choices": [
                {"index": index, "message": {"content": text}}
                for index, text in zip(indices, "ab", strict=True)
            ]
        }
    )
    assert [(choice.index, choice.content) for choice in response.choices] == [(0, "a"), (1, "b")]


def test_whole_choices_in_another_order_are_sorted_by_their_numbers() -> None:
    response = whole(
        {"choices": [{"index": index, "message": {"content": str(index)}} for index in (2, 0, 1)]}
    )
    assert [(choice.index, choice.content) for choice in response.choices] == [
        (0, "0"),
        (1, "1"),
        (2, "2"),
    ]


def test_entries_of_one_choice_in_an_event_are_one_piece() -> None:
    probability = {"content": [{"token": "x"}]}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":'}}
    entries = [
        {"delta": {"content": "Hel", "reasoning": "wh"}, "logprobs": probability},
        {
            "delta": {"content": "lo", "reasoning": "y", "refusal": "no", "tool_calls": [call]},
            "logprobs": probability,
        },
        {
            "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
            "finish_reason": "stop",
        },
        {"delta": {}},
    ]
    event = {"choices": [{"index": 0, **entry} for entry in entries]}
    before = copy.deepcopy(event)
    chunk = Assembler(lambda: "new").push(event)
    assert (chunk.content, chunk.reasoning, chunk.refusal, chunk.finish_reason) == (
        "Hello",
        "why",
        "no",
        "tool_calls",
    )
    assert "".join(delta.arguments for delta in chunk.tool_calls) == '{"a":1}'
    assert chunk.logprobs == {"content": [{"token": "x"}] * 2}
    assert chunk.other_choices == ()
    assert event == before


# --- logprobs


def test_logprobs_of_a_stream_are_joined() -> None:
    events = [
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": t},
                    "logprobs": {"content": [{"token": t, "logprob": -1}]},
                }
            ]
        }
        for t in "Hi"
    ]
    response, chunks = stream(*events)
    assert response.logprobs == {
        "content": [{"token": "H", "logprob": -1}, {"token": "i", "logprob": -1}]
    }
    assert [chunk.logprobs for chunk in chunks] == [
        {"content": [{"token": t, "logprob": -1}]} for t in "Hi"
    ]


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        pytest.param(
            [{"content": []}, {"content": [{"token": "a"}]}],
            {"content": [{"token": "a"}]},
            id="empty first, no bytes",
        ),
        pytest.param(
            [None, {"content": [{"token": "a"}]}, None],
            {"content": [{"token": "a"}]},
            id="null between",
        ),
        pytest.param(
            [
                {"content": None, "reasoning_content": [{"token": "a"}]},
                {"content": [{"token": "b"}], "reasoning_content": None},
            ],
            {"content": [{"token": "b"}], "reasoning_content": [{"token": "a"}]},
            id="beside reasoning",
        ),
        pytest.param(
            [
                {"tokens": ["a"], "token_logprobs": [-1], "text_offset": [0]},
                {"tokens": ["b"], "token_logprobs": [-2], "text_offset": [1]},
            ],
            {"tokens": ["a", "b"], "token_logprobs": [-1, -2], "text_offset": [0, 1]},
            id="legacy completions",
        ),
        pytest.param([None, None], None, id="none at all"),
    ],
)
def test_logprobs_of_every_shape(pieces: list[Any], joined: Json | None) -> None:
    events = [
        {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": piece}]}
        for piece in pieces
    ]
    before = json.dumps(events)
    assert stream(*events)[0].logprobs == joined
    assert json.dumps(events) == before


# --- text that can always be encoded


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param(["a\ud83d", "\ude00b"], "a😀b", id="cut between two deltas"),
        pytest.param(["a\ud83d", "", "\ude00b"], "a😀b", id="an empty delta between"),
        pytest.param(["a\ud83d", "b"], "a\ufffdb", id="the other half never comes"),
        pytest.param(["a\ud83d"], "a\ufffd", id="cut at the end"),
        pytest.param(["\ude00b"], "\ufffdb", id="only the second half"),
    ],
)
def test_surrogates_are_joined_or_replaced(field: str, pieces: list[str], text: str) -> None:
    response, chunks = stream(
        *[{"choices": [{"delta": {field: piece}}]} for piece in pieces], delta("stop")
    )
    name = "reasoning" if "reasoning" in field else field
    assert getattr(response, name) == text
    assert "".join(getattr(chunk, name) for chunk in chunks) == text
    for chunk in chunks:
        getattr(chunk, name).encode()


def test_a_lone_surrogate_in_a_plain_answer_is_replaced() -> None:
    assert whole(plain(content="a\ud83d")).content == "a\ufffd"


# --- first content


@pytest.mark.parametrize(
    ("event", "started"),
    [
        (delta(content="Hi"), True),
        (delta(reasoning="why"), True),
        (
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]),
            True,
        ),
        (delta(refusal="no"), True),
        (delta("stop"), True),
        (delta(index=1, content="Hi"), True),
        (delta(role="assistant", content=""), False),
        (delta(""), False),
        (delta(content=None, reasoning_content="", refusal=None, tool_calls=[]), False),
        ({"choices": []}, False),
        ({"choices": [], "usage": {"prompt_tokens": 9}}, False),
    ],
)
def test_first_content_is_text_reasoning_a_call_a_refusal_or_a_finish_reason(
    event: Json, started: bool
) -> None:
    assembler = Assembler(lambda: "new")
    assembler.push(event)
    assert assembler.started is started


# --- the raw form


def test_the_raw_form_of_a_stream_reads_as_the_same_plain_answer() -> None:
    response, _ = stream(
        {"id": "x", "model": "m", **delta(role="assistant", reasoning="why", content="H")},
        delta(
            content="i",
            tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}],
            annotations=[1],
        ),
        delta("stop", logprobs=None),
        {"choices": [], "usage": {"prompt_tokens": 9}},
    )
    again = whole(response.raw)
    assert (again.content, again.reasoning, again.finish_reason) == ("Hi", "why", "tool_calls")
    assert [(call.id, call.name, call.arguments) for call in again.tool_calls] == [("a", "f", "{}")]
    assert (again.id, again.model, again.usage) == ("x", "m", response.usage)
    assert again.raw["choices"][0]["message"]["annotations"] == [1]


def test_the_raw_form_of_a_plain_answer_is_the_answer() -> None:
    body = {**plain(content="Hi"), "id": "x", "custom": [1]}
    assert whole(body).raw is body


def test_what_the_server_sent_is_not_changed() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    event = delta(
        content=[{"type": "image"}],
        reasoning_details=[{"index": 0, "type": "t", "text": "w"}],
        tool_calls=[call],
        annotations=[1],
    )
    event["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}
    event["usage"] = {"prompt_tokens_details": {"cached_tokens": 1}}
    before = copy.deepcopy(event)
    stream(event, event, event)
    assert event == before


def test_chunks_carry_the_servers_event() -> None:
    events = [delta(content="Hi"), {"choices": []}]
    assert [chunk.raw for chunk in stream(*events)[1]] == events
