"""Edges of the wire code that no other test touched: each was found by breaking the code there."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from opea_core import OPEA
from opea_core.testing import ScriptedServer
from opea_core.types import ChatResponse, Json, Usage
from opea_core.wire.assemble import Assembler


def delta(finish_reason: Any = None, index: int = 0, **fields: Any) -> Json:
    """An event with one choice."""
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


def whole(*events: Json) -> ChatResponse:
    """The answer that the events make."""
    numbers = count(1)
    assembler = Assembler(lambda: f"new{next(numbers)}")
    for event in events:
        assembler.push(event)
    return assembler.finish()[0]


# --- test_assemble.py: fields of a message that come in pieces


def test_audio_comes_in_pieces() -> None:
    pieces: list[Json] = [
        {"id": "a1", "transcript": "Hel"},
        {"data": "QU"},
        {"data": "JD", "transcript": "lo"},
        {"expires_at": 9},
    ]
    response = whole(*(delta(audio=piece) for piece in pieces), delta("stop"))
    assert response.choices[0].extra["audio"] == {
        "id": "a1",
        "transcript": "Hello",
        "data": "QUJD",
        "expires_at": 9,
    }


def test_a_null_in_audio_takes_nothing_back() -> None:
    response = whole(
        delta(audio={"id": "a1", "data": "QU"}),
        delta(audio={"id": None, "data": None}),
        delta("stop"),
    )
    assert response.choices[0].extra["audio"] == {"id": "a1", "data": "QU"}


def test_annotations_come_one_by_one_or_all_again() -> None:
    one, two = {"url": "http://a"}, {"url": "http://b"}
    response = whole(delta(annotations=[one]), delta(annotations=[one, two]), delta("stop"))
    assert response.choices[0].extra["annotations"] == [one, two]


def test_the_text_of_an_unknown_field_comes_in_pieces() -> None:
    response = whole(delta(mood="cal"), delta(mood="m"), delta(mood=None), delta("stop"))
    assert response.choices[0].extra["mood"] == "calm"


@pytest.mark.parametrize("name", ["id", "type", "status"])
def test_of_what_names_something_the_last_value_counts(name: str) -> None:
    response = whole(delta(item={name: "a"}), delta(item={name: "b"}), delta("stop"))
    assert response.choices[0].extra["item"] == {name: "b"}


BLOCK = {"type": "thinking", "thinking": "", "signature": ""}


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        pytest.param([[1], [2], [2]], [1, 2, 2], id="values"),
        pytest.param(
            [[{"index": 0, "text": "a"}], [{"index": 0, "text": "b"}]],
            [{"index": 0, "text": "ab"}],
            id="by index",
        ),
        pytest.param(
            [
                [{**BLOCK, "thinking": "a"}],
                [{**BLOCK, "thinking": "a"}],
                [{**BLOCK, "signature": "S"}],
                [{**BLOCK, "thinking": "c"}],
            ],
            [{**BLOCK, "thinking": "aa", "signature": "S"}, {**BLOCK, "thinking": "c"}],
            id="until it is signed",
        ),
        pytest.param(
            [[{"type": "a", "text": "x"}], [{"type": "b", "text": "y"}]],
            [{"type": "a", "text": "x"}, {"type": "b", "text": "y"}],
            id="by type",
        ),
        pytest.param(
            [[{"n": 1}, {"n": 1}], [{"n": 2}]], [{"n": 1}, {"n": 1}, {"n": 2}], id="without texts"
        ),
    ],
)
def test_an_unknown_list_comes_in_pieces(pieces: list[list[Any]], joined: list[Any]) -> None:
    response = whole(*(delta(thinking_blocks=piece) for piece in pieces), delta("stop"))
    assert response.choices[0].extra["thinking_blocks"] == joined


def test_what_the_choice_says_wins_over_the_same_name_in_its_message() -> None:
    event = delta("stop", content="x", note="message's")
    event["choices"][0]["note"] = "choice's"
    assert whole(event).choices[0].extra["note"] == "choice's"


def test_usage_inside_of_a_choice_is_the_answers_and_no_field_of_the_choice() -> None:
    event = delta("stop", content="x")
    event["choices"][0]["usage"] = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    response = whole(event)
    assert isinstance(response.usage, Usage)
    assert (response.usage.total_tokens, response.choices[0].extra) == (7, {})


# --- test_tools.py


@pytest.mark.parametrize(
    ("finish_reason", "valid", "invalid"), [("length", 0, 1), ("tool_calls", 1, 0)]
)
def test_no_arguments_are_none_only_if_the_answer_was_not_cut_off(
    finish_reason: str, valid: int, invalid: int
) -> None:
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}
    choice = whole(delta(tool_calls=[call]), delta(finish_reason)).choices[0]
    assert (len(choice.tool_calls), len(choice.invalid_tool_calls)) == (valid, invalid)


# --- test_opea_output_schema.py


def test_a_response_format_of_none_does_not_contradict_a_schema() -> None:
    with ScriptedServer() as server, OPEA(server.url, model="m") as opea:
        opea.chat(
            "x", output_schema={"name": "A", "schema": {"type": "object"}}, response_format=None
        )
        assert server.seen[-1].body["response_format"]["type"] == "json_schema"
