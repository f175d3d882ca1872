"""LangChain's standard content blocks out of this package's messages.

In chunks, text carries the index ``lc_txt_0`` and reasoning ``lc_rs_0``. Without them LangChain numbers
blocks 0, 1, ... while tool calls bring the server's 0, and merging melts text and call into one block.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.block_translators import register_translator

from langchain_opea.answers import PROVIDER

Block = Any


def blocks_of(message: AIMessage) -> list[Block]:
    """Reasoning, text, other parts and tool calls of a whole message."""
    return [*_thoughts(message), *_content(message), *_tool_calls(message)]


def blocks_of_chunk(chunk: AIMessageChunk) -> list[Block]:
    """The same of a chunk; calls are chunks until the stream is over."""
    reasoning: list[Block] = [{**block, "index": "lc_rs_0"} for block in _thoughts(chunk)]
    content = [{**block, "index": "lc_txt_0"} if block.get("type") == "text" else block for block in _content(chunk)]
    if chunk.chunk_position == "last" and not _is_piece(chunk):
        return [*reasoning, *content, *_tool_calls(chunk)]
    calls = [
        {"type": "tool_call_chunk", **{key: call.get(key) for key in ("id", "name", "args", "index")}} for call in chunk.tool_call_chunks
    ]
    return [*reasoning, *content, *calls]


def _is_piece(chunk: AIMessageChunk) -> bool:
    """Whether the last chunk only ends calls that began in earlier ones (a merged one has their names)."""
    return any(not call.get("name") or not call.get("id") for call in chunk.tool_call_chunks)


def _thoughts(message: AIMessage) -> list[Block]:
    text = message.additional_kwargs.get("reasoning_content")
    return [{"type": "reasoning", "reasoning": text}] if text else []


def _content(message: AIMessage) -> list[Block]:
    """Text, and what an answer holds besides: an image a model drew, or what nobody knows."""
    content, parts = message.content, message.additional_kwargs.get("content_parts") or []
    blocks: list[Block] = [{"type": "text", "text": content}] if content and isinstance(content, str) else []
    others = parts if isinstance(content, str) else [*content, *parts]
    others = [part for part in others if isinstance(part, str) or isinstance(part.get("type"), str)]  # else they are of no kind
    return [*blocks, *HumanMessage(content=others).content_blocks] if others else blocks


def _tool_calls(message: AIMessage) -> list[Block]:
    calls: list[Block] = [{"type": "tool_call", "name": c["name"], "args": c["args"], "id": c.get("id")} for c in message.tool_calls]
    calls += [
        {"type": "invalid_tool_call", **{key: c.get(key) for key in ("name", "args", "id", "error")}} for c in message.invalid_tool_calls
    ]
    return calls


def register_blocks() -> None:
    """Make LangChain use these for messages whose ``model_provider`` is ours."""
    register_translator(PROVIDER, blocks_of, blocks_of_chunk)
