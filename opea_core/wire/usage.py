"""Token counts and finish reasons, as every server spells them."""

from __future__ import annotations

from typing import Any

from opea_core.types import Json, Usage

_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
BROKEN_FINISH = frozenset({"error", "abort", "insufficient_system_resource"})
"""Finish reasons that say the server gave up."""

_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "num_cached_tokens")


def finish_reason(raw: Any, has_calls: bool) -> str | None:
    """The finish reason in the protocol's words; ``stop`` with tool calls means ``tool_calls``."""
    if not isinstance(raw, str) or not raw:
        return None
    reason = _FINISH.get(raw.lower(), raw)
    return "tool_calls" if has_calls and reason == "stop" else reason


def merge_usage(known: Json | None, news: Any) -> Json | None:
    """The last non-null value of every field, nested ones too; never a sum."""
    if not isinstance(news, dict):
        return known
    merged = dict(known or {})
    for key, value in news.items():
        if isinstance(value, dict):
            merged[key] = merge_usage(merged.get(key) if isinstance(merged.get(key), dict) else None, value)
        elif value is not None or key not in merged:
            merged[key] = value
    return merged


def read_usage(raw: Json | None) -> Usage | None:
    """The counts of a usage object; None if there is none or it is empty."""
    if not raw:
        return None
    details = raw.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if cached is None:
        cached = next((n for n in (_count(raw.get(name)) for name in _CACHED) if n is not None), None)
    details = raw.get("completion_tokens_details")
    reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    return Usage(
        prompt_tokens=_count(raw.get("prompt_tokens")),
        completion_tokens=_count(raw.get("completion_tokens")),
        total_tokens=_count(raw.get("total_tokens")),
        cached_tokens=cached,
        reasoning_tokens=_count(raw.get("reasoning_tokens")) if reasoning is None else reasoning,
        raw=raw,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (float("inf"), float("-inf")):
        return None
    return int(value)
