"""Tools of every kind, the choice among them, and calls that come back."""

from __future__ import annotations

import enum
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import StructuredTool, tool
from lc_object_support import WAYS, ask, body, made
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from langchain_opea.errors import OPEAConfigurationError
from opea_core.testing import ScriptedServer, chat, error, stream, tool_call


@tool
def weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"{city}: fine for {days}"


def weather_function(city: Annotated[str, "where"], days: int = 1) -> str:
    """The weather of a city.

    Args:
        city: where
        days: how long
    """
    return city


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(description="where")
    days: int = 1


class WeatherV1(BaseModelV1):
    """The weather of a city."""

    city: str
    days: int = 1


class WeatherDict(TypedDict):
    """The weather of a city."""

    city: Annotated[str, ..., "where"]
    days: Annotated[int, 1, "how long"]


OPENAI = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
    },
}
BARE = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {
    "title": "weather",
    "description": "d",
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
ANTHROPIC = {
    "name": "weather",
    "description": "d",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
KINDS: dict[str, tuple[Any, str]] = {
    "tool": (weather, "weather"),
    "structured tool": (StructuredTool.from_function(weather_function), "weather_function"),
    "function": (weather_function, "weather_function"),
    "pydantic": (Weather, "Weather"),
    "pydantic v1": (WeatherV1, "WeatherV1"),
    "TypedDict": (WeatherDict, "WeatherDict"),
    "OpenAI": (OPENAI, "weather"),
    "bare": (BARE, "weather"),
    "JSON schema": (SCHEMA, "weather"),
    "Anthropic": (ANTHROPIC, "weather"),
}


# --- forms of tools


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_tools(server: ScriptedServer, kind: str, way: str) -> None:
    given, name = KINDS[kind]
    answer = ask(way, made(server).bind_tools([given]))
    [sent] = body(server)["tools"]
    assert sent.keys() == {"type", "function"}
    assert (sent["type"], sent["function"]["name"]) == ("function", name)
    assert sent["function"]["description"]
    assert sent["function"]["parameters"]["type"] == "object"
    assert answer.tool_calls[0]["name"] == name


def test_parameters_are_described(server: ScriptedServer) -> None:
    made(server).bind_tools([weather_function, Weather]).invoke("x")
    for sent in body(server)["tools"]:
        parameters = sent["function"]["parameters"]
        assert parameters["properties"]["city"]["description"] == "where"
        assert parameters["required"] == ["city"]


@pytest.mark.parametrize(
    "native",
    [
        {"type": "web_search"},
        {"type": "web_search_preview", "search_context_size": "low"},
        {"type": "mcp", "server_label": "s", "server_url": "http://mcp"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "custom", "custom": {"name": "sql", "description": "d"}},
    ],
    ids=lambda native: native["type"],
)
def test_tools_only_a_server_knows_stay_as_they_are(
    server: ScriptedServer, native: dict[str, Any]
) -> None:
    server.script(chat("x"))
    made(server).bind_tools([native, weather]).invoke("x")
    assert body(server)["tools"][0] == native
    assert body(server)["tools"][1]["function"]["name"] == "weather"


def test_what_is_bound_is_a_binding_that_leaves_the_model_alone(server: ScriptedServer) -> None:
    model = made(server)
    bound = model.bind_tools([weather])
    assert isinstance(bound, RunnableBinding)
    assert bound.bound is model
    model.invoke("x")
    assert "tools" not in body(server)


def test_no_tools_are_not_sent(server: ScriptedServer) -> None:
    made(server).bind_tools([], tool_choice="auto", parallel_tool_calls=False).invoke("x")
    assert body(server) == {"model": "m"}


def test_further_options_go_into_every_call(server: ScriptedServer) -> None:
    made(server).bind_tools([weather], temperature=0.5, timeout=5).invoke("x")
    assert body(server)["temperature"] == 0.5
    assert "timeout" not in body(server)


@pytest.mark.parametrize("strict", [None, True, False])
def test_strict_stands_in_the_function(server: ScriptedServer, strict: bool | None) -> None:
    made(server).bind_tools([Weather], strict=strict).invoke("x")
    function = body(server)["tools"][0]["function"]
    assert function.get("strict") is strict
    assert function["parameters"].get("additionalProperties") == (False if strict else None)


@pytest.mark.parametrize("parallel", [None, True, False])
def test_parallel_calls(server: ScriptedServer, parallel: bool | None) -> None:
    made(server).bind_tools([weather], parallel_tool_calls=parallel).invoke("x")
    assert body(server).get("parallel_tool_calls") is parallel


@pytest.mark.parametrize("nonsense", [5, "weather", {"foo": 1}, None])
def test_what_is_no_tool_is_an_error(server: ScriptedServer, nonsense: Any) -> None:
    with pytest.raises((ValueError, TypeError, OPEAConfigurationError)):
        made(server).bind_tools([nonsense])


# --- the choice


NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("weather", NAMED),
        (NAMED, NAMED),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},) * 2,
    ],
    ids=str,
)
def test_forms_of_the_choice(server: ScriptedServer, choice: Any, wire: Any) -> None:
    made(server).bind_tools([weather, Weather], tool_choice=choice).invoke("x")
    assert body(server).get("tool_choice") == wire


