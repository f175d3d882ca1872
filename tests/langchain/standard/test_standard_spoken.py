"""What a server answers beside words and calls reaches the caller."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from standard_upstream import SPOKEN, Upstream

from langchain_opea import ChatOPEA
from opea_core.testing import ScriptedServer, chunk, json_answer, sse

pytestmark = pytest.mark.enable_socket
SPEAKING: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "any", "format": "wav"},
}
CITED = [{"type": "url_citation", "url_citation": {"url": "https://example.com/"}}]


async def _astreamed(model: ChatOPEA, prompt: str, **options: Any) -> AIMessage:
    return reduce(add, [piece async for piece in model.astream(prompt, **options)])


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda model, prompt, **options: model.invoke(prompt, **options),
    "stream": lambda model, prompt, **options: reduce(add, model.stream(prompt, **options)),
    "ainvoke": lambda model, prompt, **options: model.ainvoke(prompt, **options),
    "astream": _astreamed,
}


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, server: ScriptedServer) -> Callable[..., Any]:
    """One of the four ways to get a message."""
    model = ChatOPEA(model="m1", base_url=server.url, api_key="k", max_retries=0)

    async def ask(prompt: str, **options: Any) -> AIMessage:
        message = WAYS[request.param](model, prompt, **options)
        return message if isinstance(message, AIMessage) else await message

    return ask


async def test_sound(ask: Callable[..., Any], server: ScriptedServer) -> None:
    server.always(Upstream())
    message = await ask("Say it aloud.", **SPEAKING)
    assert message.additional_kwargs["audio"] == SPOKEN


async def test_citations_of_the_message(ask: Callable[..., Any], server: ScriptedServer) -> None:
    """OpenRouter and LiteLLM send them beside the content."""

    def cited(seen: Any) -> Any:
        if seen.body["stream"]:
            return sse(
                chunk({"role": "assistant", "content": "Hi"}),
                chunk({"annotations": CITED}),
                chunk({}, "stop"),
            )
        message = {"role": "assistant", "content": "Hi", "annotations": CITED}
        return json_answer(
            {"model": "m1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )

    server.always(cited)
    message = await ask("Hello")
    assert message.additional_kwargs["annotations"] == CITED
