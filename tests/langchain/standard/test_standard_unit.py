"""All of LangChain's unit tests for chat models and embeddings."""

from __future__ import annotations

from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests
from standard_flags import FROM_ENVIRONMENT, EveryFlag, Vectors


class TestChatUnit(EveryFlag, ChatModelUnitTests):
    init_from_env_params = FROM_ENVIRONMENT


class TestEmbeddingsUnit(Vectors, EmbeddingsUnitTests):
    init_from_env_params = FROM_ENVIRONMENT
