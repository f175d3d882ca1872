"""llama-server of llama.cpp, asked in the Responses dialect."""

from __future__ import annotations

from typing import Any

import pytest
from live_cases import GREETING, PERSON, STEADY, THINKING, Connect, check_chunks, check_whole
from live_responses import ResponsesCases
from live_servers import SERVERS, Server

from opea_core import errors


@pytest.fixture
def server() -> Server:
    return SERVERS["llama-server"]


class TestResponsesLlamaServer(ResponsesCases):
    """What all servers do, and what is llama-server's own way."""

    def test_responses_length(self, client: Any) -> None:
        """It says ``completed`` of an answer that it cut."""
        response = client.chat(GREETING, temperature=0, max_tokens=3)
        check_whole(response, "length")
        assert response.raw["status"] == "completed"
        assert response.usage.completion_tokens == 3

    def test_responses_reasoning(self, client: Any) -> None:
        """Its reasoning is not encrypted, so it stays away from the next turn."""
        options = {"extra_body": THINKING, "temperature": 0, "max_tokens": 100}
        first = client.chat(GREETING, **options)
        check_whole(first)
        assert first.reasoning.strip()
        (reasoning, _) = first.message["response_items"]
        assert (reasoning["type"], reasoning["encrypted_content"]) == ("reasoning", "")

    def test_responses_stream_reasoning(self, client: Any) -> None:
        chunks = client.stream_chat(GREETING, **THINKING, temperature=0, max_tokens=100)
        response = check_chunks(chunks)
        check_whole(response)
        assert response.reasoning.strip()

    def test_responses_stop(self, client: Any) -> None:
        """A field that the dialect has no place for; it takes it."""
        response = client.chat(GREETING, stop=["has"], **STEADY)
        assert "has" not in response.content
        assert response.meta.dropped == ()

    def test_responses_schema(self, client: Any) -> None:
        """It does not look at ``text.format``, and we say so."""
        schema = {"name": "person", "strict": True, "schema": PERSON}
        response = client.chat(GREETING, output_schema=schema, temperature=0, max_tokens=150)
        assert response.content
        assert any("output_schema was ignored" in warning for warning in response.warnings)

    def test_responses_logprobs(self, client: Any) -> None:
        """It refuses them, which is learned."""
        response = client.chat(GREETING, logprobs=True, top_logprobs=2, **STEADY)
        assert "top_logprobs" in response.meta.dropped
        assert response.content

    def test_responses_previous(self, connect: Connect) -> None:
        with pytest.raises(errors.InvalidRequestError, match="previous_response_id"):
            connect().responses("Say hello.", previous_response_id="resp_1")

    def test_responses_wrong_key(self, connect: Connect) -> None:
        with pytest.raises(errors.AuthenticationError, match="Invalid API Key") as caught:
            connect(api_key="sk-wrong", dialect="responses").chat(GREETING, **STEADY)
        assert "sk-wrong" not in str(caught.value)
