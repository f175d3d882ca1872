"""What errors say: what happened and where, then what to do, then how often it was tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from asking import Sync, Way, made

from opea_core import OPEA, BreakerPolicy, Timeouts, errors
from opea_core.flow import prepare
from opea_core.testing import Answer, ScriptedServer, error, html, json_answer, stream

OVERFLOW = (
    "This model's maximum context length is 32768 tokens. However, you requested 41210 tokens."
)
NO_MODEL = error(
    404, 'model "gpt-3.5-turbo" not found, try pulling it first', code="model_not_found"
)


def model_list(*names: str) -> Callable[[Any], Any]:
    """A server that has these models, and never the one that is asked for."""
    return lambda seen: (
        json_answer({"data": [{"id": name} for name in names]})
        if seen.method == "GET"
        else NO_MODEL
    )


def lines(told: Any) -> list[str]:
    """The text of the error with the port of the day as 8000."""
    assert isinstance(told.error, errors.OPEAError), repr(told)
    return re.sub(r"127\.0\.0\.1:\d+", "localhost:8000", str(told.error)).splitlines()


def test_nothing_answers(way: Way, server: ScriptedServer) -> None:
    server.pause()
    first, second = lines(
        way.ask(made(server), "chat", "Hello")
    )  # no request reached anybody: there is no id to name
    assert re.fullmatch(
        (
            r"Nothing answers at http://localhost:8000 \(connection refused, 4 attempts in "
            r"\d+\.\d s\)\."
        ),
        first,
    )
    assert second == (
        "Is the server running? Usual addresses: Ollama http://localhost:11434, LM "
        "Studio :1234, vLLM :8000, llama.cpp :8080. "
        "Set base_url= or OPEA_API_URL."
    )


def original(server: ScriptedServer) -> OPEA:
    """An object of the original's form, which has the original's model."""
    return OPEA(metadata={"opea_api_url": server.url})


def test_the_server_does_not_have_the_default_model(way: Way, server: ScriptedServer) -> None:
    server.always(model_list("llama3.2", "qwen3:8b"))
    first, second, last = lines(way.ask(original(server), "chat", "Hello"))
    assert first.startswith(
        'http://localhost:8000/v1 has no model "gpt-3.5-turbo" (the default, none was given)'
    )
    assert second == (
        'It serves: llama3.2, qwen3:8b. Pass model="llama3.2", or load the missing one '
        "on the server."
    )
    assert re.match(r"1 attempt in \d+\.\d s, request id \w+\.", last)


def test_the_server_does_not_have_a_model_that_was_given(way: Way, server: ScriptedServer) -> None:
    server.always(model_list("llama3.2"))
    told = way.ask(OPEA(server.url, label="ollama"), "chat", "Hello", model="big")
    assert lines(told)[0].startswith('ollama (http://localhost:8000/v1) has no model "big"')
    assert "the default" not in str(told.error)


def test_a_long_list_of_models_is_cut(way: Way, server: ScriptedServer) -> None:
    server.always(model_list(*(f"model-{number}" for number in range(30))))
    text = lines(way.ask(OPEA(server.url, model="m"), "chat", "Hello"))[1]
    assert "model-9, ..." in text
    assert "model-10" not in text


@pytest.mark.parametrize(
    "listing",
    [error(500, "oops"), html(), error(404, "no"), Answer(before="reset")],
    ids=["500", "HTML", "404", "reset"],
)
def test_a_list_that_does_not_come_does_no_harm(
    way: Way, server: ScriptedServer, listing: Answer
) -> None:
    server.always(lambda seen: listing if seen.method == "GET" else NO_MODEL)
    told = way.ask(OPEA(server.url, model="m", breaker=BreakerPolicy(min_calls=1)), "chat", "Hello")
    assert type(told.error) is errors.NotFoundError
    assert lines(told)[1] == "Pass model=, or load the missing one on the server."


def test_a_list_that_hangs_is_waited_for_two_seconds(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = prepare._BRIEF
    assert (brief.connect, brief.first_event, brief.idle) == (2, 2, 2)
    monkeypatch.setattr(prepare, "_BRIEF", Timeouts(connect=2, first_event=0.1, idle=2))
    server.always(lambda seen: Answer(before="hang") if seen.method == "GET" else NO_MODEL)
    told = Sync().ask(OPEA(server.url, model="m"), "chat", "Hello")
    assert type(told.error) is errors.NotFoundError


def test_no_key_was_sent(way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    server.always(error(401, "invalid api key"))
    opea = OPEA(server.url, label="gateway")
    first, second, _ = lines(way.ask(opea, "chat", "Hello"))
    assert (
        first == '401 from gateway (http://localhost:8000/v1): "invalid api key". No key was sent.'
    )
    assert (
        second
        == "Pass api_key= or set OPEA_API_KEY. OPENAI_API_KEY is set but is not sent to this host."
    )


def test_a_key_was_sent(way: Way, server: ScriptedServer) -> None:
    server.always(error(401, "invalid api key"))
    for opea in (
        made(server, api_key="wrong-key"),
        made(server, base_url=server.url.replace("//", "//ann:pass@")),
    ):
        text = "\n".join(lines(way.ask(opea, "chat", "Hello")))
        assert "No key was sent" not in text
        assert "api_key=" in text or "key" in text


def test_too_long(way: Way, server: ScriptedServer) -> None:
    server.always(error(400, OVERFLOW, code="context_length_exceeded"))
    first, second, _ = lines(way.ask(made(server, label="gpu1", model="qwen3"), "chat", "Hello"))
    said = OVERFLOW.removesuffix(".")
    assert (
        first
        == f'Too long for qwen3 at gpu1: 41,210 tokens asked, 32,768 possible (server: "{said}").'
    )
    assert second == (
        "Shorten the messages, lower max_tokens, or use a model with a larger window. Not retried."
    )


def test_no_endpoint_available(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server, second, breaker=BreakerPolicy(break_duration=4), recovery_wait=0)
    for label, down in (("one", server), ("two", second)):
        assert way.ask(opea, "chat", "Hello", endpoint=label).error is None
        down.pause()
        way.ask(opea, "chat", "opens it", endpoint=label)
    first, hint, *_ = lines(way.ask(opea, "chat", "Hello"))
    assert re.match(
        (
            r"No endpoint available after 0 s: one.*connection refused.*\(next try in \d.* "
            r"s\).*two.*\(next try in \d.* s\)"
        ),
        first,
    )
    assert hint == "Calls wait recovery_wait=0 s for a recovery; raise it for batch work."


def test_a_stream_that_broke_off(way: Way, server: ScriptedServer) -> None:
    server.script(stream(["x" * 602] * 2, finish_reason=None, done=False))
    first, second, _ = lines(way.ask(made(server, label="gpu2"), "stream_chat", "Hello"))
    assert first == (
        "Stream from gpu2 broke off after 1,204 characters: connection closed without an end mark."
    )
    assert second == (
        "The text so far is in error.partial. It is not repeated by itself, since part "
        "was already handed out."
    )


def test_what_an_error_carries(way: Way, server: ScriptedServer) -> None:
    server.always(
        error(
            429,
            "slow down",
            code="rate_limit",
            type="requests",
            param="p",
            headers={"retry-after": "99", "x-request-id": "theirs", "set-cookie": "s=1"},
        )
    )
    found = way.ask(made(server), "chat", "Hello", request_id="mine").error
    assert isinstance(found, errors.RateLimited)
    assert (found.status_code, found.code, found.type, found.param, found.retry_after) == (
        429,
        "rate_limit",
        "requests",
        "p",
        99.0,
    )
    assert (found.request_id, found.endpoint, found.url) == (
        "theirs",
        "one",
        f"{server.url}/chat/completions",
    )
    assert (
        found.is_rate_limit_error,
        found.is_auth_error,
        found.is_timeout,
        found.is_transient_error,
    ) == (True, False, False, False)
    assert found.body is not None
    assert "slow down" in found.body
    assert (found.headers["x-request-id"], found.headers["set-cookie"]) == ("theirs", "***")
    (attempt,) = found.attempts
    assert (
        attempt.endpoint,
        attempt.phase,
        attempt.status_code,
        attempt.error,
        attempt.request_id,
    ) == (
        "one",
        "status",
        429,
        "RateLimited",
        "theirs",
    )
    assert attempt.seconds > 0
    assert found.seconds is not None


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        (error(401, "x"), "auth"),
        (error(403, "x"), "auth"),
        (error(429, "x", headers={"retry-after": "99"}), "rate"),
        (error(500, "x"), "transient"),
        (error(502, "x"), "transient"),
        (error(503, "x"), "transient"),
        (error(504, "x"), "transient"),
        (error(400, "x"), ""),
        (error(404, "x"), ""),
        (error(402, "x"), "rate"),
        (html(), "transient"),
        (Answer(before="reset"), "transient"),
    ],
)
def test_the_flags_of_the_original(
    way: Way, server: ScriptedServer, answer: Answer, flags: str
) -> None:
    server.always(answer)
    found = way.ask(made(server), "chat", "Hello", max_retries=0).error
    assert isinstance(found, errors.OPEAError)
    told = {
        "rate": found.is_rate_limit_error,
        "auth": found.is_auth_error,
        "transient": found.is_transient_error,
        "timeout": found.is_timeout,
    }
    assert {name for name, flag in told.items() if flag} == {flags} - {""}


def test_each_line_says_its_own(way: Way, server: ScriptedServer) -> None:
    """The server's words stay in the first line, whatever line breaks they have."""
    for status in (400, 401, 402, 403, 404, 413, 422, 429, 500, 503):
        server.always(error(status, "words\n\nof the server", headers={"retry-after": "99"}))
        first, *rest = str(way.ask(made(server, max_retries=0), "chat", "Hello").error).splitlines()
        assert str(status) in first
        assert "words of the server" in first
        assert 1 <= len(rest) <= 2
        assert "request id" in rest[-1]
