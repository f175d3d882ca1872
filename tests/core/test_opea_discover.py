"""``discover`` asks the servers what they are, once; nothing else does."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from typing import Any

import pytest
from asking import PATIENCE, Async, Sync, Way, made

from opea_core import OPEA, ConfigurationError, errors, events
from opea_core.policy import SECOND
from opea_core.policy.permit import Permit
from opea_core.policy.scheduler import Ticket
from opea_core.settings import DEFAULT_MODEL, resolve
from opea_core.testing import (
    Answer,
    Hold,
    ScriptedServer,
    Seen,
    chat,
    error,
    faults,
    json_answer,
)
from opea_core.transport.limiter import Limiter


def listing(*entries: dict[str, Any]) -> Answer:
    """A list of models."""
    return json_answer({"object": "list", "data": list(entries)})


def llama(slots: int = 4, window: int = 2048, props: Answer | None = None) -> Any:
    """A server like llama.cpp's, which tells how many calls it works on at once."""

    def answer(seen: Seen) -> Answer | None:
        if seen.path.endswith("/models"):
            return listing({"id": "tiny", "meta": {"n_ctx": window}})
        if seen.path.endswith("/props"):
            return props or json_answer({"total_slots": slots})
        return None

    return answer


def unnamed(*servers: ScriptedServer, **options: Any) -> OPEA:
    """An OPEA whose caller named no model."""
    return made(*servers, **{"model": None} | options)


def asked(server: ScriptedServer) -> list[str]:
    return [f"{seen.method} {seen.path}" for seen in server.seen]


# --- what is found


