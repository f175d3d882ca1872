"""Tokens as handlers, events and graphs get them: each piece once, all of them, in order."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from lc_asking import WAYS, ModelWith, amerged, aoutput_v3, blocks, merged, output_v3
from lc_shapes_tools import F, entry

from opea_core.testing import ScriptedServer, chunk, sse

WORDS = ["One ", "two ", "three."]
TEXT = "".join(WORDS)
ANSWER = sse(*[chunk({"content": word}) for word in WORDS], chunk({}, "stop"))
CALLING = sse(
    chunk({"reasoning": "Hm."}),
    chunk({"content": "Wait."}),
    chunk({"tool_calls": [entry(0, "a", "f", '{"x"')]}),
    chunk({"tool_calls": [entry(0, None, None, ":1}")]}),
    chunk({}, "tool_calls"),
)


class Tokens(BaseCallbackHandler):
    """What a handler is told of new tokens."""

    def __init__(self) -> None:
        self.texts: list[Any] = []
        self.chunks: list[AIMessageChunk] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.texts.append(token)
        self.chunks.append(chunk.message)


class AsyncTokens(AsyncCallbackHandler):
    """The same of an async one."""

    def __init__(self) -> None:
        self.texts: list[Any] = []
        self.chunks: list[AIMessageChunk] = []

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        self.texts.append(token)
        self.chunks.append(chunk.message)


# --- handlers


def test_a_handler_gets_each_piece_of_a_stream_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = Tokens()

    pieces = list(model_with().stream("Hi", config={"callbacks": [heard]}))

    assert heard.texts == [piece.content for piece in pieces]
    assert "".join(heard.texts) == TEXT


async def test_an_async_handler_gets_each_piece_of_a_stream_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = AsyncTokens()

    pieces = [piece async for piece in model_with().astream("Hi", config={"callbacks": [heard]})]

    assert heard.texts == [piece.content for piece in pieces]
    assert "".join(heard.texts) == TEXT


def test_a_handler_gets_each_piece_of_an_invoke_that_streams_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = Tokens()

    message = model_with(streaming=True).invoke("Hi", config={"callbacks": [heard]})

    assert "".join(heard.texts) == message.text == TEXT


async def test_a_handler_gets_each_piece_of_an_ainvoke_that_streams_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = AsyncTokens()

    message = await model_with(streaming=True).ainvoke("Hi", config={"callbacks": [heard]})

    assert "".join(heard.texts) == message.text == TEXT


def test_a_handler_gets_each_piece_of_events_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = Tokens()

    message = output_v3(model_with(callbacks=[heard]))

    assert "".join(heard.texts) == message.text == TEXT


async def test_an_async_handler_gets_each_piece_of_events_once(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = AsyncTokens()

    message = await aoutput_v3(model_with(callbacks=[heard]))

    assert "".join(heard.texts) == message.text == TEXT


def test_a_plain_invoke_has_no_tokens(model_with: ModelWith) -> None:
    heard = Tokens()

    model_with().invoke("Hi", config={"callbacks": [heard]})

    assert heard.texts == []


def test_the_chunks_a_handler_gets_are_those_of_the_stream(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(CALLING)
    heard = Tokens()

    pieces = list(model_with().stream("Hi", config={"callbacks": [heard]}))

    assert merged(heard.chunks) == merged(pieces)


def test_a_run_manager_that_is_passed_is_told(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)
    heard = Tokens()
    (manager,) = CallbackManager([heard]).on_llm_start({}, ["Hi"])

    pieces = list(model_with()._stream([HumanMessage("Hi")], run_manager=manager))

    assert "".join(heard.texts) == TEXT
    assert heard.chunks == [piece.message for piece in pieces]


# --- events


async def _events(model: Any, kind: str, **options: Any) -> list[Any]:
    return [
        event["data"]["chunk"]
        async for event in model.astream_events("Hi", version="v2", **options)
        if event["event"] == kind
    ]


async def test_events_of_version_2_have_every_token(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(ANSWER)

    chunks = await _events(model_with(), "on_chat_model_stream")

    assert [piece.text for piece in chunks if piece.text] == WORDS
    assert merged(chunks).response_metadata["finish_reason"] == "stop"


async def test_events_of_version_2_have_reasoning_and_calls(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(CALLING)

    message = merged(await _events(model_with(), "on_chat_model_stream"))

    assert blocks(message) == [("reasoning", "Hm."), ("text", "Wait."), ("tool_call", F)]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["invoke", "ainvoke"])
async def test_a_model_invoked_inside_streams_for_events(
    server: ScriptedServer, model_with: ModelWith, asynchronous: bool
) -> None:
    server.script(ANSWER)
    model = model_with()

    def ask(text: str) -> Any:
        return model.invoke(text)

    async def aask(text: str) -> Any:
        return await model.ainvoke(text)

    chain = RunnableLambda(aask) if asynchronous else RunnableLambda(ask)
    chunks = await _events(chain, "on_chat_model_stream")

    assert [piece.text for piece in chunks if piece.text] == WORDS
    assert server.seen[0].body["stream"] is True


def test_a_model_told_not_to_stream_does_not(server: ScriptedServer, model_with: ModelWith) -> None:
    (message,) = model_with(disable_streaming=True).stream("Hi")

    assert message.text
    assert [seen.body["stream"] for seen in server.seen] == [False]


# --- graphs


def _graph(model: Any, asynchronous: bool) -> Any:
    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def aask(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", aask if asynchronous else ask)
    graph.add_edge(START, "model")
    return graph.compile()


def test_a_graph_streams_the_tokens_of_its_model(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(CALLING)

    pieces = list(
        _graph(model_with(), False).stream({"messages": [("user", "Hi")]}, stream_mode="messages")
    )

    assert all(isinstance(piece, AIMessageChunk) for piece, _ in pieces)
    assert blocks(merged([piece for piece, _ in pieces])) == [
        ("reasoning", "Hm."),
        ("text", "Wait."),
        ("tool_call", F),
    ]


async def test_an_async_graph_streams_the_tokens_of_its_model(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(CALLING)

    pieces = [
        piece
        async for piece, _ in _graph(model_with(), True).astream(
            {"messages": [("user", "Hi")]}, stream_mode="messages"
        )
    ]

    assert blocks(merged(pieces)) == [("reasoning", "Hm."), ("text", "Wait."), ("tool_call", F)]


def test_the_message_a_graph_keeps_is_that_of_the_stream(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(CALLING)
    graph = _graph(model_with(), False)

    (values,) = [
        state
        for mode, state in graph.stream(
            {"messages": [("user", "Hi")]}, stream_mode=["messages", "values"]
        )
        if mode == "values"
    ][-1:]

    assert blocks(values["messages"][-1]) == [
        ("reasoning", "Hm."),
        ("text", "Wait."),
        ("tool_call", F),
    ]


# --- what the pieces say


@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_sync_and_async_streams_say_the_same(
    server: ScriptedServer, model_with: ModelWith, version: str
) -> None:
    server.always(CALLING)
    model = model_with(output_version=version)

    asynchronous = await amerged(model.astream("Hi", request_id="r"))

    assert asynchronous.model_copy(update={"id": "x"}) == merged(
        model.stream("Hi", request_id="r")
    ).model_copy(update={"id": "x"})


@pytest.mark.parametrize(
    "way", ["invoke", "streaming invoke", "stream", "astream", "stream v1", "events v3"]
)
def test_log_probabilities_of_a_stream_are_those_of_the_answer(
    server: ScriptedServer, way: str
) -> None:
    tokens = [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in WORDS]
    server.always(
        sse(
            *[
                chunk({"content": t["token"]}, logprobs={"content": [t], "refusal": None})
                for t in tokens
            ],
            chunk({}, "stop"),
        )
    )

    assert WAYS[way](server).response_metadata["logprobs"] == {"content": tokens, "refusal": None}


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_unknown_fields_of_an_answer_are_kept_once(
    server: ScriptedServer, model_with: ModelWith, version: str
) -> None:
    root = {
        "citations": ["http://x"],
        "system_fingerprint": "fp",
        "service_tier": "flex",
        "timings": {"ms": 1.5},
    }
    fields = {"status": "calm", "mood": {"level": 1}, "weather": "sunny, with clouds"}
    server.always(
        sse(
            *[chunk({"content": word, **fields}) | root for word in WORDS], chunk({}, "stop") | root
        )
    )
    model = model_with(output_version=version)

    for message in (merged(model.stream("Hi")), model.invoke("Hi")):
        assert {name: message.response_metadata[name] for name in root} == root
        assert {name: message.additional_kwargs[name] for name in fields} == fields


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_kept(server: ScriptedServer, way: str) -> None:
    server.always(sse(chunk({"refusal": "I "}), chunk({"refusal": "won't."}), chunk({}, "stop")))

    assert WAYS[way](server).additional_kwargs["refusal"] == "I won't."
