"""Building request bodies: what the caller gave, as an endpoint takes it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from opea_core.capabilities import Capabilities
from opea_core.errors import ConfigurationError
from opea_core.types import Json
from opea_core.wire.encoding import encode_body
from opea_core.wire.request import (
    build_body,
    check_body,
    check_messages,
    drop_parameter,
    has_parameter,
)

USER: Json = {"role": "user", "content": "Hello"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def build(body: Json, model: str = "m", stream: bool | None = False, **capabilities: Any) -> Json:
    return build_body(body, model, stream, Capabilities(**capabilities))


def message(given: Json, **capabilities: Any) -> Json:
    """One message as it is sent."""
    sent: Json = build({"messages": [given]}, **capabilities)["messages"][0]
    return sent


# --- what is said about messages


def test_a_text_is_one_user_message() -> None:
    assert check_messages("Hello") == [USER]


def test_messages_may_be_any_sequence_of_mappings() -> None:
    frozen = MappingProxyType(USER)
    assert check_messages((USER, frozen)) == [USER, frozen]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "empty"),
        ((), "empty"),
        (None, "NoneType"),
        (7, "int"),
        (USER, "dict"),
        (b"Hello", "bytes"),
        (iter([USER]), "iterator"),
        (["Hello"], r"messages\[0\].*str"),
        ([USER, None], r"messages\[1\].*NoneType"),
        ([{"content": "Hello"}], r"messages\[0\].*role"),
        ([USER, {"role": "", "content": "x"}], r"messages\[1\].*role"),
        ([{"role": 3}], r"messages\[0\].*role"),
    ],
)
def test_what_is_wrong_with_messages_is_said(messages: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        check_messages(messages)
    assert "role" in caught.value.hint


def test_the_messages_of_a_body_are_checked() -> None:
    assert check_body({"messages": "Hello", "seed": 1}) == {"messages": [USER], "seed": 1}
    with pytest.raises(ConfigurationError, match="empty"):
        check_body({"messages": []})


@pytest.mark.parametrize("body", [None, "x", [USER]])
def test_a_body_is_a_dict(body: Any) -> None:
    with pytest.raises(ConfigurationError, match=type(body).__name__):
        check_body(body)


# --- the body


def test_a_body_is_sent_as_it_is() -> None:
    given = {
        "messages": [USER],
        "temperature": 0.5,
        "seed": 0,
        "top_p": False,
        "anything": {"x": None},
    }
    assert build(given) == {"model": "m", **given, "stream": False}


@pytest.mark.parametrize(
    ("given", "model", "sent"),
    [
        ({}, "m", "m"),
        ({"model": "own"}, "m", "own"),
        ({"model": None}, "m", "m"),
        ({"model": "own"}, "", "own"),
    ],
)
def test_the_model_is_the_callers_or_the_endpoints(given: Json, model: str, sent: str) -> None:
    assert build(given, model)["model"] == sent


def test_without_a_model_none_is_sent() -> None:
    assert "model" not in build({}, "")


@pytest.mark.parametrize("stream", [True, False])
def test_whether_to_stream_is_always_said(stream: bool) -> None:
    assert build({"stream": "odd"}, stream=stream)["stream"] is stream


def test_embeddings_say_nothing_about_streaming() -> None:
    assert "stream" not in build({"input": ["x"]}, stream=None)


def test_stream_options_go_with_streams_only() -> None:
    given = {"stream_options": {"include_usage": True}}
    assert build(given, stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in build(given, stream=False)
    assert "stream_options" not in build(given, stream=None)


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": None},
        {"tools": []},
        {"tools": None},
        {"stop": []},
        {"stop": None},
        {"parallel_tool_calls": True},
        {"parallel_tool_calls": None, "tools": []},
        {"tool_choice": "auto"},
        {"tool_choice": "auto", "tools": []},
        {"functions": None},
    ],
)
def test_what_is_never_sent(given: Json) -> None:
    assert build(given) == {"model": "m", "stream": False}


def test_options_of_tools_go_with_tools() -> None:
    given = {"tools": TOOLS, "parallel_tool_calls": False, "tool_choice": "required"}
    assert build(given) == {"model": "m", **given, "stream": False}


@pytest.mark.parametrize(
    ("field", "given", "sent"),
    [
        (None, {"max_tokens": 5}, {"max_tokens": 5}),
        (None, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("max_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("max_tokens", {"max_tokens": 5}, {"max_tokens": 5}),
        ("max_completion_tokens", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("max_completion_tokens", {}, {}),
        (
            "max_completion_tokens",
            {"max_tokens": 5, "max_completion_tokens": 6},
            {"max_completion_tokens": 6},
        ),
        ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 5}),
    ],
)
def test_the_name_of_the_token_limit(field: Any, given: Json, sent: Json) -> None:
    assert build(given, max_tokens_field=field) == {"model": "m", **sent, "stream": False}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_forced_tool_choice_becomes_auto_where_it_is_refused(choice: Any) -> None:
    given = {"tools": TOOLS, "tool_choice": choice}
    assert build(given)["tool_choice"] == choice
    assert build(given, tool_choice="auto")["tool_choice"] == "auto"


def test_a_named_tool_is_the_only_one_where_only_words_are_taken() -> None:
    others = [*TOOLS, {"type": "function", "function": {"name": "g"}}]
    built = build(
        {"tools": others, "tool_choice": {"type": "function", "function": {"name": "f"}}},
        tool_choice="required",
    )
    assert (built["tools"], built["tool_choice"]) == (TOOLS, "required")
    assert (
        build({"tools": others, "tool_choice": "required"}, tool_choice="required")["tools"]
        == others
    )


@pytest.mark.parametrize("choice", ["auto", "none"])
@pytest.mark.parametrize("most", ["named", "required", "auto"])
def test_other_tool_choices_stay(choice: str, most: str) -> None:
    assert build({"tools": TOOLS, "tool_choice": choice}, tool_choice=most)["tool_choice"] == choice


# --- messages


EARLY, ASKED, LATE = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "system", "content": "Now answer."},
)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("keep", [EARLY, ASKED, LATE]),
        ("user", [EARLY, ASKED, {"role": "user", "content": "Now answer."}]),
        ("merge", [{"role": "system", "content": "Be brief.\n\nNow answer."}, ASKED]),
    ],
)
def test_a_late_system_message(how: str, expected: list[Any]) -> None:
    assert (
        build_body({"messages": [EARLY, ASKED, LATE]}, "m", False, Capabilities(late_system=how))[
            "messages"
        ]
        == expected
    )


def test_a_late_system_message_without_an_early_one_comes_first_when_merged() -> None:
    built = build_body({"messages": [ASKED, LATE]}, "m", False, Capabilities(late_system="merge"))
    assert built["messages"] == [LATE, ASKED]


def test_parts_of_late_system_messages_are_merged() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    built = build_body(
        {"messages": [EARLY, ASKED, {**LATE, "content": [picture]}]},
        "m",
        False,
        Capabilities(late_system="merge"),
    )
    assert built["messages"][0]["content"] == [{"type": "text", "text": "Be brief."}, picture]


@pytest.mark.parametrize(
    ("how", "contents"),
    [("user", ["Be brief.", "b", "Hello"]), ("merge", ["Be brief.\n\nb", "Hello"])],
)
def test_system_messages_at_the_beginning_stay_there(how: str, contents: list[str]) -> None:
    given = [EARLY, {"role": "developer", "content": "b"}, ASKED]
    built = build_body({"messages": given}, "m", False, Capabilities(late_system=how))["messages"]
    assert [m["content"] for m in built] == contents
    assert built[0]["role"] == "system"


def test_the_role_developer_is_sent_as_system_unless_it_is_understood() -> None:
    given = {"role": "developer", "content": "Be brief."}
    assert message(given)["role"] == "system"
    assert message(given, developer_role=True)["role"] == "developer"


MEDIA = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:x"}},
]


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        pytest.param(
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "ab",
            id="text parts become one text",
        ),
        pytest.param(MEDIA, MEDIA, id="media stay"),
        pytest.param(
            [{"type": "text", "text": "a", "cache_control": {}}],
            [{"type": "text", "text": "a", "cache_control": {}}],
            id="other keys stay",
        ),
        pytest.param(
            [{"type": "text", "text": None}], [{"type": "text", "text": None}], id="text null stays"
        ),
        pytest.param(["a"], ["a"], id="bare texts stay"),
        pytest.param("a", "a", id="a text stays"),
    ],
)
@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
def test_content_lists_of_text_are_flattened(role: str, content: Any, sent: Any) -> None:
    assert message({"role": role, "content": content}, tool_media=True)["content"] == sent
    assert (
        message({"role": role, "content": content}, tool_media=True, content_lists="keep")[
            "content"
        ]
        == content
    )


@pytest.mark.parametrize("content", ["", None, []])
@pytest.mark.parametrize(
    ("tool_content", "sent"), [("", {"content": ""}), ("null", {"content": None}), ("omit", {})]
)
def test_what_stands_as_content_beside_tool_calls(
    content: Any, tool_content: str, sent: Json
) -> None:
    given = {"role": "assistant", "content": content, "tool_calls": [CALL]}
    assert message(given, tool_content=tool_content) == {
        "role": "assistant",
        "tool_calls": [CALL],
        **sent,
    }


def test_absent_content_beside_tool_calls_is_filled_in() -> None:
    assert message({"role": "assistant", "tool_calls": [CALL]})["content"] == ""


@pytest.mark.parametrize("tool_content", ["", "null", "omit"])
def test_text_beside_tool_calls_stays(tool_content: str) -> None:
    assert (
        message(
            {"role": "assistant", "content": "Hi", "tool_calls": [CALL]}, tool_content=tool_content
        )["content"]
        == "Hi"
    )


def test_an_assistant_message_without_text_is_sent_with_empty_text() -> None:
    assert message({"role": "assistant", "content": None}) == {"role": "assistant", "content": ""}


def test_empty_tool_calls_are_not_sent() -> None:
    assert message({"role": "assistant", "content": "Hi", "tool_calls": []}) == {
        "role": "assistant",
        "content": "Hi",
    }


@pytest.mark.parametrize("key", ["tool_calls", "function_call", "name"])
def test_nulls_in_a_message_are_not_sent(key: str) -> None:
    assert message({"role": "assistant", "content": "Hi", key: None}) == {
        "role": "assistant",
        "content": "Hi",
    }


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param('{"x": 1}', '{"x": 1}', id="text stays as it is"),
        pytest.param({"x": "é"}, '{"x":"é"}', id="an object"),
        pytest.param({}, "{}", id="an empty object"),
        pytest.param(None, "{}", id="null"),
        pytest.param("", "", id="empty text"),
    ],
)
def test_arguments_are_always_sent_as_text(arguments: Any, sent: str) -> None:
    given = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{**CALL, "function": {"name": "f", "arguments": arguments}}],
    }
    assert message(given)["tool_calls"] == [{**CALL, "function": {"name": "f", "arguments": sent}}]


def test_absent_arguments_are_sent_as_an_empty_object() -> None:
    given = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{**CALL, "function": {"name": "f"}}],
    }
    assert message(given)["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_keys_that_only_answers_have_are_stripped_from_assistant_messages() -> None:
    odd: Json = {"annotations": [], "audio": {}, "usage": {}}
    assert message({"role": "assistant", "content": "Hi", **odd, "name": "n"}) == {
        "role": "assistant",
        "content": "Hi",
        "name": "n",
    }
    assert message({**USER, **odd}) == {**USER, **odd}


def test_what_is_stripped_can_be_set() -> None:
    given = {"role": "assistant", "content": "Hi", "usage": 1, "x": 1}
    assert message(given, strip_message_keys={"x"}) == {
        "role": "assistant",
        "content": "Hi",
        "usage": 1,
    }


def test_a_sound_goes_back_by_its_id_and_a_refusal_as_one() -> None:
    given = {
        "role": "assistant",
        "content": "",
        "refusal": "no",
        "audio": {"id": "a1", "data": "UklGRg=="},
    }
    assert message(given) == {
        "role": "assistant",
        "content": "",
        "refusal": "no",
        "audio": {"id": "a1"},
    }


def test_tool_ids_go_back_unchanged() -> None:
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": "x" * 60}]},
        {"role": "tool", "tool_call_id": "x" * 60},
    ]
    assert build({"messages": messages})["messages"] == messages


# --- reasoning that is sent back


HISTORY = [
    USER,
    {"role": "assistant", "content": "one", "reasoning_content": "r1"},
    USER,
    {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "r2"},
    {"role": "tool", "tool_call_id": "a", "content": "1"},
    {"role": "assistant", "content": "three", "reasoning_content": "r3"},
]


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        ("auto", [None, None, None]),
        ("never", [None, None, None]),
        ("tool_turns", [None, "r2", None]),
        ("always", ["r1", "r2", "r3"]),
    ],
)
def test_which_messages_carry_their_reasoning_back(policy: str, sent: list[str | None]) -> None:
    messages = build({"messages": HISTORY}, send_reasoning=policy)["messages"]
    assert [m.get("reasoning_content") for m in messages if m["role"] == "assistant"] == sent


def test_tool_calls_before_the_last_user_message_carry_none() -> None:
    messages = build({"messages": [*HISTORY, USER]}, send_reasoning="tool_turns")["messages"]
    assert [m.get("reasoning_content") for m in messages] == [None] * 7


@pytest.mark.parametrize("policy", ["auto", "never"])
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_details"])
def test_every_spelling_of_reasoning_is_stripped(name: str, policy: str) -> None:
    assert message({"role": "assistant", "content": "Hi", name: "r"}, send_reasoning=policy) == {
        "role": "assistant",
        "content": "Hi",
    }


@pytest.mark.parametrize(
    ("given", "field", "sent"),
    [
        ({"reasoning_content": "r"}, None, {"reasoning_content": "r"}),
        ({"reasoning": "r"}, None, {"reasoning": "r"}),
        ({"reasoning": "r"}, "reasoning_content", {"reasoning_content": "r"}),
        ({"reasoning_content": "r"}, "thinking", {"thinking": "r"}),
        ({"reasoning_content": "r", "reasoning": "r"}, None, {"reasoning_content": "r"}),
        ({"reasoning": {"effort": "low"}}, None, {}),
        (
            {"reasoning": "r", "reasoning_details": [{"data": "d"}]},
            None,
            {"reasoning": "r", "reasoning_details": [{"data": "d"}]},
        ),
    ],
)
def test_reasoning_is_sent_as_text_under_the_name_the_server_used(
    given: Json, field: str | None, sent: Json
) -> None:
    assert message({"role": "assistant", "content": "Hi", **given}, send_reasoning="always",
        reasoning_field=field) == { "role": "assistant", "content": "Hi", **sent,
    }  # fmt: skip


# --- parameters that were refused


PARAMETERS: Json = {
    "messages": [{**USER, "name": "n"}],
    "tools": TOOLS,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {}, "strict": True},
    },
    "seed": 1,
}


@pytest.mark.parametrize("name", ["seed", "name", "strict"])
def test_a_dropped_parameter_is_not_sent(name: str) -> None:
    assert has_parameter(build(PARAMETERS), name)
    assert not has_parameter(build(PARAMETERS, dropped={name}), name)


def test_only_the_parameter_itself_is_dropped() -> None:
    without: Json = {
        "messages": [USER],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    dropped = {"seed", "name", "strict"}
    assert build(PARAMETERS, dropped=dropped) == {"model": "m", **without, "stream": False}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "x", "tools": "x", "response_format": "x"},
        {"tools": [None]},
        {"messages": [None]},
        {},
    ],
)
@pytest.mark.parametrize("name", ["name", "strict", "seed"])
def test_odd_bodies_carry_no_parameter(name: str, body: Json) -> None:
    assert not has_parameter(body, name)
    drop_parameter(body, name)


# --- the caller's own values


def test_what_the_caller_gave_is_never_changed() -> None:
    given: Json = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}], "name": "n"},
            {
                "role": "assistant", "content": None, "refusal": None, "reasoning": "r",
                "tool_calls": [{"id": "x" * 60, "function": {"name": "a.b",
                    "arguments": {"x": 1}}}],
            },
            {"role": "tool", "tool_call_id": "x" * 60, "name": "a.b", "content": [{"type": "text",
                "text": "a"}, {"type": "image_url"}]},
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "system", "content": "c"},
        ],
        "tools": TOOLS, "tool_choice": "required", "max_tokens": 5, "stop": [], "seed": None,
        "stream_options": {}, "response_format": {"type": "json_schema",
            "json_schema": {"strict": True}},
    }  # fmt: skip
    before = copy.deepcopy(given)
    for stream in (True, False, None):
        build(
            given, stream=stream, max_tokens_field="max_completion_tokens", tool_choice="required",
            tool_content="omit", tool_names="plain", tool_media=False, late_system="merge",
            alternate_roles=True, content_lists="text", tool_id_length=9, send_reasoning="always",
            dropped={"strict", "name", "seed"},
        )  # fmt: skip
    assert given == before


def test_what_is_built_does_not_share_what_it_changes() -> None:
    body = build({"messages": [USER], "tools": TOOLS})
    drop_parameter(body, "strict")
    assert TOOLS[0]["function"]["strict"] is True  # type: ignore[index]


# --- encoding


def test_a_body_is_compact_utf8() -> None:
    assert encode_body({"a": ["é", 1]}) == '{"a":["é",1]}'.encode()


def circle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def tower() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


UNSAYABLE: dict[str, Callable[[], Any]] = {
    "NaN": lambda: math.nan,
    "infinity": lambda: math.inf,
    "an object": object,
    "a set": lambda: {1},
    "bytes": lambda: b"x",
    "half a character": lambda: "\ud83d",
    "a key that is no text": lambda: {(1, 2): 3},
    "something deep inside": lambda: [{"deep": math.nan}],
    "a circle": circle,
    "a tower": tower,
}


@pytest.mark.parametrize("what", UNSAYABLE)
def test_what_json_cannot_say_is_a_configuration_error_that_names_the_part(what: str) -> None:
    with pytest.raises(ConfigurationError, match="'bad'"):
        encode_body({"model": "m", "bad": UNSAYABLE[what](), "messages": []})


@pytest.mark.parametrize(
    "arguments",
    [{"x": object()}, {"x": math.nan}, {"x": "\ud83d"}],
    ids=["object", "NaN", "surrogate"],
)
def test_tool_arguments_that_json_cannot_say_are_a_configuration_error(arguments: Any) -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": arguments}}]
    with pytest.raises(ConfigurationError):
        encode_body(
            build({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]})
        )


def test_the_callers_text_is_not_in_the_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        encode_body({"messages": ["secret text \ud83d"]})
    assert "secret" not in str(caught.value)


def test_what_is_encoded_reads_as_the_body() -> None:
    body = build({"messages": [{"role": "user", "content": "\u2028 😀"}], "temperature": 0.1})
    assert json.loads(encode_body(body)) == body


# --- an answer of a schema


FORM: Json = {
    "name": "answer",
    "description": "What is said.",
    "schema": {"type": "object"},
    "strict": True,
}
FUNCTION = {
    "name": "answer",
    "description": "What is said.",
    "strict": True,
    "parameters": {"type": "object"},
}


def build_form(body: Json, how: Any, form: Json | None = FORM) -> Json:
    return build_body(body, "m", False, Capabilities(structured_output=how), form)


@pytest.mark.parametrize("how", [None, "json_schema"])
def test_a_schema_is_sent_as_a_format(how: Any) -> None:
    assert build_form({}, how)["response_format"] == {"type": "json_schema", "json_schema": FORM}


def test_a_schema_is_sent_as_a_forced_tool() -> None:
    assert build_form({}, "function_calling") == {
        "model": "m",
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "answer"}},
        "stream": False,
    }


def test_a_tool_has_only_what_the_schema_says() -> None:
    built = build_form(
        {},
        "function_calling",
        {"name": "answer", "schema": {}, "description": None, "strict": None},
    )
    assert built["tools"] == [
        {"type": "function", "function": {"name": "answer", "parameters": {}}}
    ]


def test_where_only_json_can_be_asked_for_the_schema_is_no_format() -> None:
    assert build_form({}, "json_mode")["response_format"] == {"type": "json_object"}


def test_a_schema_beside_tools_is_sent_as_a_format() -> None:
    built = build_form({"tools": TOOLS}, "json_schema")
    assert (built["tools"], built["response_format"]) == (
        TOOLS,
        {"type": "json_schema", "json_schema": FORM},
    )
    assert "tool_choice" not in built


def test_a_schema_beside_tools_is_one_tool_more_and_some_tool_is_forced() -> None:
    given = {"tools": TOOLS}
    built = build_form(given, "function_calling")
    assert built["tools"] == [*TOOLS, {"type": "function", "function": FUNCTION}]
    assert built["tool_choice"] == "required"
    assert given == {"tools": TOOLS}
    assert "response_format" not in built


def test_a_choice_of_the_caller_stays_beside_a_schema() -> None:
    assert (
        build_form({"tools": TOOLS, "tool_choice": "auto"}, "function_calling")["tool_choice"]
        == "auto"
    )


def test_options_of_tools_go_with_the_tool_of_a_schema() -> None:
    assert (
        build_form({"parallel_tool_calls": False}, "function_calling")["parallel_tool_calls"]
        is False
    )
    assert "parallel_tool_calls" not in build_form({"parallel_tool_calls": False}, "json_schema")


def test_where_no_tool_can_be_forced_the_one_of_a_schema_is_offered() -> None:
    built = build_body(
        {}, "m", False, Capabilities(structured_output="function_calling", tool_choice="auto"), FORM
    )
    assert built["tool_choice"] == "auto"


def test_strict_is_dropped_from_a_schema_that_stays_the_callers() -> None:
    capabilities = Capabilities(dropped=frozenset({"strict"}))
    for how in (None, "function_calling"):
        assert not has_parameter(
            build_body({}, "m", False, capabilities.replace(structured_output=how), FORM), "strict"
        )
    assert FORM["strict"] is True


def test_what_is_left_out_is_told() -> None:
    known = Capabilities(dropped=frozenset({"seed", "user"}), tool_choice="auto")
    left_out: list[str] = []
    build_body(
        {"messages": [], "seed": 1, "n": 2, "tools": [{}], "tool_choice": "required"},
        "m",
        False,
        known,
        left_out=left_out,
    )
    assert left_out == ["tool_choice -> auto", "seed"]


@pytest.mark.parametrize("policy", ["tool_turns", "always"])
def test_a_call_without_reasoning_has_the_field_where_reasoning_goes_back(policy: str) -> None:
    turn = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]},
    ]
    assert (
        build({"messages": turn}, "m", send_reasoning=policy)["messages"][1]["reasoning_content"]
        == ""
    )
    assert (
        "reasoning_content"
        not in build({"messages": turn}, "m", send_reasoning="never")["messages"][1]
    )


@pytest.mark.parametrize(
    ("given", "last"),
    [
        ([USER], {"role": "user", "content": "Hello\n\n{words}"}),
        (
            [{**USER, "content": [{"type": "image_url"}]}],
            {
                "role": "user",
                "content": [{"type": "image_url"}, {"type": "text", "text": "{words}"}],
            },
        ),
        ([{"role": "system", "content": "Be brief."}], {"role": "user", "content": "{words}"}),
    ],
    ids=["text", "parts", "no question"],
)
def test_json_mode_tells_the_schema_in_words(given: list[Json], last: Json) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    before = copy.deepcopy(given)
    built = build_body(
        {"messages": given},
        "m",
        False,
        Capabilities(structured_output="json_mode"),
        {"name": "A", "schema": schema},
    )
    words = (
        "Answer with one JSON object that fits this JSON schema, and with nothing else:\n"
        + json.dumps(schema, separators=(",", ":"))
    )
    assert json.dumps(built["messages"][-1]) == json.dumps(last).replace(
        "{words}", json.dumps(words)[1:-1]
    )
    assert given == before