def test_the_object_itself_is_given_back(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    assert way.ask(opea, "discover").value is opea


@pytest.mark.parametrize("method", ["chat", "stream_chat", "complete", "embed"])
def test_the_first_call_asks_for_the_model(way: Way, server: ScriptedServer, method: str) -> None:
    opea = unnamed(server)
    assert (opea.model, opea.context_window) == (None, None)
    assert asked(server) == []
    for _ in range(2):
        assert way.ask(opea, method, "Hello").error is None
    assert [seen.method for seen in server.seen] == ["GET", "POST", "POST"]
    assert {seen.body["model"] for seen in server.seen[1:]} == {"scripted-model"}
    assert (opea.model, opea.context_window) == ("scripted-model", 8192)


@pytest.mark.parametrize("options", [{"model": "mine"}, {"metadata": True}])
def test_who_named_a_model_asks_nothing(
    way: Way, server: ScriptedServer, options: dict[str, Any]
) -> None:
    if "metadata" in options:
        opea = OPEA(metadata={"opea_api_url": server.url})
    else:
        opea = unnamed(server, **options)
    way.ask(opea, "chat", "Hello")
    expected = options.get("model", "gpt-3.5-turbo")
    assert [seen.body["model"] for seen in server.seen] == [expected]


def test_many_first_calls_ask_once(server: ScriptedServer) -> None:
    opea, sync, loop = unnamed(server), Sync(), Async()
    server.latency = 0.05
    try:
        starting = [way.start(opea, "chat", "Hello") for _ in range(20) for way in (sync, loop)]
        assert [told.result(PATIENCE).error for told in starting] == [None] * 40
    finally:
        loop.close()
    assert [seen.method for seen in server.seen].count("GET") == 1


def test_many_first_calls_hear_the_same_error(server: ScriptedServer) -> None:
    opea, sync = unnamed(server), Sync()
    held = threading.Event()
    server.always(listing({"id": "a"}, {"id": "b"}).after(Hold(held)))
    starting = [sync.start(opea, "chat", "Hello") for _ in range(10)]
    server.wait_seen(1)
    held.set()
    told = [start.result(PATIENCE).error for start in starting]
    assert all("serves several: a, b." in str(error) for error in told)


def test_who_asked_and_was_cancelled_leaves_it_to_the_next(server: ScriptedServer) -> None:
    held = threading.Event()
    server.script(listing({"id": "a"}).after(Hold(held)))
    opea = unnamed(server)

    async def main() -> str:
        first = asyncio.ensure_future(opea.achat("Hello"))
        await asyncio.to_thread(server.wait_seen, 1)
        second = asyncio.ensure_future(opea.achat("Hello"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        await opea.aclose()
        return server.seen[-1].body["model"]

    try:
        assert asyncio.run(main()) == "scripted-model"
    finally:
        held.set()


def test_who_waits_for_the_answer_keeps_its_deadline(way: Way, server: ScriptedServer) -> None:
    held = threading.Event()
    server.script(listing({"id": "a"}).after(Hold(held)))
    opea = unnamed(server)
    first = way.start(opea, "chat", "Hello")
    server.wait_seen(1)
    told = way.ask(opea, "chat", "Hello", deadline=0.1)
    held.set()
    assert isinstance(told.error, errors.DeadlineExceeded)
    assert first.result(PATIENCE).error is None


@pytest.mark.parametrize("told_instead", [error(404, "no"), error(405, "no"), chat("what?")])
def test_a_server_that_lists_no_models_is_asked_once_and_gets_the_default(
    way: Way, server: ScriptedServer, told_instead: Answer
) -> None:
    """What it says to the call itself is worth more than that it has no list."""
    seen: list[events.Event] = []
    opea = unnamed(server)
    opea.add_hook(seen.append)
    server.script(told_instead)
    assert way.ask(opea, "chat", "Hello").error is None
    assert way.ask(opea, "chat", "Hello").error is None
    assert [one.path.rpartition("/v1")[2] for one in server.seen] == [
        "/models",
        "/chat/completions",
        "/chat/completions",
    ]
    assert server.seen[-1].body["model"] == DEFAULT_MODEL
    told = [event for event in seen if isinstance(event, events.ModelNotListed)]
    assert [event.model for event in told] == [DEFAULT_MODEL]


def test_a_server_that_hangs_up_when_asked_for_its_models_gets_the_default(
    way: Way, server: ScriptedServer
) -> None:
    server.always(lambda seen: faults.close if seen.path.endswith("/models") else None)
    opea = unnamed(server)
    assert way.ask(opea, "chat", "Hello").error is None
    assert server.seen[-1].body["model"] == DEFAULT_MODEL


def test_a_caller_who_wants_exactly_one_request_makes_one(way: Way, server: ScriptedServer) -> None:
    assert way.ask(unnamed(server), "chat", "Hello", max_retries=0).error is None
    assert [one.path.rpartition("/v1")[2] for one in server.seen] == ["/chat/completions"]
    assert server.seen[-1].body["model"] == DEFAULT_MODEL


def test_the_model_of_a_created_endpoint_is_asked_for_there(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    second.model.name = "theirs"
    opea = unnamed(server)
    name = opea.create_endpoint(base_url=second.url)
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    assert way.ask(opea, "make_request_with_endpoint", name, data).error is None
    assert server.seen == []
    assert second.seen[-1].body["model"] == "theirs"


def test_model_and_window_are_found(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    assert way.ask(opea, "discover").error is None
    assert (opea.model, opea.context_window) == ("scripted-model", 8192)
    assert opea.endpoints[0].context_window == 8192
    assert asked(server) == ["GET /v1/models"]


@pytest.mark.parametrize("method", ["chat", "stream_chat", "complete"])
def test_the_model_is_used_from_then_on(way: Way, server: ScriptedServer, method: str) -> None:
    opea = unnamed(server)
    way.ask(opea, "discover")
    assert way.ask(opea, method, "Hello").error is None
    assert server.seen[-1].body["model"] == "scripted-model"
    assert opea.is_compatible_model("scripted-model")


def test_a_model_of_the_call_still_wins(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    way.ask(opea, "discover")
    way.ask(opea, "chat", "Hello", model="other")
    assert server.seen[-1].body["model"] == "other"


def test_a_model_that_was_given_stays(way: Way, server: ScriptedServer) -> None:
    opea = made(server, model="mine")
    way.ask(opea, "discover")
    way.ask(opea, "chat", "Hello")
    assert (opea.model, opea.context_window) == ("mine", 8192)
    assert server.seen[-1].body["model"] == "mine"


def test_a_model_of_the_environment_was_given(
    way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_MODEL", "mine")
    opea = unnamed(server)
    way.ask(opea, "discover")
    assert opea.model == "mine"


def test_a_window_that_was_given_stays(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server, context_window=100)
    way.ask(opea, "discover")
    assert opea.context_window == 100


def test_the_smallest_window_counts(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    second.always(listing({"id": "scripted-model", "context_length": 1000}))
    way.ask(opea, "discover")
    assert [e.context_window for e in opea.endpoints] == [8192, 1000]
    assert opea.context_window == 1000


def test_each_server_gets_its_own_model(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = unnamed(server, second)
    second.always(lambda seen: listing({"id": "other"}) if seen.path.endswith("/models") else None)
    way.ask(opea, "discover")
    way.ask(opea, "chat", "Hello", endpoint="one")
    way.ask(opea, "chat", "Hello", endpoint="two")
    assert (server.seen[-1].body["model"], second.seen[-1].body["model"]) == (
        "scripted-model",
        "other",
    )


def test_a_server_that_is_down_gets_the_model_of_the_others(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = unnamed(server, second)
    server.pause()
    assert way.ask(opea, "discover", max_retries=0).error is None
    server.resume()
    assert way.ask(opea, "chat", "Hello", endpoint="one").error is None
    assert server.seen[-1].body["model"] == "scripted-model"


def test_options_of_a_call_hold_for_the_question(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    way.ask(opea, "discover", extra_headers={"x-team": "a"}, request_id="first")
    assert {name: server.seen[0].headers[name] for name in ("x-team", "x-request-id")} == {
        "x-team": "a",
        "x-request-id": "first",
    }


def test_copies_and_pickles_know_what_was_found(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    server.always(llama())
    way.ask(opea, "discover")
    for other in (copy.deepcopy(opea), pickle.loads(pickle.dumps(opea))):
        assert (other.model, other.context_window, other.endpoints[0].max_concurrent) == (
            "tiny",
            2048,
            4,
        )


def test_a_created_endpoint_has_the_model_that_was_found(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    way.ask(opea, "discover")
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    way.ask(opea, "make_request_with_endpoint", opea.create_endpoint(max_concurrent=2), data)
    assert server.seen[-1].body["model"] == "scripted-model"


def test_the_repr_says_the_model_that_is_used(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    way.ask(opea, "discover")
    assert repr(opea) == "OPEA(one; model='scripted-model')"


def test_what_was_found_is_not_asked_for_again(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    server.always(llama())
    way.ask(opea, "discover")
    server.always(llama(slots=9, window=9))
    way.ask(opea, "discover")
    assert (opea.model, opea.context_window, opea.endpoints[0].max_concurrent) == ("tiny", 2048, 4)
    assert asked(server) == ["GET /v1/models", "GET /props", "GET /v1/models"]


# --- how many calls run at once


@pytest.mark.parametrize(
    ("base", "path"),
    [("", "/props"), ("/v1", "/props"), ("/team/v1", "/team/props"), ("/team", "/team/props")],
)
def test_where_llama_cpp_is_asked_for_its_places(
    way: Way, server: ScriptedServer, base: str, path: str
) -> None:
    opea = OPEA(base_url=server.origin + base, label="one", api_key="sk-1")
    server.always(llama())
    way.ask(opea, "discover")
    assert asked(server)[1:] == [f"GET {path}"]
    assert server.seen[-1].headers["authorization"] == "Bearer sk-1"
    assert opea.get_stats("one")["max_concurrent"] == 4


def test_a_limit_that_was_given_stays(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server, max_concurrent=2)
    server.always(llama())
    way.ask(opea, "discover")
    assert opea.get_stats("one")["max_concurrent"] == 2
    assert asked(server) == ["GET /v1/models"]


def test_no_more_calls_than_places_go_out(way: Way, server: ScriptedServer) -> None:
    server.latency = 0.02
    opea = unnamed(server)
    server.always(llama(slots=2))
    way.ask(opea, "discover")
    calls = [way.start(opea, "chat", "Hello") for _ in range(6)]
    assert [call.result(10).error for call in calls] == [None] * 6
    assert server.max_in_flight == 2


@pytest.mark.parametrize(
    "status", [401, 403, 404, 500, 501, 503]
)  # a 429 holds for the whole server
def test_a_server_that_does_not_tell_its_places_is_not_punished(
    way: Way, server: ScriptedServer, second: ScriptedServer, status: int
) -> None:
    opea = unnamed(server, second)
    server.always(llama(props=error(status, "not for you")))
    assert way.ask(opea, "discover").error is None
    figures = opea.get_stats("one")
    assert (opea.model, figures["max_concurrent"]) == ("tiny", None)
    assert (figures["closed_for"], figures["breaker"]) == (None, "closed")
    assert asked(server) == ["GET /v1/models", "GET /props"]
    assert way.ask(opea, "chat", "Hello").response.endpoint == "one"


def test_a_server_without_a_list_of_models_is_not_punished(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    server.script(error(404, "no such path"))
    assert way.ask(opea, "discover").error is None
    assert way.ask(opea, "chat", "Hello").response.endpoint == "one"


# --- what goes wrong


def test_several_models_are_named(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    server.script(listing({"id": "a"}, {"id": "b"}))
    told = way.ask(opea, "discover")
    assert isinstance(told.error, ConfigurationError)
    assert "one serves several: a, b" in str(told.error)
    assert opea.model is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "no"), errors.AuthenticationError),
        (error(404, "no"), errors.NotFoundError),
        (error(400, "no"), errors.InvalidRequestError),
        (json_answer({"data": None}), errors.BadAnswerError),
    ],
)
def test_a_server_that_does_not_answer_is_an_error(
    way: Way, server: ScriptedServer, answer: Answer, kind: type[Exception]
) -> None:
    opea = unnamed(server)
    server.script(answer)
    assert isinstance(way.ask(opea, "discover").error, kind)
    assert (opea.model, opea.context_window) == (None, None)


def test_a_failed_attempt_is_tried_again(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    server.script(error(503, "busy"))
    assert way.ask(opea, "discover").error is None
    assert opea.model == "scripted-model"


def test_after_a_failure_it_can_be_asked_again(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    server.script(error(404, "no"))
    way.ask(opea, "discover")
    assert way.ask(opea, "discover").error is None
    assert opea.model == "scripted-model"


def test_a_closed_object_asks_nothing(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    opea.close()
    assert isinstance(way.ask(opea, "discover").error, errors.ClientClosed)
    assert server.seen == []


# --- what is told


def test_a_hook_hears_of_a_model_that_was_found(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    opea = unnamed(server, hooks=[heard.append])
    way.ask(opea, "discover")
    way.ask(opea, "discover")
    assert [(e.endpoint, e.model) for e in heard if isinstance(e, events.ModelDiscovered)] == [
        ("one", "scripted-model")
    ]


def test_a_model_that_was_given_is_no_news(way: Way, server: ScriptedServer) -> None:
    heard: list[events.Event] = []
    way.ask(made(server, hooks=[heard.append]), "discover")
    assert not [event for event in heard if isinstance(event, events.ModelDiscovered)]


def test_the_log_says_which_model_is_used(
    way: Way, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "opea_core")
    way.ask(unnamed(server), "discover")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "one: no model was given; using 'scripted-model', which it serves")
    ]


# --- another limit while calls wait


class Waiting:
    """A gate of one endpoint with its limit, and tickets that ask for places."""

    def __init__(self, limit: int) -> None:
        settings = resolve(None, {"max_concurrent": limit}, {})
        self.endpoint = settings.endpoints[0]
        self.limiter = Limiter(settings, events.Emitter([]), lambda: 0.0, lambda: SECOND)
        self.woken: list[int] = []

    def ask(self, number: int) -> Ticket:
        ticket = self.limiter.ticket(model="m")
        ticket.wake = lambda: self.woken.append(number)
        self.limiter.ask(ticket)
        return ticket

    def limit(self, limit: int) -> None:
        self.limiter.configure([self.endpoint.replace(max_concurrent=limit)])


def test_calls_that_wait_go_when_the_limit_is_raised() -> None:
    waiting = Waiting(1)
    tickets = [waiting.ask(number) for number in range(4)]
    waiting.limit(3)
    assert {1, 2} <= set(waiting.woken)
    assert [isinstance(waiting.limiter.ask(ticket)[0], Permit) for ticket in tickets[1:]] == [
        True,
        True,
        False,
    ]
    assert waiting.limiter.stats()["in_flight"] == 3


def test_calls_under_way_go_on_when_the_limit_is_lowered() -> None:
    waiting = Waiting(3)
    tickets = [waiting.ask(number) for number in range(4)]
    waiting.limit(1)
    assert waiting.limiter.stats()["in_flight"] == 3
    for ticket in tickets[:2]:
        waiting.limiter.leave(ticket)
    assert waiting.woken == []
    waiting.limiter.leave(tickets[2])
    assert waiting.woken == [3]


def test_what_was_counted_stays_when_more_is_known(way: Way, server: ScriptedServer) -> None:
    opea = unnamed(server)
    way.ask(opea, "chat", "Hello", model="m")
    way.ask(opea, "discover")
    assert opea.get_stats()["success"] == 2
    assert [recent.status for recent in opea.recent_requests()] == ["ok", "ok"]
