"""What LlamaIndex runs in parallel: as many requests
in flight as the object has places, and no more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from li_object_support import in_threads, joined
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import Document, NodeWithScore, TextNode

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import OPEA
from opea_core.testing import Hold, ScriptedServer
from opea_core.testing.model import ScriptedModel

HI = [ChatMessage(role="user", content="Hi")]
MANY, PLACES = 12, 5


async def _astream(llm: OPEALLM) -> str:
    return "".join([response.delta or "" async for response in await llm.astream_chat(HI)])


async def _all(opea: OPEA, one: Callable[[OPEALLM, OPEAEmbedding, OPEARerank], Any]) -> None:
    llm, embedding, rerank = (
        OPEALLM(client=opea),
        OPEAEmbedding(client=opea),
        OPEARerank(client=opea),
    )
    await asyncio.gather(*(one(llm, embedding, rerank) for _ in range(MANY)))


async def _mixed(llm: OPEALLM, embedding: OPEAEmbedding, rerank: OPEARerank) -> None:
    nodes = [NodeWithScore(node=TextNode(text="a"))]
    await asyncio.gather(
        llm.achat(HI),
        _astream(llm),
        embedding.aget_text_embedding("a"),
        rerank.apostprocess_nodes(nodes, query_str="a"),
    )


DOCUMENTS = [Document(text=f"Fact {number}") for number in range(MANY)]


async def _ingested(opea: OPEA) -> None:
    pipeline = IngestionPipeline(
        transformations=[OPEAEmbedding(client=opea, embed_batch_size=1)], disable_cache=True
    )
    assert len(await pipeline.arun(documents=DOCUMENTS)) == MANY


async def _extracted(opea: OPEA) -> None:
    await SummaryExtractor(
        llm=OPEALLM(client=opea), num_workers=MANY, show_progress=False
    ).aextract([TextNode(text="a")] * MANY)


RUNS: dict[str, Callable[[OPEA], Any]] = {
    "achat": lambda opea: _all(opea, lambda llm, *_: llm.achat(HI)),
    "astream_chat": lambda opea: _all(opea, lambda llm, *_: _astream(llm)),
    "aget_text_embedding": lambda opea: _all(
        opea, lambda _, embedding, __: embedding.aget_text_embedding("a")
    ),
    "all kinds on one object": lambda opea: _all(opea, _mixed),
    "an ingestion pipeline": _ingested,
    "an extractor": _extracted,
}


@pytest.mark.parametrize("name", RUNS)
def test_as_many_are_in_flight_as_the_object_has_places(server: ScriptedServer, name: str) -> None:
    release, model = threading.Event(), ScriptedModel("m")
    server.always(lambda seen: model.answer(seen).after(Hold(release)))

    with OPEA(server.url, model="m", max_concurrent=PLACES, max_retries=0) as opea:
        threads, results = in_threads(lambda: asyncio.run(RUNS[name](opea)))
        server.wait(lambda: server.in_flight == PLACES)
        release.set()
        joined(threads)

    assert results == [None]
    assert server.max_in_flight == PLACES
