"""Requests of the Responses dialect, read strictly, and as the scripted model knows them.

Source: https://platform.openai.com/docs/api-reference/responses/create, the pairs of items by what
OpenAI's servers refuse.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opea_core.testing.answers import Answer, Json, error

BLOB = "scripted."
"""What encrypted reasoning of the scripted server begins with."""
THOUGHTFUL = "_thought_"
"""In the id of an item that followed reasoning: it may not come back without that."""
CALLS = ("function_call", "custom_tool_call")
_FIELDS = frozenset(
    {
        "background", "context_management", "conversation", "include", "input", "instructions",
        "max_output_tokens", "max_tool_calls", "metadata", "model", "parallel_tool_calls",
        "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning",
        "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature",
        "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
    }
)  # fmt: skip
_ITEM_FIELDS: Mapping[str, frozenset[str]] = {
    "message": frozenset({"type", "role", "content", "id", "status", "phase"}),
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content", "status"}),
    "function_call": frozenset(
        {"type", "id", "call_id", "name", "arguments", "status", "namespace", "caller"}
    ),
    "function_call_output": frozenset({"type", "id", "call_id", "output", "status"}),
    "custom_tool_call": frozenset({"type", "id", "call_id", "name", "input"}),
    "custom_tool_call_output": frozenset({"type", "id", "call_id", "output"}),
}
"""Of items that a client makes; those of tools that the server runs are taken as they are."""
_PART_FIELDS: Mapping[str, frozenset[str]] = {
    "input_text": frozenset({"type", "text"}),
    "input_image": frozenset({"type", "image_url", "file_id", "detail"}),
    "input_audio": frozenset({"type", "input_audio"}),
    "input_file": frozenset({"type", "file_data", "file_id", "file_url", "filename", "detail"}),
    "output_text": frozenset({"type", "text", "annotations", "logprobs"}),
    "refusal": frozenset({"type", "refusal"}),
}
_TOOL_FIELDS: Mapping[str, frozenset[str]] = {
    "function": frozenset({"type", "name", "description", "parameters", "strict", "defer_loading"}),
    "custom": frozenset({"type", "name", "description", "format"}),
}
_FORMAT_FIELDS = frozenset({"type", "name", "description", "schema", "strict"})


class Refused(Exception):
    """What a strict server does not take."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def refusal_of(body: Any) -> Answer | None:
    """400 in the protocol's words for what a strict server refuses; None for a right request."""
    try:
        check_request(body)
    except Refused as refused:
        return error(
            400,
            str(refused),
            type="invalid_request_error",
            param=refused.param,
            code=refused.code,
        )
    return None


def check_request(body: Any) -> None:
    """Raise Refused for what the create request does not allow."""
    _need(isinstance(body, dict), "The body is no JSON object.")
    _only(body, _FIELDS, "")
    given = body.get("input")
    _need(isinstance(given, str | list), "input must be text or items", "input")
    for number, tool in enumerate(body.get("tools") or ()):
        _check_tool(tool, f"tools[{number}]")
    form = (body.get("text") or {}).get("format")
    if form is not None:
        _only(form, _FORMAT_FIELDS, "text.format")
        if form.get("type") == "json_schema":
            _need(_is_text(form.get("name")), "a format needs a name", "text.format.name")
            _need(isinstance(form.get("schema"), dict), "no schema", "text.format.schema")
    choice = body.get("tool_choice")
    _need(not isinstance(choice, dict) or "type" in choice, "no type", "tool_choice.type")
    limit = body.get("max_output_tokens")
    _need(limit is None or limit >= 1, "the limit is too low", "max_output_tokens")
    if isinstance(given, list):
        _check_items(given, bool(body.get("store", True)), bool(body.get("previous_response_id")))


