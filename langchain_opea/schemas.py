"""Tools and schemas of every kind LangChain has, as functions of the protocol."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

import typing_extensions
from langchain_core.tools import BaseTool
from langchain_core.tools.base import create_schema_from_function
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from opea_core.adapters import is_recursive, root_written_out, strict_schema, unwrapped

Function = dict[str, Any]
_ABSENT: tuple[Any, ...] = (typing.NotRequired, typing_extensions.NotRequired)
_PRESENT: tuple[Any, ...] = (typing.Required, typing_extensions.Required)


def function_of(given: Any, strict: bool | None = None) -> Function:
    """A tool or a schema as ``{"name", "description", "parameters", "strict"}``.

    Raises ValueError for what is none.

    LangChain writes references out, and cuts those that lead back to where they are: such schemas
    are kept as they were given.
    """
    form = unwrapped(given)
    if form is not None or is_function(given):
        function = (
            dict(given["function"])
            if form is None
            else {key: value for key, value in form.items() if key not in ("schema", "type")}
        )
        function |= {} if form is None else {"parameters": form["schema"]}
        return function if strict is None else {**function, "strict": strict}
    function = _converted(given, strict)
    whole = _whole_schema(given)
    if whole is not None and is_recursive(whole):
        parameters = {
            key: value
            for key, value in root_written_out(whole).items()
            if key not in ("title", "description")
        }
        function["parameters"] = strict_schema(parameters) if strict else parameters
    return function


def is_function(given: Any) -> bool:
    """Whether a dict is a tool as the protocol writes it."""
    return (
        isinstance(given, Mapping)
        and given.get("type") == "function"
        and isinstance(given.get("function"), Mapping)
    )


def _converted(given: Any, strict: bool | None) -> Function:
    """What LangChain makes of it.

    It knows no fields that may be absent, so those of a TypedDict are told afterwards.
    """
    bare, absent = _unmarked(given) if typing_extensions.is_typeddict(given) else (given, set())
    try:
        function = convert_to_openai_function(bare, strict=strict)
    except (TypeError, RecursionError) as error:
        name = getattr(given, "__name__", type(given).__name__)
        raise ValueError(
            f"{name} cannot be written as a JSON schema ({error}); a pydantic class can."
        ) from error
    if absent and not strict:
        parameters = function["parameters"]
        function["parameters"] = {
            **parameters,
            "required": [key for key in parameters.get("required", ()) if key not in absent],
        }
    return function


def _unmarked(typed: Any) -> tuple[Any, set[str]]:
    """A TypedDict without ``Required`` and ``NotRequired``.

    And the names of the fields that may be absent.
    """
    # What it says itself is wrong for annotations as text.
    hints = typing_extensions.get_type_hints(typed, include_extras=True)
    marks = {
        name: get_origin(hint)
        for name, hint in hints.items()
        if get_origin(hint) in (*_ABSENT, *_PRESENT)
    }
    absent = {
        name
        for name in hints
        if marks.get(name) in _ABSENT or (name in typed.__optional_keys__ and name not in marks)
    }
    if not marks:
        return typed, absent
    fields = {name: get_args(hint)[0] if name in marks else hint for name, hint in hints.items()}
    bare = typing_extensions.TypedDict(typed.__name__, fields)  # type: ignore[misc]
    bare.__doc__ = typed.__doc__
    return bare, absent


def _whole_schema(given: Any) -> dict[str, Any] | None:
    """The schema before LangChain changes it, where there is one."""
    schema = given.tool_call_schema if isinstance(given, BaseTool) else given
    if isinstance(schema, Mapping):
        return dict(schema)
    try:
        if not isinstance(schema, type) and callable(schema) and hasattr(schema, "__name__"):
            schema = create_schema_from_function(
                schema.__name__, schema, parse_docstring=True, error_on_invalid_docstring=False
            )
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return schema.model_json_schema()
        return (
            TypeAdapter(schema).json_schema()
            if isinstance(schema, type) and is_dataclass(schema)
            else None
        )
    except (PydanticUserError, TypeError, ValueError, NameError):
        return None  # LangChain has read it in its own way
