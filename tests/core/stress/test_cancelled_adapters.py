"""Calls through the frameworks' objects, cancelled wherever they wait,
closed or thrown into at every step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import BaseModel
from striking import WAYS, World, at, cancelled_at_each_event, cancelled_everywhere
from thorough import in_turn

from langchain_opea import ChatOPEA, OPEAEmbeddings
from langchain_opea import OPEARerank as LangChainRerank
from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core.testing import ScriptedServer, error, stream


class Town(BaseModel):
    """A town."""

    name: str


NODES = [NodeWithScore(node=TextNode(text=text)) for text in ("a", "b")]
DOCUMENTS = [Document("a"), Document("b")]
ASK = [ChatMessage(role="user", content="Hello")]
PROMPT = PromptTemplate("Name a town")


def lc(world: World) -> ChatOPEA:
    return ChatOPEA(client=world.opea, model="scripted-model")


def li(world: World) -> OPEALLM:
    return OPEALLM(client=world.opea, model="scripted-model")


async def drained(chunks: Any) -> None:
    async with aclosing(chunks):
        async for _ in chunks:
            pass


async def opened(chunks: Coroutine[Any, Any, Any]) -> None:
    await drained(await chunks)


async def rerank(world: World) -> None:
    await OPEARerank(client=world.opea, model="scripted-model").apostprocess_nodes(
        NODES, query_str="Hello"
    )


CALLS: dict[str, Callable[[World], Coroutine[Any, Any, Any]]] = {
    "ainvoke": lambda world: lc(world).ainvoke("Hello"),
    "astream": lambda world: drained(lc(world).astream("Hello")),
    "astream_events": lambda world: drained(lc(world).astream_events("Hello", version="v2")),
    "abatch": lambda world: lc(world).abatch(["one", "two", "three"]),
    "with_structured_output": lambda world: (
        lc(world).with_structured_output(Town).ainvoke("Name a town")
    ),
    "aembed_documents": lambda world: OPEAEmbeddings(
        client=world.opea, model="scripted-model"
    ).aembed_documents(["a", "b", "c"]),
    "acompress_documents": lambda world: LangChainRerank(
        client=world.opea, model="scripted-model"
    ).acompress_documents(DOCUMENTS, "Hello"),
    "achat": lambda world: li(world).achat(ASK),
    "acomplete": lambda world: li(world).acomplete("Hello"),
    "astream_chat": lambda world: opened(li(world).astream_chat(ASK)),
    "astream_complete": lambda world: opened(li(world).astream_complete("Hello")),
    "astructured_predict": lambda world: li(world).astructured_predict(Town, PROMPT),
    "aget_text_embedding_batch": lambda world: OPEAEmbedding(
        client=world.opea, model_name="scripted-model", embed_batch_size=1
    ).aget_text_embedding_batch(["a", "b", "c"]),
    "arerank": rerank,
}


@pytest.mark.parametrize("name", CALLS)
def test_an_adapters_call_cancelled_wherever_it_waits(server: ScriptedServer, name: str) -> None:
    assert cancelled_everywhere(at(server, max_concurrent=2), CALLS[name]) >= (
        1 if name == "abatch" else 2
    )


@pytest.mark.parametrize("name", ["astream", "achat", "astream_chat"])
def test_an_adapters_call_between_two_attempts(server: ScriptedServer, name: str) -> None:
    assert cancelled_everywhere(at(server, script=(error(503, "busy"),)), CALLS[name]) >= 4


@pytest.mark.parametrize(
    "name", ["ainvoke", "abatch", "aget_text_embedding_batch", "aembed_documents"]
)
def test_several_calls_at_once_cancelled_at_each_event(server: ScriptedServer, name: str) -> None:
    assert (
        cancelled_at_each_event(
            at(server, max_concurrent=2, script=(error(503, "busy"),)), CALLS[name]
        )
        >= 6
    )


@pytest.mark.parametrize(
    ("way", "name"),
    in_turn(
        [way for way in WAYS if way != "task"],
        ["ainvoke", "astream", "achat", "astream_chat", "aget_text_embedding_batch"],
    ),
)
def test_an_adapters_call_ended_by_what_surrounds_it(
    server: ScriptedServer, name: str, way: str
) -> None:
    assert cancelled_everywhere(at(server, max_concurrent=2), CALLS[name], WAYS[way]) >= 2


# --- generators

GENERATORS: dict[str, Callable[[World], Any]] = {
    "astream": lambda world: lc(world).astream("Hello"),
    "astream_events": lambda world: lc(world).astream_events("Hello", version="v2"),
    "astream_chat": lambda world: li(world).astream_chat(ASK),
    "astream_complete": lambda world: li(world).astream_complete("Hello"),
}


async def _begun(chunks: Any) -> AsyncGenerator[Any, None]:
    generator: AsyncGenerator[Any, None] = await chunks if asyncio.iscoroutine(chunks) else chunks
    return generator


async def _step(world: World, name: str, steps: int) -> tuple[AsyncGenerator[Any, None], bool]:
    """The generator after so many steps, and whether it had so many."""
    chunks = await _begun(GENERATORS[name](world))
    for _ in range(steps):
        try:
            await anext(chunks)
        except StopAsyncIteration:
            return chunks, False
    return chunks, True


def at_each_step(
    server: ScriptedServer,
    name: str,
    end: Callable[[AsyncGenerator[Any, None]], Coroutine[Any, Any, None]],
) -> int:
    """End the generator after no step, one, two ...; gives how many it had."""
    server.always(lambda seen: stream(["a", "b", "c"]))

    async def one(steps: int) -> bool:
        async with at(server, max_concurrent=1)() as world:
            chunks, more = await _step(world, name, steps)
            await end(chunks)
            await world.check()
            return more

    steps = 0
    while asyncio.run(one(steps)):
        steps += 1
    return steps


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_closed_at_each_step(server: ScriptedServer, name: str) -> None:
    async def end(chunks: AsyncGenerator[Any, None]) -> None:
        await chunks.aclose()

    assert at_each_step(server, name, end) > 2


@pytest.mark.parametrize("name", GENERATORS)
def test_an_error_thrown_into_a_generator_at_each_step_comes_out_again(
    server: ScriptedServer, name: str
) -> None:
    came_out: list[bool] = []

    async def end(chunks: AsyncGenerator[Any, None]) -> None:
        try:
            await chunks.athrow(LookupError("the reader's own"))
        except (LookupError, StopAsyncIteration) as error:
            came_out.append(isinstance(error, LookupError))
        else:
            came_out.append(False)

    steps = at_each_step(server, name, end)
    assert steps > 2
    assert came_out[:steps] == [True] * steps  # after the last one the generator is over