def _check_tool(tool: Any, where: str) -> None:
    _need(isinstance(tool, dict) and _is_text(tool.get("type")), "a tool needs a type", where)
    known = _TOOL_FIELDS.get(tool["type"])
    if known is not None:
        _only(tool, known, where)
        _need(_is_text(tool.get("name")), "a tool needs a name", f"{where}.name")
    if tool["type"] == "function":
        _need(isinstance(tool.get("parameters"), dict), "no schema", f"{where}.parameters")
        _need("strict" in tool, "strict is on where nothing is said of it", f"{where}.strict")


# --- items


def _check_items(items: Sequence[Any], is_stored: bool, goes_on: bool) -> None:
    for number, item in enumerate(items):
        _check_item(item, f"input[{number}]", is_stored)
    _check_pairs(items)
    calls = [i["call_id"] for i in items if i.get("type") in CALLS]
    outputs = [i["call_id"] for i in items if str(i.get("type")).endswith("_call_output")]
    for id_ in calls:
        _need(id_ in outputs, f"No tool output found for function call {id_}.", "input")
    for id_ in outputs:
        _need(goes_on or id_ in calls, f"No tool call found for output {id_}.", "input")


def _check_item(item: Any, where: str, is_stored: bool) -> None:
    _need(isinstance(item, dict), "an item is no object", where)
    kind = item.get("type", "message")
    known = _ITEM_FIELDS.get(kind)
    if known is None:
        return
    _only(item, known, where)
    _need(item.get("id") != "", "an id is empty", f"{where}.id")
    if kind == "message":
        _check_message(item, where)
    elif kind == "reasoning":
        _need(isinstance(item.get("summary"), list), "no summary", f"{where}.summary")
        _check_origin(item, where, is_stored)
    else:
        _need(_is_text(item.get("call_id")), "no call_id", f"{where}.call_id")
        value = item.get({"function_call": "arguments", "custom_tool_call": "input"}.get(kind, ""))
        _need(kind not in CALLS or isinstance(value, str), "a call holds no text", where)
        if kind.endswith("output"):
            _check_content(item.get("output"), ("input_",), f"{where}.output")


def _check_origin(item: Json, where: str, is_stored: bool) -> None:
    """Reasoning has to be known here: by what was encrypted, or by what was stored."""
    blob = item.get("encrypted_content")
    if blob is None:
        words = (
            f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is"
            " set to false. Try again with `store` set to true, or remove this item from your"
            " input."
        )
        _need(is_stored and _is_text(item.get("id")), words, "input")
    elif not str(blob).startswith(BLOB):
        raise Refused(
            f"The encrypted content for item {item.get('id')} could not be verified.",
            where,
            "invalid_encrypted_content",
        )


def _check_message(item: Json, where: str) -> None:
    role = item.get("role")
    _need(role in ("user", "assistant", "system", "developer"), "unknown role", f"{where}.role")
    allowed = ("output_text", "refusal") if role == "assistant" else ("input_",)
    _check_content(item.get("content"), allowed, f"{where}.content")


def _check_content(content: Any, allowed: tuple[str, ...], where: str) -> None:
    if isinstance(content, str):
        return
    _need(isinstance(content, list), "must be text or parts", where)
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        known = _PART_FIELDS.get(str(kind))
        place = f"{where}[{number}]"
        is_known = known is not None and str(kind).startswith(allowed)
        _need(is_known, f"Invalid value: '{kind}'.", f"{place}.type")
        _only(part, known or frozenset(), place)
        url = part.get("image_url", "")
        _need(isinstance(url, str), "must be a URL, not an object", f"{place}.image_url")


def _check_pairs(items: Sequence[Json]) -> None:
    """Reasoning and what followed it come together or not at all."""
    before: Json = {}
    in_thought = False
    for item in [*items, {}]:
        kind = item.get("type", "message")
        is_answer = item.get("role") == "assistant" or kind in CALLS
        if before.get("type") == "reasoning":
            follows = bool(item) and (is_answer or kind not in _ITEM_FIELDS or kind == "reasoning")
            _need(
                follows,
                f"Item '{before.get('id')}' of type 'reasoning' was provided without its required"
                " following item.",
                "input",
            )
        in_thought = kind == "reasoning" or (in_thought and is_answer)
        _need(
            in_thought or THOUGHTFUL not in str(item.get("id")),
            f"Item '{item.get('id')}' of type '{kind}' was provided without its required"
            " 'reasoning' item.",
            "input",
        )
        before = item


