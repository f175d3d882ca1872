"""What may be said of each step of a dispatcher by looking at every ticket and endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis.stateful import RuleBasedStateMachine

from opea_core.config import QueuePolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.dispatcher import OFFER_TTL, Dispatcher
from opea_core.policy.endpoint import EndpointState, Grant
from opea_core.policy.retry import Effect
from opea_core.policy.ticket import Reason, Rejection, Ticket, TicketState

NEW, PENDING, OFFERED, LAPSED = TicketState.NEW, TicketState.PENDING, TicketState.OFFERED, TicketState.LAPSED
TAKEN, REJECTED, GONE = TicketState.TAKEN, TicketState.REJECTED, TicketState.GONE
MAX_RETRY_AFTER = 60 * SECOND
PROBE_TTL = 2 * SECOND


@dataclass(eq=False)
class Call:
    """What the model knows of a ticket."""

    ticket: Ticket
    allowed: list[EndpointState]
    recovery_wait: int
    came: int = 0
    priority: int = 5
    put_back: int = 0
    """So often its probe failed: it stands behind those that waited then."""
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


class DispatcherChecks(RuleBasedStateMachine):
    """A dispatcher, and all that may be said of each step."""

    dispatcher: Dispatcher
    endpoints: list[EndpointState]
    policy: QueuePolicy
    now: int
    calls: list[Call]

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

    def usable(self, call: Call) -> list[EndpointState]:
        """Where it may go now or when there is room: those that refused its key or model only if there are no others."""
        found = [e for e in call.allowed if not self.opens_at(e) and (not call.ticket.charged or e.budget.allows(self.now))]
        return [e for e in found if not e.is_marked(self.now, call.ticket.model)] or found

    def can_use(self, call: Call, e: EndpointState) -> bool:
        """Whether it could be sent there now, room aside."""
        return e in self.usable(call) and call.not_before.get(e, 0) <= self.now

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
        in_order = not any(c.grant and c.grant.is_probe for c in offered)  # probes are given out of turn
        for call in offered[:1] if ranks and in_order else []:
            assert ranks[call][call.ticket.grant.endpoint] == min(ranks[call].values()), "the first one had the best there was"
        charges = Counter(c.grant.endpoint for c in offered if c.ticket.charged and c.grant)
        for e in self.endpoints:
            left = min(e.budget.capacity, tokens[e] + refunds[e]) - charges[e]
            assert abs(e.budget.tokens(self.now) - left) < 1e-6, "each retry is paid once"
        self.check_waiters()

    def ranks(self, call: Call) -> dict[EndpointState, tuple[int, float]]:
        """The order of preference among the endpoints it could go to."""
        return {
            e: (e.config.tier, (e.in_flight + 1) / e.config.weight) for e in self.endpoints if self.can_use(call, e) and self.has_room(e)
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
        waiting = [c for c in self.calls if c.ticket.state is PENDING and not c.is_late(self.now) and self.may_go(c, e)]
        if grant.is_probe and any(c.ticket.deadline is not None for c in [call, *waiting]):
            return self.check_prober(call, waiting)
        for other in waiting:
            assert not other.ticket < ticket, "smaller key first"
            if not (other.put_back or call.put_back):
                self.check_overtaking(call, other, e)

    def may_go(self, call: Call, e: EndpointState) -> bool:
        """Whether it could surely have been sent there now, gates and room aside."""
        marked = [other.is_marked(self.now, call.ticket.model) for other in call.allowed]
        chosen_last = e.is_marked(self.now, call.ticket.model) and not all(marked)
        pays = not call.ticket.charged or e.budget.allows(self.now)
        return e in call.allowed and call.not_before.get(e, 0) <= self.now and pays and not chosen_last

    def check_prober(self, call: Call, waiting: list[Call]) -> None:
        """A broken endpoint is tried by the first, or by one that tried less often, or has more time left than any before it."""

        def rank(one: Call) -> tuple[int, float]:
            return one.put_back, -(one.ticket.deadline or float("inf"))

        for other in waiting:
            if other.ticket < call.ticket:
                assert other.ticket.deadline is not None
                assert rank(call) <= rank(other)

    def check_overtaking(self, call: Call, other: Call, e: EndpointState) -> None:
        """Whoever goes first although another came before it is more urgent, and came soon enough after it."""
        if call.came > other.came:
            head_start = (other.priority - call.priority) * self.policy.aging * SECOND
            assert call.came - other.came <= head_start, "overtaking is bounded by priority x aging"

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
