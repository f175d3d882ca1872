"""What people read in the log."""

from __future__ import annotations

import logging

import pytest

from opea_core import events
from opea_core.log import LogHook
from opea_core.policy import SECOND


def lines(
    caplog: pytest.LogCaptureFixture, *happened: events.Event, level: int = logging.WARNING
) -> list[str]:
    caplog.set_level(level, "opea_core")
    hook = LogHook()
    for event in happened:
        hook(event)
    return [record.getMessage() for record in caplog.records]


def test_calls_that_wait_for_nothing_but_places_are_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = events.CallsWait(at=0, endpoint="gpu1", seconds=12.0, places=32)
    assert lines(caplog, event) == [
        "gpu1: calls wait 12 s for 32 places; if the server takes more, raise max_concurrent"
    ]


@pytest.mark.parametrize(("seconds", "level"), [(0.0, logging.INFO), (5.0, logging.WARNING)])
def test_calls_that_are_held_are_told_of_at_once_and_warned_of_when_it_lasts(
    seconds: float, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    event = events.CallsHeld(
        at=0, endpoint="gpu1", seconds=seconds, waiting=3, reason="gpu1: connection refused"
    )
    (line,) = lines(caplog, event, level=logging.INFO)
    assert line.startswith("3 calls wait")
    assert "gpu1: connection refused" in line
    assert caplog.records[0].levelno == level


def test_a_warning_comes_at_most_once_a_minute_for_an_endpoint_and_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiters = [
        events.CooldownStarted(at=at * SECOND, endpoint=name, seconds=5.0)
        for at, name in [(0, "a"), (1, "a"), (1, "b"), (59, "a"), (61, "a")]
    ]
    assert [line.partition(":")[0] for line in lines(caplog, *limiters)] == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (
            events.BreakerStateChanged(at=0, before="closed", after="open", seconds=1.0),
            logging.WARNING,
        ),
        (events.BreakerStateChanged(at=0, before="half_open", after="closed"), logging.WARNING),
        (events.RetryScheduled(at=0, attempt=1, delay=6.0, reason="503"), logging.WARNING),
        (events.RetryScheduled(at=0, attempt=1, delay=1.0, reason="503"), logging.INFO),
        (events.RetryScheduled(at=0, attempt=1, delay=None, reason="503"), logging.INFO),
        (events.ParameterDropped(at=0, parameter="seed"), logging.WARNING),
        (events.AttemptEnded(at=0, attempt=1), logging.DEBUG),
    ],
)
def test_the_level_of_an_event(
    event: events.Event, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    lines(caplog, event, level=logging.DEBUG)
    assert [record.levelno for record in caplog.records] == [level]


def test_events_without_a_line_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        lines(
            caplog,
            events.CallGranted(at=0),
            events.CallStarted(at=0, kind="chat", model="m", stream=False),
            level=logging.DEBUG,
        )
        == []
    )
