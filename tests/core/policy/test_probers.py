"""Who tries a broken endpoint: who did so least often, then who has most time left;
and what that leaves in the queue.
"""

from __future__ import annotations

import pytest
from test_scheduler import DOWN, OFFERED, PENDING, World

from opea_core.policy.retry import Retry
from opea_core.policy.ticket import Ticket, TicketState

FREE = Retry(0.0, uses_retry_budget=False)


def held(*deadlines: float | None) -> tuple[World, list[Ticket]]:
    """Calls that are held by a broken endpoint, with so many seconds left."""
    w = World()
    w.break_(w.first)
    return w, [w.come(deadline=deadline) for deadline in deadlines]


def probe(w: World, calls: list[Ticket]) -> int:
    """Let a probe fail; gives whose it was."""
    w.pass_time(1)
    number = next(number for number, call in enumerate(calls) if call.state is OFFERED)
    w.scheduler.take(calls[number])
    w.again(calls[number], FREE, DOWN, behind=True)
    return number


@pytest.mark.parametrize(
    ("deadlines", "order"),
    [
        ((None, None, None), [0, 1, 2, 0]),
        ((50.0, 70.0, 60.0), [1, 2, 0, 1]),
        ((50.0, None, 60.0), [1, 2, 0, 1]),
        ((50.0, 50.0, 50.0), [0, 1, 2, 0]),
    ],
)
def test_each_tries_before_one_tries_again(
    deadlines: tuple[float | None, ...], order: list[int]
) -> None:
    w, calls = held(*deadlines)
    assert [probe(w, calls) for _ in range(4)] == order


def test_one_whose_time_is_over_does_not_try() -> None:
    w, calls = held(0.5, 30.0)
    assert probe(w, calls) == 1


def test_one_that_tried_from_the_middle_of_the_queue_stands_in_it_once() -> None:
    w, calls = held(5.0, 60.0, 40.0)
    assert probe(w, calls) == 1
    assert (w.scheduler.waiting, len(list(w.scheduler.waiters())), w.scheduler.queued) == (3, 3, 2)
    w.first.breaker._close()
    w.rest(w.first, 3600)
    w.poll()
    assert [call.state for call in calls] == [TicketState.REJECTED] * 3
    assert (w.scheduler.waiting, w.scheduler.queued) == (0, 0)


def test_one_that_tried_does_not_hold_up_those_behind_it() -> None:
    w, calls = held(5.0, 60.0, 40.0)
    probe(w, calls)
    calls[1].not_before[w.first] = w.now + 10**12
    w.scheduler.leave(calls[0])
    w.first.breaker._close()
    w.poll()
    assert [call.state for call in calls[1:]] == [PENDING, OFFERED]


def test_a_wait_of_next_to_nothing_is_a_wait() -> None:
    w = World()
    w.rest(w.first, 5e-324)
    assert w.first.opens_at(w.first.limits(""), 0) is None


def test_the_others_keep_their_order() -> None:
    w, calls = held(50.0, 60.0, *[50.0] * 6)
    assert probe(w, calls) == 1
    w.first.breaker._close()
    w.poll()
    assert w.order(*calls) == [0, 2, 3, 4, 5, 6, 7, 1]
