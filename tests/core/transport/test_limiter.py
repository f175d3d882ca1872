"""The gate with a clock of the test's own: offers nobody takes, waiters that are dead,
and giving back at odd moments.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from opea_core import events
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Retry
from opea_core.policy.scheduler import Reason, Rejection, Ticket
from opea_core.settings import resolve
from opea_core.transport.limiter import Limiter

OK = EndpointImpact(Verdict.OK)


class Clock:
    """A gate, its clock, and callers that write down when they are woken."""

    def __init__(self, **options: Any) -> None:
        self.now = 0
        self.heard: list[events.Event] = []
        self.limiter = Limiter(
            resolve(None, {"max_concurrent": 1, **options}, {}),
            events.Emitter([self.heard.append]),
            lambda: 0.0,
            lambda: self.now,
        )
        self.woken: list[str] = []

    def ticket(self, name: str, owner: object = None, dead: bool = False) -> Ticket:
        """A ticket of a caller; a dead one cannot be woken, as its loop is closed."""

        def wake() -> None:
            if dead:
                raise RuntimeError("Event loop is closed")
            self.woken.append(name)

        ticket = self.limiter.ticket(model="m")
        ticket.wake, ticket.owner = wake, owner
        return ticket

    def waiting(self, name: str, **about: Any) -> Ticket:
        ticket = self.ticket(name, **about)
        assert self.limiter.ask(ticket)[0] is None
        return ticket

    def granted(self, ticket: Ticket) -> Permit:
        got, _ = self.limiter.ask(ticket)
        assert isinstance(got, Permit), got
        return got

    def in_flight(self) -> int:
        count: int = self.limiter.stats()["in_flight"]
        return count


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_place_goes_to_the_first_and_then_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    permit = clock.granted(first)
    second = clock.waiting("second")
    assert clock.in_flight() == 1
    clock.limiter.settle(first, permit, OK)
    assert clock.woken == ["second"]
    assert clock.granted(second).endpoint is permit.endpoint
    assert clock.in_flight() == 1


def test_giving_back_twice_gives_back_once(clock: Clock) -> None:
    first = clock.ticket("first")
    permit = clock.granted(first)
    clock.limiter.settle(first, permit, OK)
    clock.limiter.leave(first)
    clock.limiter.leave(first)
    assert clock.in_flight() == 0
    clock.granted(clock.ticket("second"))
    clock.limiter.leave(first)
    assert clock.in_flight() == 1


def test_a_waiter_that_leaves_is_gone(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.limiter.leave(clock.waiting("second"))
    third = clock.waiting("third")
    clock.limiter.leave(first)
    assert clock.woken == ["third"]
    assert isinstance(clock.limiter.ask(third)[0], Permit)
    assert clock.limiter.stats()["queued"] == 0


def test_an_offer_to_somebody_who_leaves_goes_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    second, third = clock.waiting("second"), clock.waiting("third")
    clock.limiter.leave(first)
    clock.limiter.leave(second)
    assert clock.woken[:2] == ["second", "third"]
    clock.granted(third)


def test_an_offer_to_a_closed_loop_goes_to_the_next_at_once(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("dead", dead=True)
    third = clock.waiting("third")
    clock.limiter.leave(first)
    assert "third" in clock.woken
    clock.granted(third)
    assert clock.in_flight() == 1


def test_an_offer_that_is_not_taken_within_two_seconds_goes_to_the_next(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    second, third = clock.waiting("stopped", owner="loop"), clock.waiting("third")
    clock.limiter.leave(first)
    clock.now += SECOND
    assert clock.limiter.ask(third)[0] is None
    clock.now += SECOND
    clock.granted(third)
    assert clock.in_flight() == 1
    assert clock.limiter.ask(second)[0] is None  # it is back, and waits at its old place
    fourth = clock.waiting("fourth")
    clock.limiter.leave(third)
    clock.granted(second)
    assert clock.limiter.ask(fourth)[0] is None


def test_everybody_else_is_told_when_to_look_after_an_offer(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("stopped", owner="loop")
    clock.limiter.leave(first)
    _, until = clock.limiter.ask(clock.ticket("third"))
    assert until == clock.now + 2 * SECOND


@pytest.mark.parametrize("count", [1, 3, 10])
def test_waiters_of_a_loop_that_stands_still_watch_no_clock_for_others(count: int) -> None:
    """Each loop has a watcher of its own, and threads have theirs."""
    clock = Clock(max_concurrent=5)
    first = clock.ticket("first")
    clock.limiter.settle(
        first, clock.granted(first), EndpointImpact(Verdict.NEUTRAL, refused=True, wait=1.0)
    )
    untils = [clock.limiter.ask(clock.ticket("stopped", owner="a loop"))[1] for _ in range(count)]
    assert untils[0] == SECOND
    for owner in (None, "another loop"):
        assert clock.limiter.ask(clock.ticket("alive", owner=owner))[1] == SECOND


def test_not_every_thread_watches_the_clock() -> None:
    clock = Clock(max_concurrent=5)
    first = clock.ticket("first")
    clock.limiter.settle(
        first, clock.granted(first), EndpointImpact(Verdict.NEUTRAL, refused=True, wait=1.0)
    )
    untils = [clock.limiter.ask(clock.ticket("thread"))[1] for _ in range(50)]
    assert 1 <= untils.count(SECOND) <= 5
    assert untils.count(None) >= 45


def test_a_watcher_that_leaves_is_replaced(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.limiter.settle(
        first, clock.granted(first), EndpointImpact(Verdict.NEUTRAL, refused=True, wait=1.0)
    )
    tickets = [clock.ticket(f"thread {number}") for number in range(8)]
    watchers = [ticket for ticket in tickets if clock.limiter.ask(ticket)[1] is not None]
    for ticket in watchers:
        clock.limiter.leave(ticket)
    assert clock.woken  # somebody is woken to watch in their place
    assert len(watchers) < 8


def test_after_the_close_nobody_gets_anything(clock: Clock) -> None:
    late = clock.ticket("late")
    holder = clock.ticket("holder")
    permit = clock.granted(holder)
    waits = clock.waiting("waits")
    clock.limiter.close()
    assert clock.woken == ["waits"]
    for ticket in (late, waits, clock.ticket("later")):
        got, _ = clock.limiter.ask(ticket)
        assert isinstance(got, Rejection)
        assert got.reason is Reason.CLOSED
    clock.limiter.settle(holder, permit, OK)
    assert (clock.in_flight(), clock.limiter.stats()["queued"]) == (0, 0)


def test_a_retry_after_the_close_is_refused(clock: Clock) -> None:
    holder = clock.ticket("holder")
    permit = clock.granted(holder)
    clock.limiter.close()
    refused = clock.limiter.settle(holder, permit, OK, Retry(0.0))
    assert refused is not None
    assert refused.reason is Reason.CLOSED


class Asked:
    """A lock, and whether those who asked for it while it was held would wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waits: list[bool] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.waits += [blocking] if self._lock.locked() else []
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_a_finaliser_in_the_holder_of_the_lock_does_not_wait_for_it(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    waits = clock.waiting("waits")
    told: list[str] = []
    lock = clock.limiter._lock = Asked()  # type: ignore[assignment]
    with lock:
        clock.limiter.abandon(first, lambda: told.append("first"))
        assert (told, clock.woken) == ([], [])
        assert lock.waits == [False]
    clock.limiter.leave(clock.ticket("an ordinary operation"))
    assert (told, clock.woken) == (["first"], ["waits"])
    clock.granted(waits)


def test_what_a_finaliser_gives_back_is_offered_at_once_and_told_later(clock: Clock) -> None:
    first = clock.ticket("first")
    clock.granted(first)
    clock.waiting("waits")
    told: list[str] = []
    clock.limiter.abandon(first, lambda: told.append("first"))
    assert (told, clock.woken) == ([], ["waits"])
    clock.limiter.leave(clock.ticket("an ordinary operation"))
    assert told == ["first"]


def test_waking_and_telling_happen_outside_the_lock(clock: Clock) -> None:
    free: list[bool] = []

    def look(_: object = None) -> None:
        free.append(clock.limiter._lock.acquire(blocking=False))
        if free[-1]:
            clock.limiter._lock.release()

    clock.limiter.emitter.hooks = (look,)
    first = clock.ticket("first")
    permit = clock.granted(first)
    waits = clock.waiting("waits")
    waits.wake = look
    clock.limiter.settle(first, permit, EndpointImpact(Verdict.NEUTRAL, refused=True, wait=1.0))
    clock.now += 2 * SECOND
    clock.limiter.leave(clock.ticket("polls"))
    clock.limiter.close()
    assert free
    assert all(free)


def test_many_threads_at_once_keep_the_count() -> None:
    clock = Clock(max_concurrent=4)
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most
        for _ in range(50):
            ticket = clock.limiter.ticket(model="m")
            woken = threading.Event()
            ticket.wake = woken.set
            while True:
                woken.clear()
                got, _ = clock.limiter.ask(ticket)
                if got is not None:
                    break
                assert woken.wait(5)
            assert isinstance(got, Permit)
            with lock:
                most = max(most, clock.limiter.endpoints[0].in_flight)
            time.sleep(0.0002)
            clock.limiter.settle(ticket, got, OK)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 4
    assert (
        clock.in_flight(),
        clock.limiter.stats()["queued"],
        clock.limiter.stats()["success"],
    ) == (0, 0, 400)
