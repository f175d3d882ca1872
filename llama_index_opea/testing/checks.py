"""The rules for messages, responses and streams.

Each says in its failure what LlamaIndex needs it for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import LogProb, ThinkingBlock, ToolCallBlock
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
)
from pydantic import BaseModel

from llama_index_opea.testing.asking import Reply, text_of

ORDER = (ThinkingBlock, TextBlock, ToolCallBlock)
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


# --- parts of messages


def thinking_of(message: ChatMessage) -> str:
    """What the model thought."""
    return "".join(
        block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)
    )


def calls_of(message: ChatMessage) -> list[ToolCallBlock]:
    """The calls in the blocks."""
    return [block for block in message.blocks if isinstance(block, ToolCallBlock)]


def call_dicts_of(message: ChatMessage) -> list[dict[str, Any]]:
    """The calls in ``additional_kwargs``."""
    calls = message.additional_kwargs.get("tool_calls") or []
    assert isinstance(calls, list), (
        "additional_kwargs['tool_calls'] must be a list: core looks for nothing else"
    )
    assert all(isinstance(call, dict) for call in calls), (
        "the calls in additional_kwargs must be plain dicts: a chat store saves them as JSON"
    )
    return calls


# --- messages


def check_message(message: ChatMessage) -> None:
    """A whole answer.

    Blocks in order, one text, calls told twice and alike, and all of it can be saved.
    """
    assert message.role == MessageRole.ASSISTANT, (
        f"an answer's role is assistant, not {message.role}"
    )
    kinds = [
        next((n for n, kind in enumerate(ORDER) if isinstance(block, kind)), len(ORDER))
        for block in message.blocks
    ]
    assert kinds == sorted(kinds), (
        "blocks come as thinking, text, calls;"
        f" got {[block.block_type for block in message.blocks]}"
    )
    assert kinds.count(0) <= 1, "all thoughts of an answer belong into one ThinkingBlock"
    assert kinds.count(1) <= 1, (
        "all text of an answer belongs into one TextBlock: content joins several with line ends"
    )
    check_calls(message)
    check_storable(message)


def check_calls(message: ChatMessage) -> None:
    """Calls are in blocks and as dicts, the same ones, with their arguments read."""
    calls, dicts = calls_of(message), call_dicts_of(message)
    assert len(calls) == len(dicts), (
        "calls belong into ToolCallBlocks (agents)"
        " and additional_kwargs['tool_calls'] (structured streams)"
    )
    ids = [call.tool_call_id for call in calls]
    assert all(ids), "a call without an id cannot be answered"
    assert len(set(ids)) == len(ids), f"calls of an answer need different ids: {ids}"
    for call, told in zip(calls, dicts, strict=True):
        function = told["function"]
        assert (told.get("id"), function["name"]) == (call.tool_call_id, call.tool_name)
        assert isinstance(call.tool_kwargs, dict), (
            f"the arguments of a finished call are a dict, not {call.tool_kwargs!r}"
        )
        assert isinstance(function["arguments"], str), (
            "on the wire, and in the dicts, arguments are a JSON text"
        )
        assert json.loads(function["arguments"] or "{}") == call.tool_kwargs


def check_storable(message: ChatMessage) -> None:
    """A chat store gets back what it was given."""
    again = ChatMessage.model_validate_json(message.model_dump_json())
    assert again.blocks == message.blocks, (
        "the blocks of an answer must survive JSON: put only plain data into them"
    )
    assert again.additional_kwargs == message.additional_kwargs, (
        "additional_kwargs must be plain JSON data"
    )


# --- responses


def check_raw(response: Reply) -> None:
    """``raw`` is nothing, a dict or a pydantic model."""
    assert response.raw is None or isinstance(response.raw, dict | BaseModel), (
        f"raw is a {type(response.raw).__name__}, but agents and the token counter call dict(raw)"
    )


def check_response(response: ChatResponse) -> None:
    """A whole answer of ``chat``, or the last one of ``stream_chat``."""
    assert isinstance(response, ChatResponse)
    check_message(response.message)
    check_raw(response)
    assert response.message.content or calls_of(response.message), "the answer is empty"


def check_completion(response: CompletionResponse) -> None:
    """A whole answer of ``complete``, or the last one of ``stream_complete``."""
    assert isinstance(response, CompletionResponse)
    assert isinstance(response.text, str)
    assert response.text, "the answer is empty"
    check_raw(response)


def check_reply(response: Reply) -> None:
    """Either of them."""
    if isinstance(response, CompletionResponse):
        check_completion(response)
    else:
        check_response(response)


def usage_of(response: Reply) -> tuple[int, int]:
    """Prompt and completion tokens as core's token counter reads them; it estimates what is 0."""
    return get_tokens_from_response(response)


