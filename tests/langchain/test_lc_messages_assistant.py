"""What of an assistant's messages goes over the wire: text, calls, never blocks;
and answers given back.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from lc_asking import BLOCK_WAYS, WAYS, ModelWith
from lc_shapes import ODD_PARTS, body
from lc_shapes_more import REASONING
from lc_shapes_tools import BROKEN, DELTAS, MIXED, entry

from opea_core import Capabilities
from opea_core.testing import ScriptedServer

CALL = {"name": "f", "args": {"x": 1}, "id": "a"}
SENT = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TEXT = {"type": "text", "text": "Wait."}
INVALID = {"type": "invalid_tool_call", "name": "f", "args": '{"x', "id": "a", "error": "no JSON"}

CALLS: dict[str, AIMessage] = {
    "tool_calls": AIMessage("Wait.", tool_calls=[CALL]),
    "v1 blocks": AIMessage(content_blocks=[TEXT, {"type": "tool_call", **CALL}]),
    "v1 blocks with indices": AIMessage(
        [TEXT | {"index": "lc_txt_0"}, {"type": "tool_call", **CALL, "index": 1}],
        tool_calls=[CALL],
        response_metadata={"output_version": "v1"},
    ),
    "v1 blocks alone": AIMessage([TEXT, {"type": "tool_call", **CALL}]),
    "Anthropic": AIMessage(
        [TEXT, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}], tool_calls=[CALL]
    ),
    "Anthropic alone": AIMessage(
        [TEXT, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]
    ),
    "Anthropic, streamed": AIMessage(
        [
            TEXT | {"index": 0},
            {
                "type": "tool_use",
                "id": "a",
                "name": "f",
                "input": {},
                "partial_json": '{"x": 1}',
                "index": 1,
            },
        ],
        tool_calls=[CALL],
    ),
    "Anthropic, after thinking": AIMessage(
        [
            {"type": "thinking", "thinking": "r", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            TEXT,
        ],
        tool_calls=[CALL],
    ),
    "Anthropic, with citations": AIMessage(
        [TEXT | {"citations": [{"type": "char_location"}], "index": 0}], tool_calls=[CALL]
    ),
    "Anthropic, a tool of theirs": AIMessage(
        [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            TEXT,
        ],
        tool_calls=[CALL],
    ),
    "OpenAI's Responses": AIMessage(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "r"}]},
            TEXT | {"annotations": [], "id": "msg_1", "phase": "commentary"},
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "a",
                "name": "f",
                "arguments": '{"x": 1}',
            },
        ],
        tool_calls=[CALL],
    ),
    "OpenAI's Responses, a tool of theirs": AIMessage(
        [
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "output_text", "text": "Wait."},
        ],
        tool_calls=[CALL],
    ),
    "Bedrock": AIMessage(
        [{"type": "reasoning_content", "reasoning_content": {"text": "r"}}, TEXT], tool_calls=[CALL]
    ),
    "blocks of no standard": AIMessage(
        [{"type": "non_standard", "value": {"a": 1}}, TEXT], tool_calls=[CALL]
    ),
    "server tools of v1": AIMessage(
        [
            {"type": "server_tool_call", "id": "s", "name": "search", "args": {}},
            {"type": "server_tool_result", "tool_call_id": "s", "status": "success", "output": []},
            TEXT,
        ],
        tool_calls=[CALL],
    ),
    "a merged chunk": AIMessageChunk(
        "Wait.", tool_call_chunks=[{"name": "f", "args": '{"x": 1}', "id": "a", "index": 0}]
    ),
    "as OpenAI wrote it": AIMessage("Wait.", additional_kwargs={"tool_calls": [SENT]}),
}


def _sent(server: ScriptedServer) -> dict[str, Any]:
    """The assistant's message in the last request."""
    (message,) = [
        message for message in server.seen[-1].body["messages"] if message["role"] == "assistant"
    ]
    return dict(message)


@pytest.mark.parametrize("name", CALLS)
def test_text_and_a_call_in_every_form(
    server: ScriptedServer, model_with: ModelWith, name: str
) -> None:
    model_with().invoke([HumanMessage("Hi"), CALLS[name]])

    assert _sent(server) == {"role": "assistant", "content": "Wait.", "tool_calls": [SENT]}


@pytest.mark.parametrize(
    "content",
    ["", [], [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]],
    ids=["text", "list", "block"],
)
@pytest.mark.parametrize(
    ("how", "expected"), [("", {"content": ""}), ("null", {"content": None}), ("omit", {})]
)
def test_no_text_beside_a_call(
    server: ScriptedServer, model_with: ModelWith, content: Any, how: Any, expected: Any
) -> None:
    model_with(capabilities=Capabilities(tool_content=how)).invoke(
        [HumanMessage("Hi"), AIMessage(content, tool_calls=[CALL])]
    )

    assert _sent(server) == {"role": "assistant", "tool_calls": [SENT]} | expected


