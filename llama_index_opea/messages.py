"""LlamaIndex's messages as the chat-completions protocol writes them.

Every form a history may have is understood: blocks, and the dicts or SDK objects that integrations
leave in ``additional_kwargs``. Reasoning goes where the core decides about it; what tools show
besides text becomes a message of the user behind the results.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Callable, Collection, Mapping, Sequence
from io import IOBase
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from llama_index_opea.tools import call_of, reasons
from opea_core import ConfigurationError
from opea_core.adapters import REASONING_FIELDS, returned, with_extras

Json = dict[str, Any]

_SENT_KWARGS = ("name", "prefix", "partial", "reasoning_content", "reasoning")
"""What of ``additional_kwargs`` is sent; integrations keep much else there."""
_KINDS: Mapping[type[Any], str] = {
    ImageBlock: "image",
    AudioBlock: "audio",
    VideoBlock: "video",
    DocumentBlock: "file",
}
_ROLES = {"chatbot": "assistant", "model": "assistant"}


def to_wire(messages: Sequence[ChatMessage], cache_points: bool = False) -> list[Json]:
    """The messages of a conversation as dicts, in order; the caller's are not changed.

    ``cache_points``: whether the server takes ``cache_control``. May read files and fetch URLs
    (``reads`` says whether it would). Raises ConfigurationError for what cannot be sent.
    """
    answered = {
        id_ for message in messages if (id_ := message.additional_kwargs.get("tool_call_id"))
    }
    unrun = reasons(messages)
    built: list[Json] = []
    shown: list[Json] = []  # by tools, for the user's message behind the last of them
    for message in messages:
        wire = _converted(message, cache_points, answered)
        if wire["role"] == "tool":
            shown += _taken_out(wire)
            name, why = unrun.get(wire["tool_call_id"], ("", ""))
            if name and name in wire["content"]:
                wire["content"] = why
        elif shown:
            built.append({"role": "user", "content": shown})
            shown = []
        built.append(wire)
    return [*built, {"role": "user", "content": shown}] if shown else built


def reads(messages: Sequence[ChatMessage]) -> bool:
    """Whether converting these messages reads files or fetches URLs.

    Then async code does it in a thread.
    """
    return any(_reads(block) for message in messages for block in message.blocks)


def refuse_media(messages: Sequence[ChatMessage], taken: Collection[str], where: str) -> None:
    """Raise ConfigurationError for a block of a kind that is not ``taken``.

    ``where`` names who does not take it.
    """
    for block in (block for message in messages for block in message.blocks):
        if _KINDS.get(type(block), "text") not in ("text", *taken):
            raise ConfigurationError(
                f"The {type(block).__name__} cannot be sent: {where}.",
                "Take it out, or use another model.",
            )


def _reads(block: Any) -> bool:
    if isinstance(block, CitableBlock | CitationBlock):
        return any(_reads(inner) for inner in block.nested_blocks)
    if getattr(block, "path", None) is not None:
        return True
    return isinstance(block, AudioBlock | DocumentBlock) and block.url is not None


def _converted(message: ChatMessage, cache_points: bool, answered: set[str]) -> Json:
    known = message.additional_kwargs
    role = message.role.value
    if role == "function" and known.get("tool_call_id"):
        role = "tool"
    built: Json = {"role": _ROLES.get(role, role)}
    built |= {name: known[name] for name in _SENT_KWARGS if known.get(name)}
    built["content"] = _content(_said(message), cache_points)
    if built["role"] == "assistant":
        built |= returned(known)
        _add_thoughts(built, message.blocks)
        _add_calls(built, message, answered)
    elif built["role"] == "tool":
        built["tool_call_id"] = known.get("tool_call_id") or ""
    return built


def _said(message: ChatMessage) -> Sequence[Any]:
    """The blocks to send.

    Not the images that the model itself made, as servers take none in an answer.
    """
    made = message.role.value == "assistant" and message.additional_kwargs.get("content_parts")
    return (
        [block for block in message.blocks if not isinstance(block, ImageBlock)]
        if made
        else message.blocks
    )


def _content(blocks: Sequence[Any], cache_points: bool) -> str | list[Json]:
    """Text alone as one string, joined as ``ChatMessage.content`` joins it.

    Anything else as parts.
    """
    parts: list[Json] = []
    for block in blocks:
        if isinstance(block, CachePoint):
            if cache_points and parts:
                parts[-1] = {
                    **parts[-1],
                    "cache_control": block.cache_control.model_dump(exclude={"block_type"}),
                }
        elif not isinstance(block, ThinkingBlock | ToolCallBlock):
            parts += _parts(block)
    return _joined(parts)


def _joined(parts: list[Json]) -> str | list[Json]:
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(block: BaseContentBlock) -> list[Json]:
    if isinstance(block, TextBlock):
        return [{"type": "text", "text": block.text}]
    if isinstance(block, CitableBlock | CitationBlock):
        return [part for inner in block.nested_blocks for part in _parts(inner)]
    try:
        return [_media(block)]
    except (ValueError, OSError) as error:
        raise ConfigurationError(
            f"The {type(block).__name__} cannot be sent: {error}",
            "Give its data, a path that exists, or a URL.",
        ) from error


def _media(block: BaseContentBlock) -> Json:
    if isinstance(block, ImageBlock):
        url = (
            str(block.url)
            if block.url
            else _inline(
                _base64(block.image, block.resolve_image), block.image_mimetype, "image_mimetype"
            )
        )
        return {
            "type": "image_url",
            "image_url": {"url": url, **({"detail": block.detail} if block.detail else {})},
        }
    if isinstance(block, AudioBlock):
        sound = _base64(block.audio, block.resolve_audio)
        return {
            "type": "input_audio",
            "input_audio": {"data": sound, "format": block.format or _unknown("format")},
        }
    if isinstance(block, VideoBlock):
        url = (
            str(block.url)
            if block.url
            else _inline(
                _base64(block.video, block.resolve_video), block.video_mimetype, "video_mimetype"
            )
        )
        return {"type": "video_url", "video_url": {"url": url}}
    if isinstance(block, DocumentBlock):
        mime = block.document_mimetype or mimetypes.guess_type(str(block.title))[0]
        data = base64.b64encode(block.resolve_document().read()).decode()
        return {
            "type": "file",
            "file": {
                "filename": block.title,
                "file_data": _inline(data, mime, "document_mimetype"),
            },
        }
    raise ValueError("it is of no kind the protocol has.")


def _base64(data: Any, resolve: Callable[..., IOBase]) -> str:
    """A block's data in base64; LlamaIndex gives an open file as it is."""
    if isinstance(data, IOBase):
        data.seek(0)
        return base64.b64encode(data.read()).decode()
    found: bytes = resolve(as_base64=True).read()
    return found.decode()


