"""OPEALLM over the Responses dialect: agents whose turns carry their reasoning, stores, blocks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from li_asking import CHATS, LLMWith, last_of
from li_object_support import llm
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index.core.tools import FunctionTool

from llama_index_opea import OPEALLM
from opea_core.testing import Answer, ScriptedServer, Seen, chat, json_answer, stream, tool_call
from opea_core.testing.responses_request import BLOB, refusal_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    "ignore:is_running called from within a step:DeprecationWarning",
)
Json = dict[str, Any]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
STREAMING = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"fine in {city}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def now() -> str:
    """The time."""
    return "noon"


TOOLS = [FunctionTool.from_defaults(function) for function in (weather, add, now)]
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
    pieces += [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(calls)]
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
    with ScriptedServer(wants_responses=True) as server:
        server.always(agent_model)
        yield server


def spoken(server: ScriptedServer) -> list[Seen]:
    return [seen for seen in server.seen if seen.path == RESPONSES]


def kinds(seen: Seen) -> list[str]:
    return [item["type"] for item in seen.body["input"]]


def blobs(server: ScriptedServer) -> list[int]:
    return [json.dumps(seen.body).count(BLOB) for seen in spoken(server)]


def run(agent: FunctionAgent, text: str, memory: Any = None) -> str:
    async def ask() -> Any:
        return await agent.run(text, memory=memory)

    return str(asyncio.run(ask()))


@STREAMING
def test_an_agent_with_tools_and_reasoning_needs_no_setting(
    server: ScriptedServer, streaming: bool
) -> None:
    agent = FunctionAgent(tools=TOOLS, llm=llm(server, max_retries=0), streaming=streaming)
    assert run(agent, "How is it?") == "It is fine, 3, and noon."
    assert [seen.path for seen in server.seen] == [CHAT, *[RESPONSES] * 3]
    assert blobs(server) == [0, 1, 2]
    assert kinds(spoken(server)[2]) == [
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
    ]


def _from_a_file(memory: ChatMemoryBuffer, path: Path) -> ChatMemoryBuffer:
    """As persist() writes it, which fails with pydantic 2.14 for any message."""
    file = path / "store.json"
    kept = {"store": {"one": [message.model_dump(mode="json") for message in memory.get_all()]}}
    file.write_text(json.dumps(kept), encoding="utf-8")
    return _buffer(SimpleChatStore.from_persist_path(str(file)))


def _buffer(store: SimpleChatStore) -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(
        chat_store=store, chat_store_key="one", token_limit=100_000, tokenizer_fn=str.split
    )


@STREAMING
def test_a_memory_written_to_a_file_keeps_what_goes_back(
    server: ScriptedServer, streaming: bool, tmp_path: Path
) -> None:
    """Another agent goes on with the stored messages, as after a restart."""
    memory = _buffer(SimpleChatStore())
    made = llm(server, max_retries=0, dialect="responses")
    run(FunctionAgent(tools=TOOLS, llm=made, streaming=streaming), "How is it?", memory)
    again = _from_a_file(memory, tmp_path)
    run(FunctionAgent(tools=TOOLS, llm=made, streaming=streaming), "And now?", again)
    assert blobs(server) == [0, 1, 2, 3, 4, 5]


def thinking(message: ChatMessage) -> str:
    return "".join(b.content or "" for b in message.blocks if isinstance(b, ThinkingBlock))


@pytest.mark.parametrize("way", CHATS)
def test_every_way_to_ask_keeps_what_goes_back(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.always(lambda seen: turn(seen, "Hm, hm.", "Hello", []))
    made: OPEALLM = llm_with(dialect="responses")
    message = last_of(way, made).message
    assert (message.content, thinking(message)) == ("Hello", "Hm, hm.")
    stored = ChatMessage.model_validate_json(message.model_dump_json())
    made.chat([ChatMessage("Hi"), stored, ChatMessage("And?")])
    back = spoken(server)[-1].body["input"]
    assert [item["type"] for item in back] == ["message", "reasoning", "message", "message"]
    assert back[1]["encrypted_content"].startswith(BLOB)


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "It is here.", "annotations": []}],
}


def searched(seen: Seen) -> Answer:
    """An answer of a model that searched."""
    document = {"object": "response", "status": "completed", "output": [SEARCH, SAID]}
    if not seen.body.get("stream"):
        return json_answer(document)
    events: list[Json] = [
        {"type": "response.output_item.done", "output_index": place, "item": item}
        for place, item in enumerate([SEARCH, SAID])
    ]
    events.append({"type": "response.completed", "response": document})
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    return Answer(200, {"content-type": "text/event-stream"}, (data,))


@pytest.mark.parametrize("way", CHATS)
def test_tools_of_the_server_are_told_and_go_back(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.always(searched)
    made: OPEALLM = llm_with(dialect="responses")
    told = last_of(way, made)
    assert told.message.content == "It is here."
    assert told.raw["output"] == [SEARCH, SAID]
    assert told.message.additional_kwargs["content_parts"] == [SEARCH]
    made.chat([ChatMessage("Hi"), told.message, ChatMessage("And?")])
    assert spoken(server)[-1].body["input"][1] == SEARCH


def test_fields_of_this_dialect_are_sent(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm_with(
        dialect="responses",
        additional_kwargs={"truncation": "auto", "reasoning": {"effort": "low"}},
    ).chat([ChatMessage("Hi")])
    sent = spoken(server)[0].body
    assert (sent["truncation"], sent["reasoning"]) == ("auto", {"effort": "low"})
