"""Model lists of every shape, and where servers put the context length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.errors import BadAnswerError
from opea_core.types import ModelInfo

_CONTEXT_PATHS = (
    ("max_model_len",),  # vLLM, SGLang
    ("meta", "n_ctx"),  # llama.cpp: the served size, not n_ctx_train
    ("context_length",),
    ("context_window",),  # Groq
    ("max_context_length",),  # Mistral, LM Studio
    ("top_provider", "context_length"),
    ("model_spec", "availableContextTokens"),  # Venice
    ("capabilities", "limits", "max_context_window_tokens"),  # Copilot
    ("inputTokenLimit",),  # Gemini
    ("max_input_tokens",),  # Anthropic, LiteLLM
    ("model_info", "max_input_tokens"),
)


def read_models(document: Any) -> list[ModelInfo]:
    """The models of a list answer; raises BadAnswerError if it is no list of models."""
    entries = document
    if isinstance(document, dict):
        # llama.cpp sends both, and "data" is the protocol's.
        entries = next(
            (document[key] for key in ("data", "models") if isinstance(document.get(key), list)),
            None,
        )
    if not isinstance(entries, list):
        raise BadAnswerError(
            "The answer is no list of models.",
            "Is the base URL right? Most servers want it to end in /v1.",
        )
    models = []
    for entry in entries:
        if isinstance(entry, str):
            entry = {"id": entry}
        if isinstance(entry, dict):
            name = next(
                (
                    entry[key]
                    for key in ("id", "name", "model_name", "model")
                    if isinstance(entry.get(key), str)
                ),
                None,
            )
            if name:
                models.append(
                    ModelInfo(id=name, context_length=context_length(entry), raw=dict(entry))
                )
    return models


def read_token_count(document: Any) -> int:
    """The count of a tokenizer's answer, or of the tokens in it.

    Raises BadAnswerError if it has neither.
    """
    found = document if isinstance(document, dict) else {}
    count, tokens = found.get("count"), found.get("tokens")
    if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
        return count
    if not isinstance(tokens, list):
        raise BadAnswerError(
            "The answer has neither a count nor tokens.",
            "Not every server counts tokens at /tokenize.",
        )
    return len(tokens)


def context_length(entry: Mapping[str, Any]) -> int | None:
    """Tokens the served model takes, from the first field that tells."""
    for path in _CONTEXT_PATHS:
        value: Any = entry
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if _positive(value):
            return int(value)
    providers = entry.get("providers")
    if isinstance(providers, list):
        # Any of them may serve a call, so the smallest window is the one that holds.
        lengths: list[Any] = [p.get("context_length") for p in providers if isinstance(p, dict)]
        return min((int(n) for n in lengths if _positive(n)), default=None)
    return None


def _positive(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    )
