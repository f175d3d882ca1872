"""Chat messages as input items: every role and part, and what an answer held beside its text."""

from __future__ import annotations

from typing import Any

import pytest
from responses_written import answer, call, message, read, response, summary, thought

from opea_core.capabilities import Capabilities
from opea_core.testing.responses_request import BLOB, check_request
from opea_core.types import ORIGIN, RESPONSE_ITEMS, Json
from opea_core.wire.request import build_body
from opea_core.wire.responses.input_items import input_items
from opea_core.wire.responses.request import to_responses

HERE = {"server": "here", "model": "m"}


def items(*messages: Json, keeps: bool = False) -> list[Any]:
    return input_items(messages, keeps)


def said(*parts: Json, **about: Any) -> Json:
    """A message; one that has an id has a status too, as OpenAI's schema wants it."""
    status = {"status": "completed"} if "id" in about else {}
    return {"type": "message", "role": "assistant", **about, **status, "content": list(parts)}


def plain(text: str) -> Json:
    return {"type": "message", "role": "assistant", "content": text}


def words(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": []}


def asked(number: int = 1, **about: Any) -> Json:
    inner = {"name": "f", "arguments": "{}"}
    return {"type": "function_call", **about, "call_id": f"call_{number}", **inner}


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


# --- roles and parts


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_a_text_stays_a_text(role: str) -> None:
    assert items({"role": role, "content": "Hi"}) == [
        {"type": "message", "role": role, "content": "Hi"}
    ]


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("Hi", {"type": "input_text", "text": "Hi"}),
        ({"type": "text", "text": "Hi"}, {"type": "input_text", "text": "Hi"}),
        (
            {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
            {"type": "input_image", "image_url": "http://x/y.png"},
        ),
        (
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,aa", "detail": "low"},
            },
            {"type": "input_image", "image_url": "data:image/png;base64,aa", "detail": "low"},
        ),
        (
            {"type": "image_url", "image_url": "http://x/y.png"},
            {"type": "input_image", "image_url": "http://x/y.png"},
        ),
        (
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,aa", "filename": "a"},
            },
            {"type": "input_file", "file_data": "data:application/pdf;base64,aa", "filename": "a"},
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, {"type": "input_file", "file_id": "f1"}),
        (
            {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
        ),
        ({"type": "input_text", "text": "Hi"}, {"type": "input_text", "text": "Hi"}),
        ({"type": "input_image", "file_id": "f1"}, {"type": "input_image", "file_id": "f1"}),
    ],
    ids=str,
)
def test_parts_of_users_and_of_tools_have_the_names_of_this_dialect(
    part: Any, wanted: Json
) -> None:
    output = {"role": "tool", "tool_call_id": "call_1", "content": [part]}
    assert items({"role": "user", "content": [part]}, output) == [
        {"type": "message", "role": "user", "content": [wanted]},
        {"type": "function_call_output", "call_id": "call_1", "output": [wanted]},
    ]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"content": "Hi"}, [plain("Hi")]),
        ({"content": [{"type": "text", "text": "Hi"}, "you"]}, [said(words("Hi"), words("you"))]),
        ({"content": None, "refusal": "No."}, [said({"type": "refusal", "refusal": "No."})]),
        ({"content": "", "tool_calls": [CALL]}, [asked()]),
        ({"content": "Hi", "tool_calls": [CALL]}, [plain("Hi"), asked()]),
        ({"content": [{"type": "odd", "x": 1}]}, [said({"type": "odd", "x": 1})]),
        ({"content": ""}, []),
    ],
    ids=str,
)
def test_what_the_assistant_said_are_items_of_their_own(told: Json, wanted: list[Json]) -> None:
    assert items({"role": "assistant", **told}) == wanted


@pytest.mark.parametrize("content", ["sunny", "", None])
def test_what_a_tool_answered_names_its_call(content: str | None) -> None:
    output = {"role": "tool", "tool_call_id": "call_1", "content": content}
    assert items(output) == [
        {"type": "function_call_output", "call_id": "call_1", "output": content or ""}
    ]


def test_calls_of_custom_tools_and_their_answers_are_of_their_own_kind() -> None:
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    output = {"role": "tool", "tool_call_id": "call_1", "content": "a.txt"}
    assert items({"role": "assistant", "content": None, "tool_calls": [custom]}, output) == [
        {"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a.txt"},
    ]


def test_a_call_of_the_old_form_is_answered_by_its_name() -> None:
    told = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    assert items(told, {"role": "function", "name": "f", "content": "x"}) == [
        {"type": "function_call", "call_id": "f", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "f", "output": "x"},
    ]


def test_items_of_the_caller_go_as_they_are() -> None:
    given = {"type": "item_reference", "id": "msg_1"}
    assert items(given) == [given]


# --- what an answer held besides its text


def turn(*output: Json) -> Json:
    """The message that an answer of these items is."""
    found = answer(read(response(*output)))
    return found.message


def sealed(number: int = 1) -> Json:
    return summary("Hm.", id=f"rs_{number}", encrypted_content=f"{BLOB}{number}")


def back(number: int = 1) -> Json:
    """Sealed reasoning as it goes back."""
    return sealed(number)


