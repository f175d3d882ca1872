"""Servers that die, come back, are slow or wrong: failover, breakers,
and calls that are held until things are well again.
"""

from __future__ import annotations

import threading

import pytest
from asking import PATIENCE, Told, Way, idle, made

from opea_core import (
    OPEA,
    AuthenticationError,
    BreakerPolicy,
    EndpointConnectionError,
    NoEndpointAvailable,
    NotFoundError,
    RetryPolicy,
    ServerError,
    events,
)
from opea_core.testing import Answer, Hold, ScriptedServer, chat, error, html, stream

QUICK = BreakerPolicy(break_duration=0.03, probe_interval=0.5)
DOWN = error(503, "restarting")


def fine(calls: list[Told]) -> bool:
    return [told.error for told in calls] == [None] * len(calls)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def moves(heard: list[events.Event]) -> list[str]:
    return [event.after for event in heard if isinstance(event, events.BreakerStateChanged)]


# --- several endpoints


def test_a_dead_endpoint_costs_nobody_an_answer(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = OPEA(endpoints=[server.url, second.url], model="m", breaker=QUICK)
    server.pause()
    calls = [way.start(opea, "chat", "Hello") for _ in range(30)]
    assert fine([call.result(PATIENCE) for call in calls])
    assert len(second.seen) == 30
    assert idle(opea)


def test_an_endpoint_that_dies_in_the_middle(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    server.latency = second.latency = 0.01
    opea = OPEA(endpoints=[server.url, second.url], breaker=QUICK, max_concurrent=4)
    calls = [way.start(opea, "chat", "Hello") for _ in range(60)]
    server.wait_seen(8)
    server.pause()
    assert fine([call.result(PATIENCE) for call in calls])
    assert idle(opea)


@pytest.mark.parametrize(
    "bad",
    [error(500, "oops"), error(503, "busy"), html(), chat("x").replace(before="reset")],
    ids=["500", "503", "HTML", "reset"],
)
def test_one_that_fails_fast_is_left_alone(
    way: Way, server: ScriptedServer, second: ScriptedServer, bad: Answer
) -> None:
    """A server that fails at once looks idle, and would attract every call."""
    server.always(bad)
    opea = OPEA(
        endpoints=[server.url, second.url],
        breaker=BreakerPolicy(break_duration=30),
        retry=RetryPolicy(initial_delay=0.001),
    )
    for _ in range(60):
        assert way.ask(opea, "chat", "Hello").error is None
    assert len(server.seen) <= 12  # min_calls, and a little for what was under way


def test_a_slow_endpoint_gets_less(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    server.latency, second.latency = 0.1, 0.005
    opea = OPEA(endpoints=[server.url, second.url], max_concurrent=2)
    calls = [way.start(opea, "chat", "Hello") for _ in range(40)]
    assert fine([call.result(PATIENCE) for call in calls])
    assert len(second.seen) > 2 * len(server.seen)


def test_lower_tiers_come_first(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server, second)
    for _ in range(5):
        assert way.ask(opea, "chat", "Hello").response.endpoint == "one"
    server.always(error(503, "busy"))
    assert way.ask(opea, "chat", "Hello").response.endpoint == "two"


def test_weights(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    server.latency = second.latency = 0.02
    opea = OPEA(
        endpoints=[{"base_url": server.url, "weight": 3}, {"base_url": second.url, "weight": 1}]
    )
    calls = [way.start(opea, "chat", "Hello") for _ in range(32)]
    assert fine([call.result(PATIENCE) for call in calls])
    assert 18 <= len(server.seen) <= 28


def test_a_pinned_call_goes_nowhere_else(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    server.always(error(503, "busy"))
    told = way.ask(opea, "chat", "Hello", endpoint="one")
    assert isinstance(told.error, ServerError)
    assert (len(server.seen), len(second.seen)) == (4, 0)
    assert way.ask(opea, "chat", "Hello", endpoint="two").response.endpoint == "two"


def test_each_endpoint_gets_its_own_key_headers_and_model(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    endpoints = [
        {
            "base_url": server.url,
            "label": "one",
            "api_key": "key-one",
            "model": "model-one",
            "headers": {"x-site": "north"},
            "tier": 0,
        },
        {
            "base_url": second.url,
            "label": "two",
            "api_key": "key-two",
            "model": "model-two",
            "query": {"site": "south"},
            "tier": 1,
        },
    ]
    server.always(DOWN)
    assert way.ask(OPEA(endpoints=endpoints), "chat", "Hello").error is None
    one, two = server.seen[0], second.seen[0]
    assert (one.headers["authorization"], one.body["model"], one.headers["x-site"], one.query) == (
        "Bearer key-one",
        "model-one",
        "north",
        {},
    )
    assert (
        two.headers["authorization"],
        two.body["model"],
        two.headers.get("x-site"),
        two.query,
    ) == (
        "Bearer key-two",
        "model-two",
        None,
        {"site": "south"},
    )


# --- what is wrong with a key or a model lasts only until it works


@pytest.mark.parametrize(("status", "cls"), [(401, AuthenticationError), (404, NotFoundError)])
def test_the_second_call_gets_the_servers_own_error_too(
    way: Way, server: ScriptedServer, status: int, cls: type[Exception]
) -> None:
    opea = made(server)
    server.always(error(status, "no such path" if status == 404 else "wrong key"))
    for count in (1, 2):
        told = way.ask(opea, "chat", "Hello")
        assert isinstance(told.error, cls)
        assert len(server.seen) == count
    server.always(None)
    assert way.ask(opea, "chat", "Hello").error is None


def test_a_model_that_only_one_endpoint_has(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    missing = error(404, "The model `big` does not exist", code="model_not_found")
    server.always(lambda seen: missing if seen.body and seen.body.get("model") == "big" else None)
    opea = OPEA(endpoints=[server.url, second.url])
    for _ in range(8):
        assert (
            way.ask(opea, "chat", "Hello", model="big").response.endpoint == opea.endpoints[1].label
        )
    assert len(server.seen) <= 1
    assert (
        way.ask(opea, "chat", "Hello", model="small", endpoint=opea.endpoints[0].label).error
        is None
    )


def test_a_refused_key_counts_for_more_than_a_tier(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    server.always(error(401, "revoked"))
    for _ in range(5):
        assert way.ask(opea, "chat", "Hello").response.endpoint == "two"
    assert len(server.seen) == 1


def test_a_key_that_is_revoked_in_the_middle(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = OPEA(endpoints=[server.url, second.url], model="m")
    assert way.ask(opea, "chat", "Hello", endpoint=opea.endpoints[0].label).error is None
    server.always(error(401, "revoked"))
    for _ in range(8):
        assert way.ask(opea, "chat", "Hello").response.endpoint == opea.endpoints[1].label
    assert len(server.seen) <= 2


# --- the breaker, and calls that are held


def test_three_lost_connections_open_it_and_one_answer_closes_it(
    way: Way, server: ScriptedServer
) -> None:
    heard: list[events.Event] = []
    opea = made(server, hooks=[heard.append], breaker=BreakerPolicy(break_duration=0.05))
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    call = way.start(opea, "chat", "during")
    pause(0.12)
    assert not call.done()
    server.resume()
    assert call.result(PATIENCE).error is None
    assert moves(heard)[0] == "open"
    assert moves(heard)[-1] == "closed"
    assert opea.get_stats("one")["breaker"] == "closed"


def test_calls_are_carried_over_an_outage(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=QUICK, max_concurrent=8)
    server.latency = 0.002
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    calls = [way.start(opea, "chat", "Hello") for _ in range(24)]
    pause(0.25)
    server.resume()
    assert fine([call.result(PATIENCE) for call in calls])
    assert len(server.seen) - 1 <= 24 * 1.1 + 1
    assert idle(opea)


def test_one_caller_is_carried_over_an_outage_too(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=QUICK)
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    call = way.start(opea, "chat", "Hello")
    pause(0.3)
    server.resume()
    told = call.result(PATIENCE)
    assert told.error is None
    assert told.seconds >= 0.3


def test_while_it_is_open_nobody_is_sent_and_then_one(way: Way, server: ScriptedServer) -> None:
    """Ten calls are held; the outage ends; one probe goes first, and the others follow it."""
    heard: list[events.Event] = []
    opea = made(server, hooks=[heard.append], breaker=BreakerPolicy(break_duration=0.1))
    assert way.ask(opea, "chat", "before").error is None
    server.always(chat("x").replace(before="reset"))
    told = way.ask(opea, "chat", "opens it", max_retries=2, recovery_wait=0)
    assert isinstance(told.error, EndpointConnectionError)
    assert opea.get_stats("one")["breaker"] == "open"
    count = len(server.seen)
    server.always(None)
    server.latency = 0.02
    calls = [way.start(opea, "chat", "Hello") for _ in range(10)]
    assert fine([call.result(PATIENCE) for call in calls])
    probe, *others = server.seen[count:]
    assert probe.at >= server.seen[count - 1].at + 0.09e9
    assert min(seen.at for seen in others) >= probe.at + 0.015e9


def test_one_caller_is_carried_over_an_outage_of_both_its_endpoints(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    """Its attempts are spread over two, so that neither breaker opens before they are used up."""
    opea = made(server, second, breaker=QUICK)
    for label in ("one", "two"):
        assert way.ask(opea, "chat", "before", endpoint=label).error is None
    server.pause()
    second.pause()
    call = way.start(opea, "chat", "Hello")
    pause(0.3)
    second.resume()
    assert call.result(PATIENCE).response.endpoint == "two"
    assert idle(opea)


def test_a_failed_probe_costs_its_call_nothing(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=BreakerPolicy(break_duration=0.02), max_retries=3)
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    call = way.start(opea, "chat", "Hello")
    pause(0.3)  # far more probes than it has attempts
    server.resume()
    told = call.result(PATIENCE)
    assert told.error is None
    assert told.response.meta.attempts > 4


def test_down_for_good_ends_with_the_reasons(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second, breaker=QUICK, recovery_wait=0.15)
    assert way.ask(opea, "chat", "before", endpoint="one").error is None
    assert way.ask(opea, "chat", "before", endpoint="two").error is None
    server.pause()
    second.pause()
    for label in ("one", "two"):
        way.ask(opea, "chat", "opens it", endpoint=label, recovery_wait=0)
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, NoEndpointAvailable), repr(told.error)
    assert told.seconds >= 0.1
    text = str(told.error)
    assert "No endpoint available after" in text
    assert ("one" in text, "two" in text, "connection refused" in text, "next try in" in text) == (
        True,
    ) * 4
    assert "recovery_wait" in text
    assert told.error.is_transient_error
    assert isinstance(told.error.__cause__, EndpointConnectionError)


def test_no_patience_fails_at_once(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=BreakerPolicy(break_duration=60))
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    way.ask(opea, "chat", "opens it", recovery_wait=0)
    told = way.ask(opea, "chat", "Hello", recovery_wait=0)
    assert isinstance(told.error, NoEndpointAvailable)


def test_a_hold_is_not_begun_if_it_cannot_help(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=BreakerPolicy(break_duration=60))
    server.pause()
    way.ask(opea, "chat", "opens it", recovery_wait=0, max_retries=2)
    told = way.ask(opea, "chat", "Hello", deadline=30)
    assert told.error is not None


def test_the_patience_of_one_call(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=QUICK, recovery_wait=30)
    assert way.ask(opea, "chat", "before").error is None
    server.pause()
    told = way.ask(opea, "chat", "Hello", recovery_wait=0.1)
    assert isinstance(told.error, NoEndpointAvailable)


def test_a_server_that_never_answered_is_reported_after_the_attempts(
    way: Way, server: ScriptedServer
) -> None:
    server.pause()
    told = way.ask(made(server), "chat", "Hello")
    assert isinstance(told.error, EndpointConnectionError)
    assert len(told.error.attempts) == 4


def test_a_breaker_that_is_off_never_opens(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=False)
    server.always(chat("x").replace(before="reset"))
    for _ in range(6):
        way.ask(opea, "chat", "Hello", max_retries=0)
    assert len(server.seen) == 6
    assert opea.get_stats("one")["breaker"] == "closed"


@pytest.mark.parametrize(
    "neutral",
    [
        error(400, "no"),
        error(401, "no"),
        error(404, "no"),
        error(429, "no", headers={"retry-after-ms": "1"}),
    ],
    ids=["400", "401", "404", "429"],
)
def test_what_is_the_callers_matter_never_opens_it(
    way: Way, server: ScriptedServer, neutral: Answer
) -> None:
    opea = made(server, max_retries=0)
    server.always(neutral)
    for _ in range(12):
        way.ask(opea, "chat", "Hello")
    assert opea.get_stats("one")["breaker"] == "closed"


def test_the_500s_of_one_bad_request_do_not_open_it(way: Way, server: ScriptedServer) -> None:
    opea = made(server, breaker=BreakerPolicy(min_calls=4, break_duration=5))
    server.always(error(500, "oops"))
    for _ in range(3):
        way.ask(opea, "chat", "Hello")
    assert len(server.seen) == 6
    assert opea.get_stats("one")["breaker"] == "closed"


def test_a_stream_that_probes_gives_its_verdict_at_its_first_content(
    way: Way, server: ScriptedServer
) -> None:
    go = threading.Event()
    opea = made(server, breaker=BreakerPolicy(break_duration=0.05, probe_interval=60))
    server.always(chat("x").replace(before="reset"))
    way.ask(opea, "chat", "opens it", max_retries=2, recovery_wait=0)
    server.always(None)
    server.script(stream(["a", Hold(go), "b"]))
    before = len(server.seen)
    probe = way.start(opea, "stream_chat", "Hello")
    server.wait_seen(before + 1)
    told = way.ask(opea, "chat", "does not wait for its end")
    assert told.error is None  # there is no second probe for a minute
    assert not probe.done()
    go.set()
    assert probe.result(PATIENCE).error is None


def test_one_stale_connection_means_that_its_siblings_are_stale_too(
    way: Way, server: ScriptedServer
) -> None:
    """A server that closed one kept connection has very likely closed them all:
    none is tried after that.
    """
    server.latency = 0.02
    opea = made(server)
    assert fine(
        [call.result(PATIENCE) for call in [way.start(opea, "chat", "Hello") for _ in range(4)]]
    )
    known = {seen.connection for seen in server.seen}
    count = len(server.seen)
    server.script(chat("x").replace(before="close"))
    assert way.ask(opea, "chat", "finds it out").error is None
    assert fine(
        [call.result(PATIENCE) for call in [way.start(opea, "chat", "Hello") for _ in range(4)]]
    )
    stale, *others = server.seen[count:]
    assert stale.connection in known
    assert {seen.connection for seen in others} & known == set()


def test_no_stale_connection_is_used_after_a_restart(way: Way, server: ScriptedServer) -> None:
    """All kept connections went with the restart: each call still needs one answer only."""
    server.latency = 0.02
    opea = made(server)
    assert fine(
        [call.result(PATIENCE) for call in [way.start(opea, "chat", "Hello") for _ in range(8)]]
    )
    count = len(server.seen)
    server.pause()
    server.resume()
    assert fine(
        [call.result(PATIENCE) for call in [way.start(opea, "chat", "Hello") for _ in range(8)]]
    )
    assert len(server.seen) == count + 8
    assert opea.get_stats()["retries"] == 0
