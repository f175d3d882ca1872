"""What an answer was signed with goes back through ``response.message``,
to whom it came from only.
"""

from __future__ import annotations

from typing import Any

import pytest
from asking import made

from opea_core.testing import ScriptedServer, json_answer
from opea_core.types import Json

CALL: Json = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
SIGNED: Json = {
    "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "S1"}],
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "D1"}],
    "reasoning_opaque": "O1",
}


def answer(**message: Any) -> Any:
    return json_answer(
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", **message},
                    "finish_reason": "tool_calls",
                }
            ]
        }
    )


def second_turn(
    first: ScriptedServer, second: ScriptedServer, message: Json, endpoint: str, **options: Any
) -> Json:
    """The assistant's message as the next request has it, sent to one of two servers."""
    first.always(answer(**message))
    second.always(answer(content="done"))
    opea = made(first, second)
    said = opea.chat("Hello", endpoint="one").message
    history = [
        {"role": "user", "content": "Hello"},
        said,
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]
    opea.chat(history, endpoint=endpoint, **options)
    sent: Json = (first if endpoint == "one" else second).seen[-1].body["messages"][1]
    assert "opea_origin" not in sent
    return sent


def test_signed_reasoning_goes_back_with_the_calls_of_the_turn(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    sent = second_turn(server, second, {"content": "", "tool_calls": [CALL], **SIGNED}, "one")
    assert {name: sent[name] for name in SIGNED} == SIGNED
    assert "reasoning_content" not in sent


@pytest.mark.parametrize(("endpoint", "options"), [("two", {}), ("one", {"model": "another"})])
def test_nobody_else_gets_it(
    server: ScriptedServer, second: ScriptedServer, endpoint: str, options: Json
) -> None:
    call = {
        **CALL,
        "function": {**CALL["function"], "thought_signature": "S3"},
        "extra_content": {"google": {"thought_signature": "S2"}},
    }
    message = {"content": "", "tool_calls": [call], "refusal": "no", **SIGNED}
    sent = second_turn(server, second, message, endpoint, **options)
    assert not sent.keys() & {*SIGNED, "refusal"}
    assert sent["tool_calls"] == [CALL]
    assert sent["content"] == "no"


def test_signatures_types_and_arguments_of_calls_go_back_as_they_came(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    builtin = {
        "id": "c1",
        "type": "builtin_function",
        "function": {"name": "$search", "arguments": '{ "q" : "a" }'},
    }
    signed = {
        **CALL,
        "function": {**CALL["function"], "thought_signature": "S3"},
        "extra_content": {"google": {"thought_signature": "S2"}},
    }
    custom = {"id": "c3", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
    sent = second_turn(
        server,
        second,
        {"content": "", "tool_calls": [builtin, {**signed, "id": "c2"}, custom]},
        "one",
    )
    assert sent["tool_calls"] == [builtin, {**signed, "id": "c2"}, custom]
