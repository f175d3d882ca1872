"""What is changed for a refusal: the rules, each with the shortest words that show it.

More words are in ``refusals/``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from opea_core.capabilities import Capabilities
from opea_core.types import Json
from opea_core.wire.adaptations import DROPPABLE
from opea_core.wire.refusal import adapt, elsewhere
from opea_core.wire.request import build_body, has_parameter

MESSAGE = {"role": "user", "content": "Hello"}
PARAMETERS = {
    "type": "object",
    "properties": {"user": {"type": "string"}, "seed": {"type": "integer"}},
}
TOOL = {"type": "function", "function": {"name": "f", "strict": True}}
FORM = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "f"}}
BODY: Json = {
    "messages": [{**MESSAGE, "name": "ann"}], "tools": [TOOL],
    "stream_options": {"include_usage": True}, "strict": True,
    **{name: 1 for name in DROPPABLE if name not in ("name", "strict", "stream_options")},
}  # fmt: skip


def said(message: str, **error: Any) -> str:
    return json.dumps({"error": {"message": message, **error}})


def reports(body: Json, text: str, **options: Any) -> list[str]:
    """What would be changed; options of ``adapt``, and what is known of the server."""
    given = {
        key: options.pop(key) for key in ("any_form", "reasoning_is_set", "done") if key in options
    }
    adapted = adapt({"messages": [MESSAGE], **body}, text, Capabilities(**options), **given)
    return list(adapted.reports) if adapted else []


# --- fields that are left out


@pytest.mark.parametrize("name", DROPPABLE)
def test_a_refused_field_is_not_in_the_next_body(name: str) -> None:
    path = "messages[0].name" if name == "name" else name
    adapted = adapt(BODY, said(f"Unsupported parameter: '{path}'", param=path), Capabilities())
    assert adapted is not None
    assert adapted.reports == (name,)
    assert has_parameter(build_body(BODY, "m", True, Capabilities()), name)
    assert not has_parameter(build_body(BODY, "m", True, adapted.capabilities), name)


@pytest.mark.parametrize("name", DROPPABLE)
def test_what_was_not_sent_is_not_dropped(name: str) -> None:
    assert reports({}, said(f"Unsupported parameter: '{name}'", param=name)) == []


SENT: Json = {"seed": 1, "user": "ann", "temperature": 0.5, "stop": ["x"]}


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        pytest.param(said("Unsupported parameter: 'seed'"), ["seed"], id="its name in words"),
        pytest.param(said("Unsupported parameter", param="seed"), ["seed"], id="its name apart"),
        pytest.param(said("Unsupported parameters: seed, user"), ["seed", "user"], id="several"),
        pytest.param("seed is not supported by this model", ["seed"], id="plain words"),
        pytest.param(said("stopSequences are not supported"), ["stop"], id="another name"),
        pytest.param(
            said("temperature must be 1 for this model"),
            ["temperature"],
            id="one value that is taken is as good as none",
        ),
        pytest.param(said("temperature must be at most 2"), [], id="a value"),
        pytest.param(
            said("seed 99 is not supported, it must be less than 10"),
            [],
            id="a value that is not supported",
        ),
        pytest.param(
            said("Unsupported parameter 'x', known parameters are: seed, user"),
            [],
            id="in a list behind a comma",
        ),
        pytest.param(
            said("Invalid value for 'seed'", param="seed"), [], id="a value, the name apart"
        ),
        pytest.param(
            said("Unsupported parameter: 'x'. Supported parameters are: seed, user"),
            [],
            id="in a list of what is known",
        ),
        pytest.param(said("Unknown model. Did you mean the parameter 'seed'?"), [], id="in advice"),
        pytest.param(said("The user is not allowed to stop"), [], id="in a sentence"),
        pytest.param(said("The model seed is not supported"), [], id="in the name of a model"),
        pytest.param(
            said("Unsupported thing in {'messages': [], 'seed': 1, 'user': 'ann'}"),
            [],
            id="in the request that comes back",
        ),
        pytest.param("", [], id="no words"),
    ],
)
def test_a_field_is_dropped_where_it_is_refused(text: str, dropped: list[str]) -> None:
    assert reports(SENT, text) == dropped


def test_what_the_prompt_says_is_not_what_the_server_says() -> None:
    prompt = "Why is it an unsupported parameter: 'seed'?"
    body = {**SENT, "messages": [{"role": "user", "content": prompt}]}
    assert reports(body, said(f"We cannot answer this: {prompt}")) == []
    assert reports(body, said(f'Unsupported parameter: user. The prompt was "{prompt}"')) == [
        "user"
    ]


def test_a_property_of_the_callers_schema_is_not_a_field() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}
    text = said("property 'seed' is not supported")
    assert reports({"seed": 1}, text) == ["seed"]
    assert reports({"seed": 1, "tools": [tool]}, text) == []


def test_nothing_is_dropped_twice() -> None:
    text = said("seed is not supported")
    assert reports(SENT, text, dropped={"seed"}) == []
    assert reports(SENT, text, done=frozenset({"seed"})) == []


def test_what_was_known_stays_known() -> None:
    known = Capabilities(dropped=frozenset({"user"}), think_tags=True)
    adapted = adapt(SENT, said("seed is not supported"), known)
    assert adapted is not None
    assert adapted.capabilities == known.replace(dropped=frozenset({"user", "seed"}))


# --- other forms


@pytest.mark.parametrize(
    ("sent", "other"),
    [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")],
)
def test_a_limit_is_sent_under_its_other_name(sent: str, other: str) -> None:
    body = {"messages": [MESSAGE], sent: 5}
    adapted = adapt(
        body, said(f"Unsupported parameter: '{sent}'. Use '{other}' instead."), Capabilities()
    )
    assert adapted is not None
    assert adapted.reports == (f"{sent} -> {other}",)
    assert build_body(body, "m", False, adapted.capabilities)[other] == 5
    assert reports({other: 5}, said(f"Unsupported parameter: '{sent}'")) == []
    assert reports({sent: 5}, said(f"'{sent}' or '{other}' is too large: 5")) == []


TURN = [MESSAGE, {"role": "assistant", "content": "x", "reasoning": "r"}, MESSAGE]
TWO = [MESSAGE, MESSAGE, {"role": "system", "content": "s"}]


@pytest.mark.parametrize(
    ("body", "text", "wanted"),
    [
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            "Unexpected role 'developer'",
            ["developer -> system"],
        ),
        ({"messages": [MESSAGE]}, "Unexpected role 'developer'", []),
        ({"messages": TWO}, "The system message must be first", ["system -> first"]),
        ({"messages": [TWO[2], MESSAGE]}, "The system message must be first", []),
        ({"messages": TWO}, "Roles must alternate user/assistant", ["roles -> alternate"]),
        ({"messages": [MESSAGE]}, "Roles must alternate user/assistant", []),
        ({"messages": TURN}, "Unsupported field in messages: reasoning", ["reasoning is not sent"]),
        ({"messages": [MESSAGE]}, "Unsupported field in messages: reasoning", []),
        (
            {"tools": [TOOL], "tool_choice": NAMED},
            "tool_choice as an object is not supported",
            ["tool_choice -> required"],
        ),
        (
            {"tools": [TOOL], "tool_choice": "required"},
            "tool_choice is not supported",
            ["tool_choice -> auto"],
        ),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice is not supported", []),
        ({"tools": [TOOL], "tool_choice": NAMED}, "tool_choice: no function named f in tools", []),
        (
            {"tools": [{"type": "function", "function": {"name": "a-b"}}]},
            "Invalid function name: a-b",
            ["tool names -> letters"],
        ),
        ({"tools": [TOOL]}, "Invalid function name: f", []),
    ],
)
def test_another_form_is_sent_where_what_was_sent_is_refused(
    body: Json, text: str, wanted: list[str]
) -> None:
    assert reports(body, said(text), developer_role=True) == wanted


def test_reasoning_goes_back_where_it_is_wanted_as_far_as_it_is_wanted() -> None:
    body, text = {"messages": TURN}, said("The `reasoning_content` must be passed back")
    assert reports(body, text) == ["send_reasoning -> tool_turns"]
    assert reports(body, text, send_reasoning="tool_turns") == ["send_reasoning -> always"]
    assert reports(body, text, send_reasoning="always") == []
    assert reports(body, text, reasoning_is_set=True) == []


def test_a_schema_is_asked_for_by_a_tool_where_the_caller_leaves_it_open() -> None:
    body, text = {"response_format": FORM}, said("response_format is not supported")
    assert reports(body, text, any_form=True) == ["response_format -> tools"]
    assert reports(body, text) == []
    assert reports(body, text, any_form=True, structured_output="json_schema") == []
    assert (
        reports(
            body, said("Invalid schema for response_format", param="response_format"), any_form=True
        )
        == []
    )


def test_a_list_of_documents_may_stand_beside_v1() -> None:
    found = elsewhere("/a/v1", Capabilities())
    assert found is not None
    assert (found.capabilities.rerank_beside_v1, found.reports) == (
        True,
        ("/a/v1/rerank -> /a/rerank",),
    )
    assert elsewhere("/a/v1", found.capabilities) is None
    assert elsewhere("/a", Capabilities()) is None
