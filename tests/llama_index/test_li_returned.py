"""What came with an answer goes back letter by letter:
to the endpoint and the model that gave it, and to no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from li_asking import CHATS, last_of
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.storage.chat_store import SimpleChatStore

from llama_index_opea import OPEALLM
from opea_core import Endpoint
from opea_core.testing import ScriptedServer, json_answer, stream

Json = dict[str, Any]
ASKED = ChatMessage(role="user", content="Hi")


def call(**more: Any) -> Json:
    return {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{ "x":1.0,"y": "\\u00e9" }'},
        **more,
    }


class Came(NamedTuple):
    """An answer, and what of it goes back."""

    message: Json
    deltas: list[Json]
    home: Json
    """What the place that gave it gets of it."""
    away: Json
    """What another place gets of it."""


def _came(signed: Json, deltas: list[Json], away: Json, **message: Any) -> Came:
    calls = message.pop("tool_calls", [call()])
    plain = [{key: value for key, value in one.items() if key != "extra_content"} for one in calls]
    message = {
        "role": "assistant",
        "content": None,
        **message,
        **({"tool_calls": calls} if calls else {}),
    }
    last = [{"tool_calls": [{**one, "index": at} for at, one in enumerate(calls)]}] if calls else []
    home: Json = {**({"tool_calls": calls} if calls else {}), **signed}
    return Came(
        message, [*deltas, *last], home, {**({"tool_calls": plain} if calls else {}), **away}
    )


THOUGHT = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln+/=="}
HIDDEN = {"type": "redacted_thinking", "data": "ZW5j"}
DETAIL = {
    "type": "reasoning.text",
    "text": "Let me see.",
    "signature": "c2ln",
    "format": "anthropic-claude-v1",
    "index": 0,
}
LOCKED = {
    "type": "reasoning.encrypted",
    "data": "gAAA",
    "id": "rs_1",
    "format": "openai-responses-v1",
    "index": 1,
}
SIGNED = {"google": {"thought_signature": "EiYK+/="}}
SIGNED_INSIDE = call()
SIGNED_INSIDE["function"] |= {"provider_specific_fields": {"thought_signature": "c2ln"}}
ROWS: dict[str, Came] = {
    "arguments": _came({}, [], {}),
    "thinking blocks": _came(
        {"thinking_blocks": [THOUGHT, HIDDEN]},
        [
            {
                "reasoning_content": "Let me ",
                "thinking_blocks": [{"type": "thinking", "thinking": "Let me "}],
            },
            {
                "reasoning_content": "see.",
                "thinking_blocks": [{"type": "thinking", "thinking": "see."}],
            },
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln+/=="}]},
            {"thinking_blocks": [HIDDEN]},
        ],
        {},
        reasoning_content="Let me see.",
        thinking_blocks=[THOUGHT, HIDDEN],
    ),
    "reasoning details": _came(
        {"reasoning_details": [DETAIL, LOCKED]},
        [
            {
                "reasoning": "Let me ",
                "reasoning_details": [{**DETAIL, "text": "Let me ", "signature": None}],
            },
            {
                "reasoning": "see.",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "see.", "signature": "c2ln", "index": 0}
                ],
            },
            {"reasoning_details": [LOCKED]},
        ],
        {},
        reasoning="Let me see.",
        reasoning_details=[DETAIL, LOCKED],
    ),
    "details alone": _came(
        {"reasoning_details": [LOCKED]},
        [{"reasoning_details": [LOCKED]}],
        {},
        reasoning_details=[LOCKED],
    ),
    "details with their text alone": _came(
        {"reasoning_details": [DETAIL]},
        [{"reasoning_details": [DETAIL]}],
        {},
        reasoning_details=[DETAIL],
    ),
    "Copilot's": _came(
        {"reasoning_text": "Let me see.", "reasoning_opaque": "b3Bh"},
        [{"reasoning_text": "Let me "}, {"reasoning_text": "see."}, {"reasoning_opaque": "b3Bh"}],
        {},
        reasoning_text="Let me see.",
        reasoning_opaque="b3Bh",
    ),
    "Gemini's": _came({}, [], {}, tool_calls=[call(extra_content=SIGNED), {**call(), "id": "c2"}]),
    "Gemini's, inside the function": Came(
        {"role": "assistant", "content": None, "tool_calls": [SIGNED_INSIDE]},
        [{"tool_calls": [{**SIGNED_INSIDE, "index": 0}]}],
        {"tool_calls": [SIGNED_INSIDE]},
        {"tool_calls": [call()]},
    ),
    "a custom call": _came(
        {},
        [],
        {},
        tool_calls=[
            {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1;\n"}}
        ],
    ),
    "a builtin function": _came(
        {},
        [],
        {},
        tool_calls=[
            {
                **call(),
                "type": "builtin_function",
                "function": {"name": "web_search", "arguments": '{"q":"x"}'},
            }
        ],
    ),
    "a sound": _came(
        {"audio": {"id": "aud_1"}},
        [
            {"audio": {"id": "aud_1"}},
            {"audio": {"data": "QUJD", "transcript": "Hel"}},
            {"audio": {"transcript": "lo"}},
        ],
        {"content": "Hello"},
        tool_calls=[],
        audio={"id": "aud_1", "data": "QUJD", "transcript": "Hello", "expires_at": 9},
    ),
    "a refusal": _came(
        {"refusal": "I will not."},
        [{"refusal": "I will "}, {"refusal": "not."}],
        {"content": "I will not."},
        tool_calls=[],
        refusal="I will not.",
    ),
}


def _dumped(message: ChatMessage, _: Path) -> ChatMessage:
    return ChatMessage.model_validate(message.model_dump())


def _as_json(message: ChatMessage, _: Path) -> ChatMessage:
    return ChatMessage.model_validate_json(message.model_dump_json())


def _stored(message: ChatMessage, path: Path) -> ChatMessage:
    file = path / "store.json"
    kept = {
        "store": {"k": [message.model_dump(mode="json")]}
    }  # as persist() writes it, which fails with pydantic 2.14 for any message
    file.write_text(json.dumps(kept), encoding="utf-8")
    return SimpleChatStore.from_persist_path(str(file)).get_messages("k")[0]


def _remembered(message: ChatMessage, _: Path) -> ChatMessage:
    memory = ChatMemoryBuffer.from_defaults([ASKED], token_limit=100_000)
    memory.put(message)
    return memory.get()[1]


CARRIERS: list[Callable[[ChatMessage, Path], ChatMessage]] = [
    lambda message, _: message,
    _dumped,
    _as_json,
    _stored,
    _remembered,
]


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def two(server: ScriptedServer, other: ScriptedServer) -> Iterator[OPEALLM]:
    """An LLM with two endpoints; ``one`` is asked first."""
    llm = OPEALLM(
        model="m",
        endpoints=[
            Endpoint(base_url=server.url, label="one"),
            Endpoint(base_url=other.url, label="two", tier=1),
        ],
    )
    yield llm
    llm.client.close()


def _sent(server: ScriptedServer, at: int = 1) -> Json:
    """An assistant's message of the last request, without what says nothing."""
    message: Json = server.seen[-1].body["messages"][at]
    return {
        key: value
        for key, value in message.items()
        if key != "role" and not (key == "content" and not value)
    }


