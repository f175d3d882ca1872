"""LangChain on a LiteLLM proxy in front of llama-server:
the same answers, and the proxy's own errors.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions as lc
from live_langchain import HELLO, LangChainCases
from live_langchain_asking import Ask, check_error, check_message
from live_servers import SERVERS, Server

from langchain_opea import OPEAEmbeddings


@pytest.fixture
def server() -> Server:
    return SERVERS["litellm"]


class TestLangChainLiteLLM(LangChainCases):
    """What all servers do, and what the proxy adds."""

    def test_langchain_no_model(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(
            lc.ModelInvalidRequestError, match="serves several: tiny-chat, tiny-embed, dead"
        ) as caught:
            ask(connect_lc(model=None), "invoke", HELLO)
        assert not caught.value.is_retryable
        assert caught.value.response is None

    def test_langchain_discover(self, ask: Ask, connect_lc: Any) -> None:
        """The proxy does not tell how much a model takes; a profile that was given stays."""
        model = connect_lc(profile={"max_input_tokens": 1000})
        assert ask(model, "discover") is model
        assert model.profile == {"max_input_tokens": 1000}

    def test_langchain_headers(self, ask: Ask, connect_lc: Any) -> None:
        message = ask(connect_lc(include_response_headers=True), "invoke", HELLO)
        assert message.response_metadata["headers"]["x-litellm-model-group"] == "tiny-chat"
        assert (
            message.response_metadata["request_id"]
            == message.response_metadata["headers"]["x-litellm-call-id"]
        )

    def test_langchain_unknown_model(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelInvalidRequestError, match="Invalid model name") as caught:
            ask(connect_lc(model="no-such-model", max_retries=1), "invoke", HELLO)
        check_error(caught.value, 400)
        assert "It serves: tiny-chat, tiny-embed" in str(caught.value)

    def test_langchain_wrong_key(self, ask: Ask, connect_lc: Any) -> None:
        """Without a database the proxy cannot look a key up, and says so instead of 401."""
        with pytest.raises(lc.ModelAuthenticationError, match="No connected db") as caught:
            ask(connect_lc(api_key="sk-wrong"), "invoke", HELLO)
        check_error(caught.value, 400)

    def test_langchain_rate_limit(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelRateLimitError, match="mock rate limit error") as caught:
            ask(connect_lc(model="mock-429"), "invoke", HELLO)
        check_error(caught.value, 429, retryable=True)

    def test_langchain_mock_context_overflow(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ContextOverflowError) as caught:
            ask(connect_lc(model="mock-context"), "invoke", HELLO)
        check_error(caught.value, 400)

    def test_langchain_dead_upstream(self, ask: Ask, connect_lc: Any) -> None:
        with pytest.raises(lc.ModelAPIError, match="Connection error") as caught:
            ask(connect_lc(model="dead"), "stream", HELLO)
        check_error(caught.value, 500, retryable=True)

    def test_langchain_fallback_of_dead_upstream(self, ask: Ask, connect_lc: Any) -> None:
        chunks = ask(connect_lc(model="dead").with_fallbacks([connect_lc()]), "stream", HELLO)
        assert "".join(chunk.text for chunk in chunks).strip()

    def test_langchain_fallback_of_proxy(self, ask: Ask, connect_lc: Any) -> None:
        check_message(ask(connect_lc(model="dead-with-fallback"), "invoke", HELLO))

    def test_langchain_embeddings_of_chat_model(
        self, ask: Ask, connect_lc: Any, server: Server
    ) -> None:
        with pytest.raises(lc.ModelAPIError, match="does not support embeddings") as caught:
            ask(connect_lc(OPEAEmbeddings, model=server.model), "embed_query", "hello")
        check_error(caught.value, 501)
