"""LangChain's messages as the chat-completions protocol writes them.

Every form a history may have is understood: plain text, LangChain's standard blocks (v0 and v1),
OpenAI's, and Anthropic's, as other models leave them. Blocks are never sent as they are: reasoning
goes where the core decides about it, tool calls go into ``tool_calls``, tool results become
messages of their own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_opea.answers import unspoiled
from langchain_opea.errors import OPEAConfigurationError
from opea_core.adapters import REASONING_FIELDS, returned, with_extras

Json = dict[str, Any]

_THOUGHTS = ("reasoning", "thinking", "reasoning_content")
_MEDIA = frozenset({"image", "audio", "video", "file", "text-plain"})
_NO_NAME = "no_name"
"""What a call without a name is called where it goes back with the message that says so."""
_TEXTS = ("text", "output_text", "input_text")
_FROM_ANSWERS = frozenset(
    {
        "non_standard",
        "refusal",
        "invalid_tool_call",
        "tool_call_chunk",
        "server_tool_call",
        "server_tool_result",
        "redacted_thinking",
    }
)


def to_wire(messages: Sequence[BaseMessage]) -> list[Json]:
    """The messages of a conversation as dicts, in order.

    Raises OPEAConfigurationError for what cannot be sent.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    return [built for message in messages for built in _converted(message, answered)]


def _converted(message: BaseMessage, answered: set[str]) -> list[Json]:
    if isinstance(message, ToolMessage):
        name = {"name": message.name} if message.name else {}
        return [
            {
                "role": "tool",
                **name,
                "tool_call_id": message.tool_call_id,
                "content": _tool_content(message.content),
            }
        ]
    if isinstance(message, FunctionMessage):
        return [
            {"role": "function", "name": message.name, "content": _tool_content(message.content)}
        ]
    built: Json = (
        _assistant(message, answered)
        if isinstance(message, AIMessage)
        else {"role": _role(message)}
    )
    results: list[Json] = []
    if isinstance(message.content, str):
        built["content"] = message.content
    else:
        built["content"] = _parts(message.content, built, results) or ""
    if message.name:
        built["name"] = message.name
    # Tool results come before what else the user said: the protocol wants them right after the
    # calls.
    return [*results, built] if built["content"] or not results else results


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    if isinstance(message, SystemMessage):
        role = message.additional_kwargs.get("__openai_role__")
        return role if isinstance(role, str) else "system"
    if isinstance(message, HumanMessage):
        return "user"
    raise OPEAConfigurationError(
        f"A {type(message).__name__} cannot be sent to a model.",
        "Send system, human, AI and tool messages; take others out before.",
    )


def _assistant(message: AIMessage, answered: set[str]) -> Json:
    """Everything of an assistant's message but its content.

    An invalid call goes back only where a tool message answers it, and as JSON: servers fail at
    broken arguments, and at calls that nothing answers, in every later turn of the conversation.
    """
    built: Json = {"role": "assistant"}
    known = message.additional_kwargs
    calls = [_call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    invalid = [call for call in message.invalid_tool_calls if call["id"] in answered]
    calls += [
        _call(
            call["id"],
            call["name"] or _NO_NAME,
            {"invalid_arguments": unspoiled(call["args"] or "")},
        )
        for call in invalid
    ]
    calls = [with_extras(call, known) for call in calls]
    if calls:
        built["tool_calls"] = calls
    elif known.get("tool_calls"):
        built["tool_calls"] = known["tool_calls"]
    elif known.get("function_call"):
        built["function_call"] = known["function_call"]
    reasoning = known.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        field = known.get("reasoning_field")
        built[field if field in REASONING_FIELDS else REASONING_FIELDS[0]] = reasoning
    return built | returned(known)


def _call(id_: str | None, name: str | None, arguments: Any) -> Json:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": text}}


def _parts(content: Sequence[Any], built: Json, results: list[Json]) -> list[Json]:
    """The content parts.

    Calls and reasoning among them go into ``built``, tool results into ``results``.
    """
    calls, thoughts, parts = _Calls(built), [], []
    for block in content:
        if isinstance(block, str):
            parts.append(_part(block))
            continue
        kind = block.get("type")
        if kind in ("tool_use", "tool_call", "function_call"):
            calls.add(block)
        elif kind in _THOUGHTS:
            thoughts.append(_thought(block))
        elif kind == "tool_result":
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": block.get("tool_use_id"),
                    "content": _tool_content(block.get("content") or ""),
                }
            )
        elif kind == "refusal":
            built.setdefault("refusal", str(block.get("refusal") or ""))
        elif kind in _TEXTS or (built["role"] != "assistant" and kind not in _FROM_ANSWERS):
            parts.append(_part(block))
    text = "".join(thoughts)
    if (
        text
        and built["role"] == "assistant"
        and not any(name in built for name in REASONING_FIELDS)
    ):
        built[REASONING_FIELDS[0]] = text
    return parts


class _Calls:
    """Calls that stand among the content, added to the message unless they are there already."""

    def __init__(self, built: Json) -> None:
        self._built = built
        self._known = {call.get("id") for call in built.get("tool_calls", ())}

    def add(self, block: Mapping[str, Any]) -> None:
        """Add one call, as Anthropic, LangChain or OpenAI's Responses write it."""
        id_ = block.get("call_id") or block.get("id")
        if id_ in self._known:
            return
        self._known.add(id_)
        arguments: Any = next(
            (block[key] for key in ("input", "args", "arguments") if block.get(key) is not None), {}
        )
        self._built.setdefault("tool_calls", []).append(_call(id_, block.get("name"), arguments))


