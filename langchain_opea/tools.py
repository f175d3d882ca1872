"""Tools and the choice among them, as the protocol writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_opea.errors import OPEAConfigurationError

_WORDS = ("auto", "none", "required")


def tools_of(tools: Sequence[Any], strict: bool | None) -> list[dict[str, Any]]:
    """Tools of every kind LangChain has; dicts of a type only the server knows stay as they are."""
    return [_tool(tool, strict) for tool in tools]


def _tool(tool: Any, strict: bool | None) -> dict[str, Any]:
    if isinstance(tool, Mapping) and tool.get("type") not in (None, "function", "object") and "input_schema" not in tool:
        return dict(tool)
    return convert_to_openai_tool(tool, strict=strict)


def tool_choice_of(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    """The choice as the protocol writes it; raises OPEAConfigurationError for the name of no tool."""
    if choice is None or choice is False or isinstance(choice, dict):
        return choice or None
    if choice is True or choice == "any":
        return "required"
    if choice in _WORDS:
        return str(choice)
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    if choice in names:
        return {"type": "function", "function": {"name": choice}}
    if any(tool.get("type") == choice for tool in tools):
        return {"type": choice}
    found = get_close_matches(str(choice), names, n=1, cutoff=0.6)
    raise OPEAConfigurationError(
        f"tool_choice={choice!r} is no tool of these.{f' Did you mean {found[0]!r}?' if found else ''}",
        f"There are: {', '.join(names) or 'none'}; or any, auto, none.",
    )
