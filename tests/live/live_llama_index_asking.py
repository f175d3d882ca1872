"""Asking LlamaIndex's objects in two ways, and what must hold for every answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from itertools import pairwise
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    ThinkingBlock,
    ToolCallBlock,
)


class Ask:
    """Calls a method of a LlamaIndex object, or its async twin; what streams is collected."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self.runner = runner

    def __call__(self, thing: Any, method: str, *args: Any, **options: Any) -> Any:
        if self.runner is None:
            found = getattr(thing, method)(*args, **options)
            return list(found) if isinstance(found, Iterator) else found
        return self.runner.run(_collected(getattr(thing, f"a{method}")(*args, **options)))

    def words(self, engine: Any, method: str, question: str) -> tuple[list[str], Any]:
        """The pieces of text that a query or chat engine streams, and its response."""
        if self.runner is None:
            response = getattr(engine, method)(question)
            return list(response.response_gen), response
        return self.runner.run(_words(getattr(engine, f"a{method}")(question)))

    def first(self, thing: Any, method: str, *args: Any) -> Any:
        """The first piece of a stream that is then given up."""
        if self.runner is None:
            stream = getattr(thing, method)(*args)
            with closing(stream):
                return next(stream)
        return self.runner.run(_first(getattr(thing, f"a{method}")(*args)))

    def agent(self, agent: Any, question: str, **options: Any) -> tuple[list[Any], Any]:
        """The events of an agent, and its result;
        from a script's ``asyncio.run`` or on a loop that stays.
        """

        async def ask() -> tuple[list[Any], Any]:
            handler = agent.run(question, **options)
            return [event async for event in handler.stream_events()], await handler

        return asyncio.run(ask()) if self.runner is None else self.runner.run(ask())


async def _collected(asked: Any) -> Any:
    found = await asked
    return [piece async for piece in found] if isinstance(found, AsyncIterator) else found


async def _first(asked: Any) -> Any:
    async with aclosing(await asked) as stream:
        return await anext(stream)


async def _words(asked: Any) -> tuple[list[str], Any]:
    response = await asked
    return [piece async for piece in response.async_response_gen()], response


def user(text: str) -> list[ChatMessage]:
    """A conversation of one message."""
    return [ChatMessage(role="user", content=text)]


def text_of(response: Any) -> str:
    """The text of an answer of either kind."""
    return (
        response.text
        if isinstance(response, CompletionResponse)
        else response.message.content or ""
    )


def requests(thing: Any) -> int:
    """How many calls of the server an object has made."""
    count: int = thing.client.get_stats()["requests"]
    return count


def check_answer(response: Any, finish_reason: str = "stop") -> None:
    """A whole answer as every user of LlamaIndex relies on it."""
    assert text_of(response).strip()
    assert "\ufffd" not in text_of(response)
    check_told(response, finish_reason)
    if isinstance(response, ChatResponse):
        assert response.message.role == MessageRole.ASSISTANT
        assert not [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]


def check_told(response: Any, finish_reason: str) -> None:
    """Why it ended, who answered, and token counts, where LlamaIndex's counters look for them."""
    told = response.additional_kwargs
    assert told["finish_reason"] == finish_reason
    assert told["model"] == "tiny-chat"
    assert told["request_id"]
    assert "warnings" not in told
    assert told["prompt_tokens"] > 0
    assert told["completion_tokens"] > 0
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]
    counts = {
        name: response.raw["usage"][name]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    assert counts.items() <= told.items()


def check_growing(responses: Sequence[Any], finish_reason: str = "stop") -> Any:
    """Each response holds all so far, and only the last one is whole; gives that one."""
    *parts, last = responses
    assert len(parts) > 1
    assert "".join(response.delta for response in responses) == text_of(last)
    assert all(
        text_of(later).startswith(text_of(earlier)) for earlier, later in pairwise(responses)
    )
    assert not any("finish_reason" in part.additional_kwargs for part in parts)
    assert all(isinstance(part.raw, dict) for part in parts)
    check_answer(last, finish_reason)
    return last


def check_thoughts(message: ChatMessage) -> str:
    """One block of thoughts, one of text; gives the thoughts."""
    thoughts, text = message.blocks
    assert isinstance(thoughts, ThinkingBlock)
    assert thoughts.content is not None
    assert thoughts.content.strip()
    assert thoughts.additional_information["reasoning_field"] == "reasoning_content"
    assert text.block_type == "text"
    assert message.content == text.text
    assert "<think>" not in thoughts.content + text.text
    return thoughts.content


def check_logprobs(response: Any) -> None:
    """A list for each token: the token itself, then the others that were likely."""
    assert b"".join(bytes(token[0].bytes) for token in response.logprobs).decode() == text_of(
        response
    )
    assert all(
        2 <= len(token) <= 3 for token in response.logprobs
    )  # two were asked for, the token may be one of them
    assert all(found.logprob <= 0 for token in response.logprobs for found in token)


def check_error(error: Any, status: int) -> None:
    """What callers look at; asked once, as the tests say ``max_retries=0``."""
    assert error.status_code == status
    assert error.request_id
    assert error.body
    assert len(error.attempts) == 1
