"""Reasoning: one text out of every spelling, kept in the message,
and sent back as the policy says.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from lc_asking import BLOCK_WAYS, STREAMED, WAYS, ModelWith, Told, blocks, merged
from lc_shapes import Shape, body, deltas
from lc_shapes_more import REASONING
from lc_shapes_tools import entry

from opea_core import Capabilities
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error

CALL = {"name": "f", "args": {"x": 1}, "id": "a"}
SENT_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
DETAILS = [
    {
        "type": "reasoning.text",
        "text": "Let me see",
        "signature": "c2ln",
        "format": "x-v1",
        "index": 0,
    },
    {"type": "reasoning.encrypted", "data": "QUJD", "id": "r1", "index": 1},
]
PASS_BACK = "The `reasoning_content` in the thinking mode must be passed back to the API."
FORMS = {
    "v0": AIMessage("", tool_calls=[CALL], additional_kwargs={"reasoning_content": "Let me see"}),
    "v1": AIMessage(
        content_blocks=[
            {"type": "reasoning", "reasoning": "Let me see"},
            {"type": "tool_call", **CALL},
        ]
    ),
    "v1 with indices": AIMessage(
        content=[
            {"type": "reasoning", "reasoning": "Let me see", "index": "lc_rs_0"},
            {"type": "tool_call", **CALL, "index": 1},
        ],
        tool_calls=[CALL],
        response_metadata={"output_version": "v1"},
    ),
    "v1 in two pieces": AIMessage(
        content=[
            {"type": "reasoning", "reasoning": "Let me "},
            {"type": "reasoning", "reasoning": "see"},
        ],
        tool_calls=[CALL],
    ),
    "both": AIMessage(
        content=[{"type": "reasoning", "reasoning": "Let me see"}],
        tool_calls=[CALL],
        additional_kwargs={"reasoning_content": "Let me see"},
    ),
    "Anthropic": AIMessage(
        content=[
            {"type": "thinking", "thinking": "Let me see", "signature": "s"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        ],
        tool_calls=[CALL],
    ),
    "Mistral": AIMessage(
        content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Let me see"}]}],
        tool_calls=[CALL],
    ),
    "Bedrock": AIMessage(
        content=[
            {
                "type": "reasoning_content",
                "reasoning_content": {"text": "Let me see", "signature": "s"},
            }
        ],
        tool_calls=[CALL],
    ),
}


def _history(message: AIMessage, *more: Any) -> list[Any]:
    return [HumanMessage("Hi"), message, ToolMessage("sunny", tool_call_id="a"), *more]


def _sent(server: ScriptedServer) -> dict[str, Any]:
    """The assistant's message in the last request."""
    (message,) = [
        message for message in server.seen[-1].body["messages"] if message["role"] == "assistant"
    ]
    return dict(message)


# --- out


@pytest.mark.parametrize("way", WAYS)
def test_details_are_kept_verbatim(server: ScriptedServer, way: str) -> None:
    server.always(
        body({"content": "Hello", "reasoning": "Let me see", "reasoning_details": DETAILS})
    )

    assert WAYS[way](server).additional_kwargs["reasoning_details"] == DETAILS


@pytest.mark.parametrize("way", STREAMED)
def test_details_in_pieces_are_joined_by_their_index(server: ScriptedServer, way: str) -> None:
    pieces = [
        DETAILS[0] | {"text": "Let ", "signature": None},
        DETAILS[0] | {"text": "me see"},
        DETAILS[1],
    ]
    server.always(
        deltas(
            *[{"reasoning": "...", "reasoning_details": [piece]} for piece in pieces],
            {"content": "Hello"},
        )
    )

    assert STREAMED[way](server).additional_kwargs["reasoning_details"] == DETAILS


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_the_servers_name_for_it_is_kept(server: ScriptedServer, way: str, name: str) -> None:
    server.always(deltas({name: "Let "}, {name: "me see"}, {"content": "Hello"}))

    assert STREAMED[way](server).additional_kwargs["reasoning_field"] == name


@pytest.mark.parametrize("way", BLOCK_WAYS)
def test_reasoning_that_comes_again_keeps_its_place(server: ScriptedServer, way: str) -> None:
    parts = [{"type": "thinking", "thinking": "Let "}, {"type": "text", "text": "Hel"}]
    parts += [{"type": "thinking", "thinking": "me see"}, {"type": "text", "text": "lo"}]
    shape = Shape(REASONING["again after the text"].streamed, Told(), body({"content": parts}))
    server.always(shape.answer(stream=way != "invoke v1"))

    message = BLOCK_WAYS[way](server)

    assert blocks(message) == [
        ("reasoning", "Let "),
        ("text", "Hel"),
        ("reasoning", "me see"),
        ("text", "lo"),
    ]
    assert message.text == "Hello"


# --- back


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", ["auto", "never"])
def test_it_is_not_sent_back_unasked(
    server: ScriptedServer, model_with: ModelWith, form: str, policy: Any
) -> None:
    model_with(capabilities=Capabilities(send_reasoning=policy)).invoke(_history(FORMS[form]))

    assert _sent(server) == {"role": "assistant", "content": "", "tool_calls": [SENT_CALL]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", ["tool_turns", "always"])
def test_it_is_sent_back_beside_a_call(
    server: ScriptedServer, model_with: ModelWith, form: str, policy: Any
) -> None:
    model_with(capabilities=Capabilities(send_reasoning=policy)).invoke(_history(FORMS[form]))

    assert _sent(server) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [SENT_CALL],
        "reasoning_content": "Let me see",
    }


