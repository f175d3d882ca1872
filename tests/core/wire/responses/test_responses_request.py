"""A chat request in the Responses dialect, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core.capabilities import Capabilities
from opea_core.testing.responses_request import chat_request, check_request
from opea_core.types import Json
from opea_core.wire.request import build_body
from opea_core.wire.responses.request import to_responses

USER = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "What it does.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
FLAT = {"type": "function", **FUNCTION, "strict": False}
FORM = {"name": "person", "schema": SCHEMA}
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"


def sent(dropped: frozenset[str] = frozenset(), **fields: Any) -> Json:
    """What is sent of a chat request, beside what every request has."""
    body = build_body({"messages": USER, **fields}, "m", False, Capabilities(dialect="responses"))
    built = to_responses(body, dropped)
    assert {name: built.pop(name) for name in ("model", "stream", "input")} == {
        "model": "m",
        "stream": False,
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
    }
    return built


def more(**fields: Any) -> Json:
    """What is sent for fields of a chat request, beside what is always sent."""
    built = sent(**fields)
    return {name: value for name, value in built.items() if (name, value) not in ALWAYS}


ALWAYS = [("store", False), ("include", [ENCRYPTED])]


def test_answers_are_not_stored_and_reasoning_can_go_back() -> None:
    assert sent() == dict(ALWAYS)


ROWS: list[tuple[Json, Json]] = [
    ({"max_tokens": 7}, {"max_output_tokens": 7}),
    ({"max_completion_tokens": 7}, {"max_output_tokens": 7}),
    ({"max_output_tokens": 7}, {"max_output_tokens": 7}),
    ({"tools": [TOOL]}, {"tools": [FLAT]}),
    (
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
        {"tools": [{**FLAT, "strict": True}]},
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                }
            ]
        },
    ),
    ({"functions": [FUNCTION]}, {"tools": [FLAT]}),
    (
        {"tools": [{"type": "custom", "custom": {"name": "sh", "description": "A shell."}}]},
        {"tools": [{"type": "custom", "name": "sh", "description": "A shell."}]},
    ),
    ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
    ({"tools": [FLAT]}, {"tools": [FLAT]}),
    ({"tools": []}, {}),
    *(
        ({"tools": [TOOL], "tool_choice": choice}, {"tools": [FLAT], "tool_choice": choice})
        for choice in ("auto", "required", "none")
    ),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [FLAT], "tool_choice": {"type": "function", "name": "f"}},
    ),
    (
        {"tools": [TOOL], "function_call": {"name": "f"}},
        {"tools": [FLAT], "tool_choice": {"type": "function", "name": "f"}},
    ),
    (
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        },
        {
            "tools": [FLAT],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            },
        },
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": FORM}},
        {"text": {"format": {"type": "json_schema", **FORM, "strict": False}}},
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {**FORM, "strict": True}}},
        {"text": {"format": {"type": "json_schema", **FORM, "strict": True}}},
    ),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    (
        {"verbosity": "low", "response_format": {"type": "json_object"}},
        {"text": {"verbosity": "low", "format": {"type": "json_object"}}},
    ),
    ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}),
    (
        {"reasoning_effort": "high", "reasoning": {"summary": "auto"}},
        {"reasoning": {"effort": "high", "summary": "auto"}},
    ),
    (
        {"logprobs": True, "top_logprobs": 2},
        {"include": [ENCRYPTED, LOGPROBS], "top_logprobs": 2},
    ),
    ({"logprobs": False}, {}),
    (
        {"include": ["file_search_call.results"]},
        {"include": ["file_search_call.results", ENCRYPTED]},
    ),
    ({"include": [ENCRYPTED]}, {}),
    ({"web_search_options": {}}, {"tools": [{"type": "web_search"}]}),
    (
        {
            "web_search_options": {
                "search_context_size": "low",
                "user_location": {"type": "approximate", "approximate": {"city": "Paris"}},
            }
        },
        {
            "tools": [
                {
                    "type": "web_search",
                    "search_context_size": "low",
                    "user_location": {"type": "approximate", "city": "Paris"},
                }
            ]
        },
    ),
    *(
        ({name: value}, {name: value})
        for name, value in (
            ("temperature", 0.5),
            ("top_p", 0.5),
            ("service_tier", "flex"),
            ("metadata", {"a": "b"}),
            ("user", "u1"),
            ("safety_identifier", "u1"),
            ("prompt_cache_key", "k"),
            ("truncation", "auto"),
            ("max_tool_calls", 3),
            ("background", True),
            ("instructions", "Be brief."),
            # No place in this dialect: some servers take them, the others say that they do not.
            ("stop", ["x"]),
            ("seed", 1),
            ("n", 2),
            ("presence_penalty", 0.5),
            ("frequency_penalty", 0.5),
            ("logit_bias", {"7": 1}),
            ("top_k", 5),
        )
    ),
    (
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [FLAT], "parallel_tool_calls": False},
    ),
]


@pytest.mark.parametrize(("chat", "responses"), ROWS, ids=lambda row: "+".join(row))
def test_a_field_of_chat_stands_where_this_dialect_has_it(chat: Json, responses: Json) -> None:
    assert more(**chat) == responses


@pytest.mark.parametrize("fields", [{"store": True}, {"conversation": "conv_1"}])
def test_what_is_stored_needs_no_encrypted_reasoning(fields: Json) -> None:
    assert "include" not in sent(**fields)


def test_storing_is_the_callers_choice() -> None:
    assert sent(store=True)["store"] is True
    assert sent(store=False) == dict(ALWAYS)


@pytest.mark.parametrize(
    ("refused", "missing"),
    [("include", {"include"}), (ENCRYPTED, {"include"}), ("store", {"include", "store"})],
)
def test_what_was_refused_is_not_added_again(refused: str, missing: set[str]) -> None:
    assert dict(ALWAYS).keys() - sent(frozenset({refused})).keys() == missing


def test_strict_is_left_out_once_it_was_refused() -> None:
    form = {"type": "json_schema", "json_schema": {**FORM, "strict": True}}
    built = sent(frozenset({"strict"}), tools=[TOOL], response_format=form)
    assert "strict" not in built["tools"][0]
    assert "strict" not in built["text"]["format"]


def test_logprobs_come_also_where_encrypted_reasoning_was_refused() -> None:
    assert sent(frozenset({"include"}), logprobs=True)["include"] == [LOGPROBS]


def test_counts_of_streams_are_not_asked_for() -> None:
    body = build_body({"messages": USER}, "m", True, Capabilities(dialect="responses"))
    assert body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in to_responses(body)
    options = {"include_usage": True, "include_obfuscation": False}
    assert to_responses({**body, "stream_options": options})["stream_options"] == {
        "include_obfuscation": False
    }


def test_a_schema_of_ours_is_asked_for_as_one_of_the_callers() -> None:
    body = build_body({"messages": USER}, "m", False, Capabilities(), {**FORM, "strict": True})
    assert to_responses(body)["text"]["format"] == {"type": "json_schema", **FORM, "strict": True}


def test_the_callers_body_stays_as_it_is() -> None:
    body = {"messages": USER, "tools": [TOOL], "include": ["x"], "text": {"verbosity": "low"}}
    before = repr(body)
    to_responses(body)
    assert repr(body) == before


# --- and back


THERE_AND_BACK: Json = {
    "tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {**FORM, "strict": True}},
    "reasoning_effort": "low",
    "max_completion_tokens": 9,
    "logprobs": True,
    "top_logprobs": 1,
    "temperature": 0.5,
}


@pytest.mark.parametrize("names", [[name] for name in THERE_AND_BACK] + [list(THERE_AND_BACK)])
def test_a_server_reads_the_same_request_in_it(names: list[str]) -> None:
    names = ["tools", *names] if names == ["tool_choice"] else names
    asked = {name: THERE_AND_BACK[name] for name in names}
    body = to_responses(asked | {"model": "m", "messages": USER})
    check_request(body)
    assert chat_request(body) == asked | {"model": "m", "messages": USER}