def test_a_native_tool_is_chosen_by_its_type(server: ScriptedServer) -> None:
    server.script(chat("x"))
    made(server).bind_tools([{"type": "web_search"}, weather], tool_choice="web_search").invoke("x")
    assert body(server)["tool_choice"] == {"type": "web_search"}


def test_a_choice_that_names_no_tool_is_told_the_nearest(server: ScriptedServer) -> None:
    with pytest.raises(OPEAConfigurationError, match=r"'wether'.*Did you mean 'weather'") as caught:
        made(server).bind_tools([weather, Weather], tool_choice="wether")
    assert "weather, Weather" in caught.value.hint


def test_a_choice_without_tools_is_an_error(server: ScriptedServer) -> None:
    with pytest.raises(OPEAConfigurationError, match="weather"):
        made(server).bind_tools([], tool_choice="weather")


@pytest.mark.parametrize("way", WAYS)
def test_a_forced_choice_that_is_refused_becomes_auto_once(
    server: ScriptedServer, way: str
) -> None:
    model = made(server).bind_tools([weather], tool_choice="any")
    server.script(
        error(
            400, "deepseek-reasoner does not support this tool_choice", type="invalid_request_error"
        )
    )
    answer = ask(way, model)
    ask(way, model)
    assert [seen.body["tool_choice"] for seen in server.seen] == ["required", "auto", "auto"]
    assert answer.response_metadata["dropped_parameters"] == ["tool_choice -> auto"]
    assert answer.tool_calls[0]["name"] == "weather"


def test_parallel_calls_that_are_refused_are_left_out_once(server: ScriptedServer) -> None:
    model = made(server).bind_tools([weather], parallel_tool_calls=False)
    server.script(
        error(400, "Unknown parameter: 'parallel_tool_calls'.", param="parallel_tool_calls")
    )
    assert model.invoke("x").response_metadata["dropped_parameters"] == ["parallel_tool_calls"]
    model.invoke("x")
    assert ["parallel_tool_calls" in seen.body for seen in server.seen] == [True, False, False]


# --- calls that come back


@pytest.mark.parametrize("way", WAYS)
def test_the_result_of_a_tool_goes_back(server: ScriptedServer, way: str) -> None:
    model = made(server).bind_tools([weather])
    call = ask(way, model)
    result = weather.invoke(call.tool_calls[0])
    final = ask(way, model, [HumanMessage("x"), call, result])
    assert isinstance(result, ToolMessage)
    sent = server.seen[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.tool_calls[0]["id"]
    assert final.text.startswith("The tool says")


@pytest.mark.parametrize("way", WAYS)
def test_several_calls_at_once(server: ScriptedServer, way: str) -> None:
    calls = [
        tool_call("weather", {"city": "Oslo"}, "a"),
        tool_call("weather", {"city": "Rome"}, "b"),
    ]
    deltas = {"tool_calls": [{"index": number, **call} for number, call in enumerate(calls)]}
    server.script(
        chat(None, tool_calls=calls)
        if way.endswith("invoke")
        else stream([deltas], finish_reason="tool_calls")
    )
    found: AIMessage = ask(way, made(server).bind_tools([weather]))
    assert [(call["id"], call["args"]) for call in found.tool_calls] == [
        ("a", {"city": "Oslo"}),
        ("b", {"city": "Rome"}),
    ]


def test_a_tool_with_an_enum(server: ScriptedServer) -> None:
    class Unit(enum.Enum):
        C = "celsius"
        F = "fahrenheit"

    class Ask(BaseModel):
        """Ask."""

        unit: Unit

    made(server).bind_tools([Ask]).invoke("x")
    assert "celsius" in str(body(server)["tools"])
