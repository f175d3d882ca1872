"""What a server took and did not do is told with the answer."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core.types import Json
from opea_core.wire.assemble import Assembler
from opea_core.wire.ignored_options import asked_of, ignored

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
FORCED = {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}
SCHEMA: Json = {"name": "a", "schema": {"type": "object", "required": ["age"]}}
COUNTED = {"prompt_tokens": 1, "completion_tokens": 9, "total_tokens": 10}
ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def told(
    body: Json,
    *messages: Json,
    schema: Json | None = None,
    options: Json | None = None,
    **more: Any,
) -> str:
    """All that is told of an answer with these messages as choices."""
    reason = more.pop("finish_reason", "stop")
    choices = [
        {"index": i, "message": m, "finish_reason": reason, **more.pop("choice", {})}
        for i, m in enumerate(messages)
    ]
    assembler = Assembler(lambda: "id", choices=body.get("n") or 1)
    assembler.push({"choices": choices, **more}, plain=True)
    return "; ".join(ignored(asked_of(body, schema, options), assembler.finish("m")[0]))


def called(*names: str) -> Json:
    return {
        "content": None,
        "tool_calls": [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": '{"age": 3}'}}
            for id_, name in zip("12", names, strict=False)
        ],
    }


SAID: Json = {"content": "one END two"}


@pytest.mark.parametrize(
    ("body", "message", "more", "words"),
    [
        ({"n": 3}, SAID, {}, "1 of 3 answers came"),
        ({"logprobs": True}, SAID, {}, "logprobs"),
        (FORCED, SAID, {}, "f was to be called, and no tool was"),
        (FORCED, called("g"), {}, "f was to be called, and g was"),
        ({"tools": TOOLS, "tool_choice": "required"}, SAID, {}, "a tool was to be called"),
        (
            {"tools": TOOLS, "tool_choice": "none"},
            called("f"),
            {},
            "no tool was to be called, and f was",
        ),
        ({"tools": TOOLS}, called("h"), {}, "h was called, which is not one of the tools"),
        (
            {"tools": TOOLS, "parallel_tool_calls": False},
            called("f", "f"),
            {},
            "2 tools were called at once",
        ),
        ({"stop": "END"}, SAID, {}, "stop was ignored"),
        ({"stop": ["x", "END"]}, SAID, {}, "stop was ignored"),
        ({"max_tokens": 5}, SAID, {"usage": COUNTED}, "9 tokens came, max_tokens was 5"),
        ({}, SAID, {"usage": ZEROS}, "its usage is zero"),
        ({}, SAID, {"options": {"include_usage": True}}, "usage was asked for, and none came"),
        (
            {},
            {"content": "", "reasoning_content": "all of it"},
            {},
            "all of the answer is in its reasoning",
        ),
        ({}, {"content": "no JSON"}, {"schema": SCHEMA}, "does not keep to its schema"),
        ({}, {"content": '{"name": 1}'}, {"schema": SCHEMA}, "does not keep to its schema"),
    ],
)
def test_what_was_ignored_is_told(body: Json, message: Json, more: Json, words: str) -> None:
    assert words in told(body, message, **more)


@pytest.mark.parametrize(
    ("body", "message", "more"),
    [
        ({"n": 1, "stop": "END", "max_tokens": 9}, {"content": "one END"}, {"usage": COUNTED}),
        (
            {"logprobs": True},
            SAID,
            {"choice": {"logprobs": {"content": [{"token": "one", "logprob": -1.0}]}}},
        ),
        (FORCED, called("f"), {}),
        (FORCED, {"content": "cut"}, {"finish_reason": "length"}),
        (FORCED, {"content": None, "refusal": "no"}, {}),
        ({"tools": TOOLS, "tool_choice": "auto"}, SAID, {}),
        ({"tools": TOOLS, "tool_choice": "none"}, SAID, {}),
        ({"tools": TOOLS, "parallel_tool_calls": True}, called("f", "f"), {}),
        ({"tools": TOOLS, "parallel_tool_calls": False}, called("f"), {}),
        ({}, {"content": '```json\n{"age": 3}\n```'}, {"schema": SCHEMA}),
        ({}, called("a"), {"schema": SCHEMA}),
        ({"stop": None, "n": None, "max_tokens": None}, SAID, {}),
    ],
)
def test_what_was_kept_is_not(body: Json, message: Json, more: Json) -> None:
    assert told(body, message, **more) == ""


def test_the_limit_of_tokens_holds_for_each_answer() -> None:
    assert told({"n": 2, "max_tokens": 5}, SAID, SAID, usage=COUNTED) == ""
