"""llama-server of llama.cpp, asked directly."""

from __future__ import annotations

from typing import Any

import pytest
from live_cases import GREETING, STEADY, TOO_LONG, Cases, Connect, check_error, check_whole
from live_servers import SERVERS, Server

from opea_core import errors


@pytest.fixture
def server() -> Server:
    return SERVERS["llama-server"]


class TestLlamaServer(Cases):
    """What all servers do, and what is llama-server's own way."""

    def test_model_context_length(self, client: Any) -> None:
        (model,) = client.models()
        assert model.id == "tiny-chat"
        assert model.context_length == 2048  # the served size, not the one of the training

    def test_unknown_model(self, client: Any) -> None:
        """Any name is taken for the one model that is loaded."""
        response = client.chat(GREETING, model="no-such-model", **STEADY)
        check_whole(response)
        assert response.requested_model == "no-such-model"
        assert response.model == "tiny-chat"

    def test_context_overflow_numbers(self, client: Any) -> None:
        with pytest.raises(errors.ContextOverflowError, match="2,119 tokens asked, 2,048 possible"):
            client.chat(TOO_LONG)

    def test_wrong_key(self, connect: Connect) -> None:
        with pytest.raises(errors.AuthenticationError, match="Invalid API Key") as caught:
            connect(api_key="sk-wrong").chat(GREETING, **STEADY)
        check_error(caught.value, 401)
        assert caught.value.is_auth_error
        assert "api_key=" in str(caught.value)
        assert "sk-wrong" not in str(caught.value)

    def test_no_key(self, connect: Connect) -> None:
        with pytest.raises(errors.AuthenticationError, match="No key was sent") as caught:
            connect(api_key=None).chat(GREETING, **STEADY)
        check_error(caught.value, 401)

    def test_embeddings_of_chat_model(self, client: Any) -> None:
        """A server that was started without ``--embeddings``."""
        with pytest.raises(errors.ServerError, match="does not support embeddings") as caught:
            client.embed("hello")
        assert caught.value.status_code == 501
        assert not caught.value.is_transient_error
