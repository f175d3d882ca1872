"""LangChain on llama-server of llama.cpp, asked directly."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions as lc
from live_langchain import HELLO, LangChainCases
from live_langchain_asking import Ask, check_error, check_message
from live_servers import SERVERS, Server

from langchain_opea import ChatOPEA, OPEAEmbeddings


@pytest.fixture
def server() -> Server:
    return SERVERS["llama-server"]


class TestLangChainLlamaServer(LangChainCases):
    """What all servers do, and what llama-server tells of itself."""

    def test_langchain_discover(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(model=None)
        assert ask(model, "discover") is model
        assert model.model == "tiny-chat"
        assert model.profile == {"max_input_tokens": 2048}
        assert model.client.endpoints[0].max_concurrent == 2
        check_message(ask(model, "invoke", HELLO))

    def test_langchain_no_model(self, ask: Ask, connect_lc: Any) -> None:
        """The first call asks which model there is, the others know."""
        model = connect_lc(model=None)
        check_message(ask(model, "invoke", HELLO))
        check_message(ask(model, "invoke", HELLO))
        assert model.model == "tiny-chat"

    def test_langchain_stream_no_model(self, ask: Ask, connect_lc: Any) -> None:
        model = connect_lc(model=None)
        assert "".join(chunk.text for chunk in ask(model, "stream", HELLO)).strip()
        assert model.model == "tiny-chat"

    def test_langchain_embeddings_no_model(self, ask: Ask, connect_lc: Any) -> None:
        embeddings = connect_lc(OPEAEmbeddings, model=None)
        assert ask(embeddings, "embed_query", "hello")
        assert embeddings.model == "tiny-embed"

    def test_langchain_unknown_model(self, ask: Ask, connect_lc: Any) -> None:
        """Any name is taken for the one model that is loaded; the answer says which it was."""
        check_message(ask(connect_lc(model="no-such-model"), "invoke", HELLO))

    def test_langchain_wrong_key(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelAuthenticationError, match="Invalid API Key") as caught:
            ask(connect_lc(api_key="sk-wrong"), "invoke", HELLO)
        check_error(caught.value, 401)
        assert "sk-wrong" not in f"{caught.value} {caught.value.response}"

    def test_langchain_embeddings_wrong_key(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelAuthenticationError, match="Invalid API Key") as caught:
            ask(connect_lc(OPEAEmbeddings, api_key="sk-wrong"), "embed_query", "hello")
        check_error(caught.value, 401)

    def test_langchain_embeddings_of_chat_model(
        self, ask: Ask, connect_lc: Any, model: ChatOPEA, server: Server
    ) -> None:
        """A server that was started without ``--embeddings``: asking again will not help."""
        with pytest.raises(lc.ModelAPIError, match="does not support embeddings") as caught:
            ask(
                connect_lc(OPEAEmbeddings, base_url=server.url, model=server.model),
                "embed_query",
                "hello",
            )
        check_error(caught.value, 501)
