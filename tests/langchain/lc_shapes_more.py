"""Reasoning and usage as odd servers send them, and what they mean."""

from __future__ import annotations

from typing import Any

from lc_asking import Told
from lc_shapes import Json, Shape, body, deltas
from lc_shapes_tools import F, G, entry

from opea_core import Capabilities
from opea_core.testing import chunk, sse

THOUGHT = Told("Hello", "Let me see")
_THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see"}]},
    {"type": "text", "text": "Hello"},
]
_DETAILS = [{"type": "reasoning.text", "text": "Let me see", "index": 0, "signature": "s"}]
_SUMMARY = [{"type": "reasoning.summary", "summary": "Let me see", "index": 0}]
_THINK_TAGS = {"capabilities": Capabilities(think_tags=True)}
_F, _G = entry(0, "a", "f", '{"x":1}'), entry(1, "b", "g", '{"y":2}')


def _spelled(*names: str) -> Shape:
    pieces = [dict.fromkeys(names, text) for text in ("Let ", "me see")]
    return Shape(
        deltas(*pieces, {"content": "Hel"}, {"content": "lo"}),
        THOUGHT,
        body({"content": "Hello"} | dict.fromkeys(names, "Let me see")),
    )


REASONING = {
    "reasoning_content": _spelled("reasoning_content"),
    "reasoning": _spelled("reasoning"),
    "both names": _spelled("reasoning_content", "reasoning"),
    "details only": Shape(
        deltas(
            {"reasoning_details": [{"type": "reasoning.text", "text": "Let ", "index": 0}]},
            {"reasoning_details": [_DETAILS[0] | {"text": "me see"}]},
            {"content": "Hello"},
        ),
        THOUGHT,
        body({"content": "Hello", "reasoning_details": _DETAILS}),
    ),
    "a summary in the details": Shape(
        deltas({"reasoning_details": _SUMMARY}, {"content": "Hello"}),
        THOUGHT,
        body({"content": "Hello", "reasoning_details": _SUMMARY}),
    ),
    "a name and details": Shape(
        deltas({"reasoning": "Let me see", "reasoning_details": _DETAILS}, {"content": "Hello"}),
        THOUGHT,
        body({"content": "Hello", "reasoning": "Let me see", "reasoning_details": _DETAILS}),
    ),
    "encrypted details only": Shape(
        deltas(
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "QUJD", "index": 0}]},
            {"content": "Hello"},
        ),
        Told("Hello"),
        body(
            {
                "content": "Hello",
                "reasoning_details": [{"type": "reasoning.encrypted", "data": "QUJD", "index": 0}],
            }
        ),
    ),
    "a thinking part": Shape(
        deltas({"content": _THINKING[:1]}, {"content": _THINKING[1:]}),
        THOUGHT,
        body({"content": _THINKING}),
    ),
    "a thinking part that is text": Shape(
        deltas({"content": [{"type": "thinking", "thinking": "Let me see"}]}, {"content": "Hello"}),
        THOUGHT,
    ),
    "empty on every chunk of text": Shape(
        deltas(
            {"reasoning_content": "", "content": "Hel"},
            {"reasoning_content": None, "content": "lo"},
        ),
        Told("Hello"),
        body({"content": "Hello", "reasoning_content": ""}),
    ),
    "the whole answer in it": Shape(
        deltas({"reasoning": "Let me see", "content": None}),
        Told("", "Let me see"),
        body({"content": None, "reasoning": "Let me see"}),
    ),
    "text and reasoning in one delta": Shape(
        deltas({"reasoning_content": "Let me see", "content": "Hello"}), THOUGHT
    ),
    "again after the text": Shape(
        deltas(
            {"reasoning": "Let "}, {"content": "Hel"}, {"reasoning": "me see"}, {"content": "lo"}
        ),
        THOUGHT,
    ),
    "it used up the limit": Shape(
        deltas({"reasoning": "Let me see"}, finish="length"),
        Told("", "Let me see", finish="length"),
    ),
    "think tags, left alone": Shape(
        deltas({"content": "<think>Let me see</think>Hello"}),
        Told("<think>Let me see</think>Hello"),
        body({"content": "<think>Let me see</think>Hello"}),
    ),
    "think tags, taken out": Shape(
        deltas({"content": "<thi"}, {"content": "nk>Let me see</th"}, {"content": "ink>Hello"}),
        THOUGHT,
        body({"content": "<think>Let me see</think>Hello"}),
        _THINK_TAGS,
    ),
    "and a call": Shape(
        sse(chunk({"reasoning": "Let me see"}), chunk({"tool_calls": [_F]}, "tool_calls")),
        Told("", "Let me see", (F,), finish="tool_calls"),
        body({"content": None, "reasoning": "Let me see", "tool_calls": [_F]}, "tool_calls"),
    ),
    "and text and two calls": Shape(
        sse(
            chunk({"reasoning": "Let me see"}),
            chunk({"content": "Hello"}),
            chunk({"tool_calls": [_F]}),
            chunk({"tool_calls": [_G]}, "tool_calls"),
        ),
        Told("Hello", "Let me see", (F, G), finish="tool_calls"),
        body({"content": "Hello", "reasoning": "Let me see", "tool_calls": [_F, _G]}, "tool_calls"),
    ),
    "and a call in one delta": Shape(
        sse(
            chunk({"reasoning": "Let me see", "content": "Hello", "tool_calls": [_F]}, "tool_calls")
        ),
        Told("Hello", "Let me see", (F,), finish="tool_calls"),
    ),
    "after a call": Shape(
        sse(
            chunk({"tool_calls": [_F]}),
            chunk({"reasoning": "Let me see"}),
            chunk({"tool_calls": [_G]}, "tool_calls"),
        ),
        Told("", "Let me see", (F, G), finish="tool_calls"),
    ),
}


