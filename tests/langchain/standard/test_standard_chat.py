"""All of LangChain's integration tests for chat models,
once for each way to ask for structured output.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from standard_flags import EveryRequest

pytestmark = pytest.mark.vcr


class TestChatAutomatic(EveryRequest, ChatModelIntegrationTests):
    """The method is chosen by what the endpoint can do."""

    structured_output_kwargs: Any = {}


class TestChatFunctionCalling(EveryRequest, ChatModelIntegrationTests):
    structured_output_kwargs: Any = {"method": "function_calling"}


class TestChatJsonSchema(EveryRequest, ChatModelIntegrationTests):
    structured_output_kwargs: Any = {"method": "json_schema"}