def _need(holds: bool, message: str, param: str | None = None) -> None:
    if not holds:
        raise Refused(message, param)


def _only(value: Any, known: frozenset[str], where: str) -> None:
    _need(isinstance(value, dict), "must be an object", where)
    for name in value:
        path = f"{where}.{name}" if where else name
        if name not in known:
            raise Refused(f"Unknown parameter: '{path}'.", path, "unknown_parameter")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


# --- as chat


def chat_request(body: Json) -> Json:
    """A checked request as the chat request that asks the same of the scripted model."""
    same = ("model", "stream", "temperature", "top_p", "top_logprobs", "parallel_tool_calls")
    built: Json = {name: body[name] for name in same if name in body}
    built["messages"] = list(_messages(body))
    if body.get("max_output_tokens") is not None:
        built["max_completion_tokens"] = body["max_output_tokens"]
    tools = [_chat_tool(tool) for tool in body.get("tools") or ()]
    if tools:
        built["tools"] = tools
    choice = body.get("tool_choice")
    if choice is not None:
        named = isinstance(choice, dict) and choice.get("type") == "function"
        built["tool_choice"] = _chat_tool(choice) if named else choice
    form = (body.get("text") or {}).get("format")
    if form is not None:
        inner = {name: value for name, value in form.items() if name != "type"}
        named = {"json_schema": inner} if inner else {}
        built["response_format"] = {"type": form.get("type"), **named}
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        built["reasoning_effort"] = effort
    if "message.output_text.logprobs" in (body.get("include") or ()):
        built["logprobs"] = True
    return built


def _chat_tool(tool: Json) -> Json:
    if tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _messages(body: Json) -> Iterator[Json]:
    """Messages; all that an assistant said in a row is one of them."""
    if isinstance(body.get("instructions"), str):
        yield {"role": "system", "content": body["instructions"]}
    given = body["input"]
    said: Json | None = None
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind in CALLS or item.get("role") == "assistant":
            said = _with_item(said or {"role": "assistant", "content": None}, item)
            continue
        message = _message(item)
        if message is not None:
            if said is not None:
                yield said
            said = None
            yield message
    if said is not None:
        yield said


def _with_item(said: Json, item: Json) -> Json:
    if item.get("type") in CALLS:
        inner = {"name": item["name"], "arguments": item.get("arguments", "")}
        call = {"id": item["call_id"], "type": "function", "function": inner}
        return {**said, "tool_calls": [*said.get("tool_calls", ()), call]}
    content = _parts(item.get("content"))
    texts = content if isinstance(content, list) else [{"text": content}]
    refusal = "".join(part.get("refusal", "") for part in texts)
    text = (said["content"] or "") + "".join(part.get("text", "") for part in texts)
    return {**said, "content": text or None} | ({"refusal": refusal} if refusal else {})


def _message(item: Json) -> Json | None:
    kind = item.get("type", "message")
    if kind == "message":
        return {"role": item["role"], "content": _parts(item.get("content"))}
    if kind.endswith("call_output"):
        output = _parts(item.get("output"))
        return {"role": "tool", "tool_call_id": item["call_id"], "content": output}
    return None


def _parts(content: Any) -> Any:
    return list(map(_part, content)) if isinstance(content, list) else content


def _part(part: Json) -> Json:
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "input_image":
        detail = {"detail": part["detail"]} if "detail" in part else {}
        return {"type": "image_url", "image_url": {"url": part.get("image_url"), **detail}}
    if kind == "input_file":
        return {"type": "file", "file": {k: v for k, v in part.items() if k != "type"}}
    return part


def encrypted(text: str) -> str:
    """Reasoning as only this server can read it."""
    return BLOB + base64.b64encode(text.encode()).decode()
