"""The eight ways to ask an LLM, under one roof."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from inspect import isasyncgen, isgenerator
from typing import Any, TypeAlias

import pytest
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, CompletionResponse

Reply: TypeAlias = ChatResponse | CompletionResponse

WAYS = ("chat", "complete", "stream_chat", "stream_complete")
ASYNC_WAYS = tuple(f"a{way}" for way in WAYS)
STREAMS = ("stream_chat", "stream_complete")

each_way = pytest.mark.parametrize("way", WAYS)
each_async_way = pytest.mark.parametrize("way", ASYNC_WAYS)
each_stream = pytest.mark.parametrize("way", STREAMS)
each_async_stream = pytest.mark.parametrize("way", tuple(f"a{way}" for way in STREAMS))

HELLO = "Say hello and ask me how I am."


def argument(way: str, prompt: str) -> Any:
    """The prompt as this method wants it."""
    return [ChatMessage(role="user", content=prompt)] if way.endswith("chat") else prompt


def ask(llm: LLM, way: str, prompt: str = HELLO, **kwargs: Any) -> list[Any]:
    """Every response of a sync method; the only one of a method that does not stream."""
    answer = getattr(llm, way)(argument(way, prompt), **kwargs)
    if not way.startswith("stream"):
        return [answer]
    assert isgenerator(answer), (
        f"{way} must return a generator: callbacks are fired for nothing else; got {type(answer)}"
    )
    return list(answer)


async def aask(llm: LLM, way: str, prompt: str = HELLO, **kwargs: Any) -> list[Any]:
    """The same for an async method."""
    answer = await getattr(llm, way)(argument(way, prompt), **kwargs)
    if not way.startswith("astream"):
        return [answer]
    assert isasyncgen(answer), (
        f"{way} must be a coroutine that returns an async generator; got {type(answer)}"
    )
    return [response async for response in answer]


def text_of(response: Reply) -> str:
    """The text of a response of either kind."""
    return (
        response.text
        if isinstance(response, CompletionResponse)
        else response.message.content or ""
    )


def drained(responses: Generator[ChatResponse, None, None]) -> list[ChatResponse]:
    """All responses of a stream."""
    return list(responses)


async def adrained(responses: AsyncGenerator[ChatResponse, None]) -> list[ChatResponse]:
    """All responses of an async stream."""
    return [response async for response in responses]
