"""Agents of pydantic-ai, which ask in async code; ``run_sync`` is a loop around that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from shapes import MODEL, City, get_weather

from opea_core import OPEA
from opea_core.transports import async_openai_client


def _agent(opea: OPEA, **options: Any) -> Agent[Any, Any]:
    provider = OpenAIProvider(openai_client=async_openai_client(opea))
    return Agent(OpenAIChatModel(MODEL, provider=provider), **options)


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str(_agent(opea).run_sync(text).output)


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""

    async def ask() -> list[str]:
        async with _agent(opea).run_stream(text) as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    yield from asyncio.run(ask())


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    called: list[tuple[str, Any]] = []
    agent = _agent(opea)

    @agent.tool_plain(name="get_weather")
    def weather(city: str) -> str:
        called.append(("get_weather", {"city": city}))
        return get_weather(city)

    assert "The tool says" in agent.run_sync("The weather in Paris?").output
    return called[0]


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    found: City = _agent(opea, output_type=City).run_sync("A city?").output
    return found


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str((await _agent(opea).run(text)).output)