def _inline(data: str, mime: str | None, field: str) -> str:
    return f"data:{mime or _unknown(field)};base64,{data}"


def _unknown(field: str) -> str:
    raise ValueError(f"its kind is not known; set {field}=.")


def _taken_out(wire: Json) -> list[Json]:
    """The parts of a tool's result that are not text; the result keeps the text."""
    parts = wire["content"]
    if isinstance(parts, str):
        return []
    wire["content"] = _joined([part for part in parts if part["type"] == "text"])
    return [part for part in parts if part["type"] != "text"]


def _add_thoughts(built: Json, blocks: Sequence[Any]) -> None:
    """Reasoning under the name the server used; the core decides whether it goes back."""
    thoughts = [block for block in blocks if isinstance(block, ThinkingBlock)]
    known = [block.additional_information for block in thoughts]
    text = "".join(block.content or "" for block in thoughts)
    fields = [field for info in known if (field := info.get("reasoning_field"))]
    # Those have the text.
    if text and not built.keys() & set(REASONING_FIELDS) and "reasoning_details" not in fields:
        built[next(name for name in (*fields, *REASONING_FIELDS) if name in REASONING_FIELDS)] = (
            text
        )
    details = [detail for info in known for detail in info.get("reasoning_details") or ()]
    if details:
        built.setdefault("reasoning_details", details)


def _add_calls(built: Json, message: ChatMessage, answered: set[str]) -> None:
    """Tool calls, unusable ones only where a result answers them."""
    known = message.additional_kwargs
    unusable = {call.get("id") for call in known.get("invalid_tool_calls") or ()} - answered
    calls = [call for call in _calls(message) if call["id"] not in unusable]
    if calls:
        built["tool_calls"] = calls
    elif known.get("function_call"):
        built["function_call"] = _sendable(call_of({"function": known["function_call"]}))[
            "function"
        ]


def _calls(message: ChatMessage) -> list[Json]:
    """The calls of the blocks and of ``additional_kwargs``, each once, matched by id."""
    others = [
        _sendable(call_of(call)) for call in message.additional_kwargs.get("tool_calls") or ()
    ]
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not blocks:
        return others
    by_id = {call["id"]: call for call in others if call["id"]}
    calls = []
    for block in blocks:
        extra = by_id.pop(block.tool_call_id or "", {})
        function = {"name": block.tool_name, "arguments": _arguments(block.tool_kwargs)}
        call = {"type": "function", **extra, "id": block.tool_call_id or "", "function": function}
        calls.append(with_extras(call, message.additional_kwargs))
    return [*calls, *(with_extras(call, message.additional_kwargs) for call in by_id.values())]


def _sendable(call: Json) -> Json:
    function = call["function"]
    return {
        **call,
        "function": {"name": function["name"], "arguments": _arguments(function["arguments"])},
    }


def _arguments(value: Any) -> str:
    """Arguments as JSON text of an object, always.

    Servers fail at broken ones in every later turn.
    """
    read = value
    if isinstance(value, str):
        try:
            read = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            read = value
    if isinstance(read, Mapping) and isinstance(value, str) and value.strip():
        return value
    sent = (
        read if isinstance(read, Mapping) else {} if read is None else {"invalid_arguments": value}
    )
    try:
        return json.dumps(sent, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"Arguments of a tool call cannot be written as JSON: {error}.",
            "Use plain dicts, lists, strings and numbers.",
        ) from None
