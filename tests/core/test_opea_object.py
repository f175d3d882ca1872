"""The object itself: figures, recent requests, hooks, copies and pickles."""

from __future__ import annotations

import copy
import pickle
import ssl
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from asking import Way, made

from opea_core import OPEA, ConfigurationError, events
from opea_core.testing import ScriptedServer, Wait, chat, error, stream

FIGURES = {
    "requests",
    "success",
    "errors",
    "errors_by_class",
    "retries",
    "in_flight",
    "queued",
    "latency",
    "first_content",
    "prompt_tokens",
    "completion_tokens",
}


# --- figures


def test_the_shape_of_get_stats(server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server, second)
    created = opea.create_endpoint()
    whole = opea.get_stats()
    assert FIGURES | {"endpoints"} <= set(whole)
    assert set(whole["endpoints"]) == {"one", "two", created}
    for label in ("one", "two", created):
        one = opea.get_stats(label)
        assert FIGURES | {"breaker", "closed_for", "max_concurrent"} <= set(one), label
        assert set(one["latency"]) == {"p50", "p90", "p99"}
        assert one["breaker"] == "closed"
        assert one["closed_for"] is None


def test_what_is_counted(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    server.script(
        error(503, "busy"),
        chat("x", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        error(400, "no"),
    )
    way.ask(opea, "chat", "Hello")
    way.ask(opea, "chat", "Hello")
    way.ask(opea, "stream_chat", "Hello")
    stats = opea.get_stats()
    assert (stats["requests"], stats["success"], stats["errors"], stats["retries"]) == (4, 2, 2, 1)
    assert stats["errors_by_class"] == {"ServerError": 1, "InvalidRequestError": 1}
    assert (stats["prompt_tokens"], stats["completion_tokens"]) == (4, 10)
    assert 0 < stats["latency"]["p50"] < 1
    assert 0 < stats["first_content"]["p50"] < 1


def test_figures_are_the_sum_over_the_endpoints(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    for label in ("one", "two", "two"):
        way.ask(opea, "chat", "Hello", endpoint=label)
    assert [opea.get_stats(label)["requests"] for label in ("one", "two")] == [1, 2]
    assert opea.get_stats()["requests"] == 3


def test_figures_while_calls_run(way: Way, server: ScriptedServer) -> None:
    opea = made(server, max_concurrent=1)
    server.script(chat("x").after(Wait(0.1)))
    calls = [way.start(opea, "chat", "Hello") for _ in range(3)]
    server.wait_seen(1)
    threading.Event().wait(0.03)
    stats = opea.get_stats()
    assert (stats["in_flight"], stats["queued"]) == (1, 2)
    assert [call.result(5).error for call in calls] == [None] * 3


def test_figures_are_a_snapshot(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    before = opea.get_stats()
    way.ask(opea, "chat", "Hello")
    assert before["requests"] == 0


def test_recent_requests(way: Way, server: ScriptedServer) -> None:
    opea = made(server)
    way.ask(opea, "chat", "Hello", request_id="first")
    server.script(error(400, "no"))
    way.ask(opea, "chat", "Hello", request_id="second")
    way.ask(opea, "stream_chat", "Hello", request_id="third")
    server.script(error(503, "busy"))
    way.ask(opea, "chat", "Hello", request_id="fourth")
    recent = opea.recent_requests()
    assert [(r.request_id, r.endpoint, r.status, r.attempts) for r in recent] == [
        ("first", "one", "ok", 1),
        ("second", "one", "InvalidRequestError", 1),
        ("third", "one", "ok", 1),
        ("fourth", "one", "ok", 2),
    ]
    assert all(r.seconds > 0 for r in recent)


def test_recent_requests_are_bounded(server: ScriptedServer) -> None:
    opea = made(server)
    server.always(error(400, "no"))
    for _ in range(260):
        with pytest.raises(Exception, match="400"):
            opea.chat("Hello")
    assert len(opea.recent_requests()) == 256


# --- hooks


def test_hooks_are_told_in_the_callers_thread_or_loop(server: ScriptedServer) -> None:
    threads: set[int] = set()
    with made(server, hooks=[lambda event: threads.add(threading.get_ident())]) as opea:
        opea.chat("Hello")
    assert threads == {threading.get_ident()}


def test_a_hook_that_raises_does_no_harm(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []

    def broken(event: events.Event) -> None:
        raise LookupError("a bug of the hook")

    opea = made(server, hooks=[broken, heard.append])
    server.script(error(503, "busy"))
    assert way.ask(opea, "chat", "Hello").error is None
    assert way.ask(opea, "stream_chat", "Hello").error is None
    assert {event.error for event in heard if isinstance(event, events.HookFailed)} == {
        "LookupError"
    }
    assert opea.get_stats()["hooks_failed"] > 0
    assert sum(isinstance(event, events.CallEnded) for event in heard) == 2


def test_a_hook_may_ask_for_figures(way: Way, server: ScriptedServer) -> None:
    """Hooks run outside every lock."""
    seen: list[int] = []
    opea = made(server)
    opea.add_hook(lambda event: seen.append(opea.get_stats()["in_flight"]))
    server.script(error(429, "slow down", headers={"retry-after-ms": "5"}))
    assert way.ask(opea, "chat", "Hello").error is None
    assert len(seen) > 5


def test_a_hook_may_make_a_call(server: ScriptedServer) -> None:
    opea = made(server)
    inner: list[str] = []

    def hook(event: events.Event) -> None:
        if isinstance(event, events.CallEnded) and not inner:
            inner.append("running")
            inner.append(opea.chat("from a hook").content)

    opea.add_hook(hook)
    opea.chat("Hello")
    assert len(inner) == 2


def test_hooks_added_later_are_told_from_then_on(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    opea = made(server)
    way.ask(opea, "chat", "Hello")
    opea.add_hook(heard.append)
    way.ask(opea, "chat", "Hello")
    assert sum(isinstance(event, events.CallStarted) for event in heard) == 1


def test_hooks_of_the_object_hear_of_all_its_endpoints(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    heard: list[events.Event] = []
    opea = made(server, hooks=[heard.append])
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    way.ask(
        opea,
        "make_request_with_endpoint",
        opea.create_endpoint(base_url=second.url, label="mine"),
        data,
    )
    way.ask(opea, "make_post_request_opea", second.url, data)
    assert [event.endpoint for event in heard if isinstance(event, events.CallEnded)] == [
        "mine",
        second.origin.partition("://")[2],
    ]


def test_every_event_tells_of_its_call(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    opea = made(server, hooks=[heard.append])
    server.script(error(503, "busy"))
    way.ask(opea, "chat", "Hello")
    assert len({event.call_id for event in heard}) == 1
    assert heard[0].call_id
    assert [event.at for event in heard] == sorted(event.at for event in heard)
    assert [event.attempt for event in heard if isinstance(event, events.AttemptStarted)] == [1, 2]
    ended = heard[-1]
    assert isinstance(ended, events.CallEnded)
    assert (ended.attempts, ended.error, ended.endpoint) == (2, "", "one")


# --- copies, pickles, repr


def pickled(opea: OPEA) -> OPEA:
    copy_: OPEA = pickle.loads(pickle.dumps(opea))
    return copy_


def test_a_copy_is_the_same_object(server: ScriptedServer) -> None:
    opea = made(server)
    assert copy.copy(opea) is opea
    assert copy.deepcopy({"a": [opea]})["a"][0] is opea


def test_a_pickle_is_an_object_of_the_same_configuration(way: Way, server: ScriptedServer) -> None:
    opea = OPEA(
        {"r": 1},
        {"opea_model": "m"},
        base_url=server.url,
        api_key="a-key",
        max_concurrent=3,
        max_retries=1,
        headers={"x-a": "b"},
    )
    way.ask(opea, "chat", "Hello")
    other = pickled(opea)
    assert other.settings == opea.settings
    assert (other.resources, other.metadata) == (opea.resources, opea.metadata)
    assert other.get_stats()["requests"] == 0
    assert way.ask(other, "chat", "Hello").error is None
    assert (server.seen[-1].headers["authorization"], server.seen[-1].headers["x-a"]) == (
        "Bearer a-key",
        "b",
    )


def test_a_used_and_a_closed_object_can_be_pickled(server: ScriptedServer) -> None:
    server.script(stream(["a", "b"]))
    opea = made(server)
    with opea.stream_chat("Hello") as chunks:
        next(chunks)
        other = pickled(opea)
    opea.close()
    assert pickled(opea).chat("Hello").content
    assert other.chat("Hello").content


def test_hooks_that_can_be_pickled_are(server: ScriptedServer) -> None:
    assert pickled(made(server, hooks=[print]))._engine.emitter.hooks == (print,)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hooks", {"hooks": [lambda event: None]}),
        ("api_key", {"api_key": lambda: "a-key"}),
        ("verify", {"verify": ssl.create_default_context()}),
        ("http_client", {"http_client": httpx.Client()}),
        ("async_http_client", {"http_async_client": httpx.AsyncClient()}),
        ("transport", {"transport": httpx.MockTransport(lambda request: httpx.Response(200))}),
    ],
)
def test_what_cannot_be_pickled_is_named(
    server: ScriptedServer, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{name}="):
        pickle.dumps(made(server, **options))


def test_a_pickle_goes_to_another_process(server: ScriptedServer) -> None:
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).chat('Hello').content)"
    opea = made(server, api_key="a-key")
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(opea),
        capture_output=True,
        check=True,
        cwd=".",
    )
    assert b"Hello" in done.stdout
    assert server.seen[0].headers["authorization"] == "Bearer a-key"


def test_repr_names_the_endpoints_and_the_model(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    assert repr(made(server, second)) == "OPEA(one, two; model='scripted-model')"


def test_settings_and_endpoints_can_be_read(server: ScriptedServer) -> None:
    opea = made(server, max_concurrent=7)
    assert [endpoint.max_concurrent for endpoint in opea.endpoints] == [7]
    assert opea.settings.endpoints == opea.endpoints
