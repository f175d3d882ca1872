"""What a server refuses is left out or spelled differently, once,
and remembered for that server.
"""

from __future__ import annotations

from typing import Any

import pytest
from asking import Way, made

from opea_core import InvalidRequestError
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error, stream, tool_call

METHODS = pytest.mark.parametrize("method", ["chat", "stream_chat"])


def refusing(*names: str) -> Any:
    """A server that refuses these parameters, one at a time."""

    def answer(seen: Seen) -> Any:
        name = next((name for name in names if name in seen.body), None)
        return error(400, f"Unsupported parameter: '{name}'", param=name) if name else None

    return answer


TOOL_TURN = [
    {"role": "user", "content": "Add"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [tool_call("add", {})],
        "reasoning_content": "Let me add.",
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "3"},
]


@METHODS
def test_a_refused_parameter_is_dropped_once_and_remembered(
    way: Way, server: ScriptedServer, method: str
) -> None:
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
    text = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead."
    )
    server.always(
        lambda seen: error(400, text, param="max_tokens") if "max_tokens" in seen.body else None
    )
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
    server.always(
        lambda seen: None if "reasoning_content" in seen.body["messages"][1] else error(400, text)
    )
    told = way.ask(opea, "chat", TOOL_TURN)
    assert told.response.meta.dropped == ("send_reasoning -> tool_turns",)
    way.ask(opea, "chat", TOOL_TURN)
    assert ["reasoning_content" in seen.body["messages"][1] for seen in server.seen] == [
        False,
        True,
        True,
    ]


def test_what_one_endpoint_refuses_the_other_still_gets(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    server.always(refusing("seed"))
    way.ask(opea, "chat", "Hello", seed=1, endpoint="one")
    way.ask(opea, "chat", "Hello", seed=1, endpoint="two")
    assert "seed" in second.seen[0].body


def test_what_one_model_refuses_another_still_gets(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    refused = error(400, "seed is not supported", param="seed")
    server.always(
        lambda seen: refused if seen.body["model"] == "small" and "seed" in seen.body else chat("x")
    )
    way.ask(opea, "chat", "Hello", seed=1, model="small")
    way.ask(opea, "chat", "Hello", seed=1, model="large")
    assert ("seed" in server.seen[-1].body, server.seen[-1].body["model"]) == (True, "large")


def test_a_refusal_that_stays_is_told(way: Way, server: ScriptedServer) -> None:
    server.always(error(400, "Unsupported parameter: 'seed'", param="seed"))
    told = way.ask(made(server), "chat", "Hello", seed=1)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 2


@METHODS
@pytest.mark.parametrize("where", ["object", "endpoint", "call"])
def test_a_request_goes_out_as_it_was_given_where_the_user_says_so(
    way: Way, server: ScriptedServer, method: str, where: str
) -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        *TOOL_TURN,
    ]
    tools = [{"type": "function", "function": {"name": "my.tool", "parameters": {}}}]
    server.always(refusing("seed"))
    opea = {
        "object": lambda: made(server, adapt=False),
        "endpoint": lambda: made(endpoints=[{"base_url": server.url, "adapt": False}]),
        "call": lambda: made(server),
    }[where]()
    told = way.ask(
        opea, method, messages, seed=1, tools=tools, **({"adapt": False} if where == "call" else {})
    )
    assert isinstance(told.error, InvalidRequestError)
    assert "Unsupported parameter: 'seed'" in str(told.error)
    assert len(server.seen) == 1
    sent = server.seen[0].body
    assert (sent["messages"], sent["tools"], sent["seed"]) == (messages, tools, 1)


def test_a_call_may_be_adapted_where_the_object_says_no(way: Way, server: ScriptedServer) -> None:
    server.always(refusing("seed"))
    told = way.ask(made(server, adapt=False), "chat", "Hello", seed=1, adapt=True)
    assert told.response.meta.dropped == ("seed",)


@METHODS
def test_a_wrong_value_is_the_callers(way: Way, server: ScriptedServer, method: str) -> None:
    server.always(error(400, "temperature must be at most 2", param="temperature"))
    told = way.ask(made(server), method, "Hello", temperature=3, seed=1)
    assert isinstance(told.error, InvalidRequestError)
    assert len(server.seen) == 1


@METHODS
@pytest.mark.parametrize("status", [200, 403, 404, 413, 422, 500, 501, 502])
def test_a_refusal_may_come_under_other_statuses(
    way: Way, server: ScriptedServer, method: str, status: int
) -> None:
    server.script(error(status, "Unsupported parameter: 'seed'"))
    told = way.ask(made(server, max_retries=0), method, "Hello", seed=1)
    assert told.response.meta.dropped == ("seed",)
    assert ["seed" in seen.body for seen in server.seen] == [True, False]


@pytest.mark.parametrize("status", [401, 402, 429, 503])
def test_who_may_not_ask_or_must_wait_is_not_refused_a_field(
    way: Way, server: ScriptedServer, status: int
) -> None:
    server.always(error(status, "Unsupported parameter: 'seed'"))
    assert (
        way.ask(made(server, max_retries=0, recovery_wait=0), "chat", "Hello", seed=1).error
        is not None
    )
    assert all("seed" in seen.body for seen in server.seen if seen.method == "POST")


@METHODS
def test_several_fields_refused_in_one_answer_go_at_once(
    way: Way, server: ScriptedServer, method: str
) -> None:
    server.script(error(400, "Unsupported parameters: seed, user"))
    told = way.ask(made(server), method, "Hello", seed=1, user="me", temperature=0.5)
    assert told.response.meta.dropped == ("seed", "user")
    assert [sorted(seen.body.keys() & {"seed", "user", "temperature"}) for seen in server.seen] == [
        ["seed", "temperature", "user"],
        ["temperature"],
    ]


def test_a_call_that_fails_after_the_change_teaches_nothing(
    way: Way, server: ScriptedServer
) -> None:
    opea = made(server, max_retries=0)
    server.script(
        error(400, "seed is not supported", param="seed"), error(400, "seed was not the matter")
    )
    assert isinstance(way.ask(opea, "chat", "Hello", seed=1).error, InvalidRequestError)
    assert way.ask(opea, "chat", "Hello", seed=1).error is None
    assert "seed" in server.seen[-1].body


def test_the_callers_messages_stay_as_they_were(way: Way, server: ScriptedServer) -> None:
    messages = [{"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hello"}]}]
    server.always(
        lambda seen: (
            error(400, "'name' is not allowed", param="messages.0.name")
            if "name" in seen.body["messages"][0]
            else None
        )
    )
    told = way.ask(made(server), "chat", messages)
    assert told.response.meta.dropped == ("name",)
    assert messages == [
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hello"}]}
    ]


