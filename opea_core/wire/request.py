"""Building the body of a request: what the caller gave, as this endpoint takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.errors import ConfigurationError
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.messages import messages_for
from opea_core.wire.tool_names import dicts, with_sent_names

ONLY_JSON = "Answer with one JSON object that fits this JSON schema, and with nothing else:\n"
"""What stands before a schema that is told in words."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""What the limit of tokens is called in the chat dialect."""
OUTPUT_LIMIT = "max_output_tokens"
"""And in the Responses dialect."""


def check_messages(messages: Any) -> list[Mapping[str, Any]]:
    """The messages as a list, or ConfigurationError saying what is wrong with them."""
    hint = "Pass a string, or a list of dicts such as {'role': 'user', 'content': 'Hello'}."
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping | bytes) or not isinstance(messages, Sequence):
        raise ConfigurationError(
            f"messages must be a list of dicts, not {type(messages).__name__}.", hint
        )
    if not messages:
        raise ConfigurationError("messages is empty.", hint)
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise ConfigurationError(
                f"messages[{position}] must be a dict, not {type(message).__name__}.", hint
            )
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise ConfigurationError(f"messages[{position}] has no role.", hint)
    return list(messages)


def check_body(body: Any) -> Json:
    """A body as a dict that JSON can say, or ConfigurationError naming the part it cannot."""
    if not isinstance(body, Mapping):
        raise ConfigurationError(f"The request data must be a dict, not {type(body).__name__}.")
    checked = dict(body)
    if "messages" in checked:
        checked["messages"] = check_messages(checked["messages"])
    return checked


def build_body(
    body: Mapping[str, Any],
    model: str,
    stream: bool | None,
    capabilities: Capabilities,
    output_schema: Json | None = None,
    left_out: list[str] | None = None,
    names: dict[str, str] | None = None,
    server: str = "",
) -> Json:
    """The body as ``capabilities`` say the endpoint takes it; the caller's is not changed.

    ``stream`` None leaves the key out (embeddings). Nulls and empty ``tools`` are never sent.
    ``left_out`` is told what the caller gave and does not get, as the server refused it; ``names``
    the caller's own names of tools, by those that are sent.
    """
    left_out = [] if left_out is None else left_out
    built: Json = {"model": model} if model else {}
    # Several servers refuse an empty list, which means nothing (A15).
    empty = ("tools", "stop") if capabilities.prune else ()
    built.update(
        (key, value)
        for key, value in body.items()
        if value is not None and not (value == [] and key in empty)
    )
    if output_schema is not None:
        _ask_for(built, output_schema, capabilities.structured_output)
    # After the schema was asked for, which may have added the only tool.
    if capabilities.prune:
        _prune(built, stream)
    # Always said: several servers guess what a missing one means (A15).
    if stream is not None:
        built["stream"] = stream
    # Streams carry token counts only where they are asked for.
    if stream and capabilities.stream_usage and "stream_options" not in body:
        built["stream_options"] = {"include_usage": True}
    # Some models take only the newer name, and older servers only the other one.
    _name_limit(built, capabilities.max_tokens_field)
    if capabilities.tool_choice != "named":
        _choose_less(built, capabilities.tool_choice, left_out)
    if isinstance(built.get("messages"), list):
        built["messages"] = messages_for(built["messages"], capabilities, server, model)
    for name in sorted(capabilities.dropped):
        if has_parameter(built, name):
            drop_parameter(built, name)
            left_out.append(name)
    # Servers refuse names such as MCP's a/b.c; calls come back under the caller's own (A16).
    if "tools" in built:
        built, own = with_sent_names(built, capabilities.tool_names)
        if names is not None:
            names.update(own)
    return built


def _prune(built: Json, stream: bool | None) -> None:
    """Take out what means nothing, and is refused by some."""
    pointless = () if "tools" in built else ("parallel_tool_calls", "tool_choice")
    for name in (*pointless, *(() if stream else ("stream_options",))):
        built.pop(name, None)


