"""What is no answer at all, and answers that break off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core import exceptions as lc
from langchain_core.messages import AIMessageChunk
from lc_object_support import WAYS, Listener, ask, made

import opea_core as core
from langchain_opea import ChatOPEA, errors
from opea_core.testing import Answer, ScriptedServer, chat, chunk, html, json_answer, sse, stream

LOGIN = html(
    text="<html><head><title>Sign in to Corp Portal</title></head><body><form></form></body></html>"
)
PLAIN = Answer(200, {"content-type": "text/plain"}, (b"Ollama is running",))
NOTHING = {
    "no bytes": Answer(200, {"content-type": "application/json"}, (b"",)),
    "blanks": Answer(200, {"content-type": "application/json"}, (b"   \n\n  ",)),
    "no choices": json_answer({"id": "1", "object": "chat.completion", "choices": []}),
    "choices null": json_answer({"id": "1", "object": "chat.completion", "choices": None}),
    "an empty object": json_answer({}),
    "an empty list": json_answer([]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_at_200_is_an_error_that_tells_its_title(server: ScriptedServer, way: str) -> None:
    server.script(LOGIN)
    with pytest.raises(lc.ModelAPIError, match="HTML") as caught:
        ask(way, made(server))
    assert isinstance(caught.value, core.BadAnswerError)
    assert "Sign in to Corp Portal" in str(caught.value)
    assert "/v1" in str(caught.value).splitlines()[1]


@pytest.mark.parametrize("way", WAYS)
def test_a_page_at_200_is_shown_to_callbacks(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    server.script(LOGIN)
    with pytest.raises(lc.ModelAPIError):
        ask(way, made(server), config=listener.config)
    metadata = listener.response.generations[0][0].message.response_metadata
    assert metadata["status_code"] == 200
    assert "Sign in to Corp Portal" in metadata["body"]


@pytest.mark.parametrize("way", WAYS)
def test_text_that_is_no_answer_is_quoted(server: ScriptedServer, way: str) -> None:
    server.script(PLAIN)
    with pytest.raises(lc.ModelAPIError, match="Ollama is running"):
        ask(way, made(server))


@pytest.mark.parametrize("way", WAYS)
def test_broken_json_is_an_error(server: ScriptedServer, way: str) -> None:
    server.script(
        Answer(
            200,
            {"content-type": "application/json"},
            (b'{"choices": [{"message": {"content": "Hel',),
        )
    )
    with pytest.raises(lc.ModelAPIError) as caught:
        ask(way, made(server))
    assert isinstance(caught.value, core.BadAnswerError)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", NOTHING)
def test_nothing_is_an_error_not_an_empty_message(
    server: ScriptedServer, case: str, way: str
) -> None:
    server.script(NOTHING[case])
    with pytest.raises(lc.ModelAPIError, match=r"empty|no choices") as caught:
        ask(way, made(server))
    assert isinstance(caught.value, core.BadAnswerError)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_of_nothing_is_an_error(server: ScriptedServer, way: str) -> None:
    server.script(sse())
    with pytest.raises(lc.ModelAPIError, match="empty"):
        ask(way, made(server))


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_asked_for_again(server: ScriptedServer, way: str) -> None:
    good = chat("Hello") if way.endswith("invoke") else stream(["Hello"])
    server.script(NOTHING["no choices"], good)
    assert ask(way, made(server, max_retries=1, initial_retry_delay=0)).text == "Hello"


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_path_answered_with_200_is_not_found(server: ScriptedServer, way: str) -> None:
    server.script(json_answer({"error": "Unexpected endpoint or method. (POST /chat/completions)"}))
    with pytest.raises(lc.ModelNotFoundError):
        ask(way, made(server))


# --- streams that break off


BROKEN = {
    "cut": stream(["Hel", "lo"], finish_reason=None, done=False, end="cut"),
    "reset": stream(["Hel", "lo"], finish_reason=None, done=False, end="reset"),
    "closed without an end mark": stream(
        ["Hel", "lo"], finish_reason=None, done=False, end="close"
    ),
    "an error inside": sse(
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        {"error": {"message": "gone", "code": 502}},
    ),
    "finish_reason error": sse(
        chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "error")
    ),
}


def _pieces(
    way: str, model: ChatOPEA, config: Any = None
) -> tuple[list[AIMessageChunk], Exception]:
    """The chunks that came, and the error that ended them."""
    found: list[Any] = []
    with pytest.raises(core.OPEAError) as caught:
        _drain(model, config, found) if way == "stream" else asyncio.run(
            _adrain(model, config, found)
        )
    return found, caught.value


def _drain(model: ChatOPEA, config: Any, into: list[Any]) -> None:
    into.extend(model.stream("x", config))


async def _adrain(model: ChatOPEA, config: Any, into: list[Any]) -> None:
    async for piece in model.astream("x", config):
        into.append(piece)  # noqa: PERF401 - what came before the error counts


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_stream_that_breaks_off_raises_after_what_came(
    server: ScriptedServer, case: str, way: str
) -> None:
    server.script(BROKEN[case])
    pieces, found = _pieces(way, made(server, max_retries=2))
    assert "".join(str(piece.text) for piece in pieces) == "Hello"
    assert isinstance(found, errors.OPEAStreamInterrupted)
    assert isinstance(found, lc.ModelAPIError)
    assert found.is_retryable is True
    assert found.partial is not None
    assert found.partial.content == "Hello"
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("case", BROKEN)
def test_invoke_that_streams_never_takes_half_for_the_whole(
    server: ScriptedServer, case: str, way: str
) -> None:
    server.script(BROKEN[case])
    with pytest.raises(lc.ModelAPIError):
        ask(way, made(server, streaming=True))


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_callbacks_get_what_had_come(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    server.script(BROKEN["cut"])
    _, found = _pieces(way, made(server), listener.config)
    assert listener.error is found
    assert any(
        "Hello" in str(generation.text)
        for generations in listener.response.generations
        for generation in generations
    )


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_an_error_before_the_first_piece_is_retried(server: ScriptedServer, way: str) -> None:
    server.script(sse({"error": {"message": "busy", "code": 503}}), stream(["Hello"]))
    assert ask(way, made(server, max_retries=1, initial_retry_delay=0)).text == "Hello"
