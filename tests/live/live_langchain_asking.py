"""Asking LangChain's objects in two ways, and what must hold for every answer."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_opea import ChatOPEA


class Ask:
    """Calls a method of a LangChain object, or its async twin; what streams is collected."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self.runner = runner

    def __call__(self, thing: Any, method: str, *args: Any, **options: Any) -> Any:
        if self.runner is None:
            found = getattr(thing, method)(*args, **options)
            return list(found) if isinstance(found, Iterator) else found
        return self.runner.run(_collected(getattr(thing, f"a{method}")(*args, **options)))

    def events(self, model: ChatOPEA, question: str) -> tuple[list[Any], AIMessage]:
        """The events of version 3, and the message they make."""
        if self.runner is None:
            stream = model.stream_events(question, version="v3")
            return list(stream), stream.output
        return self.runner.run(_events(model, question))


async def _collected(asked: Any) -> Any:
    return [piece async for piece in asked] if hasattr(asked, "__aiter__") else await asked


async def _events(model: ChatOPEA, question: str) -> tuple[list[Any], AIMessage]:
    stream = await model.astream_events(question, version="v3")
    return [event async for event in stream], await stream.output


def whole(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """The chunks of one answer added up, as LangChain's users do it."""
    message: AIMessageChunk = reduce(operator.add, chunks)
    return message


def check_message(message: Any, finish_reason: str = "stop") -> None:
    """An answer as every user of LangChain relies on it."""
    assert message.text.strip()
    assert message.response_metadata["model_name"] == "tiny-chat"
    assert message.response_metadata["model_provider"] == "opea"
    assert message.response_metadata["finish_reason"] == finish_reason
    assert message.response_metadata["id"]
    assert not message.invalid_tool_calls
    check_usage(message)


def check_usage(message: Any) -> None:
    usage = message.usage_metadata
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_token_details"]["cache_read"] <= usage["input_tokens"]


def check_logprobs(message: Any) -> None:
    tokens = message.response_metadata["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == message.text
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)


def check_error(error: Any, status: int, retryable: bool = False) -> None:
    """What LangChain and its middleware look at."""
    assert error.is_retryable is retryable
    assert error.response.status_code == status
    assert error.response.json()["error"]
    assert error.request_id
