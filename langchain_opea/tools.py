"""Tools as the protocol writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_opea.schemas import function_of


def tools_of(tools: Sequence[Any], strict: bool | None) -> list[dict[str, Any]]:
    """Tools of every kind LangChain has; dicts of a type only the server knows stay as they are."""
    return [_tool(tool, strict) for tool in tools]


def _tool(tool: Any, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") not in (None, "function", "object") and "input_schema" not in tool:
        return dict(tool)
    if isinstance(tool, Mapping) and tool.get("type") == "function" and isinstance(tool.get("function"), Mapping):
        function = dict(tool["function"])  # as it was given
        return {**tool, "function": function if strict is None else {**function, "strict": strict}}
    return {"type": "function", "function": function_of(tool, strict)}
