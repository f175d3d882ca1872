"""A conformance suite for LlamaIndex integrations: inherit it, name your class, and run pytest.

    from llama_index_opea.testing import LLMConformance

    class TestMyLLM(LLMConformance):
        llm_class = MyLLM
        llm_params = {"model": "m1", "api_base": "http://127.0.0.1:8000/v1", "api_key": "k"}
        supports_tools = True

``LLMConformance`` is for any LLM, ``EmbeddingConformance`` for embeddings, ``RerankConformance``
for postprocessors that rerank. What a model or server cannot do is switched off by a flag; its
tests are skipped then. The requests are small and may go to a running server or to cassettes: only
shapes and rules are looked at, not wording. No test may be changed by a subclass, but for an
``xfail`` with a reason.

Needs pytest and, for the async tests, pytest-asyncio (in either of its modes).
"""

try:
    import pytest
except ImportError as missing:  # pragma: no cover
    raise ImportError(
        "llama_index_opea.testing needs pytest: pip install pytest pytest-asyncio"
    ) from missing

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in (
            "agents",
            "chat",
            "checks",
            "embeddings",
            "events",
            "keeping",
            "media",
            "rerank",
            "streams",
            "structured",
            "tools",
            "watching",
        )
    )
)

# After their asserts are made to speak.
from llama_index_opea.testing.agents import AgentTests  # noqa: E402
from llama_index_opea.testing.chat import ChatTests  # noqa: E402
from llama_index_opea.testing.embeddings import EmbeddingConformance  # noqa: E402
from llama_index_opea.testing.events import EventTests  # noqa: E402
from llama_index_opea.testing.keeping import KeepingTests  # noqa: E402
from llama_index_opea.testing.media import MediaTests  # noqa: E402
from llama_index_opea.testing.rerank import RerankConformance  # noqa: E402
from llama_index_opea.testing.streams import StreamTests  # noqa: E402
from llama_index_opea.testing.structured import StructuredTests  # noqa: E402
from llama_index_opea.testing.tools import ToolTests  # noqa: E402

__all__ = ["EmbeddingConformance", "LLMConformance", "RerankConformance"]


class LLMConformance(
    ChatTests,
    StreamTests,
    ToolTests,
    MediaTests,
    StructuredTests,
    AgentTests,
    EventTests,
    KeepingTests,
):
    """All tests for an LLM.

    Give ``llm_class`` and ``llm_params``, set the flags of ``LLMSettings``, and name the subclass
    ``Test...``:

        class TestMyLLM(LLMConformance):
            @property
            def llm_class(self):
                return MyLLM

            @property
            def llm_params(self):
                return {"model": "m1", "api_key": "k"}

            @property
            def supports_reasoning(self):
                return True

            @property
            def reasoning_params(self):
                return {"reasoning_effort": "low"}

    Plain class attributes do as well. A test that your LLM cannot pass may be excused, never
    changed:

            @pytest.mark.xfail(reason="the server counts no tokens in streams: https://...")
            def test_usage_stream_last(self):
                super().test_usage_stream_last()
    """
