"""Tools and schemas of every kind LangChain has, as functions of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel

from opea_core.adapters import is_recursive, strict_schema, unwrapped

Function = dict[str, Any]


def function_of(given: Any, strict: bool | None = None) -> Function:
    """A tool or a schema as ``{"name", "description", "parameters", "strict"}``; raises ValueError for what is none.

    LangChain writes references out, and cuts those that lead back to where they are: such schemas are kept
    as they were given.
    """
    form = unwrapped(given)
    if form is not None:
        function = {**form, "parameters": form.pop("schema")}
        function.pop("schema", None)
        return function if strict is None else {**function, "strict": strict}
    function = convert_to_openai_function(given, strict=strict)
    whole = _whole_schema(given)
    if whole is not None and is_recursive(whole):
        parameters = {key: value for key, value in whole.items() if key not in ("title", "description")}
        function["parameters"] = strict_schema(parameters) if strict else parameters
    return function


def _whole_schema(given: Any) -> dict[str, Any] | None:
    """The schema before LangChain changes it, where there is one."""
    schema = given.tool_call_schema if isinstance(given, BaseTool) else given
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    return dict(schema) if isinstance(schema, Mapping) else None