@pytest.mark.parametrize("name", ROWS)
def test_what_came_goes_back(
    server: ScriptedServer, other: ScriptedServer, two: OPEALLM, tmp_path: Path, name: str
) -> None:
    row = ROWS[name]
    for number, carry in enumerate(CARRIERS):
        way = CHATS[number % len(CHATS)]
        whole = json_answer(
            {"choices": [{"index": 0, "message": row.message, "finish_reason": "stop"}]}
        )
        server.script(stream(row.deltas) if "stream" in way else whole)

        answer = carry(last_of(way, two, [ASKED]).message, tmp_path)
        calls = row.message.get("tool_calls", ())
        results = [
            ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": one["id"]})
            for one in calls
        ]

        two.chat([ASKED, answer, *results], endpoint="one")
        shown = {"content": "Hello"} if name == "a sound" else {}
        assert _sent(server) == row.home | shown, f"{way}, carried by {carry}"
        two.chat([ASKED, answer, *results], endpoint="two")
        assert _sent(other) == row.away, f"{way}, carried by {carry}, to another endpoint"
        two.chat([ASKED, answer, *results], endpoint="one", model="larger")
        assert _sent(server) == row.away, f"{way}, carried by {carry}, to another model"


@pytest.mark.parametrize(
    "name", ["arguments", "thinking blocks", "reasoning details", "Gemini's", "a builtin function"]
)
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
async def test_an_agent_gives_back_what_came(
    server: ScriptedServer, two: OPEALLM, streaming: bool, name: str
) -> None:
    row = ROWS[name]
    whole = json_answer(
        {"choices": [{"index": 0, "message": row.message, "finish_reason": "tool_calls"}]}
    )
    server.script(stream(row.deltas, finish_reason="tool_calls") if streaming else whole)

    memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
    await FunctionAgent(tools=[f], llm=two, streaming=streaming).run(user_msg="Hi", memory=memory)

    assert len(server.seen) == 2
    assert _sent(server) == row.home


def f(x: float, y: str = "") -> str:
    """Do it."""
    return f"{x} {y}"


def test_a_call_that_was_changed_is_sent_as_it_is_now(server: ScriptedServer, two: OPEALLM) -> None:
    server.script(
        json_answer(
            {
                "choices": [
                    {"index": 0, "message": ROWS["arguments"].message, "finish_reason": "stop"}
                ]
            }
        )
    )
    answer = two.chat([ASKED]).message
    answer.blocks[0].tool_kwargs["x"] = 2

    two.chat([ASKED, answer])

    assert _sent(server)["tool_calls"][0]["function"]["arguments"] == '{"x": 2, "y": "\u00e9"}'


def test_what_a_server_calls_itself_is_not_sent_back(server: ScriptedServer, two: OPEALLM) -> None:
    message = {
        "role": "assistant",
        "content": "Hello",
        "name": "assistant-7",
        "reasoning_content": "Let me see.",
    }
    server.script(
        json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    )

    two.chat([ASKED, two.chat([ASKED]).message, ASKED])

    assert _sent(server) == {"content": "Hello"}
