"""Callbacks, instrumentation, token counts and rate limits:
exactly once for each of the eight ways, however a call ends.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from li_object_support import (
    CHATS,
    STREAMED,
    STRUCTURED,
    USAGE,
    WAYS,
    WHOLE,
    WITH_TOOLS,
    City,
    Listener,
    ask,
    ask_all,
    counted,
    embedding,
    instrumented,
    llm,
    question,
    ranked,
    reranker,
    says,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_opea import OPEALLM
from opea_core import OPEAError, ServerError, StreamInterrupted
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    chat,
    error,
    json_answer,
    stream,
    tool_call,
)

NODES = [NodeWithScore(node=TextNode(text="a"))]


def _kind(way: str) -> str:
    return "LLMChat" if "chat" in way else "LLMCompletion"


def _broken(seen: Any) -> Answer:
    if seen.body.get("stream"):
        return stream(["one"], finish_reason=None, done=False, end="cut")
    return error(500, "no")


# --- the callback manager


@pytest.mark.parametrize("way", WAYS)
def test_one_start_and_one_end(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    ask(way, llm(server, callback_manager=listener.manager))
    assert listener.counts == {"llm": (1, 1)}
    assert listener.started[0][2] == listener.ended[0][2] != ""


@pytest.mark.parametrize("way", WAYS)
def test_completions_mode_too(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    with instrumented() as (events, spans):
        ask(way, llm(server, is_chat_model=False, callback_manager=listener.manager))
    assert listener.counts == {"llm": (1, 1)}
    assert [events.names.count(f"{_kind(way)}{end}Event") for end in ("Start", "End")] == [1, 1]
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_callback_is_told(server: ScriptedServer, way: str) -> None:
    server.always(counted)
    listener = Listener()
    ask(way, llm(server, callback_manager=listener.manager), top_k=3)
    [(_, start, _)], [(_, end, _)] = listener.started, listener.ended
    assert start[EventPayload.SERIALIZED]["model_name"] == "m"
    assert start[EventPayload.ADDITIONAL_KWARGS] == {"top_k": 3}
    response = end[EventPayload.RESPONSE if "chat" in way else EventPayload.COMPLETION]
    assert (response.message.content if "chat" in way else response.text) == "one two three"
    assert (EventPayload.MESSAGES if "chat" in way else EventPayload.PROMPT) in start


@pytest.mark.parametrize(
    "answer",
    [error(400, "no"), error(500, "no"), Answer(before="close"), json_answer({"nonsense": 1})],
    ids=str,
)
@pytest.mark.parametrize("way", WAYS)
def test_one_start_and_one_end_of_a_call_that_fails(
    server: ScriptedServer, way: str, answer: Answer
) -> None:
    server.always(answer)
    listener = Listener()
    with instrumented() as (events, spans), pytest.raises(OPEAError) as caught:
        ask(way, llm(server, callback_manager=listener.manager))
    assert listener.counts == {"llm": (1, 1)}
    assert listener.ended[0][1][EventPayload.EXCEPTION] is caught.value
    assert [events.names.count(f"{_kind(way)}{end}Event") for end in ("Start", "End")] == [1, 0]
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", STREAMED)
def test_one_end_of_a_stream_that_breaks(server: ScriptedServer, way: str) -> None:
    server.always(_broken)
    listener = Listener()
    with instrumented() as (events, spans), pytest.raises(StreamInterrupted) as caught:
        ask(way, llm(server, callback_manager=listener.manager))
    assert listener.counts == {"llm": (1, 1)}
    assert listener.ended[0][1][EventPayload.EXCEPTION] is caught.value
    assert events.names.count("ExceptionEvent") == 1
    assert events.names.count(f"{_kind(way)}EndEvent") == 0
    assert spans.open_spans == {}


@pytest.mark.parametrize("way", ["stream_chat", "stream_complete"])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_one_end_of_an_abandoned_stream(server: ScriptedServer, way: str, how: str) -> None:
    server.always(stream(["a", "b", Hold(threading.Event()), "c"]))
    listener = Listener()
    responses = getattr(llm(server, callback_manager=listener.manager), way)(question(way))
    next(responses)
    if how == "closed":
        responses.close()
    del responses
    gc.collect()
    assert listener.counts == {"llm": (1, 1)}


@pytest.mark.parametrize("way", ["astream_chat", "astream_complete"])
async def test_one_end_of_an_abandoned_async_stream(server: ScriptedServer, way: str) -> None:
    server.always(stream(["a", "b", Hold(threading.Event()), "c"]))
    listener = Listener()
    responses = await getattr(llm(server, callback_manager=listener.manager), way)(question(way))
    await anext(responses)
    await responses.aclose()
    assert listener.counts == {"llm": (1, 1)}


async def test_one_end_of_a_cancelled_call(server: ScriptedServer) -> None:
    server.always(chat("x").after(Hold(threading.Event())))
    listener = Listener()
    call = asyncio.ensure_future(llm(server, callback_manager=listener.manager).acomplete("x"))
    await asyncio.to_thread(server.wait_seen, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert listener.counts == {"llm": (1, 1)}


def test_a_manager_that_is_taken_away_is_made_anew(server: ScriptedServer) -> None:
    made = llm(server)
    made.callback_manager = None  # type: ignore[assignment]
    assert made.complete("x").text
    assert isinstance(made.callback_manager, CallbackManager)


# --- instrumentation


@pytest.mark.parametrize("way", WHOLE)
def test_events_of_a_whole_answer(server: ScriptedServer, way: str) -> None:
    with instrumented() as (events, spans):
        ask(way, llm(server))
    assert events.names == [f"{_kind(way)}StartEvent", f"{_kind(way)}EndEvent"]
    assert spans.named(f"OPEALLM.{way}") == 1
    assert (spans.open_spans, spans.dropped_spans) == ({}, [])


@pytest.mark.parametrize("way", STREAMED)
def test_events_of_a_stream(server: ScriptedServer, way: str) -> None:
    server.always(counted)
    with instrumented() as (events, spans):
        responses = ask_all(way, llm(server))
    kind = _kind(way)
    assert events.names == [
        f"{kind}StartEvent",
        *[f"{kind}InProgressEvent"] * len(responses),
        f"{kind}EndEvent",
    ]
    assert spans.named(f"OPEALLM.{way}") == 1
    assert (spans.open_spans, spans.dropped_spans) == ({}, [])


@pytest.mark.parametrize("way", WAYS)
def test_spans_of_calls_that_fail_are_dropped(server: ScriptedServer, way: str) -> None:
    server.always(_broken)
    with instrumented() as (_, spans), pytest.raises((ServerError, StreamInterrupted)):
        ask(way, llm(server))
    assert spans.open_spans == {}
    assert spans.named(f"OPEALLM.{way}") == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_end_event_has_text_usage_and_finish_reason(server: ScriptedServer, way: str) -> None:
    server.always(counted)
    with instrumented() as (events, _):
        ask(way, llm(server))
    [end] = events.of(f"{_kind(way)}EndEvent")
    response = end.response
    assert (response.message.content if "chat" in way else response.text) == "one two three"
    assert {name: response.raw["usage"][name] for name in USAGE} == USAGE
    assert {name: response.additional_kwargs[name] for name in USAGE} == USAGE
    assert response.additional_kwargs["finish_reason"] == "stop"


@pytest.mark.parametrize("way", CHATS)
def test_the_end_event_has_the_tool_calls(server: ScriptedServer, way: str) -> None:
    call = tool_call("add", {"a": 1})
    server.always(
        lambda seen: (
            stream(
                [{"tool_calls": [{"index": 0, **call}]}], finish_reason="tool_calls", usage=USAGE
            )
            if seen.body.get("stream")
            else chat(None, tool_calls=[call], usage=USAGE)
        )
    )
    with instrumented() as (events, _):
        ask(way, llm(server))
    [end] = events.of("LLMChatEndEvent")
    assert [
        c["function"]["name"] for c in end.response.message.additional_kwargs["tool_calls"]
    ] == ["add"]
    assert end.response.additional_kwargs["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("name", [*WITH_TOOLS, *STRUCTURED])
def test_one_llm_event_for_each_request_with_tools_or_a_form(
    server: ScriptedServer, name: str
) -> None:
    listener = Listener()
    with instrumented() as (events, spans):
        (WITH_TOOLS | STRUCTURED)[name](llm(server, callback_manager=listener.manager))
    assert len(server.seen) == 1
    assert listener.counts["llm"] == (1, 1)
    assert [events.names.count(f"LLMChat{end}Event") for end in ("Start", "End")] == [1, 1]
    assert (spans.open_spans, spans.dropped_spans) == ({}, [])


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_events_are_balanced(server: ScriptedServer, name: str) -> None:
    with instrumented() as (events, spans):
        STRUCTURED[name](llm(server))
    assert [events.names.count(f"LLMStructuredPredict{end}Event") for end in ("Start", "End")] == [
        1,
        1,
    ]
    assert events.of("LLMStructuredPredictEndEvent")[0].output.name
    assert spans.named(f"OPEALLM.{name}") == 1


def test_usage_of_a_structured_answer_is_in_the_llm_event(server: ScriptedServer) -> None:
    server.always(chat('{"name": "Rome"}', usage=USAGE))
    with instrumented() as (events, _):
        llm(server).structured_predict(City, PromptTemplate("A city."))
    [end] = events.of("LLMChatEndEvent")
    assert end.response.raw["usage"]["total_tokens"] == 22


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_structured_answer_that_fails_leaves_no_span(server: ScriptedServer, name: str) -> None:
    server.always(error(401, "no"))
    listener = Listener()
    with instrumented() as (_, spans), pytest.raises(OPEAError):
        STRUCTURED[name](llm(server, callback_manager=listener.manager))
    assert spans.open_spans == {}
    assert listener.counts == {"llm": (1, 1)}


# --- predict


@pytest.mark.parametrize("way", ["predict", "apredict", "stream", "astream"])
def test_predict_tells_the_llm_events_once(server: ScriptedServer, way: str) -> None:
    server.always(says())
    listener = Listener()
    made = llm(server, callback_manager=listener.manager, system_prompt="Be brief.")
    assert _predicted(way, made) == "yes"
    assert listener.counts["llm"] == (1, 1)
    assert [message["role"] for message in server.seen[-1].body["messages"]] == ["system", "user"]


def _predicted(way: str, made: OPEALLM) -> str:
    prompt = PromptTemplate("{x}")
    if way == "predict":
        return made.predict(prompt, x="x")
    if way == "apredict":
        return asyncio.run(made.apredict(prompt, x="x"))
    if way == "stream":
        return "".join(made.stream(prompt, x="x"))

    async def collected() -> str:
        return "".join([token async for token in await made.astream(prompt, x="x")])

    return asyncio.run(collected())


# --- embeddings and rerank


@pytest.mark.parametrize("answer", [None, error(400, "no")], ids=["well", "failed"])
@pytest.mark.parametrize(
    "name", ["get_text_embedding", "get_query_embedding", "get_text_embedding_batch"]
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_embedding_events_are_balanced(
    server: ScriptedServer, name: str, asynchronous: bool, answer: Answer | None
) -> None:
    server.always(answer)
    listener = Listener()
    made = embedding(server, callback_manager=listener.manager)
    given: Any = ["x"] if name.endswith("batch") else "x"
    with instrumented() as (events, spans):
        try:
            asyncio.run(getattr(made, f"a{name}")(given)) if asynchronous else getattr(made, name)(
                given
            )
        except OPEAError:
            assert answer is not None
    ended = int(answer is None)
    assert listener.counts == {"embedding": (1, 1)}
    assert events.names == ["EmbeddingStartEvent", *["EmbeddingEndEvent"] * ended]
    assert spans.open_spans == {}


@pytest.mark.parametrize("answer", [ranked((0, 1.0)), error(400, "no")], ids=["well", "failed"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_rerank_events_are_balanced(
    server: ScriptedServer, asynchronous: bool, answer: Answer
) -> None:
    server.always(answer)
    listener = Listener()
    made = reranker(server, callback_manager=listener.manager)
    with instrumented() as (events, spans):
        try:
            if asynchronous:
                asyncio.run(made.apostprocess_nodes(NODES, query_str="q"))
            else:
                made.postprocess_nodes(NODES, query_str="q")
        except OPEAError:
            assert answer.status == 400
    assert listener.counts == {"reranking": (1, 1)}
    assert events.names == ["ReRankStartEvent", *["ReRankEndEvent"] * (answer.status == 200)]
    assert spans.open_spans == {}


def test_the_types_of_callback_events(server: ScriptedServer) -> None:
    listener = Listener()
    server.script(ranked((0, 1.0)))
    reranker(server, callback_manager=listener.manager).postprocess_nodes(NODES, query_str="q")
    embedding(server, callback_manager=listener.manager).get_text_embedding("x")
    llm(server, callback_manager=listener.manager).complete("x")
    assert [kind for kind, _, _ in listener.started] == [
        CBEventType.RERANKING,
        CBEventType.EMBEDDING,
        CBEventType.LLM,
    ]
