"""Schemas of every form, as tools and as forms of answers:
sent as they were given, or an error says why not.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.tools import tool
from lc_asking import ModelWith
from lc_object_support import body
from pydantic import BaseModel, Field

from opea_core.testing import ScriptedServer, chat

Json = dict[str, Any]


class Color(enum.Enum):
    """A color."""

    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    """A tree."""

    value: int
    children: list[Node] = []


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"] = "dog"
    name: str


class Pet(BaseModel):
    """A pet."""

    animal: Cat | Dog = Field(description="which")
    color: Color = Color.RED
    age: int | None = None


class Shelter(BaseModel):
    """A shelter."""

    pet: Pet
    tree: Node


class PetDict(TypedDict):
    """A pet."""

    name: Annotated[str, ..., "how it is called"]
    color: Literal["red", "blue"]
    age: NotRequired[Annotated[int, ..., "in years"]]


class LooseDict(TypedDict, total=False):
    """A pet."""

    name: str


class TreeDict(TypedDict):
    """A tree."""

    children: list[TreeDict]


@dataclasses.dataclass
class Branch:
    """A branch."""

    value: int
    child: Branch | None = None


def plant(tree: Node, color: Color = Color.RED) -> str:
    """Plant a tree.

    Args:
        tree: which
        color: of its leaves
    """
    return f"{tree} {color}"


TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#/$defs/Tree"}},
    "$defs": {"Tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}}}},
}
ROOTED = {"type": "object", "properties": {"left": {"$ref": "#"}}}
FORMS: dict[str, Json] = {
    "a name and a schema": {
        "name": "Tree",
        "description": "A tree.",
        "schema": TREE,
        "strict": True,
    },
    "OpenAI's": {
        "type": "json_schema",
        "json_schema": {"name": "Tree", "description": "A tree.", "schema": TREE, "strict": True},
    },
    "of the Responses API": {
        "type": "json_schema",
        "name": "Tree",
        "description": "A tree.",
        "schema": TREE,
        "strict": True,
    },
    "a function": {
        "type": "function",
        "function": {"name": "Tree", "description": "A tree.", "parameters": TREE, "strict": True},
    },
    "a bare function": {
        "name": "Tree",
        "description": "A tree.",
        "parameters": TREE,
        "strict": True,
    },
    "a schema with a title": {"title": "Tree", "description": "A tree.", "strict": True, **TREE},
    "a schema that refers to its root": {"title": "Tree", "description": "A tree.", **ROOTED},
}
METHODS = (None, "json_schema", "function_calling")


def _as_tool(server: ScriptedServer, model_with: ModelWith, given: Any, **options: Any) -> Json:
    server.script(chat("Hello"))
    model_with().bind_tools([given], **options).invoke("Hi")
    [sent] = body(server)["tools"]
    assert sent.keys() == {"type", "function"}
    function: Json = sent["function"]
    return function


def _as_answer(
    server: ScriptedServer, model_with: ModelWith, given: Any, method: Any, **options: Any
) -> Json:
    server.script(chat("{}"))
    model_with().with_structured_output(given, method=method, include_raw=True, **options).invoke(
        "Hi"
    )
    sent = body(server)
    if "tools" in sent:
        function: Json = sent["tools"][0]["function"]
        return function
    form: Json = dict(sent["response_format"]["json_schema"])
    return {**form, "parameters": form.pop("schema")}


def _everywhere(
    server: ScriptedServer, model_with: ModelWith, given: Any, **options: Any
) -> list[Json]:
    answers = [_as_answer(server, model_with, given, method, **options) for method in METHODS]
    return [_as_tool(server, model_with, given, **options), *answers]


@pytest.mark.parametrize("name", FORMS)
def test_a_schema_in_any_form_is_sent_as_it_was_given(
    server: ScriptedServer, model_with: ModelWith, name: str
) -> None:
    given = FORMS[name]
    for function in _everywhere(server, model_with, given):
        expected = ROOTED if "root" in name else TREE
        assert (function["name"], function["description"]) == ("Tree", "A tree.")
        assert {key: function["parameters"][key] for key in expected} == expected
        assert function.get("strict") is (
            True if "title" not in name and "root" not in name else None
        )


RECURSIVE: dict[str, tuple[Any, str]] = {
    "class": (Node, "Node"),
    "class that holds one": (Shelter, "Node"),
    "dataclass": (Branch, "Branch"),
    "function": (plant, "Node"),
    "tool": (tool(plant), "Node"),
}


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("kind", RECURSIVE)
def test_recursion_is_kept(
    server: ScriptedServer, model_with: ModelWith, kind: str, strict: Any
) -> None:
    given, name = RECURSIVE[kind]
    for function in _everywhere(server, model_with, given, strict=strict):
        parameters = function["parameters"]
        assert parameters["type"] == "object"
        definition = parameters["$defs"][name]
        assert f"'#/$defs/{name}'" in str(definition["properties"])
        if strict:
            assert definition["required"] == list(definition["properties"])
            assert definition["additionalProperties"] is False


def test_unions_enums_and_defaults_are_kept(server: ScriptedServer, model_with: ModelWith) -> None:
    for function in _everywhere(server, model_with, Pet):
        fields = function["parameters"]["properties"]
        assert [option["properties"]["kind"]["const"] for option in fields["animal"]["anyOf"]] == [
            "cat",
            "dog",
        ]
        assert fields["animal"]["description"] == "which"
        assert (fields["color"]["enum"], fields["color"]["default"]) == (["red", "blue"], "red")
        assert fields["age"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
        assert function["parameters"]["required"] == ["animal"]


def test_a_typed_dict_says_what_may_be_absent(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    for function in _everywhere(server, model_with, PetDict):
        fields = function["parameters"]["properties"]
        assert (fields["name"]["description"], fields["age"]["description"]) == (
            "how it is called",
            "in years",
        )
        assert fields["color"]["enum"] == ["red", "blue"]
        assert function["parameters"]["required"] == ["name", "color"]
    for function in _everywhere(server, model_with, LooseDict):
        assert function["parameters"].get("required", []) == []


def test_what_is_no_schema_is_refused_and_named(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    for given in (
        TreeDict,
        {"type": "object", "properties": {}},
        {"type": "json_schema", "json_schema": {"name": "Tree"}},
    ):
        with pytest.raises(ModelInvalidRequestError, match="The schema must be"):
            model_with().with_structured_output(given)
    with pytest.raises(
        ValueError, match=r"TreeDict cannot be written as a JSON schema .*; a pydantic class can"
    ):
        model_with().bind_tools([TreeDict])
    assert server.seen == []


def test_a_recursive_answer_is_read(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(chat('{"value": 1, "children": [{"value": 2}]}'))

    assert model_with().with_structured_output(Node).invoke("Hi") == Node(
        value=1, children=[Node(value=2)]
    )
