"""What is known of a server, as LangChain's agents read it."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_opea import ChatOPEA
from opea_core import Capabilities


def profile(**known: Any) -> Any:
    return ChatOPEA(model="m", base_url="http://localhost:9", capabilities=known).profile


def test_what_is_not_known_is_not_said() -> None:
    assert not profile()


def test_what_was_found_is_said() -> None:
    assert profile(
        context_window=2048,
        tools=True,
        tool_choice="required",
        tools_in_streams=False,
        reasoning=True,
        structured_output="json_schema",
        late_system="merge",
    ) == {
        "max_input_tokens": 2048,
        "tool_calling": True,
        "tool_choice": True,
        "tool_call_streaming": False,
        "reasoning_output": True,
        "structured_output": True,
        "mid_conversation_system_messages": False,
    }


@pytest.mark.parametrize(("media", "taken"), [((), set()), (("image",), {"image"})])
def test_media(media: tuple[str, ...], taken: set[str]) -> None:
    found = profile(media=media)
    assert found["image_inputs"] is ("image" in taken)
    assert found["audio_inputs"] is False
    assert found["attachment"] is bool(taken)
    assert found["text_inputs"] is True


def test_a_profile_that_was_given_stays() -> None:
    given: Any = {"tool_calling": False}
    model = ChatOPEA(
        model="m", base_url="http://localhost:9", profile=given, capabilities={"tools": True}
    )
    assert model.profile == given


def test_a_parameter_that_is_refused() -> None:
    known = Capabilities(dropped=frozenset({"temperature"}))
    model = ChatOPEA(model="m", base_url="http://localhost:9", capabilities=known)
    assert model.profile == {"temperature": False}
