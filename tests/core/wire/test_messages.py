"""Messages for servers that take them only in certain forms."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opea_core.capabilities import Capabilities
from opea_core.types import Json
from opea_core.wire.messages import messages_for

SYSTEM, USER, ANSWER = (
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
)
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED, RESULT = (
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "1"},
)
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
TEXT = {"type": "text", "text": "t"}
MESSAGES = st.lists(
    st.sampled_from(
        [
            SYSTEM,
            {**SYSTEM, "role": "developer"},
            USER,
            {**USER, "content": [TEXT, IMAGE]},
            ANSWER,
            CALLED,
            RESULT,
        ]
    ),
    max_size=8,
)


def sent(*messages: Json, **capabilities: Any) -> list[Any]:
    return messages_for(messages, Capabilities(**capabilities))


def contents(messages: list[Any]) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in messages]


def parts(messages: list[Any]) -> list[str]:
    """All texts and images, wherever they stand; texts that were joined apart."""
    found: list[str] = []
    for message in messages:
        content = message.get("content") or []
        for part in [content] if isinstance(content, str) else content:
            found += (
                part.split("\n\n")
                if isinstance(part, str)
                else part.get("text", "image").split("\n\n")
            )
    return sorted(found)


# --- order


@settings(deadline=None)
@given(messages=MESSAGES)
def test_strict_templates_get_one_system_message_and_turns(messages: list[Json]) -> None:
    before = copy.deepcopy(messages)
    built = sent(*messages, late_system="merge", alternate_roles=True)
    roles = [message["role"] for message in built]
    assert "system" not in roles[1:]
    assert all(
        one["role"] != other["role"] or one["role"] == "tool" or _calls(one, other)
        for one, other in pairwise(built)
    )
    assert parts(built) == parts(messages)
    assert messages == before


def _calls(*messages: Json) -> bool:
    return any("tool_calls" in message for message in messages)


@pytest.mark.parametrize(
    ("given", "built"),
    [
        ([USER, USER], [("user", "u\n\nu")]),
        ([ANSWER, ANSWER, USER], [("assistant", "a\n\na"), ("user", "u")]),
        ([USER, {**USER, "content": [IMAGE]}], [("user", [{"type": "text", "text": "u"}, IMAGE])]),
        (
            [CALLED, RESULT, RESULT, ANSWER],
            [("assistant", ""), ("tool", "1"), ("tool", "1"), ("assistant", "a")],
        ),
        ([ANSWER, CALLED], [("assistant", "a"), ("assistant", "")]),
        ([USER, SYSTEM, USER], [("user", "u"), ("system", "s"), ("user", "u")]),
    ],
    ids=[
        "texts",
        "answers",
        "an image",
        "results stay apart",
        "calls stay apart",
        "a system message between",
    ],
)
def test_messages_of_one_role_are_joined(given: list[Json], built: list[Any]) -> None:
    assert contents(sent(*given, alternate_roles=True)) == built
    assert contents(sent(*given)) == contents(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([SYSTEM, USER], [("user", "s\n\nu")]),
        ([USER, ANSWER, SYSTEM, USER], [("user", "s\n\nu"), ("assistant", "a"), ("user", "u")]),
        ([SYSTEM], [("user", "s")]),
        ([SYSTEM, ANSWER], [("user", "s"), ("assistant", "a")]),
        ([USER], [("user", "u")]),
    ],
)
def test_without_a_system_role_its_text_stands_before_the_first_users(
    given: list[Json], expected: list[tuple[str, str]]
) -> None:
    assert contents(sent(*given, system_role=False)) == expected


def test_a_late_system_message_may_be_the_users() -> None:
    assert contents(sent(SYSTEM, USER, SYSTEM, late_system="user")) == [
        ("system", "s"),
        ("user", "u"),
        ("user", "s"),
    ]


# --- contents


def test_what_a_tool_shows_follows_behind_all_results() -> None:
    shown = {**RESULT, "name": "camera", "content": [TEXT, IMAGE]}
    built = sent(USER, CALLED, shown, {**RESULT, "content": [IMAGE]}, ANSWER, tool_media=False)
    assert contents(built[2:]) == [
        ("tool", "t"),
        ("tool", "See the next message."),
        ("user", [IMAGE, IMAGE]),
        ("assistant", "a"),
    ]
    assert contents(sent(shown, tool_media=True)) == [("tool", [TEXT, IMAGE])]


def test_the_last_result_is_shown_too() -> None:
    assert [m["role"] for m in sent(CALLED, {**RESULT, "content": [IMAGE]}, tool_media=False)] == [
        "assistant",
        "tool",
        "user",
    ]


@pytest.mark.parametrize(("how", "content"), [("keep", "list"), ("flatten", "list"), ("text", "t")])
def test_a_text_with_marks_stays_a_list_unless_only_text_is_taken(how: str, content: Any) -> None:
    marked = {**USER, "content": [{**TEXT, "cache_control": {"type": "ephemeral"}}]}
    assert sent(marked, content_lists=how)[0]["content"] == (
        marked["content"] if content == "list" else content
    )
    assert sent({**USER, "content": [IMAGE]}, content_lists=how)[0]["content"] == [IMAGE]


# --- ids


IDS = st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(ids=IDS, length=st.sampled_from([9, 24, 40]))
def test_ids_are_letters_and_digits_and_the_same_in_call_and_result(
    ids: list[str], length: int
) -> None:
    messages = [
        {**CALLED, "tool_calls": [{**CALL, "id": id_} for id_ in ids]},
        *({**RESULT, "tool_call_id": id_} for id_ in ids),
    ]
    built = sent(*messages, tool_id_length=length)
    on_calls = [call["id"] for call in built[0]["tool_calls"]]
    assert [result["tool_call_id"] for result in built[1:]] == on_calls
    assert all(len(id_) == length and id_.isascii() and id_.isalnum() for id_ in on_calls)
    assert len(set(on_calls)) == len(ids)
    assert sent(*built, tool_id_length=length) == built
    assert sent(*messages) == messages


def test_an_id_is_always_sent_as_the_same() -> None:
    """In every process: what a server was told before must fit what it is told now."""
    assert [call["id"] for call in sent(CALLED, tool_id_length=9)[0]["tool_calls"]] == ["z4bX1KLU7"]
    assert (
        sent({**RESULT, "tool_call_id": "aB3dE5gH9"}, tool_id_length=9)[0]["tool_call_id"]
        == "aB3dE5gH9"
    )
