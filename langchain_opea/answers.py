"""What the core answers, as LangChain's messages, generations and chunks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

import opea_core as core
from langchain_opea.arguments import JsonText
from langchain_opea.arguments import spoiler as spoiler
from langchain_opea.arguments import unspoiled as unspoiled
from langchain_opea.order import Turns, order_of
from opea_core.adapters import CALL_ARGUMENTS, kept, token_counts

PROVIDER = "opea"
_EMPTY = AIMessageChunk(content="")
_OF_A_RESPONSE = frozenset(
    {
        "background",
        "content_filters",
        "conversation",
        "created_at",
        "incomplete_details",
        "metadata",
        "previous_response_id",
        "service_tier",
        "status",
    }
)
"""What is told of an answer in the Responses dialect, which repeats the whole request."""
_ROOT = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})


def result(
    response: core.ChatResponse, headers: bool = False, answer_tool: str | None = None
) -> ChatResult:
    """All choices of an answer; ``headers`` adds the answer's headers to the metadata.

    ``answer_tool``: the function that an answer of a given form may have come as a call of; its
    arguments are the text.
    """
    if answer_tool:
        response = replace(
            response, choices=[_told(choice, answer_tool) for choice in response.choices]
        )
    generations = [
        ChatGeneration(
            message=AIMessage(
                content=choice.content,
                tool_calls=[
                    tool_call(name=c.name, args=c.args, id=c.id) for c in choice.tool_calls
                ],
                invalid_tool_calls=[
                    invalid_tool_call(name=c.name, args=c.arguments, id=c.id, error=c.error)
                    for c in choice.invalid_tool_calls
                ],
                additional_kwargs=_extras(response, choice, reasoning=True)
                | order_of(response, choice),
                response_metadata=_metadata(response, choice, headers),
                usage_metadata=usage_metadata(response.usage)
                if choice is response.choices[0]
                else None,
            )
        )
        for choice in response.choices
    ]
    return ChatResult(
        generations=generations,
        llm_output={"model_name": response.model, "token_usage": _usage_dict(response)},
    )


def usage_metadata(usage: core.Usage | None) -> UsageMetadata | None:
    """Token counts as LangChain has them; None where the server left out what cannot be known."""
    counts = None if usage is None else token_counts(usage)
    if usage is None or counts is None:
        return None
    found = UsageMetadata(input_tokens=counts[0], output_tokens=counts[1], total_tokens=counts[2])
    into = {
        "audio": usage.input_audio_tokens,
        "cache_read": usage.cached_tokens,
        "cache_creation": usage.cache_creation_tokens,
    }
    out = {"audio": usage.output_audio_tokens, "reasoning": usage.reasoning_tokens}
    if known := {name: count for name, count in into.items() if count is not None}:
        found["input_token_details"] = InputTokenDetails(**known)  # type: ignore[typeddict-item]
    if known := {name: count for name, count in out.items() if count is not None}:
        found["output_token_details"] = OutputTokenDetails(**known)  # type: ignore[typeddict-item]
    return found


def _told(choice: core.Choice, answer_tool: str) -> core.Choice:
    """A choice whose answer came as a call, as if it had come as text."""
    calls, answers = _apart(choice.tool_calls, answer_tool)
    invalid, broken = _apart(choice.invalid_tool_calls, answer_tool)
    said = "".join(call.arguments for call in (*answers, *broken)[:1])
    if not said:
        return choice
    finish = (
        "stop"
        if choice.finish_reason == "tool_calls" and not (calls or invalid)
        else choice.finish_reason
    )
    return replace(
        choice,
        content=said,
        blocks=[],
        tool_calls=calls,
        invalid_tool_calls=invalid,
        finish_reason=finish,
    )


def _apart(calls: list[Any], name: str) -> tuple[list[Any], list[Any]]:
    """Other calls, and those of this function."""
    return [call for call in calls if call.name != name], [
        call for call in calls if call.name == name
    ]


def _usage_dict(response: core.ChatResponse) -> dict[str, Any]:
    return dict(response.usage.raw) if response.usage is not None else {}


_OWN = frozenset(
    {
        "reasoning_content",
        "reasoning_field",
        "reasoning_details",
        "refusal",
        "content_parts",
        "tool_calls",
        "function_call",
    }
)


def _extras(response: core.ChatResponse, choice: core.Choice, reasoning: bool) -> dict[str, Any]:
    """What has no place of its own in LangChain's message.

    Without the reasoning's text where that was streamed.
    """
    extras: dict[str, Any] = kept(response, choice, _OWN)
    broken = {call.id: call.arguments for call in choice.invalid_tool_calls if call.arguments}
    if broken:
        extras[CALL_ARGUMENTS] = {**extras.get(CALL_ARGUMENTS, {}), **broken}
    if reasoning and choice.reasoning:
        extras["reasoning_content"] = choice.reasoning
    if choice.reasoning_field:
        extras["reasoning_field"] = choice.reasoning_field
    if choice.parts:
        extras["content_parts"] = choice.parts
    return extras


def _metadata(response: core.ChatResponse, choice: core.Choice, headers: bool) -> dict[str, Any]:
    """Where an answer came from and how it went; what the server said of it besides."""
    raw = response.raw
    told = raw.keys() & _OF_A_RESPONSE if raw.get("object") == "response" else raw.keys() - _ROOT
    found: dict[str, Any] = {key: raw[key] for key in raw if key in told and raw[key] is not None}
    found |= {
        "model_name": response.model,
        "model_provider": PROVIDER,
        "finish_reason": choice.finish_reason,
        "endpoint": response.endpoint,
    }
    optional = {
        "id": response.id,
        "request_id": response.request_id,
        "logprobs": choice.logprobs,
        "token_usage": _usage_dict(response),
        "dropped_parameters": list(response.meta.dropped),
        "warnings": list(response.warnings),
        "headers": dict(response.headers) if headers else None,
    }
    return found | {key: value for key, value in optional.items() if value}


class ChunkWriter:
    """Turns the core's chunks into LangChain's, one stream long.

    Text and reasoning go out as they come. Arguments of tool calls that came in one read are
    joined: each chunk that LangChain adds up parses all arguments again. Usage and metadata stand
    on the last chunk only, as LangChain adds numbers and appends strings when it merges.
    """

    def __init__(
        self, headers: bool = False, events: bool = False, answer_tool: str | None = None
    ) -> None:
        """``events``: LangChain makes v3 events of the chunks.

        Then any whole JSON are arguments, and metadata is not merged.

        ``answer_tool``: the function that an answer of a given form may come as a call of; its
        arguments are the text.
        """
        self._headers = headers
        self._events = events
        self._answer_tool = answer_tool
        self._answer: int | None = None
        """The number of the call that is the answer."""
        self._turns = Turns()
        self._texts: dict[int, JsonText] = defaultdict(JsonText)
        self._held: dict[int, tuple[core.ToolCallDelta, list[str]]] = {}

    def write(self, chunk: core.ChatChunk, more: bool) -> ChatGenerationChunk | None:
        """The next piece, if there is one to hand on.

        ``more`` says that further chunks have come already.
        """
        if chunk.response is not None:
            return self._last(chunk, chunk.response)
        if chunk.tool_calls:
            self._take_calls(chunk)
            if more and not (chunk.content or chunk.reasoning):
                return None
        elif not (chunk.content or chunk.reasoning or chunk.logprobs):
            return None
        return self._piece(
            chunk.content, {"reasoning_content": chunk.reasoning} if chunk.reasoning else {}, chunk
        )

    def _take_calls(self, chunk: core.ChatChunk) -> None:
        """Hold the calls; the arguments of one that is the answer become its text."""
        for delta in chunk.tool_calls:
            if self._answer_tool and delta.name == self._answer_tool and self._answer is None:
                self._answer = delta.index
            if delta.index == self._answer:
                chunk.content += delta.arguments
            else:
                self._hold(delta)

    def _hold(self, delta: core.ToolCallDelta) -> None:
        arguments = self._texts[delta.index].escaped(delta.arguments)
        held = self._held.get(delta.index)
        if held is None:
            self._held[delta.index] = (
                core.ToolCallDelta(delta.index, delta.id, delta.name),
                [arguments],
            )
        else:
            known, pieces = held
            known.id, known.name = known.id or delta.id, known.name or delta.name
            pieces.append(arguments)

    def _calls(self) -> list[Any]:
        held, self._held = self._held, {}
        return [
            tool_call_chunk(name=d.name, args="".join(pieces), id=d.id, index=d.index)
            for d, pieces in held.values()
        ]

    def _piece(
        self, content: str, extras: dict[str, Any], chunk: core.ChatChunk
    ) -> ChatGenerationChunk:
        calls = self._calls() if self._held else []
        fields: dict[str, Any] = {
            "content": content,
            "additional_kwargs": extras,
            "response_metadata": {"model_provider": PROVIDER},
            "tool_call_chunks": calls,
            **self._turns.take(len(content), len(chunk.reasoning)),
        }
        # of chunks that are added LangChain joins the lists, and fails where the types differ
        logprobs = {
            name: value
            for name, value in (chunk.logprobs or {}).items()
            if isinstance(value, list | None)
        }
        info = {"logprobs": logprobs} if logprobs and not self._events else None
        if any(call["name"] for call in calls):
            return ChatGenerationChunk(message=AIMessageChunk(**fields), generation_info=info)
        # A copy costs half of a validated message, and a fraction of one that looks for JSON in
        # each fragment.
        message = _EMPTY.model_copy(update={**fields, "tool_calls": [], "invalid_tool_calls": []})
        return ChatGenerationChunk(message=message, generation_info=info)

    def _last(self, chunk: core.ChatChunk, response: core.ChatResponse) -> ChatGenerationChunk:
        choice = (
            _told(response.choices[0], self._answer_tool)
            if self._answer_tool
            else response.choices[0]
        )
        self._take_calls(chunk)
        for call in choice.invalid_tool_calls:
            self._hold(
                core.ToolCallDelta(call.index, None, None, spoiler(call.arguments, self._events))
            )
        metadata = _metadata(response, choice, self._headers)
        if not self._events:
            metadata.pop("logprobs", None)  # they came with their chunks
        turns = self._turns.take(len(chunk.content), 0)
        message = AIMessageChunk(
            content=chunk.content,
            additional_kwargs=_extras(response, choice, reasoning=False)
            | self._turns.order(len(choice.parts)),
            response_metadata=metadata,
            tool_call_chunks=self._calls(),
            usage_metadata=usage_metadata(response.usage),
            chunk_position="last",
            **turns,
        )
        return ChatGenerationChunk(message=message)
