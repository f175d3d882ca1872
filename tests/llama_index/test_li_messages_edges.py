"""Messages at the edges: what is read in a thread, what JSON cannot say,
what was stored, what is not added.
"""

from __future__ import annotations

import datetime
import json
import threading
from dataclasses import dataclass
from io import IOBase
from typing import Any

import pytest
from li_asking import CHATS, HI, STREAMS, WAYS, LLMWith, last_of
from llama_index.core.base.llms.types import (
    AudioBlock,
    CitableBlock,
    DocumentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool

from llama_index_opea import OPEALLM
from llama_index_opea.testing.samples import WAV
from opea_core import Capabilities, ConfigurationError
from opea_core.testing import Answer, ScriptedServer, chat, stream, tool_call


def _messages(server: ScriptedServer) -> Any:
    return server.seen[-1].body["messages"]


# --- reading files and URLs


class Watched(DocumentBlock):
    """Remembers which thread read it."""

    def resolve_document(self) -> IOBase:
        THREADS.append(threading.current_thread())
        return super().resolve_document()


THREADS: list[threading.Thread] = []


@pytest.mark.parametrize("way", ["achat", "astream_chat"])
@pytest.mark.parametrize("is_cited", [False, True])
def test_async_code_reads_files_in_a_thread(
    server: ScriptedServer, llm: OPEALLM, tmp_path: Any, way: str, is_cited: bool
) -> None:
    THREADS.clear()
    file = tmp_path / "d.txt"
    file.write_bytes(b"hi")
    block: Any = Watched(path=file, title="d.txt")
    if is_cited:
        block = CitableBlock.model_construct(
            block_type="citable", title="t", source="s", content=[block]
        )

    last_of(way, llm, [ChatMessage(blocks=[block])])

    assert THREADS
    assert threading.main_thread() not in THREADS
    assert _messages(server)[0]["content"][0]["file"]["file_data"] == "data:text/plain;base64,aGk="


@pytest.mark.parametrize("way", CHATS)
def test_sound_is_fetched(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(Answer(200, {"content-type": "audio/wav"}, (WAV,)))

    last_of(
        way, llm, [ChatMessage(blocks=[AudioBlock(url=f"{server.origin}/s.wav", format="wav")])]
    )

    assert [seen.path for seen in server.seen] == ["/s.wav", "/v1/chat/completions"]
    assert _messages(server)[0]["content"][0]["input_audio"]["format"] == "wav"


# --- what JSON cannot say


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("value", [datetime.date(2026, 1, 1), {1, 2}, object()])
def test_arguments_that_json_cannot_say(
    server: ScriptedServer, llm: OPEALLM, value: Any, way: str
) -> None:
    block = ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs={"x": value})

    with pytest.raises(ConfigurationError):
        last_of(way, llm, [ChatMessage(role="assistant", blocks=[block])])
    assert server.seen == []


@pytest.mark.parametrize("way", CHATS)
def test_text_that_json_cannot_say(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    with pytest.raises(ConfigurationError):
        last_of(way, llm, [ChatMessage("lone \ud83d")])
    assert server.seen == []


@dataclass(slots=True)
class _Function:
    name: str
    arguments: str


@dataclass(slots=True)
class _Call:
    """A call of an SDK whose objects have slots."""

    id: str
    function: _Function


def test_calls_with_slots(server: ScriptedServer, llm: OPEALLM) -> None:
    message = ChatMessage(
        role="assistant", additional_kwargs={"tool_calls": [_Call("a", _Function("f", '{"x": 1}'))]}
    )

    llm.chat([message])

    assert _messages(server)[0]["tool_calls"] == [tool_call("f", '{"x": 1}', "a")]


# --- what was stored


@pytest.mark.parametrize("way", CHATS)
def test_a_stored_answer_is_sent_as_the_fresh_one(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    llm = llm_with(capabilities=Capabilities(send_reasoning="always"))
    calls = [tool_call("f", {"x": "\u4f60"}, "a"), tool_call("g", "{broken", "b")]
    pieces = [
        {"reasoning": "Hm"},
        "Wait.",
        {"tool_calls": [call | {"index": index} for index, call in enumerate(calls)]},
    ]
    whole = chat("Wait.", reasoning="Hm", reasoning_field="reasoning", tool_calls=calls)
    server.script(stream(pieces, finish_reason="tool_calls") if way in STREAMS else whole)
    answer = last_of(way, llm).message

    results = [
        ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": id_})
        for id_ in "ab"
    ]
    llm.chat([*HI, answer, *results])
    llm.chat([*HI, ChatMessage.model_validate_json(answer.model_dump_json()), *results])

    fresh, again = (seen.body["messages"] for seen in server.seen[1:])
    assert again == fresh
    assert fresh[1]["reasoning"] == "Hm"
    assert [json.loads(call["function"]["arguments"]) for call in fresh[1]["tool_calls"]] == [
        {"x": "\u4f60"},
        {"invalid_arguments": "{broken"},
    ]


def test_a_whole_turn_of_a_tool(server: ScriptedServer, llm: OPEALLM) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    tool = FunctionTool.from_defaults(add)
    server.script(
        chat(None, tool_calls=[tool_call("add", {"a": 2, "b": 3}, "a")]), chat("It is 5.")
    )
    answer = llm.chat_with_tools([tool], "2 and 3?")
    (call,) = llm.get_tool_calls_from_response(answer)
    result = ChatMessage(
        role="tool",
        content=str(tool(**call.tool_kwargs)),
        additional_kwargs={"tool_call_id": call.tool_id},
    )

    final = llm.chat_with_tools(
        [tool], chat_history=[ChatMessage("2 and 3?"), answer.message, result]
    )

    assert final.message.content == "It is 5."
    assert _messages(server) == [
        {"role": "user", "content": "2 and 3?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [tool_call("add", {"a": 2, "b": 3}, "a")],
        },
        {"role": "tool", "content": "5", "tool_call_id": "a"},
    ]


# --- what is not added


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_call_gets_no_system_prompt(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    last_of(way, llm_with(system_prompt="Be kind."))

    assert _messages(server) == [{"role": "user", "content": "Hi"}]


def test_thoughts_alone_are_an_empty_message(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat(
        [
            ChatMessage(role="assistant", blocks=[ThinkingBlock(content="Hm")]),
            ChatMessage(blocks=[TextBlock(text="Hi")]),
        ]
    )

    assert _messages(server) == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Hi"},
    ]


def test_messages_by_keyword(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat(messages=HI, temperature=None)

    assert server.seen[0].body.keys() == {"model", "messages", "stream"}
