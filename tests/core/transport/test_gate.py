"""The gate with a clock of the test's own: offers nobody takes, waiters that are dead, and giving back at odd moments."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from opea_core import events
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.dispatcher import Reason, Rejection, Ticket
from opea_core.policy.endpoint import Grant
from opea_core.policy.retry import Effect, Retry
from opea_core.settings import resolve
from opea_core.transport.gate import Gate

OK = Effect(Verdict.OK)


class Clock:
    """A gate, its clock, and callers that write down when they are woken."""

    def __init__(self, **options: Any) -> None:
        self.now = 0
        self.heard: list[events.Event] = []
        self.gate = Gate(
            resolve(None, {"max_concurrent": 1, **options}, {}), events.Emitter([self.heard.append]), lambda: 0.0, lambda: self.now
        )
        self.woken: list[str] = []

    def ticket(self, name: str, owner: object = None, dead: bool = False) -> Ticket:
        """A ticket of a caller; a dead one cannot be woken, as its loop is closed."""

        def wake() -> None:
            if dead:
                raise RuntimeError("Event loop is closed")
            self.woken.append(name)

        ticket = self.gate.ticket(model="m")
        ticket.wake, ticket.owner = wake, owner
        return ticket

    def waiting(self, name: str, **about: Any) -> Ticket:
        ticket = self.ticket(name, **about)
        assert self.gate.ask(ticket)[0] is None
        return ticket

    def granted(self, ticket: Ticket) -> Grant:
        got, _ = self.gate.ask(ticket)
        assert isinstance(got, Grant), got
        return got

    def in_flight(self) -> int:
        count: int = self.gate.stats()["in_flight"]
        return count


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_place_goes_to_the_first_and_then_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    grant = clock.granted(first)
    second = clock.waiting("second")
    assert clock.in_flight() == 1
    clock.gate.settle(first, grant, OK)
    assert clock.woken == ["second"]
    assert clock.granted(second).endpoint is grant.endpoint
    assert clock.in_flight() == 1


def test_giving_back_twice_gives_back_once(clock: Clock) -> None:
    first = clock.ticket("first")
    grant = clock.granted(first)
    clock.gate.settle(first, grant, OK)
    clock.gate.leave(first)
    clock.gate.leave(first)
    assert clock.in_flight() == 0
    clock.granted(clock.ticket("second"))
    clock.gate.leave(first)
    assert clock.in_flight() == 1


def test_a_waiter_that_leaves_is_gone(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.gate.leave(clock.waiting("second"))
    third = clock.waiting("third")
    clock.gate.leave(first)
    assert clock.woken == ["third"]
    assert isinstance(clock.gate.ask(third)[0], Grant)
    assert clock.gate.stats()["queued"] == 0


def test_an_offer_to_somebody_who_leaves_goes_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    second, third = clock.waiting("second"), clock.waiting("third")
    clock.gate.leave(first)
    clock.gate.leave(second)
    assert clock.woken[:2] == ["second", "third"]
    clock.granted(third)


def test_an_offer_to_a_closed_loop_goes_to_the_next_at_once(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("dead", dead=True)
    third = clock.waiting("third")
    clock.gate.leave(first)
    assert "third" in clock.woken
    clock.granted(third)
    assert clock.in_flight() == 1


def test_an_offer_that_is_not_taken_within_two_seconds_goes_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    second, third = clock.waiting("stopped", owner="loop"), clock.waiting("third")
    clock.gate.leave(first)
    clock.now += SECOND
    assert clock.gate.ask(third)[0] is None
    clock.now += SECOND
    clock.granted(third)
    assert clock.in_flight() == 1
    assert clock.gate.ask(second)[0] is None  # it is back, and waits at its old place
    fourth = clock.waiting("fourth")
    clock.gate.leave(third)
    clock.granted(second)
    assert clock.gate.ask(fourth)[0] is None


def test_everybody_else_is_told_when_to_look_after_an_offer(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("stopped", owner="loop")
    clock.gate.leave(first)
    _, until = clock.gate.ask(clock.ticket("third"))
    assert until == clock.now + 2 * SECOND


@pytest.mark.parametrize("count", [1, 3, 10])
def test_waiters_of_a_loop_that_stands_still_watch_no_clock_for_others(count: int) -> None:
    """Each loop has a watcher of its own, and threads have theirs."""
    clock = Clock(max_concurrent=5)
    first = clock.ticket("first")
    clock.gate.settle(first, clock.granted(first), Effect(Verdict.NEUTRAL, refused=True, wait=1.0))
    untils = [clock.gate.ask(clock.ticket("stopped", owner="a loop"))[1] for _ in range(count)]
    assert untils[0] == SECOND
    for owner in (None, "another loop"):
        assert clock.gate.ask(clock.ticket("alive", owner=owner))[1] == SECOND


def test_not_every_thread_watches_the_clock() -> None:
    clock = Clock(max_concurrent=5)
    first = clock.ticket("first")
    clock.gate.settle(first, clock.granted(first), Effect(Verdict.NEUTRAL, refused=True, wait=1.0))
    untils = [clock.gate.ask(clock.ticket("thread"))[1] for _ in range(50)]
    assert 1 <= untils.count(SECOND) <= 5
    assert untils.count(None) >= 45


def test_a_watcher_that_leaves_is_replaced(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.gate.settle(first, clock.granted(first), Effect(Verdict.NEUTRAL, refused=True, wait=1.0))
    tickets = [clock.ticket(f"thread {number}") for number in range(8)]
    watchers = [ticket for ticket in tickets if clock.gate.ask(ticket)[1] is not None]
    for ticket in watchers:
        clock.gate.leave(ticket)
    assert clock.woken  # somebody is woken to watch in their place
    assert len(watchers) < 8


def test_after_the_close_nobody_gets_anything(clock: Clock) -> None:
    late = clock.ticket("late")
    holder = clock.ticket("holder")
    grant = clock.granted(holder)
    waits = clock.waiting("waits")
    clock.gate.close()
    assert clock.woken == ["waits"]
    for ticket in (late, waits, clock.ticket("later")):
        got, _ = clock.gate.ask(ticket)
        assert isinstance(got, Rejection)
        assert got.reason is Reason.CLOSED
    clock.gate.settle(holder, grant, OK)
    assert (clock.in_flight(), clock.gate.stats()["queued"]) == (0, 0)


def test_a_retry_after_the_close_is_refused(clock: Clock) -> None:
    holder = clock.ticket("holder")
    grant = clock.granted(holder)
    clock.gate.close()
    refused = clock.gate.settle(holder, grant, OK, Retry(0.0))
    assert refused is not None
    assert refused.reason is Reason.CLOSED


def test_a_finaliser_in_the_holder_of_the_lock_does_not_wait_for_it(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    waits = clock.waiting("waits")
    told: list[str] = []
    started = time.monotonic()
    with clock.gate._lock:
        clock.gate.abandon(first, lambda: told.append("first"))
        assert (told, clock.woken) == ([], [])
    assert time.monotonic() - started < 1
    clock.gate.leave(clock.ticket("an ordinary operation"))
    assert (told, clock.woken) == (["first"], ["waits"])
    clock.granted(waits)


def test_what_a_finaliser_gives_back_is_offered_at_once_and_told_later(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("waits")
    told: list[str] = []
    clock.gate.abandon(first, lambda: told.append("first"))
    assert (told, clock.woken) == ([], ["waits"])
    clock.gate.leave(clock.ticket("an ordinary operation"))
    assert told == ["first"]


def test_waking_and_telling_happen_outside_the_lock(clock: Clock) -> None:
    free: list[bool] = []

    def look(_: object = None) -> None:
        free.append(clock.gate._lock.acquire(blocking=False))
        if free[-1]:
            clock.gate._lock.release()

    clock.gate.emitter.hooks = (look,)
    first = clock.ticket("first")
    grant = clock.granted(first)
    waits = clock.waiting("waits")
    waits.wake = look
    clock.gate.settle(first, grant, Effect(Verdict.NEUTRAL, refused=True, wait=1.0))
    clock.now += 2 * SECOND
    clock.gate.leave(clock.ticket("polls"))
    clock.gate.close()
    assert free
    assert all(free)


def test_many_threads_at_once_keep_the_count() -> None:
    clock = Clock(max_concurrent=4)
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most
        for _ in range(50):
            ticket = clock.gate.ticket(model="m")
            woken = threading.Event()
            ticket.wake = woken.set
            while True:
                woken.clear()
                got, _ = clock.gate.ask(ticket)
                if got is not None:
                    break
                assert woken.wait(5)
            assert isinstance(got, Grant)
            with lock:
                most = max(most, clock.gate.endpoints[0].in_flight)
            time.sleep(0.0002)
            clock.gate.settle(ticket, got, OK)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 4
    assert (clock.in_flight(), clock.gate.stats()["queued"], clock.gate.stats()["success"]) == (0, 0, 400)
