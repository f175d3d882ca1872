"""The keywords of ``ChatOpenAI``.

What they are called here, which have no effect, which are refused and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.adapters import COMMON_ALIASES

ALIASES: Mapping[str, str] = {
    **COMMON_ALIASES,
    "model": "model_name",
    "max_completion_tokens": "max_tokens",
    "openai_api_key": "api_key",
    "openai_api_base": "base_url",
    "openai_api_version": "api_version",
    "opea_api_url": "base_url",
    "api_base": "base_url",
    "stop_sequences": "stop",
    "openai_organization": "organization",
    "openai_proxy": "proxy",
    "async_http_client": "http_async_client",
}
"""Other names of a field, from ChatOpenAI and from the core."""

NO_EFFECT = frozenset({"tiktoken_model_name", "http_socket_options"})
"""Taken with one warning: there is nothing here they could change."""

_RESPONSES = (
    "That is a field of the Responses dialect: give use_responses_api=True (or"
    ' dialect="responses") beside it.'
)
OF_RESPONSES = frozenset({"reasoning", "include", "truncation", "context_management"})
"""Fields of a request that only the Responses dialect has."""
_SDK = "There is no OpenAI SDK here. Share connections and limits with client=opea_core.OPEA(...)."
REFUSED: Mapping[str, str] = {
    "prompt_cache_options": "Put it into extra_body=.",
    "use_previous_response_id": (
        "Histories are sent whole. To go on from a stored answer, pass"
        " previous_response_id= per call."
    ),
    "reasoning": (
        "Use reasoning_effort=, or the server's own field in extra_body=; with"
        " use_responses_api=True it is taken as it is."
    ),
    "include": _RESPONSES,
    "truncation": _RESPONSES,
    "context_management": _RESPONSES,
    "async_client": _SDK,
    "root_client": _SDK,
    "root_async_client": _SDK,
}
"""Cannot be honoured; None and False are taken as not given."""

EMBEDDINGS_NO_EFFECT = frozenset(
    {
        "allowed_special",
        "check_embedding_ctx_length",
        "disallowed_special",
        "embedding_ctx_length",
        "http_socket_options",
        "openai_api_type",
        "retry_max_seconds",
        "retry_min_seconds",
        "show_progress_bar",
        "skip_empty",
        "tiktoken_enabled",
        "tiktoken_model_name",
    }
)
"""The same for ``OpenAIEmbeddings``: texts are sent as strings, so nothing is tokenised here."""

EMBEDDINGS_REFUSED: Mapping[str, str] = {
    "async_client": _SDK,
    "deployment": "Name the deployment in model=, or in base_url= with api_version=.",
}

RERANK_ALIASES: Mapping[str, str] = {**ALIASES, "top_k": "top_n"}
"""The same for ``OPEARerank``: some of its siblings in LangChain say ``top_k``."""


def of_responses(given: Mapping[str, Any]) -> dict[str, Any]:
    """``use_responses_api`` as a dialect; fields that only this dialect has as ``extra_body``."""
    found = {name: value for name, value in given.items() if name != "use_responses_api"}
    wish = given.get("use_responses_api")
    if wish is not None:
        found.setdefault("dialect", "responses" if wish else "chat")
    own = {name: found[name] for name in OF_RESPONSES if found.get(name) is not None}
    if own and found.get("dialect") == "responses":
        found = {name: value for name, value in found.items() if name not in own}
        found["extra_body"] = own | dict(found.get("extra_body") or {})
    return found


def leave_out(disabled: Mapping[str, Any] | None, *places: dict[str, Any]) -> None:
    """Take parameters out that are disabled.

    Each has None (always) or a list of the values meant.
    """
    for name, values in (disabled or {}).items():
        for place in places:
            if values is None or place.get(name) in values:
                place.pop(name, None)
    if "stream_options" in (disabled or {}) and places:
        places[0].setdefault("stream_options", None)  # else the core asks for usage
