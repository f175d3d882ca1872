"""The invariants of section 7: state machines against naive models, with a clock that moves by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import Breaker, Lease, State, Verdict
from opea_core.policy.dispatcher import OFFER_TTL, Dispatcher
from opea_core.policy.endpoint import EndpointState, Grant
from opea_core.policy.retry import Effect, Mark, Retry
from opea_core.policy.ticket import Reason, Rejection, Ticket, TicketState

NEW, PENDING, OFFERED, LAPSED = TicketState.NEW, TicketState.PENDING, TicketState.OFFERED, TicketState.LAPSED
TAKEN, REJECTED, GONE = TicketState.TAKEN, TicketState.REJECTED, TicketState.GONE
PAUSES = st.sampled_from([1, SECOND // 2, SECOND, SECOND, 2 * SECOND, 5 * SECOND, 61 * SECOND]) | st.integers(0, 10 * SECOND)


# --- the breaker


class BreakerMachine(RuleBasedStateMachine):
    """A breaker beside a model that keeps all results and counts them anew each time."""

    @initialize(
        window=st.integers(1, 8),
        min_calls=st.integers(1, 8),
        failure_rate=st.sampled_from([0.3, 0.5, 1.0]),
        consecutive=st.integers(1, 4),
        steady=st.integers(1, 3),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def begin(self, chance: float, **options: Any) -> None:
        self.policy = BreakerPolicy(max_open=8, **options)
        self.breaker = Breaker(self.policy, lambda: chance)
        self.now = 0
        self.state = State.CLOSED
        self.openings = 0
        self.results: list[tuple[Verdict, bool]] = []
        self.probes: dict[int, int] = {}
        self.leases: list[tuple[int, Lease]] = []
        self.era = 0

    @rule(pause=PAUSES)
    def pass_time(self, pause: int) -> None:
        self.now += pause

    @precondition(lambda self: self.breaker.gate(self.now) is None)
    @rule(count=st.integers(1, 4))
    def admit(self, count: int) -> None:
        for _ in range(count):
            if self.breaker.gate(self.now) is None:
                lease = self.breaker.admit(self.now)
                self.leases.append((self.era, lease))
                assert (lease.probe > 0) is (self.state is not State.CLOSED)
                if lease.probe:
                    assert lease.probe not in self.probes
                    self.state = State.HALF_OPEN
                    self.probes[lease.probe] = self.now

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 99), verdict=st.sampled_from([*Verdict, Verdict.FAIL]), connect_class=st.booleans())
    def record(self, which: int, verdict: Verdict, connect_class: bool) -> None:
        era, lease = self.leases.pop(which % len(self.leases))
        self.breaker.record(lease, verdict, self.now, connect_class)
        if era == self.era:
            self._expect(lease, verdict, connect_class)

    def _expect(self, lease: Lease, verdict: Verdict, connect_class: bool) -> None:
        self.probes.pop(lease.probe, None)
        if verdict is Verdict.NEUTRAL:
            return
        if lease.probe:
            self._move(State.CLOSED if verdict is Verdict.OK else State.OPEN)
            return
        self.results.append((verdict, connect_class))
        if verdict is Verdict.FAIL and self._trips():
            self._move(State.OPEN)

    def _trips(self) -> bool:
        run = 0
        for verdict, connect_class in reversed(self.results):
            if verdict is Verdict.OK:
                break
            run += connect_class
        last = [verdict is Verdict.FAIL for verdict, _ in self.results[-self.policy.window :]]
        enough = len(last) >= self.policy.min_calls
        return run >= self.policy.consecutive or (enough and sum(last) / len(last) >= self.policy.failure_rate)

    def _move(self, state: State) -> None:
        self.state, self.era = state, self.era + 1
        self.results.clear()
        self.probes.clear()
        self.openings = self.openings + 1 if state is State.OPEN else 0
        if state is State.OPEN:
            seconds = min(8.0, 2.0 ** max(0, self.openings - self.policy.steady))
            assert seconds <= (self.breaker.open_until - self.now) / SECOND <= seconds * 1.1

    @invariant()
    def same_as_the_model(self) -> None:
        assert self.breaker.state is self.state
        assert self.breaker.probing is bool(self.probes)
        if self.state is State.CLOSED:
            opens = 0
        elif self.state is State.OPEN:
            opens = self.breaker.open_until
        else:
            opens = max(self.probes.values(), default=-(10**12)) + 2 * SECOND
        assert self.breaker.gate(self.now) == (opens if opens > self.now else None)

    def teardown(self) -> None:
        """From every state, time and a success lead back to closed."""
        self.now = max(self.now, self.breaker.gate(self.now) or 0)
        assert self.breaker.gate(self.now) is None
        if self.state is not State.CLOSED:
            self.breaker.record(self.breaker.admit(self.now), Verdict.OK, self.now)
        assert self.breaker.state is State.CLOSED


# --- the dispatcher

DOWN = Effect(Verdict.FAIL, connect_class=True)
EFFECTS = [
    Effect(),
    Effect(Verdict.NEUTRAL),
    Effect(Verdict.FAIL),
    DOWN,
    Effect(Verdict.FAIL, wait=3.0),
    Effect(Verdict.NEUTRAL, limited=True),
    Effect(Verdict.NEUTRAL, limited=True, wait=0.7),
    Effect(Verdict.NEUTRAL, limited=True, wait=30.0),
    Effect(Verdict.NEUTRAL, limited=True, wait=600.0),
    Effect(Verdict.NEUTRAL, mark=Mark.KEY),
    Effect(Verdict.NEUTRAL, mark=Mark.MODEL),
]
ENDPOINTS = st.tuples(st.integers(1, 3), st.integers(0, 1), st.sampled_from([1.0, 2.0]))
SHAPES = st.tuples(ENDPOINTS) | st.tuples(ENDPOINTS, ENDPOINTS) | st.tuples(ENDPOINTS, ENDPOINTS, ENDPOINTS)
"""Limit, tier and weight of one to three endpoints."""
MAX_RETRY_AFTER = 60 * SECOND
PROBE_TTL = 2 * SECOND


@dataclass(eq=False)
class Call:
    """What the model knows of a ticket."""

    ticket: Ticket
    allowed: list[EndpointState]
    recovery_wait: int
    not_before: dict[EndpointState, int] = field(default_factory=dict)
    held: int = 0
    """How long it waited in an outage."""
    idle: int = 0
    """How long an offer of it lay about; whether that counts as being held is left open."""
    over: bool = False

    @property
    def grant(self) -> Grant | None:
        """The place it holds."""
        grant = self.ticket.grant
        return grant if grant is not None and not grant.settled and self.ticket.state in (OFFERED, TAKEN) else None

    def is_late(self, now: int) -> bool:
        """Whether its own time is over."""
        limits = [self.ticket.deadline, None if self.ticket.retrying else self.ticket.queue_deadline]
        return any(limit is not None and limit <= now for limit in limits)


class DispatcherMachine(RuleBasedStateMachine):
    """A dispatcher, and all that may be said of each step by looking at every ticket and endpoint."""

    @initialize(
        shape=SHAPES,
        max_queued=st.sampled_from([1000, 1000, 1000, 3, 1, 0]),
        queue_timeout=st.sampled_from([None, None, 3.0]),
        aging=st.sampled_from([5.0, 1.0, 0.0]),
        recovery_wait=st.sampled_from([2.5, 7.0, 30.0, 0.0]),
        consecutive=st.integers(1, 2),
        seed=st.integers(0, 9),
    )
    def begin(self, shape: tuple[tuple[int, int, float], ...], consecutive: int, seed: int, **queue: Any) -> None:
        chance = random.Random(seed).random
        breaker = BreakerPolicy(window=6, min_calls=4, consecutive=consecutive, open=1, steady=2, max_open=8, probe_ttl=2)
        configs = [
            Endpoint(base_url=f"http://{name}/v1", max_concurrent=limit, tier=tier, weight=weight)
            for name, (limit, tier, weight) in zip("abc", shape, strict=False)
        ]
        self.endpoints = [EndpointState(config, breaker, chance, 0) for config in configs]
        self.policy = QueuePolicy(**queue)
        self.dispatcher = Dispatcher(self.endpoints, self.policy, MAX_RETRY_AFTER / SECOND, chance)
        self.now = 0
        self.calls: list[Call] = []
        self.ended: list[Call] = []
        self.readmitted = 0
        self.gates = dict.fromkeys(self.endpoints, 0)
        for _ in range(4):
            self.come_one(priority=5, deadline=None, pins=(), recovery_wait=None, model="m", takes=True)

    # --- what the model sees

    def pick(self, which: int, *states: TicketState) -> Call:
        calls = [c for c in self.calls if c.ticket.state in states]
        return calls[which % len(calls)]

    def any(self, *states: TicketState) -> bool:
        return any(c.ticket.state in states for c in self.calls)

    def lapsing(self, call: Call) -> bool:
        return call.ticket.state is OFFERED and call.ticket.offered_at + OFFER_TTL <= self.now

    def probes(self, e: EndpointState) -> list[Grant]:
        """The live probes at an endpoint, those of offers that lapse now left out."""
        if e.breaker.state is not State.HALF_OPEN:
            return []
        held = [c.grant for c in self.calls if c.grant is not None and not self.lapsing(c)]
        return [g for g in held if g.endpoint is e and g.is_probe and g.lease.generation == e.breaker.generation]  # type: ignore[union-attr]

    def broken_until(self, e: EndpointState) -> int:
        """When the breaker of an endpoint admits somebody; 0 for now."""
        until = 0
        if e.breaker.state is State.OPEN:
            until = e.breaker.open_until
        else:
            until = max((g.at + PROBE_TTL for g in self.probes(e)), default=0)
        return until if until > self.now else 0

    def opens_at(self, e: EndpointState) -> int:
        """When the gates of an endpoint end; 0 for now."""
        return max(self.broken_until(e), e.gate_until if e.gate_until > self.now else 0)

    def has_room(self, e: EndpointState) -> bool:
        return e.in_flight < min(e.config.max_concurrent, e.ramp or 10**9)

    def can_use(self, call: Call, e: EndpointState) -> bool:
        """Whether it could be sent there now, room aside."""
        pays = not call.ticket.charged or e.budget.allows(self.now)
        return e in call.allowed and call.not_before.get(e, 0) <= self.now and pays and not self.opens_at(e)

    def outage(self, call: Call) -> int:
        """When the first of its endpoints admits a probe, if all are gated and only a breaker can be waited for; else 0."""
        broken = [self.opens_at(e) for e in call.allowed if self.broken_until(e)]
        stated = [self.opens_at(e) for e in call.allowed if not self.broken_until(e)]
        soon = any(at <= self.now + MAX_RETRY_AFTER for at in stated)  # 0 if it is not gated at all
        probing = any(self.probes(e) for e in call.allowed)
        return 0 if soon or probing or not broken else min(broken)

    # --- doing something that grants or rejects, and checking all that it did

    def watch(self, act: Callable[[], list[Ticket]]) -> None:
        before = [c.ticket.state for c in self.calls]
        lapsing = [c for c in self.calls if self.lapsing(c)]
        tokens = {e: e.budget.tokens(self.now) for e in self.endpoints}
        refunds = Counter(c.grant.endpoint for c in lapsing if c.grant and c.grant.charged)
        opens = {e: self.opens_at(e) for e in self.endpoints}
        outages = {c: self.outage(c) for c in self.calls}
        ranks = {c: self.ranks(c) for c in self.calls} if not lapsing else {}
        full = self.dispatcher.queued >= self.policy.max_queued
        woken = act()
        changed = [c for c, state in zip(self.calls, before, strict=True) if c.ticket.state is not state]
        offered = sorted((c for c in changed if c.ticket.state is OFFERED), key=lambda c: c.ticket)
        rejected = [c for c in changed if c.ticket.state is REJECTED]
        assert Counter(woken) == Counter(c.ticket for c in offered + rejected), "whoever gets something is woken, and nobody else"
        assert [c for c in changed if c.ticket.state is LAPSED] == lapsing
        for call in offered:
            self.check_offer(call, opens)
        assert all(count == 1 for count in Counter(c.grant.endpoint for c in offered if c.grant and c.grant.is_probe).values())
        for call in rejected:
            self.check_rejection(call, opens, outages[call], full)
        for call in offered[:1] if ranks else []:
            assert ranks[call][call.ticket.grant.endpoint] == min(ranks[call].values()), "the first one had the best there was"
        charges = Counter(c.grant.endpoint for c in offered if c.ticket.charged and c.grant)
        for e in self.endpoints:
            left = min(e.budget.capacity, tokens[e] + refunds[e]) - charges[e]
            assert abs(e.budget.tokens(self.now) - left) < 1e-6, "each retry is paid once"
        self.check_waiters()

    def ranks(self, call: Call) -> dict[EndpointState, tuple[bool, int, float]]:
        """The order of preference among the endpoints it could go to."""
        return {
            e: (e.is_marked(self.now, call.ticket.model), e.config.tier, (e.in_flight + 1) / e.config.weight)
            for e in self.endpoints
            if self.can_use(call, e) and self.has_room(e)
        }

    def check_offer(self, call: Call, opens: dict[EndpointState, int]) -> None:
        ticket, grant = call.ticket, call.grant
        assert grant is not None
        assert not call.over
        e = grant.endpoint
        assert e in call.allowed
        assert not opens[e], "a gated endpoint is never chosen"
        assert call.not_before.get(e, 0) <= self.now
        assert not call.is_late(self.now)
        assert grant.charged is ticket.charged
        assert e.budget.tokens(self.now) >= 0
        assert e.in_flight <= min(e.config.max_concurrent, e.ramp or 10**9)
        for other in self.calls:
            if other.ticket.state is PENDING and not other.is_late(self.now) and other.ticket < ticket:
                passed = e in other.allowed and other.not_before.get(e, 0) <= self.now
                assert not (passed and (not other.ticket.charged or e.budget.allows(self.now))), "smaller key first"

    def check_rejection(self, call: Call, opens: dict[EndpointState, int], outage: int, full: bool) -> None:
        ticket, rejection = call.ticket, call.ticket.rejection
        assert rejection is not None
        call.over = True
        gates = [opens[e] for e in call.allowed]
        if rejection.reason is Reason.DEADLINE:
            assert ticket.deadline is not None
            assert ticket.deadline <= max(self.now, min(self.opens_at(e) for e in call.allowed))
        elif rejection.reason is Reason.QUEUE_TIMEOUT:
            assert ticket.queue_deadline is not None
            assert not ticket.retrying
            assert ticket.queue_deadline <= max(self.now, min(self.opens_at(e) for e in call.allowed))
        elif rejection.reason is Reason.RATE_LIMITED:
            assert min(gates) > self.now + MAX_RETRY_AFTER
        elif rejection.reason is Reason.BUDGET:
            assert ticket.charged
            assert not any(e.budget.allows(self.now) for e in call.allowed)
        elif full and not ticket.retrying and ticket.enqueued == self.now:
            gated = all(self.opens_at(e) for e in call.allowed)
            assert rejection.reason is (Reason.UNAVAILABLE if gated else Reason.QUEUE_FULL)
        else:
            assert rejection.reason is Reason.UNAVAILABLE
            assert outage
            assert call.held + call.idle + outage - self.now > call.recovery_wait, "held for as long as recovery_wait allows"

    def check_waiters(self) -> None:
        """Right after the dispatcher has decided."""
        wake = self.dispatcher.wake_at(self.now)
        assert wake is None or wake > self.now, "what is possible now has been done"
        for call in self.calls:
            if call.ticket.state is not PENDING:
                continue
            if not call.is_late(self.now):
                free = [e for e in call.allowed if self.has_room(e) and self.can_use(call, e)]
                assert not free, "nobody waits while there is room for it"
            outage = self.outage(call)
            assert not outage or call.held + outage - self.now <= call.recovery_wait, "held no longer than recovery_wait"
            for e in call.allowed:
                if self.has_room(e):
                    lacking = max(0.0, 1 - e.budget.tokens(self.now)) if call.ticket.charged else 0.0
                    paid = self.now + int(lacking * 10 * SECOND) + 1000 if lacking else 0
                    at = max(self.opens_at(e), call.not_before.get(e, 0), paid)
                    assert at <= self.now or (wake is not None and wake <= at), "time is told when it opens"

    def poll(self) -> None:
        self.watch(lambda: self.dispatcher.poll(self.now))

    def settle(self, call: Call, effect: Effect) -> EndpointState:
        grant = call.ticket.grant
        assert grant is not None
        grant.endpoint.settle(grant, effect, call.ticket.model, self.now)
        return grant.endpoint

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
        self, priority: int, deadline: int | None, pins: tuple[int, ...], recovery_wait: float | None, model: str, takes: bool
    ) -> None:
        pinned = [self.endpoints[n] for n in pins if n < len(self.endpoints)] or None
        until = None if deadline is None else self.now + deadline
        ticket = self.dispatcher.ticket(
            self.now, model=model, endpoints=pinned, priority=priority, deadline=until, recovery_wait=recovery_wait
        )
        assert ticket.key == self.now + int(priority * self.policy.aging * SECOND)
        wait = self.policy.recovery_wait if recovery_wait is None else recovery_wait
        self.calls.append(Call(ticket, pinned or list(self.endpoints), int(wait * SECOND)))
        self.watch(lambda: self.dispatcher.add(ticket, self.now))
        assert ticket.state in (PENDING, OFFERED, REJECTED)
        if takes:
            self.dispatcher.take(ticket)

    @precondition(lambda self: self.any(OFFERED, LAPSED, PENDING))
    @rule(which=st.integers(0, 99))
    def take(self, which: int) -> None:
        """A waiter asks what it got."""
        states = (OFFERED, LAPSED) if self.any(OFFERED, LAPSED) else (PENDING,)
        call = self.pick(which, *states)
        self.readmitted += call.ticket.state is LAPSED and not call.ticket.retrying
        state, got = call.ticket.state, self.dispatcher.take(call.ticket)
        if state is OFFERED:
            assert got is call.grant is not None
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
            self.dispatcher.take(call.ticket)
        self.poll()

    @precondition(lambda self: self.any(TAKEN))
    @rule(which=st.integers(0, 99), effect=st.sampled_from(EFFECTS), poll=st.booleans(), twice=st.booleans())
    def finish(self, which: int, effect: Effect, poll: bool, twice: bool) -> None:
        call = self.pick(which, TAKEN)
        self.settle(call, effect)
        if twice and call.ticket.grant is not None:
            self.settle(call, Effect(Verdict.FAIL, limited=True, wait=9.0))
            call.ticket.grant.endpoint.take_back(call.ticket.grant)
        self.dispatcher.leave(call.ticket)
        call.over = True
        if poll:
            self.poll()

    @precondition(lambda self: self.any(TAKEN))
    @rule(
        which=st.integers(0, 99),
        effect=st.sampled_from(EFFECTS[2:]),
        delay=st.sampled_from([0.0, 0.0, 1.5, 8.0, None]),
        charged=st.sampled_from([True, True, False]),
        behind=st.sampled_from([False, False, True]),
        spent=st.sampled_from([False, False, False, True]),
    )
    def fail(self, which: int, **options: Any) -> None:
        self.fail_one(self.pick(which, TAKEN), **options)

    @precondition(lambda self: self.any(TAKEN))
    @rule(effect=st.sampled_from([DOWN, DOWN, DOWN, *EFFECTS[2:]]), delay=st.sampled_from([0.0, 1.5]), charged=st.booleans())
    def fail_all(self, effect: Effect, delay: float, charged: bool) -> None:
        """A server dies: all its calls fail, and want another attempt."""
        for call in [c for c in self.calls if c.ticket.state is TAKEN]:
            self.fail_one(call, effect, delay, charged, behind=False, spent=False)

    @precondition(lambda self: self.any(PENDING, OFFERED, TAKEN))
    @rule(probes=st.integers(2, 12), takes=st.sampled_from([0, SECOND // 2]), hanging=st.booleans())
    def stay_down(self, probes: int, takes: int, hanging: bool) -> None:
        """The servers are down for some time: each probe fails after a while, and its call wants another attempt.

        ``hanging``: calls that were sent before it do not notice.
        """
        for _ in range(probes):
            for call in [c for c in self.calls if c.ticket.state is OFFERED]:
                self.dispatcher.take(call.ticket)
            self.wait(takes)
            for call in [c for c in self.calls if c.ticket.state is TAKEN]:
                probe = call.grant is not None and call.grant.is_probe
                if probe or not hanging:
                    self.fail_one(call, DOWN, 0.0, charged=False, behind=probe, spent=False)
            self.wait((self.dispatcher.wake_at(self.now) or self.now) - self.now)

    def fail_one(self, call: Call, effect: Effect, delay: float | None, charged: bool, behind: bool, spent: bool) -> None:
        """An attempt failed, and the call wants another; ``spent``: it was the last one that the budget had paid."""
        failed = self.settle(call, effect)
        for _ in range(int(failed.budget.tokens(self.now)) if spent else 0):
            failed.budget.charge(self.now)
        allowed = [e for e in call.allowed if e is not failed or delay is not None]
        key = call.ticket.key
        rejection = self.dispatcher.retry(call.ticket, Retry(delay, charged), failed, self.now, behind)
        call.allowed = allowed or call.allowed
        if delay is not None:
            call.not_before[failed] = self.now + int(delay * SECOND)
        if rejection is None:
            assert call.ticket.state is PENDING
            assert call.ticket.charged is (charged and not behind)
            assert call.ticket.key >= key
            assert behind or call.ticket.key == key, "it keeps the time it came"
            assert not behind or all(other < call.ticket for other in self.others(call))
        else:
            self.check_no_retry(call, rejection, allowed, charged and not behind)
            self.dispatcher.leave(call.ticket)
            call.over = True
        self.poll()

    def others(self, call: Call) -> list[Ticket]:
        """The others that wait for the same endpoints."""
        return [c.ticket for c in self.calls if c is not call and c.ticket.state is PENDING and c.ticket.route is call.ticket.route]

    def check_no_retry(self, call: Call, rejection: Rejection, allowed: list[EndpointState], charged: bool) -> None:
        if rejection.reason is Reason.NO_OTHER:
            assert not allowed
        elif rejection.reason is Reason.BUDGET:
            assert charged
            assert not any(e.budget.allows(self.now) for e in allowed)
        else:
            assert rejection.reason is Reason.DEADLINE
            first = min(max(self.now, self.opens_at(e), call.not_before.get(e, 0)) for e in allowed)
            assert call.ticket.deadline is not None
            assert first >= call.ticket.deadline

    @precondition(lambda self: self.any(TAKEN))
    @rule(which=st.integers(0, 99))
    def first_content(self, which: int) -> None:
        grant = self.pick(which, TAKEN).grant
        if grant is not None:
            grant.endpoint.prove(grant, self.now)
            self.poll()

    @precondition(lambda self: self.any(PENDING, OFFERED, LAPSED, TAKEN))
    @rule(which=st.integers(0, 99), poll=st.booleans(), twice=st.booleans())
    def leave(self, which: int, poll: bool, twice: bool) -> None:
        """The waiter is cancelled, in whatever state."""
        call = self.pick(which, PENDING, OFFERED, LAPSED, TAKEN)
        if call.grant is not None and call.ticket.state is TAKEN:
            self.settle(call, Effect(Verdict.NEUTRAL))
        for _ in range(1 + twice):
            self.dispatcher.leave(call.ticket)
        call.over = True
        if poll:
            self.poll()

    @precondition(lambda self: self.any(OFFERED))
    @rule(which=st.integers(0, 99))
    def lapse(self, which: int) -> None:
        """An offer cannot be delivered."""
        call = self.pick(which, OFFERED)
        self.dispatcher.lapse(call.ticket)
        assert call.ticket.state is LAPSED
        self.poll()

    @precondition(lambda self: self.any(PENDING))
    @rule()
    def ask(self) -> None:
        """Every waiter looks at its own time."""
        for call in self.calls:
            late = call.ticket.state is PENDING and call.is_late(self.now)
            self.dispatcher.expire(call.ticket, self.now)
            assert not late or call.ticket.state is REJECTED
            call.over = call.over or late
        self.poll()

    @precondition(lambda self: self.any(PENDING, OFFERED, LAPSED, TAKEN))
    @rule(pause=PAUSES)
    def pass_time(self, pause: int) -> None:
        self.wait(pause)

    def wait(self, pause: int) -> None:
        """Time passes; whenever the dispatcher asked to be woken, it is."""
        self.poll()
        end = self.now + pause
        while self.now < end:
            wake = self.dispatcher.wake_at(self.now)
            self.move(end if wake is None else min(wake, end))
            self.poll()

    def move(self, to: int) -> None:
        for call in self.calls:
            if call.ticket.state is PENDING and self.outage(call):
                call.held += to - self.now
            elif call.ticket.state in (OFFERED, LAPSED):
                call.idle += to - self.now
        self.now = to

    # --- after every step

    @invariant()
    def counters_tell_the_truth(self) -> None:
        states = Counter(c.ticket.state for c in self.calls)
        assert self.dispatcher.waiting == states[PENDING] + states[OFFERED] + states[LAPSED]
        assert self.dispatcher.queued == sum(c.ticket.state is PENDING and not c.ticket.retrying for c in self.calls)
        assert self.dispatcher.queued <= self.policy.max_queued + self.readmitted
        waiters = Counter(self.dispatcher.waiters())
        assert waiters == Counter(c.ticket for c in self.calls if c.ticket.state is PENDING)
        for e in self.endpoints:
            live = sum(c.grant is not None and c.grant.endpoint is e for c in self.calls)
            assert e.in_flight == live <= e.config.max_concurrent

    @invariant()
    def gates_only_grow(self) -> None:
        for e in self.endpoints:
            assert e.gate_until >= self.gates[e]
            self.gates[e] = e.gate_until

    @invariant()
    def set_aside_what_ended(self) -> None:
        self.ended += [c for c in self.calls if c.over]
        self.calls = [c for c in self.calls if not c.over]

    # --- the end

    def teardown(self) -> None:
        if self.now % 2:
            self.serve()
        for call in self.calls:
            if call.grant is not None and call.ticket.state is TAKEN:
                self.settle(call, Effect(Verdict.NEUTRAL))
            self.dispatcher.leave(call.ticket)
        assert all(c.ticket.state in (REJECTED, GONE) for c in self.ended), "what ended stays ended"
        assert (self.dispatcher.waiting, self.dispatcher.queued) == (0, 0)
        assert [e.in_flight for e in self.endpoints] == [0] * len(self.endpoints)
        assert self.dispatcher.poll(self.now) == []
        assert self.dispatcher.wake_at(self.now) is None
        self.now += 4000 * SECOND
        fresh = self.dispatcher.ticket(self.now)
        assert self.dispatcher.add(fresh, self.now) == [fresh]
        assert fresh.state is OFFERED

    def serve(self) -> None:
        """When every call goes well, all are served, with nobody to wake the dispatcher but its own clock."""
        for _ in range(500):
            for call in self.calls:
                self.dispatcher.expire(call.ticket, self.now)
                self.dispatcher.take(call.ticket)
                if call.grant is not None:
                    self.settle(call, Effect())
                    self.dispatcher.leave(call.ticket)
            self.poll()
            waiting = [c for c in self.calls if c.ticket.state in (PENDING, OFFERED)]
            if not waiting:
                return
            if all(c.ticket.state is PENDING and not c.is_late(self.now) for c in waiting):
                wake = self.dispatcher.wake_at(self.now)
                assert wake is not None, "somebody waits, and nothing will wake it"
                self.move(wake)
                self.poll()
        raise AssertionError("somebody waits for ever")


def fixed(examples: int, steps: int) -> settings:
    """The same examples each time. A failure is shown as it was found; add ``Phase.shrink`` (minutes) to make it small."""
    phases = (Phase.explicit, Phase.generate)
    return settings(max_examples=examples, stateful_step_count=steps, phases=phases, derandomize=True, database=None, deadline=None)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = fixed(150, 50)
TestDispatcher = DispatcherMachine.TestCase
TestDispatcher.settings = fixed(200, 50)
