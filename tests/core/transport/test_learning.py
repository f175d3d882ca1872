"""What a server refuses is left out or spelled differently, once, and remembered for that server."""

from __future__ import annotations

from typing import Any

import pytest
from asking import Way, made

from opea_core import Capabilities, InvalidRequestError
from opea_core.testing import ScriptedServer, Seen, chat, error, tool_call


def refusing(*names: str) -> Any:
    """A server that refuses these parameters, one at a time."""

    def answer(seen: Seen) -> Any:
        name = next((name for name in names if name in seen.body), None)
        return error(400, f"Unsupported parameter: '{name}'", param=name) if name else None

    return answer


TOOL_TURN = [
    {"role": "user", "content": "Add"},
    {"role": "assistant", "content": None, "tool_calls": [tool_call("add", {})], "reasoning_content": "Let me add."},
    {"role": "tool", "tool_call_id": "call_1", "content": "3"},
]


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_a_refused_parameter_is_dropped_once_and_remembered(way: Way, server: ScriptedServer, method: str) -> None:
    opea = made(server)
    server.always(refusing("seed"))
    first = way.ask(opea, method, "Hello", seed=1)
    second = way.ask(opea, method, "Hello", seed=1)
    assert (first.response.meta.dropped, second.response.meta.dropped) == (("seed",), ("seed",))
    assert ["seed" in seen.body for seen in server.seen] == [True, False, False]
    assert opea.get_stats()["retries"] == 0
    assert opea.get_stats()["requests"] == 2


def test_several_parameters_of_one_call(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    server.always(refusing("seed", "user", "logprobs"))
    told = way.ask(opea, "chat", "Hello", seed=1, user="me", logprobs=True)
    assert set(told.response.meta.dropped) == {"seed", "user", "logprobs"}
    assert len(server.seen) == 4


def test_it_costs_no_attempt(way: Way, server: ScriptedServer) -> None:
    server.always(refusing("seed", "user"))
    told = way.ask(made(server, max_retries=0), "chat", "Hello", seed=1, user="me")
    assert told.error is None


def test_a_parameter_may_have_another_name(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    server.always(lambda seen: error(400, text, param="max_tokens") if "max_tokens" in seen.body else None)
    told = way.ask(opea, "chat", "Hello", max_tokens=2)
    assert told.response.meta.dropped == ("max_tokens -> max_completion_tokens",)
    assert told.text == "This is "
    way.ask(opea, "chat", "Hello", max_tokens=2)
    assert [sorted(set(seen.body) - {"messages", "model", "stream"}) for seen in server.seen] == [
        ["max_tokens"],
        ["max_completion_tokens"],
        ["max_completion_tokens"],
    ]


def test_reasoning_is_sent_back_where_it_is_wanted(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    text = "The `reasoning_content` in the thinking mode must be passed back to the API."
    server.always(lambda seen: None if "reasoning_content" in seen.body["messages"][1] else error(400, text))
    told = way.ask(opea, "chat", TOOL_TURN)
    assert told.response.meta.dropped == ("send_reasoning -> tool_turns",)
    way.ask(opea, "chat", TOOL_TURN)
    assert ["reasoning_content" in seen.body["messages"][1] for seen in server.seen] == [False, True, True]


def test_what_one_endpoint_refuses_the_other_still_gets(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server, second)
    server.always(refusing("seed"))
    way.ask(opea, "chat", "Hello", seed=1, endpoint="one")
    way.ask(opea, "chat", "Hello", seed=1, endpoint="two")
    assert "seed" in second.seen[0].body


def test_what_one_model_refuses_another_still_gets(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    refused = error(400, "seed is not supported", param="seed")
    server.always(lambda seen: refused if seen.body["model"] == "small" and "seed" in seen.body else chat("x"))
    way.ask(opea, "chat", "Hello", seed=1, model="small")
    way.ask(opea, "chat", "Hello", seed=1, model="large")
    assert ("seed" in server.seen[-1].body, server.seen[-1].body["model"]) == (True, "large")


def test_a_refusal_that_stays_is_told(way: Way, server: ScriptedServer) -> None:
    server.always(error(400, "Unsupported parameter: 'seed'", param="seed"))
    told = way.ask(made(server), "chat", "Hello", seed=1)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 2


def test_nothing_is_dropped_when_the_user_says_so(way: Way, server: ScriptedServer) -> None:
    server.always(refusing("seed"))
    told = way.ask(made(server, capabilities=Capabilities(strict_parameters=True)), "chat", "Hello", seed=1)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 1


def test_a_call_that_fails_after_the_change_teaches_nothing(way: Way, server: ScriptedServer) -> None:
    opea = made(server, max_retries=0)
    server.script(error(400, "seed is not supported", param="seed"), error(400, "seed was not the matter"))
    assert isinstance(way.ask(opea, "chat", "Hello", seed=1).error, InvalidRequestError)
    assert way.ask(opea, "chat", "Hello", seed=1).error is None
    assert "seed" in server.seen[-1].body


def test_the_callers_messages_stay_as_they_were(way: Way, server: ScriptedServer) -> None:
    messages = [{"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hello"}]}]
    server.always(lambda seen: error(400, "'name' is not allowed", param="messages.0.name") if "name" in seen.body["messages"][0] else None)
    told = way.ask(made(server), "chat", messages)
    assert told.response.meta.dropped == ("name",)
    assert messages == [{"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hello"}]}]
