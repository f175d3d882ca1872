"""One endpoint as the dispatcher sees it: places, breaker, gates, preferences, budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opea_core.config import BreakerPolicy, Capabilities, Endpoint
from opea_core.errors import OPEAError
from opea_core.policy import SECOND
from opea_core.policy.breaker import Breaker, Lease, State, Verdict
from opea_core.policy.budget import Budget
from opea_core.policy.retry import Effect, Mark, most_jitter
from opea_core.policy.stats import Stats

_MARK_TIME = 300 * SECOND
_LONGEST_GATE = 3600.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 20.0


@dataclass(slots=True, eq=False)
class Grant:
    """A place at an endpoint; settled once."""

    endpoint: EndpointState
    lease: Lease | None
    gate_seq: int
    charged: bool
    at: int
    again: bool = False
    peers: tuple[EndpointState, ...] = ()
    """The endpoints the call may use, this one among them."""
    settled: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether this call decides if a broken endpoint is used again."""
        return self.lease is not None and self.lease.probe > 0


class EndpointState:
    """What changes about an endpoint. ``config`` does only by discovery; ``capabilities`` are replaced as they are learned."""

    __slots__ = (
        "_backoff_step", "_marks", "_share", "answered", "breaker", "budget", "capabilities", "config", "connection_key", "gate_seq",
        "gate_until", "in_flight", "last_error", "limit", "prepared", "ramp", "stats", "url",
    )  # fmt: skip

    def __init__(self, config: Endpoint, breaker: BreakerPolicy, chance: Callable[[], float], now: int) -> None:
        self.config = config
        self.url = config.url
        self.capabilities: Capabilities = config.capabilities
        self.limit = config.max_concurrent
        self.ramp: int | None = None  # places after a rate limit: 1, doubling per success
        self.in_flight = 0
        self.breaker = Breaker(breaker, chance)
        self.budget = Budget(config.max_concurrent, now)
        self.gate_until = 0
        self.gate_seq = 0  # grows with each gate that is set
        self._backoff_step = 0
        self._share: float | None = None  # of the longest jitter, for the gate that was set last
        self._marks: dict[tuple[Mark, str], int] = {}
        self.answered = False
        self.last_error: OPEAError | None = None
        self.stats = Stats()
        self.connection_key: object = None
        """For ``transport``: which connections may be used."""
        self.prepared: dict[Any, Any] = {}
        """For ``flow``: what requests have in common."""

    def configure(self, config: Endpoint) -> None:
        """More is known about the endpoint."""
        self.config, self.limit = config, config.max_concurrent
        self.prepared.clear()

    @property
    def label(self) -> str:
        """The endpoint's name."""
        return self.config.label

    @property
    def has_room(self) -> bool:
        """Whether a place is free."""
        return self.in_flight < (self.limit if self.ramp is None else min(self.ramp, self.limit))

    @property
    def is_down(self) -> bool:
        """Whether it answered before and its last connections failed."""
        return self.answered and (self.breaker.failing or self.breaker.state is not State.CLOSED)

    def opens_at(self, now: int) -> int | None:
        """None if calls may be sent, else when the gates that run end."""
        gate = self.breaker.gate(now)
        if self.gate_until > now:
            return max(self.gate_until, gate or 0)
        return gate

    def is_marked(self, now: int, model: str) -> bool:
        """Whether the endpoint is chosen last: its key or this model was refused lately."""
        return bool(self._marks) and any(self._marks.get(mark, 0) > now for mark in ((Mark.KEY, ""), (Mark.MODEL, model)))

    def grant(self, now: int, charged: bool, again: bool = False) -> Grant:
        """Take a place; only when there is room and no gate runs. ``again``: for a further attempt."""
        grant = Grant(self, self.breaker.admit(now), self.gate_seq, charged, now, again or charged)
        if charged:
            self.budget.charge(now)
        self.stats.retries += grant.again
        self.in_flight += 1  # last, and no call after it: Ctrl-C cannot come between this and the grant's being the ticket's
        return grant

    def take_back(self, grant: Grant) -> None:
        """Undo a grant that nobody took: place, probe and budget are as before."""
        if not grant.settled:
            grant.settled = True
            self.in_flight -= 1
            if grant.lease is not None:
                self.breaker.record(grant.lease, Verdict.NEUTRAL, grant.at)
            if grant.charged:
                self.budget.refund()
            self.stats.retries -= grant.again

    def prove(self, grant: Grant, now: int) -> None:
        """First content came: a probing stream gives its verdict now, not at its end."""
        self.answered = True
        if grant.lease is not None and grant.is_probe:
            self.breaker.record(grant.lease, Verdict.OK, now)
            grant.lease = None

    def settle(self, grant: Grant, effect: Effect, model: str, now: int) -> None:
        """Give the place back and take what the outcome says. A second time does nothing."""
        if grant.settled:
            return
        grant.settled = True
        self.in_flight -= 1
        if grant.lease is not None:
            self.breaker.record(grant.lease, effect.verdict, now, effect.connect_class)
        if effect.reason is not None:
            self.last_error = effect.reason.stripped()
            self.answered = self.answered or effect.reason.status_code is not None
        if effect.limited or effect.wait is not None:
            self._rest(grant, effect, now)
        if effect.mark is not None:
            self._marks[(effect.mark, model if effect.mark is Mark.MODEL else "")] = now + _MARK_TIME
        if effect.verdict is Verdict.OK:
            self._succeeded(grant, model, now)

    def _succeeded(self, grant: Grant, model: str, now: int) -> None:
        self.answered = True
        self.budget.success(now)
        if self._marks:
            self._marks.pop((Mark.KEY, ""), None)
            self._marks.pop((Mark.MODEL, model), None)
        if grant.gate_seq == self.gate_seq:
            self._backoff_step = 0
            if self.ramp is not None:
                self.ramp = self.ramp * 2 if self.ramp * 2 < self.limit else None

    def _rest(self, grant: Grant, effect: Effect, now: int) -> None:
        """Set a gate; gates only ever grow. A burst of 429s sent before the gate counts as one, and has one jitter:
        the longest of many would be the same in every process."""
        fresh = grant.gate_seq == self.gate_seq
        if fresh:
            self._share = None
        if effect.wait is not None:
            stated = effect.wait - effect.jitter
            most = most_jitter(stated)
            if self._share is None:
                self._share = effect.jitter / most if most else 0.0
            wait = min(stated + self._share * most, _LONGEST_GATE)
        elif fresh:
            wait = min(_FIRST_BACKOFF * 2**self._backoff_step, _LONGEST_BACKOFF)
            self._backoff_step = min(self._backoff_step + 1, 10)
        else:
            wait = 0.0
        self.gate_until = max(self.gate_until, now + int(wait * SECOND))
        if effect.limited:
            self.ramp = 1
        if fresh:
            self.gate_seq += 1

    def describe(self, now: int) -> str:
        """Why it is not used now, in words for an error."""
        opens = self.opens_at(now)
        reason = self.last_error.message if self.last_error else "busy"
        if opens is None:
            return f"{self.label}: {reason}"
        return f"{self.label}: {reason} (next try in {(opens - now) / SECOND:.1f} s)"

    def summary(self, now: int) -> dict[str, object]:
        """Figures for ``get_stats``."""
        opens = self.opens_at(now)
        return {
            **self.stats.summary(),
            "in_flight": self.in_flight,
            "breaker": State.HALF_OPEN.value if self.breaker.probing else self.breaker.state.value,
            "gated_for": None if opens is None else (opens - now) / SECOND,
            "max_concurrent": self.limit,
        }
