"""A LiteLLM proxy in front of llama-server:
the same answers by another way, and the proxy's own errors.
"""

from __future__ import annotations

from typing import Any

import pytest
from live_cases import GREETING, STEADY, Cases, Connect, check_error, check_whole
from live_servers import SERVERS, Server

from opea_core import errors
from opea_core.errors import OPEAError


@pytest.fixture
def server() -> Server:
    return SERVERS["litellm"]


def refused(client: Any, model: str, times: int = 1) -> OPEAError:
    """The error of the first request that the proxy refuses."""
    for _ in range(times):
        try:
            client.chat(GREETING, model=model, **STEADY)
        except OPEAError as error:
            return error
    pytest.fail(f"{model} answered {times} times")


class TestLiteLLM(Cases):
    """What all servers do, and what the proxy adds."""

    def test_models_of_proxy(self, client: Any) -> None:
        models = {model.id: model for model in client.models()}
        assert {"tiny-chat", "tiny-embed", "rpm-1"} <= models.keys()
        assert models["tiny-chat"].context_length is None  # the proxy does not tell

    def test_unknown_model(self, connect: Connect) -> None:
        error = refused(connect(max_retries=1), "no-such-model")
        assert isinstance(error, errors.InvalidRequestError)
        check_error(error, 400)
        assert "Invalid model name" in error.message

    def test_wrong_key(self, connect: Connect) -> None:
        """Without a database the proxy cannot look a key up, and says so instead of 401."""
        error = refused(connect(api_key="sk-wrong"), "tiny-chat")
        assert isinstance(error, errors.AuthenticationError)
        check_error(error, 400)
        assert "No connected db" in error.message

    def test_no_key(self, connect: Connect) -> None:
        error = refused(connect(api_key=None), "tiny-chat")
        assert isinstance(error, errors.AuthenticationError)
        check_error(error, 401)
        assert "No api key passed in" in error.message
        assert "OPEA_API_KEY" in error.hint

    def test_rpm_limit(self, client: Any) -> None:
        """One request a minute: the next one is told how long to wait,
        in a header that carries the upstream's name.
        """
        error = refused(client, "rpm-1", times=3)
        assert isinstance(error, errors.RateLimited)
        check_error(error, 429)
        assert error.is_rate_limit_error
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 60
        assert "retry-after" not in error.headers
        assert float(error.headers["llm_provider-retry-after"]) == error.retry_after

    def test_rate_limit_without_wait(self, client: Any) -> None:
        error = refused(client, "mock-429")
        assert type(error) is errors.RateLimited
        check_error(error, 429)
        assert error.retry_after is None
        assert "mock rate limit error" in error.message

    def test_cooldown(self, client: Any) -> None:
        """The proxy's own key is refused by the upstream:
        401, and then the deployment rests for some seconds.
        """
        error = refused(client, "wrong-upstream-key")
        if isinstance(error, errors.AuthenticationError):
            check_error(error, 401)
            assert "upstream" in error.hint
            error = refused(client, "wrong-upstream-key")
        assert isinstance(error, errors.RateLimited)
        check_error(error, 429)
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 10
        assert "No deployments available" in error.message

    def test_mock_context_overflow(self, client: Any) -> None:
        error = refused(client, "mock-context")
        assert isinstance(error, errors.ContextOverflowError)
        check_error(error, 400)

    def test_mock_server_error(self, client: Any) -> None:
        error = refused(client, "mock-500")
        assert type(error) is errors.ServerError
        check_error(error, 500)
        assert error.is_transient_error
        assert "mock internal server error" in error.message

    def test_server_error_is_retried(self, connect: Connect) -> None:
        error = refused(connect(max_retries=1, initial_retry_delay=0.01), "mock-500")
        assert type(error) is errors.ServerError
        assert [attempt.status_code for attempt in error.attempts] == [500, 500]
        assert "2 attempts" in str(error)

    def test_dead_upstream(self, client: Any) -> None:
        error = refused(client, "dead")
        assert type(error) is errors.ServerError
        check_error(error, 500)
        assert "Connection error" in error.message

    def test_stream_dead_upstream(self, client: Any) -> None:
        with pytest.raises(errors.ServerError, match="Connection error") as caught:
            client.stream_chat(GREETING, model="dead", **STEADY)
        check_error(caught.value, 500)

    def test_fallback(self, client: Any) -> None:
        response = client.chat(GREETING, model="dead-with-fallback", **STEADY)
        check_whole(response)
        assert response.headers["x-litellm-attempted-fallbacks"] == "1"