# --- names of tools


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {}}}
    for name in ("a/b.c", "a_b_c", "d-e")
]


def calling(method: str, *names: str) -> Answer:
    calls = [tool_call(name, {}, f"call_{n}") for n, name in enumerate(names)]
    if method == "chat":
        return chat(None, tool_calls=calls)
    return stream(
        [{"tool_calls": [call | {"index": n}]} for n, call in enumerate(calls)],
        finish_reason="tool_calls",
    )


def names_of(seen: Seen) -> list[str]:
    return [tool["function"]["name"] for tool in seen.body["tools"]]


@METHODS
def test_calls_come_back_under_the_callers_own_names(
    way: Way, server: ScriptedServer, method: str
) -> None:
    server.always(lambda seen: calling(method, *names_of(seen), "unknown"))
    told = way.ask(made(server), method, "Hello", tools=TOOLS)
    sent = names_of(server.seen[0])
    assert (sent[1:], len(set(sent)), "/" in sent[0]) == (["a_b_c", "d-e"], 3, False)
    assert [call["function"]["name"] for call in told.response.message["tool_calls"]] == [
        "a/b.c",
        "a_b_c",
        "d-e",
        "unknown",
    ]
    assert told.response.meta.dropped == ()


@METHODS
def test_names_that_are_refused_are_cleaned_more(
    way: Way, server: ScriptedServer, method: str
) -> None:
    def answer(seen: Seen) -> Answer:
        return (
            error(400, "Invalid function name: d-e")
            if "d-e" in names_of(seen)
            else calling(method, *names_of(seen))
        )

    server.always(answer)
    told = way.ask(made(server), method, "Hello", tools=TOOLS)
    assert told.response.meta.dropped == ("tool names -> letters",)
    assert [call["function"]["name"] for call in told.response.message["tool_calls"]] == [
        "a/b.c",
        "a_b_c",
        "d-e",
    ]


# --- reasoning


@METHODS
def test_signed_reasoning_goes_back_where_it_is_wanted(
    way: Way, server: ScriptedServer, method: str
) -> None:
    details = [{"type": "reasoning.encrypted", "data": "sealed", "index": 0}]
    turn = [TOOL_TURN[0], {**TOOL_TURN[1], "reasoning_details": details}, TOOL_TURN[2]]
    words = (
        "Reasoning is mandatory here: preserve the reasoning_details of earlier assistant messages."
    )
    server.always(
        lambda seen: None if "reasoning_details" in seen.body["messages"][1] else error(400, words)
    )
    opea = made(server)
    told = way.ask(opea, method, turn)
    assert told.response.meta.dropped == ("send_reasoning -> tool_turns",)
    way.ask(opea, method, turn)
    assert [seen.body["messages"][1].get("reasoning_details") for seen in server.seen] == [
        None,
        details,
        details,
    ]
