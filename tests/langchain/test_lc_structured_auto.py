"""How an answer of a schema is asked for: what the endpoint says,
what was learned from refusals, further tools.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.exceptions import OutputParserException
from lc_object_support import WAYS, ask, body, made
from pydantic import BaseModel

import opea_core as core
from langchain_opea import ChatOPEA
from opea_core import Capabilities
from opea_core.testing import Answer, ScriptedServer, chat, error, json_answer, stream, tool_call


class Person(BaseModel):
    """A person."""

    name: str
    age: int


SCHEMA = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: fine"


def _how(request: Any) -> str:
    """How a request asks for the answer."""
    sent = request.body
    if "response_format" in sent:
        return str(sent["response_format"]["type"])
    return "function" if isinstance(sent.get("tool_choice"), dict) else str(sent.get("tool_choice"))


# --- refusals of response_format, in the words of servers


REFUSED: dict[str, Answer] = {
    "DeepSeek": error(
        400,
        "This response_format type is unavailable now",
        type="invalid_request_error",
        code="invalid_request_error",
    ),
    "LM Studio": json_answer(
        {"error": "'response_format.type' must be 'json_schema' or 'text'"}, 400
    ),
    "an older llama.cpp": error(
        400, "'response_format.type' must be one of 'text' or 'json_object', but got: json_schema"
    ),
    "a pydantic loc": json_answer(
        {
            "detail": [
                {
                    "type": "literal_error",
                    "loc": ["body", "response_format", "type"],
                    "msg": "Input should be 'text' or 'json_object'",
                }
            ]
        },
        422,
    ),
    "vLLM, pydantic": json_answer(
        {
            "object": "error",
            "message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
            "'msg': \"Input should be 'text' or 'json_object'\"}]",
            "type": "BadRequestError",
            "code": 400,
        },
        400,
    ),
    "OpenAI": error(
        400,
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported "
        "with this model. Learn more about supported models at "
        "the Structured Outputs guide.",
        type="invalid_request_error",
        param="response_format",
    ),
    "Groq": error(
        400,
        "This model does not support response format `json_schema`. See supported models.",
        type="invalid_request_error",
    ),
    "Together": error(
        400, "json_schema response format is not supported for this model", param=None
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schema", [Person, SCHEMA], ids=["class", "dict"])
@pytest.mark.parametrize("whose", REFUSED)
def test_a_refused_response_format_becomes_a_function(
    server: ScriptedServer, whose: str, schema: Any, way: str
) -> None:
    server.script(REFUSED[whose])
    found = ask(way, made(server).with_structured_output(schema))
    assert found == (Person(name="text", age=0) if schema is Person else {"name": "text", "age": 0})
    assert [_how(seen) for seen in server.seen] == ["json_schema", "function"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", REFUSED)
def test_a_refusal_is_remembered_and_reported(server: ScriptedServer, whose: str, way: str) -> None:
    model = made(server)
    server.script(REFUSED[whose])
    found = ask(way, model.with_structured_output(Person, include_raw=True))
    assert found["raw"].response_metadata["dropped_parameters"] == ["response_format -> tools"]
    ask(way, model.bind(temperature=0.5).bound.with_structured_output(SCHEMA))
    assert [_how(seen) for seen in server.seen] == ["json_schema", "function", "function"]


@pytest.mark.parametrize("way", WAYS)
def test_a_forced_function_that_is_refused_too_becomes_auto(
    server: ScriptedServer, way: str
) -> None:
    model = made(server)
    server.script(
        REFUSED["DeepSeek"], error(400, "deepseek-reasoner does not support this tool_choice")
    )
    assert ask(way, model.with_structured_output(Person)) == Person(name="text", age=0)
    assert [_how(seen) for seen in server.seen] == ["json_schema", "function", "auto"]
    ask(way, model.with_structured_output(Person))
    assert _how(server.seen[-1]) == "auto"


@pytest.mark.parametrize("way", WAYS)
def test_an_explicit_function_that_may_not_be_forced_becomes_auto_once(
    server: ScriptedServer, way: str
) -> None:
    model = made(server).with_structured_output(Person, method="function_calling", include_raw=True)
    server.script(error(400, "Thinking mode does not support this tool_choice"))
    found = ask(way, model)
    assert found["parsed"] == Person(name="text", age=0)
    assert found["raw"].response_metadata["dropped_parameters"] == ["tool_choice -> auto"]
    ask(way, model)
    assert [_how(seen) for seen in server.seen] == ["function", "auto", "auto"]


@pytest.mark.parametrize("way", WAYS)
def test_the_explicit_method_stays_itself(server: ScriptedServer, way: str) -> None:
    server.script(REFUSED["DeepSeek"])
    with pytest.raises(core.InvalidRequestError, match="unavailable now"):
        ask(way, made(server).with_structured_output(Person, method="json_schema"))
    assert [_how(seen) for seen in server.seen] == ["json_schema"]


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_schema_is_no_reason_for_another_method(server: ScriptedServer, way: str) -> None:
    said = (
        "Invalid schema for response_format 'Person': In context=(), 'additionalProperties' "
        "is required to be supplied and to be false."
    )
    server.script(error(400, said, type="invalid_request_error", param="response_format"))
    with pytest.raises(core.InvalidRequestError, match="Invalid schema"):
        ask(way, made(server).with_structured_output(Person))
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", WAYS)
def test_strict_that_is_refused_is_left_out(server: ScriptedServer, way: str) -> None:
    server.script(
        error(
            400,
            "Unknown parameter: 'response_format.json_schema.strict'.",
            param="response_format.json_schema.strict",
        )
    )
    found = ask(way, made(server).with_structured_output(Person, strict=True, include_raw=True))
    assert found["parsed"] == Person(name="text", age=0)
    assert found["raw"].response_metadata["dropped_parameters"] == ["strict"]
    assert "strict" not in body(server)["response_format"]["json_schema"]


def test_a_setting_forbids_such_changes(server: ScriptedServer) -> None:
    of_the_model = made(server, adapt=False).with_structured_output(Person)
    of_the_call = made(server).with_structured_output(Person, adapt=False)
    for number, asking in enumerate((of_the_model, of_the_call), start=1):
        server.script(REFUSED["DeepSeek"])
        with pytest.raises(core.InvalidRequestError):
            asking.invoke("x")
        assert len(server.seen) == number


# --- what the endpoint says


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("known", "how"),
    [
        (None, "json_schema"),
        ("json_schema", "json_schema"),
        ("function_calling", "function"),
        ("json_mode", "json_object"),
    ],
)
def test_the_method_an_endpoint_names(
    server: ScriptedServer, known: Any, how: str, way: str
) -> None:
    model = made(server, capabilities=Capabilities(structured_output=known))
    text = '{"name": "text", "age": 0}'
    if how == "json_object":
        server.script(chat(text) if way.endswith("invoke") else stream([text]))
    assert ask(way, model.with_structured_output(Person)) == Person(name="text", age=0)
    assert _how(server.seen[-1]) == how


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("known", ["json_schema", "function_calling", "json_mode"])
def test_an_explicit_method_wins_over_the_endpoints(
    server: ScriptedServer, known: Any, method: Any
) -> None:
    model = made(server, capabilities=Capabilities(structured_output=known))
    model.with_structured_output(Person, method=method, include_raw=True).invoke("x")
    assert _how(server.seen[-1]) == {
        "function_calling": "function",
        "json_mode": "json_object",
    }.get(method, "json_schema")


# --- further tools


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling", "json_mode"])
def test_further_tools_may_be_called_instead(server: ScriptedServer, method: Any, way: str) -> None:
    call = tool_call("weather", {"city": "Oslo"})
    server.always(
        chat(None, tool_calls=[call])
        if way.endswith("invoke")
        else stream([{"tool_calls": [{"index": 0, **call}]}])
    )
    model = made(server)
    found = ask(
        way, model.with_structured_output(Person, method=method, tools=[weather], include_raw=True)
    )
    assert "weather" in [tool["function"]["name"] for tool in body(server)["tools"]]
    assert not isinstance(body(server).get("tool_choice"), dict)
    assert found["raw"].tool_calls[0]["args"] == {"city": "Oslo"}
    assert found["parsed"] is None
    with pytest.raises(OutputParserException, match=r"called 'weather' instead"):
        ask(way, model.with_structured_output(Person, method=method, tools=[weather]))


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_beside_further_tools(server: ScriptedServer, way: str) -> None:
    text = '{"name": "Ann", "age": 7}'
    server.script(chat(text) if way.endswith("invoke") else stream([text]))
    assert ask(way, made(server).with_structured_output(Person, tools=[weather])) == Person(
        name="Ann", age=7
    )


# --- agents


def _agent_answer(model: ChatOPEA, form: Any) -> Any:
    agent = create_agent(model, tools=[weather], response_format=form)
    return agent.invoke({"messages": "x"})["structured_response"]


def _call_then(final: Answer) -> list[Answer]:
    return [chat(None, tool_calls=[tool_call("weather", {"city": "Oslo"})]), final]


def test_an_agent_with_the_servers_own_schemas(server: ScriptedServer) -> None:
    server.script(*_call_then(chat('{"name": "Ann", "age": 7}')))
    assert _agent_answer(made(server), ProviderStrategy(Person)) == Person(name="Ann", age=7)
    assert body(server)["response_format"]["json_schema"]["name"] == "Person"


def test_an_agent_with_a_tool_for_the_answer(server: ScriptedServer) -> None:
    server.script(
        *_call_then(chat(None, tool_calls=[tool_call("Person", {"name": "Ann", "age": 7})]))
    )
    assert _agent_answer(made(server), ToolStrategy(Person)) == Person(name="Ann", age=7)
    assert body(server)["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("known", "how"), [("json_schema", "json_schema"), ("function_calling", "required")]
)
def test_an_agent_chooses_by_the_profile(server: ScriptedServer, known: Any, how: str) -> None:
    answer = (
        chat('{"name": "Ann", "age": 7}')
        if how == "json_schema"
        else chat(None, tool_calls=[tool_call("Person", {"name": "Ann", "age": 7})])
    )
    server.script(*_call_then(answer))
    model = made(server, capabilities=Capabilities(structured_output=known))
    assert _agent_answer(model, Person) == Person(name="Ann", age=7)
    assert _how(server.seen[-1]) == how
