"""Answers as models really write them: calls as text, fences, thoughts, cut or broken JSON,
refusals. Never None.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from lc_object_support import WAYS, ask, made
from pydantic import BaseModel
from thorough import share
from written_answers import PERSON, TEXT, WRITTEN, in_way

import opea_core as core
from langchain_opea.errors import OPEARefusalError
from opea_core.testing import Answer, ScriptedServer, chat, json_answer, stream


class Person(BaseModel):
    """A person."""

    name: str
    age: int


SCHEMA = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
KINDS: dict[str, tuple[Any, Any]] = {"class": (Person, Person(**PERSON)), "dict": (SCHEMA, PERSON)}
"""Kinds of schemas, and the person in each."""
METHODS: tuple[Any, ...] = (None, "json_schema", "function_calling", "json_mode")


def _said(way: str, text: str, finish_reason: str = "stop") -> Answer:
    """An answer that is text, streamed in small pieces where the way streams."""
    if way.endswith("invoke"):
        return chat(text, finish_reason=finish_reason)
    return stream(
        [text[at : at + 4] for at in range(0, len(text), 4)] or [""], finish_reason=finish_reason
    )


def _called(way: str, *calls: tuple[str, str], finish_reason: str = "tool_calls") -> Answer:
    """An answer that calls functions with these arguments."""
    whole = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": text}}
        for n, (name, text) in enumerate(calls)
    ]
    if way.endswith("invoke"):
        return chat(None, tool_calls=whole, finish_reason=finish_reason)
    return stream(
        [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(whole)],
        finish_reason=finish_reason,
    )


def _asked(server: ScriptedServer, way: str, schema: Any, answer: Answer, **options: Any) -> Any:
    server.script(answer)
    return ask(way, made(server).with_structured_output(schema, **options))


# --- a forced call that comes back as text


@pytest.mark.parametrize("case", WRITTEN)
def test_an_answer_written_as_text(server: ScriptedServer, case: str) -> None:
    for kind, way in share(product(KINDS, WAYS), list(WRITTEN).index(case), 2):
        schema, expected = KINDS[kind]
        with in_way(server, kind, way):
            assert (
                _asked(server, way, schema, _said(way, WRITTEN[case]), method="function_calling")
                == expected
            )


@pytest.mark.parametrize("case", WRITTEN)
def test_what_streams_meanwhile_belongs_to_the_answer(server: ScriptedServer, case: str) -> None:
    server.script(_said("stream", WRITTEN[case]))
    for so_far in (
        made(server).with_structured_output(SCHEMA, method="function_calling").stream("x")
    ):
        assert so_far.keys() <= PERSON.keys()
        assert all(str(PERSON[key]).startswith(str(value)) for key, value in so_far.items())


@pytest.mark.parametrize("case", ["in a fence", "after thoughts", "among words"])
def test_every_method_reads_text_leniently(server: ScriptedServer, case: str) -> None:
    for method, way in product(METHODS, WAYS):
        with in_way(server, method, way):
            assert _asked(server, way, Person, _said(way, WRITTEN[case]), method=method) == Person(
                **PERSON
            )


@pytest.mark.parametrize(
    "inside",
    [
        {"name": "a ```json\n{}\n``` fence", "age": 7},
        {"name": "<think>not a thought</think>", "age": 7},
        {"name": "Ann } and {", "age": 7},
        {"name": "Person", "age": 7},
        {"name": "Zoë 😀 \u2028", "age": 7},
    ],
    ids=lambda value: value["name"][:12],
)
def test_what_stands_inside_the_answer_is_left_alone(
    server: ScriptedServer, inside: dict[str, Any]
) -> None:
    for way in WAYS:
        with in_way(server, way):
            assert _asked(server, way, SCHEMA, _said(way, json.dumps(inside))) == inside


@pytest.mark.parametrize("way", WAYS)
def test_raw_control_characters_are_tolerated(server: ScriptedServer, way: str) -> None:
    assert _asked(server, way, SCHEMA, _said(way, '{"name": "An\nn", "age": 7}')) == {
        "name": "An\nn",
        "age": 7,
    }


@pytest.mark.parametrize("name", ["Person", "person", "respond"])
def test_a_call_under_another_name_is_the_answer(server: ScriptedServer, name: str) -> None:
    for way in WAYS:
        with in_way(server, way):
            assert _asked(
                server, way, Person, _called(way, (name, TEXT)), method="function_calling"
            ) == Person(**PERSON)


@pytest.mark.parametrize("way", WAYS)
def test_of_several_calls_the_first_of_the_schema_counts(server: ScriptedServer, way: str) -> None:
    answer = _called(
        way, ("other", '{"a": 1}'), ("Person", TEXT), ("Person", '{"name": "Bob", "age": 1}')
    )
    assert _asked(server, way, Person, answer, method="function_calling") == Person(**PERSON)


@pytest.mark.parametrize("way", WAYS)
def test_arguments_that_came_as_an_object(server: ScriptedServer, way: str) -> None:
    call = {
        "index": 0,
        "id": "a",
        "type": "function",
        "function": {"name": "Person", "arguments": PERSON},
    }
    answer = (
        chat(None, tool_calls=[call])
        if way.endswith("invoke")
        else stream([{"tool_calls": [call]}], finish_reason="tool_calls")
    )
    assert _asked(server, way, Person, answer, method="function_calling") == Person(**PERSON)


# --- what is no answer


BROKEN: dict[str, str] = {
    "words": "I do not know.",
    "nothing": "",
    "null": "null",
    "a number": "42",
    "a number and words": "5 is my favourite.",
    "a text": '"hello"',
    "true": "true",
    "a list": "[1, 2]",
    "half": '{"name": "Ann", "ag',
    "without the last bracket": '{"name": "Ann", "age": 7',
    "without quotes": "{name: Ann, age: 7}",
    "an open thought": "<think>what could it be",
    "an empty fence": "```json\n```",
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_raises_with_the_text(server: ScriptedServer, case: str) -> None:
    for kind, way in share(product(KINDS, WAYS), list(BROKEN).index(case), 2):
        with in_way(server, kind, way):
            with pytest.raises(OutputParserException) as caught:
                _asked(server, way, KINDS[kind][0], _said(way, BROKEN[case]))
            assert caught.value.llm_output == BROKEN[case]
            assert repr(BROKEN[case]) in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_raises_for_what_is_no_answer(server: ScriptedServer, method: Any) -> None:
    for way in WAYS:
        with in_way(server, way), pytest.raises(OutputParserException):
            _asked(server, way, Person, _said(way, "I do not know."), method=method)


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_is_a_parsing_error_beside_the_raw_message(
    server: ScriptedServer, case: str
) -> None:
    for way in share(WAYS, list(BROKEN).index(case), 2):
        with in_way(server, way):
            found = _asked(server, way, SCHEMA, _said(way, BROKEN[case]), include_raw=True)
            assert found["parsed"] is None
            assert isinstance(found["parsing_error"], OutputParserException)
            assert found["raw"].text == BROKEN[case]


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_does_not_fit_says_where(server: ScriptedServer, way: str) -> None:
    with pytest.raises(
        OutputParserException, match=r"does not fit Person: 1 validation error.*\nage"
    ) as caught:
        _asked(server, way, Person, _said(way, '{"name": "Ann", "age": "old"}'))
    assert caught.value.llm_output == '{"name": "Ann", "age": "old"}'


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_text_that_was_cut_off_says_so(server: ScriptedServer, method: Any) -> None:
    for kind, way in product(KINDS, WAYS):
        with in_way(server, kind, way):
            with pytest.raises(OutputParserException, match="max_tokens") as caught:
                _asked(
                    server,
                    way,
                    KINDS[kind][0],
                    _said(way, '{"name": "Ann", "age": 7', "length"),
                    method=method,
                )
            assert caught.value.llm_output == '{"name": "Ann", "age": 7'


CUT = [
    '{"name": "Ann", "age": 7',
    '{"name": "An',
    '{"name": "Ann",',
    "{",
    '{"name": "Ann", "age": 7}}',
]


@pytest.mark.parametrize("arguments", CUT)
def test_a_call_with_broken_arguments_raises_with_them(
    server: ScriptedServer, arguments: str
) -> None:
    for kind, way in product(KINDS, WAYS):
        answer = _called(way, ("Person", arguments), finish_reason="length")
        with in_way(server, kind, way):
            with pytest.raises(OutputParserException) as caught:
                _asked(server, way, KINDS[kind][0], answer, method="function_calling")
            assert caught.value.llm_output == arguments


@pytest.mark.parametrize("way", WAYS)
def test_a_call_without_arguments_does_not_fit(server: ScriptedServer, way: str) -> None:
    with pytest.raises(OutputParserException, match="does not fit Person"):
        _asked(server, way, Person, _called(way, ("Person", "")), method="function_calling")


# --- refusals


def _refused(way: str) -> Answer:
    if way.endswith("invoke"):
        message = {"role": "assistant", "content": None, "refusal": "I cannot help."}
        return json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    return stream([{"refusal": "I cannot "}, {"refusal": "help."}])


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_is_an_error_of_its_own(server: ScriptedServer, method: Any) -> None:
    for kind, way in product(KINDS, WAYS):
        with in_way(server, kind, way):
            with pytest.raises(OPEARefusalError, match=r"I cannot help\.") as caught:
                _asked(server, way, KINDS[kind][0], _refused(way), method=method)
            assert isinstance(caught.value, core.RefusalError)
            assert caught.value.is_retryable is False


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_beside_the_raw_message(server: ScriptedServer, way: str) -> None:
    found = _asked(server, way, Person, _refused(way), include_raw=True)
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OPEARefusalError)
    assert found["raw"].additional_kwargs["refusal"] == "I cannot help."


@pytest.mark.parametrize("way", WAYS)
def test_without_a_schema_a_refusal_is_part_of_the_message(
    server: ScriptedServer, way: str
) -> None:
    server.script(_refused(way))
    assert ask(way, made(server)).additional_kwargs["refusal"] == "I cannot help."
