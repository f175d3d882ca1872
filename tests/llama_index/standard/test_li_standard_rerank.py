"""All of the conformance suite for rerankers."""

from __future__ import annotations

import pytest
from li_flags import Ranks

from llama_index_opea.testing import RerankConformance

pytestmark = pytest.mark.vcr


class TestRerank(Ranks, RerankConformance):
    """Every flag is on, so every test runs."""
