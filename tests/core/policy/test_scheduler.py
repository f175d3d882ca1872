"""Who goes next, and where: rules W1 to W7, W12, W33 to W40, R4, R10, E2, E3 and E7 of
docs/contract.md, one behaviour a test.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy
from opea_core.errors import EndpointConnectionError
from opea_core.policy import SECOND
from opea_core.policy.breaker import State, Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Mark, Retry
from opea_core.policy.scheduler import OFFER_TTL, Scheduler
from opea_core.policy.ticket import Reason, Rejection, Ticket, TicketState

OK = EndpointImpact()
CANCELLED = EndpointImpact(Verdict.NEUTRAL)
FAILED = EndpointImpact(Verdict.FAIL)
DOWN = EndpointImpact(Verdict.FAIL, connect_class=True)
NEW, PENDING, OFFERED, LAPSED = (
    TicketState.NEW,
    TicketState.PENDING,
    TicketState.OFFERED,
    TicketState.LAPSED,
)
TAKEN, REJECTED, GONE = TicketState.TAKEN, TicketState.REJECTED, TicketState.GONE


def limited(seconds: float | None = None) -> EndpointImpact:
    """429, with a wait or without one."""
    return EndpointImpact(Verdict.NEUTRAL, refused=True, wait=seconds, chance=0.0)


def place(
    name: str = "a",
    limit: int | None = 1,
    opens_for: float = 1.0,
    answered: bool = True,
    **options: Any,
) -> EndpointState:
    """An endpoint, by default one that has answered before."""
    config = Endpoint(base_url=f"http://{name}/v1", max_concurrent=limit, **options)
    endpoint = EndpointState(config, BreakerPolicy(break_duration=opens_for), lambda: 0.0, 0)
    endpoint.answered = answered
    return endpoint


class World:
    """A dispatcher, and a clock that moves by hand."""

    def __init__(
        self, *places: EndpointState, chance: Callable[[], float] = lambda: 0.0, **queue: Any
    ) -> None:
        self.now = 0
        self.scheduler = Scheduler(places or (place(),), QueuePolicy(**queue), 60.0, chance)

    @property
    def first(self) -> EndpointState:
        return self.scheduler.endpoints[0]

    def ticket(self, deadline: float | None = None, **options: Any) -> Ticket:
        until = None if deadline is None else self.now + int(deadline * SECOND)
        return self.scheduler.ticket(self.now, deadline=until, **options)

    def come(self, **options: Any) -> Ticket:
        """A call comes; what it is offered is not yet taken."""
        ticket = self.ticket(**options)
        self.scheduler.add(ticket, self.now)
        return ticket

    def call(self, **options: Any) -> Ticket:
        """A call comes, and takes what it is offered."""
        ticket = self.come(**options)
        self.scheduler.take(ticket)
        return ticket

    def poll(self) -> list[Ticket]:
        return self.scheduler.poll(self.now)

    def pass_time(self, seconds: float) -> list[Ticket]:
        self.now += int(seconds * SECOND)
        return self.poll()

    def settle(self, ticket: Ticket, effect: EndpointImpact = OK) -> EndpointState:
        permit = self.scheduler.take(ticket)
        assert isinstance(permit, Permit)
        permit.endpoint.settle(permit, effect, ticket.model, self.now)
        return permit.endpoint

    def end(self, ticket: Ticket, effect: EndpointImpact = OK) -> list[Ticket]:
        """The call is over; gives those that are woken."""
        self.settle(ticket, effect)
        self.scheduler.leave(ticket)
        return self.poll()

    def again(
        self, ticket: Ticket, retry: Retry, effect: EndpointImpact = FAILED, behind: bool = False
    ) -> Rejection | None:
        """The attempt failed, and the call waits for its next one."""
        failed = self.settle(ticket, effect)
        rejection = self.scheduler.retry(ticket, retry, failed, self.now, behind)
        self.poll()
        return rejection

    def order(self, *tickets: Ticket) -> list[int]:
        """The positions of the tickets in the order in which they are served, one at a time."""
        served: list[int] = []
        for _ in tickets:
            ticket = next(t for t in tickets if t.state is OFFERED)
            served.append(tickets.index(ticket))
            self.end(ticket)
        return served

    def break_(self, e: EndpointState) -> None:
        """The breaker of an endpoint opens."""
        for _ in range(3):
            e.breaker.record(e.breaker.admit(self.now), Verdict.FAIL, self.now, connect_class=True)
        assert e.breaker.state is State.OPEN

    def rest(self, e: EndpointState, seconds: float) -> None:
        """An endpoint is rate limited."""
        e.settle(
            e.issue_permit(e.limits(""), self.now, uses_retry_budget=False),
            limited(seconds),
            "",
            self.now,
        )

    def spend(self, e: EndpointState) -> None:
        """The retry budget of an endpoint is used up."""
        for _ in range(int(e.budget.tokens(self.now))):
            e.budget.charge(self.now)


def where(ticket: Ticket) -> str | None:
    return None if ticket.permit is None else ticket.permit.endpoint.label


def reason(ticket: Ticket) -> Reason | None:
    return None if ticket.rejection is None else ticket.rejection.reason


# --- W1: at once, or behind those who wait


def test_a_call_is_granted_at_once_where_there_is_room() -> None:
    w = World(place(limit=2))
    assert [w.call().state, w.call().state, w.call().state] == [TAKEN, TAKEN, PENDING]


def test_coming_wakes_the_one_who_came() -> None:
    w = World()
    ticket = w.ticket()
    assert w.scheduler.add(ticket, 0) == [ticket]


def test_a_freed_place_goes_to_the_one_who_waits() -> None:
    w = World()
    holder, waiter = w.call(), w.call()
    assert w.end(holder) == [waiter]
    assert waiter.state is OFFERED


def test_who_comes_when_a_place_is_free_does_not_pass_those_who_wait() -> None:
    w = World()
    holder, waiter = w.call(), w.call()
    w.settle(holder)
    assert w.come().state is PENDING
    assert waiter.state is OFFERED


def test_an_offered_place_is_not_free() -> None:
    w = World()
    holder, waiter = w.call(), w.call()
    w.end(holder)
    late = w.call()
    assert (waiter.state, late.state) == (OFFERED, PENDING)
    assert w.first.in_flight == 1


def test_who_waits_for_another_endpoint_blocks_nobody() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.call(endpoints=[a])
    pinned = w.call(endpoints=[a])
    assert (pinned.state, where(w.call())) == (PENDING, "b")


def test_an_older_pinned_call_goes_before_a_younger_free_one() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    holder, _ = w.call(endpoints=[a]), w.call(endpoints=[b])
    pinned, free = w.call(endpoints=[a]), w.call()
    w.end(holder)
    assert (pinned.state, free.state) == (OFFERED, PENDING)


# --- W2: order


def test_first_come_first_served() -> None:
    w = World()
    holder = w.call()
    waiters = [w.call() for _ in range(5)]
    w.end(holder)
    assert w.order(*waiters) == [0, 1, 2, 3, 4]


def test_urgent_first() -> None:
    w = World()
    holder = w.call()
    waiters = [w.call(priority=p) for p in (9, 5, 0, 5)]
    w.end(holder)
    assert w.order(*waiters) == [2, 1, 3, 0]


@pytest.mark.parametrize(("waited", "order"), [(4.9, [1, 0]), (5.1, [0, 1])])
def test_one_class_of_priority_is_worth_five_seconds_of_waiting(
    waited: float, order: list[int]
) -> None:
    w = World()
    holder = w.call()
    old = w.call(priority=5)
    w.pass_time(waited)
    urgent = w.call(priority=4)
    w.end(holder)
    assert w.order(old, urgent) == order


def test_without_aging_priority_counts_for_nothing() -> None:
    w = World(aging=0)
    holder = w.call()
    waiters = [w.call(priority=9), w.call(priority=0)]
    w.end(holder)
    assert w.order(*waiters) == [0, 1]


def test_those_who_left_do_not_fill_the_queue() -> None:
    w = World()
    w.call()
    last = w.call()
    for _ in range(5000):
        w.scheduler.leave(w.call())
    assert (w.scheduler.queued, w.scheduler.waiting) == (1, 1)
    assert len(last.route.heap) + len(last.route.holds) < 300


# --- W3: a full queue


def test_a_full_queue_refuses_at_once() -> None:
    w = World(max_queued=2)
    calls = [w.call() for _ in range(4)]
    assert [c.state for c in calls] == [TAKEN, PENDING, PENDING, REJECTED]
    assert reason(calls[3]) is Reason.QUEUE_FULL
    assert w.scheduler.queued == 2


def test_a_full_queue_wakes_the_one_it_refuses() -> None:
    w = World(max_queued=0)
    w.call()
    late = w.ticket()
    assert w.scheduler.add(late, 0) == [late]


def test_a_full_queue_says_nothing_of_the_endpoint() -> None:
    w = World(max_queued=0)
    holder = w.call()
    for _ in range(50):
        w.call()
    w.end(holder)
    assert w.first.opens_at(w.first.limits(""), 0) is None
    assert w.first.breaker.state is State.CLOSED
    assert w.call().state is TAKEN


def test_max_queued_0_never_waits() -> None:
    w = World(place(limit=2), max_queued=0)
    assert [w.call().state for _ in range(3)] == [TAKEN, TAKEN, REJECTED]


def test_max_queued_0_does_not_wait_for_a_broken_endpoint_either() -> None:
    w = World(max_queued=0)
    w.break_(w.first)
    assert reason(w.call()) is Reason.UNAVAILABLE


def test_who_leaves_makes_room_in_the_queue() -> None:
    w = World(max_queued=1)
    w.call()
    w.scheduler.leave(w.call())
    assert w.call().state is PENDING


def test_a_retry_is_never_refused_by_a_full_queue() -> None:
    w = World(max_queued=1)
    holder, waiter = w.call(), w.call()
    assert w.again(holder, Retry(1.0)) is None
    assert (holder.state, waiter.state) == (PENDING, OFFERED)
    assert w.call().state is PENDING, "a retry takes no place in the queue"


# --- W4: deadline and queue timeout


def test_nobody_is_granted_after_the_deadline() -> None:
    w = World()
    holder, waiter = w.call(), w.call(deadline=5)
    w.now = 5 * SECOND
    assert w.end(holder) == [waiter]
    assert (waiter.state, reason(waiter)) == (REJECTED, Reason.DEADLINE)


def test_one_nanosecond_before_the_deadline_is_in_time() -> None:
    w = World()
    holder, waiter = w.call(), w.call(deadline=5)
    w.now = 5 * SECOND - 1
    w.end(holder)
    assert waiter.state is OFFERED


def test_nobody_is_granted_after_the_queue_timeout() -> None:
    w = World(queue_timeout=5)
    holder, waiter = w.call(), w.call()
    w.now = 5 * SECOND
    w.end(holder)
    assert reason(waiter) is Reason.QUEUE_TIMEOUT


def test_the_next_one_gets_the_place_of_the_one_that_is_too_late() -> None:
    w = World()
    holder, late, next_ = w.call(), w.call(deadline=1), w.call()
    w.now = 2 * SECOND
    assert w.end(holder) == [late, next_]
    assert next_.state is OFFERED


@pytest.mark.parametrize(
    ("options", "why"), [({"deadline": 5}, Reason.DEADLINE), ({}, Reason.QUEUE_TIMEOUT)]
)
def test_a_waiter_that_asks_after_its_time_is_rejected(
    options: dict[str, Any], why: Reason
) -> None:
    w = World(queue_timeout=7)
    w.call()
    waiter = w.call(**options)
    w.scheduler.expire(waiter, 5 * SECOND - 1)
    assert waiter.state is PENDING
    w.scheduler.expire(waiter, 7 * SECOND)
    assert reason(waiter) is why
    assert w.scheduler.waiting == 0


def test_an_offer_in_time_stays() -> None:
    w = World()
    offered = w.come(deadline=1)
    w.scheduler.expire(offered, 2 * SECOND)
    assert isinstance(w.scheduler.take(offered), Permit)


def test_the_queue_timeout_is_for_the_queue_not_for_retries() -> None:
    w = World(queue_timeout=1)
    call, _ = w.call(), w.call()
    w.again(call, Retry(10.0))
    w.pass_time(5)
    w.scheduler.expire(call, w.now)
    assert call.state is PENDING


def test_a_retry_is_never_granted_after_the_deadline() -> None:
    w = World()
    call = w.call(deadline=5)
    w.again(call, Retry(4.0))
    w.pass_time(6)
    assert call.state is PENDING
    w.scheduler.expire(call, w.now)
    assert reason(call) is Reason.DEADLINE


@pytest.mark.parametrize(
    ("options", "queue", "why"),
    [
        ({"deadline": 0.5}, {}, Reason.DEADLINE),
        ({}, {"queue_timeout": 0.5}, Reason.QUEUE_TIMEOUT),
        ({"deadline": 0.5}, {"queue_timeout": 0.7}, Reason.DEADLINE),
    ],
)
def test_a_wait_that_cannot_fit_is_not_begun(
    options: dict[str, Any], queue: dict[str, Any], why: Reason
) -> None:
    w = World(**queue)
    w.break_(w.first)
    assert reason(w.call(**options)) is why


def test_a_wait_that_fits_is_begun() -> None:
    w = World(queue_timeout=1.5)
    w.break_(w.first)
    assert w.call(deadline=1.1).state is PENDING


# --- W5, W6: offers


def test_an_offer_is_final_when_it_is_taken() -> None:
    w = World()
    ticket = w.come()
    permit = w.scheduler.take(ticket)
    assert ticket.state is TAKEN
    w.pass_time(100)
    assert w.scheduler.take(ticket) is permit
    assert w.first.in_flight == 1


def test_an_offer_not_taken_within_two_seconds_goes_to_the_next() -> None:
    w = World()
    stopped, next_ = w.come(), w.call()
    w.now = OFFER_TTL - 1
    assert w.poll() == []
    w.now = OFFER_TTL
    assert w.poll() == [stopped, next_]  # the first one, as it may only have missed its waking
    assert (stopped.state, next_.state, w.first.in_flight) == (LAPSED, OFFERED, 1)


def test_each_offer_has_its_own_two_seconds() -> None:
    w = World(place(limit=2))
    w.come()
    w.pass_time(1)
    second = w.come()
    w.pass_time(1.5)
    assert second.state is OFFERED
    w.pass_time(0.5)
    assert second.state is LAPSED


def test_time_tells_when_an_offer_lapses() -> None:
    w = World()
    w.come()
    assert w.scheduler.wake_at(0) == OFFER_TTL


def test_a_lapsed_offer_waits_until_its_waiter_shows_life() -> None:
    w = World()
    stopped = w.come()
    w.pass_time(2)
    assert w.poll() == []
    assert w.first.in_flight == 0
    assert w.scheduler.take(stopped) is None
    assert (stopped.state, w.poll()) == (PENDING, [stopped])


def test_a_lapsed_ticket_keeps_its_place_in_the_order() -> None:
    w = World()
    stopped, next_ = w.come(), w.call()
    w.pass_time(2)
    later = w.call()
    w.scheduler.take(stopped)
    w.end(next_)
    assert w.order(stopped, later) == [0, 1]


def test_a_lapsed_ticket_is_in_the_queue_once() -> None:
    w = World(place(limit=2), place("b"))
    for _ in range(10):
        stopped = w.come()
        w.scheduler.lapse(stopped)
        w.scheduler.take(stopped)
        w.scheduler.lapse(stopped)
        w.scheduler.take(stopped)
        assert [t for t in w.scheduler.waiters() if t is stopped] == [stopped]
        w.scheduler.leave(stopped)


def test_an_offer_that_cannot_be_delivered_goes_to_the_next_at_once() -> None:
    w = World()
    dead, next_ = w.come(), w.call()
    w.scheduler.lapse(dead)
    assert w.poll() == [next_]


def test_only_offers_lapse() -> None:
    w = World()
    taken, pending = w.call(), w.call()
    for ticket in (taken, pending):
        w.scheduler.lapse(ticket)
    assert (taken.state, pending.state, w.first.in_flight) == (TAKEN, PENDING, 1)


def test_a_retry_whose_offer_lapsed_pays_once() -> None:
    w = World()
    call = w.call()
    w.again(call, Retry(0.0))
    w.pass_time(2)
    assert (call.state, w.first.stats.retries, w.first.budget.tokens(w.now)) == (LAPSED, 0, 20)
    w.scheduler.take(call)
    w.poll()
    assert isinstance(w.scheduler.take(call), Permit)
    assert (w.first.stats.retries, w.first.budget.tokens(w.now)) == (1, 19)


def test_a_dead_waiter_costs_no_probe() -> None:
    w = World(place(limit=5))
    w.break_(w.first)
    dead, next_ = w.come(), w.come()
    w.pass_time(1)
    assert (dead.state, next_.state) == (OFFERED, PENDING)
    w.pass_time(2)
    assert (dead.state, next_.state, next_.permit is not None and next_.permit.is_probe) == (
        LAPSED,
        OFFERED,
        True,
    )


# --- W7: everything comes back, once


def in_state(w: World, state: TicketState) -> Ticket:
    """A ticket in a given state, of a world with one place."""
    if state is NEW:
        return w.ticket()
    if state in (PENDING, REJECTED):
        w.call()
        ticket = w.call(deadline=1)
        if state is REJECTED:
            w.scheduler.expire(ticket, SECOND)
        return ticket
    ticket = w.come()
    if state is LAPSED:
        w.scheduler.lapse(ticket)
    if state is TAKEN:
        w.settle(ticket)
    return ticket


@pytest.mark.parametrize("state", [NEW, PENDING, OFFERED, LAPSED, TAKEN, REJECTED])
def test_leaving_in_any_state_leaves_nothing(state: TicketState) -> None:
    w = World()
    ticket = in_state(w, state)
    assert ticket.state is state
    taken = w.first.in_flight - (state is OFFERED)
    for _ in range(3):
        w.scheduler.leave(ticket)
    assert ticket.state is GONE
    assert (w.scheduler.waiting, w.scheduler.queued, w.first.in_flight) == (0, 0, taken)


def test_an_offer_that_is_left_passes_on() -> None:
    w = World()
    leaver, next_ = w.come(), w.call()
    w.scheduler.leave(leaver)
    assert w.poll() == [next_]


def test_a_retry_that_is_left_leaves_nothing() -> None:
    w = World()
    call = w.call()
    w.again(call, Retry(5.0))
    w.scheduler.leave(call)
    w.pass_time(6)
    assert (w.scheduler.waiting, w.first.in_flight, w.scheduler.wake_at(w.now)) == (0, 0, None)


def test_giving_back_twice_frees_one_place() -> None:
    w = World(place(limit=2))
    holder, _, first, second = [w.call() for _ in range(4)]
    permit = holder.permit
    assert permit is not None
    w.end(holder)
    permit.endpoint.settle(permit, OK, "", 0)
    w.poll()
    assert (first.state, second.state) == (OFFERED, PENDING)


def test_closing_rejects_all_who_wait() -> None:
    w = World(place(limit=2))
    holder, retrying, waiter = w.call(), w.call(), None
    w.again(retrying, Retry(5.0))
    w.call()
    waiter = w.call()
    assert set(w.scheduler.close(0)) == {waiter, retrying}
    assert (reason(waiter), reason(retrying), holder.state) == (Reason.CLOSED, Reason.CLOSED, TAKEN)
    assert w.scheduler.waiting == 0


# --- E2, E3: choice


def test_the_lowest_tier_first() -> None:
    w = World(place("spare", 9, tier=1), place("a", 1), place("b", 1))
    assert sorted(str(where(w.call())) for _ in range(2)) == ["a", "b"]
    assert where(w.call()) == "spare"


def test_one_with_a_mark_is_not_used_because_the_other_is_full() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.end(w.call(endpoints=[a]), EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    first, second = w.call(), w.call()
    assert (where(first), second.state) == ("b", PENDING)
    w.end(first)
    assert where(second) == "b"


def test_one_with_a_mark_is_used_when_the_other_rests() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.end(w.call(endpoints=[a]), EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    w.end(w.call(endpoints=[b]), limited(9))
    assert where(w.call()) == "a"


def test_a_missing_model_matters_for_that_model_only() -> None:
    a, b = place("a", 9), place("b", 9)
    w = World(a, b)
    w.end(w.call(endpoints=[a], model="m"), EndpointImpact(Verdict.NEUTRAL, mark=Mark.MODEL))
    assert where(w.call(model="m")) == "b"
    assert where(w.call(model="other")) == "a"


def test_a_mark_weighs_more_than_a_tier() -> None:
    a, spare = place("a"), place("spare", tier=1)
    w = World(a, spare)
    w.end(w.call(endpoints=[a]), EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    assert where(w.call()) == "spare"


def test_a_marked_endpoint_alone_is_used_at_once() -> None:
    w = World()
    w.end(w.call(), EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY))
    assert w.call().state is TAKEN


def test_the_least_loaded_first() -> None:
    a, b = place("a", 9), place("b", 9)
    w = World(a, b)
    for _ in range(3):
        w.call(endpoints=[a])
    assert [where(w.call()) for _ in range(3)] == ["b", "b", "b"]


def test_load_is_by_weight() -> None:
    w = World(place("light", 99, weight=1), place("heavy", 99, weight=3))
    served = [where(w.call()) for _ in range(40)]
    assert (served.count("light"), served.count("heavy")) == (10, 30)


def test_ties_are_broken_by_chance() -> None:
    chances = iter([0.9, 0.1, 0.1, 0.9])
    w = World(place("a", 9), place("b", 9), chance=lambda: next(chances))
    first = w.call()
    assert where(first) == "b"
    w.settle(first)
    assert where(w.call()) == "a"


def test_full_endpoints_are_passed_over() -> None:
    w = World(place("a", 1), place("spare", 1, tier=1))
    assert [where(w.call()) for _ in range(3)] == ["a", "spare", None]


@pytest.mark.parametrize("limiter", ["breaker", "rate limit"])
def test_gated_endpoints_are_passed_over(limiter: str) -> None:
    a, spare = place("a", 9), place("spare", 1, tier=1)
    w = World(a, spare)
    w.break_(a) if limiter == "breaker" else w.rest(a, 1)
    assert [where(w.call()), where(w.call())] == ["spare", None]
    w.pass_time(1)
    assert where(w.call()) is None, "the one who waited went first"


def test_a_grant_names_the_endpoints_that_are_left_to_the_call() -> None:
    a, b, c = place("a"), place("b", tier=1), place("c", tier=2)
    w = World(a, b, c)
    call = w.call()
    assert call.permit is not None
    assert call.permit.candidates == (a, b, c)
    w.again(call, Retry(None))
    assert call.permit.candidates == (b, c)


# --- W33 to W40: holds


def test_calls_are_held_while_the_breaker_is_open() -> None:
    w = World()
    w.break_(w.first)
    held = w.call()
    assert (held.state, w.scheduler.wake_at(0)) == (PENDING, SECOND)
    assert w.pass_time(1) == [held]
    assert held.state is OFFERED


def test_held_calls_follow_when_the_probe_has_answered() -> None:
    w = World(place(limit=5))
    w.break_(w.first)
    held = [w.call() for _ in range(3)]
    w.pass_time(1)
    assert [t.state for t in held] == [OFFERED, PENDING, PENDING]
    assert w.end(held[0]) == held[1:]


def test_recovery_wait_0_fails_at_once() -> None:
    w = World(recovery_wait=0)
    w.break_(w.first)
    late = w.call()
    assert reason(late) is Reason.UNAVAILABLE


def test_recovery_wait_0_of_one_call() -> None:
    w = World()
    w.break_(w.first)
    assert w.call().state is PENDING
    assert reason(w.call(recovery_wait=0)) is Reason.UNAVAILABLE


def test_an_unavailable_endpoint_is_named_with_its_last_error() -> None:
    w = World(recovery_wait=0)
    error = EndpointConnectionError("nothing answers")
    for _ in range(3):
        w.end(w.call(), EndpointImpact(Verdict.FAIL, connect_class=True, reason=error))
    rejection = w.call().rejection
    assert rejection is not None
    assert (type(rejection.cause), str(rejection.cause), rejection.retry_after) == (
        EndpointConnectionError,
        "nothing answers",
        1.0,
    )
    assert rejection.endpoints == ("a: nothing answers (next try in 1.0 s)",)
    assert rejection.answered


def test_an_endpoint_that_never_answered_is_waited_for_a_moment_only() -> None:
    w = World(place(answered=False))
    w.break_(w.first)
    held = w.call()
    assert w.scheduler.wake_at(0) == SECOND // 2, "and tried the sooner"
    assert outage(w, held) <= 1.5
    assert held.rejection is not None
    assert (held.rejection.reason, held.rejection.answered) == (Reason.UNAVAILABLE, False)


def test_the_first_answer_ever_makes_an_endpoint_worth_waiting_for() -> None:
    w = World(place(answered=False), recovery_wait=10)
    w.break_(w.first)
    held = w.call()
    w.pass_time(0.4)
    w.first.answered = True
    assert 5 <= outage(w, held) <= 10


def test_a_broken_endpoint_is_tried_every_three_seconds_while_somebody_is_held() -> None:
    w = World(place(opens_for=30))
    w.break_(w.first)
    assert w.first.opens_at(w.first.limits(""), 0) == 30 * SECOND
    held = w.call()
    assert w.scheduler.wake_at(0) == 3 * SECOND
    assert w.pass_time(3) == [held]


def outage(w: World, *held: Ticket, probe_takes: float = 0.0) -> float:
    """Probes fail, one after the other, until the first of the held is rejected;
    gives how long it took.
    """
    start = w.now
    for _ in range(1000):
        if any(t.state is REJECTED for t in held):
            return (w.now - start) / SECOND
        wake = w.scheduler.wake_at(w.now)
        assert wake is not None
        w.now = wake
        for probe in w.poll():
            if probe.state is OFFERED:
                w.scheduler.take(probe)
                w.pass_time(probe_takes)
                w.again(probe, Retry(0.0, uses_retry_budget=False), DOWN, behind=True)
    raise AssertionError("held for ever")


@pytest.mark.parametrize("recovery_wait", [3, 10, 30])
def test_calls_are_held_for_recovery_wait_at_most(recovery_wait: float) -> None:
    w = World(recovery_wait=recovery_wait)
    w.break_(w.first)
    held = [w.call() for _ in range(3)]
    waited = outage(w, *held)
    rejection = next(t.rejection for t in held if t.rejection is not None)
    assert rejection.reason is Reason.UNAVAILABLE
    assert rejection.retry_after is not None
    assert waited <= recovery_wait < waited + rejection.retry_after, (
        "rejected as soon as the next try lies beyond"
    )


def test_the_wait_stands_still_while_a_probe_is_in_flight() -> None:
    w = World(recovery_wait=10)
    w.break_(w.first)
    held = [w.call(), w.call()]
    assert outage(w, *held, probe_takes=1.0) == pytest.approx(20, abs=3)


def test_a_slow_probe_rejects_nobody() -> None:
    w = World(recovery_wait=3)
    w.break_(w.first)
    probe, held = w.call(), w.call()
    w.pass_time(1)
    w.scheduler.take(probe)
    for _ in range(20):
        w.pass_time(10)
    assert held.state is PENDING
    w.end(probe)
    assert held.state is OFFERED


def test_a_late_comer_is_held_for_as_long_as_an_early_one() -> None:
    w = World(recovery_wait=3)
    w.break_(w.first)
    probe, early = w.call(recovery_wait=1000), w.call()
    w.pass_time(1)
    w.again(probe, Retry(0.0, uses_retry_budget=False), DOWN, behind=True)
    w.pass_time(0.5)
    late = w.call()
    assert outage(w, early) <= 2
    assert late.state is PENDING
    assert outage(w, late) > 0


def test_time_in_flight_is_not_time_held() -> None:
    w = World(place(limit=5))
    long = w.call()
    w.break_(w.first)
    w.scheduler.leave(w.call())  # held for a moment
    w.pass_time(600)
    w.again(long, Retry(0.0), DOWN)
    w.again(long, Retry(0.0), DOWN)  # it was the probe
    assert w.first.breaker.state is State.OPEN
    assert long.state is PENDING


def test_a_second_hold_is_not_ended_by_the_first() -> None:
    w = World(place(limit=5, opens_for=3), recovery_wait=5)
    long = w.call()
    w.break_(w.first)
    other = w.call()
    w.pass_time(2)
    w.again(long, Retry(0.0), DOWN)
    w.pass_time(1)
    w.again(long, Retry(0.0), DOWN)
    assert reason(other) is Reason.UNAVAILABLE
    assert long.state is PENDING, "1 s held, 3 s to go"


def test_a_hold_is_not_begun_for_a_breaker_that_opens_too_late() -> None:
    w = World(place(opens_for=4), recovery_wait=2)
    w.break_(w.first)
    assert reason(w.call()) is Reason.UNAVAILABLE


def test_a_lapsed_offer_does_not_count_the_time_before_it_twice() -> None:
    w = World(place(opens_for=3), recovery_wait=7)
    w.break_(w.first)
    held = w.call()
    w.pass_time(3)
    w.scheduler.lapse(held)
    w.break_(w.first)
    w.scheduler.take(held)
    w.poll()
    assert held.state is PENDING, "3 s held, 3 s to go"
    w.pass_time(3)
    w.scheduler.lapse(held)
    w.break_(w.first)
    w.scheduler.take(held)
    w.poll()
    assert reason(held) is Reason.UNAVAILABLE


def test_calls_are_held_for_a_wait_the_server_stated() -> None:
    w = World()
    w.rest(w.first, 59)
    held = w.call()
    assert (held.state, w.scheduler.wake_at(0)) == (PENDING, 59 * SECOND)
    assert w.pass_time(59) == [held]


def test_a_stated_wait_is_kept_once_however_long_an_outage_may_be() -> None:
    w = World(recovery_wait=3)
    w.rest(w.first, 20)
    held, trial = w.call(recovery_wait=1), w.call(priority=0)
    w.pass_time(20)
    assert (held.state, trial.state) == (PENDING, OFFERED)
    w.again(trial, Retry(20.0, uses_retry_budget=False), limited(20))
    assert reason(held) is Reason.UNAVAILABLE, "it was refused again"
    assert trial.state is PENDING, "it goes by its own attempts"


def refuse_everything(w: World, *held: Ticket, until: float = 60.0) -> float:
    """Whoever is sent is refused, until somebody is rejected or so many seconds have passed;
    gives how long it took.
    """
    start = w.now
    while (w.now - start) / SECOND < until:
        for ticket in [t for t in held if t.state is OFFERED]:
            w.again(ticket, Retry(0.0, uses_retry_budget=False), limited())
        if any(t.state is REJECTED for t in held):
            break
        wake = w.scheduler.wake_at(w.now)
        assert wake is not None
        w.now = wake
        w.poll()
    return (w.now - start) / SECOND


def test_an_endpoint_that_refuses_everything_is_waited_for_as_long_as_a_broken_one() -> None:
    w = World(recovery_wait=10)
    w.rest(w.first, 1)
    held = [w.call(), w.call()]
    waited = refuse_everything(w, *held)
    rejection = next(t.rejection for t in held if t.rejection is not None)
    assert (rejection.reason, rejection.answered) == (Reason.UNAVAILABLE, True)
    assert rejection.retry_after is not None
    assert waited <= 10 < waited + rejection.retry_after, (
        "rejected as soon as the next try lies beyond"
    )


def test_when_the_server_answers_the_time_in_which_it_refused_everything_was_no_outage() -> None:
    w = World(recovery_wait=10)
    w.rest(w.first, 1)
    held = [w.call() for _ in range(3)]
    assert 6 <= refuse_everything(w, *held, until=6) < 10
    w.end(next(t for t in held if t.state is OFFERED))
    w.break_(w.first)
    left = next(t for t in held if t.state is PENDING)
    assert outage(w, left) > 6, "held as if it had come then"


@pytest.mark.parametrize("seconds", [61, 3600])
def test_a_wait_beyond_max_retry_after_is_not_waited_for(seconds: float) -> None:
    w = World()
    w.rest(w.first, seconds)
    late = w.call()
    assert late.rejection is not None
    assert (reason(late), late.rejection.retry_after) == (Reason.RATE_LIMITED, seconds)


def test_those_who_wait_already_are_rejected_as_well() -> None:
    w = World()
    holder, waiter, other = w.call(), w.call(), w.call()
    assert set(w.end(holder, limited(600))) == {waiter, other}
    assert {reason(waiter), reason(other)} == {Reason.RATE_LIMITED}


def test_the_earliest_of_several_gates_is_waited_for() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.rest(a, 600)
    w.rest(b, 30)
    held = w.call()
    assert held.state is PENDING
    w.pass_time(30)
    assert where(held) == "b"


def test_a_broken_endpoint_beside_a_long_rate_limit_is_waited_for() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.rest(a, 600)
    w.break_(b)
    held = w.call()
    assert held.state is PENDING
    w.pass_time(1)
    assert where(held) == "b"


def test_being_held_costs_nothing() -> None:
    w = World()
    w.break_(w.first)
    held = w.call()
    w.pass_time(1)
    permit = w.scheduler.take(held)
    assert isinstance(permit, Permit)
    assert not permit.uses_retry_budget
    assert w.first.budget.tokens(w.now) == 20


def test_those_who_waited_for_a_rate_limit_do_not_return_as_a_burst() -> None:
    w = World(place(limit=8))
    w.rest(w.first, 5)
    held = [w.call() for _ in range(20)]
    w.pass_time(5)
    sizes = []
    while running := [t for t in held if t.state in (OFFERED, TAKEN)]:
        sizes.append(len(running))
        for ticket in running:
            w.settle(ticket)
            w.scheduler.leave(ticket)
        w.poll()
    assert sizes == [1, 2, 3, 5, 8, 1]


def test_what_one_model_is_refused_holds_back_no_other_model() -> None:
    w = World(place(limit=4))
    w.end(w.call(model="m"), limited(30))
    assert (w.call(model="m").state, w.call(model="other").state) == (PENDING, TAKEN)


def test_one_that_was_refused_beside_others_goes_as_soon_as_one_of_them_ends() -> None:
    w = World(place(limit=3))
    first = w.call()
    w.pass_time(1)
    w.end(first)
    running, refused, _ = w.call(), w.call(), w.call()
    w.again(refused, Retry(0.0, uses_retry_budget=False), limited())
    w.pass_time(0.1)
    assert refused.state is PENDING
    assert w.end(running) == [refused]


# --- W12: between two attempts


def test_a_call_between_attempts_holds_no_place() -> None:
    w = World()
    call, waiter = w.call(), w.call()
    w.again(call, Retry(5.0))
    assert (call.state, waiter.state) == (PENDING, OFFERED)


def test_the_same_endpoint_only_from_not_before_on() -> None:
    w = World()
    call = w.call()
    w.again(call, Retry(5.0))
    assert w.scheduler.wake_at(0) == 5 * SECOND
    w.now = 5 * SECOND - 1
    assert w.poll() == []
    w.now = 5 * SECOND
    assert w.poll() == [call]


def test_another_endpoint_at_once() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    call = w.call()
    w.again(call, Retry(5.0))
    assert (call.state, where(call)) == (OFFERED, "b")


def test_it_keeps_the_time_it_came() -> None:
    w = World()
    holder = w.call()
    w.pass_time(1)
    younger = [w.call() for _ in range(3)]
    w.again(holder, Retry(0.0))
    assert [t.state for t in (holder, *younger)] == [OFFERED, PENDING, PENDING, PENDING]


def test_a_refused_call_that_pays_nothing_goes_back_to_its_old_place() -> None:
    w = World()
    holder = w.call()
    w.pass_time(1)
    younger = [w.call() for _ in range(3)]
    w.again(holder, Retry(0.0, uses_retry_budget=False), limited(2))
    assert [t.is_between_attempts for t in (holder, *younger)] == [False] * 4
    w.pass_time(2)
    assert w.order(holder, *younger) == [0, 1, 2, 3]


@pytest.mark.parametrize("again", [Retry(0.0), Retry(5.0, uses_retry_budget=False)])
def test_one_that_pays_or_pauses_is_listed_by_itself(again: Retry) -> None:
    w = World()
    call, _ = w.call(), w.call()
    w.again(call, again)
    assert call.is_between_attempts


def test_one_that_waits_for_its_time_blocks_nobody() -> None:
    w = World()
    call = w.call()
    others = [w.call() for _ in range(3)]
    w.again(call, Retry(5.0))
    assert w.order(*others) == [0, 1, 2]


def test_a_failure_that_excludes_the_endpoint_goes_elsewhere_for_good() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    blocker, call = w.call(endpoints=[b]), w.call()
    w.again(call, Retry(None))
    w.pass_time(100)
    assert call.state is PENDING, "a is free, but it refused this call"
    w.end(blocker)
    assert where(call) == "b"


def test_two_failures_exclude_two_endpoints() -> None:
    w = World(place("a"), place("b", tier=1), place("c", tier=2))
    call = w.call()
    visited = [where(call)]
    for _ in range(2):
        w.again(call, Retry(None))
        visited.append(where(call))
    assert visited == ["a", "b", "c"]
    rejection = w.again(call, Retry(None))
    assert rejection is not None
    assert rejection.reason is Reason.NO_OTHER


def test_without_another_endpoint_there_is_no_retry() -> None:
    w = World()
    rejection = w.again(w.call(), Retry(None))
    assert rejection is not None
    assert rejection.reason is Reason.NO_OTHER
    assert (w.scheduler.waiting, w.first.in_flight) == (0, 0)


def test_a_pinned_call_does_not_go_elsewhere() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    rejection = w.again(w.call(endpoints=[a]), Retry(None))
    assert rejection is not None
    assert rejection.reason is Reason.NO_OTHER


def test_an_empty_budget_takes_no_retry() -> None:
    w = World()
    call = w.call()
    w.spend(w.first)
    rejection = w.again(call, Retry(0.0))
    assert rejection is not None
    assert rejection.reason is Reason.BUDGET
    assert w.scheduler.waiting == 0


def test_a_retry_without_charge_needs_no_budget() -> None:
    w = World()
    call = w.call()
    w.spend(w.first)
    assert w.again(call, Retry(0.0, uses_retry_budget=False)) is None
    assert call.state is OFFERED


def test_the_budget_is_that_of_the_endpoint_that_takes_the_retry() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    call = w.call()
    w.again(call, Retry(5.0))
    assert (where(call), a.budget.tokens(0), b.budget.tokens(0)) == ("b", 20, 19)


def test_an_endpoint_without_budget_is_passed_over_by_retries_only() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    call = w.call(endpoints=[a, b])
    w.spend(a)
    w.again(call, Retry(0.0))
    assert where(call) == "b"
    assert where(w.call()) == "a"


def test_a_waiting_retry_ends_when_no_budget_is_left() -> None:
    w = World()
    call = w.call()
    w.again(call, Retry(5.0))
    w.spend(w.first)
    assert w.poll() == [call]
    assert reason(call) is Reason.BUDGET


def test_a_refilled_budget_is_announced() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    call, _ = w.call(endpoints=[a, b]), w.call(endpoints=[b])
    w.spend(a)
    w.again(call, Retry(0.0))
    wake = w.scheduler.wake_at(0)
    assert wake is not None
    w.now = wake
    w.poll()
    assert (w.now / SECOND, where(call)) == (pytest.approx(10, abs=0.01), "a")


@pytest.mark.parametrize(("delay", "rejected"), [(4.9, False), (5.0, True), (9.0, True)])
def test_a_retry_that_cannot_fit_the_deadline_is_not_waited_for(
    delay: float, rejected: bool
) -> None:
    w = World()
    rejection = w.again(w.call(deadline=5), Retry(delay))
    assert (rejection is not None and rejection.reason is Reason.DEADLINE) is rejected


def test_a_gate_beyond_the_deadline_ends_the_retry() -> None:
    w = World()
    rejection = w.again(w.call(deadline=5), Retry(1.0, uses_retry_budget=False), limited(30))
    assert rejection is not None
    assert rejection.reason is Reason.DEADLINE


def test_another_endpoint_within_the_deadline_takes_the_retry() -> None:
    a, b = place("a"), place("b", tier=1)
    w = World(a, b)
    call = w.call(deadline=5)
    assert w.again(call, Retry(30.0, uses_retry_budget=False), limited(30)) is None
    assert where(call) == "b"


def test_a_failed_probe_goes_behind_those_that_are_held() -> None:
    w = World()
    w.break_(w.first)
    probe, *held = [w.call() for _ in range(4)]
    w.pass_time(1)
    w.again(probe, Retry(0.0, uses_retry_budget=False), DOWN, behind=True)
    w.pass_time(1)
    assert w.order(probe, *held) == [1, 2, 3, 0]


def test_a_failed_probe_that_goes_behind_pays_nothing() -> None:
    w = World()
    w.break_(w.first)
    probe = w.call()
    w.pass_time(1)
    w.spend(w.first)
    assert w.again(probe, Retry(0.0, uses_retry_budget=False), DOWN, behind=True) is None
    w.pass_time(1)
    assert probe.state is OFFERED


# --- E7: pinned calls


def test_a_pinned_call_waits_for_its_endpoint() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    holder = w.call(endpoints=[a])
    pinned = w.call(endpoints=[a])
    assert pinned.state is PENDING
    w.end(holder)
    assert where(pinned) == "a"


def test_a_call_pinned_to_some_uses_any_of_them() -> None:
    a, b, c = place("a"), place("b"), place("c")
    w = World(a, b, c)
    assert [where(w.call(endpoints=[b, c])) for _ in range(3)] == ["b", "c", None]


def test_a_call_pinned_to_a_broken_endpoint_is_held() -> None:
    a, b = place("a"), place("b")
    w = World(a, b)
    w.break_(a)
    held = w.call(endpoints=[a])
    assert (held.state, where(w.call())) == (PENDING, "b")
    w.pass_time(1)
    assert where(held) == "a"


def test_many_different_pins_do_not_pile_up() -> None:
    places = [place(f"n{n}") for n in range(12)]
    w = World(*places)
    pins = ([p for p, bit in zip(places, f"{n:012b}", strict=True) if bit == "1"] for n in count(1))
    blocked = w.call(endpoints=[places[0]])
    waiter = w.call(endpoints=[places[0]])
    for _ in range(1000):
        w.end(w.call(endpoints=next(p for p in pins if p != [places[0]])))
    assert len(list(w.scheduler._routes)) < 100
    w.end(blocked)
    assert waiter.state is OFFERED


def test_a_hold_is_measured_by_the_clock_of_those_it_waits_with() -> None:
    """A route is dropped when nobody waits on it, and made anew for the next one."""
    places = [place(f"n{n}", 5) for n in range(8)]
    w = World(*places, recovery_wait=2)
    a = places[0]
    call = w.call(endpoints=[a])
    for n in range(1, 100):
        w.end(
            w.call(
                endpoints=[p for bit, p in zip(f"{n:07b}", places[1:], strict=True) if bit == "1"]
            )
        )
    w.break_(a)
    held = w.call(endpoints=[a], recovery_wait=100)
    for _ in range(5):
        w.pass_time(1)
        w.again(held, Retry(0.0, uses_retry_budget=False), DOWN)
    w.again(call, Retry(0.0), DOWN)
    assert call.route is held.route
    assert call.state is PENDING, "not held before"


# --- waking


def test_without_waiters_there_is_nothing_to_wake_for() -> None:
    w = World()
    w.break_(w.first)
    assert w.scheduler.wake_at(0) is None


def test_a_busy_endpoint_frees_itself_by_an_event_only() -> None:
    w = World()
    w.call()
    w.call()
    assert w.scheduler.wake_at(0) is None


def test_a_hanging_probe_lets_another_through_in_time() -> None:
    w = World(place(limit=5))
    w.break_(w.first)
    first, second = w.call(), w.call()
    w.pass_time(1)
    w.scheduler.take(first)
    assert w.scheduler.wake_at(w.now) == 3 * SECOND
    assert w.pass_time(2) == [second]
