"""Tools as the protocol writes them, and calls as LlamaIndex has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection

from opea_core.adapters import partial_json, root_written_out, strict_schema

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

Json = dict[str, Any]
NO_OBJECT = "its arguments are no JSON object"
CUT_OFF = "its arguments were cut off at the token limit"
_NOT_RUN = " (it was not run: "
_ADVICE = (
    ("cut off", " Call it again, with shorter arguments."),
    ("arguments", " Call it again, with arguments that are one whole JSON object."),
)
_CALL_KEYS = frozenset({"function", "id", "type", "name", "args", "input", "arguments"})


def tools_of(tools: Sequence[BaseTool | Mapping[str, Any]], strict: bool) -> list[Json]:
    """Tools as the protocol writes them; dicts stay as they are."""
    return [dict(tool) if isinstance(tool, Mapping) else _tool(tool, strict) for tool in tools]


def _tool(tool: BaseTool, strict: bool) -> Json:
    metadata = tool.metadata
    parameters = metadata.get_parameters_dict()
    # LlamaIndex leaves out the reference that is all of it.
    if "type" not in parameters and metadata.fn_schema is not None:
        root = root_written_out(metadata.fn_schema.model_json_schema())
        parameters = {
            key: value for key, value in root.items() if key not in ("title", "description")
        }
    parameters = strict_schema(parameters) if strict else parameters
    function: Json = {
        "name": metadata.get_name(),
        "description": metadata.description,
        "parameters": parameters,
    }
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
    arguments = next(
        (function[key] for key in ("arguments", "args", "input") if function.get(key) is not None),
        "",
    )
    extra = {key: value for key, value in call.items() if key not in _CALL_KEYS}
    return {
        **extra,
        "id": call.get("id") or "",
        "type": call.get("type")
        if call.get("type") not in (None, "tool_use", "tool_call")
        else "function",
        "function": {"name": function.get("name") or "", "arguments": arguments},
    }


def _attributes(value: Any, *names: str) -> Json:
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def selections(message: ChatMessage, partial: bool = False) -> list[ToolSelection]:
    """The calls of a message, from its blocks, else from ``additional_kwargs``.

    ``partial``: the message is not whole yet, and arguments are read as far as they go. In a whole
    message arguments that are no JSON object are unusable: what they would have become nobody
    knows. Such a call gets a name that no tool has, which says why: so no tool runs, and agents
    tell the model.
    """
    known = message.additional_kwargs
    errors = (
        {}
        if partial
        else {call.get("id"): call.get("error") for call in known.get("invalid_tool_calls") or ()}
    )
    return [
        _not_run(call, errors.get(call.tool_id) or NO_OBJECT)
        if kwargs is None or call.tool_id in errors
        else call
        for call, kwargs in _selections(message, partial)
    ]


def _not_run(call: ToolSelection, why: str) -> ToolSelection:
    return ToolSelection(
        tool_id=call.tool_id, tool_name=f"{call.tool_name}{_NOT_RUN}{why})", tool_kwargs={}
    )


def why_not_run(name: str) -> str:
    """What to tell about a call that got its name from ``selections``, as it was not to be run.

    ``""`` for any other name.
    """
    tool, _, why = name.partition(_NOT_RUN)
    if not why:
        return ""
    advice = next((advice for word, advice in _ADVICE if word in why), "")
    return (
        f"The call of {tool or 'a tool without a name'} was not run:"
        f" {why.removesuffix(')')}.{advice}"
    )


def reasons(messages: Sequence[ChatMessage]) -> dict[str, tuple[str, str]]:
    """By the ids of calls that were not run: the names they got, and what to tell the model.

    Agents know only that there is no tool of such a name, and say so in their own words.
    """
    if not any(
        message.role.value == "tool" and _NOT_RUN in (message.content or "") for message in messages
    ):
        return {}
    calls = [
        call
        for message in messages
        if message.role.value == "assistant"
        for call in selections(message)
    ]
    return {
        call.tool_id: (call.tool_name, why)
        for call in calls
        if (why := why_not_run(call.tool_name))
    }


def _selections(message: ChatMessage, partial: bool) -> list[tuple[ToolSelection, Json | None]]:
    """Each call with its arguments; None for arguments that are no object."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [
            _selection(block.tool_call_id, block.tool_name, block.tool_kwargs, partial)
            for block in blocks
        ]
    known = message.additional_kwargs
    calls = [call_of(call) for call in known.get("tool_calls") or ()]
    if not calls and known.get("function_call"):
        calls = [call_of({"function": known["function_call"]})]
    return [
        _selection(call["id"], call["function"]["name"], call["function"]["arguments"], partial)
        for call in calls
    ]


def _selection(
    id_: str | None, name: str, arguments: Any, partial: bool
) -> tuple[ToolSelection, Json | None]:
    kwargs = arguments
    if isinstance(arguments, str):
        kwargs = partial_json(arguments) if partial else _object(arguments)
    kwargs = {} if kwargs is None else kwargs if isinstance(kwargs, dict) else None
    return ToolSelection(tool_id=id_ or "", tool_name=name, tool_kwargs=kwargs or {}), kwargs


def _object(arguments: str) -> Any:
    """What the text of arguments says, decoded twice where it was encoded twice; blank is none."""
    try:
        value = json.loads(arguments, strict=False) if arguments.strip() else {}
        return json.loads(value, strict=False) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return arguments


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
    return _changed(
        response, [block for block in message.blocks if id(block) not in others], kwargs
    )


def _changed(response: ChatResponse, blocks: list[Any], kwargs: Json) -> ChatResponse:
    return response.model_copy(
        update={
            "message": response.message.model_copy(
                update={"blocks": blocks, "additional_kwargs": kwargs}
            )
        }
    )
