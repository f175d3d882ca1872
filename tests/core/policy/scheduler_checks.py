"""What may be said of each step of a dispatcher by looking at every ticket and endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis.stateful import RuleBasedStateMachine

from opea_core.config import QueuePolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import State
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.permit import Permit
from opea_core.policy.retry import EndpointImpact
from opea_core.policy.scheduler import OFFER_TTL, Scheduler
from opea_core.policy.ticket import Reason, Rejection, Ticket, TicketState

NEW, PENDING, OFFERED, LAPSED = (
    TicketState.NEW,
    TicketState.PENDING,
    TicketState.OFFERED,
    TicketState.LAPSED,
)
TAKEN, REJECTED, GONE = TicketState.TAKEN, TicketState.REJECTED, TicketState.GONE
MAX_RETRY_AFTER = 60 * SECOND
PROBE_TTL = 2 * SECOND
LOOK_EVERY = 3 * SECOND


class Hope(NamedTuple):
    """What a call can hope for."""

    outage: int = 0
    """When the first of its endpoints is tried again,
    if none works as far as anybody knows; else 0.
    """
    refused: bool = False
    """One of them is there, and all that is sent is refused."""
    stated: bool = False
    """A server said how long to wait, and was not yet asked in vain after that:
    nobody gives up before.
    """


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
    refused_from: int | None = None
    """``held`` when everything began to be refused;
    if the server works after all, that was no outage.
    """
    was_refused: bool = False

    @property
    def options(self) -> list[tuple[EndpointState, ModelLimits]]:
        """Its endpoints with what its model may be asked there."""
        return [(e, e.limits(self.ticket.model)) for e in self.allowed]

    @property
    def permit(self) -> Permit | None:
        """The place it holds."""
        permit = self.ticket.permit
        return (
            permit
            if permit is not None and not permit.settled and self.ticket.state in (OFFERED, TAKEN)
            else None
        )

    def is_late(self, now: int) -> bool:
        """Whether its own time is over."""
        limits = [
            self.ticket.deadline,
            None if self.ticket.retrying else self.ticket.queue_deadline,
        ]
        return any(limit is not None and limit <= now for limit in limits)


class DispatcherChecks(RuleBasedStateMachine):
    """A dispatcher, and all that may be said of each step."""

    scheduler: Scheduler
    endpoints: list[EndpointState]
    policy: QueuePolicy
    now: int
    calls: list[Call]
    hurried: frozenset[EndpointState] = frozenset()
    """Those that somebody is held for: they are tried again soon."""

    # --- what the model sees

    def pick(self, which: int, *states: TicketState) -> Call:
        calls = [c for c in self.calls if c.ticket.state in states]
        return calls[which % len(calls)]

    def any(self, *states: TicketState) -> bool:
        return any(c.ticket.state in states for c in self.calls)

    def lapsing(self, call: Call) -> bool:
        return call.ticket.state is OFFERED and call.ticket.offered_at + OFFER_TTL <= self.now

    def probes(self, e: EndpointState) -> list[Permit]:
        """The live probes at an endpoint, those of offers that lapse now left out."""
        if e.breaker.state is not State.HALF_OPEN:
            return []
        held = [c.permit for c in self.calls if c.permit is not None and not self.lapsing(c)]
        return [
            g
            for g in held
            if g.endpoint is e and g.is_probe and g.admission.generation == e.breaker.generation
        ]  # type: ignore[union-attr]

    def broken_until(self, e: EndpointState) -> int:
        """When the breaker of an endpoint admits somebody; 0 for now."""
        until = 0
        if e.breaker.state is State.OPEN:
            until = e.breaker.open_until
            if e in self.hurried:
                until = min(until, e.breaker._opened_at + LOOK_EVERY)
        else:
            until = max((g.at + PROBE_TTL for g in self.probes(e)), default=0)
        return until if until > self.now else 0

    def granted(self, limits: ModelLimits) -> list[Permit]:
        """The live grants of a model at an endpoint, those of offers that lapse now left out."""
        return [
            c.permit
            for c in self.calls
            if c.permit is not None and c.permit.limits is limits and not self.lapsing(c)
        ]

    def cooled_until(self, limits: ModelLimits) -> int:
        """When the cooldown is over, or one call may try before the time; 0 for now."""
        trying, limits.trying = (
            limits.trying,
            limits.trying * any(g.trial == limits.trying for g in self.granted(limits)),
        )
        opens = limits.opens_at(self.now)
        limits.trying = trying
        return opens or 0

    def opens_at(self, call: Call, e: EndpointState) -> int:
        """When a call may be sent to an endpoint, room aside; 0 for now."""
        return max(self.broken_until(e), self.cooled_until(e.limits(call.ticket.model)))

    def has_room(self, call: Call, e: EndpointState) -> bool:
        return e.in_flight < (e.config.max_concurrent or 10**9) and e.limits(
            call.ticket.model
        ).has_room(self.now)

    def usable(self, call: Call) -> list[EndpointState]:
        """Where it may go now or when there is room: those
        that refused its key or model only if there are no others.
        """
        found = [
            e
            for e in call.allowed
            if not self.opens_at(call, e)
            and (not call.ticket.uses_retry_budget or e.budget.allows(self.now))
        ]
        return [e for e in found if not e.is_deprioritized(self.now, call.ticket.model)] or found

    def can_use(self, call: Call, e: EndpointState) -> bool:
        """Whether it could be sent there now, room aside."""
        return e in self.usable(call) and call.not_before.get(e, 0) <= self.now

    def is_asked_too_long(self, call: Call, e: EndpointState) -> bool:
        """Whether the server asks for a wait that nobody waits."""
        limits = e.limits(call.ticket.model)
        return (
            not self.broken_until(e)
            and bool(self.cooled_until(limits))
            and limits.asked_until > self.now + MAX_RETRY_AFTER
        )

    def hope(self, call: Call) -> Hope:
        found, refused, under_way, stated = [], False, False, False
        for e, limits in call.options:
            if self.is_asked_too_long(call, e):
                continue
            broken, opens = self.broken_until(e), self.opens_at(call, e)
            if not broken and not limits.refusals:
                return Hope()
            refused = refused or not broken
            under_way = (
                under_way or not opens or bool(self.probes(e) if broken else self.granted(limits))
            )
            stated = stated or (
                limits.stated and limits.cooldown_until > self.now and limits.refusals < 2
            )
            found.append(opens)
        return Hope(0 if under_way else min(found, default=0), refused, stated)

    def outage(self, call: Call) -> int:
        return self.hope(call).outage

    def look(self) -> None:
        """What the dispatcher finds when it looks: whom somebody is held for,
        and for whom the outage was none.
        """
        waiting = [c for c in self.calls if c.ticket.state in (NEW, PENDING)]
        self.hurried = frozenset(e for c in waiting if self.outage(c) for e in c.allowed)
        for call in self.calls:
            refused, outage = self.hope(call).refused, self.outage(call)
            if call.ticket.state not in (NEW, PENDING):
                call.refused_from = None
            elif refused:
                call.was_refused = True
                call.refused_from = call.held if call.refused_from is None else call.refused_from
            elif call.refused_from is not None:
                call.held = call.held if outage else min(call.held, call.refused_from)
                call.refused_from = None

    # --- doing something that grants or rejects, and checking all that it did

    def watch(self, act: Callable[[], list[Ticket]]) -> None:
        before = [c.ticket.state for c in self.calls]
        lapsing = [c for c in self.calls if self.lapsing(c)]
        tokens = {e: e.budget.tokens(self.now) for e in self.endpoints}
        refunds = Counter(
            c.permit.endpoint for c in lapsing if c.permit and c.permit.uses_retry_budget
        )
        self.look()
        opens = {c: {e: self.opens_at(c, e) for e in c.allowed} for c in self.calls}
        roomy = {limits for c in self.calls for _, limits in c.options if limits.has_room(self.now)}
        hopeless = {c: all(self.is_asked_too_long(c, e) for e in c.allowed) for c in self.calls}
        hopes = {c: self.hope(c) for c in self.calls}
        levels = {limits: limits.concurrency.level for c in self.calls for _, limits in c.options}
        liking = {e: self.liking(e) for e in self.endpoints}
        ranks = {c: self.ranks(c) for c in self.calls} if not lapsing else {}
        usable = {c: self.usable(c) for c in self.calls}
        full = self.scheduler.queued >= self.policy.max_queued
        woken = act()
        self.hurried = frozenset()
        changed = [
            c for c, state in zip(self.calls, before, strict=True) if c.ticket.state is not state
        ]
        offered = sorted((c for c in changed if c.ticket.state is OFFERED), key=lambda c: c.ticket)
        rejected = [c for c in changed if c.ticket.state is REJECTED]
        told = offered + rejected + lapsing
        assert Counter(woken) == Counter(c.ticket for c in told), (
            "whoever got or lost something is woken, and nobody else"
        )
        assert [c for c in changed if c.ticket.state is LAPSED] == lapsing
        for call in offered:
            self.check_offer(call, opens, levels, roomy)
        assert all(
            count == 1
            for count in Counter(
                c.permit.endpoint for c in offered if c.permit and c.permit.is_probe
            ).values()
        )
        assert all(
            count == 1
            for count in Counter(
                c.permit.limits for c in offered if c.permit and c.permit.trial
            ).values()
        )
        for call in rejected:
            self.check_rejection(call, hopeless[call], hopes[call], full)
        in_order = not any(
            c.permit and c.permit.is_probe for c in offered
        )  # probes are given out of turn
        for call in offered[:1] if ranks and in_order else []:
            assert call.ticket.permit.endpoint in usable[call], (
                "one with a mark is chosen only if there is no other"
            )
            assert liking[call.ticket.permit.endpoint] <= min(ranks[call], default=(9, 9)), (
                "the first one had the best there was"
            )
        charges = Counter(
            c.permit.endpoint for c in offered if c.ticket.uses_retry_budget and c.permit
        )
        for e in self.endpoints:
            left = min(e.budget.capacity, tokens[e] + refunds[e]) - charges[e]
            assert abs(e.budget.tokens(self.now) - left) < 1e-6, "each retry is paid once"
        self.check_waiters()

    @staticmethod
    def liking(e: EndpointState) -> tuple[int, float]:
        """The order of preference."""
        return (e.config.tier, (e.in_flight + 1) / e.config.weight)

    def ranks(self, call: Call) -> list[tuple[int, float]]:
        """The preference for each endpoint it could go to."""
        return [
            self.liking(e)
            for e in self.endpoints
            if self.can_use(call, e) and self.has_room(call, e)
        ]

    def check_offer(
        self,
        call: Call,
        opens: dict[Call, dict[EndpointState, int]],
        levels: dict[ModelLimits, int],
        roomy: set[ModelLimits],
    ) -> None:
        """``roomy`` had room before the step too: room that a slow start makes within it comes too
        late for an earlier one.
        """
        ticket, permit = call.ticket, call.permit
        assert permit is not None
        assert not call.over
        e = permit.endpoint
        assert e in call.allowed
        assert permit.limits is e.limits(ticket.model)
        assert not opens[call][e], "one that is closed is never chosen"
        assert call.not_before.get(e, 0) <= self.now
        assert not call.is_late(self.now)
        assert permit.uses_retry_budget is ticket.uses_retry_budget
        assert e.budget.tokens(self.now) >= 0
        assert e.in_flight <= (e.config.max_concurrent or 10**9)
        assert permit.place <= max(levels[permit.limits], permit.limits.concurrency.level)
        waiting = [
            c
            for c in self.calls
            if c.ticket.state is PENDING and not c.is_late(self.now) and self.may_go(c, e)
        ]
        same = [c for c in waiting if c.ticket.model == ticket.model]
        if permit.is_probe and any(c.ticket.deadline is not None for c in [call, *same]):
            return self.check_prober(call, same)
        could_go = [c for c in waiting if c not in same and not opens[c][e]]
        for other in same + [
            c
            for c in could_go
            if (limits := e.limits(c.ticket.model)) in roomy and limits.has_room(self.now)
        ]:
            assert not other.ticket < ticket, "smaller key first"
            if not (other.put_back or call.put_back):
                self.check_overtaking(call, other, e)

    def may_go(self, call: Call, e: EndpointState) -> bool:
        """Whether it could surely have been sent there now, cooldowns and room aside."""
        marked = [other.is_deprioritized(self.now, call.ticket.model) for other in call.allowed]
        chosen_last = e.is_deprioritized(self.now, call.ticket.model) and not all(marked)
        pays = not call.ticket.uses_retry_budget or e.budget.allows(self.now)
        return (
            e in call.allowed and call.not_before.get(e, 0) <= self.now and pays and not chosen_last
        )

    def check_prober(self, call: Call, waiting: list[Call]) -> None:
        """A broken endpoint is tried by the first, or by one that tried less often,
        or has more time left than any before it.
        """

        def rank(one: Call) -> tuple[int, float]:
            return one.put_back, -(one.ticket.deadline or float("inf"))

        earlier = sorted(
            (other for other in waiting if other.ticket < call.ticket),
            key=lambda other: other.ticket,
        )
        assert all(rank(call) <= rank(other) for other in earlier)
        assert not earlier or earlier[0].ticket.deadline is not None, (
            "the first has no end of its time: it tries"
        )

    def check_overtaking(self, call: Call, other: Call, e: EndpointState) -> None:
        """Whoever goes first although another came before it is more urgent,
        and came soon enough after it.
        """
        if call.came > other.came:
            head_start = (other.priority - call.priority) * self.policy.aging * SECOND
            assert call.came - other.came <= head_start, "overtaking is bounded by priority x aging"

    def check_rejection(self, call: Call, hopeless: bool, hope: Hope, full: bool) -> None:
        ticket, rejection = call.ticket, call.ticket.rejection
        assert rejection is not None
        call.over = True
        opens = [self.opens_at(call, e) for e in call.allowed]
        if rejection.reason is Reason.DEADLINE:
            assert ticket.deadline is not None
            assert ticket.deadline <= max(self.now, min(opens))
        elif rejection.reason is Reason.QUEUE_TIMEOUT:
            assert ticket.queue_deadline is not None
            assert not ticket.retrying
            assert ticket.queue_deadline <= max(self.now, min(opens))
        elif rejection.reason is Reason.RATE_LIMITED:
            assert hopeless
        elif rejection.reason is Reason.BUDGET:
            assert ticket.uses_retry_budget
            assert not any(e.budget.allows(self.now) for e in call.allowed)
        elif full and not ticket.retrying and ticket.enqueued == self.now:
            assert rejection.reason is (Reason.UNAVAILABLE if all(opens) else Reason.QUEUE_FULL)
        else:
            assert rejection.reason is Reason.UNAVAILABLE
            assert hope.outage
            assert not hope.stated, "a wait that the server stated is kept once"
            assert call.held + call.idle + hope.outage - self.now > call.recovery_wait, (
                "held for as long as recovery_wait allows"
            )

    def check_waiters(self) -> None:
        """Right after the dispatcher has decided."""
        wake = self.scheduler.wake_at(self.now)
        assert wake is None or wake > self.now, "what is possible now has been done"
        for call in self.calls:
            if call.ticket.state is not PENDING:
                continue
            if not call.is_late(self.now):
                free = [e for e in call.allowed if self.has_room(call, e) and self.can_use(call, e)]
                assert not free, "nobody waits while there is room for it"
            assert not all(self.is_asked_too_long(call, e) for e in call.allowed), (
                "nobody waits for what is too long"
            )
            outage, _, stated = self.hope(call)
            if outage:
                hasty = [e for e in call.allowed if e.breaker.state is State.OPEN]
                assert all(
                    e.breaker.open_until <= e.breaker._opened_at + LOOK_EVERY for e in hasty
                ), "it is tried soon"
                is_refused = call.ticket.route.refused or any(
                    self.is_asked_too_long(call, e) for e in call.allowed
                )
                own_pauses = call.ticket.is_between_attempts or call.recovery_wait < SECOND
                spared = call.was_refused or (is_refused and own_pauses)
                in_time = stated or spared or call.held + outage - self.now <= call.recovery_wait
                assert in_time, "held no longer than recovery_wait"
            for e in call.allowed:
                if self.has_room(call, e):
                    lacking = (
                        max(0.0, 1 - e.budget.tokens(self.now))
                        if call.ticket.uses_retry_budget
                        else 0.0
                    )
                    paid = self.now + int(lacking * 10 * SECOND) + 1000 if lacking else 0
                    at = max(self.opens_at(call, e), call.not_before.get(e, 0), paid)
                    assert at <= self.now or (wake is not None and wake <= at), (
                        "time is told when it opens"
                    )

    def poll(self) -> None:
        self.watch(lambda: self.scheduler.poll(self.now))

    def settle(self, call: Call, effect: EndpointImpact) -> EndpointState:
        permit = call.ticket.permit
        assert permit is not None
        permit.endpoint.settle(permit, effect, call.ticket.model, self.now)
        return permit.endpoint

    def others(self, call: Call) -> list[Ticket]:
        """The others that wait for the same endpoints."""
        return [
            c.ticket
            for c in self.calls
            if c is not call and c.ticket.state is PENDING and c.ticket.route is call.ticket.route
        ]

    def check_no_retry(
        self,
        call: Call,
        rejection: Rejection,
        allowed: list[EndpointState],
        uses_retry_budget: bool,
    ) -> None:
        if rejection.reason is Reason.NO_OTHER:
            assert not allowed
        elif rejection.reason is Reason.BUDGET:
            assert uses_retry_budget
            assert not any(e.budget.allows(self.now) for e in allowed)
        else:
            assert rejection.reason is Reason.DEADLINE
            first = min(
                max(self.now, self.opens_at(call, e), call.not_before.get(e, 0)) for e in allowed
            )
            assert call.ticket.deadline is not None
            assert first >= call.ticket.deadline

    def wait(self, pause: int) -> None:
        """Time passes; whenever the dispatcher asked to be woken, it is."""
        self.poll()
        end = self.now + pause
        while self.now < end:
            wake = self.scheduler.wake_at(self.now)
            self.move(end if wake is None else min(wake, end))
            self.poll()

    def move(self, to: int) -> None:
        for call in self.calls:
            if call.ticket.state is PENDING and self.outage(call):
                call.held += to - self.now
            elif call.ticket.state in (OFFERED, LAPSED):
                call.idle += to - self.now
        self.now = to
