"""Reasoning in a history: never as content, and sent back only as the endpoint wants it."""

from __future__ import annotations

from typing import Any

import pytest
from li_asking import CHATS, LLMWith, last_of
from llama_index.core.base.llms.types import TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage

from llama_index_opea import OPEALLM
from opea_core import Capabilities, InvalidRequestError
from opea_core.testing import ScriptedServer, chat, error, stream, tool_call

DETAILS = [{"type": "reasoning.text", "text": "Hm", "signature": "s"}]
CALL = ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs={"x": 1})
USER = ChatMessage(role="user", content="Go on")
RESULT = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "a"})


def _thought(text: str = "Hm", **known: Any) -> ThinkingBlock:
    return ThinkingBlock(content=text, additional_information=known)


def _answer(*blocks: Any, **additional: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional)


def _back(
    server: ScriptedServer,
    llm_with: LLMWith,
    policy: Any,
    *messages: ChatMessage,
    way: str = "chat",
    **more: Any,
) -> list[Any]:
    """What of each assistant's message goes back besides its text and calls."""
    last_of(way, llm_with(capabilities=Capabilities(send_reasoning=policy, **more)), messages)
    usual = ("role", "content", "tool_calls")
    return [
        {key: value for key, value in message.items() if key not in usual}
        for message in server.seen[-1].body["messages"]
        if message["role"] == "assistant"
    ]


HISTORY = [
    USER,
    _answer(_thought(), TextBlock(text="Hello")),
    USER,
    _answer(_thought(), CALL),
    RESULT,
]


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("auto", [{}, {}]),
        ("never", [{}, {}]),
        ("tool_turns", [{}, {"reasoning_content": "Hm"}]),
        ("always", [{"reasoning_content": "Hm"}, {"reasoning_content": "Hm"}]),
    ],
)
def test_reasoning_goes_back_by_policy(
    server: ScriptedServer, llm_with: LLMWith, policy: Any, expected: Any, way: str
) -> None:
    assert _back(server, llm_with, policy, *HISTORY, way=way) == expected


@pytest.mark.parametrize("policy", ["auto", "never", "tool_turns", "always"])
def test_reasoning_is_never_content(server: ScriptedServer, llm_with: LLMWith, policy: Any) -> None:
    llm_with(capabilities=Capabilities(send_reasoning=policy)).chat(HISTORY)

    assert [message["content"] for message in server.seen[0].body["messages"]] == [
        "Go on",
        "Hello",
        "Go on",
        "",
        "5",
    ]


FIELDS: dict[str, tuple[ChatMessage, Any]] = {
    "no name": (_answer(_thought()), {"reasoning_content": "Hm"}),
    "reasoning": (_answer(_thought(reasoning_field="reasoning")), {"reasoning": "Hm"}),
    "reasoning_content": (
        _answer(_thought(reasoning_field="reasoning_content")),
        {"reasoning_content": "Hm"},
    ),
    "an unknown name": (_answer(_thought(reasoning_field="content")), {"reasoning_content": "Hm"}),
    "two blocks": (
        _answer(_thought("H"), _thought("m", reasoning_field="reasoning")),
        {"reasoning": "Hm"},
    ),
    "details": (
        _answer(_thought(reasoning_details=DETAILS)),
        {"reasoning_content": "Hm", "reasoning_details": DETAILS},
    ),
    "encrypted": (
        _answer(ThinkingBlock(additional_information={"reasoning_details": DETAILS})),
        {"reasoning_details": DETAILS},
    ),
    "Anthropic's signature": (_answer(_thought(signature="s")), {"reasoning_content": "Hm"}),
    "in additional_kwargs": (
        _answer(TextBlock(text="a"), reasoning_content="Hm"),
        {"reasoning_content": "Hm"},
    ),
    "in both places": (
        _answer(_thought(), TextBlock(text="a"), reasoning_content="Hm"),
        {"reasoning_content": "Hm"},
    ),
    "nothing in it": (_answer(ThinkingBlock(), TextBlock(text="a")), {}),
}


@pytest.mark.parametrize("name", FIELDS)
def test_reasoning_goes_back_under_the_name_it_came_with(
    server: ScriptedServer, llm_with: LLMWith, name: str
) -> None:
    message, expected = FIELDS[name]

    assert _back(server, llm_with, "always", USER, message, USER) == [expected]


def test_the_endpoint_may_name_the_field(server: ScriptedServer, llm_with: LLMWith) -> None:
    found = _back(
        server,
        llm_with,
        "always",
        USER,
        _answer(_thought(reasoning_field="reasoning")),
        reasoning_field="thoughts",
    )

    assert found == [{"thoughts": "Hm"}]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("way", CHATS)
def test_an_answer_goes_back_as_it_came(
    server: ScriptedServer, llm_with: LLMWith, way: str, field: str
) -> None:
    llm = llm_with(capabilities=Capabilities(send_reasoning="tool_turns"))
    call = {"tool_calls": [tool_call("f", {"x": 1}, "a") | {"index": 0}]}
    server.script(
        stream([{field: "H"}, {field: "m"}, {"content": "Wait."}, call], finish_reason="tool_calls")
        if "stream" in way
        else chat(
            "Wait.",
            reasoning="Hm",
            reasoning_field=field,
            tool_calls=[tool_call("f", {"x": 1}, "a")],
        )
    )

    answer = last_of(way, llm, [USER]).message
    last_of(way, llm, [USER, answer, RESULT])

    assert server.seen[1].body["messages"][1] == {
        "role": "assistant",
        "content": "Wait.",
        field: "Hm",
        "tool_calls": [tool_call("f", {"x": 1}, "a")],
    }


@pytest.mark.parametrize("way", CHATS)
def test_a_server_that_wants_reasoning_back_gets_it(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(
        error(400, "The reasoning_content in the thinking mode must be passed back to the API.")
    )

    last_of(way, llm, [USER, _answer(_thought(), CALL), RESULT])

    assert [message.get("reasoning_content") for message in server.seen[1].body["messages"]] == [
        None,
        "Hm",
        None,
    ]


def test_a_policy_that_was_set_is_kept_against_the_server(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    server.script(
        error(400, "The reasoning_content in the thinking mode must be passed back to the API.")
    )

    with pytest.raises(InvalidRequestError):
        llm_with(capabilities=Capabilities(send_reasoning="never")).chat(
            [USER, _answer(_thought(), CALL), RESULT]
        )


def test_thoughts_of_others_than_the_assistant_are_not_sent(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    llm = llm_with(capabilities=Capabilities(send_reasoning="always"))

    llm.chat([ChatMessage(role="user", blocks=[_thought(), TextBlock(text="Hi")])])

    assert server.seen[0].body["messages"] == [{"role": "user", "content": "Hi"}]