def _counts(
    input_: int,
    output: int,
    total: int | None = None,
    into: Json | None = None,
    out: Json | None = None,
) -> Json:
    details = {"input_token_details": into, "output_token_details": out}
    return {
        "input_tokens": input_,
        "output_tokens": output,
        "total_tokens": input_ + output if total is None else total,
    } | {name: value for name, value in details.items() if value}


def _used(usage: Any, expected: Any) -> Shape:
    """On a last event without choices, and in a plain answer."""
    return Shape(
        sse(
            chunk({"content": "Hello"}),
            chunk({}, "stop"),
            chunk({}) | {"choices": [], "usage": usage},
        ),
        Told("Hello", usage=expected),
        body({"content": "Hello"}, usage=usage),
    )


_SMALL = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
_9_2 = Told("Hello", usage=_counts(9, 2))


def _early(tokens: Any) -> Json:
    return {"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}


USAGE = {
    "on a last event": _used(_SMALL, _counts(9, 2)),
    "never": _used(None, None),
    "empty": _used({}, None),
    "on the last choice": Shape(
        sse(chunk({"content": "Hello"}), chunk({}, "stop") | {"usage": _SMALL}), _9_2
    ),
    "on a last choice with an empty delta": Shape(
        sse(
            chunk({"content": "Hello"}),
            chunk({}, "stop"),
            chunk({"content": ""}) | {"usage": _SMALL},
        ),
        _9_2,
    ),
    "growing on every event": Shape(
        sse(
            chunk({"content": "Hel"}) | _early(1),
            chunk({"content": "lo"}) | _early(2),
            chunk({}, "stop") | {"usage": _SMALL},
        ),
        _9_2,
    ),
    "twice": Shape(
        sse(
            chunk({"content": "Hello"}),
            chunk({}, "stop") | {"usage": _SMALL},
            {"choices": [], "usage": _SMALL},
        ),
        _9_2,
    ),
    "on the first event only": Shape(
        sse(chunk({"content": "Hello"}) | {"usage": _SMALL}, chunk({}, "stop")), _9_2
    ),
    "nulls do not erase": Shape(
        sse(
            chunk({"content": "Hello"}) | _early(2),
            chunk({}, "stop")
            | {"usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 11}},
        ),
        _9_2,
    ),
    "null on every event but the last": Shape(
        sse(chunk({"content": "Hello"}) | {"usage": None}, chunk({}, "stop") | {"usage": _SMALL}),
        _9_2,
    ),
    "Groq's place": Shape(
        sse(chunk({"content": "Hello"}), chunk({}, "stop") | {"x_groq": {"usage": _SMALL}}), _9_2
    ),
    "before the text": Shape(
        sse({"choices": [], "usage": _SMALL}, chunk({"content": "Hello"}, "stop")), _9_2
    ),
    "no total": _used({"prompt_tokens": 9, "completion_tokens": 2}, _counts(9, 2)),
    "prompt and total": _used({"prompt_tokens": 9, "total_tokens": 11}, _counts(9, 2)),
    "completion and total": _used({"completion_tokens": 2, "total_tokens": 11}, _counts(9, 2)),
    "total only": _used({"total_tokens": 11}, None),
    "counts as floats": _used(
        {"prompt_tokens": 9.0, "completion_tokens": 2.0, "total_tokens": 11.0}, _counts(9, 2)
    ),
    "a total that is more": _used(
        {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 14}, _counts(9, 2, 14)
    ),
    "all details": _used(
        _SMALL
        | {
            "prompt_tokens_details": {
                "cached_tokens": 4,
                "audio_tokens": 1,
                "cache_creation_tokens": 2,
            },
            "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 1},
        },
        _counts(
            9,
            2,
            into={"audio": 1, "cache_read": 4, "cache_creation": 2},
            out={"audio": 1, "reasoning": 1},
        ),
    ),
    "details that are zero": _used(
        _SMALL | {"prompt_tokens_details": {"cached_tokens": 0}},
        _counts(9, 2, into={"cache_read": 0}),
    ),
    "details null": _used(
        _SMALL | {"prompt_tokens_details": None, "completion_tokens_details": None}, _counts(9, 2)
    ),
    "details on every event": Shape(
        sse(
            *[
                chunk({"content": text})
                | {"usage": _SMALL | {"prompt_tokens_details": {"cached_tokens": 4}}}
                for text in ("Hel", "lo")
            ],
            chunk({}, "stop"),
        ),
        Told("Hello", usage=_counts(9, 2, into={"cache_read": 4})),
    ),
    "DeepSeek's cache": _used(
        _SMALL | {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
        _counts(9, 2, into={"cache_read": 4}),
    ),
    "Anthropic's cache": _used(
        _SMALL | {"cache_read_input_tokens": 4, "cache_creation_input_tokens": 3},
        _counts(9, 2, into={"cache_read": 4, "cache_creation": 3}),
    ),
    "cached tokens at the top": _used(
        _SMALL | {"cached_tokens": 4}, _counts(9, 2, into={"cache_read": 4})
    ),
    "reasoning at the top": _used(
        _SMALL | {"reasoning_tokens": 1}, _counts(9, 2, out={"reasoning": 1})
    ),
    "reasoning counted apart, more of it": _used(
        {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 31,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        _counts(9, 22, 31, out={"reasoning": 20}),
    ),
    "reasoning counted apart, less of it": _used(
        {
            "prompt_tokens": 9,
            "completion_tokens": 20,
            "total_tokens": 34,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        _counts(9, 25, 34, out={"reasoning": 5}),
    ),
    "reasoning counted apart, no total": _used(
        {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        _counts(9, 22, 31, out={"reasoning": 20}),
    ),
}
