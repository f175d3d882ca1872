"""Streams that end otherwise than they should: left early, cut off, failed, empty."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelError,
    ModelRateLimitError,
)
from lc_asking import STREAMED, WAYS, WHOLE, ModelWith, beta
from lc_shapes import SSE, events
from lc_shapes_tools import entry

from langchain_opea import ChatOPEA
from langchain_opea.errors import OPEAStreamInterrupted
from opea_core import StreamInterrupted
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    chat,
    chunk,
    html,
    json_answer,
    sse,
    stream,
)

FIRST = {"role": "assistant", "content": "Hel"}


class Heard(BaseCallbackHandler):
    """What a handler was told."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.errors: list[BaseException] = []
        self.ends: list[Any] = []

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.errors.append(error)

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.ends.append(response)


# --- left early


@pytest.fixture
def model(server: ScriptedServer, model_with: ModelWith) -> Iterator[ChatOPEA]:
    """A model with one place whose answer begins and does not end."""
    never = threading.Event()
    server.script(stream(["Hel", Hold(never), "lo"]))
    yield model_with(max_concurrent=1)
    never.set()


def _left(model: ChatOPEA, server: ScriptedServer) -> bool:
    """Whether the server was told, and the next call has the place."""
    server.wait(lambda: server.seen[0].disconnected)
    return model.invoke("next", deadline=5).text != ""


def test_a_loop_that_is_left_closes_the_connection(server: ScriptedServer, model: ChatOPEA) -> None:
    for piece in model.stream("Hi"):
        assert piece.text == "Hel"
        break

    assert _left(model, server)


def test_a_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    pieces: Any = model.stream("Hi")
    next(pieces)

    pieces.close()

    assert _left(model, server)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_handlers_are_told_that_a_stream_was_left(
    server: ScriptedServer, model: ChatOPEA, version: str
) -> None:
    heard = Heard()
    pieces: Any = model.model_copy(update={"output_version": version}).stream(
        "Hi", config={"callbacks": [heard]}
    )
    next(pieces)

    pieces.close()

    assert _left(model, server)
    assert [type(error) for error in heard.errors] == [GeneratorExit]
    assert len(heard.tokens) == 1


def test_an_error_in_the_loop_closes_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    def read() -> None:
        for _ in model.stream("Hi"):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        read()

    assert _left(model, server)


async def test_an_async_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    pieces: Any = model.astream("Hi")
    await anext(pieces)

    await pieces.aclose()

    assert await asyncio.to_thread(_left, model, server)


async def test_an_async_loop_that_is_left_closes_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    async for _ in model.astream("Hi"):
        break

    assert await asyncio.to_thread(_left, model, server)


async def test_a_cancelled_task_closes_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("Hi"):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(_left, model, server)


async def test_async_events_that_are_closed_close_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    with beta():
        async with await model.astream_events("Hi", version="v3") as events:
            async for text in events.text:
                assert text == "Hel"
                break

    assert await asyncio.to_thread(_left, model, server)


async def test_events_of_version_2_that_are_closed_close_the_connection(
    server: ScriptedServer, model: ChatOPEA
) -> None:
    events: Any = model.astream_events("Hi", version="v2")
    async for event in events:
        if event["event"] == "on_chat_model_stream":
            break
    await events.aclose()

    assert await asyncio.to_thread(_left, model, server)


# --- cut off

CUT = sse(
    chunk({"reasoning": "Hm."}),
    chunk(FIRST),
    chunk({"tool_calls": [entry(0, "a", "f", '{"x"')]}),
    done=False,
)
CUTS = {"ended early": CUT, "cut": CUT.replace(end="cut"), "reset": CUT.replace(end="reset")}


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_that_is_cut_off_raises_with_what_came(
    server: ScriptedServer, cut: str, way: str
) -> None:
    server.script(CUTS[cut])

    with pytest.raises(OPEAStreamInterrupted) as caught:
        STREAMED[way](server)

    assert isinstance(caught.value, ModelAPIError)
    assert isinstance(caught.value, StreamInterrupted)
    assert caught.value.is_retryable
    assert caught.value.partial is not None
    assert (caught.value.partial.content, caught.value.partial.reasoning) == ("Hel", "Hm.")
    assert [call.name for call in caught.value.partial.invalid_tool_calls] == ["f"]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_what_came_before_the_cut_was_handed_out(
    server: ScriptedServer, model_with: ModelWith, version: str
) -> None:
    server.script(CUT)
    texts: list[str] = []

    with pytest.raises(OPEAStreamInterrupted):
        texts.extend(piece.text for piece in model_with(output_version=version).stream("Hi"))

    assert "".join(texts) == "Hel"


