"""Usage: asked for, counted once, never invented;
and what happens where a server does not take the question.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from lc_asking import BLOCK_WAYS, STREAMED, WAYS, ModelWith, amerged, merged, output_v3
from lc_shapes import Shape, body, deltas
from lc_shapes_more import USAGE

from opea_core.testing import ScriptedServer, chunk, error, json_answer, sse, stream

REFUSED = error(
    400,
    "Unrecognized request argument supplied: stream_options",
    type="invalid_request_error",
    param="stream_options",
)
COUNTS = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
READ = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
WITH_DETAILS = {
    name: shape for name, shape in USAGE.items() if set(shape.expected.usage or ()) - set(READ)
}


def _asked(server: ScriptedServer) -> list[Any]:
    return [seen.body.get("stream_options") for seen in server.seen]


# --- counted once


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize("name", WITH_DETAILS)
def test_details_are_no_more_than_the_whole(server: ScriptedServer, name: str, way: str) -> None:
    shape: Shape = WITH_DETAILS[name]
    server.always(shape.answer(stream=way == "stream"))

    usage: Any = WAYS[way](server).usage_metadata

    assert sum(usage.get("input_token_details", {}).values()) <= usage["input_tokens"]
    assert sum(usage.get("output_token_details", {}).values()) <= usage["output_tokens"]


@pytest.mark.parametrize("way", WAYS)
def test_what_the_server_counted_is_kept_as_it_came(server: ScriptedServer, way: str) -> None:
    usage = COUNTS | {
        "cost": 0.25,
        "queue_time": 0.5,
        "prompt_tokens_details": {"cached_tokens": 4, "odd": None},
    }
    server.always(body({"content": "Hello"}, usage=usage))

    assert WAYS[way](server).response_metadata["token_usage"] == usage


@pytest.mark.parametrize("way", STREAMED)
def test_a_cost_on_every_event_is_not_added_up(server: ScriptedServer, way: str) -> None:
    usage = COUNTS | {"cost": 0.25}
    server.always(
        sse(
            *[chunk({"content": text}) | {"usage": usage} for text in ("Hel", "lo")],
            chunk({}, "stop") | {"usage": usage},
        )
    )

    assert STREAMED[way](server).response_metadata["token_usage"] == usage


def test_a_handler_sees_the_usage_of_a_stream_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(USAGE["twice"].streamed)
    handler = UsageMetadataCallbackHandler()

    merged(model_with().stream("Hi", config={"callbacks": [handler]}))

    assert handler.usage_metadata == {"scripted-model": READ}


def test_a_handler_sees_the_usage_of_events_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(USAGE["twice"].streamed)
    handler = UsageMetadataCallbackHandler()

    output_v3(model_with(callbacks=[handler]))

    assert handler.usage_metadata == {"scripted-model": READ}


def test_several_answers_have_their_usage_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    choices = [
        {"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (0, 1)
    ]
    server.always(json_answer({"choices": choices, "usage": COUNTS}))

    (generations,) = model_with(n=2).generate([[HumanMessage("Hi")]]).generations

    assert [generation.text for generation in generations] == ["0", "1"]
    assert [generation.message.usage_metadata for generation in generations] == [READ, None]


# --- asked for


@pytest.mark.parametrize("way", STREAMED)
def test_streams_ask_for_usage(server: ScriptedServer, way: str) -> None:
    STREAMED[way](server)

    assert _asked(server) == [{"include_usage": True}]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_plain_calls_do_not_ask(server: ScriptedServer, way: str) -> None:
    WAYS[way](server)

    assert _asked(server) == [None]


@pytest.mark.parametrize("way", STREAMED)
def test_streams_do_not_ask_when_told_so(server: ScriptedServer, way: str) -> None:
    STREAMED[way](server, stream_usage=False)

    assert _asked(server) == [None]


@pytest.mark.parametrize(
    ("field", "call", "expected"), [(True, False, None), (False, True, {"include_usage": True})]
)
def test_a_call_may_say_otherwise(
    server: ScriptedServer, model_with: ModelWith, field: bool, call: bool, expected: Any
) -> None:
    merged(model_with(stream_usage=field).stream("Hi", stream_usage=call))

    assert _asked(server) == [expected]
    assert "stream_usage" not in server.seen[0].body


def test_options_of_the_caller_stand(server: ScriptedServer, model_with: ModelWith) -> None:
    merged(model_with().stream("Hi", stream_options={"include_usage": True, "chunk_size": 1}))

    assert _asked(server) == [{"include_usage": True, "chunk_size": 1}]


# --- refused


@pytest.mark.parametrize("way", [*STREAMED, "astream v1"])
def test_a_server_that_refuses_is_asked_without(server: ScriptedServer, way: str) -> None:
    server.script(REFUSED, deltas({"content": "Hello"}))

    message = (STREAMED | BLOCK_WAYS)[way](server)

    assert message.text == "Hello"
    assert message.usage_metadata is None
    assert _asked(server) == [{"include_usage": True}, None]
    assert message.response_metadata["dropped_parameters"] == ["stream_options"]


def test_the_refusal_is_remembered(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(REFUSED)
    server.always(stream(["Hello"], usage=COUNTS))
    model = model_with()
    merged(model.stream("Hi"))

    message = merged(model.stream("Hi"))

    assert _asked(server) == [{"include_usage": True}, None, None]
    assert message.usage_metadata == READ


async def test_the_refusal_is_remembered_by_async_calls_and_bound_models(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(REFUSED)
    server.always(stream(["Hello"]))
    model = model_with()
    await amerged(model.astream("Hi"))

    await amerged(model.bind(temperature=0.0).astream("Hi"))

    assert _asked(server) == [{"include_usage": True}, None, None]