@pytest.mark.parametrize(("policy", "expected"), [("tool_turns", None), ("always", "Let me see")])
def test_of_turns_that_are_over_only_always_sends_it(
    server: ScriptedServer, model_with: ModelWith, policy: Any, expected: str | None
) -> None:
    history = _history(FORMS["v1"], HumanMessage("And tomorrow?"))

    model_with(capabilities=Capabilities(send_reasoning=policy)).invoke(history)

    assert _sent(server).get("reasoning_content") == expected


@pytest.mark.parametrize("way", ["invoke", "stream", "stream v1", "events v3"])
@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_it_goes_back_under_the_name_the_server_used(
    server: ScriptedServer, model_with: ModelWith, way: str, name: str
) -> None:
    server.script(
        deltas(
            {name: "Let me see"},
            {"tool_calls": [entry(0, "a", "f", '{"x": 1}')]},
            finish="tool_calls",
        )
    )
    answer = WAYS[way](server)

    model_with(capabilities=Capabilities(send_reasoning="always")).invoke(_history(answer))

    assert _sent(server) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [SENT_CALL],
        name: "Let me see",
    }


def test_the_name_can_be_set(server: ScriptedServer, model_with: ModelWith) -> None:
    model_with(
        capabilities=Capabilities(send_reasoning="always", reasoning_field="reasoning")
    ).invoke(_history(FORMS["v0"]))

    assert _sent(server)["reasoning"] == "Let me see"
    assert "reasoning_content" not in _sent(server)


@pytest.mark.parametrize("way", ["invoke", "stream", "stream v1", "events v3"])
def test_details_go_back_verbatim(server: ScriptedServer, model_with: ModelWith, way: str) -> None:
    call = entry(0, "a", "f", '{"x": 1}')
    server.script(
        body(
            {
                "content": None,
                "reasoning": "Let me see",
                "reasoning_details": DETAILS,
                "tool_calls": [call],
            },
            "tool_calls",
        )
    )
    answer = WAYS[way](server)

    model_with(capabilities=Capabilities(send_reasoning="always")).invoke(_history(answer))

    assert _sent(server)["reasoning_details"] == DETAILS


def test_details_stay_away_where_reasoning_does(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    message = AIMessage(
        "",
        tool_calls=[CALL],
        additional_kwargs={"reasoning_content": "r", "reasoning_details": DETAILS},
    )

    model_with().invoke(_history(message))

    assert _sent(server) == {"role": "assistant", "content": "", "tool_calls": [SENT_CALL]}


# --- learned


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_wants_it_back_gets_it_at_once(
    server: ScriptedServer, model_with: ModelWith, form: str
) -> None:
    server.script(error(400, PASS_BACK), chat("Sunny."))

    message = model_with().invoke(_history(FORMS[form]))

    assert message.text == "Sunny."
    assert _sent(server)["reasoning_content"] == "Let me see"
    assert message.response_metadata["dropped_parameters"] == ["send_reasoning -> tool_turns"]


def test_it_is_learned_once(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(error(400, PASS_BACK), chat("Sunny."), chat("Sunny."))
    model = model_with()
    model.invoke(_history(FORMS["v0"]))

    model.invoke(_history(FORMS["v0"]))

    assert len(server.seen) == 3
    assert _sent(server)["reasoning_content"] == "Let me see"


def test_a_stream_learns_it_too(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(error(400, PASS_BACK), deltas({"content": "Sunny."}))

    message = merged(model_with().stream(_history(FORMS["v1"])))

    assert message.text == "Sunny."
    assert _sent(server)["reasoning_content"] == "Let me see"


async def test_async_calls_learn_it_too(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(error(400, PASS_BACK), chat("Sunny."))

    message = await model_with().ainvoke(_history(FORMS["v1"]))

    assert message.text == "Sunny."
    assert _sent(server)["reasoning_content"] == "Let me see"


def test_a_server_told_never_to_get_it_does_not(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(error(400, PASS_BACK))

    with pytest.raises(Exception, match="must be passed back"):
        model_with(capabilities=Capabilities(send_reasoning="never")).invoke(_history(FORMS["v0"]))

    assert len(server.seen) == 1


def test_a_server_that_wants_all_reasoning_back_gets_it_in_the_next_turn_too(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    wanted = error(
        400, "The `reasoning_content` in the thinking mode must be passed back to the API."
    )

    def strict(seen: Seen) -> Answer:
        body: Any = seen.body
        turns = [message for message in body["messages"] if message["role"] == "assistant"]
        return chat("done") if all("reasoning_content" in turn for turn in turns) else wanted

    server.always(strict)
    call = {"name": "f", "args": {}, "id": "a"}
    turn = [
        AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "r"}),
        ToolMessage("x", tool_call_id="a"),
    ]
    model = model_with()
    assert model.invoke([HumanMessage("1"), *turn, HumanMessage("2")]).text == "done"
    assert model.invoke([HumanMessage("1"), *turn, HumanMessage("2"), *turn]).text == "done"
    assert len(server.seen) == 4
