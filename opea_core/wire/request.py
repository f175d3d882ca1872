"""Building the body of a request: what the caller gave, as this endpoint takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from opea_core.config import Capabilities
from opea_core.errors import ConfigurationError
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.choice import REASONING_FIELDS

ONLY_JSON = "Answer with one JSON object that fits this JSON schema, and with nothing else:\n"
"""What stands before a schema that is told in words."""
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
_REASONING_KEYS = (*REASONING_FIELDS, "reasoning_details")


def check_messages(messages: Any) -> list[Mapping[str, Any]]:
    """The messages as a list, or ConfigurationError saying what is wrong with them."""
    hint = "Pass a string, or a list of dicts such as {'role': 'user', 'content': 'Hello'}."
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping | bytes) or not isinstance(messages, Sequence):
        raise ConfigurationError(f"messages must be a list of dicts, not {type(messages).__name__}.", hint)
    if not messages:
        raise ConfigurationError("messages is empty.", hint)
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise ConfigurationError(f"messages[{position}] must be a dict, not {type(message).__name__}.", hint)
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
) -> Json:
    """The body as ``capabilities`` say the endpoint takes it; the caller's is not changed.

    ``stream`` None leaves the key out (embeddings). Nulls and empty ``tools`` are never sent. ``left_out``
    is told what the caller gave and does not get, as the server refused it.
    """
    left_out = [] if left_out is None else left_out
    built: Json = {"model": model} if model else {}
    built.update((key, value) for key, value in body.items() if value is not None and not (value == [] and key in ("tools", "stop")))
    if output_schema is not None:
        _ask_for(built, output_schema, capabilities.structured_output)
    pointless = () if "tools" in built else ("parallel_tool_calls", "tool_choice")
    for name in (*pointless, *(() if stream else ("stream_options",))):
        built.pop(name, None)
    if stream is not None:
        built["stream"] = stream
    if capabilities.max_tokens_field:
        for name in _TOKEN_LIMITS:
            if name in built and name != capabilities.max_tokens_field:
                built.setdefault(capabilities.max_tokens_field, built.pop(name))
    if not capabilities.forced_tool_choice and built.get("tool_choice") not in (None, "auto", "none"):
        built["tool_choice"] = "auto"
        left_out.append("tool_choice -> auto")
    if isinstance(built.get("messages"), list):
        built["messages"] = _messages(built["messages"], capabilities)
    for dropped_model, name in capabilities.dropped:
        if dropped_model == model and has_parameter(built, name):
            drop_parameter(built, name)
            left_out.append(name)
    return built


def _ask_for(built: Json, output_schema: Json, how: str | None) -> None:
    """Ask for an answer of a schema; as a tool it is forced, or beside the caller's tools one of them is."""
    if how == "function_calling":
        forced = "required" if "tools" in built else {"type": "function", "function": {"name": output_schema["name"]}}
        built["tools"] = [*built.get("tools", ()), as_tool(output_schema)]
        built.setdefault("tool_choice", forced)
    elif how == "json_mode":
        built["response_format"] = {"type": "json_object"}
        built["messages"] = _with_schema(built.get("messages") or (), output_schema["schema"])
    else:
        built["response_format"] = {"type": "json_schema", "json_schema": output_schema}


def _with_schema(messages: Sequence[Any], schema: Any) -> list[Any]:
    """The messages with the schema in words: ``json_object`` tells a model no more than that JSON is wanted."""
    words = ONLY_JSON + jsontext.encode(schema).decode()
    last = messages[-1] if messages else None
    if not isinstance(last, Mapping) or last.get("role") != "user":
        return [*messages, {"role": "user", "content": words}]
    content = last.get("content")
    parts = [*content, {"type": "text", "text": words}] if isinstance(content, list) else f"{content or ''}\n\n{words}"
    return [*messages[:-1], {**last, "content": parts}]


def as_tool(output_schema: Mapping[str, Any]) -> Json:
    """The form of an answer as a function to be called with it."""
    known = {key: output_schema[key] for key in ("name", "description", "strict") if output_schema.get(key) is not None}
    return {"type": "function", "function": {**known, "parameters": output_schema["schema"]}}


def encode_body(body: Any) -> bytes:
    """The body as JSON; ConfigurationError names what JSON cannot say."""
    try:
        return jsontext.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        bad = next((key for key, value in body.items() if not _sayable(value)), "?") if isinstance(body, dict) else "arguments"
        reason = "a character that cannot be encoded" if isinstance(error, UnicodeError) else str(error)
        raise ConfigurationError(
            f"The request cannot be written as JSON: {bad!r}: {reason}.", "Use plain dicts, lists, strings and finite numbers."
        ) from None


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
        return _dicts(body.get("messages"))
    if name == "strict":
        functions = [tool.get("function") for tool in _dicts(body.get("tools"))]
        return _dicts([*functions, *[form.get("json_schema") for form in _dicts([body.get("response_format")])]])
    return []


def _without(value: Any, key: str) -> Any:
    return {k: v for k, v in value.items() if k != key} if isinstance(value, Mapping) else value


