"""Which parameters reach the body of a request, and which of two values wins."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from lc_object_support import WAYS, ask, body, made
from pydantic import BaseModel

from langchain_opea import ChatOPEA
from langchain_opea.errors import OPEAConfigurationError
from opea_core import Capabilities
from opea_core.testing import ScriptedServer, chat, error, stream

FIELDS: dict[str, Any] = {
    "temperature": 0.5,
    "max_tokens": 5,
    "stop": ["END"],
    "n": 1,
    "top_p": 0.5,
    "seed": 1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1},
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "auto",
    "store": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


def sent(server: ScriptedServer) -> dict[str, Any]:
    """The last body without what every stream has."""
    return {key: value for key, value in body(server).items() if key != "stream_options"}


# --- fields


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_that_was_not_set(server: ScriptedServer, way: str) -> None:
    ask(way, made(server))
    assert sent(server) == {"model": "m"}


@pytest.mark.parametrize("way", WAYS)
def test_every_field_is_sent_under_its_name(server: ScriptedServer, way: str) -> None:
    ask(way, made(server, **FIELDS))
    assert sent(server) == {"model": "m", **FIELDS}


@pytest.mark.parametrize(
    "name", [name for name, value in FIELDS.items() if isinstance(value, int | float)]
)
def test_zero_and_false_are_values(server: ScriptedServer, name: str) -> None:
    zero: Any = type(FIELDS[name])()
    made(server, **{name: zero}).invoke("x")
    assert sent(server)[name] == zero


@pytest.mark.parametrize("name", FIELDS)
def test_a_call_wins_over_a_field(server: ScriptedServer, name: str) -> None:
    special: dict[str, Any] = {
        "stop": ["STOP"],
        "logit_bias": {"7": 1},
        "logprobs": False,
        "store": True,
    }
    other = special[name] if name in special else FIELDS[name] * 2
    made(server, **FIELDS).bind(**{name: other}).invoke("x")
    assert sent(server)[name] == other


@pytest.mark.parametrize(
    "name", sorted(FIELDS.keys() - {"stop"})
)  # LangChain's own stop=None means that nothing was given
def test_none_in_a_call_takes_a_field_away(server: ScriptedServer, name: str) -> None:
    made(server, **FIELDS).bind(**{name: None}).invoke("x")
    assert sent(server) == {
        "model": "m",
        **{key: value for key, value in FIELDS.items() if key != name},
    }


@pytest.mark.parametrize(
    ("given", "wire"), [([], None), ("END", "END"), (["a", "b"], ["a", "b"]), (None, None)]
)
def test_forms_of_stop(server: ScriptedServer, given: Any, wire: Any) -> None:
    made(server, stop=given).invoke("x")
    assert sent(server).get("stop") == wire


@pytest.mark.parametrize("way", WAYS)
def test_stop_of_a_call_wins(server: ScriptedServer, way: str) -> None:
    model = made(server, stop=["field"])
    ask(way, model, stop=["call"])
    assert sent(server)["stop"] == ["call"]
    ask(way, model, stop=[])
    assert "stop" not in sent(server)
    ask(way, model.bind(stop=["bound"]))
    assert sent(server)["stop"] == ["bound"]


# --- model_kwargs and extra_body


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_precedence(server: ScriptedServer, way: str) -> None:
    field: dict[str, Any] = {"temperature": 0.1}
    by_kwargs = {"model_kwargs": {"temperature": 0.2}}
    by_extra = {"extra_body": {"temperature": 0.3}}
    found = []
    for options, call in [
        (field, {}),
        (field | by_kwargs, {}),
        (field | by_kwargs | by_extra, {}),
        (field | by_kwargs | by_extra, {"temperature": 0.4}),
        (field | by_kwargs | by_extra, {"temperature": 0.4, "extra_body": {"temperature": 0.5}}),
    ]:
        ask(way, made(server, **options), **call)
        found.append(sent(server)["temperature"])
    assert found == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_extra_body_of_model_and_call_are_merged(server: ScriptedServer) -> None:
    model = made(server, extra_body={"a": 1, "b": 1})
    model.invoke("x", extra_body={"b": 2, "c": 2})
    assert sent(server) == {"model": "m", "a": 1, "b": 2, "c": 2}
    model.invoke("x")
    assert sent(server) == {"model": "m", "a": 1, "b": 1}


def test_unknown_fields_of_a_call_are_sent(server: ScriptedServer) -> None:
    made(server).invoke("x", top_k=5, chat_template_kwargs={"enable_thinking": False})
    assert sent(server) == {
        "model": "m",
        "top_k": 5,
        "chat_template_kwargs": {"enable_thinking": False},
    }


@pytest.mark.parametrize(
    ("options", "call", "wire"),
    [
        ({"max_tokens": 5}, {}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {}, {"max_tokens": 5}),
        ({"max_tokens": 5}, {"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 5}, {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"model_kwargs": {"max_completion_tokens": 5}}, {"max_tokens": 7}, {"max_tokens": 7}),
        (
            {"extra_body": {"max_tokens": 5}},
            {"max_completion_tokens": 7},
            {"max_completion_tokens": 7},
        ),
        (
            {"max_tokens": 3, "extra_body": {"max_completion_tokens": 5}},
            {},
            {"max_completion_tokens": 5},
        ),
        (
            {"max_tokens": 3, "model_kwargs": {"max_completion_tokens": 5}},
            {},
            {"max_completion_tokens": 5},
        ),
        (
            {"max_tokens": 3},
            {"extra_body": {"max_completion_tokens": 5}},
            {"max_completion_tokens": 5},
        ),
    ],
)
def test_one_limit_of_tokens_under_one_name(
    server: ScriptedServer, options: Any, call: Any, wire: Any
) -> None:
    made(server, **options).invoke("x", **call)
    assert sent(server) == {"model": "m", **wire}


def test_the_name_of_the_limit_a_server_wants(server: ScriptedServer) -> None:
    made(
        server, max_tokens=5, capabilities=Capabilities(max_tokens_field="max_completion_tokens")
    ).invoke("x")
    assert sent(server) == {"model": "m", "max_completion_tokens": 5}


def test_the_name_of_the_limit_is_learned(server: ScriptedServer) -> None:
    model = made(server, max_tokens=5)
    server.script(
        error(
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            param="max_tokens",
        )
    )
    answer = model.invoke("x")
    assert sent(server) == {"model": "m", "max_completion_tokens": 5}
    assert answer.response_metadata["dropped_parameters"] == ["max_tokens -> max_completion_tokens"]


# --- disabled_params


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("disabled", "gone"),
    [
        ({"temperature": None}, True),
        ({"temperature": [0.5]}, True),
        ({"temperature": [0.1, 0.2]}, False),
        ({"seed": None}, False),
    ],
)
def test_disabled_parameters_are_not_sent(
    server: ScriptedServer, disabled: Any, gone: bool, way: str
) -> None:
    ask(way, made(server, temperature=0.5, disabled_params=disabled))
    assert ("temperature" not in sent(server)) is gone


def test_disabled_parameters_of_tools(server: ScriptedServer) -> None:
    made(server, disabled_params={"parallel_tool_calls": None}).bind_tools(
        [TOOL], parallel_tool_calls=False
    ).invoke("x")
    assert sent(server).keys() == {"model", "tools"}


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_stream_options_can_be_disabled(server: ScriptedServer, way: str) -> None:
    ask(way, made(server, disabled_params={"stream_options": None}))
    assert "stream_options" not in body(server)


# --- streams


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "call", "wire"),
    [
        ({}, {}, {"include_usage": True}),
        ({"stream_usage": False}, {}, None),
        ({}, {"stream_usage": False}, None),
        ({"stream_usage": False}, {"stream_usage": True}, {"include_usage": True}),
        ({}, {"stream_options": {"include_usage": False}}, {"include_usage": False}),
        (
            {"model_kwargs": {"stream_options": {"include_usage": False}}},
            {},
            {"include_usage": False},
        ),
    ],
)
def test_streams_ask_for_usage(
    server: ScriptedServer, options: Any, call: Any, wire: Any, way: str
) -> None:
    ask(way, made(server, **options), **call)
    assert body(server).get("stream_options") == (wire if way.endswith("stream") else None)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_usage_in_streams_is_learned_to_be_refused(server: ScriptedServer, way: str) -> None:
    model = made(server)
    server.script(error(400, "Unrecognized request argument supplied: stream_options"))
    assert ask(way, model).text
    ask(way, model)
    assert ["stream_options" in seen.body for seen in server.seen] == [True, False, False]


# --- several answers, logprobs, headers


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_several_answers(server: ScriptedServer, way: str) -> None:
    model, messages = made(server, n=3), [[HumanMessage("x")]]
    found = model.generate(messages) if way == "sync" else await model.agenerate(messages)
    assert len(found.generations[0]) == 3
    assert len({generation.text for generation in found.generations[0]}) == 3
    assert (
        sum(generation.message.usage_metadata is not None for generation in found.generations[0])
        == 1
    )


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    ("options", "call"), [({"n": 2}, {}), ({}, {"n": 2}), ({"extra_body": {"n": 2}}, {})]
)
def test_several_answers_cannot_be_streamed(
    server: ScriptedServer, options: Any, call: Any, way: str
) -> None:
    with pytest.raises(OPEAConfigurationError, match="n="):
        ask(way, made(server, **options), **call)
    assert server.seen == []


def test_several_answers_are_not_streamed_when_streaming_is_disabled(
    server: ScriptedServer,
) -> None:
    assert ask("stream", made(server, n=2, disable_streaming=True)).text


@pytest.mark.parametrize("way", WAYS)
def test_logprobs_come_back(server: ScriptedServer, way: str) -> None:
    answer = ask(way, made(server, logprobs=True, top_logprobs=1))
    tokens = [entry["token"] for entry in answer.response_metadata["logprobs"]["content"]]
    assert "".join(tokens) == answer.text


@pytest.mark.parametrize("way", WAYS)
def test_headers_of_the_answer_on_request(server: ScriptedServer, way: str) -> None:
    assert "headers" not in ask(way, made(server)).response_metadata
    found = ask(way, made(server, include_response_headers=True)).response_metadata["headers"]
    assert found["content-type"].startswith(
        "text/event-stream" if way.endswith("stream") else "application/json"
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_tier_that_served_comes_back(server: ScriptedServer, way: str) -> None:
    told = {"service_tier": "flex", "system_fingerprint": "fp"}
    server.script(chat("x", **told) if way.endswith("invoke") else stream(["x"], **told))
    found = ask(way, made(server)).response_metadata
    assert (found["service_tier"], found["system_fingerprint"]) == ("flex", "fp")


# --- response_format and a class


class Answer(BaseModel):
    """An answer."""

    word: str


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [Answer, Answer.model_json_schema()], ids=["class", "schema"])
def test_a_schema_as_response_format(server: ScriptedServer, given: Any, way: str) -> None:
    ask(way, made(server), response_format=given)
    form = sent(server)["response_format"]
    assert (
        form["type"],
        form["json_schema"]["name"],
        form["json_schema"]["schema"]["required"],
    ) == ("json_schema", "Answer", ["word"])


@pytest.mark.parametrize(
    "given",
    [
        {"type": "json_object"},
        {"type": "text"},
        {"type": "json_schema", "json_schema": {"name": "A", "schema": {"type": "object"}}},
        {"type": "grammar", "value": "root ::= 'x'"},
        {"type": "json_object", "schema": {"type": "object"}},
    ],
    ids=str,
)
def test_a_response_format_of_the_protocol_stays(
    server: ScriptedServer, given: dict[str, Any]
) -> None:
    ChatOPEA(base_url=server.url, model="m").invoke("x", response_format=given)
    assert sent(server)["response_format"] == given
