"""JSON schemas as callers give them: unwrapped, strict, and with their recursion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.types import Json


def unwrapped(form: Any) -> Json | None:
    """A schema in one of OpenAI's forms; None for any other value.

    Gives ``{"name", "schema", "strict", "description"}``.

    The forms: ``{"name": ..., "schema": {...}}``, and that below
    ``{"type": "json_schema", "json_schema": ...}``.
    """
    if (
        isinstance(form, Mapping)
        and form.get("type") == "json_schema"
        and isinstance(form.get("json_schema"), Mapping)
    ):
        form = form["json_schema"]
    if (
        not isinstance(form, Mapping)
        or not isinstance(form.get("name"), str)
        or not isinstance(form.get("schema"), Mapping)
    ):
        return None
    return dict(form)


def strict_schema(schema: Any) -> Any:
    """A schema as strict servers want it: every field is required, and no other is allowed."""
    if isinstance(schema, list):
        return [strict_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # Strict servers take nothing else beside a reference.
    beside = ("$ref", "$defs") if "$ref" in schema else schema
    schema = {
        key: value
        for key, value in schema.items()
        if key in beside and (key != "default" or value is not None)
    }
    found = {
        key: value if key in ("default", "enum", "const", "examples") else strict_schema(value)
        for key, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found |= {"additionalProperties": False, "required": list(schema["properties"])}
    return found


def root_written_out(schema: Json) -> Json:
    """A schema that is all one reference, with what it refers to in its place.

    Servers want an object at the root.
    """
    target = schema.get("$defs", {}).get(str(schema.get("$ref", "")).rpartition("/")[2])
    return (
        {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        if isinstance(target, Mapping)
        else schema
    )


def is_recursive(schema: Any) -> bool:
    """Whether a schema refers to itself: such references cannot be written out."""
    definitions = (
        schema.get("$defs") or schema.get("definitions") if isinstance(schema, Mapping) else None
    )
    if not isinstance(definitions, Mapping):
        return False
    refers = {name: _references(definition) for name, definition in definitions.items()}
    return any(_reaches(name, name, refers, set()) for name in refers)


def _references(schema: Any) -> set[str]:
    """The names of definitions that a schema refers to."""
    if isinstance(schema, list):
        return {name for part in schema for name in _references(part)}
    if not isinstance(schema, Mapping):
        return set()
    own = schema.get("$ref")
    found = {own.rpartition("/")[2]} if isinstance(own, str) else set()
    return found.union(*(_references(value) for value in schema.values()))


def _reaches(start: str, goal: str, refers: Mapping[str, set[str]], seen: set[str]) -> bool:
    for name in refers.get(start, set()) - seen:
        seen.add(name)
        if name == goal or _reaches(name, goal, refers, seen):
            return True
    return False
