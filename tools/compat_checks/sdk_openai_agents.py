"""The Agents SDK (openai-agents), over chat completions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from shapes import MODEL, City

from opea_core import OPEA
from opea_core.transports import async_openai_client

set_tracing_disabled(True)


def _agent(opea: OPEA, **options: Any) -> Agent[Any]:
    model = OpenAIChatCompletionsModel(model=MODEL, openai_client=async_openai_client(opea))
    return Agent(name="assistant", model=model, **options)


def chat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return asyncio.run(achat(opea, text))


def stream(opea: OPEA, text: str) -> Iterator[str]:
    """The pieces of an answer."""

    async def ask() -> list[str]:
        result = Runner.run_streamed(_agent(opea), text)
        return [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event"
            and event.data.type == "response.output_text.delta"
            and event.data.delta
        ]

    yield from asyncio.run(ask())


def tools(opea: OPEA) -> tuple[str, Any]:
    """The call of a tool."""
    called: list[tuple[str, Any]] = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(("get_weather", {"city": city}))
        return f"18 degrees in {city}"

    asyncio.run(Runner.run(_agent(opea, tools=[get_weather]), "The weather in Paris?"))
    return called[0]


def structured(opea: OPEA) -> City:
    """An answer of a schema."""
    found: City = asyncio.run(Runner.run(_agent(opea, output_type=City), "A city?")).final_output
    return found


async def achat(opea: OPEA, text: str) -> str:
    """A plain answer."""
    return str((await Runner.run(_agent(opea), text)).final_output)
