"""LlamaIndex on llama-server of llama.cpp, asked directly; with a reranker, as it has one."""

from __future__ import annotations

from typing import Any

import pytest
from live_llama_index import HELLO, LLMCases
from live_llama_index_agents import AgentCases
from live_llama_index_asking import Ask, check_answer, check_error, check_growing, requests, user
from live_llama_index_engines import QUESTION, TEXTS, EngineCases, check_sources, nodes
from live_servers import SERVERS, Server
from llama_index.core.schema import NodeWithScore

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import errors


@pytest.fixture
def server() -> Server:
    return SERVERS["llama-server"]


class TestLlamaIndexLlamaServer(LLMCases, EngineCases, AgentCases):
    """What all servers do, and what llama-server tells of itself."""

    @pytest.fixture
    def reranks(self, server: Server) -> None:
        """Comes before the other fixtures, so that a cassette stays where there is no reranker."""
        if not server.rerank_url:
            pytest.skip("no URL for the reranker")

    # --- what the server tells

    def test_llama_index_discover(
        self, ask: Ask, connect_li: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        llm = connect_li(model=None, context_window=None)
        assert ask(llm, "discover") is llm
        assert llm.metadata.context_window == 2048
        assert llm.metadata.model_name == "tiny-chat"
        assert llm.client.endpoints[0].max_concurrent == 2
        assert "context window" not in caplog.text
        check_answer(ask(llm, "chat", user(HELLO)))

    def test_llama_index_no_model(self, ask: Ask, connect_li: Any) -> None:
        """The first call asks which model there is, the others know."""
        llm = connect_li(model=None)
        check_answer(ask(llm, "chat", user(HELLO)))
        check_growing(ask(llm, "stream_complete", HELLO))
        assert llm.metadata.model_name == "tiny-chat"

    def test_llama_index_stream_no_model(self, ask: Ask, connect_li: Any) -> None:
        check_growing(ask(connect_li(model=None), "stream_chat", user(HELLO)))

    def test_llama_index_embeddings_no_model(self, ask: Ask, connect_li: Any) -> None:
        embedding = connect_li(OPEAEmbedding, model_name=None)
        assert any(ask(embedding, "get_query_embedding", "hello"))
        assert embedding.to_payload()["model_name"] == "tiny-embed"

    def test_llama_index_unknown_model(self, ask: Ask, connect_li: Any) -> None:
        """Any name is taken for the one model that is loaded; the answer says which it was."""
        check_answer(ask(connect_li(model="no-such-model"), "chat", user(HELLO)))

    # --- reranking

    def test_llama_index_rerank(self, reranks: None, ask: Ask, connect_li: Any) -> None:
        """The model has no head for it: all scores are the same."""
        reranker = connect_li(OPEARerank, top_n=2)
        given = [NodeWithScore(node=node, score=0.5) for node in nodes()]
        found = ask(reranker, "postprocess_nodes", given, query_str=QUESTION)
        assert len({node.node.node_id for node in found}) == 2
        assert all(type(node.score) is float and node.node.get_content() in TEXTS for node in found)
        assert [node.score for node in given] == [0.5] * 3
        assert requests(reranker) == 1

    def test_llama_index_rerank_no_model(self, reranks: None, ask: Ask, connect_li: Any) -> None:
        reranker = connect_li(OPEARerank, model=None, top_n=5)
        found = ask(
            reranker,
            "postprocess_nodes",
            [NodeWithScore(node=node) for node in nodes()],
            query_str=QUESTION,
        )
        assert sorted(node.node.node_id for node in found) == ["0", "1", "2"]
        assert reranker.client.model

    def test_llama_index_reranked_query(
        self, reranks: None, ask: Ask, connect_li: Any, index: Any, llm: OPEALLM
    ) -> None:
        reranker = connect_li(OPEARerank, top_n=1)
        engine = index.as_query_engine(llm=llm, similarity_top_k=3, node_postprocessors=[reranker])
        response = ask(engine, "query", QUESTION)
        assert response.response.strip()
        check_sources(response, 1)
        assert (requests(reranker), requests(llm)) == (1, 1)

    def test_llama_index_reranked_query_stream(
        self, reranks: None, ask: Ask, connect_li: Any, index: Any, llm: OPEALLM
    ) -> None:
        reranker = connect_li(OPEARerank, top_n=2)
        engine = index.as_query_engine(
            llm=llm, similarity_top_k=3, node_postprocessors=[reranker], streaming=True
        )
        pieces, response = ask.words(engine, "query", QUESTION)
        assert "".join(pieces).strip()
        check_sources(response)

    def test_llama_index_rerank_of_chat_model(
        self, ask: Ask, connect_li: Any, server: Server
    ) -> None:
        """A server that was started without ``--reranking``: asking again will not help."""
        reranker = connect_li(OPEARerank, api_base=server.url, model=server.model)
        with pytest.raises(errors.OPEAError, match="does not support reranking") as caught:
            ask(
                reranker,
                "postprocess_nodes",
                [NodeWithScore(node=node) for node in nodes()],
                query_str=QUESTION,
            )
        check_error(caught.value, 501)

    # --- errors

    def test_llama_index_wrong_key(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(api_key="sk-wrong")
        for method, asked in (("chat", user(HELLO)), ("stream_complete", HELLO)):
            with pytest.raises(errors.AuthenticationError, match="Invalid API Key") as caught:
                ask(llm, method, asked)
            check_error(caught.value, 401)
            assert "sk-wrong" not in f"{caught.value} {caught.value.body}"

    def test_llama_index_embeddings_wrong_key(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(errors.AuthenticationError, match="Invalid API Key") as caught:
            ask(connect_li(OPEAEmbedding, api_key="sk-wrong"), "get_text_embedding", "hello")
        check_error(caught.value, 401)

    def test_llama_index_embeddings_of_chat_model(
        self, ask: Ask, connect_li: Any, server: Server
    ) -> None:
        with pytest.raises(errors.OPEAError, match="does not support embeddings") as caught:
            ask(
                connect_li(OPEAEmbedding, api_base=server.url, model_name=server.model),
                "get_text_embedding_batch",
                ["hello"],
            )
        check_error(caught.value, 501)
