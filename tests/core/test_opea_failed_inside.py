"""Errors inside of answers that say 200, and errors that no second try helps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Way, made

from opea_core import (
    AuthenticationError,
    InvalidRequestError,
    OPEAError,
    QuotaExceeded,
    RateLimited,
    ServerError,
)
from opea_core.testing import Answer, ScriptedServer
from opea_core.types import Json


def plain(document: Any, status: int = 200) -> Answer:
    return Answer(status=status, steps=(json.dumps(document).encode(),))


def events(*documents: Any, done: bool = True) -> Answer:
    data = b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)
    return Answer(
        headers={"content-type": "text/event-stream"},
        steps=(data + (b"data: [DONE]\n\n" if done else b""),),
    )


def choice(reason: str | None, content: str = "half", **more: Any) -> Json:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": reason,
        **more,
    }


def failed(error: Json) -> Json:
    return {"id": "g", "choices": [choice("error", "", error=error)]}


@pytest.mark.parametrize(
    ("document", "cls", "words", "requests"),
    [
        (
            failed({"code": 502, "message": "Upstream overloaded"}),
            ServerError,
            "Upstream overloaded",
            2,
        ),
        (failed({"code": 400, "message": "Bad picture"}), InvalidRequestError, "Bad picture", 1),
        (
            {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}},
            AuthenticationError,
            "login fail",
            1,
        ),
        (
            {
                "choices": [],
                "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
            },
            QuotaExceeded,
            "balance",
            1,
        ),
        ({"error": {"message": "Too many requests, slow down"}}, RateLimited, "slow down", 2),
        (
            {"error": {"message": "Invalid params: no messages"}},
            InvalidRequestError,
            "no messages",
            1,
        ),
    ],
)
def test_an_error_in_any_place_is_the_calls(
    way: Way,
    server: ScriptedServer,
    document: Json,
    cls: type[OPEAError],
    words: str,
    requests: int,
) -> None:
    server.always(plain(document))
    told = way.ask(made(server, max_retries=1, retry={"initial_delay": 0.001}), "chat", "Hello")
    assert (type(told.error), words in str(told.error), len(server.seen)) == (cls, True, requests)


def test_an_error_in_a_choice_of_a_stream_keeps_what_came(way: Way, server: ScriptedServer) -> None:
    error = {"code": 502, "message": "Upstream overloaded"}
    broken = {
        "choices": [
            {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": error}
        ]
    }
    server.always(events({"choices": [{"index": 0, "delta": {"content": "half"}}]}, broken))
    told = way.ask(made(server), "stream_chat", "Hello")
    assert told.error is not None
    assert "Upstream overloaded" in str(told.error)
    assert told.error.partial is not None
    assert told.error.partial.content == "half"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("model_context_window_exceeded", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_call", "tool_calls"),
        ("end_turn", "stop"),
        ("sensitive", "content_filter"),
        ("eco_mode", "eco_mode"),
    ],
)
def test_a_finish_reason_is_read_by_its_kind(server: ScriptedServer, raw: str, kind: str) -> None:
    server.always(plain({"choices": [choice(raw)]}))
    assert made(server).chat("Hello").finish_reason == kind


@pytest.mark.parametrize("reason", ["network_error", "engine_timeout", "aborted", "failed"])
def test_a_finish_reason_that_says_it_broke_is_no_answer(
    server: ScriptedServer, reason: str
) -> None:
    server.always(plain({"choices": [choice(reason)]}))
    with pytest.raises(ServerError, match=reason):
        made(server, max_retries=0).chat("Hello")


def test_a_stream_whose_server_gives_fewer_answers_is_whole(
    way: Way, server: ScriptedServer
) -> None:
    server.always(
        events(
            {"choices": [{"index": 0, "delta": {"content": "one"}, "finish_reason": "stop"}]},
            done=False,
        )
    )
    told = way.ask(made(server), "stream_chat", "Hello", n=3)
    assert told.error is None
    assert "1 of 3 answers came (n was ignored)" in told.response.warnings


def test_text_that_is_said_in_two_places_counts_once(server: ScriptedServer) -> None:
    server.always(
        events(
            {
                "choices": [
                    {"index": 0, "text": "a", "delta": {"content": "a"}, "finish_reason": "stop"}
                ]
            }
        )
    )
    with made(server).stream_chat("Hello") as stream:
        assert "".join(chunk.content for chunk in stream) == "a"


@pytest.mark.parametrize(
    "words",
    [
        "image input is not supported by this model",
        "Failed to compile grammar: x",
        "Jinja Exception: no tools here",
    ],
)
def test_what_cannot_work_is_asked_for_once(server: ScriptedServer, words: str) -> None:
    server.always(plain({"error": {"message": words}}, 500))
    with pytest.raises(ServerError):
        made(server, retry={"initial_delay": 0.001}).chat("Hello")
    assert len(server.seen) == 1


def test_a_batch_that_is_refused_says_which_texts_are_blank(
    way: Way, server: ScriptedServer
) -> None:
    server.always(plain({"error": {"message": "input must not be blank"}}, 400))
    told = way.ask(made(server), "embed", ["a", "", "b", " "])
    assert "counted from 0: 1, 3." in str(told.error)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Error code: 400 - 16022 tokens, the maximum context length is 8192 tokens.",
            "16,022 tokens asked, 8,192 possible",
        ),
        ("This model's maximum context length is 8192 tokens.", 'tokens")'),
    ],
)
def test_a_status_is_no_number_of_tokens(server: ScriptedServer, message: str, words: str) -> None:
    server.always(plain({"error": {"message": message}}, 400))
    with pytest.raises(OPEAError) as caught:
        made(server).chat("Hello")
    assert words in str(caught.value)
    assert '.".' not in str(caught.value)


def test_a_status_without_words_says_so(server: ScriptedServer) -> None:
    server.always(Answer(status=503, steps=(b"",)))
    with pytest.raises(ServerError, match=r"503 from .*: it gives no reason"):
        made(server, max_retries=0).chat("Hello")


def test_a_server_without_ranking_is_not_asked_for_its_base_url(server: ScriptedServer) -> None:
    server.always(plain({"detail": "Not Found"}, 404))
    with pytest.raises(OPEAError) as caught:
        made(server).rerank("q", ["a"])
    assert "rank no documents" in str(caught.value)
    assert "base URL" not in str(caught.value)
