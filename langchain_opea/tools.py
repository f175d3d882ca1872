"""Tools as the protocol writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_opea.schemas import function_of, is_function
from opea_core.adapters import unwrapped


def tools_of(tools: Sequence[Any], strict: bool | None) -> list[dict[str, Any]]:
    """Tools of every kind LangChain has; dicts of a type only the server knows stay as they are."""
    return [_tool(tool, strict) for tool in tools]


def _tool(tool: Any, strict: bool | None) -> dict[str, Any]:
    if is_function(tool):
        return {**tool, "function": function_of(tool, strict)}  # as it was given
    is_schema = (
        unwrapped(tool) is not None or not isinstance(tool, Mapping) or "input_schema" in tool
    )
    if not is_schema and tool.get("type") not in (None, "function", "object"):
        return dict(tool)
    return {"type": "function", "function": function_of(tool, strict)}
