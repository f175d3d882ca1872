"""Schemas of tools and of objects reach the server as pydantic writes them:
recursion, unions, enums, defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import pytest
from li_asking import LLMWith
from li_forms import calling, predicted, saying
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field

from opea_core.testing import ScriptedServer


class Tree(BaseModel):
    """A tree."""

    name: str
    branches: list[Tree] = []


class Even(BaseModel):
    rest: Odd | None = None


class Odd(BaseModel):
    rest: Even


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: float = 1.0


class Drawing(BaseModel):
    colour: Colour = Colour.RED
    shape: Circle | Square = Field(discriminator="kind")
    size: int | str | None = None


class Kinds(BaseModel):
    """Values of any kind."""

    scores: dict[str, int] = {"a": 1}
    level: Literal[1, 2, 3] = 2
    pair: tuple[int, str]


ROWS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "recursive": (Tree, {"name": "a", "branches": [{"name": "b", "branches": [{"name": "c"}]}]}),
    "recursive by turns": (Even, {"rest": {"rest": {"rest": None}}}),
    "unions, enums, defaults": (
        Drawing,
        {"colour": "blue", "shape": {"kind": "square", "side": 2.0}, "size": "L"},
    ),
    "dicts and tuples": (Kinds, {"scores": {"b": 2}, "level": 3, "pair": [1, "x"]}),
}


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """All schemas of objects with fields in a schema."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def _references(schema: Any) -> list[str]:
    return sorted(part.split('"')[0] for part in json.dumps(schema).split('"$ref": "')[1:])


def _root(schema: Any) -> Any:
    """A schema whose root is an object, not a reference to one: servers refuse that."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"][name], "$defs": schema["$defs"]} if name else schema


def _plain(schema: Any) -> Any:
    """A schema without its title and description, which LlamaIndex's tools have elsewhere."""
    return {
        key: value
        for key, value in schema.items()
        if key in ("type", "properties", "required", "$defs")
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_schema_is_sent_whole(server: ScriptedServer, llm_with: LLMWith, name: str) -> None:
    cls, value = ROWS[name]
    schema, text = _root(cls.model_json_schema()), json.dumps(value)
    expected = cls.model_validate(value)
    ways = {"structured_predict": None, "astream_structured_predict": PydanticProgramMode.FUNCTION}
    for way, mode in ways.items():
        for strict in (False, True):
            llm = llm_with(strict=strict, **({"pydantic_program_mode": mode} if mode else {}))
            server.script(calling((cls.__name__, text)) if mode else saying(text))
            assert predicted(way, llm, cls) == expected

            body = server.seen[-1].body
            form = body["tools"][0]["function"] if mode else body["response_format"]["json_schema"]
            sent = form["parameters" if mode else "schema"]
            assert _references(sent) == _references(schema)
            assert form.get("strict") is (True if strict else None)
            if strict:
                assert all(each["required"] == list(each["properties"]) for each in _objects(sent))
                assert all(each["additionalProperties"] is False for each in _objects(sent))
            else:
                assert sent == schema


@pytest.mark.parametrize("name", ROWS)
def test_a_tools_schema_is_sent_whole(server: ScriptedServer, llm_with: LLMWith, name: str) -> None:
    cls, value = ROWS[name]
    schema = _root(cls.model_json_schema())
    tool = FunctionTool.from_defaults(
        lambda **given: str(given), name="take", description="Take it.", fn_schema=cls
    )
    for strict in (False, True):
        server.script(calling(("take", json.dumps(value))))
        llm = llm_with(strict=strict)
        (found,) = llm.get_tool_calls_from_response(llm.chat_with_tools([tool], "Hi"))

        assert (found.tool_name, found.tool_kwargs) == ("take", value)
        sent = server.seen[-1].body["tools"][0]["function"]
        assert _references(sent["parameters"]) == _references(schema)
        if strict:
            assert all(
                each["required"] == list(each["properties"])
                for each in _objects(sent["parameters"])
            )
        else:
            assert sent["parameters"] == _plain(schema)
