"""Token counts and finish reasons, as every server spells them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from opea_core.types import Json, Usage

_FINISH = {
    reason: kind
    for kind, reasons in {
        "stop": (
            "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_str", "end", "complete",
            "completed", "finished",
        ),
        "length": (
            "length", "max_tokens", "max_output_tokens", "max_length", "model_length",
            "token_limit", "max_completion_tokens", "model_context_window_exceeded",
            "context_window_exceeded", "context_length_exceeded", "context_length",
        ),
        "tool_calls": (
            "tool_calls", "tool_call", "tool_use", "tool", "tools", "function_call",
            "function_calls", "builtin_function",
        ),
        "content_filter": (
            "content_filter", "content_filtered", "safety", "sensitive", "recitation",
            "prohibited_content", "blocklist", "spii", "image_safety", "guardrail_intervened",
        ),
    }.items()
    for reason in reasons
}  # fmt: skip
# The text before such a reason is not the answer (P14).
_BROKEN = re.compile(
    r"(?i)(\w{1,30}_)?error(_\w{1,30})?|abort(ed)?|cancel(l)?ed|failed|failure|interrupted"
    r"|insufficient_system_resource|(\w{1,30}_)?time(d_)?out"
)


def is_broken(reason: str | None) -> bool:
    """Whether a finish reason says that the server gave up."""
    return (
        reason is not None
        and reason not in _KINDS
        and len(reason) <= _LONGEST
        and _BROKEN.fullmatch(reason) is not None
    )


_KINDS = frozenset(_FINISH.values())
_LONGEST = 64
_MOST_TOKENS = 2**53
_CACHE_WRITTEN = ("cache_creation_tokens", "cache_write_tokens", "cache_creation_input_tokens")
_CACHED = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "num_cached_tokens",
)


def finish_reason(raw: Any, has_calls: bool) -> str | None:
    """The finish reason in the protocol's words; ``stop`` with tool calls means ``tool_calls``."""
    if not isinstance(raw, str) or not raw:
        return None
    # An unknown reason stays as it is: it tells the caller more than a guess.
    reason = _FINISH.get(raw.lower().replace("-", "_").strip(), raw)
    return "tool_calls" if has_calls and reason == "stop" else reason


def merge_usage(known: Json | None, news: Any) -> Json | None:
    """The last non-null value of every field, nested ones too; never a sum.

    ``known`` was made here, and is changed.
    """
    if not isinstance(news, dict):
        return known
    merged: Json = known if known is not None else {}
    for key, value in news.items():
        if isinstance(value, dict):
            before = merged.get(key)
            merged[key] = merge_usage(before if isinstance(before, dict) else None, value)
        elif value is not None or key not in merged:
            merged[key] = value
    return merged


def copied(usage: Json) -> Json:
    """Usage as it is now, whatever is merged into it later."""
    copy = dict(usage)
    for key, value in usage.items():
        if isinstance(value, dict):
            copy[key] = copied(value)
    return copy


def read_usage(raw: Json | None) -> Usage | None:
    """The counts of a usage object; None if there is none or it is empty."""
    if not raw:
        return None
    # The Responses dialect speaks of input and output.
    prompt = _details(raw, "prompt_tokens_details") or _details(raw, "input_tokens_details")
    completion = _details(raw, "completion_tokens_details") or _details(
        raw, "output_tokens_details"
    )
    return Usage(
        prompt_tokens=_first((raw,), ("prompt_tokens", "input_tokens")),
        completion_tokens=_first((raw,), ("completion_tokens", "output_tokens")),
        total_tokens=_count(raw.get("total_tokens")),
        cached_tokens=_first((prompt, raw), _CACHED),
        reasoning_tokens=_first((completion, raw), ("reasoning_tokens",)),
        cache_creation_tokens=_first((prompt, raw), _CACHE_WRITTEN),
        input_audio_tokens=_first((prompt,), ("audio_tokens",)),
        output_audio_tokens=_first((completion,), ("audio_tokens",)),
        raw=raw,
    )


def _details(raw: Json, name: str) -> Json:
    details = raw.get(name)
    return details if isinstance(details, dict) else {}


def _first(places: Sequence[Json], names: Sequence[str]) -> int | None:
    """The first count that stands under one of the names, in the first place that has one."""
    for place in places:
        if place:
            for name in names:
                if name in place and (count := _count(place[name])) is not None:
                    return count
    return None


def _count(value: Any) -> int | None:
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        return int(value) if 0 <= value <= _MOST_TOKENS else None
    return None