def _thought(block: Mapping[str, Any]) -> str:
    """The text of a block of reasoning.

    The block is LangChain's, Anthropic's, Mistral's (a list) or Bedrock's (a dict).
    """
    value = next((block[kind] for kind in _THOUGHTS if block.get(kind)), "")
    pieces = value if isinstance(value, list) else [value]
    texts = (piece.get("text") if isinstance(piece, dict) else piece for piece in pieces)
    return "".join(text for text in texts if isinstance(text, str))


def _tool_content(content: Any) -> str | list[Json]:
    """What a tool gave: text as it is, blocks as parts."""
    if isinstance(content, str):
        return content
    return [
        _part(block)
        for block in content
        if isinstance(block, str) or block.get("type") not in _FROM_ANSWERS
    ] or ""


def _part(block: Any) -> Json:
    """One content part as the protocol writes it."""
    if isinstance(block, str):
        return {"type": "text", "text": block}
    control = block.get("cache_control") or (block.get("extras") or {}).get("cache_control")
    return _plain_part(block) | ({"cache_control": control} if control else {})


def _plain_part(block: Mapping[str, Any]) -> Json:
    kind, source = block.get("type"), block.get("source")
    if kind in _TEXTS:
        return {"type": "text", "text": str(block.get("text") or "")}
    if kind in ("image", "document") and isinstance(source, dict):
        return _anthropic(kind, source, block)
    if kind == "file" and isinstance(block.get("file"), dict):
        return {"type": "file", "file": block["file"]}
    if kind == "image_url" and isinstance(block.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": block["image_url"]}}
    if kind in _MEDIA:
        return _media(block)
    # image_url, input_audio, and whatever a server knows.
    return {key: value for key, value in block.items() if key != "index"}


def _anthropic(kind: str, source: Mapping[str, Any], block: Mapping[str, Any]) -> Json:
    """An image or a document in Anthropic's form."""
    if kind == "document":
        if source.get("type") in ("text", "content"):
            inner = source.get("data") or source.get("content") or ""
            texts = (
                [inner]
                if isinstance(inner, str)
                else [str(part.get("text") or "") for part in inner]
            )
            return {"type": "text", "text": "".join(texts)}
        return _file(
            {
                **block,
                "url": source.get("url"),
                "base64": source.get("data"),
                "mime_type": source.get("media_type"),
                "filename": block.get("title"),
            }
        )
    url = (
        source.get("url")
        if source.get("type") == "url"
        else f"data:{source.get('media_type')};base64,{source.get('data')}"
    )
    return {"type": "image_url", "image_url": {"url": url}}


def _media(block: Mapping[str, Any]) -> Json:
    """A block of LangChain's standard form, v0 or v1."""
    kind, data = block["type"], block.get("base64") or block.get("data")
    if kind == "text-plain" or block.get("source_type") == "text":
        return {"type": "text", "text": _plain_text(block, data)}
    if kind == "audio":
        form = (block.get("mime_type") or "").partition("/")[2].removeprefix("x-") or "wav"
        return {
            "type": "input_audio",
            "input_audio": {
                "data": data or _missing(block, "base64"),
                "format": {"mpeg": "mp3"}.get(form, form),
            },
        }
    if kind == "file":
        return _file(block)
    url = block.get("url") or (
        data and f"data:{block.get('mime_type') or _missing(block, 'mime_type')};base64,{data}"
    )
    detail = (block.get("extras") or {}).get("detail")
    return {
        "type": f"{kind}_url",
        f"{kind}_url": {
            "url": url or _missing(block, "url or base64"),
            **({"detail": detail} if detail else {}),
        },
    }


def _plain_text(block: Mapping[str, Any], data: Any) -> str:
    if block.get("text") is None and isinstance(data, str):
        return base64.b64decode(data).decode("utf-8", "replace")
    text = (
        block.get("text")
        if block.get("text") is not None
        else (block.get("url") if block.get("source_type") == "text" else None)
    )
    return str(_missing(block, "text (a URL cannot be sent)") if text is None else text)


def _file(block: Mapping[str, Any]) -> Json:
    data = block.get("base64") or block.get("data")
    id_ = block.get("file_id") or (block.get("id") if block.get("source_type") == "id" else None)
    if id_:
        return {"type": "file", "file": {"file_id": id_}}
    if not data and block.get("url"):
        raise OPEAConfigurationError(
            "A file given by its URL cannot be sent in a chat completion.", "Give its base64 data."
        )
    mime = block.get("mime_type") or _missing(block, "mime_type")
    names = (
        block.get("filename"),
        *((block.get(key) or {}).get("filename") for key in ("extras", "metadata")),
    )
    name = next(
        (name for name in names if name),
        f"file.{mime.partition('/')[2].partition('+')[0] or 'bin'}",
    )
    return {
        "type": "file",
        "file": {
            "filename": name,
            "file_data": f"data:{mime};base64,{data or _missing(block, 'base64')}",
        },
    }


def _missing(block: Mapping[str, Any], what: str) -> Any:
    raise OPEAConfigurationError(f"A content block of type {block.get('type')!r} has no {what}.")
