"""One endpoint as the scheduler sees it: its models' limits, breaker, preferences, budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from opea_core.bounded_dict import Bounded
from opea_core.capabilities import Capabilities
from opea_core.config import BreakerPolicy, Endpoint
from opea_core.errors import OPEAError
from opea_core.policy import SECOND
from opea_core.policy.breaker import Admission, Breaker, State, Verdict
from opea_core.policy.budget import Budget
from opea_core.policy.concurrency import FIRST
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.permit import Permit
from opea_core.policy.rate_limit import NOTHING, Need, RateWindow, RateWindows
from opea_core.policy.retry import EndpointImpact, Mark
from opea_core.policy.stats import Stats
from opea_core.types import Usage

if TYPE_CHECKING:
    pass

_DEPRIORITIZED_FOR = 300 * SECOND
_MOST_MODELS = 256
_MOST_KEYS = 4
_LEARNED_FOR = 3600 * SECOND


# What changes about an endpoint, apart from its breaker and its models.
#
# known?         | event                                    | next
# ---------------|------------------------------------------|---------------------------------------
# never answered | any HTTP status, or first content        | answered, for the object's life
# never answered | a connection failed, a time limit passed | never answered (W39, R5, T10)
# answered       | a connection failed                      | answered: is_down (B13, B16)
#
# mark       | event                             | next
# -----------|-----------------------------------|--------------------------------------------------
# none       | 401, 402, 403, quota, redirect    | KEY, for 300 s (E4)
# none       | 404, unknown model                | MODEL, for that model, 300 s (E4)
# KEY, MODEL | the same again                    | the same, 300 s from now
# KEY        | a success of any model            | none
# MODEL      | a success of that model           | none
# KEY, MODEL | 300 s have passed                 | none
# any        | a list of models (GET) is refused | the same (E9)
#
# permit  | event                      | next
# --------|----------------------------|------------------------------------------------------------
# (none)  | issue_permit               | issued: in flight + 1, budget charged if the retry pays
# issued  | withdraw_permit: the offer | settled: budget, cohort and breaker as before
#         | was not taken              |
# issued  | settle                     | settled: in flight - 1, the outcome is taken
# issued  | first content of a probing | issued: verdict OK is given (B10)
#         | stream (prove)             |
# settled | settle, withdraw_permit    | settled: nothing (W7)


def _count_tokens(permit: Permit, usage: Usage | None) -> None:
    """Put what an answer took in the place of what was reserved for it."""
    if usage is not None:
        for window, held in permit.reserved:
            window.settle(held, usage.prompt_tokens, usage.completion_tokens)


def _window(rpm: int | None, tpm: int | None) -> RateWindow | None:
    return None if rpm is None and tpm is None else RateWindow(rpm, tpm)


class EndpointState:
    """What changes about an endpoint. ``config`` does only by discovery."""

    __slots__ = (
        "_learned", "_marks", "_models", "answered", "breaker", "budget", "config",
        "connection_key", "in_flight", "keys", "last_error", "prepared", "rate", "server_id",
        "share", "share_ends", "stats", "url",
    )  # fmt: skip

    def __init__(
        self, config: Endpoint, breaker: BreakerPolicy, chance: Callable[[], float], now: int
    ) -> None:
        self.config = config
        self.url = config.url
        self.server_id = hashlib.sha256(config.url.root.encode()).hexdigest()[:16]
        """A mark of its base URL, for what is bound to a server."""
        self.rate = _window(config.rpm, config.tpm)
        """Requests and tokens a minute, of all models together."""
        self.share: int | None = None
        """What other processes leave of ``max_concurrent``; None where nobody shares it."""
        self.share_ends = 0
        """When the share is somebody else's, unless it was renewed."""
        self._learned: Bounded[str, tuple[Capabilities, int]] = Bounded(_MOST_MODELS)
        self.in_flight = 0
        self.breaker = Breaker(breaker, chance)
        self.budget = Budget(config.max_concurrent, now)
        self._models: dict[str, ModelLimits] = {}
        self._marks: Bounded[tuple[Mark, str], int] = Bounded(_MOST_MODELS)
        self.answered = False
        """Whether anything that speaks HTTP ever answered."""
        self.last_error: OPEAError | None = None
        self.stats = Stats()
        self.connection_key: object = None
        """For ``transport``: which connections may be used."""
        self.keys: tuple[str, ...] = ()
        """The last keys that a function gave: a server may echo one after it was renewed."""
        self.prepared: dict[Any, Any] = {}
        """For ``flow``: what requests have in common."""

    def used_key(self, key: str) -> None:
        """A key of a function goes out; the last few are known."""
        if key not in self.keys:
            self.keys = (*self.keys[1 - _MOST_KEYS :], key)

    def configure(self, config: Endpoint) -> None:
        """More is known about the endpoint."""
        self.config = config
        self.prepared.clear()
        for limits in self._models.values():
            limits.concurrency.configure(config.max_concurrent)

    def capabilities(self, model: str, now: int | None = None) -> Capabilities:
        """What it takes for a model: what its refusals taught, below what was set.

        What was learned an hour ago is forgotten, if ``now`` is given: servers change.
        """
        learned, until = self._learned.get(model, (self.config.capabilities, 0))
        if now is not None and until and now >= until:
            self._learned.pop(model, None)
            return self.config.capabilities
        return learned

    def learn(self, model: str, capabilities: Capabilities, now: int) -> None:
        """A refusal taught this, and what was sent then was taken."""
        learned = capabilities.below(self.config.capabilities)
        self._learned[model] = (learned, now + _LEARNED_FOR)

    @property
    def label(self) -> str:
        """The endpoint's name."""
        return self.config.label

    def limits(self, model: str) -> ModelLimits:
        """What a model may be asked here. A gateway limits each of its models by itself."""
        found = self._models.get(model)
        if found is None:
            if len(self._models) >= _MOST_MODELS:
                self._forget_idle()
            found = self._models[model] = ModelLimits(
                self.config.max_concurrent, self.config.weight, self._rates(model)
            )
        return found

    def _rates(self, model: str) -> RateWindows | None:
        """The limits a minute for a model: the endpoint's, and its own."""
        own = self.config.models.get(model) or self.config.models.get(self.config.model or "")
        windows = (self.rate, None if own is None else _window(own.rpm, own.tpm))
        found = [window for window in windows if window is not None]
        return RateWindows(*found) if found else None

    def known_limits(self) -> list[tuple[str, ModelLimits]]:
        """The models that were asked, with their limits."""
        return list(self._models.items())

    def windows(self) -> Iterator[tuple[str, RateWindow]]:
        """Its limits a minute: ``""`` for that of all models together, and those of single ones."""
        if self.rate is not None:
            yield "", self.rate
        for model, limits in self._models.items():
            for window in limits.rates.windows if limits.rates is not None else ():
                if window is not self.rate:
                    yield model, window

    def _forget_idle(self) -> None:
        """Forget the models that nobody asks now, the oldest first, down to half.

        Of those that must wait the last ones stay.
        """
        idle = [model for model, limits in self._models.items() if not limits.in_flight]
        for model in sorted(idle, key=lambda model: self._models[model].cooldown_until)[
            : _MOST_MODELS // 2
        ]:
            del self._models[model]

    @property
    def level(self) -> int:
        """How many requests may be in flight now, over all models."""
        found = sum(limits.concurrency.level for limits in self._models.values())
        return (
            min(found, self.config.max_concurrent or found)
            if found
            else self.config.max_concurrent or FIRST
        )

    def has_room(self, limits: ModelLimits, now: int, need: Need | None = None) -> bool:
        """Whether a place is free for a model; ``need``: the tokens of the call that asks."""
        most = self.config.max_concurrent
        if self.share is not None:
            most = self.share if now < self.share_ends else 0
        return (most is None or self.in_flight < most) and limits.has_room(now, need)

    @property
    def is_doubtful(self) -> bool:
        """Whether it never answered, or its last connections failed."""
        return not self.answered or self.breaker.failing or self.breaker.state is not State.CLOSED

    @property
    def is_down(self) -> bool:
        """Whether it answered before and its last connections failed."""
        return self.answered and (self.breaker.failing or self.breaker.state is not State.CLOSED)

    def opens_at(self, limits: ModelLimits, now: int) -> int | None:
        """None if calls may be sent, else when they may."""
        admits_at = self.breaker.admits_at(now)
        opens = limits.opens_at(now)
        return max(opens, admits_at or 0) if opens is not None else admits_at

    def free_at(self, limits: ModelLimits, now: int) -> int | None:
        """The same, without what one call may try before the time."""
        opens = self.opens_at(limits, now)
        return None if opens is None else max(opens, limits.cooldown_until)

    def is_deprioritized(self, now: int, model: str) -> bool:
        """Whether the endpoint is chosen last: its key or this model was refused lately."""
        return bool(self._marks) and any(
            self._marks.get(mark, 0) > now for mark in ((Mark.KEY, ""), (Mark.MODEL, model))
        )

    def issue_permit(
        self,
        limits: ModelLimits,
        now: int,
        uses_retry_budget: bool,
        again: bool = False,
        need: Need = NOTHING,
    ) -> Permit:
        """Take a place; only when there is room and nothing runs that forbids it.

        ``again``: for a further attempt. ``need``: the tokens it may take.
        """
        permit = Permit(
            self,
            limits,
            self.breaker.admit(now),
            limits.cooldown_seq,
            uses_retry_budget,
            now,
            again or uses_retry_budget,
        )
        if uses_retry_budget:
            self.budget.charge(now)
        self.stats.retries += permit.again
        permit.cohort, permit.trial = limits.send(now)
        permit.place = limits.in_flight + 1
        permit.above = limits.concurrency.is_above(permit.place)
        if limits.rates is not None:
            permit.reserved = tuple(limits.rates.take(now, need))
        limits.in_flight += 1
        # Last, and no call after it: Ctrl-C cannot come between this and the permit's being the
        # ticket's.
        self.in_flight += 1
        return permit

    def withdraw_permit(self, permit: Permit) -> None:
        """Undo a permit that nobody took: place, probe and budget are as before."""
        if not permit.settled:
            self._release(permit)
            for window, held in permit.reserved:
                window.give_back(held)
            if permit.cohort is not None:
                permit.cohort.lose(permit.at)
            if permit.admission is not None:
                self.breaker.record(permit.admission, Verdict.NEUTRAL, permit.at)
            if permit.uses_retry_budget:
                self.budget.refund()
            self.stats.retries -= permit.again

    def _release(self, permit: Permit) -> None:
        permit.settled = True
        self.in_flight -= 1
        permit.limits.in_flight -= 1
        if permit.trial and permit.limits.trying == permit.trial:
            permit.limits.trying = 0
        else:
            permit.trial = 0  # another one was begun since

    def prove(self, permit: Permit, now: int) -> None:
        """First content came: a probing stream gives its verdict now, not at its end."""
        self.answered = True
        permit.limits.heard(permit.trial if permit.limits.trying == permit.trial else 0, now)
        permit.trial = 0
        if permit.admission is not None and permit.is_probe:
            self._record(permit.admission, Verdict.OK, now)
            permit.admission = None

    def settle(
        self,
        permit: Permit,
        effect: EndpointImpact,
        model: str,
        now: int,
        work: float = 1.0,
        usage: Usage | None = None,
    ) -> None:
        """Give the place back and take what the outcome says. A second time does nothing."""
        if permit.settled:
            return
        self._release(permit)
        _count_tokens(permit, usage)
        limits = permit.limits
        verdict = effect.verdict
        if effect.refused and (limits.in_flight or limits.answered_since(permit.at, now)):
            verdict = Verdict.NEUTRAL  # it does work, only not on this
        if permit.admission is not None:
            self._record(permit.admission, verdict, now, effect.connect_class)
        if effect.reason is not None:
            self.last_error = effect.reason.stripped()
            self.answered = self.answered or effect.reason.status_code is not None
        if effect.refused:
            limits.refused(permit, effect, now)
        elif effect.late:
            limits.concurrency.late()
        if effect.mark is not None:
            self._marks[(effect.mark, model if effect.mark is Mark.MODEL else "")] = (
                now + _DEPRIORITIZED_FOR
            )
        if effect.allowance is not None:
            limits.allow(*effect.allowance, now)
        if effect.verdict is Verdict.OK:
            self._succeeded(permit, model, now, work)
        elif permit.cohort is not None:
            permit.cohort.lose(permit.at)

    def _record(
        self, admission: Admission, verdict: Verdict, now: int, connect_class: bool = False
    ) -> None:
        """Tell the breaker; when it closes, the endpoint starts small."""
        before = self.breaker.state
        self.breaker.record(admission, verdict, now, connect_class)
        if self.breaker.state is State.CLOSED and before is not State.CLOSED:
            for known in self._models.values():
                known.concurrency.restart()

    def _succeeded(self, permit: Permit, model: str, now: int, work: float) -> None:
        self.answered = True
        self.budget.success(now)
        if self._marks:
            self._marks.pop((Mark.KEY, ""), None)
            self._marks.pop((Mark.MODEL, model), None)
        self.budget.rise(permit.limits.concurrency.level)
        permit.limits.answered(permit, work, now)

    def describe(self, limits: ModelLimits, now: int) -> str:
        """Why it is not used now, in words for an error."""
        opens = self.free_at(limits, now)
        reason = self.last_error.message if self.last_error else "busy"
        if self.last_error is not None and limits.stated and limits.cooldown_until > now:
            reason = f"{reason} {self.last_error.hint}"
        reason = reason.rstrip(" .")
        if opens is None:
            return f"{self.label}: {reason}"
        return f"{self.label}: {reason} (next try in {(opens - now) / SECOND:.1f} s)"

    def summary(self, now: int) -> dict[str, object]:
        """Figures for ``get_stats``."""
        opened = [self.opens_at(limits, now) for limits in self._models.values()] or [
            self.breaker.admits_at(now)
        ]
        opens = None if None in opened else min(at for at in opened if at is not None)
        return {
            **self.stats.summary(),
            "in_flight": self.in_flight,
            "breaker": State.HALF_OPEN.value if self.breaker.probing else self.breaker.state.value,
            "closed_for": None if opens is None else (opens - now) / SECOND,
            "max_concurrent": self.config.max_concurrent,
            "concurrency_limit": self.level,
        }
