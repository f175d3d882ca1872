"""All of the conformance suite for embeddings."""

from __future__ import annotations

import pytest
from li_flags import Vectors

from llama_index_opea.testing import EmbeddingConformance

pytestmark = pytest.mark.vcr


class TestEmbedding(Vectors, EmbeddingConformance):
    """Every flag is on, so every test runs."""
