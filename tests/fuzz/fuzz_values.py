"""What is done to JSON documents: values swapped, renamed, left out, nested, made huge."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

RAW = (
    "1" * 5000, "-" + "9" * 400, "1e999", "-1E400", "NaN", "Infinity", "-Infinity", "-0", "1e-400",
    "0x10", "1_000", "tru", "'x'", "01", "", "[" * 90 + "]" * 90, "[" * 3000 + "]" * 3000,
    "[" * 700, '{"a":' * 90 + "1" + "}" * 90, '{"a":' * 990 + "1" + "}" * 990, '{"a":1,"a":2}',
    '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x41"', '"\t\n"', '"a" "b"', "[1,]",
    '{"a":1,}', "/* x */ 1",
)  # fmt: skip
"""Written into the text of a document as they are."""
TEXTS = (
    "", " ", "0", "-1", "1e999", "NaN", "null", "true", "[]", "{}", '{"a": 1}', '{"a": NaN}',
    '{"a": 1' + "0" * 400 + "}", '{"a": 1e999}', '{"a"',
    '[{"a": 1}]', '"a"', '{"city": "\ud800"}', '{"name": "Ada", "age": "x"}',
    '{"name": "get_weather", "arguments": {"city": "Rome"}}', '{"a":' * 500 + "1" + "}" * 500,
    "[" * 2000, "\ud800", "\udc00a", "a\ud83d", "\ude00", "\x00", "\x1b[31mred", "\u202eabc",
    "\u2028", "\ufeff", "é" * 50, "x" * 3000, "😀", "<think>", "</think>", "<think>a</think>b",
    "<tool_call>{}</tool_call>", "```json\n{", "text/html", "assistant", "user", "system",
    "developer", "tool", "function", "ROLE", "stop", "length", "tool_calls", "content_filter",
    "error", "eos", "get_weather", "get_time", "Person", "person", "unknown_tool", "get_weather\n",
    "functions.get_weather", "a b", "../x", "%s", "{0}", "__class__",
    "text", "image_url", "thinking", "reasoning", "refusal", "input_audio", "output_text",
    "reasoning.encrypted", "server_error", "AACAPgAAAL8AAIA/", "AACAfwAAgP8AAMB/", "AA==", "A",
    "http://[", "data:image/png;base64,x",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 128, 1024, 10**6, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**308,
    10**309, 10**400, -(10**400), 0.0, -0.0, 0.5, 1.5, 1e-320, 1e300, 1.7e308, -1.7e308,
    float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
NAMES = (
    "id", "object", "model", "choices", "index", "message", "delta", "content", "role", "text",
    "tool_calls", "function_call", "function", "name",
    "arguments", "type", "finish_reason", "logprobs", "top_logprobs", "token", "bytes", "usage",
    "error", "detail", "code", "param", "refusal",
    "reasoning", "reasoning_content", "reasoning_details", "thinking", "signature", "annotations",
    "audio", "data", "embedding", "results", "relevance_score", "score", "document", "meta",
    "tokens", "count", "prompt_tokens", "completion_tokens", "total_tokens", "custom",
    "prompt_tokens_details", "completion_tokens_details", "input", "metadata", "headers", "",
    "\ud800", "__proto__", "lc", "blocks", "summary", "message_id", "parsed", "tool_call_id",
    "additional_kwargs", "response_metadata", "generation_info", "$ref", "cost", "timings",
    "warnings",
)  # fmt: skip
_MARK = "@raw%d@"
_Place = tuple[Any, Any]
"""A list or dict, and a key of it."""


def odd(chance: Random) -> Any:
    """A value that may stand anywhere, whatever should."""
    return chance.choice(_ODD)(chance)


def _nested(chance: Random) -> Any:
    value: Any = odd(chance) if chance.random() < 0.5 else 1
    for _ in range(chance.choice((1, 2, 10, 60, 200))):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def _object(chance: Random) -> Any:
    return {
        chance.choice(NAMES): chance.choice(_ODD[:6])(chance)
        for _ in range(chance.choice((0, 1, 3)))
    }


def _list(chance: Random) -> Any:
    return [chance.choice(_ODD[:6])(chance) for _ in range(chance.choice((0, 1, 3, 40)))]


_ODD: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda chance: chance.random() < 0.5,
    lambda chance: chance.choice(NUMBERS),
    lambda chance: chance.choice(TEXTS),
    lambda chance: chance.choice(TEXTS),
    lambda chance: _MARK % chance.randrange(len(RAW)),
    _object,
    _list,
    _nested,
)


def places(document: Any) -> list[_Place]:
    """All places of values, at most a few thousand."""
    found: list[_Place] = []
    waiting = [document]
    while waiting and len(found) < 3000:
        value = waiting.pop()
        keys = (
            range(len(value))
            if isinstance(value, list)
            else list(value)
            if isinstance(value, dict)
            else ()
        )
        found += [(value, key) for key in keys]
        waiting += [value[key] for key in keys]
    return found


def mutated(chance: Random, document: Any) -> Any:
    """The document with a few changes; it is changed itself."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 6))):
        found = places(document)
        if not found or chance.random() < 0.03:
            return odd(chance)
        chance.choice(_CHANGES)(chance, found)
    return document


def _replace(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    where[key] = odd(chance)


def _of_same_kind(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    value = where[key]
    if isinstance(value, str):
        where[key] = chance.choice(TEXTS)
    elif isinstance(value, int | float):
        where[key] = chance.choice(NUMBERS)
    elif isinstance(value, list):
        where[key] = [*value, *value] if chance.random() < 0.5 else [*value[::-1], odd(chance)]
    else:
        where[key] = _object(chance)


def _drop(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    del where[key]


def _rename(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    if isinstance(where, dict):
        where[chance.choice(NAMES)] = where.pop(key)


def _add(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    if isinstance(where, dict):
        where[chance.choice(NAMES)] = odd(chance)
    else:
        where.insert(key, odd(chance))


def _swap(chance: Random, found: list[_Place]) -> None:
    (one, at), (other, there) = chance.choice(found), chance.choice(found)
    one[at], other[there] = copy.deepcopy(other[there]), copy.deepcopy(one[at])


def _wrap(chance: Random, found: list[_Place]) -> None:
    where, key = chance.choice(found)
    where[key] = chance.choice(
        ([where[key]], {chance.choice(NAMES): where[key]}, json.dumps(where[key]))
    )


def _inside(chance: Random, found: list[_Place]) -> None:
    """A change to a document that is the text of another one, as arguments are."""
    texts = [
        (where, key)
        for where, key in found
        if isinstance(where[key], str) and where[key][:1] == "{"
    ]
    if texts:
        where, key = chance.choice(texts)
        with contextlib.suppress(ValueError, RecursionError):
            where[key] = written(chance, mutated(chance, json.loads(where[key]))).decode(
                "utf-8", "surrogatepass"
            )


_CHANGES = (
    _inside,
    _inside,
    _replace,
    _replace,
    _replace,
    _of_same_kind,
    _of_same_kind,
    _drop,
    _rename,
    _add,
    _swap,
    _wrap,
)


def written(chance: Random, document: Any) -> bytes:
    """The document as text, in some spelling;
    lone surrogates may become bytes that are no UTF-8.
    """
    text = json.dumps(
        document,
        ensure_ascii=chance.random() < 0.5,
        separators=chance.choice(((",", ":"), (", ", ": "), (" ,\n", " : "))),
    )
    for number, raw in enumerate(RAW):
        text = text.replace(f'"{_MARK % number}"', raw)
    return text.encode("utf-8", "surrogatepass")
