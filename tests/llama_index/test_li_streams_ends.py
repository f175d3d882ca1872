"""Streams that end otherwise than they should: left early, cut off, failed, refused."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from li_asking import HI, STREAMS, WAYS, LLMWith, last_of, responses_of
from llama_index.core.tools import FunctionTool

from llama_index_opea import OPEALLM
from llama_index_opea.testing.watching import watching
from opea_core import OPEAError, StreamInterrupted
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    chat,
    chunk,
    error,
    html,
    json_answer,
    sse,
    stream,
)

SSE = {"content-type": "text/event-stream"}
FIRST = {"role": "assistant", "content": "Hel"}


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


TOOL = FunctionTool.from_defaults(add)

# --- left early


@pytest.fixture
def slow(server: ScriptedServer, llm_with: LLMWith) -> Iterator[OPEALLM]:
    """An LLM with one place whose answer begins and does not end."""
    never = threading.Event()
    server.script(stream(["Hel", Hold(never), "lo"]))
    yield llm_with(max_concurrent=1)
    never.set()


def _left(llm: OPEALLM, server: ScriptedServer) -> bool:
    """Whether the server was told, and the next call has the place."""
    server.wait(lambda: server.seen[0].disconnected)
    return bool(llm.complete("next", deadline=5).text)


async def _aleft(llm: OPEALLM, server: ScriptedServer) -> bool:
    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)
    return bool((await llm.acomplete("next", deadline=5)).text)


def _begun(way: str, llm: OPEALLM) -> Any:
    if way == "stream_chat_with_tools":
        return llm.stream_chat_with_tools([TOOL], "Hi")
    return llm.stream_chat(HI) if way == "stream_chat" else llm.stream_complete("Hi")


async def _abegun(way: str, llm: OPEALLM) -> Any:
    if way == "stream_chat_with_tools":
        return await llm.astream_chat_with_tools([TOOL], "Hi")
    return await (llm.astream_chat(HI) if way == "stream_chat" else llm.astream_complete("Hi"))


BEGUN = pytest.mark.parametrize("way", ["stream_chat", "stream_complete", "stream_chat_with_tools"])


@BEGUN
def test_a_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    responses = _begun(way, slow)
    next(responses)

    responses.close()

    assert _left(slow, server)


@BEGUN
def test_a_loop_that_is_left_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    for response in _begun(way, slow):
        assert response.delta == "Hel"
        break

    assert _left(slow, server)


@BEGUN
def test_a_stream_that_is_dropped_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    responses = _begun(way, slow)
    next(responses)

    del responses
    gc.collect()

    assert _left(slow, server)


@BEGUN
async def test_an_async_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    responses = await _abegun(way, slow)
    await anext(responses)

    await responses.aclose()

    assert await _aleft(slow, server)


@BEGUN
async def test_an_async_loop_that_is_left_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    async for response in await _abegun(way, slow):
        assert response.delta == "Hel"
        break

    assert await _aleft(slow, server)


@BEGUN
async def test_an_async_task_that_is_cancelled_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM, way: str
) -> None:
    first = asyncio.Event()

    async def read() -> None:
        async for _response in await _abegun(way, slow):
            first.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(first.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await _aleft(slow, server)


def test_an_error_of_the_reader_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM
) -> None:
    def read() -> None:
        for _response in slow.stream_chat(HI):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()

    assert _left(slow, server)


# --- cut off and failed

CUT: dict[str, tuple[Answer, str]] = {
    "no end mark": (sse(chunk(FIRST), chunk({"content": "lo"}), done=False), "Hello"),
    "connection cut": (stream(["Hel", "lo"], finish_reason=None, done=False, end="cut"), "Hello"),
    "an error": (
        sse(chunk(FIRST), {"error": {"message": "Provider went away", "code": 502}}, done=False),
        "Hel",
    ),
    "an error beside choices": (
        sse(chunk(FIRST), {"error": {"message": "Limit", "code": 400}, **chunk({"content": ""})}),
        "Hel",
    ),
    "an error event": (
        sse(chunk(FIRST), b'event: error\ndata: {"error":{"message":"no"}}\n\n'),
        "Hel",
    ),
    "an error field": (sse(chunk(FIRST), b'error: {"error":{"message":"no"}}\n\n'), "Hel"),
    "an error text": (sse(chunk(FIRST), {"error": "no"}), "Hel"),
    "finish reason error": (sse(chunk(FIRST), chunk({}, "error")), "Hel"),
    "finish reason abort": (sse(chunk(FIRST), chunk({}, "abort")), "Hel"),
    "no JSON": (sse(chunk(FIRST), b"data: <html>\n\n"), "Hel"),
    "an error after usage": (
        sse(
            chunk(FIRST),
            {"choices": [], "usage": {"total_tokens": 1}},
            {"error": {"message": "no"}},
        ),
        "Hel",
    ),
}


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("name", CUT)
def test_what_came_before_the_end_is_on_the_error(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    answer, text = CUT[name]
    server.script(answer)

    with pytest.raises(StreamInterrupted) as caught:
        responses_of(way, llm)

    assert caught.value.partial is not None
    assert caught.value.partial.content == text


def test_responses_before_the_cut_are_handed_on(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(CUT["an error"][0])
    responses = llm.stream_chat(HI)

    assert next(responses).message.content == "Hel"
    with pytest.raises(StreamInterrupted):
        next(responses)


@pytest.mark.parametrize("way", STREAMS)
def test_a_cut_stream_is_not_asked_for_again(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(CUT["connection cut"][0])

    with pytest.raises(StreamInterrupted):
        responses_of(way, llm_with(retry=None, max_retries=3, initial_retry_delay=0.0))

    assert len(server.seen) == 1


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_that_fails_before_its_first_word_is_tried_again(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(
        sse(done=False), sse({"error": {"message": "busy", "code": 503}}), stream(["Hello"])
    )

    responses = responses_of(way, llm_with(retry=None, max_retries=3, initial_retry_delay=0.0))

    assert "".join(response.delta for response in responses) == "Hello"
    assert len(server.seen) == 3


# --- refused: the same error as the core's, whatever way one asks

FAILED: dict[str, Answer] = {
    "401": error(401, "no key"),
    "402": error(402, "pay"),
    "403": error(403, "no"),
    "404": error(404, "no such model"),
    "400": error(400, "no"),
    "413": error(413, "too long"),
    "422": json_answer({"detail": [{"loc": ["body", "x"], "msg": "m", "type": "t"}]}, 422),
    "context": error(400, "maximum context length is 10 tokens", code="context_length_exceeded"),
    "429": error(429, "slow down"),
    "quota": error(429, "no money", code="insufficient_quota"),
    "500": error(500, "no"),
    "500 of llama.cpp": json_answer(
        {"error": {"code": 500, "message": "tools param requires --jinja", "type": "server_error"}},
        500,
    ),
    "503": error(503, "loading"),
    "HTML": html(),
    "HTML 502": html(502),
    "empty": Answer(200, {"content-type": "application/json"}, (b"",)),
    "broken JSON": Answer(200, {"content-type": "application/json"}, (b'{"choices": [',)),
    "error at 200": json_answer({"error": {"message": "filtered", "code": "content_filter"}}),
    "no choices": json_answer({"choices": []}),
    "choices null": json_answer({"choices": None}),
    "nothing in it": json_answer({}),
    "a text": json_answer("no"),
    "error text": json_answer({"error": "no"}, 400),
    "a list": json_answer([{"error": {"message": "m", "code": 400}}], 400),
    "no body": Answer(500),
    "no answer": Answer(before="close"),
    "reset": Answer(before="reset"),
    "redirect": Answer(307, {"location": "http://example.test/"}),
    "nothing but [DONE]": sse(),
    "no event at all": Answer(200, SSE, (b"",), length="chunked"),
    "only comments": Answer(200, SSE, (b": hi\n\n",), length="chunked"),
    "an error first": sse({"error": {"message": "no", "code": 429}}),
    "a call without a name": sse(
        chunk(
            {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{}"}}]}, "tool_calls"
        )
    ),
}


def _core_error(llm: OPEALLM, is_stream: bool) -> type[BaseException] | None:
    try:
        if is_stream:
            list(llm.client.stream_chat("Hi"))
        else:
            llm.client.chat("Hi")
    except OPEAError as error:
        return type(error)
    return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAILED)
def test_an_error_is_the_same_as_the_cores(
    server: ScriptedServer, llm_with: LLMWith, name: str, way: str
) -> None:
    server.always(FAILED[name])
    expected = _core_error(llm_with(), "stream" in way)

    assert expected is not None
    with pytest.raises(OPEAError) as caught:
        last_of(way, llm_with())
    assert type(caught.value) is expected


@pytest.mark.parametrize("way", ["chat", "stream_chat"])
def test_an_error_names_the_server_and_its_words(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.always(error(404, "model gpt not found"))

    with pytest.raises(OPEAError, match="model gpt not found") as caught:
        last_of(way, llm)

    assert caught.value.url == f"{server.url}/chat/completions"


# --- events


@pytest.mark.parametrize("way", STREAMS)
def test_the_events_of_a_cut_stream_are_balanced(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(CUT["connection cut"][0])

    with watching(llm) as watch, pytest.raises(StreamInterrupted):
        responses_of(way, llm)

    assert len(watch.started) == len(watch.ended) == 1


def test_one_answer_after_a_failed_one(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(CUT["connection cut"][0], chat("Hello"))

    with pytest.raises(StreamInterrupted):
        responses_of("stream_chat", llm)

    assert llm.chat(HI).message.content == "Hello"