ONE, TWO = message("One. "), message("Two.", id="msg_2")


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ([sealed(), ONE], [back(), said(words("One. "), id="msg_1")]),
        ([sealed(), call()], [back(), asked(id="fc_1")]),
        (
            [sealed(1), call("{}", 1), sealed(2), call("{}", 2)],
            [back(1), asked(1, id="fc_1"), back(2), asked(2, id="fc_2")],
        ),
        (
            [sealed(1), ONE, sealed(2), TWO],
            [back(1), said(words("One. "), id="msg_1"), back(2), said(words("Two."), id="msg_2")],
        ),
        (
            [sealed(), {**ONE, "phase": "commentary"}, TWO],
            [
                back(),
                said(words("One. "), id="msg_1", phase="commentary"),
                said(words("Two."), id="msg_2"),
            ],
        ),
        ([sealed(1), sealed(2), ONE], [back(1), back(2), said(words("One. "), id="msg_1")]),
        ([ONE, call()], [plain("One. "), asked()]),
        # Not encrypted, and not stored: the server would not know it again.
        ([thought("Hm."), ONE], [said(words("One. "), id="msg_1")]),
        ([summary("Hm.", encrypted_content=""), ONE], [said(words("One. "), id="msg_1")]),
        # Nothing followed it.
        ([ONE, sealed()], [said(words("One. "), id="msg_1")]),
        # An id that is none later.
        (
            [{**sealed(), "id": "rs_tmp_7"}, ONE],
            [{k: v for k, v in back().items() if k != "id"}, said(words("One. "), id="msg_1")],
        ),
        (
            [{**sealed(), "status": "completed", "content": None}, ONE],
            [back(), said(words("One. "), id="msg_1")],
        ),
        (
            [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, ONE],
            [
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                said(words("One. "), id="msg_1"),
            ],
        ),
        ([{"type": "compaction", "encrypted_content": "x"}, ONE],
         [{"type": "compaction", "encrypted_content": "x"}, said(words("One. "), id="msg_1")]),
    ],
)  # fmt: skip
def test_reasoning_goes_back_next_to_what_followed_it(
    output: list[Json], wanted: list[Json]
) -> None:
    told = turn(*output)
    assert items(told) == wanted


def test_stored_reasoning_goes_back_by_its_id() -> None:
    told = turn(summary("Hm."), ONE)
    assert items(told, keeps=True) == [summary("Hm."), said(words("One. "), id="msg_1")]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        # Another text: it stands in the old place.
        ({"content": "Changed."}, [back(), said(words("Changed."), id="msg_1"), asked(id="fc_1")]),
        # No text: the reasoning before it goes with it.
        ({"content": ""}, [asked(id="fc_1")]),
        # No call.
        ({"tool_calls": []}, [back(), said(words("One. "), id="msg_1")]),
        # A further call.
        (
            {"tool_calls": [CALL, {**CALL, "id": "call_2"}]},
            [back(), said(words("One. "), id="msg_1"), asked(id="fc_1"), asked(2)],
        ),
        # Nothing left of it.
        ({RESPONSE_ITEMS: []}, [plain("One. "), asked()]),
    ],
    ids=["text", "no text", "no call", "more calls", "no items"],
)
def test_a_history_may_be_edited(change: Json, wanted: list[Json]) -> None:
    told = turn(sealed(), ONE, call())
    assert items({**told, **change}) == wanted


def test_an_edited_text_of_two_messages_stands_in_the_first_place() -> None:
    told = {**turn(sealed(1), ONE, sealed(2), TWO), "content": "Both."}
    assert items(told) == [back(1), said(words("Both."), id="msg_1")]


# --- where it goes back to


def sent(told: Json, **known: Any) -> list[Json]:
    messages = [{"role": "user", "content": "Hi"}, told, {"role": "user", "content": "And?"}]
    capabilities = Capabilities(**{"dialect": "responses"} | known)
    body = build_body({"messages": messages}, "m", False, capabilities, server="here")
    if capabilities.dialect == "chat":
        return list(body["messages"])
    built = to_responses(body, capabilities.dropped)
    check_request(built)
    return list(built["input"])


def kinds(found: list[Json]) -> list[str]:
    return [str(item.get("type") or item.get("role")) for item in found]


def test_it_goes_back_to_where_it_came_from() -> None:
    told = {**turn(sealed(), ONE), ORIGIN: HERE}
    assert kinds(sent(told)) == ["message", "reasoning", "message", "message"]
    assert ORIGIN not in repr(sent(told))


@pytest.mark.parametrize(
    "origin", [{"server": "there", "model": "m"}, {"server": "here", "model": "o"}]
)
def test_it_goes_nowhere_else(origin: Json) -> None:
    told = {**turn(sealed(), ONE), ORIGIN: origin}
    assert sent(told)[1] == plain("One. ")


@pytest.mark.parametrize(
    "known",
    [
        {"send_reasoning": "never"},
        {"dialect": "chat"},
        {"dialect": "chat", "send_reasoning": "keep"},
    ],
)
def test_it_can_be_kept_back_and_is_nothing_for_chat(known: Json) -> None:
    told = {**turn(sealed(), ONE), ORIGIN: HERE}
    assert RESPONSE_ITEMS not in repr(sent(told, **known))
    assert BLOB not in repr(sent(told, **known))


def test_answers_of_chat_are_understood_here() -> None:
    told = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "tool_calls": []}
    assert sent(told)[1] == plain("Hi")
