"""Waiting that nobody but the limit causes is told of."""

from __future__ import annotations

import random

import pytest

from opea_core import events
from opea_core.errors import ServerError
from opea_core.policy import SECOND
from opea_core.policy.permit import Permit
from opea_core.settings import resolve
from opea_core.transport.limiter import Limiter


@pytest.mark.parametrize(
    ("waits", "refused", "told"),
    [
        ([1, 12, 12, 12], False, [12.0, 12.0]),
        ([1, 1, 1, 12], False, []),
        ([12, 12, 12, 12], True, []),
        ([9, 9, 9, 9], False, []),
    ],
    ids=["most wait long", "one waits long", "an endpoint refused something", "none waits long"],
)
def test_long_waits_are_told_of(waits: list[int], refused: bool, told: list[float]) -> None:
    heard: list[events.Event] = []
    limiter = Limiter(
        resolve(None, {"max_concurrent": 7}, {}),
        events.Emitter([heard.append]),
        random.random,
        now=lambda: 0,
    )
    if refused:
        limiter.endpoints[0].last_error = ServerError("503")
    for seconds in waits:
        limiter.note_wait(
            seconds * SECOND,
            Permit(limiter.endpoints[0], limiter.endpoints[0].limits("m"), None, 0, False, 0),
        )
    found = [event for event in heard if isinstance(event, events.CallsWait)]
    assert [event.seconds for event in found][-2:] == told
    assert all(event.places == 7 for event in found)