@pytest.mark.parametrize("message", [AIMessage(""), AIMessage([])], ids=["text", "list"])
def test_nothing_is_an_empty_text(
    server: ScriptedServer, model_with: ModelWith, message: AIMessage
) -> None:
    model_with().invoke([HumanMessage("Hi"), message, HumanMessage("Well?")])

    assert _sent(server) == {"role": "assistant", "content": ""}


BROKEN_FORMS = pytest.mark.parametrize(
    "message",
    [
        AIMessage("", invalid_tool_calls=[INVALID]),
        AIMessage([INVALID], invalid_tool_calls=[INVALID]),
    ],
    ids=["v0", "v1"],
)


@BROKEN_FORMS
def test_a_broken_call_that_nothing_answers_stays_behind(
    server: ScriptedServer, model_with: ModelWith, message: AIMessage
) -> None:
    model_with().invoke([HumanMessage("Hi"), message])

    assert _sent(server) == {"role": "assistant", "content": ""}


@BROKEN_FORMS
def test_a_broken_call_with_an_answer_goes_back_as_json(
    server: ScriptedServer, model_with: ModelWith, message: AIMessage
) -> None:
    model_with().invoke(
        [
            HumanMessage("Hi"),
            message,
            ToolMessage("These arguments are no JSON.", tool_call_id=INVALID["id"]),
        ]
    )

    sent: Any = server.seen[0].body
    call = sent["messages"][1]["tool_calls"][0]
    assert (call["id"], call["function"]["name"]) == (INVALID["id"], INVALID["name"])
    assert json.loads(call["function"]["arguments"]) == {"invalid_arguments": INVALID["args"]}


def test_arguments_in_any_script_stay_readable(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    model_with().invoke(
        [HumanMessage("Hi"), AIMessage("", tool_calls=[CALL | {"args": {"city": "\u5317\u4eac"}}])]
    )

    assert _sent(server)["tool_calls"][0]["function"]["arguments"] == '{"city": "\u5317\u4eac"}'


def test_what_only_answers_have_is_not_sent(server: ScriptedServer, model_with: ModelWith) -> None:
    extras = {"content_parts": [{"type": "y"}], "annotations": [], "citations": ["z"]}

    model_with().invoke(
        [
            HumanMessage("Hi"),
            AIMessage("No.", additional_kwargs=extras, response_metadata={"model_name": "m"}),
        ]
    )

    assert _sent(server) == {"role": "assistant", "content": "No."}


# --- answers given back

ANSWERS = {
    "reasoning, text and two calls": REASONING["and text and two calls"],
    "reasoning and text": REASONING["reasoning"],
    "text and a call": DELTAS["text before"],
    "a call without an id": DELTAS["id empty"],
    "a broken call": BROKEN["cut in a text"],
    "broken calls and text": MIXED["two broken, with text"],
    "an image": ODD_PARTS["an image"],
    "an unknown part": ODD_PARTS["an unknown part"],
}


def _given_back(server: ScriptedServer, way: str, answer: Any) -> dict[str, Any]:
    ways = WAYS | BLOCK_WAYS
    server.script(answer)
    message = ways[way](server)
    WAYS["invoke"](
        server, [HumanMessage("Hi"), message], capabilities=Capabilities(send_reasoning="always")
    )
    sent = _sent(server)
    for call in sent.get("tool_calls", ()):
        call["id"] = "some" if call["id"].startswith("call_") else call["id"]
    return sent


@pytest.mark.parametrize(
    "way", ["invoke v1", "streaming invoke", "stream", "stream v1", "astream v1", "events v3"]
)
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_every_way_goes_back_as_the_plain_one(
    server: ScriptedServer, way: str, name: str
) -> None:
    shape = ANSWERS[name]

    sent = _given_back(server, way, shape.answer(stream=way != "invoke v1"))

    assert sent == _given_back(server, "invoke", shape.answer(stream=False))


@pytest.mark.parametrize("way", ["invoke", "invoke v1", "stream", "stream v1", "events v3"])
def test_what_a_server_sent_with_a_call_goes_back_with_it(server: ScriptedServer, way: str) -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    call = entry(0, "a", "f", '{"x": 1}') | {"type": "function", "extra_content": signature}

    sent = _given_back(server, way, body({"content": None, "tool_calls": [call]}, "tool_calls"))

    assert sent["tool_calls"] == [SENT | {"extra_content": signature}]
