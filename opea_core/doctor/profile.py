"""What a diagnosis found, as the ``Capabilities`` that everything uses."""

from __future__ import annotations

import re
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.doctor import readers
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Value

_DROPPED = {
    "logprobs": ("logprobs", "top_logprobs"),
    "n": ("n",),
    "seed": ("seed",),
    "stop": ("stop",),
    "usage in streams": ("stream_options",),
    "embeddings base64": ("encoding_format",),
}
"""Fields that are not sent again where the row says no."""
_NINE = 9
_NOT: tuple[Value, ...] = ("no", "ignored")


def capabilities_of(known: Known) -> Capabilities:
    """Only what was found: a row that says unknown sets nothing."""
    found: dict[str, Any] = {
        **_sending(known),
        **_tools(known),
        **_reasoning(known),
        **_messages(known),
        **_beside_chat(known),
    }
    dropped = {
        name for row, names in _DROPPED.items() if known.value(row) == "no" for name in names
    }
    effort = known.outcomes.get("reasoning")
    if effort is not None and effort.error is not None and not effort.is_busy:
        dropped.add("reasoning_effort")
    if dropped:
        found["dropped"] = frozenset(dropped)
    return Capabilities(**found)


def window_of(known: Known) -> int | None:
    """Tokens that the model takes, where the server said so."""
    row = known.rows.get("context length")
    digits = re.sub(r"\D", "", row.detail) if row is not None and row.value == "yes" else ""
    return int(digits) if digits else None


def _sending(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    older, newer = known.value("max_tokens"), known.value("max_completion_tokens")
    if newer in _NOT and older == "yes":
        found["max_tokens_field"] = "max_tokens"
    elif older in _NOT and newer == "yes":
        found["max_tokens_field"] = "max_completion_tokens"
    if known.value("usage in streams") == "no":
        found["stream_usage"] = False
    window = window_of(known)
    if window is not None:
        found["context_window"] = window
    return found


def _tools(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tools, parallel = known.value("tools"), known.value("parallel tool calls")
    named, required = known.value("tool_choice named"), known.value("tool_choice required")
    if tools in ("yes", *_NOT):
        found["tools"] = tools == "yes"
    if parallel in ("yes", *_NOT):
        found["parallel_tools"] = parallel == "yes"
    streamed = known.value("tools in streams")
    if streamed in ("yes", *_NOT):
        found["tools_in_streams"] = streamed == "yes"
    if named == "yes":
        found["tool_choice"] = "named"
    elif named in _NOT and required == "yes":
        found["tool_choice"] = "required"
    elif named == "no" and required == "no":
        found["tool_choice"] = "auto"
    form = _form(known, is_forced="yes" in (named, required))
    if form is not None:
        found["structured_output"] = form
    return found


def _form(known: Known, is_forced: bool) -> str | None:
    """How an answer of a schema is best asked for."""
    if known.is_yes("json_schema"):
        return "json_schema"
    if known.is_yes("tools") and is_forced:
        return "function_calling"
    if known.is_yes("json_object"):
        return "json_mode"
    if known.value("json_schema") in _NOT and known.is_yes("tools"):
        return "function_calling"
    return None


def _reasoning(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    row = known.rows.get("reasoning")
    if row is not None and row.value in ("yes", *_NOT):
        found["reasoning"] = row.value == "yes"
        if row.value == "yes" and "<think>" in row.detail:
            found["think_tags"] = True
    back = known.rows.get("reasoning sent back")
    if back is not None and back.value == "no":
        found["send_reasoning"] = "never"
    elif readers.wants_reasoning(known):
        found["send_reasoning"] = "tool_turns"
    return found


def _messages(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    developer, late = known.value("developer role"), known.value("late system")
    if developer in ("yes", *_NOT):
        found["developer_role"] = developer == "yes"
    if late in ("yes", *_NOT):
        found["late_system"] = "keep" if late == "yes" else "merge"
    if known.value("content as a list") in _NOT:
        found["content_lists"] = "text"
    if known.value("empty content") == "no":
        found["tool_content"] = "null"
    if known.value("long tool ids") == "no":
        learned = readers.learned(known.outcomes["long tool ids"])
        length = None if learned is None else learned.tool_id_length
        found["tool_id_length"] = length or _NINE
    images = known.value("images")
    if images in ("yes", *_NOT):
        found["media"] = frozenset({"image"}) if images == "yes" else frozenset()
    return found


def _beside_chat(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rerank = known.rows.get("rerank")
    if rerank is not None and rerank.value == "yes" and rerank.detail:
        found["rerank_beside_v1"] = True
    base64 = known.value("embeddings base64")
    if base64 in ("yes", *_NOT):
        found["embedding_format"] = "base64" if base64 == "yes" else "float"
    batch = known.rows.get("embedding batch")
    if batch is not None and batch.value == "no":
        limit = readers.batch_limit(batch.detail)
        if limit is not None:
            found["embedding_batch"] = limit
    return found
