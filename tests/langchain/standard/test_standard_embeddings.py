"""All of LangChain's integration tests for embeddings."""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from standard_flags import Vectors

pytestmark = pytest.mark.vcr


class TestEmbeddings(Vectors, EmbeddingsIntegrationTests):
    """Strings go out, lists of floats come in."""
