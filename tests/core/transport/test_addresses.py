"""Addresses that never answered, or take no connection:
many callers hear of it as soon as one, and others are not held up.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from asking import PATIENCE, Told, Way, idle, made
from waiting import until

from opea_core import OPEA, EndpointConnectionError, Timeouts, events
from opea_core.policy import SECOND, ticket
from opea_core.testing import ScriptedServer, error


def fine(calls: list[Told]) -> bool:
    return [told.error for told in calls] == [None] * len(calls)


@pytest.fixture
def nowhere() -> str:
    """A port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def swallowing() -> Iterator[str]:
    """A port that takes no connection and does not say so: its queue is full."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(socket.socket())
        port.bind(("127.0.0.1", 0))
        port.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(port.getsockname())
        yield f"http://127.0.0.1:{port.getsockname()[1]}"


def test_many_callers_hear_what_one_hears(way: Way, nowhere: str) -> None:
    opea = OPEA(nowhere, model="m", recovery_wait=600)
    calls = [way.start(opea, "chat", "Hello") for _ in range(40)]
    told = [call.result(PATIENCE) for call in calls]
    assert {type(each.error) for each in told} == {EndpointConnectionError}
    assert {each.error.message.partition(" (")[0] for each in told} == {
        f"Nothing answers at {nowhere}"
    }  # type: ignore[union-attr]
    assert idle(opea)


def test_a_server_that_comes_up_a_moment_later_serves_them_all(
    way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket, "FIRST_CONTACT", 60 * SECOND)  # a busy machine takes its time
    server.pause()
    opea = made(server)
    calls = [way.start(opea, "chat", "Hello") for _ in range(20)]
    threading.Timer(0.2, server.resume).start()
    assert fine([call.result(PATIENCE) for call in calls])


def test_one_that_answered_before_is_waited_for(
    way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket, "FIRST_CONTACT", SECOND // 10)
    opea = made(server)
    assert way.ask(opea, "chat", "Hello").error is None
    server.pause()
    calls = [way.start(opea, "chat", "Hello") for _ in range(8)]
    # longer than an address that never answered would be
    threading.Timer(0.4, server.resume).start()
    assert fine([call.result(PATIENCE) for call in calls])


@pytest.mark.parametrize("kind", ["nowhere", "swallowing"])
def test_beside_another_endpoint_a_dead_one_costs_next_to_nothing(
    way: Way, server: ScriptedServer, kind: str, request: pytest.FixtureRequest
) -> None:
    """The first call too; were it waited for, one call would need the minute of ``connect``."""
    endpoints = [request.getfixturevalue(kind), server.url]
    opea = OPEA(endpoints=endpoints, model="m", timeouts=Timeouts(connect=60))
    calls = [way.start(opea, "chat", "Hello") for _ in range(30)]
    told = [call.result(PATIENCE) for call in calls]
    assert fine(told)


def test_a_request_that_may_not_be_repeated_has_all_its_time_to_connect(
    swallowing: str, server: ScriptedServer, way: Way
) -> None:
    opea = OPEA(
        endpoints=[{"base_url": swallowing, "label": "slow"}, server.url],
        model="m",
        timeout=(0.6, 5),
    )
    told = way.ask(opea, "chat", "Hello", max_retries=0, endpoint="slow")
    assert "within 0.6 s" in str(told.error)


def test_discovery_asks_all_at_once_and_names_none_that_is_dead(
    way: Way, server: ScriptedServer, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket, "FIRST_CONTACT", 60 * SECOND)  # the dead one alone would take it
    heard: list[events.Event] = []
    opea = OPEA(
        endpoints=[
            {"base_url": nowhere, "label": "dead"},
            {"base_url": server.url, "label": "alive"},
        ],
        hooks=[heard.append],
    )
    told = way.ask(opea, "discover")
    assert told.error is None
    assert [event.endpoint for event in heard if isinstance(event, events.ModelDiscovered)] == [
        "alive"
    ]
    assert {endpoint.model for endpoint in opea.endpoints} == {opea.model}


def test_while_calls_wait_the_log_says_for_what(
    way: Way, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "opea_core")
    opea = made(server)
    assert way.ask(opea, "chat", "Hello").error is None
    server.script(error(429, "too many", headers={"retry-after": "0.4"}))
    calls = [way.start(opea, "chat", "Hello")]
    until(lambda: opea.get_stats("one")["closed_for"] is not None, "the endpoint to rest")
    calls += [way.start(opea, "chat", "Hello") for _ in range(3)]
    assert fine([call.result(PATIENCE) for call in calls])
    (line,) = [
        record.getMessage() for record in caplog.records if " calls wait (" in record.getMessage()
    ]
    assert "429 from one" in line
    assert "too many" not in line, "they may have been said of another caller's request"
    assert "next try in" in line
