"""Small instances of schemas."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from opea_core.testing.schema import instance


class Part(BaseModel):
    name: str
    parent: Part | None = None


class Whole(BaseModel):
    title: str
    parts: list[Part]
    main: Part
    score: float | None
    tags: dict[str, int]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 4, "multipleOf": 5}, 5),
        ({"type": "number", "minimum": 0.2, "maximum": 0.4}, pytest.approx(0.3)),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 0),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": None}, None),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "string", "examples": ["Bern"]}, "Bern"),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}]},
            ["text", True],
        ),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]}, {"b": "text"}),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 0}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        (
            {
                "allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}],
                "properties": {"b": {"const": 2}},
                "required": ["b"],
            },
            {"a": 1, "b": 2},
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, 0),
        ({"$ref": "#/$defs/missing"}, "text"),
        ({}, "text"),
        (True, None),
    ],
)
def test_the_least_that_fits(schema: Any, value: Any) -> None:
    assert instance(schema) == value


def test_an_instance_of_a_pydantic_model_validates() -> None:
    Whole.model_validate(instance(Whole.model_json_schema()))


def test_a_schema_that_never_ends_ends() -> None:
    endless = {"$ref": "#"}
    assert instance(endless) is not Ellipsis
    nested = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert "a" in instance(nested)
