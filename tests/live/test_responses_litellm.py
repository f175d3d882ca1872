"""A LiteLLM proxy, asked in the Responses dialect, which it bridges to chat."""

from __future__ import annotations

from typing import Any

import pytest
from live_cases import GREETING, STEADY, Connect
from live_responses import ResponsesCases
from live_servers import SERVERS, Server

from opea_core import errors


@pytest.fixture
def server() -> Server:
    return SERVERS["litellm"]


class TestResponsesLiteLLM(ResponsesCases):
    """What all servers do, and what is lost at the bridge."""

    def test_responses_ignored(self, client: Any) -> None:
        """Limits and stop words do not come through, and we say so."""
        response = client.chat(GREETING, stop=["two"], temperature=0, max_tokens=3)
        assert any("max_tokens was 3 (it was ignored)" in it for it in response.warnings)
        assert any("stop was ignored" in it for it in response.warnings)
        assert response.finish_reason == "stop"

    def test_responses_unknown_model(self, connect: Connect) -> None:
        client = connect(dialect="responses", max_retries=1)
        with pytest.raises(errors.InvalidRequestError, match="no-such-model"):
            client.chat(GREETING, model="no-such-model", **STEADY)
