"""What is known of a model in the words of LangChain's ``ModelProfile``."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import ModelProfile

from opea_core import Capabilities

_INPUTS = {
    "image_inputs": "image",
    "image_url_inputs": "image",
    "pdf_inputs": "file",
    "audio_inputs": "audio",
    "video_inputs": "video",
}


def profile_of(known: Capabilities, window: int | None) -> ModelProfile | None:
    """Only what was found out or set: an agent takes a missing key for not known.

    ``window`` is the number of tokens that the model takes, None where that is not known.
    """
    found: dict[str, Any] = {}
    if window:
        found["max_input_tokens"] = window
    if known.media is not None:
        found |= {name: kind in known.media for name, kind in _INPUTS.items()}
        found |= {"text_inputs": True, "text_outputs": True, "attachment": bool(known.media)}
    for name, value in _told(known).items():
        if value is not None:
            found[name] = value
    taken: Any = {name: found[name] for name in found if name in ModelProfile.__annotations__}
    return taken or None


def _told(known: Capabilities) -> dict[str, bool | None]:
    """Each thing that a profile says; None where nobody said it."""
    set_there = known.model_fields_set
    return {
        "tool_calling": known.tools,
        "tool_choice": known.tool_choice != "auto" if "tool_choice" in set_there else None,
        "tool_call_streaming": known.tools_in_streams,
        "reasoning_output": known.reasoning,
        "structured_output": True if known.structured_output == "json_schema" else None,
        "mid_conversation_system_messages": (
            known.late_system == "keep" if "late_system" in set_there else None
        ),
        "image_tool_message": known.tool_media if "tool_media" in set_there else None,
        "pdf_tool_message": known.tool_media if "tool_media" in set_there else None,
        "temperature": False if "temperature" in known.dropped else None,
    }
