"""The LlamaIndex part of ``opea demo``.

A query engine over a few documents, on the demo's own servers.
"""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.schema import TextNode

from llama_index_opea.embeddings import OPEAEmbedding
from llama_index_opea.llm import OPEALLM
from opea_core import OPEA

DOCUMENTS = (
    "A retry budget limits retries to a share of the calls that succeeded lately.",
    "A circuit breaker keeps calls away from a server that failed again and again.",
    "A queue lets calls wait for a free place instead of flooding the server.",
)


def show(opea: OPEA, fact: Callable[[str, object], None]) -> None:
    """Ask a query engine and tell what came; ``fact`` takes a label and a value.

    Raises what goes wrong.
    """
    llm, embedding = OPEALLM(client=opea, max_tokens=200), OPEAEmbedding(client=opea)
    index = VectorStoreIndex([TextNode(text=text) for text in DOCUMENTS], embed_model=embedding)
    engine = index.as_query_engine(llm=llm, similarity_top_k=2, streaming=True)
    fact(
        "engine",
        "VectorStoreIndex(nodes, embed_model=OPEAEmbedding(client=opea))"
        ".as_query_engine(llm=OPEALLM(client=opea))",
    )
    answer = engine.query("What does a retry budget do?")
    assert isinstance(answer, StreamingResponse)
    fact("answer", "".join(answer.response_gen))
    for node in answer.source_nodes:
        fact("source", f"{node.score:.2f} {node.node.get_content()}")
