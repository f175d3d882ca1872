"""What came with an answer and goes back with it.

Signed reasoning, signatures of calls, sounds by their ids.

Both frameworks keep it beside their messages under the names here. It is sent only to the base URL
and the model that gave it, as no other could read it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from opea_core.types import CALL_SIGNATURES, ORIGIN, SIGNED_FIELDS, ChatResponse, Choice, Json

RETURNED = (*SIGNED_FIELDS, *CALL_SIGNATURES, "audio", "refusal")
"""Fields of an assistant's message that go back as they came."""
CALL_EXTRAS = "tool_call_extras"
"""By the id of a call: what the server sent with it besides name and arguments."""
CALL_ARGUMENTS = "tool_call_arguments"
"""By the id of a call: its arguments letter by letter.

Kept where a framework would write them otherwise.
"""


def kept(response: ChatResponse, choice: Choice, own: Collection[str]) -> Json:
    """What a framework's message is to keep of a choice.

    ``own`` are names that the framework uses itself.
    """
    found: Json = {
        key: value
        for key, value in choice.extra.items()
        if key not in own and value not in (None, "", [], {})
    }
    if choice.reasoning_details:
        found["reasoning_details"] = choice.reasoning_details
    if choice.refusal:
        found["refusal"] = choice.refusal
    calls = [*choice.tool_calls, *choice.invalid_tool_calls]
    if extras := {call.id: call.extra for call in calls if call.extra}:
        found[CALL_EXTRAS] = extras
    arguments = {
        call.id: call.arguments
        for call in choice.tool_calls
        if json.dumps(call.args, ensure_ascii=False) != call.arguments
    }
    if arguments:
        found[CALL_ARGUMENTS] = arguments
    if extras or any(name in found for name in RETURNED):
        found[ORIGIN] = {"server": response.origin, "model": response.requested_model}
    return found


def returned(known: Mapping[str, Any]) -> Json:
    """What of the kept goes into the message that is sent."""
    return {name: known[name] for name in (*RETURNED, ORIGIN) if known.get(name)}


def with_extras(call: Json, known: Mapping[str, Any]) -> Json:
    """A call as it came: with its own type, its signatures, and its arguments letter by letter."""
    extra = (known.get(CALL_EXTRAS) or {}).get(call["id"], {})
    if "custom" in extra:
        return {"id": call["id"], **extra}
    call = {**call, **extra, "function": {**call["function"], **extra.get("function", {})}}
    text = (known.get(CALL_ARGUMENTS) or {}).get(call["id"])
    if isinstance(text, str) and _same(text, call["function"]["arguments"]):
        call["function"] = {**call["function"], "arguments": text}
    return call


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same JSON: a program may have changed a call."""
    try:
        return bool(json.loads(one, strict=False) == json.loads(other, strict=False))
    except (ValueError, RecursionError):
        return False
