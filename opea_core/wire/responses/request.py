"""A chat body as a body of the Responses dialect.

Source: https://platform.openai.com/docs/api-reference/responses/create. A field that this dialect
has no place for goes out under its own name: some servers take it, and the others refuse it, which
is learned and reported as any refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.types import Json
from opea_core.wire.request import OUTPUT_LIMIT, TOKEN_LIMITS
from opea_core.wire.responses.input_items import input_items

ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_READ_APART = frozenset(
    {
        "messages",
        "tools",
        "functions",
        "function_call",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "verbosity",
        "logprobs",
        "stream_options",
        "web_search_options",
        *TOKEN_LIMITS,
    }
)
_ADDED = frozenset({"store", "include", "strict", ENCRYPTED})
"""What is sent although the caller did not ask for it; left out once a server refused it."""


def to_responses(body: Mapping[str, Any], dropped: frozenset[str] = frozenset()) -> Json:
    """The same request for ``/v1/responses``; ``dropped``: what the server refused.

    ``strict`` is always said, as it is on by default there and off in chat. ``store`` is off unless
    the caller says otherwise, and then reasoning is asked for in the form that can go back.
    """
    built: Json = {name: value for name, value in body.items() if name not in _READ_APART}
    refused = dropped & _ADDED
    if "store" not in built and "store" not in refused:
        # A client that sends its history needs no copy of it at the server (D5).
        built["store"] = False
    keeps = built.get("store") is True or built.get("conversation") is not None
    built["input"] = input_items(body.get("messages") or (), keeps)
    for name in TOKEN_LIMITS:
        if name in body:
            built.setdefault(OUTPUT_LIMIT, body[name])
    _tools(built, body, "strict" not in refused)
    _text(built, body, "strict" not in refused)
    if "reasoning_effort" in body:
        # What the caller wrote for this very dialect wins.
        built["reasoning"] = {"effort": body["reasoning_effort"], **(built.get("reasoning") or {})}
    include = [*(built.pop("include", None) or ())]
    # Without it the next turn has lost its reasoning, and nothing tells whether a model has any.
    if not keeps and not refused & {"include", "store", ENCRYPTED}:
        include.append(ENCRYPTED)
    if body.get("logprobs"):
        include.append(_LOGPROBS)
    if include:
        # The caller may have asked for the same.
        built["include"] = list(dict.fromkeys(include))
    _stream(built, body)
    return built


def _stream(built: Json, body: Mapping[str, Any]) -> None:
    """Counts come with every stream; nothing else of the chat dialect's stream options is known."""
    options = body.get("stream_options")
    if isinstance(options, Mapping):
        rest = {name: value for name, value in options.items() if name != "include_usage"}
        if rest:
            built["stream_options"] = rest


def _tools(built: Json, body: Mapping[str, Any], says_strict: bool) -> None:
    tools = [_tool(tool, says_strict) for tool in body.get("tools") or ()]
    tools += [
        _tool({"type": "function", "function": one}, says_strict)
        for one in body.get("functions") or ()
    ]
    if "web_search_options" in body:
        tools.append(_web_search(body["web_search_options"] or {}))
    if tools:
        built["tools"] = tools
    choice = body.get("tool_choice", body.get("function_call"))
    if choice is not None:
        built["tool_choice"] = _choice(choice)


def _web_search(options: Mapping[str, Any]) -> Json:
    """Search as a tool; a place stands one level deeper in chat."""
    tool: Json = {"type": "web_search", **options}
    place = tool.get("user_location")
    if isinstance(place, Mapping) and isinstance(place.get("approximate"), Mapping):
        tool["user_location"] = {"type": "approximate", **place["approximate"]}
    return tool


def _tool(tool: Any, says_strict: bool) -> Any:
    """A tool without the level that chat puts its fields on; those of servers go as they are."""
    if not isinstance(tool, Mapping):
        return tool
    kind = tool.get("type", "function")
    inner = tool.get(kind)
    if kind not in ("function", "custom") or not isinstance(inner, Mapping):
        return tool
    flat = {"type": kind, **{k: v for k, v in tool.items() if k not in ("type", kind)}, **inner}
    if kind == "function":
        flat.setdefault("parameters", {"type": "object", "properties": {}})
        # On by default here and off in chat, so the same tool would be another one (D3).
        if says_strict:
            flat["strict"] = bool(inner.get("strict", tool.get("strict", False)))
        else:
            flat.pop("strict", None)
    return flat


def _choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type", "function")
    inner = choice.get(kind, choice if kind == "function" else None)
    if not isinstance(inner, Mapping):
        return choice
    if kind == "allowed_tools":
        return {"type": kind, **inner, "tools": [_choice(one) for one in inner.get("tools") or ()]}
    return {"type": kind, **{k: v for k, v in inner.items() if k != "type"}}


def _text(built: Json, body: Mapping[str, Any], says_strict: bool) -> None:
    """How the answer is to look."""
    text: Json = dict(built.get("text") or {})
    form = body.get("response_format")
    if isinstance(form, Mapping):
        inner = form.get("json_schema")
        if isinstance(inner, Mapping):
            form = {"type": form.get("type", "json_schema"), **inner}
            if says_strict:
                form["strict"] = bool(inner.get("strict", False))
            else:
                form.pop("strict", None)
        text.setdefault("format", dict(form))
    if "verbosity" in body:
        text["verbosity"] = body["verbosity"]
    if text:
        built["text"] = text
