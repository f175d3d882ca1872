"""Tools that the server ran by itself, as LangChain's standard blocks.

Source: the items of https://platform.openai.com/docs/api-reference/responses/object#output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    "code_interpreter_call": "code_interpreter",
    "file_search_call": "file_search",
    "image_generation_call": "image_generation",
    "mcp_call": "remote_mcp",
    "mcp_list_tools": "mcp_list_tools",
    "tool_search_call": "tool_search",
    "web_search_call": "web_search",
    "x_search_call": "x_search",
}
_ARGUMENTS = ("action", "arguments", "queries", "code", "container_id", "name", "server_label")
_RESULTS = ("outputs", "output", "results", "tools")
_FAILED = ("failed", "incomplete", "cancelled")


def as_server_tool(part: Any) -> list[dict[str, Any]] | None:
    """The call and its result; None for what is not such an item."""
    name = _NAMES.get(str(part.get("type"))) if isinstance(part, Mapping) else None
    if name is None or part.get("result"):  # an image that was drawn is an image
        return None
    id_ = str(part.get("id") or part.get("call_id") or "")
    action = part.get("action")
    args = {key: part[key] for key in _ARGUMENTS[1:] if part.get(key) is not None}
    call = {
        "type": "server_tool_call",
        "id": id_,
        "name": name,
        "args": {**(action if isinstance(action, Mapping) else {}), **args},
    }
    result: dict[str, Any] = {
        "type": "server_tool_result",
        "tool_call_id": id_,
        "status": "error" if part.get("error") or part.get("status") in _FAILED else "success",
    }
    found = {key: part[key] for key in (*_RESULTS, "error") if part.get(key) is not None}
    if found:
        result["output"] = found
    return [call, result]