def _name_limit(built: Json, field: str | None) -> None:
    """The limit of tokens under the name that the server takes."""
    for name in TOKEN_LIMITS if field else ():
        if name in built and name != field:
            built.setdefault(str(field), built.pop(name))


def _choose_less(built: Json, most: str, left_out: list[str]) -> None:
    """A tool choice where less may be asked: the named tool alone and ``required``, or ``auto``."""
    choice = built.get("tool_choice")
    if choice in (None, "auto", "none") or (most == "required" and not isinstance(choice, Mapping)):
        return
    # With one tool left it is as good as naming that tool, and the nearest thing taken (A14).
    if most == "required":
        named = dicts([choice.get("function") if isinstance(choice, Mapping) else None])
        only = [
            tool
            for tool in dicts(built.get("tools"))
            if named and (tool.get("function") or {}).get("name") == named[0].get("name")
        ]
        built["tools"] = only or built.get("tools")
    built["tool_choice"] = most
    left_out.append(f"tool_choice -> {most}")


def _ask_for(built: Json, output_schema: Json, how: str | None) -> None:
    """Ask for an answer of a schema.

    As a tool it is forced, or beside the caller's tools one of them is.
    """
    if how == "function_calling":
        forced = (
            "required"
            if "tools" in built
            else {"type": "function", "function": {"name": output_schema["name"]}}
        )
        built["tools"] = [*built.get("tools", ()), as_tool(output_schema)]
        built.setdefault("tool_choice", forced)
    elif how == "json_mode":
        built["response_format"] = {"type": "json_object"}
        built["messages"] = _with_schema(built.get("messages") or (), output_schema["schema"])
    else:
        built["response_format"] = {"type": "json_schema", "json_schema": output_schema}


def _with_schema(messages: Sequence[Any], schema: Any) -> list[Any]:
    """The messages with the schema in words.

    ``json_object`` tells a model no more than that JSON is wanted.
    """
    words = ONLY_JSON + jsontext.encode(schema).decode()
    last = messages[-1] if messages else None
    if not isinstance(last, Mapping) or last.get("role") != "user":
        return [*messages, {"role": "user", "content": words}]
    content = last.get("content")
    parts = (
        [*content, {"type": "text", "text": words}]
        if isinstance(content, list)
        else f"{content or ''}\n\n{words}"
    )
    return [*messages[:-1], {**last, "content": parts}]


def as_tool(output_schema: Mapping[str, Any]) -> Json:
    """The form of an answer as a function to be called with it."""
    known = {
        key: output_schema[key]
        for key in ("name", "description", "strict")
        if output_schema.get(key) is not None
    }
    return {"type": "function", "function": {**known, "parameters": output_schema["schema"]}}


def has_parameter(body: Mapping[str, Any], name: str) -> bool:
    """Whether a built body carries the parameter, wherever it stands."""
    return name in body or any(name in place for place in _inner(body, name))


def drop_parameter(body: Json, name: str) -> None:
    """Take a refused parameter out of a built body, wherever it stands; the caller's dicts stay."""
    body.pop(name, None)
    if name == "name" and isinstance(body.get("messages"), list):
        body["messages"] = [_without(message, name) for message in body["messages"]]
    if name == "strict":
        if isinstance(body.get("tools"), list):
            body["tools"] = [_inside(tool, "function", name) for tool in body["tools"]]
        if "response_format" in body:
            body["response_format"] = _inside(body["response_format"], "json_schema", name)


def _inner(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The places below the top where a parameter of this name may stand."""
    if name == "name":
        return dicts(body.get("messages"))
    if name == "strict":
        functions = [tool.get("function") for tool in dicts(body.get("tools"))]
        return dicts(
            [
                *functions,
                *[form.get("json_schema") for form in dicts([body.get("response_format")])],
            ]
        )
    return []


def _without(value: Any, key: str) -> Any:
    return {k: v for k, v in value.items() if k != key} if isinstance(value, Mapping) else value


def _inside(value: Any, part: str, key: str) -> Any:
    return (
        {**value, part: _without(value[part], key)}
        if isinstance(value, Mapping) and part in value
        else value
    )
