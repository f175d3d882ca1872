"""``output_schema=``: an answer of a given schema, asked for in the way the server takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Way, made

from opea_core import Capabilities, ConfigurationError, InvalidRequestError, events
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
PERSON = {"name": "person", "description": "Somebody.", "schema": SCHEMA, "strict": True}
AS_FORMAT = {"type": "json_schema", "json_schema": PERSON}
AS_TOOL = {
    "type": "function",
    "function": {
        "name": "person",
        "description": "Somebody.",
        "strict": True,
        "parameters": SCHEMA,
    },
}
FORCED = {"type": "function", "function": {"name": "person"}}
LEARNED = ("response_format -> tools",)
OTHER_TOOL = {"type": "function", "function": {"name": "other", "parameters": {}}}


def refusing(seen: Seen) -> Answer | None:
    """A server that knows no ``response_format``."""
    return (
        error(400, "response_format is not supported", param="response_format")
        if "response_format" in seen.body
        else None
    )


def form(seen: Seen) -> tuple[Any, Any, Any]:
    """How a request asked for the form of its answer."""
    return seen.body.get("response_format"), seen.body.get("tools"), seen.body.get("tool_choice")


def answer_of(response: Any) -> Any:
    """The answer, from the text or from the call, whichever came."""
    return response.tool_calls[0].args if response.tool_calls else json.loads(response.content)


# --- how it is asked for

METHODS = pytest.mark.parametrize("method", ["chat", "stream_chat"])


@METHODS
@pytest.mark.parametrize(
    ("capability", "asked"),
    [
        (None, (AS_FORMAT, None, None)),
        ("json_schema", (AS_FORMAT, None, None)),
        ("function_calling", (None, [AS_TOOL], FORCED)),
        ("json_mode", ({"type": "json_object"}, None, None)),
    ],
)
def test_the_server_is_asked_as_its_capabilities_say(
    way: Way, server: ScriptedServer, method: str, capability: Any, asked: tuple[Any, Any, Any]
) -> None:
    opea = made(server, capabilities=Capabilities(structured_output=capability))
    told = way.ask(opea, method, "Hello", output_schema=PERSON)
    assert form(server.seen[0]) == asked
    assert "output_schema" not in server.seen[0].body
    assert told.response.meta.dropped == ()


@METHODS
@pytest.mark.parametrize("capability", ["json_schema", "function_calling"])
def test_the_answer_is_of_the_schema(
    way: Way, server: ScriptedServer, method: str, capability: Any
) -> None:
    opea = made(server, capabilities=Capabilities(structured_output=capability))
    answer = answer_of(way.ask(opea, method, "Hello", output_schema=PERSON).response)
    assert answer.keys() == {"name", "age"}
    assert isinstance(answer["age"], int)


@pytest.mark.parametrize(
    ("given", "sent"),
    [({}, "required"), ({"tool_choice": "auto"}, "auto"), ({"tool_choice": FORCED}, FORCED)],
)
def test_beside_tools_of_the_caller_one_of_all_must_be_called(
    way: Way, server: ScriptedServer, given: Any, sent: Any
) -> None:
    opea = made(server, capabilities=Capabilities(structured_output="function_calling"))
    way.ask(opea, "chat", "Hello", output_schema=PERSON, tools=[OTHER_TOOL], **given)
    assert form(server.seen[0]) == (None, [OTHER_TOOL, AS_TOOL], sent)


@pytest.mark.parametrize("capability", [None, "json_schema"])
def test_a_format_stands_beside_tools_of_the_caller(
    way: Way, server: ScriptedServer, capability: Any
) -> None:
    opea = made(server, capabilities=Capabilities(structured_output=capability))
    way.ask(opea, "chat", "Hello", output_schema=PERSON, tools=[OTHER_TOOL])
    assert form(server.seen[0]) == (AS_FORMAT, [OTHER_TOOL], None)


def test_no_tools_are_none(way: Way, server: ScriptedServer) -> None:
    opea = made(server, capabilities=Capabilities(structured_output="function_calling"))
    way.ask(opea, "chat", "Hello", output_schema=PERSON, tools=[])
    assert form(server.seen[0]) == (None, [AS_TOOL], FORCED)


def test_without_a_form_nothing_is_asked_for(way: Way, server: ScriptedServer) -> None:
    opea = made(server, capabilities=Capabilities(structured_output="function_calling"))
    way.ask(opea, "chat", "Hello", output_schema=None)
    assert form(server.seen[0]) == (None, None, None)


def test_the_callers_schema_is_not_changed(way: Way, server: ScriptedServer) -> None:
    server.always(refusing)
    given = json.loads(json.dumps(PERSON))
    way.ask(made(server), "chat", "Hello", output_schema=given)
    assert given == PERSON


# --- what a refusal teaches


@METHODS
def test_a_refused_format_becomes_a_forced_tool_once_and_for_all(
    way: Way, server: ScriptedServer, method: str
) -> None:
    opea = made(server)
    server.always(refusing)
    first = way.ask(opea, method, "Hello", output_schema=PERSON)
    second = way.ask(opea, method, "Hello", output_schema=PERSON)
    assert (first.response.meta.dropped, second.response.meta.dropped) == (LEARNED, ())
    assert [form(seen) for seen in server.seen] == [
        (AS_FORMAT, None, None),
        (None, [AS_TOOL], FORCED),
        (None, [AS_TOOL], FORCED),
    ]
    assert answer_of(first.response).keys() == {"name", "age"}


@METHODS
def test_it_costs_no_attempt(way: Way, server: ScriptedServer, method: str) -> None:
    server.always(refusing)
    opea = made(server, max_retries=0)
    assert way.ask(opea, method, "Hello", output_schema=PERSON).error is None
    assert opea.get_stats()["retries"] == 0


def test_hooks_hear_of_it(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    server.always(refusing)
    way.ask(made(server, hooks=[heard.append]), "chat", "Hello", output_schema=PERSON)
    assert [e.parameter for e in heard if isinstance(e, events.ParameterDropped)] == list(LEARNED)


def test_a_tool_that_must_not_be_forced_either_is_offered(way: Way, server: ScriptedServer) -> None:
    def answer(seen: Seen) -> Answer | None:
        if "response_format" in seen.body:
            return refusing(seen)
        return (
            error(400, "Thinking mode does not support this tool_choice")
            if seen.body.get("tool_choice") != "auto"
            else None
        )

    server.always(answer)
    told = way.ask(made(server), "chat", "Hello", output_schema=PERSON)
    assert told.response.meta.dropped == (*LEARNED, "tool_choice -> auto")
    assert form(server.seen[-1]) == (None, [AS_TOOL], "auto")


def test_a_format_refused_beside_tools_becomes_one_more_tool(
    way: Way, server: ScriptedServer
) -> None:
    server.always(refusing)
    told = way.ask(made(server), "chat", "Hello", output_schema=PERSON, tools=[OTHER_TOOL])
    assert told.response.meta.dropped == LEARNED
    assert form(server.seen[-1]) == (None, [OTHER_TOOL, AS_TOOL], "required")


def test_other_parameters_are_dropped_beside_it(way: Way, server: ScriptedServer) -> None:
    def answer(seen: Seen) -> Answer | None:
        return (
            error(400, "Unsupported parameter: 'seed'", param="seed")
            if "seed" in seen.body
            else refusing(seen)
        )

    server.always(answer)
    told = way.ask(made(server), "chat", "Hello", output_schema=PERSON, seed=1)
    assert set(told.response.meta.dropped) == {"seed", *LEARNED}


def test_strict_is_dropped_where_only_strict_is_refused(way: Way, server: ScriptedServer) -> None:
    def answer(seen: Seen) -> Answer | None:
        strict = "strict" in seen.body["response_format"]["json_schema"]
        return (
            error(400, "Unknown parameter", param="response_format.json_schema.strict")
            if strict
            else None
        )

    server.always(answer)
    told = way.ask(made(server), "chat", "Hello", output_schema=PERSON)
    assert told.response.meta.dropped == ("strict",)
    assert form(server.seen[-1])[0] == {
        "type": "json_schema",
        "json_schema": {k: v for k, v in PERSON.items() if k != "strict"},
    }


def test_what_one_endpoint_refuses_the_other_still_gets(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    server.always(refusing)
    way.ask(opea, "chat", "Hello", output_schema=PERSON, endpoint="one")
    way.ask(opea, "chat", "Hello", output_schema=PERSON, endpoint="two")
    assert form(second.seen[0]) == (AS_FORMAT, None, None)


def test_a_call_that_fails_over_asks_each_server_in_its_way(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    second.always(refusing)
    way.ask(opea, "chat", "Hello", output_schema=PERSON, endpoint="two")
    server.pause()
    told = way.ask(opea, "chat", "Hello", output_schema=PERSON)
    assert told.response.endpoint == "two"
    assert form(second.seen[-1]) == (None, [AS_TOOL], FORCED)


@pytest.mark.parametrize(
    "problem",
    [
        error(
            400,
            "Invalid schema for response_format 'person': 'age' is required",
            param="response_format",
        ),
        error(400, "temperature must be at most 2", param="temperature"),
        error(400, "maximum context length is 10 tokens", code="context_length_exceeded"),
        error(401, "response_format is not supported"),
        error(429, "response_format is not supported"),
        error(404, "No such page"),
        error(500, "Internal error"),
    ],
)
def test_other_errors_are_the_callers(way: Way, server: ScriptedServer, problem: Answer) -> None:
    server.always(problem)
    opea = made(server, max_retries=0)
    assert way.ask(opea, "chat", "Hello", output_schema=PERSON).error is not None
    assert [form(seen) for seen in server.seen if seen.method == "POST"] == [
        (AS_FORMAT, None, None)
    ]


@pytest.mark.parametrize("status", [404, 422, 500, 501])
def test_a_format_may_be_refused_under_other_statuses(
    way: Way, server: ScriptedServer, status: int
) -> None:
    server.script(error(status, "response_format is not supported"))
    told = way.ask(made(server, max_retries=0), "chat", "Hello", output_schema=PERSON)
    assert told.response.meta.dropped == LEARNED


def test_a_refusal_that_stays_is_told(way: Way, server: ScriptedServer) -> None:
    server.always(error(400, "response_format is not supported", param="response_format"))
    told = way.ask(made(server), "chat", "Hello", output_schema=PERSON)
    assert isinstance(told.error, InvalidRequestError)
    assert [form(seen) for seen in server.seen] == [
        (AS_FORMAT, None, None),
        (None, [AS_TOOL], FORCED),
    ]


def test_a_format_of_the_callers_own_is_not_replaced(way: Way, server: ScriptedServer) -> None:
    server.always(refusing)
    told = way.ask(made(server), "chat", "Hello", response_format=AS_FORMAT)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 1


@pytest.mark.parametrize("capability", ["json_schema", "json_mode"])
def test_a_way_that_was_set_is_kept_to(way: Way, server: ScriptedServer, capability: Any) -> None:
    server.always(refusing)
    opea = made(server, capabilities=Capabilities(structured_output=capability))
    told = way.ask(opea, "chat", "Hello", output_schema=PERSON)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 1


def test_nothing_is_replaced_when_the_user_says_so(way: Way, server: ScriptedServer) -> None:
    server.always(refusing)
    opea = made(server, adapt=False)
    assert isinstance(
        way.ask(opea, "chat", "Hello", output_schema=PERSON).error, InvalidRequestError
    )
    assert len(server.seen) == 1


# --- what is no schema


@METHODS
@pytest.mark.parametrize(
    "given",
    [
        "person",
        [PERSON],
        True,
        {},
        SCHEMA,
        {"name": "person"},
        {"schema": SCHEMA},
        {"name": None, "schema": SCHEMA},
        {"name": "person", "schema": "object"},
        {"name": "person", "schema": {"default": float("nan")}},
        {"name": "person", "schema": {"default": object()}},
    ],
)
def test_what_is_no_schema_is_refused_before_anything_is_sent(
    way: Way, server: ScriptedServer, method: str, given: Any
) -> None:
    server.always(chat("no"))
    assert isinstance(
        way.ask(made(server), method, "Hello", output_schema=given).error, ConfigurationError
    )
    assert server.seen == []


@pytest.mark.parametrize("name", ["output_schemas", "outputschema", "output_shema"])
def test_a_typo_is_not_sent_as_a_field(way: Way, server: ScriptedServer, name: str) -> None:
    told = way.ask(made(server), "chat", "Hello", **{name: PERSON})
    assert isinstance(told.error, ConfigurationError)
    assert "output_schema" in str(told.error)
    assert server.seen == []


@METHODS
def test_a_format_beside_it_is_refused(way: Way, server: ScriptedServer, method: str) -> None:
    """Both say what the answer looks like."""
    told = way.ask(
        made(server), method, "Hello", output_schema=PERSON, response_format={"type": "json_object"}
    )
    assert isinstance(told.error, ConfigurationError)
    assert server.seen == []


@pytest.mark.parametrize("method", ["embed", "complete", "stream_complete"])
def test_only_chats_have_a_form(way: Way, server: ScriptedServer, method: str) -> None:
    assert isinstance(
        way.ask(made(server), method, "Hello", output_schema=PERSON).error, ConfigurationError
    )
    assert server.seen == []
