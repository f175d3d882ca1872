"""Parameters that servers refuse: what is left out or called differently, once."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core.config import Capabilities
from opea_core.types import Json
from opea_core.wire.error_body import ErrorBody
from opea_core.wire.refusal import DROPPABLE, mend
from opea_core.wire.request import build_body, has_parameter

MESSAGE = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f", "strict": True}}
BODY: Json = {
    "messages": [{**MESSAGE, "name": "n"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [TOOL],
    "parallel_tool_calls": False,
    "seed": 1,
    "user": "u",
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "max_tokens": 5,
}


def report(body: Json, error: ErrorBody, **known: Any) -> str | None:
    """What would be changed, in the words of the report."""
    found = mend(body, error, "m", Capabilities(**known))
    return found.report if found else None


# --- what is dropped


@pytest.mark.parametrize("name", DROPPABLE)
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda name: ErrorBody(f"Unsupported parameter: '{name}'", param=name), id="param"),
        pytest.param(lambda name: ErrorBody("Unsupported parameter", param=f"{name}"), id="param alone"),
        pytest.param(lambda name: ErrorBody("m", details=[{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]), id="loc"),
        pytest.param(lambda name: ErrorBody(f"'{name}' is not supported"), id="quoted in the message"),
        pytest.param(lambda name: ErrorBody(f"Unknown parameter: {name} is not allowed"), id="in the message"),
        pytest.param(lambda name: ErrorBody(f"Unrecognized request argument supplied: `{name}`"), id="in backticks"),
        pytest.param(lambda name: ErrorBody(f"parameter {name} is unsupported"), id="after the word parameter"),
    ],
)
def test_a_refused_parameter_that_we_sent_is_dropped(name: str, error: Any) -> None:
    assert report(BODY, error(name)) == name


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("name", "messages[0].name"),
        ("name", "messages.0.name"),
        ("strict", "tools[0].function.strict"),
        ("stream_options", "stream_options.include_usage"),
    ],
)
def test_a_parameter_is_found_inside_a_path(name: str, param: str) -> None:
    assert report(BODY, ErrorBody("Unsupported parameter", param=param)) == name


@pytest.mark.parametrize("name", DROPPABLE)
def test_what_was_not_sent_cannot_be_dropped(name: str) -> None:
    assert report({"messages": [MESSAGE]}, ErrorBody(f"'{name}' is not supported", param=name)) is None


@pytest.mark.parametrize("name", DROPPABLE)
def test_a_parameter_is_dropped_once(name: str) -> None:
    assert report(BODY, ErrorBody(f"'{name}' is not supported", param=name), dropped={("m", name)}) is None


def test_what_another_model_refused_says_nothing_about_this_one() -> None:
    assert report(BODY, ErrorBody("m", param="seed"), dropped={("other", "seed")}) == "seed"


@pytest.mark.parametrize("name", DROPPABLE)
def test_the_change_takes_the_parameter_out_of_the_next_body(name: str) -> None:
    found = mend(BODY, ErrorBody(f"'{name}' is not supported", param=name), "m", Capabilities())
    assert found is not None
    assert has_parameter(build_body(BODY, "m", True, Capabilities()), name)
    assert not has_parameter(build_body(BODY, "m", True, found.capabilities), name)


def test_what_was_known_stays_known() -> None:
    known = Capabilities(dropped=frozenset({("m", "user")}), think_tags=True)
    found = mend(BODY, ErrorBody("m", param="seed"), "m", known)
    assert found is not None
    assert found.capabilities == known.replace(dropped=frozenset({("m", "user"), ("m", "seed")}))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            ErrorBody("max_tokens is too large: 9999. This model supports at most 4096 completion tokens", param="max_tokens"),
            id="too large",
        ),
        pytest.param(ErrorBody("max_tokens must be at least 1", param="max_tokens"), id="too small"),
        pytest.param(ErrorBody("seed must be an integer"), id="a wrong value"),
        pytest.param(ErrorBody("Unsupported content type"), id="nothing of ours"),
        pytest.param(ErrorBody("temperature is not supported", param="temperature"), id="a parameter that must not be dropped"),
        pytest.param(ErrorBody("The user name in the file is invalid"), id="ordinary words"),
        pytest.param(ErrorBody("Unsupported image in user message"), id="the role user"),
        pytest.param(ErrorBody("Unknown model name"), id="the name of a model"),
        pytest.param(ErrorBody("Unsupported function", param="tools[0].function.name"), id="the name of a tool"),
        pytest.param(
            ErrorBody("m", details=[{"loc": ["body", "messages", 0, "user", "content"], "msg": "not supported"}]), id="a role in loc"
        ),
        pytest.param(ErrorBody(""), id="no words"),
    ],
)
def test_what_drops_nothing(error: ErrorBody) -> None:
    assert report(BODY, error) is None


# --- what is called differently


MAX, COMPLETION = "max_tokens", "max_completion_tokens"


@pytest.mark.parametrize(("sent", "other"), [(MAX, COMPLETION), (COMPLETION, MAX)])
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            lambda sent, other: ErrorBody(
                f"Unsupported parameter: '{sent}' is not supported with this model. Use '{other}' instead.", param=sent
            ),
            id="OpenAI",
        ),
        pytest.param(lambda sent, other: ErrorBody(f"'{sent}' is not supported. Use '{other}' instead."), id="the refused one first"),
        pytest.param(
            lambda sent, other: ErrorBody(f"Use '{other}' instead of '{sent}', which is not supported."), id="the refused one last"
        ),
        pytest.param(lambda sent, other: ErrorBody(f"Unknown parameter: {sent}"), id="the refused one alone"),
        pytest.param(
            lambda sent, other: ErrorBody("m", details=[{"loc": ["body", sent], "msg": "Extra inputs are not permitted"}]), id="in loc"
        ),
    ],
)
def test_the_token_limit_is_sent_under_its_other_name(sent: str, other: str, error: Any) -> None:
    body = {"messages": [MESSAGE], sent: 5}
    found = mend(body, error(sent, other), "m", Capabilities())
    assert found is not None
    assert found.report == f"{sent} -> {other}"
    again = build_body(body, "m", False, found.capabilities)
    assert (again.get(sent), again[other]) == (None, 5)


@pytest.mark.parametrize(
    "error",
    [
        ErrorBody(f"'{MAX}' is not supported"),
        ErrorBody("Unsupported", param=MAX),
    ],
)
def test_a_token_limit_that_was_not_sent_is_not_swapped(error: ErrorBody) -> None:
    assert report({"messages": [MESSAGE], COMPLETION: 5}, error) is None


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 9999. This model supports at most 4096 completion tokens",
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens.",
        "max_tokens must be at least 1",
    ],
)
@pytest.mark.parametrize("sent", [MAX, COMPLETION])
def test_a_token_limit_with_a_bad_value_is_not_swapped(sent: str, message: str) -> None:
    assert (
        report({"messages": [MESSAGE], sent: 5}, ErrorBody(message, param=sent, type="invalid_request_error", code="invalid_value")) is None
    )


@pytest.mark.parametrize(
    "error",
    [
        ErrorBody("Unsupported value: 'messages[0].role' does not support 'developer' with this model.", param="messages[0].role"),
        ErrorBody("unknown variant `developer`, expected one of `system`, `user`"),
        ErrorBody("Unexpected role 'developer' in messages"),
        ErrorBody("Invalid value: 'developer'. Supported values are: 'system', 'assistant', 'user'.", param="messages[0].role"),
        ErrorBody("'developer' is not one of ['system', 'assistant', 'user'] - 'messages.0.role'"),
    ],
)
def test_the_role_developer_becomes_system(error: ErrorBody) -> None:
    body = {"messages": [{"role": "developer", "content": "x"}]}
    assert report(body, error, developer_role=True) == "developer -> system"
    assert report({"messages": [MESSAGE]}, error, developer_role=True) is None


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
@pytest.mark.parametrize(
    "error",
    [
        ErrorBody("Thinking mode does not support this tool_choice"),
        ErrorBody("Unsupported value", param="tool_choice"),
        ErrorBody("m", details=[{"loc": ["body", "tool_choice"], "msg": "not supported"}]),
    ],
)
def test_a_forced_tool_choice_becomes_auto(choice: Any, error: ErrorBody) -> None:
    body = {"messages": [MESSAGE], "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": choice}
    found = mend(body, error, "m", Capabilities())
    assert found is not None
    assert found.report == "tool_choice -> auto"
    assert build_body(body, "m", False, found.capabilities)["tool_choice"] == "auto"
    assert mend(body, error, "m", found.capabilities) is None


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_tool_choice_that_is_not_forced_stays(choice: Any) -> None:
    assert report({"messages": [MESSAGE], "tool_choice": choice}, ErrorBody("tool_choice is not supported", param="tool_choice")) is None


# --- reasoning that must be sent back


@pytest.mark.parametrize(
    "message",
    [
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    ],
)
def test_reasoning_is_sent_back_where_the_server_asks_for_it(message: str) -> None:
    assert report(BODY, ErrorBody(message)) == "send_reasoning -> tool_turns"


def test_all_reasoning_is_sent_back_where_that_of_the_last_turn_is_not_enough() -> None:
    asked = ErrorBody("The `reasoning_content` must be passed back")
    assert report(BODY, asked, send_reasoning="tool_turns") == "send_reasoning -> always"
    assert report(BODY, asked, send_reasoning="always") is None


@pytest.mark.parametrize("policy", ["never", "tool_turns", "always"])
def test_a_policy_that_was_set_is_not_overruled(policy: Any) -> None:
    asked = ErrorBody("The `reasoning_content` must be passed back")
    assert mend(BODY, asked, "m", Capabilities(send_reasoning=policy), reasoning_is_set=True) is None


# --- a form of answers that is not taken

FORM = {"name": "answer", "schema": {"type": "object"}}


def form_mend(error: ErrorBody, any_form: bool = True, body: Json | None = None, **known: Any) -> str | None:
    """What would be changed in a call for an answer of a schema."""
    capabilities = Capabilities(**known)
    built = build_body({"messages": [MESSAGE], **(body or {})}, "m", False, capabilities, FORM)
    found = mend(built, error, "m", capabilities, any_form)
    return found.report if found else None


NO_FORMAT = ErrorBody("m", param="response_format")


@pytest.mark.parametrize(
    "error",
    [
        NO_FORMAT,
        ErrorBody("m", param="response_format.type"),
        ErrorBody("m", details=[{"loc": ["body", "response_format", "type"], "msg": "Input should be 'text' or 'json_object'"}]),
        ErrorBody("This response_format type is unavailable now"),
        ErrorBody("'response_format.type' must be 'json_object' or 'text'"),
        ErrorBody("json_schema is not supported"),
        ErrorBody("This model does not support structured outputs"),
        ErrorBody("Unsupported: guided decoding"),
    ],
)
def test_an_answer_of_a_schema_is_asked_for_by_a_tool_where_the_format_is_refused(error: ErrorBody) -> None:
    assert form_mend(error) == "response_format -> tools"


@pytest.mark.parametrize(
    "error",
    [
        ErrorBody("Invalid schema for response_format 'answer': additionalProperties is required", param="response_format"),
        ErrorBody("failed to parse grammar"),
        ErrorBody("temperature is too high", param="temperature"),
        ErrorBody("Unknown model"),
        ErrorBody(""),
    ],
)
def test_what_is_wrong_with_something_else_changes_no_form(error: ErrorBody) -> None:
    assert form_mend(error) is None


def test_a_format_the_caller_wrote_is_not_replaced() -> None:
    assert form_mend(NO_FORMAT, any_form=False) is None


def test_beside_other_tools_the_form_is_changed_too() -> None:
    assert form_mend(NO_FORMAT, body={"tools": [TOOL]}) == "response_format -> tools"


def test_a_form_is_changed_once() -> None:
    assert form_mend(NO_FORMAT, structured_output="function_calling") is None


@pytest.mark.parametrize("way", ["json_schema", "json_mode"])
def test_a_form_that_was_set_is_not_overruled(way: str) -> None:
    assert form_mend(NO_FORMAT, structured_output=way) is None