def _inside(value: Any, part: str, key: str) -> Any:
    return {**value, part: _without(value[part], key)} if isinstance(value, Mapping) and part in value else value


def _messages(messages: Sequence[Any], capabilities: Capabilities) -> list[Any]:
    if capabilities.late_system != "keep":
        messages = _early_system(messages, merge=capabilities.late_system == "merge")
    last_user = max((i for i, m in enumerate(messages) if isinstance(m, Mapping) and m.get("role") == "user"), default=-1)
    return [
        _message(message, capabilities, after_last_user=i > last_user) if isinstance(message, Mapping) else message
        for i, message in enumerate(messages)
    ]


def _early_system(messages: Sequence[Any], merge: bool) -> list[Any]:
    """System messages behind others as the user's, or merged into one at the beginning."""
    first = next((i for i, m in enumerate(messages) if not _is_system(m)), len(messages))
    late = [message for message in messages[first:] if _is_system(message)]
    if not late:
        return list(messages)
    if not merge:
        return [*messages[:first], *({**m, "role": "user"} if _is_system(m) else m for m in messages[first:])]
    early = [*messages[:first], *late]
    whole = {**early[0], "content": _joined_contents([message.get("content") for message in early])}
    return [whole, *(message for message in messages[first:] if not _is_system(message))]


def _is_system(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")


def _joined_contents(contents: Sequence[Any]) -> Any:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    return [p for content in contents for p in ([{"type": "text", "text": content}] if isinstance(content, str) else content or ())]


def _message(message: Mapping[str, Any], capabilities: Capabilities, after_last_user: bool) -> Json:
    built = {key: value for key, value in message.items() if value is not None or key == "content"}
    role = built.get("role")
    if role == "developer" and not capabilities.developer_role:
        built["role"] = "system"
    content = built.get("content")
    if capabilities.flatten_text and isinstance(content, list):
        built["content"] = _flattened(content)
    if role == "assistant":
        _assistant(built, capabilities, after_last_user)
    if capabilities.tool_id_length:
        _shorten_ids(built, capabilities.tool_id_length)
    return built


def _assistant(built: Json, capabilities: Capabilities, after_last_user: bool) -> None:
    for key in capabilities.strip_message_keys:
        built.pop(key, None)
    if built.get("tool_calls") is not None:
        if built["tool_calls"]:
            built["tool_calls"] = [_tool_call(call) for call in built["tool_calls"]]
        else:
            del built["tool_calls"]
    if built.get("tool_calls") and not built.get("content"):
        built["content"] = None if capabilities.tool_content == "null" else ""
        if capabilities.tool_content == "omit":
            del built["content"]
    elif "content" in built and built["content"] is None:
        built["content"] = ""
    _reasoning(built, capabilities, after_last_user)


def _reasoning(built: Json, capabilities: Capabilities, after_last_user: bool) -> None:
    """Send an assistant message's reasoning back, or take it out, as the policy says."""
    found = {key: built.pop(key) for key in _REASONING_KEYS if key in built}
    policy = capabilities.send_reasoning
    wanted = policy == "always" or (policy == "tool_turns" and after_last_user and built.get("tool_calls"))
    if wanted and not found and built.get("tool_calls"):
        found = {REASONING_FIELDS[0]: ""}  # a server that wants reasoning back wants the field in every such message
    if not wanted or not found:
        return
    if isinstance(found.get("reasoning_details"), list):
        built["reasoning_details"] = found["reasoning_details"]
    name, text = next(((k, found[k]) for k in REASONING_FIELDS if isinstance(found.get(k), str)), ("", ""))
    if name:
        built[capabilities.reasoning_field or name] = text


def _tool_call(call: Any) -> Any:
    """Outgoing arguments are always a JSON string."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or isinstance(function.get("arguments"), str):
        return call
    arguments = function.get("arguments")
    return {**call, "function": {**function, "arguments": "{}" if arguments is None else encode_body(arguments).decode()}}


def _shorten_ids(built: Json, length: int) -> None:
    if isinstance(built.get("tool_calls"), list):
        built["tool_calls"] = [
            {**call, "id": _short(call["id"], length)} if isinstance(call, Mapping) and isinstance(call.get("id"), str) else call
            for call in built["tool_calls"]
        ]
    if isinstance(built.get("tool_call_id"), str):
        built["tool_call_id"] = _short(built["tool_call_id"], length)


def _short(id_: str, length: int) -> str:
    return id_ if len(id_) <= length else ("call_" + hashlib.sha256(id_.encode()).hexdigest())[:length]


def _flattened(parts: Sequence[Any]) -> Any:
    """Text-only parts as one string; anything with media or other keys stays a list."""
    texts = []
    for part in parts:
        if not (isinstance(part, Mapping) and part.keys() == {"type", "text"} and part["type"] == "text"):
            return parts
        texts.append(part["text"])
    return "".join(texts) if texts and all(isinstance(text, str) for text in texts) else parts


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _sayable(value: Any) -> bool:
    try:
        jsontext.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
