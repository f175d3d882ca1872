"""JSON out of what a model wrote, counts and batches: what adapters share."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core import Usage
from opea_core.adapters import (
    batches,
    in_call,
    json_text,
    layered,
    may_be_call,
    partial_json,
    read_answer,
    token_counts,
)

OBJECTS = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
    max_size=4,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Here it is: {"a": 1} Good?', {"a": 1}),
        ('<think>{"b": 2}</think>{"a": 1}', {"a": 1}),
        ('thoughts {"b": 2}</think> {"a": 1}', {"a": 1}),
        ('[{"a": 1}]', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "b\nc"}', {"a": "b\nc"}),
        ('{"name": "f", "arguments": {"a": 1}}', {"a": 1}),
        ('{"name": "f", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}', {"a": 1}),
        ('{"name": "other", "arguments": {"a": 1}}', {"name": "other", "arguments": {"a": 1}}),
        ("7", 7),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, 2, ],\n\n}', {"a": [1, 2]}),
        ('{"a": "x, ]", "b": "say \\"{y,}\\"", }', {"a": "x, ]", "b": 'say "{y,}"'}),
        ('```JSON\n{"a": 1,}```', {"a": 1}),
        ('```json {"a": 1} ```', {"a": 1}),
        ('Answer:\n```json\n{"a": 1}\n```\nand {more}', {"a": 1}),
        ('```python\nx = {1}\n```\n{"a": 1}', {"a": 1}),
        ('The set {x} of {some}: {"a": 1,} with {y}', {"a": 1}),
        ('Like {"a": } but {"a": 1}', {"a": 1}),
        ('{{"a": 1}}', {"a": 1}),
        ('{"a": 1}\n\nAs for {x}: no.', {"a": 1}),
        ('I weigh {b} or {"b": 2}.</think>\n\n{"a": 1}', {"a": 1}),
        ('hm</think>\n```json\n{"a": 1}\n```', {"a": 1}),
        ('<think>{b}</think>Sure {x}: {"a": 1,}', {"a": 1}),
        ('{"thought": "</think>", "a": 1}', {"thought": "</think>", "a": 1}),
    ],
)
def test_the_answer_in_a_text(text: str, expected: Any) -> None:
    assert read_answer(text, "f") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "{",
        "<think>{}",
        '<think>{"a": 1}</think>',
        "{x} and {y}",
        '{"a": 1,,}',
        "```json\n```",
        '"no"',
        "[" * 100_000,
        "{x " * 100_000,
    ],
)
def test_no_answer_in_a_text(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the JSON reader says
        read_answer(text, "f")


def test_a_list_of_one_is_an_answer_where_lists_are_wanted() -> None:
    assert read_answer("[5]", is_list=True) == [5]


@given(OBJECTS)
def test_every_object_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert read_answer(json.dumps(value)) == value
    assert partial_json(json.dumps(value)) == value


@given(OBJECTS, st.integers(min_value=0))
def test_a_beginning_is_an_object_or_nothing(value: dict[str, Any], end: int) -> None:
    text = json.dumps(value)
    found = partial_json(text[: end % (len(text) + 1)])
    assert isinstance(found, dict)
    assert found.keys() <= value.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"a": "b', {"a": "b"}), ('{"a": [1, 2', {"a": [1, 2]}), ("", {}), ("[1", {}), ("no", {})],
)
def test_a_cut_object(text: str, expected: Any) -> None:
    assert partial_json(text) == expected


def test_thoughts_without_an_end_have_no_answer_yet() -> None:
    assert json_text('<think>{"a": 1}') == ""


def test_a_beginning_of_a_call() -> None:
    assert may_be_call({"name": "ge"}, "get")
    assert not may_be_call({"name": "set"}, "get")
    assert not may_be_call({"city": "Bern"}, "get")
    assert not may_be_call({}, "get")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(1, 2, 3), (1, 2, 3)),
        (Usage(1, None, 3), (1, 2, 3)),
        (Usage(None, 2, 3), (1, 2, 3)),
        (Usage(1, 2, None), (1, 2, 3)),
        (Usage(None, None, 3), None),
        (Usage(), None),
        (Usage(1, 2, 7, reasoning_tokens=4), (1, 6, 7)),
        (Usage(1, 6, 7, reasoning_tokens=4), (1, 6, 7)),
    ],
)
def test_counts_that_were_left_out_follow_from_the_others(usage: Usage, expected: Any) -> None:
    assert token_counts(usage) == expected


@given(st.lists(st.text(max_size=20), max_size=30), st.integers(1, 10), st.integers(1, 60))
def test_batches_hold_all_texts_in_order_within_their_limits(
    texts: list[str], count: int, size: int
) -> None:
    made = list(batches(texts, count, size))
    assert [text for batch in made for text in batch] == texts
    for batch in made:
        assert 1 <= len(batch) <= count
        assert (
            len(batch) == 1 or sum(len(text.encode("utf-8", "replace")) for text in batch) <= size
        )


def test_later_layers_win_under_either_spelling() -> None:
    options, extra = layered(
        (False, {"max_tokens": 1, "a": 1}),
        (True, {"max_completion_tokens": 2}),
        (False, {"a": 3}),
        (False, None),
    )
    assert (options, extra) == ({"a": 3}, {"max_completion_tokens": 2})


def test_names_of_calls_are_the_cores() -> None:
    assert in_call({"request_timeout": 1, "stop_sequences": ["x"], "b": 2}) == {
        "timeout": 1,
        "stop": ["x"],
        "b": 2,
    }