def test_handlers_are_told_of_a_cut_with_what_came(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(sse(chunk(FIRST), done=False))
    heard = Heard()

    with pytest.raises(OPEAStreamInterrupted) as caught:
        list(model_with().stream("Hi", config={"callbacks": [heard]}))

    assert heard.errors == [caught.value]
    assert heard.ends == []


def test_a_stream_that_broke_after_its_first_piece_is_not_asked_for_again(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(CUT, chat("again"))

    with pytest.raises(OPEAStreamInterrupted):
        list(model_with(max_retries=3, retry=None).stream("Hi"))

    assert len(server.seen) == 1


def test_a_stream_that_broke_before_its_first_piece_is_asked_for_again(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(sse(chunk({"role": "assistant"}), done=False), stream(["Hello"]))

    pieces = list(model_with(max_retries=1, initial_retry_delay=0, retry=None).stream("Hi"))

    assert "".join(piece.text for piece in pieces) == "Hello"


# --- errors inside a 200

Failure = Callable[[], Answer]
WENT_AWAY = {"error": {"message": "Provider went away", "code": 502}}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 10 tokens",
        "code": "context_length_exceeded",
    }
}
AFTER_TEXT: dict[str, tuple[Answer, str]] = {
    "an error": (sse(chunk(FIRST), WENT_AWAY, done=False), "Provider went away"),
    "an error beside choices": (
        sse(chunk(FIRST), chunk({"content": ""}) | {"error": {"code": 400, "message": "Limit"}}),
        "Limit",
    ),
    "an error event": (
        events(
            b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n',
            (
                b'event: error\ndata: {"error":{"message":"Tool call '
                b'failed","code":"tool_use_failed","status_code":400}}\n\n'
            ),
        ),
        "Tool call failed",
    ),
    "an error field": (
        events(
            b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n',
            b'error: {"detail":"decode failed","error":{"message":"out of it"}}\n\n',
        ),
        "out of it",
    ),
    "LM Studio's": (
        sse(chunk(FIRST), {"error": {"message": "Compute error."}, "message": "Compute error."}),
        "Compute error",
    ),
    "finish reason error": (sse(chunk(FIRST), chunk({}, "error")), "gave up"),
    "finish reason abort": (sse(chunk(FIRST), chunk({}, "abort")), "gave up"),
    "no JSON": (sse(chunk(FIRST), "oops"), "no JSON"),
    "too long": (sse(chunk(FIRST), TOO_LONG), "maximum context length"),
}
AT_ONCE: dict[str, tuple[Answer, type[ModelError]]] = {
    "an error": (sse(WENT_AWAY, done=False), ModelAPIError),
    "a full context": (sse(TOO_LONG), ContextOverflowError),
    "a rate limit": (sse({"error": {"message": "Slow down", "code": 429}}), ModelRateLimitError),
    "an error in a plain body": (json_answer(WENT_AWAY), ModelAPIError),
    "finish reason error": (sse(chunk({}, "error")), ModelAPIError),
    "a page": (html(text="<html><title>Log in</title></html>"), ModelAPIError),
    "a page that calls itself JSON": (
        html().replace(headers={"content-type": "application/json"}),
        ModelAPIError,
    ),
    "nothing": (Answer(200, SSE, (b"",)), ModelAPIError),
    "only space": (Answer(200, SSE, (b"\n \n",)), ModelAPIError),
    "only an end": (sse(), ModelAPIError),
    "only a role": (sse(chunk({"role": "assistant"})), ModelAPIError),
    "no choices": (json_answer({"id": "x", "choices": []}), ModelAPIError),
    "no answer at all": (json_answer({"status": "ok"}), ModelAPIError),
    "a call without a name": (
        sse(chunk({"tool_calls": [entry(0, "a", None, "{}")]}, "tool_calls")),
        ModelAPIError,
    ),
}


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("name", AFTER_TEXT)
def test_an_error_after_text_raises_with_the_text(
    server: ScriptedServer, name: str, way: str
) -> None:
    answer, says = AFTER_TEXT[name]
    server.script(answer)

    with pytest.raises(OPEAStreamInterrupted, match=says) as caught:
        STREAMED[way](server)

    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hel"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", AT_ONCE)
def test_an_answer_that_is_none_raises(server: ScriptedServer, name: str, way: str) -> None:
    answer, expected = AT_ONCE[name]
    server.script(answer)

    with pytest.raises(expected):
        WAYS[way](server)


@pytest.mark.parametrize("way", WHOLE)
def test_a_plain_answer_that_is_cut_off_raises(server: ScriptedServer, way: str) -> None:
    server.script(chat("Hello").replace(length=10_000, end="cut"))

    with pytest.raises(ModelError):
        WHOLE[way](server)
