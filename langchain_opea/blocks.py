"""LangChain's standard content blocks out of this package's messages.

In chunks, text carries the index ``lc_txt_0`` and reasoning ``lc_rs_0``. Without them LangChain
numbers blocks 0, 1, ... while tool calls bring the server's 0, and merging melts text and call into
one block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.block_translators import register_translator

from langchain_opea.answers import PROVIDER
from langchain_opea.order import ORDER, TURNS, in_order
from langchain_opea.server_tools import as_server_tool

Block = Any
_INDEX = {"text": "lc_txt_", "reasoning": "lc_rs_", "refusal": "lc_refusal_"}
_DRAWN = ("image_url", "output_image", "generated_image", "image_generation_call")


def blocks_of(message: AIMessage) -> list[Block]:
    """Reasoning, text and other parts in their order, a refusal, and tool calls.

    Of a whole message.
    """
    return [*_said(message), *_refusal(message), *_tool_calls(message)]


def blocks_of_chunk(chunk: AIMessageChunk) -> list[Block]:
    """The same of a chunk; calls are chunks until the stream is over."""
    turns = getattr(chunk, TURNS, None) or {}
    numbers = {"reasoning": turns.get("reasoning", 0), "text": turns.get("text", 0)}
    said: list[Block] = []
    for block in (*_said(chunk), *_refusal(chunk)):
        name, kind = _INDEX.get(str(block.get("type"))), str(block.get("type"))
        said.append({**block, "index": f"{name}{numbers.get(kind, 0)}"} if name else block)
        if name and not turns:
            numbers[kind] = numbers.get(kind, 0) + 1  # a merged chunk has several
    if chunk.chunk_position == "last" and not _is_piece(chunk):
        return [*said, *_tool_calls(chunk)]
    calls = [
        {
            "type": "tool_call_chunk",
            **{key: call.get(key) for key in ("id", "name", "args", "index")},
        }
        for call in chunk.tool_call_chunks
    ]
    return [*said, *calls]


def _is_piece(chunk: AIMessageChunk) -> bool:
    """Whether the last chunk only ends calls that began in earlier ones.

    A merged one has their names.
    """
    return any(not call.get("name") or not call.get("id") for call in chunk.tool_call_chunks)


def _said(message: AIMessage) -> list[Block]:
    """What was thought, written and drawn."""
    known, content = message.additional_kwargs, message.content
    thought = str(known.get("reasoning_content") or "")
    parts = known.get("content_parts")
    parts = parts if isinstance(parts, list) else []
    images = _standard(known.get("images") or [])
    if isinstance(content, str):
        ordered = in_order(known[ORDER], content, thought, parts) if ORDER in known else None
        text: list[Block] = [{"type": "text", "text": content}] if content else []
    else:
        ordered, text = None, _standard(content)
    reasoning: list[Block] = [{"type": "reasoning", "reasoning": thought}] if thought else []
    if ordered is None:
        return [*reasoning, *text, *_standard(parts), *images]
    theirs = {id(part) for part in parts}
    blocks = (_standard([one]) if id(one) in theirs else [one] for one in ordered)
    return [*(block for found in blocks for block in found), *images]


def _standard(parts: Any) -> list[Block]:
    """Parts of content as LangChain's blocks: an image a model drew, or what nobody knows."""
    found: list[Block] = []
    for part in parts if isinstance(parts, list) else []:
        ran = as_server_tool(part)
        known = _as_image(part)
        if ran is not None:
            found += ran
        # Parts without a type are of no kind.
        elif isinstance(known, str) or isinstance(known.get("type"), str):
            found += HumanMessage(content=[known]).content_blocks
    return found


def _as_image(part: Any) -> Any:
    """An image in the form of the protocol, if it is one in another."""
    if not isinstance(part, Mapping):
        return part if isinstance(part, str) else {}
    url = _url(part) if part.get("type") in _DRAWN else None
    return part if url is None else {"type": "image_url", "image_url": {"url": url}}


def _url(image: Mapping[str, Any]) -> str | None:
    """Where an image is, or what it is."""
    found = image.get("image_url") or image.get("url")
    url = found.get("url") if isinstance(found, Mapping) else found
    data = next(
        (image[key] for key in ("b64_json", "data", "result") if isinstance(image.get(key), str)),
        None,
    )
    if url is None and data is not None:
        url = f"data:{image.get('mime_type') or 'image/png'};base64,{data}"
    return url if isinstance(url, str) else None


def _refusal(message: AIMessage) -> list[Block]:
    refusal = message.additional_kwargs.get("refusal")
    return [{"type": "refusal", "refusal": refusal}] if isinstance(refusal, str) and refusal else []


def _tool_calls(message: AIMessage) -> list[Block]:
    calls: list[Block] = [
        {"type": "tool_call", "name": c["name"], "args": c["args"], "id": c.get("id")}
        for c in message.tool_calls
    ]
    calls += [
        {
            "type": "invalid_tool_call",
            **{key: c.get(key) for key in ("name", "args", "id", "error")},
        }
        for c in message.invalid_tool_calls
    ]
    return calls


def register_blocks() -> None:
    """Make LangChain use these for messages whose ``model_provider`` is ours."""
    register_translator(PROVIDER, blocks_of, blocks_of_chunk)
