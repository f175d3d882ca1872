"""LangChain's integration tests for chat models over the Responses dialect.

Sound as output, and the details of tokens for it, are nothing that this dialect has.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from responses_upstream import RESPONSES_DETAILS
from standard_flags import EveryRequest

pytestmark = pytest.mark.vcr


class TestChatResponses(EveryRequest, ChatModelIntegrationTests):
    """Every request is checked as a strict server of this dialect checks it."""

    structured_output_kwargs: Any = {}
    supported_usage_metadata_details: Any = RESPONSES_DETAILS

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return super().chat_model_params | {"dialect": "responses"}
