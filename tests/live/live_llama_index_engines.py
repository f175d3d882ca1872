"""What LlamaIndex's users do with an index: embeddings, ingestion, retrieval,
query engines and chat engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from live_llama_index import LlamaIndexBase
from live_llama_index_asking import Ask, requests
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from pydantic import BaseModel, Field

from llama_index_opea import OPEALLM, OPEAEmbedding

TEXTS = ("A queue of calls.", "Fine weather in Paris", "A café on the street, 你好, 🙂.")
QUESTION = "How is the weather in Paris"
WORDS = [" weather", " Paris", " calls", " queue", " answer"]
"""One token each: llama-server leaves tokens it has in its cache out of the mean,
so that other vectors vary.
"""


class Weather(BaseModel):
    """The weather somewhere."""

    city: str = Field(max_length=10)
    days: int


def nodes() -> list[TextNode]:
    """A handful of documents."""
    return [
        TextNode(id_=str(number), text=text, metadata={"page": number})
        for number, text in enumerate(TEXTS)
    ]


def memory() -> ChatMemoryBuffer:
    """A conversation; the default leaves a database open."""
    return ChatMemoryBuffer.from_defaults(token_limit=1000)


def check_sources(response: Any, count: int = 2) -> None:
    """The nodes an answer is built on, the best first."""
    scores = [source.score for source in response.source_nodes]
    assert len(scores) == count
    assert scores == sorted(scores, reverse=True)
    assert all(source.node.get_content() in TEXTS for source in response.source_nodes)


class EngineCases(LlamaIndexBase):
    """One test per thing people build on an index."""

    @pytest.fixture(autouse=True)
    def loop_of_sync_code(self, way: str) -> Iterator[None]:
        """LlamaIndex's sync code makes an event loop for the thread and leaves it;
        this one is closed.
        """
        if way == "async":
            yield
            return
        with asyncio.Runner() as runner:
            asyncio.set_event_loop(runner.get_loop())
            yield
        asyncio.set_event_loop(None)

    @pytest.fixture
    def embedding(self, connect_li: Any) -> OPEAEmbedding:
        """The embedding model."""
        embedding: OPEAEmbedding = connect_li(OPEAEmbedding)
        return embedding

    @pytest.fixture
    def index(self, ask: Ask, embedding: OPEAEmbedding) -> VectorStoreIndex:
        """An index of the documents."""
        index = VectorStoreIndex([], embed_model=embedding)
        ask(index, "insert_nodes", nodes())
        return index

    # --- embeddings

    def test_llama_index_embeddings(self, ask: Ask, embedding: OPEAEmbedding) -> None:
        vectors = ask(embedding, "get_text_embedding_batch", WORDS)
        assert len({len(vector) for vector in vectors}) == 1
        assert all(type(number) is float for vector in vectors for number in vector)
        assert requests(embedding) == 1
        assert ask(embedding, "get_query_embedding", WORDS[1]) == pytest.approx(
            vectors[1], abs=1e-4
        )
        assert ask(embedding, "get_text_embedding", WORDS[2]) == pytest.approx(vectors[2], abs=1e-4)
        assert vectors[0] != vectors[1] != vectors[2]

    def test_llama_index_embeddings_in_batches(self, ask: Ask, connect_li: Any) -> None:
        """Several requests at once; the vectors come in the order of the texts."""
        embedding = connect_li(OPEAEmbedding, embed_batch_size=2, num_workers=2)
        vectors = ask(embedding, "get_text_embedding_batch", WORDS)
        assert requests(embedding) == 3
        for vector, alone in zip(
            vectors, (ask(embedding, "get_text_embedding", word) for word in WORDS), strict=True
        ):
            assert vector == pytest.approx(alone, abs=1e-4)

    def test_llama_index_embedding_events(self, ask: Ask, connect_li: Any) -> None:
        counter = TokenCountingHandler(tokenizer=str.split)
        embedding = connect_li(
            OPEAEmbedding,
            callback_manager=CallbackManager([counter]),
            embed_batch_size=2,
            num_workers=1,
        )
        ask(embedding, "get_text_embedding_batch", list(TEXTS))
        assert counter.total_embedding_token_count == sum(len(text.split()) for text in TEXTS)
        assert requests(embedding) == 2

    # --- ingestion

    def test_llama_index_ingestion(self, ask: Ask, embedding: OPEAEmbedding) -> None:
        """What was embedded once is not sent again."""
        pipeline = IngestionPipeline(
            transformations=[SentenceSplitter(chunk_size=60, chunk_overlap=0), embedding]
        )
        documents = [Document(text=text, id_=str(number)) for number, text in enumerate(TEXTS)]
        made = ask(pipeline, "run", documents=documents)
        assert [node.get_content() for node in made] == list(TEXTS)
        assert all(any(node.embedding) for node in made)
        assert requests(embedding) == 1
        again = ask(pipeline, "run", documents=documents)
        assert [node.embedding for node in again] == [node.embedding for node in made]
        assert requests(embedding) == 1

    def test_llama_index_extractor(self, ask: Ask, embedding: OPEAEmbedding, llm: OPEALLM) -> None:
        """It asks for all nodes at once; in sync code on a loop of its own for each run."""
        pipeline = IngestionPipeline(
            transformations=[
                SummaryExtractor(llm=llm, summaries=["self"], show_progress=False),
                embedding,
            ]
        )
        for texts in (TEXTS[:2], TEXTS[2:]):
            made = ask(pipeline, "run", nodes=[TextNode(text=text) for text in texts])
            assert all(
                node.metadata["section_summary"].strip() and any(node.embedding) for node in made
            )
        assert (requests(llm), requests(embedding)) == (3, 2)

    # --- retrieval and query engines

    def test_llama_index_retriever(self, ask: Ask, index: VectorStoreIndex) -> None:
        found, other = ask(index.as_retriever(similarity_top_k=2), "retrieve", QUESTION)
        assert found.node.get_content() == TEXTS[1]
        assert found.score > other.score

    def test_llama_index_query_engine(
        self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM
    ) -> None:
        response = ask(index.as_query_engine(llm=llm, similarity_top_k=2), "query", QUESTION)
        assert response.response.strip()
        check_sources(response)
        assert requests(llm) == 1

    def test_llama_index_query_engine_stream(
        self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM
    ) -> None:
        engine = index.as_query_engine(llm=llm, similarity_top_k=2, streaming=True)
        pieces, response = ask.words(engine, "query", QUESTION)
        assert len(pieces) > 1
        check_sources(response)
        assert requests(llm) == 1
        whole = ask(index.as_query_engine(llm=llm, similarity_top_k=2), "query", QUESTION)
        assert "".join(pieces) == whole.response

    def test_llama_index_query_engine_of_objects(
        self, ask: Ask, index: VectorStoreIndex, connect_li: Any
    ) -> None:
        llm = connect_li(max_tokens=150)
        engine = index.as_query_engine(llm=llm, similarity_top_k=2, output_cls=Weather)
        response = ask(engine, "query", QUESTION)
        assert isinstance(response.response, Weather)
        check_sources(response)
        assert requests(llm) == 1

    def test_llama_index_query_engine_of_prompts(
        self, ask: Ask, index: VectorStoreIndex, connect_li: Any
    ) -> None:
        """By ``/completions``."""
        llm = connect_li(is_chat_model=False, max_tokens=12)
        response = ask(index.as_query_engine(llm=llm, similarity_top_k=2), "query", QUESTION)
        assert response.response.strip()
        assert requests(llm) == 1

    def test_llama_index_refined_answer(
        self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM
    ) -> None:
        """An answer from the first node, made better with the second one."""
        response = ask(
            index.as_query_engine(llm=llm, similarity_top_k=2, response_mode="refine"),
            "query",
            QUESTION,
        )
        assert response.response.strip()
        check_sources(response)
        assert requests(llm) == 2

    def test_llama_index_answers_of_all_nodes(
        self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM
    ) -> None:
        """One question for each node, all at once."""
        engine = index.as_query_engine(
            llm=llm, similarity_top_k=3, response_mode="accumulate", use_async=True
        )
        response = ask(engine, "query", QUESTION)
        assert all(f"Response {number}:" in response.response for number in (1, 2, 3))
        assert requests(llm) == 3

    # --- chat engines

    def test_llama_index_chat_engine(self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM) -> None:
        """The second question is first put so that it stands alone."""
        engine = index.as_chat_engine(
            llm=llm, memory=memory(), chat_mode="condense_plus_context", similarity_top_k=2
        )
        for count in (1, 3):
            response = ask(engine, "chat", QUESTION)
            assert response.response.strip()
            check_sources(response)
            assert requests(llm) == count
        assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2

    def test_llama_index_chat_engine_stream(
        self, ask: Ask, index: VectorStoreIndex, llm: OPEALLM
    ) -> None:
        engine = index.as_chat_engine(
            llm=llm, memory=memory(), chat_mode="context", similarity_top_k=2
        )
        pieces, response = ask.words(engine, "stream_chat", QUESTION)
        assert len(pieces) > 1
        check_sources(response)
        question, answer = engine.chat_history
        assert question.content == QUESTION
        assert answer.content == "".join(pieces).strip()
        assert requests(llm) == 1

    def test_llama_index_simple_chat_engine(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li()
        engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory(), system_prompt="Be brief.")
        for _ in range(2):
            pieces, _response = ask.words(engine, "stream_chat", QUESTION)
            assert "".join(pieces).strip()
        assert len(engine.chat_history) == 4
        assert requests(llm) == 2
