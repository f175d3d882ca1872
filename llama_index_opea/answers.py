"""What the core answers, as LlamaIndex's responses.

Whole ones, and the growing ones of a stream.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

import opea_core as core
from llama_index_opea.blocks import content_blocks
from llama_index_opea.tools import CUT_OFF
from opea_core.adapters import kept, token_counts

Json = dict[str, Any]
_COUNTS = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"}
)
_logger = logging.getLogger("opea_core")
Made = TypeVar("Made", bound=BaseModel)


def chat_response(
    response: core.ChatResponse, delta: str | None = None, apart: bool = False
) -> ChatResponse:
    """A whole answer: one thinking block, one text block, pictures, the tool calls.

    Or in the server's order.

    ``delta``: it ends a stream. ``apart``: its texts came as parts of a list.
    """
    choice = response.choices[0]
    calls = sorted([*choice.tool_calls, *choice.invalid_tool_calls], key=lambda call: call.index)
    tokens = response.usage.reasoning_tokens if response.usage is not None else None
    blocks: list[Any] = []
    apart = apart or bool(choice.blocks and (choice.parts or _is_list(response.raw, "message")))
    blocks += content_blocks(
        choice, choice.content or _transcript(choice), _parts(choice), tokens, apart
    )
    if not calls and not any(isinstance(block, TextBlock) for block in blocks):
        blocks.append(TextBlock(text=""))
    blocks += [_call_block(call) for call in calls]
    return _made(
        ChatResponse,
        message=_made(
            ChatMessage,
            role=MessageRole.ASSISTANT,
            blocks=blocks,
            additional_kwargs=_message_kwargs(response, choice, calls),
        ),
        raw=_raw(response),
        delta=delta,
        logprobs=_logprobs(choice.logprobs),
        additional_kwargs=_response_kwargs(response, choice),
    )


def completion_response(chat: ChatResponse) -> CompletionResponse:
    """A chat answer (or a piece of one) as a completion.

    Core's own converter loses logprobs and reasoning.
    """
    kwargs = {**chat.message.additional_kwargs, **chat.additional_kwargs}
    thoughts = "".join(
        block.content or "" for block in chat.message.blocks if isinstance(block, ThinkingBlock)
    )
    if thoughts:
        kwargs["reasoning_content"] = thoughts
    text, probabilities = chat.message.content or "", chat.logprobs
    return _made(
        CompletionResponse,
        text=text,
        additional_kwargs=kwargs,
        raw=chat.raw,
        logprobs=probabilities,
        delta=chat.delta,
    )


class _Call:
    """A tool call so far, and how it was shown last: made anew only when more of it came."""

    __slots__ = ("_id", "_name", "_pieces", "_shown")

    def __init__(self) -> None:
        self._id = self._name = ""
        self._pieces: list[str] = []
        self._shown: tuple[ToolCallBlock, Json] | None = None

    def add(self, delta: core.ToolCallDelta) -> None:
        """More of it."""
        self._id, self._name = self._id or delta.id or "", self._name or delta.name or ""
        self._pieces.append(delta.arguments)
        self._shown = None

    def shown(self) -> tuple[ToolCallBlock, Json]:
        """As a block, and as the dict that OpenAI's API has."""
        if self._shown is None:
            self._pieces = [arguments := "".join(self._pieces)]
            block = _made(
                ToolCallBlock,
                block_type="tool_call",
                tool_call_id=self._id,
                tool_name=self._name,
                tool_kwargs=arguments,
            )
            self._shown = (block, _call_dict(self._id, self._name, arguments))
        return self._shown


class ResponseWriter:
    """Turns the core's chunks into LlamaIndex's responses, one stream long.

    Each response holds the whole message so far; nothing is validated on the way, as it comes from
    here. Arguments of tool calls that came in one read are joined, as agents parse them with every
    response.
    """

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, _Call] = {}
        self._apart = False

    def write(self, chunk: core.ChatChunk, more: bool) -> ChatResponse | None:
        """The next response, if there is one to hand on.

        ``more`` says that further chunks have come already.
        """
        if chunk.response is not None:
            return chat_response(chunk.response, chunk.content, self._apart)
        if chunk.reasoning and (self._text or chunk.content):
            self._apart = self._apart or _is_list(chunk.raw, "delta")
        self._text += chunk.content
        self._reasoning += chunk.reasoning
        for delta in chunk.tool_calls:
            call = self._calls.get(delta.index)
            if call is None:
                call = self._calls[delta.index] = _Call()
            call.add(delta)
        if not (chunk.content or chunk.reasoning) and (more or not chunk.tool_calls):
            return None
        kwargs = {"thinking_delta": chunk.reasoning} if chunk.reasoning else {}
        return _made(
            ChatResponse,
            message=self._message(),
            raw=chunk.raw,
            delta=chunk.content,
            logprobs=None,
            additional_kwargs=kwargs,
        )

    def _message(self) -> ChatMessage:
        blocks: list[Any] = []
        if self._reasoning:
            thoughts: Json = {
                "content": self._reasoning,
                "num_tokens": None,
                "additional_information": {},
            }
            blocks.append(_made(ThinkingBlock, block_type="thinking", **thoughts))
        if self._text or not self._calls:
            blocks.append(_made(TextBlock, block_type="text", text=self._text))
        calls = [call.shown() for _, call in sorted(self._calls.items())] if self._calls else ()
        blocks.extend(block for block, _ in calls)
        kwargs = {"tool_calls": [entry for _, entry in calls]} if calls else {}
        return _made(
            ChatMessage, role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs
        )


def _made(cls: type[Made], **values: Any) -> Made:
    """An object with all its fields, unvalidated.

    It is what ``model_construct`` makes, at a fourth of its cost.
    """
    made = cls.__new__(cls)
    put = object.__setattr__
    put(made, "__dict__", values)
    put(made, "__pydantic_fields_set__", set(values))
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