def check_usage(response: Reply) -> None:
    """The counts of the server are where core, agents and tracers look for them."""
    check_raw(response)
    assert response.raw is not None, (
        "raw must hold the usage: the token counter estimates without it"
    )
    assert dict(response.raw).get("usage"), (
        "raw['usage'] is missing: the token counter estimates without it"
    )
    prompt, completion = usage_of(response)
    assert prompt > 0, "no prompt tokens in raw['usage']"
    assert completion > 0, "no completion tokens in raw['usage']"
    told = [response.additional_kwargs.get(name) for name in COUNTS]
    assert told[:2] == [prompt, completion], (
        f"additional_kwargs should hold {COUNTS}; they hold {told}"
    )
    assert isinstance(told[2], int)
    assert told[2] >= prompt + completion


def check_logprobs(response: Reply) -> None:
    """One list of candidates for each token, as many tokens as the text can be made of."""
    probabilities = response.logprobs
    assert isinstance(probabilities, list), "logprobs were asked for, and are not there"
    assert all(isinstance(candidates, list) and candidates for candidates in probabilities)
    found = [candidate for candidates in probabilities for candidate in candidates]
    assert all(isinstance(candidate, LogProb) for candidate in found)
    assert all(candidate.logprob <= 0 for candidate in found), "a log probability is never above 0"
    words = len(text_of(response).split())
    assert words > 1, "the answer is too short to see whether all of its tokens are there"
    assert len(probabilities) > words / 2, (
        f"{len(probabilities)} tokens cannot be all of {words} words"
    )


# --- streams


def check_stream(responses: Sequence[ChatResponse]) -> ChatResponse:
    """Each response holds all so far, ``delta`` what is new, and the last one everything.

    Gives the last.
    """
    assert responses, "the stream had no response at all"
    text, thoughts, calls = "", "", 0
    for number, response in enumerate(responses):
        assert isinstance(response, ChatResponse)
        message, where = response.message, f"response {number + 1} of {len(responses)}"
        assert message.role == MessageRole.ASSISTANT, where
        check_raw(response)
        assert (message.content or "") == text + (response.delta or ""), (
            f"{where}: message is all text so far, delta what is new"
        )
        _check_thought(response, thoughts, where)
        found = calls_of(message)
        assert len(found) >= calls, f"{where}: a call has vanished again"
        assert len(call_dicts_of(message)) == len(found), (
            f"{where}: calls belong into blocks and additional_kwargs['tool_calls'] alike"
        )
        text, thoughts, calls = message.content or "", thinking_of(message), len(found)
    check_response(responses[-1])
    return responses[-1]


def _check_thought(response: ChatResponse, before: str, where: str) -> None:
    """``thinking_delta`` is what was thought since the response before, and is there only then."""
    new = response.additional_kwargs.get("thinking_delta")
    assert new is None or (isinstance(new, str) and new), (
        f"{where}: thinking_delta is {new!r}; leave it out where nothing was thought"
    )
    assert thinking_of(response.message) == before + (new or ""), (
        f"{where}: additional_kwargs['thinking_delta'] is what agents forward"
    )


def check_completion_stream(responses: Sequence[CompletionResponse]) -> CompletionResponse:
    """The same for ``stream_complete``."""
    assert responses, "the stream had no response at all"
    text = ""
    for number, response in enumerate(responses):
        assert isinstance(response, CompletionResponse)
        check_raw(response)
        assert response.text == text + (response.delta or ""), (
            f"response {number + 1} of {len(responses)}: text is all text so far, delta what is new"
        )
        text = response.text
    check_completion(responses[-1])
    return responses[-1]


def check_any_stream(way: str, responses: Sequence[Any]) -> Reply:
    """Either of them, by the name of the method."""
    return check_stream(responses) if way.endswith("chat") else check_completion_stream(responses)
