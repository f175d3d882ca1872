"""Objects in what models really write: prose, fences, thoughts, calls as text,
cut and broken JSON, refusals.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
import written_answers
from li_asking import LLMWith
from li_forms import ANN, PREDICTS, PROMPT, Person, calling, how, objects, predicted, saying, texts
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, RootModel
from thorough import share
from written_answers import PERSON, TEXT, in_way

from llama_index_opea import OPEALLM
from llama_index_opea.errors import StructuredOutputError
from opea_core import OPEAError, RefusalError
from opea_core.testing import ScriptedServer, Seen, chat, json_answer, stream, tool_call

MODES = {
    "schema": PydanticProgramMode.DEFAULT,
    "tool": PydanticProgramMode.FUNCTION,
    "text": PydanticProgramMode.LLM,
}
WRITTEN: dict[str, str] = {
    **written_answers.WRITTEN,
    "in a list": f"[{TEXT}]",
    "encoded twice": json.dumps(TEXT),
    "with the number as text": '{"name": "Ann", "age": "7"}',
    "with a line break in a text": '{"name": "Ann", "age":\n 7}',
}
EVERY_WAY = tuple(product(MODES, PREDICTS))


@pytest.mark.parametrize("case", WRITTEN)
def test_an_object_written_as_text(server: ScriptedServer, llm_with: LLMWith, case: str) -> None:
    server.always(saying(WRITTEN[case]))

    for mode, way in share(EVERY_WAY, list(WRITTEN).index(case), 3):
        with in_way(server, mode, way):
            assert predicted(way, llm_with(pydantic_program_mode=MODES[mode])) == ANN
            assert len(server.seen) == 1


CALLED: dict[str, Any] = {
    "its name": calling(("Person", TEXT)),
    "another name": calling(("respond", TEXT)),
    "after another call": calling(("other", '{"a": 1}'), ("Person", TEXT)),
    "twice": calling(("Person", TEXT), ("Person", '{"name": "Bob", "age": 1}')),
    "beside text": calling(("Person", TEXT), text="Here it is:"),
    "encoded twice": calling(("Person", json.dumps(TEXT))),
    "a raw line break": calling(("Person", '{"name": "Ann",\n"age": 7}')),
    "in a fence": calling(("Person", f"```json\n{TEXT}\n```")),
    "with words behind": calling(("Person", f"{TEXT} and so on")),
    "one in a list": calling(("Person", f"[{TEXT}]")),
}


@pytest.mark.parametrize("case", CALLED)
def test_an_object_in_a_call(server: ScriptedServer, llm_with: LLMWith, case: str) -> None:
    server.always(CALLED[case])

    for way in PREDICTS:
        with in_way(server, way):
            assert predicted(way, llm_with(pydantic_program_mode=MODES["tool"])) == ANN
            assert len(server.seen) == 1


def test_an_object_in_arguments_that_are_an_object(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    server.script(
        chat(
            None,
            tool_calls=[
                tool_call("Person", "x") | {"function": {"name": "Person", "arguments": PERSON}}
            ],
        )
    )

    assert predicted("structured_predict", llm_with(pydantic_program_mode=MODES["tool"])) == ANN


@pytest.mark.parametrize(
    "name",
    [
        "a ```json\n{}\n``` fence",
        "<think>no</think>",
        "Ann } and {",
        "Person",
        "Zo\u00eb \U0001f600 \u2028",
    ],
)
def test_what_stands_inside_the_object_is_left_alone(
    server: ScriptedServer, llm: OPEALLM, name: str
) -> None:
    server.always(saying(json.dumps({"name": name, "age": 7})))

    for way in PREDICTS:
        with in_way(server, way):
            assert predicted(way, llm) == Person(name=name, age=7)


class Numbers(RootModel[list[int]]):
    """Numbers."""


class Call(BaseModel):
    """A class that looks like a call."""

    name: str
    arguments: dict[str, int]


@pytest.mark.parametrize("name", ["f", "Call"])
def test_a_class_that_looks_like_a_call(server: ScriptedServer, llm: OPEALLM, name: str) -> None:
    server.always(saying(json.dumps({"name": name, "arguments": {"x": 1}})))

    for way in PREDICTS:
        with in_way(server, way):
            assert predicted(way, llm, Call) == Call(name=name, arguments={"x": 1})


@pytest.mark.parametrize("text", ["[1, 2]", "[5]", "[]"])
def test_a_class_that_is_a_list(server: ScriptedServer, llm: OPEALLM, text: str) -> None:
    server.always(saying(text))

    for way in PREDICTS:
        with in_way(server, way):
            assert predicted(way, llm, Numbers).root == json.loads(text)
            assert len(server.seen) == 1


# --- once more


UNFIT: dict[str, str] = {
    "words": "I do not know.",
    "nothing": "",
    "null": "null",
    "a number": "42",
    "half": '{"name": "Ann", "ag',
    "a field is missing": '{"name": "Ann"}',
    "a field of the wrong kind": '{"name": "Ann", "age": "old"}',
    "an open thought": "<think>what could it be",
    "a list": "[1, 2]",
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_answer_that_does_not_fit_is_asked_for_once_more(
    server: ScriptedServer, llm_with: LLMWith, case: str
) -> None:
    for mode, way in EVERY_WAY:
        server.script(saying(UNFIT[case]), saying(TEXT))
        with in_way(server, mode, way):
            assert predicted(way, llm_with(pydantic_program_mode=MODES[mode])) == ANN
            assert_asked_again(*server.seen, UNFIT[case])


def assert_asked_again(first: Seen, second: Seen, answer: str) -> None:
    """The second request asks in the same way,
    with the answer to the first and what does not fit.
    """
    assert how(first) == how(second)
    asked, said = texts(first), texts(second)
    if answer:
        assert said[:-1] == [*asked, ("assistant", answer)]
    else:  # no empty message of the assistant, and no two of the user: templates refuse those
        assert said[:-1] == asked[:-1]
        assert said[-1][1].startswith(asked[-1][1])
    role, request = said[-1]
    assert role == "user"
    assert '"properties"' in request.rpartition("does not fit")[2]


@pytest.mark.parametrize("case", UNFIT)
def test_a_second_one_that_does_not_fit_is_an_error_with_its_text(
    server: ScriptedServer, llm: OPEALLM, case: str
) -> None:
    for way in PREDICTS:
        server.script(saying("no"), saying(UNFIT[case]))
        with in_way(server, way):
            with pytest.raises(StructuredOutputError) as caught:
                predicted(way, llm)
            assert caught.value.raw_text == UNFIT[case]
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value, OPEAError)
            assert "Person" in str(caught.value)
            assert len(server.seen) == 2


def test_the_request_says_what_does_not_fit(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(saying('{"name": "Ann", "age": "old"}'), saying(TEXT))

    llm.structured_predict(Person, PROMPT, topic="Ann")

    assert "age:" in texts(server.seen[1])[-1][1]


@pytest.mark.parametrize("way", PREDICTS)
def test_a_server_that_ignores_the_schema(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying("Ann is seven years old."), saying(f"Sorry! ```json\n{TEXT}\n```"))

    assert predicted(way, llm) == ANN


@pytest.mark.parametrize("way", PREDICTS)
def test_options_of_the_call_hold_for_both_requests(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying("no"), saying(TEXT))

    predicted(way, llm, llm_kwargs={"temperature": 0.9})

    assert [seen.body["temperature"] for seen in server.seen] == [0.9, 0.9]


# --- cut, refused, empty


@pytest.mark.parametrize("text", ['{"name": "Ann", "ag', "", "Well, "])
def test_an_answer_cut_at_the_token_limit_names_it(
    server: ScriptedServer, llm_with: LLMWith, text: str
) -> None:
    server.always(saying(text, "length"))

    for mode, way in EVERY_WAY:
        with in_way(server, mode, way):
            with pytest.raises(StructuredOutputError, match="max_tokens") as caught:
                predicted(way, llm_with(pydantic_program_mode=MODES[mode]))
            assert caught.value.raw_text == text
            assert len(server.seen) == 1


@pytest.mark.parametrize("way", PREDICTS)
def test_a_call_cut_at_the_token_limit_names_it(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(calling(("Person", '{"name": "Ann", "ag'), finish_reason="length"))

    with pytest.raises(StructuredOutputError, match="max_tokens"):
        predicted(way, llm_with(pydantic_program_mode=MODES["tool"]))
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", PREDICTS)
def test_a_whole_object_at_the_token_limit_is_an_answer(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying(TEXT, "length"))

    assert predicted(way, llm) == ANN


@pytest.mark.parametrize("way", PREDICTS)
def test_a_refusal_is_an_error_of_its_own(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    document = {
        "choices": [{"message": {"content": None, "refusal": "I won't."}, "finish_reason": "stop"}]
    }
    server.script(
        lambda seen: (
            stream([{"refusal": "I won't."}]) if seen.body["stream"] else json_answer(document)
        )
    )

    with pytest.raises(RefusalError, match=r"I won't\."):
        predicted(way, llm)
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", PREDICTS)
def test_reasoning_beside_the_object_is_no_matter(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    def answer(seen: Seen) -> Any:
        return (
            stream([{"reasoning": '{"name": "Bob"}'}, TEXT])
            if seen.body["stream"]
            else chat(TEXT, reasoning='{"name": "Bob"}')
        )

    server.script(answer)

    assert objects(way, llm)[-1] == ANN


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_is_all_in_the_reasoning_is_called_that(
    server: ScriptedServer, llm_with: LLMWith, mode: str
) -> None:
    def answer(seen: Seen) -> Any:
        if seen.body["stream"]:
            return stream([{"reasoning_content": TEXT[:9]}, {"reasoning_content": TEXT[9:]}])
        return chat("", reasoning=TEXT)

    server.always(answer)
    for way in PREDICTS:
        with pytest.raises(
            StructuredOutputError, match="All of it is in the reasoning; there is no answer"
        ) as caught:
            predicted(way, llm_with(pydantic_program_mode=MODES[mode]))
        assert caught.value.raw_text == ""
        assert "It wrote" not in str(caught.value)
        assert "less reasoning" in str(caught.value)
    assert "All of it is in the reasoning" in str(server.seen[-1].body["messages"][-1]["content"])


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "It is empty"), ("I do not know.", "It is no JSON. It wrote: 'I do not know.'")],
)
def test_an_answer_without_json_is_not_said_to_be_in_the_reasoning(
    server: ScriptedServer, llm: OPEALLM, text: str, why: str
) -> None:
    server.always(saying(text))
    with pytest.raises(StructuredOutputError, match=why):
        predicted("structured_predict", llm)
