"""Tools on the way to the server, and the choice among them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from li_asking import LLMWith, alist
from llama_index.core.llms import ChatMessage
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel, Field

from llama_index_opea import OPEALLM
from opea_core import Capabilities, ConfigurationError
from opea_core.testing import ScriptedServer, chat, error, stream, tool_call

TOOL_WAYS = (
    "chat_with_tools",
    "achat_with_tools",
    "stream_chat_with_tools",
    "astream_chat_with_tools",
)


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def where() -> str:
    """Tell the city."""
    return "Lima"


ADD, WHERE = FunctionTool.from_defaults(add), FunctionTool.from_defaults(where)
TOOLS = [ADD, WHERE]
FORCED = {"type": "function", "function": {"name": "add"}}


def ask(way: str, llm: OPEALLM, tools: Any = TOOLS, user_msg: Any = "Hi", **options: Any) -> Any:
    """The last response of one of the four ways."""
    call = getattr(llm, way)

    async def awaited() -> Any:
        answer = await call(tools, user_msg, **options)
        return (await alist(answer))[-1] if "stream" in way else answer

    if way.startswith("a"):
        return asyncio.run(awaited())
    answer = call(tools, user_msg, **options)
    return list(answer)[-1] if "stream" in way else answer


# --- what is sent


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_tools_are_sent_with_name_description_and_schema(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    ask(way, llm)

    body = server.seen[0].body
    first, second = body["tools"]
    assert first["type"] == "function"
    assert first["function"]["name"] == "add"
    assert "Add two numbers." in first["function"]["description"]
    assert first["function"]["parameters"]["required"] == ["a"]
    assert first["function"]["parameters"]["properties"]["b"]["default"] == 1
    assert second["function"]["parameters"] == {"properties": {}, "type": "object"}
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert not body.keys() & {"parallel_tool_calls", "strict"}


CHOICES: list[tuple[dict[str, Any], Any]] = [
    ({}, "auto"),
    ({"tool_required": False}, "auto"),
    ({"tool_required": True}, "required"),
    ({"tool_choice": "auto"}, "auto"),
    ({"tool_choice": "none"}, "none"),
    ({"tool_choice": "required"}, "required"),
    ({"tool_choice": "any"}, "required"),
    ({"tool_choice": "add"}, FORCED),
    ({"tool_choice": FORCED}, FORCED),
    ({"tool_choice": "none", "tool_required": True}, "none"),
    ({"tool_choice": "add", "tool_required": True}, FORCED),
    ({"tool_choice": None, "tool_required": True}, "required"),
]


@pytest.mark.parametrize("way", TOOL_WAYS)
@pytest.mark.parametrize(("options", "sent"), CHOICES)
def test_choices(server: ScriptedServer, llm: OPEALLM, options: Any, sent: Any, way: str) -> None:
    ask(way, llm, **options)

    assert server.seen[0].body["tool_choice"] == sent


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_the_name_of_no_tool_is_an_error_with_the_nearest(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    with pytest.raises(ConfigurationError, match="'add'"):
        ask(way, llm, tool_choice="ad")

    assert server.seen == []


@pytest.mark.parametrize("way", TOOL_WAYS)
@pytest.mark.parametrize(
    "options",
    [{}, {"tool_required": True}, {"tool_choice": "x"}, {"allow_parallel_tool_calls": True}],
)
def test_no_tools_mean_no_word_about_tools(
    server: ScriptedServer, llm: OPEALLM, way: str, options: Any
) -> None:
    ask(way, llm, [], **options)

    assert not server.seen[0].body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_what_is_prepared_without_tools(llm: OPEALLM) -> None:
    found = llm._prepare_chat_with_tools([], "Hi")

    assert found == {"messages": [ChatMessage("Hi")], "tools": None, "tool_choice": None}


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_parallel_calls_are_asked_for_only_when_allowed(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    ask(way, llm, allow_parallel_tool_calls=True)

    assert server.seen[0].body["parallel_tool_calls"] is True


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_parallel_calls_may_be_forbidden(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    ask(way, llm, parallel_tool_calls=False)

    assert server.seen[0].body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("field", "option", "strict"),
    [(False, True, True), (True, None, True), (True, False, False), (False, None, False)],
)
def test_strict_is_sent_when_asked_for(
    server: ScriptedServer, llm_with: LLMWith, field: bool, option: Any, strict: bool
) -> None:
    options = {} if option is None else {"strict": option}

    ask("chat_with_tools", llm_with(strict=field), **options)

    function = server.seen[0].body["tools"][0]["function"]
    assert function.get("strict", False) is strict
    assert function["parameters"].get("additionalProperties", True) is not strict


class _Place(BaseModel):
    city: str
    street: str | None = None


class _Order(BaseModel):
    place: _Place
    note: str = "none"


def test_a_strict_schema_is_one_that_strict_servers_take(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    ask("chat_with_tools", llm, [get_function_tool(_Order)], strict=True)

    parameters = server.seen[0].body["tools"][0]["function"]["parameters"]
    for part in (parameters, parameters["$defs"]["_Place"]):
        assert part["additionalProperties"] is False
        assert sorted(part["required"]) == sorted(part["properties"])


@pytest.mark.parametrize("way", TOOL_WAYS)
@pytest.mark.parametrize("user_msg", ["More", ChatMessage(role="user", content="More"), None])
def test_the_history_is_copied(
    server: ScriptedServer, llm: OPEALLM, way: str, user_msg: Any
) -> None:
    history = [
        ChatMessage(role="system", content="Be short."),
        ChatMessage(role="user", content="Hi"),
    ]
    before = list(history)

    ask(way, llm, user_msg=user_msg, chat_history=history)

    more = [] if user_msg is None else [("user", "More")]
    assert history == before
    assert [(m["role"], m["content"]) for m in server.seen[0].body["messages"]] == [
        ("system", "Be short."),
        ("user", "Hi"),
        *more,
    ]


def test_tools_of_the_protocol_stay_as_they_are(server: ScriptedServer, llm: OPEALLM) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "additionalProperties": False}},
    }

    ask("chat_with_tools", llm, [tool], tool_choice="f")

    assert server.seen[0].body["tools"] == [tool]
    assert server.seen[0].body["tool_choice"]["function"]["name"] == "f"


class _Described(BaseModel):
    """Described by its docstring."""

    city: str = Field(description="name of a city")
    kind: list[_Place] = []


def test_nested_schemas_keep_their_definitions(server: ScriptedServer, llm: OPEALLM) -> None:
    ask("chat_with_tools", llm, [get_function_tool(_Described)])

    parameters = server.seen[0].body["tools"][0]["function"]["parameters"]
    assert parameters["$defs"].keys() == {"_Place"}
    assert parameters["properties"]["city"]["description"] == "name of a city"


def test_other_options_go_into_the_body(server: ScriptedServer, llm: OPEALLM) -> None:
    ask("chat_with_tools", llm, temperature=0.9, top_k=3)

    assert (server.seen[0].body["temperature"], server.seen[0].body["top_k"]) == (0.9, 3)


def test_a_server_that_takes_no_forced_tool_gets_auto(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    response = ask(
        "chat_with_tools",
        llm_with(capabilities=Capabilities(tool_choice="auto")),
        tool_required=True,
    )

    assert server.seen[0].body["tool_choice"] == "auto"
    assert response.additional_kwargs["dropped_parameters"] == ["tool_choice -> auto"]


@pytest.mark.parametrize("name", ["parallel_tool_calls", "strict"])
@pytest.mark.parametrize("way", TOOL_WAYS)
def test_what_the_server_refuses_is_left_out_once(
    server: ScriptedServer, llm: OPEALLM, way: str, name: str
) -> None:
    server.script(error(400, f"Unsupported parameter: '{name}'", param=name))

    ask(way, llm, allow_parallel_tool_calls=True, strict=True)
    ask(way, llm, allow_parallel_tool_calls=True, strict=True)

    assert len(server.seen) == 3
    for seen in server.seen[1:]:
        assert f'"{name}"' not in seen.raw_body.decode()


# --- names

ODD = FunctionTool.from_defaults(add, name="my add.v2 (beta)")


def test_names_are_cleaned_in_tools_and_choice(server: ScriptedServer, llm: OPEALLM) -> None:
    ask("chat_with_tools", llm, [ODD], tool_choice="my add.v2 (beta)")

    body = server.seen[0].body
    assert body["tools"][0]["function"]["name"] == "my_add_v2__beta_"
    assert body["tool_choice"]["function"]["name"] == "my_add_v2__beta_"


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_a_tool_with_an_odd_name_can_be_called(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(chat(None, tool_calls=[tool_call("my_add_v2__beta_", {"a": 2, "b": 3})]))

    answer = getattr(llm, way)([ODD], "Hi")
    if way == "apredict_and_call":

        async def awaited() -> Any:
            return await answer

        answer = asyncio.run(awaited())

    assert str(answer) == "5"


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_calls_have_the_tools_own_name(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    calls = [tool_call("my_add_v2__beta_", {"a": 2}, "a"), tool_call("unknown", {}, "b")]
    pieces = [
        {"content": "."},
        {"tool_calls": [call | {"index": index} for index, call in enumerate(calls)]},
        {"content": "."},
    ]
    server.script(
        stream(pieces, finish_reason="tool_calls")
        if "stream" in way
        else chat("..", tool_calls=calls)
    )

    response = ask(way, llm, [ODD], allow_parallel_tool_calls=True)

    names = [call.tool_name for call in llm.get_tool_calls_from_response(response)]
    assert names == ["my add.v2 (beta)", "unknown"]
    assert [
        call["function"]["name"] for call in response.message.additional_kwargs["tool_calls"]
    ] == names


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_names_are_cleaned_again_in_the_history(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(chat(None, tool_calls=[tool_call("my_add_v2__beta_", {"a": 2}, "a")]))
    answer = llm.chat_with_tools([ODD], "Hi").message
    result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": "a"})

    ask(way, llm, [ODD], user_msg=None, chat_history=[ChatMessage("Hi"), answer, result])

    assert server.seen[1].body["messages"][1]["tool_calls"] == [
        tool_call("my_add_v2__beta_", {"a": 2}, "a")
    ]


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_two_tools_of_one_cleaned_name_are_told_apart(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    def answer(seen: Any) -> Any:
        name = seen.body["tools"][1]["function"]["name"]
        called = tool_call(name, {"a": 2}, "a")
        return (
            stream([{"tool_calls": [called]}], finish_reason="tool_calls")
            if seen.body["stream"]
            else chat(None, tool_calls=[called])
        )

    server.script(answer)
    found = ask(
        way,
        llm,
        [FunctionTool.from_defaults(add, name="a b"), FunctionTool.from_defaults(add, name="a.b")],
    )

    one, other = (tool["function"]["name"] for tool in server.seen[0].body["tools"])
    assert one != other
    assert [call.tool_name for call in llm.get_tool_calls_from_response(found)] == ["a.b"]


def test_a_tool_without_a_schema(server: ScriptedServer, llm: OPEALLM) -> None:
    tool = FunctionTool(fn=add, metadata=ToolMetadata(description="d", name="f", fn_schema=None))

    ask("chat_with_tools", llm, [tool])

    assert server.seen[0].body["tools"][0]["function"]["parameters"]["required"] == ["input"]


def test_a_long_description_is_sent_whole(server: ScriptedServer, llm: OPEALLM) -> None:
    ask("chat_with_tools", llm, [FunctionTool.from_defaults(add, description="d" * 3000)])

    assert server.seen[0].body["tools"][0]["function"]["description"].count("d") >= 3000
