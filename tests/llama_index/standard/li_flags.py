"""How ``OPEALLM``, ``OPEAEmbedding`` and ``OPEARerank`` are put through the conformance
suite: every flag on.
"""

from __future__ import annotations

from typing import Any

from li_upstream import BROKEN, CUT, PROSE, REFUSED, TOO_FEW
from standard_cassettes import base_url

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank

KEY = "not-a-key"
HEADER = "not-to-be-shown"
ONCE = "only-for-this-call"


def options(**more: Any) -> dict[str, Any]:
    """What all of them are made with."""
    return {
        "api_base": base_url(),
        "api_key": KEY,
        "default_headers": {"x-team": HEADER},
        "max_retries": 1,
        **more,
    }


class EveryFlag:
    """What the LLM can do: all there is."""

    llm_class = OPEALLM
    supports_tools = True
    supports_parallel_tools = True
    supports_tool_choice = True
    supports_text_and_tool = True
    supports_reasoning = True
    supports_images = True
    supports_audio = True
    supports_documents = True
    supports_structured = True
    supports_json_schema = True
    supports_logprobs = True
    supports_agents = True
    returns_usage = True
    returns_finish_reason = True
    repeats_itself = True
    has_async = True
    reasoning_params: Any = {"reasoning_effort": "low"}
    json_schema_params: Any = {"should_use_structured_outputs": True}
    one_request_params: Any = {"max_concurrent": 1, "queue_timeout": 1.0}
    failing_params: Any = {"model": REFUSED}
    cut_stream_params: Any = {"model": CUT}
    broken_stream_params: Any = {"model": BROKEN}
    prose_params: Any = {"model": PROSE}
    secret_kwargs: Any = {"extra_headers": {"x-once": ONCE}}

    @property
    def llm_params(self) -> dict[str, Any]:
        return options(model="m1", context_window=100_000)


class Vectors:
    """The embeddings under test."""

    embedding_class = OPEAEmbedding
    prefix_params: Any = {"query_prefix": "query: ", "text_prefix": "passage: "}
    dimensions_params: Any = {"dimensions": 4}
    failing_params: Any = {"model_name": REFUSED}
    too_few_params: Any = {"model_name": TOO_FEW}

    @property
    def embedding_params(self) -> dict[str, Any]:
        return options(model_name="m1")


class Ranks:
    """The reranker under test."""

    rerank_class = OPEARerank
    failing_params: Any = {"model": REFUSED}

    @property
    def rerank_params(self) -> dict[str, Any]:
        return options(model="m1")
