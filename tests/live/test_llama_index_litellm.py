"""LlamaIndex on a LiteLLM proxy in front of llama-server:
the same answers, and the proxy's own errors.
"""

from __future__ import annotations

from typing import Any

import pytest
from live_llama_index import HELLO, WEATHER, LLMCases, get_weather
from live_llama_index_agents import AGENTS, AgentCases
from live_llama_index_asking import Ask, check_answer, check_error, check_growing, requests, user
from live_llama_index_engines import QUESTION, EngineCases, memory, nodes
from live_servers import KEY, SERVERS, Server
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.schema import NodeWithScore

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import OPEA, errors


@pytest.fixture
def server() -> Server:
    return SERVERS["litellm"]


class TestLlamaIndexLiteLLM(LLMCases, EngineCases, AgentCases):
    """What all servers do, and what the proxy adds."""

    def test_llama_index_shared_client(self, ask: Ask, connect_li: Any, server: Server) -> None:
        """One set of limits and connections for the LLM and the embeddings of an engine."""
        opea = OPEA(base_url=server.url, api_key=KEY, max_retries=0)
        llm = OPEALLM(
            client=opea, model=server.model, temperature=0, max_tokens=40, context_window=2048
        )
        index = VectorStoreIndex(
            [], embed_model=OPEAEmbedding(client=opea, model_name=server.embed_model)
        )
        ask(index, "insert_nodes", nodes())
        assert ask(index.as_query_engine(llm=llm), "query", QUESTION).response.strip()
        assert opea.get_stats()["requests"] == 3
        ask(opea, "close")

    # --- what the proxy tells

    def test_llama_index_discover(
        self, ask: Ask, connect_li: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The proxy does not tell how much a model takes."""
        llm = connect_li(context_window=None)
        assert ask(llm, "discover") is llm
        assert (llm.metadata.context_window, llm.metadata.context_window) == (3900, 3900)
        assert caplog.text.count("3900 tokens are assumed") == 1

    def test_llama_index_no_model(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(
            errors.ConfigurationError, match="serves several: tiny-chat, tiny-embed, dead"
        ):
            ask(connect_li(model=None), "chat", user(HELLO))

    def test_llama_index_unknown_model(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(errors.InvalidRequestError, match="Invalid model name") as caught:
            ask(connect_li(model="no-such-model", max_retries=1), "stream_chat", user(HELLO))
        check_error(caught.value, 400)

    # --- errors

    def test_llama_index_wrong_key(self, ask: Ask, connect_li: Any) -> None:
        """Without a database the proxy cannot look a key up, and says so instead of 401."""
        with pytest.raises(errors.AuthenticationError, match="No connected db") as caught:
            ask(connect_li(api_key="sk-wrong"), "chat", user(HELLO))
        check_error(caught.value, 400)

    def test_llama_index_rate_limit(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(model="mock-429")
        with pytest.raises(errors.RateLimited, match="mock rate limit error") as caught:
            ask(llm, "complete", HELLO)
        check_error(caught.value, 429)
        assert requests(llm) == 1

    def test_llama_index_mock_context_overflow(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(errors.ContextOverflowError) as caught:
            ask(connect_li(model="mock-context"), "stream_complete", HELLO)
        check_error(caught.value, 400)

    def test_llama_index_server_error_is_retried(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(model="mock-500", max_retries=1, initial_retry_delay=0.01)
        with pytest.raises(errors.ServerError, match="2 attempts") as caught:
            ask(llm, "chat", user(HELLO))
        assert [attempt.status_code for attempt in caught.value.attempts] == [500, 500]

    def test_llama_index_dead_upstream(self, ask: Ask, connect_li: Any) -> None:
        llm = connect_li(model="dead")
        for method in ("chat", "stream_chat"):
            with pytest.raises(errors.ServerError, match="Connection error") as caught:
                ask(llm, method, user(HELLO))
            check_error(caught.value, 500)

    @AGENTS
    def test_llama_index_agent_at_dead_upstream(self, ask: Ask, connect_li: Any) -> None:
        with pytest.raises(errors.ServerError, match="Connection error"):
            ask.agent(FunctionAgent(tools=[get_weather], llm=connect_li(model="dead")), WEATHER)

    def test_llama_index_query_at_dead_upstream(
        self, ask: Ask, connect_li: Any, index: VectorStoreIndex
    ) -> None:
        with pytest.raises(errors.ServerError, match="Connection error"):
            ask(index.as_query_engine(llm=connect_li(model="dead")), "query", QUESTION)

    @pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnhandledThreadExceptionWarning"
    )  # LlamaIndex raises it in its thread, too
    def test_llama_index_chat_engine_at_dead_upstream(
        self, ask: Ask, connect_li: Any, index: VectorStoreIndex
    ) -> None:
        """A stream that never begins: the error reaches who reads it."""
        engine = index.as_chat_engine(
            llm=connect_li(model="dead"), memory=memory(), chat_mode="context"
        )
        with pytest.raises(errors.ServerError, match="Connection error"):
            ask.words(engine, "stream_chat", QUESTION)

    def test_llama_index_failover(self, ask: Ask, connect_li: Any, server: Server) -> None:
        """Two deployments of a model, the first of them dead."""
        dead = {"base_url": server.url, "api_key": KEY, "model": "dead", "tier": 0}
        alive = {**dead, "model": server.model, "tier": 1}
        llm = connect_li(
            api_base=None,
            api_key=None,
            model=None,
            endpoints=[dead, alive],
            max_retries=1,
            initial_retry_delay=0.01,
        )
        check_answer(ask(llm, "chat", user(HELLO)))
        check_growing(ask(llm, "stream_chat", user(HELLO)))

    def test_llama_index_fallback_of_proxy(self, ask: Ask, connect_li: Any) -> None:
        check_answer(ask(connect_li(model="dead-with-fallback"), "chat", user(HELLO)))

    def test_llama_index_embeddings_of_chat_model(
        self, ask: Ask, connect_li: Any, server: Server
    ) -> None:
        with pytest.raises(errors.OPEAError, match="does not support embeddings") as caught:
            ask(connect_li(OPEAEmbedding, model_name=server.model), "get_text_embedding", "hello")
        check_error(caught.value, 501)

    def test_llama_index_rerank_of_unknown_model(
        self, ask: Ask, connect_li: Any, server: Server
    ) -> None:
        reranker = connect_li(OPEARerank, api_base=server.url, model="no-such-model", max_retries=1)
        with pytest.raises(errors.InvalidRequestError, match="Invalid model name") as caught:
            ask(
                reranker,
                "postprocess_nodes",
                [NodeWithScore(node=node) for node in nodes()],
                query_str=QUESTION,
            )
        check_error(caught.value, 400)
