"""The dispatcher under everything that callers, servers and the clock can do."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from same_examples import fixed
from scheduler_checks import (
    GONE,
    LAPSED,
    MAX_RETRY_AFTER,
    OFFERED,
    PENDING,
    REJECTED,
    TAKEN,
    Call,
    DispatcherChecks,
)  # fmt: skip

from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy
from opea_core.errors import RateLimited
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact, Mark, Retry
from opea_core.policy.scheduler import Scheduler

PAUSES = st.sampled_from(
    [1, SECOND // 2, SECOND, SECOND, 2 * SECOND, 5 * SECOND, 61 * SECOND]
) | st.integers(0, 10 * SECOND)
DOWN = EndpointImpact(Verdict.FAIL, connect_class=True)
FAILURES = [
    EndpointImpact(Verdict.FAIL),
    DOWN,
    EndpointImpact(Verdict.FAIL, late=True),
    EndpointImpact(Verdict.FAIL, refused=True),
    EndpointImpact(Verdict.FAIL, refused=True, wait=3.0),
    EndpointImpact(Verdict.NEUTRAL, refused=True, reason=RateLimited("no", status_code=429)),
    EndpointImpact(Verdict.NEUTRAL, refused=True, wait=0.7),
    EndpointImpact(Verdict.NEUTRAL, refused=True, wait=30.0),
    EndpointImpact(Verdict.NEUTRAL, refused=True, wait=600.0),
    EndpointImpact(Verdict.NEUTRAL, mark=Mark.KEY),
    EndpointImpact(Verdict.NEUTRAL, mark=Mark.MODEL),
]
EFFECTS = [
    EndpointImpact(),
    EndpointImpact(allowance=(1, 4.0)),
    EndpointImpact(Verdict.NEUTRAL),
    *FAILURES,
]
ENDPOINTS = st.tuples(
    st.sampled_from([1, 2, 3, 1, 2, None]), st.integers(0, 1), st.sampled_from([1.0, 2.0])
)
SHAPES = (
    st.tuples(ENDPOINTS)
    | st.tuples(ENDPOINTS, ENDPOINTS)
    | st.tuples(ENDPOINTS, ENDPOINTS, ENDPOINTS)
)
"""Limit, tier and weight of one to three endpoints."""


class SchedulerMachine(DispatcherChecks):
    """A dispatcher, and all that may be said
    of each step by looking at every ticket and endpoint.
    """

    @initialize(
        shape=SHAPES,
        max_queued=st.sampled_from([1000, 1000, 1000, 3, 1, 0]),
        queue_timeout=st.sampled_from([None, None, 3.0]),
        aging=st.sampled_from([5.0, 1.0, 0.0]),
        recovery_wait=st.sampled_from([2.5, 7.0, 30.0, 0.0]),
        connect_failure_threshold=st.integers(1, 2),
        seed=st.integers(0, 9),
    )
    def begin(
        self,
        shape: tuple[tuple[int | None, int, float], ...],
        connect_failure_threshold: int,
        seed: int,
        **queue: Any,
    ) -> None:
        chance = random.Random(seed).random
        breaker = BreakerPolicy(
            window=6,
            min_calls=4,
            connect_failure_threshold=connect_failure_threshold,
            break_duration=1,
            steady=2,
            max_break_duration=8,
            probe_interval=2,
        )
        configs = [
            Endpoint(base_url=f"http://{name}/v1", max_concurrent=limit, tier=tier, weight=weight)
            for name, (limit, tier, weight) in zip("abc", shape, strict=False)
        ]
        self.endpoints = [EndpointState(config, breaker, chance, 0) for config in configs]
        for endpoint in self.endpoints:
            endpoint.answered = True
        self.policy = QueuePolicy(**queue)
        self.scheduler = Scheduler(self.endpoints, self.policy, MAX_RETRY_AFTER / SECOND, chance)
        self.now = 0
        self.calls: list[Call] = []
        self.ended: list[Call] = []
        self.readmitted = 0
        self.cooldowns: dict[ModelLimits, int] = {}
        for _ in range(4):
            self.come_one(
                priority=5, deadline=None, pins=(), recovery_wait=None, model="m", takes=True
            )

    # --- rules

    @precondition(lambda self: len(self.calls) < 12)
    @rule(
        priority=st.sampled_from([5, 5, 4, 0, 9]),
        deadline=st.sampled_from([None, None, None, 20 * SECOND, 4 * SECOND, SECOND, 0]),
        pins=st.sampled_from([(), (), (), (0,), (1,), (0, 1), (1, 2)]),
        recovery_wait=st.sampled_from([None, None, 12.0, 0.0]),
        model=st.sampled_from(["m", "n"]),
        takes=st.sampled_from([True, True, False]),
        count=st.integers(1, 3),
    )
    def come(self, count: int, **options: Any) -> None:
        for _ in range(count):
            self.come_one(**options)

    def come_one(
        self,
        priority: int,
        deadline: int | None,
        pins: tuple[int, ...],
        recovery_wait: float | None,
        model: str,
        takes: bool,
    ) -> None:
        pinned = [self.endpoints[n] for n in pins if n < len(self.endpoints)] or None
        until = None if deadline is None else self.now + deadline
        ticket = self.scheduler.ticket(
            self.now,
            model=model,
            endpoints=pinned,
            priority=priority,
            deadline=until,
            recovery_wait=recovery_wait,
        )
        assert ticket.key == self.now + int(priority * self.policy.aging * SECOND)
        wait = self.policy.recovery_wait if recovery_wait is None else recovery_wait
        self.calls.append(
            Call(ticket, pinned or list(self.endpoints), int(wait * SECOND), self.now, priority)
        )
        self.watch(lambda: self.scheduler.add(ticket, self.now))
        assert ticket.state in (PENDING, OFFERED, REJECTED)
        if takes:
            self.scheduler.take(ticket)

    @precondition(lambda self: self.any(OFFERED, LAPSED, PENDING))
    @rule(which=st.integers(0, 99))
    def take(self, which: int) -> None:
        """A waiter asks what it got."""
        states = (OFFERED, LAPSED) if self.any(OFFERED, LAPSED) else (PENDING,)
        call = self.pick(which, *states)
        self.readmitted += call.ticket.state is LAPSED and not call.ticket.retrying
        state, got = call.ticket.state, self.scheduler.take(call.ticket)
        if state is OFFERED:
            assert got is call.permit is not None
            assert call.ticket.state is TAKEN
        else:
            assert got is None
            assert call.ticket.state is PENDING
            self.poll()

    @precondition(lambda self: self.any(OFFERED, LAPSED))
    @rule()
    def take_all(self) -> None:
        for call in self.calls:
            self.readmitted += call.ticket.state is LAPSED and not call.ticket.retrying
            self.scheduler.take(call.ticket)
        self.poll()

    @precondition(lambda self: self.any(TAKEN))
    @rule(
        which=st.integers(0, 99),
        effect=st.sampled_from(EFFECTS),
        poll=st.booleans(),
        twice=st.booleans(),
    )
    def finish(self, which: int, effect: EndpointImpact, poll: bool, twice: bool) -> None:
        call = self.pick(which, TAKEN)
        self.settle(call, effect)
        if twice and call.ticket.permit is not None:
            self.settle(call, EndpointImpact(Verdict.FAIL, refused=True, wait=9.0))
            call.ticket.permit.endpoint.withdraw_permit(call.ticket.permit)
        self.scheduler.leave(call.ticket)
        call.over = True
        if poll:
            self.poll()

    @precondition(lambda self: self.any(TAKEN))
    @rule(
        which=st.integers(0, 99),
        effect=st.sampled_from(FAILURES),
        delay=st.sampled_from([0.0, 0.0, 1.5, 8.0, None]),
        uses_retry_budget=st.sampled_from([True, True, False]),
        behind=st.sampled_from([False, False, True]),
        spent=st.sampled_from([False, False, True]),
    )
    def fail(self, which: int, **options: Any) -> None:
        self.fail_one(self.pick(which, TAKEN), **options)

    @precondition(lambda self: self.any(TAKEN))
    @rule(
        effect=st.sampled_from([DOWN, DOWN, DOWN, *FAILURES]),
        delay=st.sampled_from([0.0, 1.5]),
        uses_retry_budget=st.booleans(),
    )
    def fail_all(self, effect: EndpointImpact, delay: float, uses_retry_budget: bool) -> None:
        """A server dies: all its calls fail, and want another attempt."""
        for call in [c for c in self.calls if c.ticket.state is TAKEN]:
            self.fail_one(call, effect, delay, uses_retry_budget, behind=False, spent=False)

    @precondition(lambda self: self.any(PENDING, OFFERED, TAKEN))
    @rule(probes=st.integers(2, 12), takes=st.sampled_from([0, SECOND // 2]), hanging=st.booleans())
    def stay_down(self, probes: int, takes: int, hanging: bool) -> None:
        """The servers are down for some time: each probe fails after a while,
        and its call wants another attempt.

        ``hanging``: calls that were sent before it do not notice.
        """
        for _ in range(probes):
            for call in [c for c in self.calls if c.ticket.state is OFFERED]:
                self.scheduler.take(call.ticket)
            self.wait(takes)
            for call in [c for c in self.calls if c.ticket.state is TAKEN]:
                probe = call.permit is not None and call.permit.is_probe
                if probe or not hanging:
                    self.fail_one(
                        call, DOWN, 0.0, uses_retry_budget=False, behind=probe, spent=False
                    )
            self.wait((self.scheduler.wake_at(self.now) or self.now) - self.now)

    def fail_one(
        self,
        call: Call,
        effect: EndpointImpact,
        delay: float | None,
        uses_retry_budget: bool,
        behind: bool,
        spent: bool,
    ) -> None:
        """An attempt failed, and the call wants another;
        ``spent``: it was the last one that the budget had paid.
        """
        failed = self.settle(call, effect)
        for _ in range(int(failed.budget.tokens(self.now)) if spent else 0):
            failed.budget.charge(self.now)
        allowed = [e for e in call.allowed if e is not failed or delay is not None]
        key = call.ticket.key
        rejection = self.scheduler.retry(
            call.ticket, Retry(delay, uses_retry_budget), failed, self.now, behind
        )
        call.allowed = allowed or call.allowed
        if delay is not None:
            call.not_before[failed] = self.now + int(delay * SECOND)
        if rejection is None:
            assert call.ticket.state is PENDING
            assert call.ticket.uses_retry_budget is uses_retry_budget
            assert call.ticket.is_between_attempts is (
                uses_retry_budget or any(at > self.now for at in call.not_before.values())
            )
            assert call.ticket.key >= key
            call.put_back += behind
            assert behind or call.ticket.key == key, "it keeps the time it came"
            assert not behind or all(other < call.ticket for other in self.others(call))
        else:
            self.check_no_retry(call, rejection, allowed, uses_retry_budget)
            self.scheduler.leave(call.ticket)
            call.over = True
        self.poll()

    @precondition(lambda self: self.any(TAKEN))
    @rule(which=st.integers(0, 99))
    def first_content(self, which: int) -> None:
        permit = self.pick(which, TAKEN).permit
        if permit is not None:
            permit.endpoint.prove(permit, self.now)
            self.poll()

    @precondition(lambda self: self.any(PENDING, OFFERED, LAPSED, TAKEN))
    @rule(which=st.integers(0, 99), poll=st.booleans(), twice=st.booleans())
    def leave(self, which: int, poll: bool, twice: bool) -> None:
        """The waiter is cancelled, in whatever state."""
        call = self.pick(which, PENDING, OFFERED, LAPSED, TAKEN)
        if call.permit is not None and call.ticket.state is TAKEN:
            self.settle(call, EndpointImpact(Verdict.NEUTRAL))
        for _ in range(1 + twice):
            self.scheduler.leave(call.ticket)
        call.over = True
        if poll:
            self.poll()

    @precondition(lambda self: self.any(OFFERED))
    @rule(which=st.integers(0, 99))
    def lapse(self, which: int) -> None:
        """An offer cannot be delivered."""
        call = self.pick(which, OFFERED)
        self.scheduler.lapse(call.ticket)
        assert call.ticket.state is LAPSED
        self.poll()

    @precondition(lambda self: self.any(PENDING))
    @rule()
    def ask(self) -> None:
        """Every waiter looks at its own time."""
        for call in self.calls:
            late = call.ticket.state is PENDING and call.is_late(self.now)
            self.scheduler.expire(call.ticket, self.now)
            assert not late or call.ticket.state is REJECTED
            call.over = call.over or late
        self.poll()

    @precondition(lambda self: self.any(PENDING, OFFERED, LAPSED, TAKEN))
    @rule(pause=PAUSES)
    def pass_time(self, pause: int) -> None:
        self.wait(pause)

    # --- after every step

    @invariant()
    def counters_tell_the_truth(self) -> None:
        states = Counter(c.ticket.state for c in self.calls)
        assert self.scheduler.waiting == states[PENDING] + states[OFFERED] + states[LAPSED]
        assert self.scheduler.queued == sum(
            c.ticket.state is PENDING and not c.ticket.retrying for c in self.calls
        )
        assert self.scheduler.queued <= self.policy.max_queued + self.readmitted
        waiters = Counter(self.scheduler.waiters())
        assert waiters == Counter(c.ticket for c in self.calls if c.ticket.state is PENDING)
        for e in self.endpoints:
            live = sum(c.permit is not None and c.permit.endpoint is e for c in self.calls)
            assert e.in_flight == live <= (e.config.max_concurrent or live)
            for model in ("m", "n"):
                assert e.limits(model).in_flight == sum(
                    c.permit is not None and c.permit.limits is e.limits(model) for c in self.calls
                )

    @invariant()
    def a_cooldown_only_grows_unless_something_is_answered(self) -> None:
        for limits in [e.limits(model) for e in self.endpoints for model in ("m", "n")]:
            before, limits_now = self.cooldowns.get(limits, 0), limits.cooldown_until
            assert limits_now >= before or before <= self.now or limits.answered_at == self.now
            self.cooldowns[limits] = limits_now

    @invariant()
    def set_aside_what_ended(self) -> None:
        self.ended += [c for c in self.calls if c.over]
        self.calls = [c for c in self.calls if not c.over]

    # --- the end

    def teardown(self) -> None:
        if self.now % 2:
            self.serve()
        for call in self.calls:
            if call.permit is not None and call.ticket.state is TAKEN:
                self.settle(call, EndpointImpact(Verdict.NEUTRAL))
            self.scheduler.leave(call.ticket)
        assert all(c.ticket.state in (REJECTED, GONE) for c in self.ended), "what ended stays ended"
        assert (self.scheduler.waiting, self.scheduler.queued) == (0, 0)
        assert [e.in_flight for e in self.endpoints] == [0] * len(self.endpoints)
        assert self.scheduler.poll(self.now) == []
        assert self.scheduler.wake_at(self.now) is None
        self.now += 4000 * SECOND
        fresh = self.scheduler.ticket(self.now, model="m")
        assert self.scheduler.add(fresh, self.now) == [fresh]
        assert fresh.state is OFFERED

    def serve(self) -> None:
        """When every call goes well, all are served,
        with nobody to wake the dispatcher but its own clock.
        """
        for _ in range(500):
            for call in self.calls:
                self.scheduler.expire(call.ticket, self.now)
                self.scheduler.take(call.ticket)
                if call.permit is not None:
                    self.settle(call, EndpointImpact())
                    self.scheduler.leave(call.ticket)
            self.poll()
            waiting = [c for c in self.calls if c.ticket.state in (PENDING, OFFERED)]
            if not waiting:
                return
            if all(c.ticket.state is PENDING and not c.is_late(self.now) for c in waiting):
                wake = self.scheduler.wake_at(self.now)
                assert wake is not None, "somebody waits, and nothing will wake it"
                self.move(wake)
                self.poll()
        raise AssertionError("somebody waits for ever")


class LongMachine(SchedulerMachine):
    """The same at length."""


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = fixed(90, 50, few=45)
TestSchedulerAtLength = LongMachine.TestCase
TestSchedulerAtLength.settings = fixed(500, 50)
TestSchedulerAtLength.pytestmark = [pytest.mark.slow]  # type: ignore[attr-defined]


@fixed(40)
@given(stopped=st.integers(1, 8), places=st.integers(1, 3), others=st.integers(1, 3))
def test_a_loop_that_stands_still_costs_two_seconds_once(
    stopped: int, places: int, others: int
) -> None:
    config = Endpoint(base_url="http://a/v1", max_concurrent=places)
    endpoint = EndpointState(config, BreakerPolicy(), lambda: 0.0, 0)
    scheduler = Scheduler([endpoint], QueuePolicy(), 60.0, lambda: 0.0)
    holders = [scheduler.ticket(0) for _ in range(places)]
    waiters = [scheduler.ticket(1) for _ in range(stopped + others)]
    for number, ticket in enumerate(holders + waiters):
        ticket.owner = "stands still" if 0 <= number - places < stopped else f"goes on {number}"
        scheduler.add(ticket, 1)
    for holder in holders:
        permit = scheduler.take(holder)
        assert isinstance(permit, Permit)
        endpoint.settle(permit, EndpointImpact(), "", SECOND)
        scheduler.leave(holder)
    scheduler.poll(SECOND)
    for ticket in waiters[stopped:]:
        scheduler.take(ticket)
    scheduler.poll(3 * SECOND)
    served = [ticket for ticket in waiters[stopped:] if ticket.state in (OFFERED, TAKEN)]
    assert len(served) == min(places, others), (
        "whoever lives is served as soon as one offer has lapsed"
    )