def _transcript(choice: core.Choice) -> str:
    """What a spoken answer says; its sound is in ``additional_kwargs["audio"]``."""
    audio = choice.extra.get("audio")
    text = audio.get("transcript") if isinstance(audio, Mapping) else None
    return text if isinstance(text, str) else ""


def _parts(choice: core.Choice) -> list[Any]:
    """What of the content is neither text nor reasoning."""
    pictures = choice.extra.get("images")
    return [*choice.parts, *(pictures if isinstance(pictures, list) else ())]


def _is_list(raw: Mapping[str, Any], name: str) -> bool:
    """Whether the server sent the content as a list.

    ``name``: ``message``, or ``delta`` in a piece of a stream.
    """
    choices = raw.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get(name) if isinstance(first, Mapping) else None
    return isinstance(message, Mapping) and isinstance(message.get("content"), list)


def _call_block(call: core.ToolCall) -> ToolCallBlock:
    kwargs = call.arguments if isinstance(call, core.InvalidToolCall) else call.args
    return ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=kwargs)


def _call_dict(id_: str, name: str, arguments: str, extra: Mapping[str, Any] | None = None) -> Json:
    return {
        **(extra or {}),
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


_OWN = frozenset(
    {
        "name",
        "tool_calls",
        "invalid_tool_calls",
        "reasoning_details",
        "refusal",
        "content_parts",
        "thinking_delta",
    }
)


def _message_kwargs(
    response: core.ChatResponse, choice: core.Choice, calls: Sequence[core.ToolCall]
) -> Json:
    """What has no block of its own: a refusal, and calls as plain dicts.

    Core's programs and chat engines read only these dicts.
    """
    # A name would go back as if the caller had given it.
    kwargs: Json = kept(response, choice, _OWN)
    kwargs.pop("reasoning_details", None)  # they stand in the thinking block
    kwargs.pop("images", None)  # LlamaIndex takes that key for documents of its own
    parts = _parts(choice)
    if calls:
        kwargs["tool_calls"] = [
            _call_dict(call.id, call.name, call.arguments, call.extra) for call in calls
        ]
    if choice.invalid_tool_calls:
        kwargs["invalid_tool_calls"] = [
            {"id": c.id, "name": c.name, "arguments": c.arguments, "error": _why(c)}
            for c in choice.invalid_tool_calls
        ]
        for call in kwargs["invalid_tool_calls"]:
            _logger.warning(
                "The call of %s cannot be run: %s.",
                call["name"] or "a tool without a name",
                call["error"],
            )
    if parts:
        kwargs["content_parts"] = parts
    return kwargs


def _why(call: core.InvalidToolCall) -> str:
    return CUT_OFF if call.truncated and call.arguments.strip() else call.error


def _raw(response: core.ChatResponse) -> Json:
    """The server's JSON with its token counts under the names LlamaIndex's counter reads."""
    raw = dict(response.raw)
    if response.usage is not None:
        known = {
            name: count
            for name, count in response.usage.raw.items()
            if name not in _COUNTS or isinstance(count, int)
        }
        raw["usage"] = {**known, **_counted(response.usage)}
    elif not isinstance(raw.get("usage"), Mapping):
        raw.pop("usage", None)  # a counter would fail at it
    return raw


def _counted(usage: core.Usage) -> dict[str, int]:
    counts = token_counts(usage)
    if counts is None:
        return {}
    return dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), counts, strict=True))


def _response_kwargs(response: core.ChatResponse, choice: core.Choice) -> Json:
    """Token counts, why it ended, and where it came from."""
    optional = {
        "model": response.model,
        "endpoint": response.endpoint,
        "request_id": response.request_id,
        "dropped_parameters": list(response.meta.dropped),
        "warnings": list(response.warnings),
    }
    counts = _counted(response.usage) if response.usage is not None else {}
    return {
        **counts,
        "finish_reason": choice.finish_reason,
        **{key: value for key, value in optional.items() if value},
    }


def _logprobs(given: Any) -> list[list[LogProb]] | None:
    """For each token itself, then its alternatives.

    From chat's form or that of legacy completions. What is odd is left out.
    """
    if not isinstance(given, Mapping):
        return None
    if isinstance(given.get("content"), list):
        rows = [
            (entry, _others(entry.get("top_logprobs")))
            for entry in given["content"]
            if isinstance(entry, Mapping)
        ]
    else:
        tokens, values, tops = (
            given.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs")
        )
        given_rows = (
            zip_longest(tokens, values, tops)
            if all(isinstance(part, list) for part in (tokens, values, tops))
            else ()
        )
        rows = [
            ({"token": token, "logprob": value}, _others(top)) for token, value, top in given_rows
        ]
    return [_token(entry, others) for entry, others in rows] or None


def _others(given: Any) -> list[Mapping[str, Any]]:
    if isinstance(given, Mapping):
        return [{"token": token, "logprob": value} for token, value in given.items()]
    return (
        [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []
    )


def _token(entry: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[LogProb]:
    found = [entry, *(other for other in others if other.get("token") != entry.get("token"))]
    return [
        LogProb(
            token=str(e.get("token") or ""),
            logprob=_number(e.get("logprob")),
            bytes=_bytes(e.get("bytes")),
        )
        for e in found
    ]


_HIGHEST = 1e300


def _number(value: Any) -> float:
    return (
        float(value) if isinstance(value, int | float) and abs(value) < _HIGHEST else float("-inf")
    )


def _bytes(value: Any) -> list[int]:
    return value if isinstance(value, list) and all(isinstance(item, int) for item in value) else []
