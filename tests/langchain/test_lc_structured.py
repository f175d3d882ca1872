"""Answers of a given form: every method, every kind of schema, every way to ask."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import pytest
from langchain_core.messages import AIMessage
from lc_object_support import WAYS, Listener, ask, body, made
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_opea.errors import OPEAConfigurationError
from opea_core.testing import ScriptedServer, chat, stream


class Person(BaseModel):
    """A person."""

    name: str = Field(description="first and last")
    age: int


class PersonV1(BaseModelV1):
    """A person."""

    name: str
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: Annotated[str, ..., "first and last"]
    age: int


@dataclasses.dataclass
class PersonData:
    """A person."""

    name: str
    age: int


SCHEMA = {
    "title": "Person",
    "description": "A person.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
FUNCTION = {
    "name": "Person",
    "description": "A person.",
    "parameters": {key: SCHEMA[key] for key in ("type", "properties", "required")},
}
WIRE = {"type": "json_schema", "json_schema": {"name": "Person", "schema": FUNCTION["parameters"]}}

Item = TypeVar("Item")


class Box(BaseModel, Generic[Item]):
    """A box."""

    item: Item


class Team(BaseModel):
    """A team."""

    lead: Person
    others: list[Person] = []
    parent: Team | None = None


_DICT = {"name": "Ann", "age": 7}
SCHEMAS: dict[str, tuple[Any, Any]] = {
    "pydantic": (Person, Person(**_DICT)),
    "pydantic v1": (PersonV1, PersonV1(**_DICT)),
    "TypedDict": (PersonDict, _DICT),
    "JSON schema": (SCHEMA, _DICT),
    "OpenAI function": (FUNCTION, _DICT),
    "dataclass": (PersonData, _DICT),
}
METHODS: tuple[Any, ...] = (None, "json_schema", "function_calling", "json_mode")
TEXT = '{"name": "Ann", "age": 7}'


def answering(text: str = TEXT, finish_reason: str | None = None) -> Callable[[Any], Any]:
    """A script that answers as the request asks:
    a call where one is forced, else text; streamed or not.
    """

    def script(seen: Any) -> Any:
        wanted = seen.body.get("tools")
        if not wanted:
            whole, pieces, finish = (
                chat(text, finish_reason=finish_reason),
                [text[at : at + 5] for at in range(0, len(text), 5)],
                "stop",
            )
        else:
            name = wanted[0]["function"]["name"]
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": name, "arguments": text},
            }
            whole, finish = chat(None, tool_calls=[call], finish_reason=finish_reason), "tool_calls"
            parts = [text[at : at + 5] for at in range(0, len(text), 5)]
            first = {
                "tool_calls": [{"index": 0, **call, "function": {"name": name, "arguments": ""}}]
            }
            pieces = [
                first,
                *(
                    {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
                    for part in parts
                ),
            ]
        return (
            stream(pieces, finish_reason=finish_reason or finish) if seen.body["stream"] else whole
        )

    return script


# --- every combination


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_kind_of_schema(server: ScriptedServer, kind: str, method: Any, way: str) -> None:
    schema, expected = SCHEMAS[kind]
    server.always(answering())
    assert ask(way, made(server).with_structured_output(schema, method=method)) == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_kind_of_schema_with_the_raw_message(
    server: ScriptedServer, kind: str, method: Any, way: str
) -> None:
    schema, expected = SCHEMAS[kind]
    server.always(answering())
    found = ask(way, made(server).with_structured_output(schema, method=method, include_raw=True))
    assert found.keys() == {"raw", "parsed", "parsing_error"}
    assert (found["parsed"], found["parsing_error"]) == (expected, None)
    assert isinstance(found["raw"], AIMessage)
    assert found["raw"].usage_metadata is None or found["raw"].usage_metadata["total_tokens"] > 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["pydantic", "TypedDict"])
def test_standard_blocks_as_content_change_nothing(
    server: ScriptedServer, kind: str, method: Any, way: str
) -> None:
    schema, expected = SCHEMAS[kind]
    server.always(answering())
    assert (
        ask(way, made(server, output_version="v1").with_structured_output(schema, method=method))
        == expected
    )


# --- what is asked for


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [None, "json_schema"])
@pytest.mark.parametrize(
    "kind", ["pydantic", "TypedDict", "JSON schema", "OpenAI function", "dataclass"]
)
def test_a_schema_on_the_wire(server: ScriptedServer, kind: str, method: Any, way: str) -> None:
    server.always(answering())
    ask(way, made(server).with_structured_output(SCHEMAS[kind][0], method=method))
    assert body(server).keys() - {"stream_options"} == {"model", "response_format"}
    form = body(server)["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["name"].startswith("Person")
    assert form["json_schema"]["schema"]["properties"].keys() == {"name", "age"}
    assert form["json_schema"]["schema"]["required"] == ["name", "age"]
    assert form["json_schema"]["description"] == "A person."


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_function_on_the_wire(server: ScriptedServer, kind: str, way: str) -> None:
    server.always(answering())
    ask(way, made(server).with_structured_output(SCHEMAS[kind][0], method="function_calling"))
    [sent] = body(server)["tools"]
    assert sent["function"]["parameters"]["required"] == ["name", "age"]
    assert body(server)["tool_choice"] == {
        "type": "function",
        "function": {"name": sent["function"]["name"]},
    }
    assert body(server)["parallel_tool_calls"] is False
    assert "response_format" not in body(server)


@pytest.mark.parametrize("method", [None, "json_schema"])
def test_a_class_of_pydantic_1_is_asked_for_as_a_function(
    server: ScriptedServer, method: Any
) -> None:
    server.always(answering())
    assert made(server).with_structured_output(PersonV1, method=method).invoke("x") == PersonV1(
        **_DICT
    )
    assert body(server)["tools"][0]["function"]["name"] == "PersonV1"


@pytest.mark.parametrize("way", WAYS)
def test_json_mode_on_the_wire(server: ScriptedServer, way: str) -> None:
    server.always(answering())
    assert ask(way, made(server).with_structured_output(None, method="json_mode")) == _DICT
    assert body(server)["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling"])
def test_strict(server: ScriptedServer, method: Any, strict: bool | None) -> None:
    server.always(answering())
    made(server).with_structured_output(Person, method=method, strict=strict).invoke("x")
    sent = body(server)
    place = (
        sent["tools"][0]["function"]
        if method == "function_calling"
        else sent["response_format"]["json_schema"]
    )
    assert place.get("strict") is strict
    schema = place.get("parameters") or place["schema"]
    assert schema.get("additionalProperties") == (False if strict else None)


@pytest.mark.parametrize("method", METHODS)
def test_options_of_every_call(server: ScriptedServer, method: Any) -> None:
    server.always(answering())
    made(server).with_structured_output(Person, method=method, temperature=0.5, timeout=5).invoke(
        "x"
    )
    assert body(server)["temperature"] == 0.5
    assert "timeout" not in body(server)


@pytest.mark.parametrize(
    ("name", "value"), [("tool_choice", "auto"), ("parallel_tool_calls", True)]
)
def test_an_option_of_the_caller_wins_over_ours(
    server: ScriptedServer, name: str, value: Any
) -> None:
    server.always(answering())
    made(server).with_structured_output(Person, method="function_calling", **{name: value}).invoke(
        "x"
    )
    assert body(server)[name] == value


# --- names


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling"])
@pytest.mark.parametrize(
    ("schema", "text"),
    [(Box[int], '{"item": 3}'), (Box[Person], f'{{"item": {TEXT}}}')],
    ids=["int", "class"],
)
def test_generic_classes_have_a_name_that_servers_take(
    server: ScriptedServer, schema: Any, text: str, method: Any, way: str
) -> None:
    server.always(answering(text))
    assert ask(
        way, made(server).with_structured_output(schema, method=method)
    ) == schema.model_validate_json(text)
    sent = body(server)
    names = [tool["function"]["name"] for tool in sent.get("tools", ())] or [
        sent["response_format"]["json_schema"]["name"]
    ]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)


@pytest.mark.parametrize("method", [None, "json_schema", "function_calling"])
def test_a_title_of_several_words(server: ScriptedServer, method: Any) -> None:
    server.always(answering())
    title = "A person, with name & age " + "and more " * 10
    assert (
        made(server).with_structured_output({**SCHEMA, "title": title}, method=method).invoke("x")
        == _DICT
    )
    sent = body(server)
    name = (
        sent["tools"][0]["function"]["name"]
        if "tools" in sent
        else sent["response_format"]["json_schema"]["name"]
    )
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling"])
def test_nested_classes(server: ScriptedServer, method: Any, way: str) -> None:
    text = f'{{"lead": {TEXT}, "others": [{TEXT}], "parent": {{"lead": {TEXT}}}}}'
    server.always(answering(text))
    assert ask(
        way, made(server).with_structured_output(Team, method=method)
    ) == Team.model_validate_json(text)


# --- streams


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["TypedDict", "JSON schema"])
def test_a_dict_grows_while_it_streams(server: ScriptedServer, kind: str, method: Any) -> None:
    server.always(answering())
    found = list(made(server).with_structured_output(SCHEMAS[kind][0], method=method).stream("x"))
    assert found[-1] == _DICT
    assert len(found) > 2
    assert all(one != other for one, other in itertools.pairwise(found))
    assert all(isinstance(value, dict) and value.keys() <= _DICT.keys() for value in found)


@pytest.mark.parametrize("method", METHODS)
async def test_a_dict_grows_while_it_streams_in_a_loop(server: ScriptedServer, method: Any) -> None:
    server.always(answering())
    found = [
        value
        async for value in made(server).with_structured_output(SCHEMA, method=method).astream("x")
    ]
    assert found[-1] == _DICT
    assert len(found) > 2


@pytest.mark.parametrize("method", METHODS)
def test_an_object_comes_once_at_the_end(server: ScriptedServer, method: Any) -> None:
    server.always(answering())
    assert list(made(server).with_structured_output(Person, method=method).stream("x")) == [
        Person(**_DICT)
    ]


def test_an_empty_object_is_an_answer_where_nothing_is_required(server: ScriptedServer) -> None:
    class Nothing(BaseModel):
        """Nothing is required."""

        word: str = "none"

    server.always(answering("{}"))
    assert list(made(server).with_structured_output(Nothing).stream("x")) == [Nothing()]
    assert list(made(server).with_structured_output({**SCHEMA, "required": []}).stream("x")) == [{}]


# --- wrong use, and what tracers see


def test_an_unknown_method_is_an_error_that_lists_them(server: ScriptedServer) -> None:
    with pytest.raises(OPEAConfigurationError, match="'json_schem'") as caught:
        made(server).with_structured_output(Person, method="json_schem")  # type: ignore[arg-type]
    assert "function_calling, json_schema, json_mode" in caught.value.hint


@pytest.mark.parametrize("method", [None, "json_schema", "function_calling"])
def test_only_json_mode_goes_without_a_schema(server: ScriptedServer, method: Any) -> None:
    with pytest.raises(OPEAConfigurationError, match="needs a schema"):
        made(server).with_structured_output(None, method=method)


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, "Person", 5, int], ids=str)
def test_what_is_no_schema_is_an_error(server: ScriptedServer, schema: Any) -> None:
    with pytest.raises((OPEAConfigurationError, TypeError, ValueError)):
        made(server).with_structured_output(schema)


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
def test_tracers_are_told_the_schema(server: ScriptedServer, kind: str, method: Any) -> None:
    listener = Listener()
    server.always(answering())
    made(server).with_structured_output(SCHEMAS[kind][0], method=method).invoke(
        "x", listener.config
    )
    told = listener.told[0]["options"]["ls_structured_output_format"]
    assert told["schema"]["properties"].keys() == {"name", "age"}
    assert "ls_structured_output_format" not in server.seen[-1].body
