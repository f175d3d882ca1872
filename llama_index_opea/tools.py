"""Tools as the protocol writes them, and calls as LlamaIndex has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection

from opea_core import ConfigurationError
from opea_core.adapters import clean_name, partial_json

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

Json = dict[str, Any]
_CALL_KEYS = frozenset({"function", "id", "type", "name", "args", "input", "arguments"})


def tools_of(tools: Sequence[BaseTool | Mapping[str, Any]], strict: bool) -> list[Json]:
    """Tools as the protocol writes them; dicts stay as they are."""
    return [dict(tool) if isinstance(tool, Mapping) else _tool(tool, strict) for tool in tools]


def strict_schema(schema: Any) -> Any:
    """A schema as strict servers want it: every field is required, and no other is allowed."""
    if isinstance(schema, list):
        return [strict_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    beside = ("$ref", "$defs") if "$ref" in schema else schema  # strict servers take nothing else beside a reference
    schema = {key: value for key, value in schema.items() if key in beside and (key != "default" or value is not None)}
    found = {key: value if key in ("default", "enum", "const", "examples") else strict_schema(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found |= {"additionalProperties": False, "required": list(schema["properties"])}
    return found


def _tool(tool: BaseTool, strict: bool) -> Json:
    metadata = tool.metadata
    parameters = metadata.get_parameters_dict()
    parameters = strict_schema(parameters) if strict else parameters
    function: Json = {"name": clean_name(metadata.get_name()), "description": metadata.description, "parameters": parameters}
    if strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def call_of(call: Any) -> Json:
    """A call in the protocol's form, from a dict or an SDK's object; arguments as they are."""
    if hasattr(call, "model_dump"):
        call = call.model_dump(exclude_none=True)
    elif not isinstance(call, Mapping):
        call = _attributes(call, "id", "function", "name", "arguments")
    function = call.get("function", call)
    if not isinstance(function, Mapping):
        function = _attributes(function, "name", "arguments")
    arguments = next((function[key] for key in ("arguments", "args", "input") if function.get(key) is not None), "")
    extra = {key: value for key, value in call.items() if key not in _CALL_KEYS}
    return {
        **extra,
        "id": call.get("id") or "",
        "type": call.get("type") if call.get("type") not in (None, "tool_use", "tool_call") else "function",
        "function": {"name": function.get("name") or "", "arguments": arguments},
    }


def _attributes(value: Any, *names: str) -> Json:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def selections(message: ChatMessage, partial: bool = False) -> list[ToolSelection]:
    """The calls of a message, from its blocks, else from ``additional_kwargs``; unreadable arguments are ``{}``.

    ``partial``: the message is not whole yet, and arguments are read as far as they go. In a whole message
    cut-off arguments are unreadable: what they would have become nobody knows.
    """
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [_selection(block.tool_call_id, block.tool_name, block.tool_kwargs, partial) for block in blocks]
    known = message.additional_kwargs
    calls = [call_of(call) for call in known.get("tool_calls") or ()]
    if not calls and known.get("function_call"):
        calls = [call_of({"function": known["function_call"]})]
    return [_selection(call["id"], call["function"]["name"], call["function"]["arguments"], partial) for call in calls]


def _selection(id_: str | None, name: str, arguments: Any, partial: bool) -> ToolSelection:
    kwargs = arguments
    if isinstance(arguments, str):
        kwargs = partial_json(arguments) if partial else _object(arguments)
    return ToolSelection(tool_id=id_ or "", tool_name=name, tool_kwargs=kwargs if isinstance(kwargs, dict) else {})


def _object(arguments: str) -> Any:
    try:
        return json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return {}


def first_call_only(response: ChatResponse) -> ChatResponse:
    """The response with one tool call at most, in every place."""
    message = response.message
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    kwargs = dict(message.additional_kwargs)
    dicts = kwargs.get("tool_calls")
    if len(calls) < 2 and not (isinstance(dicts, list) and len(dicts) > 1):
        return response
    if isinstance(dicts, list):
        kwargs["tool_calls"] = dicts[:1]
    gone = {call.tool_call_id for call in calls[1:]}
    invalid = [call for call in kwargs.pop("invalid_tool_calls", ()) if call["id"] not in gone]
    if invalid:
        kwargs["invalid_tool_calls"] = invalid
    others = {id(call) for call in calls[1:]}
    return _changed(response, [block for block in message.blocks if id(block) not in others], kwargs)


def _changed(response: ChatResponse, blocks: list[Any], kwargs: Json) -> ChatResponse:
    return response.model_copy(update={"message": response.message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})})


def names_of(tools: Sequence[BaseTool | Mapping[str, Any]]) -> dict[str, str]:
    """The names of tools that are sent under another one, by that; raises ConfigurationError if two are sent under one."""
    given = [str(tool.metadata.get_name()) for tool in tools if not isinstance(tool, Mapping)]
    found: dict[str, str] = {}
    for name in given:
        if found.setdefault(clean_name(name), name) != name:
            raise ConfigurationError(f"The tools {name!r} and {found[clean_name(name)]!r} would have the same name.", "Rename one of them.")
    return {sent: name for sent, name in found.items() if sent != name}


def with_own_names(response: ChatResponse, names: Mapping[str, str]) -> ChatResponse:
    """The response with tools called as the program calls them."""
    if not names:
        return response
    message = response.message
    blocks: list[Any] = []
    for block in message.blocks:
        own = names.get(block.tool_name) if isinstance(block, ToolCallBlock) else None
        blocks.append(block.model_copy(update={"tool_name": own}) if own else block)
    kwargs = dict(message.additional_kwargs)
    if isinstance(kwargs.get("tool_calls"), list):
        kwargs["tool_calls"] = [
            {**call, "function": {**call["function"], "name": names.get(call["function"]["name"], call["function"]["name"])}}
            for call in kwargs["tool_calls"]
        ]
    return _changed(response, blocks, kwargs)
