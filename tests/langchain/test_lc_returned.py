"""What came goes back letter by letter: to the endpoint
and the model that gave it, and to no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from lc_asking import BLOCK_WAYS, WAYS, beta, chat_model
from lc_shapes import body, deltas
from lc_shapes_tools import entry

from langchain_opea import ChatOPEA
from opea_core.testing import Answer, ScriptedServer

Json = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """A message as a server gives it, whole and in pieces, what of it goes back there,
    and what goes to any other.
    """

    message: Json
    pieces: tuple[Json, ...]
    back: Json
    elsewhere: Json
    answers: tuple[str, ...] = ("a",)
    """The ids of the calls that tools answer."""

    def answer(self, stream: bool) -> Answer:
        finish = "tool_calls" if self.message.get("tool_calls") else "stop"
        return deltas(*self.pieces, finish=finish) if stream else body(self.message, finish)


def _call(arguments: str = '{"x": 1}') -> Json:
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}


SIGNED = [
    {"type": "thinking", "thinking": "Let me see", "signature": "c2lnbmF0dXJl"},
    {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
]
DETAILS = [
    {
        "type": "reasoning.text",
        "text": "Let me see",
        "signature": "c2ln",
        "format": "anthropic-claude-v1",
        "index": 0,
    },
    {
        "type": "reasoning.encrypted",
        "data": "ZW5j",
        "id": "a",
        "format": "google-gemini-v1",
        "index": 1,
    },
]
SIGNATURE = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
SIGNED_INSIDE = _call()
SIGNED_INSIDE["function"] |= {"provider_specific_fields": {"thought_signature": "c2ln"}}
SPACED = '{"x":1,  "y" : [1e2, "\\u00e9"]}'
CUSTOM = {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
BUILTIN = {
    "id": "a",
    "type": "builtin_function",
    "function": {"name": "$web_search", "arguments": '{"query": "x"}'},
}
SOUND = {"id": "audio_1", "data": "UklGRg==", "transcript": "Hello", "expires_at": 1}

GIVEN = {
    "arguments, not written anew": Given(
        {"content": None, "tool_calls": [_call(SPACED)]},
        (
            {"tool_calls": [entry(0, "a", "f", SPACED[:9])]},
            {"tool_calls": [entry(0, None, None, SPACED[9:])]},
        ),
        {"content": "", "tool_calls": [_call(SPACED)]},
        {"content": "", "tool_calls": [_call(SPACED)]},
    ),
    "signed thinking": Given(
        {
            "content": "Wait.",
            "reasoning_content": "Let me see",
            "thinking_blocks": SIGNED,
            "tool_calls": [_call()],
        },
        (
            {
                "reasoning_content": "Let ",
                "thinking_blocks": [{"type": "thinking", "thinking": "Let "}],
            },
            {
                "reasoning_content": "me see",
                "thinking_blocks": [{"type": "thinking", "thinking": "me see"}],
            },
            {
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJl"}
                ]
            },
            {"thinking_blocks": [SIGNED[1]]},
            {"content": "Wait."},
            {"tool_calls": [entry(0, "a", "f", '{"x": 1}')]},
        ),
        {"content": "Wait.", "thinking_blocks": SIGNED, "tool_calls": [_call()]},
        {"content": "Wait.", "tool_calls": [_call()]},
    ),
    "details of reasoning": Given(
        {
            "content": None,
            "reasoning": "Let me see",
            "reasoning_details": DETAILS,
            "tool_calls": [_call()],
        },
        (
            {
                "reasoning": "Let ",
                "reasoning_details": [{**DETAILS[0], "text": "Let ", "signature": None}],
            },
            {
                "reasoning": "me see",
                "reasoning_details": [{**DETAILS[0], "text": "me see", "signature": "c2ln"}],
            },
            {"reasoning_details": [DETAILS[1]], "tool_calls": [entry(0, "a", "f", '{"x": 1}')]},
        ),
        {"content": "", "reasoning_details": DETAILS, "tool_calls": [_call()]},
        {"content": "", "tool_calls": [_call()]},
    ),
    "opaque reasoning": Given(
        {
            "content": None,
            "reasoning_text": "Let me see",
            "reasoning_opaque": "b3BhcXVl",
            "tool_calls": [_call()],
        },
        (
            {"reasoning_text": "Let "},
            {"reasoning_text": "me see", "reasoning_opaque": "b3BhcXVl"},
            {"tool_calls": [entry(0, "a", "f", '{"x": 1}')]},
        ),
        {
            "content": "",
            "reasoning_text": "Let me see",
            "reasoning_opaque": "b3BhcXVl",
            "tool_calls": [_call()],
        },
        {"content": "", "tool_calls": [_call()]},
    ),
    "the signature of a message": Given(
        {"content": "Hello", **SIGNATURE},
        ({"content": "Hel"}, {"content": "lo", **SIGNATURE}),
        {"content": "Hello", **SIGNATURE},
        {"content": "Hello"},
        (),
    ),
    "the signature of a call": Given(
        {"content": None, "tool_calls": [_call() | SIGNATURE]},
        ({"tool_calls": [entry(0, "a", "f", '{"x": 1}') | SIGNATURE]},),
        {"content": "", "tool_calls": [_call() | SIGNATURE]},
        {"content": "", "tool_calls": [_call()]},
    ),
    "the signature inside a call's function": Given(
        {"content": None, "tool_calls": [SIGNED_INSIDE]},
        ({"tool_calls": [{"index": 0, **SIGNED_INSIDE}]},),
        {"content": "", "tool_calls": [SIGNED_INSIDE]},
        {"content": "", "tool_calls": [_call()]},
    ),
    "a call of a server's own function": Given(
        {"content": None, "tool_calls": [BUILTIN]},
        ({"tool_calls": [{"index": 0, **BUILTIN}]},),
        {"content": "", "tool_calls": [BUILTIN]},
        {"content": "", "tool_calls": [BUILTIN]},
    ),
    "a call with a text for its input": Given(
        {"content": None, "tool_calls": [CUSTOM]},
        ({"tool_calls": [{"index": 0, **CUSTOM}]},),
        {"content": "", "tool_calls": [CUSTOM]},
        {"content": "", "tool_calls": [CUSTOM]},
    ),
    "a sound": Given(
        {"content": "Hello", "audio": SOUND},
        ({"content": "Hello"}, {"audio": SOUND}),
        {"content": "Hello", "audio": {"id": "audio_1"}},
        {"content": "Hello"},
        (),
    ),
    "a refusal": Given(
        {"content": None, "refusal": "I won't."},
        ({"refusal": "I "}, {"refusal": "won't."}),
        {"content": "", "refusal": "I won't."},
        {"content": "I won't."},
        (),
    ),
}


def _loaded(reading: Callable[..., Any], value: Any) -> Any:
    with beta():
        return reading(value, allowed_objects="messages")


FORMS: dict[str, Callable[[AIMessage], Any]] = {
    "as it is": lambda message: message,
    "dumpd and load": lambda message: _loaded(load, dumpd(message)),
    "dumps and loads": lambda message: _loaded(loads, dumps(message)),
    "message_to_dict": lambda message: messages_from_dict(
        json.loads(json.dumps([message_to_dict(message)]))
    )[0],
    "model_dump": lambda message: AIMessage.model_validate(message.model_dump(exclude={"type"})),
}
ALL_WAYS = WAYS | BLOCK_WAYS


def _history(given: Given, message: Any) -> list[Any]:
    tools = [ToolMessage("1", tool_call_id=id_) for id_ in given.answers]
    return [HumanMessage("Hi"), message, *tools, *([] if tools else [HumanMessage("Go on")])]


def _sent_back(server: ScriptedServer, given: Given, message: Any, **options: Any) -> Json:
    model = chat_model(server, **options)
    model.invoke(_history(given, message))
    model.client.close()
    sent: Json = server.seen[-1].body["messages"][1]
    return {key: value for key, value in sent.items() if key != "role"}


@pytest.mark.parametrize("name", GIVEN)
def test_what_came_goes_back_where_it_came_from(server: ScriptedServer, name: str) -> None:
    given = GIVEN[name]
    for number, way in enumerate(ALL_WAYS):
        server.script(given.answer(stream=way not in ("invoke", "ainvoke", "invoke v1")))
        message = ALL_WAYS[way](server)
        form = list(FORMS)[number % len(FORMS)]

        assert _sent_back(server, given, FORMS[form](message)) == given.back, (way, form)
        assert _sent_back(server, given, message, model="another") == given.elsewhere, way
        assert (
            _sent_back(server, given, message, base_url=f"{server.origin}/other/v1")
            == given.elsewhere
        ), way


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_message_keeps_it(server: ScriptedServer, form: str) -> None:
    for given in GIVEN.values():
        for version in ("v0", "v1"):
            server.script(given.answer(stream=False))
            message = chat_model(server, output_version=version).invoke("Hi")

            assert _sent_back(server, given, FORMS[form](message)) == given.back


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_checkpoint_keeps_it(server: ScriptedServer, stream: bool) -> None:
    for number, given in enumerate(GIVEN.values()):
        server.script(given.answer(stream))
        model = chat_model(server, streaming=stream, output_version="v1" if number % 2 else "v0")

        def ask(state: MessagesState, model: ChatOPEA = model) -> Json:
            return {"messages": [model.invoke(state["messages"])]}

        graph: Any = StateGraph(MessagesState)
        graph.add_node("ask", ask)
        graph.add_edge("__start__", "ask")
        compiled = graph.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        compiled.invoke({"messages": [HumanMessage("Hi")]}, config)
        compiled.invoke({"messages": _history(given, None)[2:]}, config)

        sent = server.seen[-1].body["messages"][1]
        assert {key: value for key, value in sent.items() if key != "role"} == given.back


def test_of_several_endpoints_only_the_one_that_signed_gets_it_back(server: ScriptedServer) -> None:
    given = GIVEN["signed thinking"]
    with ScriptedServer() as other:
        places = [
            {"base_url": place.url, "label": name}
            for place, name in ((server, "one"), (other, "two"))
        ]
        model = ChatOPEA(model="m", endpoints=places, max_retries=0)
        server.script(given.answer(stream=False))
        message = model.invoke("Hi", endpoint="one")
        for place, expected in ((server, given.back), (other, given.elsewhere)):
            model.invoke(_history(given, message), endpoint="one" if place is server else "two")
            sent = place.seen[-1].body["messages"][1]
            assert {key: value for key, value in sent.items() if key != "role"} == expected
        model.client.close()


def test_arguments_that_a_program_changed_are_the_changed_ones(server: ScriptedServer) -> None:
    given = GIVEN["arguments, not written anew"]
    server.script(given.answer(stream=False))
    message = WAYS["invoke"](server)
    changed = message.model_copy(
        update={"tool_calls": [{**message.tool_calls[0], "args": {"x": 2}}]}
    )

    assert _sent_back(server, given, changed)["tool_calls"] == [_call('{"x": 2}')]


@pytest.mark.parametrize("way", WAYS)
def test_the_text_of_broken_arguments_stands_in_one_place(server: ScriptedServer, way: str) -> None:
    text = '{"path": "/ho'
    server.always(deltas({"tool_calls": [entry(0, "a", "f", text)]}, finish="length"))

    message = WAYS[way](server)

    assert message.additional_kwargs["tool_call_arguments"] == {"a": text}
    assert [call["id"] for call in message.invalid_tool_calls] == ["a"]


def test_a_refusal_of_another_model_goes_out_as_one(server: ScriptedServer) -> None:
    foreign = AIMessage([{"type": "refusal", "refusal": "I won't."}])

    chat_model(server).invoke([HumanMessage("Hi"), foreign, HumanMessage("Please")])

    assert server.seen[-1].body["messages"][1] == {
        "role": "assistant",
        "content": "",
        "refusal": "I won't.",
    }
