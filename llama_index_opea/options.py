"""The keywords of ``OpenAILike`` and its embeddings.

What they are called here, which have no effect, which are refused and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core import ConfigurationError
from opea_core.adapters import COMMON_ALIASES

_CONNECTION: Mapping[str, str] = {
    **COMMON_ALIASES,
    "base_url": "api_base",
    "opea_api_url": "api_base",
    "http_async_client": "async_http_client",
    "model_kwargs": "additional_kwargs",
}

ALIASES: Mapping[str, str] = {
    **_CONNECTION,
    "model_name": "model",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "stop_sequences": "stop",
}
"""Other names of a field of ``OPEALLM``, from OpenAILike, ChatOPEA and the core."""

EMBEDDING_ALIASES: Mapping[str, str] = {
    **_CONNECTION,
    "model": "model_name",
    "document_prefix": "text_prefix",
    "chunk_size": "embed_batch_size",
}

RERANK_ALIASES: Mapping[str, str] = {**_CONNECTION, "model_name": "model", "top_k": "top_n"}

_SDK = "There is no OpenAI SDK here. Share connections and limits with client=opea_core.OPEA(...)."
REFUSED: Mapping[str, str] = {"openai_client": _SDK, "async_openai_client": _SDK}
"""Cannot be honoured; None and False are taken as not given."""

TAKEN = frozenset({"reuse_client", "class_name"})
"""Taken without a word: connections are always kept, and ``class_name`` stands in stored dicts."""


def refuse_own(found: Mapping[str, Any], *names: str, **advice: str) -> None:
    """Refuse further fields of the request that are what the call itself says.

    Raises ConfigurationError.

    Those fields would stand in place of the texts that the vectors, or the scores, are for.
    """
    for name in (*names, *advice):
        if name in found or name in (found.get("extra_body") or {}):
            text = f"{name!r} cannot be a further field of the request: the call itself says it."
            raise ConfigurationError(
                text, advice.get(name, "Take it out of additional_kwargs= and extra_body=.")
            )
