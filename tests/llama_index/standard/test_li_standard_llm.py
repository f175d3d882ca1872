"""All of the conformance suite for LLMs."""

from __future__ import annotations

import pytest
from li_flags import EveryFlag

from llama_index_opea.testing import LLMConformance

pytestmark = pytest.mark.vcr


class TestLLM(EveryFlag, LLMConformance):
    """Every flag is on, so every test runs."""
