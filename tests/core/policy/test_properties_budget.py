"""The retry budget beside a list of all that was paid into it and out of it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from same_examples import fixed

from opea_core.policy import SECOND
from opea_core.policy.budget import Budget

PAUSES = st.sampled_from([0, 1, SECOND, 10 * SECOND, 100 * SECOND, 1000 * SECOND]) | st.integers(
    0, 30 * SECOND
)


class BudgetMachine(RuleBasedStateMachine):
    """A budget, whose tokens are counted anew from its whole history."""

    @initialize(
        places=st.sampled_from([1, 10, 11, 32]), start=st.sampled_from([0, 5 * SECOND, 10**18])
    )
    def begin(self, places: int, start: int) -> None:
        self.now = self.start = start
        self.budget = Budget(places, start)
        self.capacity = max(20, 2 * places)
        self.history: list[tuple[int, str]] = []
        self.paid = 0

    def model(self) -> float:
        """The tokens, recomputed from all that happened."""
        tokens, at = float(self.capacity), self.start
        for when, what in [*self.history, (self.now, "")]:
            tokens = min(self.capacity, tokens + (when - at) / SECOND / 10)
            tokens = min(
                self.capacity,
                tokens + {"success": 0.1, "charge": -1.0, "refund": 1.0, "": 0.0}[what],
            )
            at = when
        return tokens

    def note(self, what: str) -> None:
        self.history.append((self.now, what))

    @rule(pause=PAUSES)
    def pass_time(self, pause: int) -> None:
        self.now += pause

    @rule(count=st.integers(1, 12))
    def succeed(self, count: int) -> None:
        for _ in range(count):
            self.budget.success(self.now)
            self.note("success")

    @rule(count=st.sampled_from([1, 1, 2, 5, 30]))
    def retry(self, count: int) -> None:
        """As many retries as it allows, up to so many."""
        for _ in range(count):
            if self.budget.allows(self.now):
                self.budget.charge(self.now)
                self.note("charge")
                self.paid += 1

    @precondition(lambda self: self.paid)
    @rule()
    def withdraw_permit(self) -> None:
        """A retry that was paid was not sent after all."""
        self.budget.refund()
        self.note("refund")
        self.paid -= 1

    @rule(back=st.integers(1, SECOND))
    def look_back(self, back: int) -> None:
        """A clock that is read a little later than another one gives nothing twice."""
        before = self.budget.tokens(self.now)
        assert self.budget.tokens(self.now - back) == before

    @invariant()
    def same_as_the_model(self) -> None:
        assert abs(self.budget.tokens(self.now) - self.model()) < 1e-6

    @invariant()
    def within_its_bounds(self) -> None:
        assert 0 <= self.budget.tokens(self.now) <= self.capacity

    @invariant()
    def retries_are_bounded(self) -> None:
        """R18, of every prefix of the history."""
        successes = sum(what == "success" for _, what in self.history)
        assert (
            self.paid
            <= self.capacity + 0.1 * successes + (self.now - self.start) / SECOND / 10 + 1e-6
        )

    @invariant()
    def it_says_when_it_can_pay_again(self) -> None:
        at = self.budget.ready_at(self.now)
        assert self.now <= at <= self.now + 10 * SECOND
        assert (at == self.now) is self.budget.allows(self.now)
        tokens = self.budget.tokens(self.now)
        assert tokens + (at - self.now) / SECOND / 10 >= 1 - 1e-9


TestBudget = BudgetMachine.TestCase
TestBudget.settings = fixed(100, 40, few=100)
