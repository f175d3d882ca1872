"""ChatOPEA over the Responses dialect: agents whose turns carry their reasoning, and blocks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from lc_asking import BLOCK_WAYS, WAYS, ModelWith, Way

from opea_core.testing import Answer, ScriptedServer, Seen, chat, json_answer, stream, tool_call
from opea_core.testing.responses_request import BLOB, refusal_of

Json = dict[str, Any]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
RAN: list[Any] = []


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    RAN.append(city)
    return f"fine in {city}"


@tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    RAN.append((a, b))
    return str(a + b)


@tool
def now() -> str:
    """The time."""
    RAN.append("now")
    return "noon"


TOOLS = [weather, add, now]
TURNS: list[tuple[str, str, list[Json]]] = [
    ("First the weather.", "", [tool_call("weather", {"city": "Rome"}, id="call_1")]),
    (
        "Now the rest.",
        "Let me see.",
        [tool_call("add", {"a": 1, "b": 2}, id="call_2"), tool_call("now", {}, id="call_3")],
    ),
    ("That is all.", "It is fine, 3, and noon.", []),
]
"""What the model thinks, says and calls, turn by turn."""


def turn(seen: Seen, thought: str, said: str, calls: list[Json]) -> Answer:
    """One turn as it is asked for."""
    if not seen.body.get("stream"):
        return chat(said, reasoning=thought, tool_calls=calls)
    pieces: list[Any] = [{"reasoning_content": piece} for piece in (thought[:5], thought[5:])]
    pieces += [piece for piece in (said[:3], said[3:]) if piece]
    for number, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {"index": number, "id": call["id"], "function": {"name": name, "arguments": ""}}
        pieces += [
            {"tool_calls": [begun]},
            {"tool_calls": [{"index": number, "function": {"arguments": arguments}}]},
        ]
    return stream(pieces)


def agent_model(seen: Seen) -> Answer | None:
    """The turns of an agent, for a client that sends what a strict server wants."""
    if seen.path != RESPONSES:
        return None
    refused = refusal_of(seen.body)
    if refused is not None:
        return refused
    items = seen.body["input"]
    since = [i for i, item in enumerate(items) if item.get("role") == "user"][-1]
    done = {item["call_id"] for item in items[since:] if "output" in item}
    return turn(seen, *TURNS[len({"call_1", "call_2"} & done)])


@pytest.fixture
def server() -> Any:
    """A server that takes tools beside reasoning in the Responses dialect only."""
    RAN.clear()
    with ScriptedServer(wants_responses=True) as server:
        server.always(agent_model)
        yield server


HI: Any = {"messages": [HumanMessage("How is it?")]}
RUNS: dict[str, Callable[..., Any]] = {
    "invoke": lambda agent, state, config: agent.invoke(state, config),
    "ainvoke": lambda agent, state, config: asyncio.run(agent.ainvoke(state, config)),
    "stream": lambda agent, state, config: [
        piece
        for mode, piece in agent.stream(state, config, stream_mode=["messages", "values"])
        if mode == "values"
    ][-1],
}
ITEMS = [
    ["message"],
    ["message", "reasoning", "function_call", "function_call_output"],
    [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ],
]
"""What each turn sends."""


def kinds(seen: Seen) -> list[str]:
    return [item["type"] for item in seen.body["input"]]


def spoken(server: ScriptedServer) -> list[Seen]:
    return [seen for seen in server.seen if seen.path == RESPONSES]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_an_agent_with_tools_and_reasoning_needs_no_setting(
    server: ScriptedServer, model_with: ModelWith, run: str, output_version: str
) -> None:
    agent = create_agent(model_with(output_version=output_version), TOOLS)
    messages = RUNS[run](agent, HI, None)["messages"]
    assert messages[-1].text == "It is fine, 3, and noon."
    assert sorted(map(repr, RAN)) == sorted(map(repr, ["Rome", (1, 2), "now"]))
    assert [seen.path for seen in server.seen] == [CHAT, *[RESPONSES] * 3]
    assert [kinds(seen) for seen in spoken(server)] == ITEMS
    assert [json.dumps(seen.body).count(BLOB) for seen in spoken(server)] == [0, 1, 2]


def test_the_first_answer_tells_that_it_went_over(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    model = model_with().bind_tools(TOOLS)
    told = [model.invoke("Hi").response_metadata.get("dropped_parameters") for _ in range(2)]
    assert told == [["chat/completions -> responses"], None]


@pytest.mark.parametrize("run", RUNS)
def test_a_checkpoint_keeps_what_goes_back(
    server: ScriptedServer, model_with: ModelWith, run: str
) -> None:
    """Another agent goes on with the thread, as after a restart."""
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "one"}}
    model = model_with(dialect="responses")
    RUNS[run](create_agent(model, TOOLS, checkpointer=saver), HI, config)
    again = {"messages": [HumanMessage("And now?")]}
    RUNS[run](create_agent(model, TOOLS, checkpointer=saver), again, config)
    assert [json.dumps(seen.body).count(BLOB) for seen in spoken(server)] == [0, 1, 2, 3, 4, 5]
    last = kinds(spoken(server)[3])
    assert last == [*ITEMS[2], "reasoning", "message", "message"]


def test_messages_written_to_a_file_keep_what_goes_back(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    model = model_with(dialect="responses").bind_tools(TOOLS)
    asked = HumanMessage("Hi")
    first = model.invoke([asked])
    stored = messages_from_dict(json.loads(json.dumps(messages_to_dict([asked, first]))))
    result = ToolMessage("fine", tool_call_id=first.tool_calls[0]["id"])
    model.invoke([*stored, result])
    assert kinds(spoken(server)[-1]) == ITEMS[1]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask_keeps_what_goes_back(server: ScriptedServer, way: str) -> None:
    server.always(lambda seen: turn(seen, "Hm, hm.", "Hello", []))
    told = WAYS[way](server, dialect="responses")
    assert told.text == "Hello"
    items = told.additional_kwargs["response_items"]
    assert [item["type"] for item in items] == ["reasoning", "message"]
    assert items[0]["encrypted_content"].startswith(BLOB)


def test_chat_openai_s_name_for_it_is_understood(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    model_with(use_responses_api=True).invoke("Hi")
    model_with(use_responses_api=False).invoke("Hi")
    assert [seen.path for seen in server.seen] == [RESPONSES, CHAT]


def test_fields_of_this_dialect_are_sent(server: ScriptedServer, model_with: ModelWith) -> None:
    model_with(
        use_responses_api=True,
        reasoning={"effort": "low", "summary": "auto"},
        include=["file_search_call.results"],
        truncation="auto",
        store=True,
    ).invoke("Hi")
    sent = spoken(server)[0].body
    assert {name: sent[name] for name in ("reasoning", "include", "truncation", "store")} == {
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["file_search_call.results"],
        "truncation": "auto",
        "store": True,
    }


# --- tools that the server ran


SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "ruby"},
}
CODE = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "status": "completed",
    "code": "1 + 1",
    "container_id": "c_1",
    "outputs": [{"type": "logs", "logs": "2"}],
}
FAILED = {
    "type": "mcp_call",
    "id": "mcp_1",
    "name": "roll",
    "server_label": "dice",
    "arguments": "{}",
    "error": "no dice",
}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Ruby is here.", "annotations": []}],
}


def searched(seen: Seen) -> Answer:
    """An answer of a model that searched, ran code, and called a remote tool."""
    output = [SEARCH, CODE, FAILED, SAID]
    document = {"id": "resp_1", "object": "response", "status": "completed", "output": output}
    if not seen.body.get("stream"):
        return json_answer(document)
    events: list[Json] = [
        {"type": "response.output_item.done", "output_index": place, "item": item}
        for place, item in enumerate(output)
    ]
    events.append({"type": "response.completed", "response": document})
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    return Answer(200, {"content-type": "text/event-stream"}, (data,))


WANTED = [
    {
        "type": "server_tool_call",
        "id": "ws_1",
        "name": "web_search",
        "args": {"type": "search", "query": "ruby"},
    },
    {"type": "server_tool_result", "tool_call_id": "ws_1", "status": "success"},
    {
        "type": "server_tool_call",
        "id": "ci_1",
        "name": "code_interpreter",
        "args": {"code": "1 + 1", "container_id": "c_1"},
    },
    {
        "type": "server_tool_result",
        "tool_call_id": "ci_1",
        "status": "success",
        "output": {"outputs": [{"type": "logs", "logs": "2"}]},
    },
    {
        "type": "server_tool_call",
        "id": "mcp_1",
        "name": "remote_mcp",
        "args": {"arguments": "{}", "name": "roll", "server_label": "dice"},
    },
    {
        "type": "server_tool_result",
        "tool_call_id": "mcp_1",
        "status": "error",
        "output": {"error": "no dice"},
    },
]


def server_tools(message: AIMessage) -> list[Any]:
    return [
        {k: v for k, v in block.items() if k != "index"}
        for block in message.content_blocks
        if block["type"].startswith("server_tool")
    ]


@pytest.mark.parametrize("way", [*WAYS, *BLOCK_WAYS])
def test_tools_of_the_server_are_standard_blocks(server: ScriptedServer, way: str) -> None:
    server.always(searched)
    ask: Way = (WAYS | BLOCK_WAYS)[way]
    message = ask(server, dialect="responses")
    assert message.text == "Ruby is here."
    assert server_tools(message) == WANTED
    assert message.tool_calls == []


@pytest.mark.parametrize("way", [*WAYS, *BLOCK_WAYS])
def test_tools_of_the_server_go_back_as_they_came(server: ScriptedServer, way: str) -> None:
    server.always(searched)
    ask: Way = (WAYS | BLOCK_WAYS)[way]
    message = ask(server, dialect="responses")
    ask(server, [HumanMessage("Hi"), message, HumanMessage("?")], dialect="responses")
    back = spoken(server)[-1].body["input"]
    assert back[1:4] == [SEARCH, CODE, FAILED]
    assert back[4]["content"] == SAID["content"]
    assert [item["type"] for item in back] == [
        "message",
        *[i["type"] for i in (SEARCH, CODE, FAILED)],
        "message",
        "message",
    ]
