"""The breaker beside a model that keeps all results and counts them anew each time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from same_examples import fixed

from opea_core.config import BreakerPolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import Admission, Breaker, State, Verdict

PAUSES = st.sampled_from(
    [1, SECOND // 2, SECOND, SECOND, 2 * SECOND, 5 * SECOND, 61 * SECOND]
) | st.integers(0, 10 * SECOND)


class BreakerMachine(RuleBasedStateMachine):
    """A breaker beside a model that keeps all results and counts them anew each time."""

    @initialize(
        window=st.integers(1, 8),
        min_calls=st.integers(1, 8),
        failure_rate=st.sampled_from([0.3, 0.5, 1.0]),
        connect_failure_threshold=st.integers(1, 4),
        steady=st.integers(1, 3),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def begin(self, chance: float, **options: Any) -> None:
        self.policy = BreakerPolicy(max_break_duration=8, **options)
        self.breaker = Breaker(self.policy, lambda: chance)
        self.now = 0
        self.state = State.CLOSED
        self.openings = 0
        self.results: list[tuple[Verdict, bool]] = []
        self.probes: dict[int, int] = {}
        self.admissions: list[tuple[int, Admission]] = []
        self.era = 0

    @rule(pause=PAUSES)
    def pass_time(self, pause: int) -> None:
        self.now += pause

    @precondition(lambda self: self.breaker.admits_at(self.now) is None)
    @rule(count=st.integers(1, 4))
    def admit(self, count: int) -> None:
        for _ in range(count):
            if self.breaker.admits_at(self.now) is None:
                admission = self.breaker.admit(self.now)
                self.admissions.append((self.era, admission))
                assert (admission.probe > 0) is (self.state is not State.CLOSED)
                if admission.probe:
                    assert admission.probe not in self.probes
                    assert all(self.now - at >= 2 * SECOND for at in self.probes.values()), (
                        "one more probe each probe_ttl, no sooner"
                    )
                    self.state = State.HALF_OPEN
                    self.probes[admission.probe] = self.now

    @precondition(lambda self: self.admissions)
    @rule(
        which=st.integers(0, 99),
        verdict=st.sampled_from([*Verdict, Verdict.FAIL]),
        connect_class=st.booleans(),
    )
    def record(self, which: int, verdict: Verdict, connect_class: bool) -> None:
        era, admission = self.admissions.pop(which % len(self.admissions))
        self.breaker.record(admission, verdict, self.now, connect_class)
        if era == self.era:
            self._expect(admission, verdict, connect_class)

    def _expect(self, admission: Admission, verdict: Verdict, connect_class: bool) -> None:
        self.probes.pop(admission.probe, None)
        if verdict is Verdict.NEUTRAL:
            return
        if admission.probe:
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
        return run >= self.policy.connect_failure_threshold or (
            enough and sum(last) / len(last) >= self.policy.failure_rate
        )

    def _move(self, state: State) -> None:
        self.state, self.era = state, self.era + 1
        self.results.clear()
        self.probes.clear()
        self.openings = self.openings + 1 if state is State.OPEN else 0
        if state is State.OPEN:
            seconds = min(
                8.0 / 1.1, 2.0 ** max(0, self.openings - self.policy.steady)
            )  # with its jitter at most max_open
            assert (
                seconds * 0.999999
                <= (self.breaker.open_until - self.now) / SECOND
                <= seconds * 1.100001
            )

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
        assert self.breaker.admits_at(self.now) == (opens if opens > self.now else None)

    def teardown(self) -> None:
        """From every state, time and a success lead back to closed."""
        self.now = max(self.now, self.breaker.admits_at(self.now) or 0)
        assert self.breaker.admits_at(self.now) is None
        if self.state is not State.CLOSED:
            self.breaker.record(self.breaker.admit(self.now), Verdict.OK, self.now)
        assert self.breaker.state is State.CLOSED


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = fixed(150, 50, few=150)


# --- one at a time: what opens it, and what does not

RESULTS = st.lists(st.tuples(st.sampled_from([*Verdict, Verdict.FAIL]), st.booleans()), max_size=40)
"""Verdicts, and whether they are of connect class."""


def opened_after(policy: BreakerPolicy, results: list[tuple[Verdict, bool]]) -> int | None:
    """How many results it took to open a closed breaker; None if they did not."""
    breaker = Breaker(policy, lambda: 0.0)
    for number, (verdict, connect_class) in enumerate(results, 1):
        breaker.record(breaker.admit(0), verdict, 0, connect_class)
        if breaker.state is State.OPEN:
            return number
    return None


def test_what_opened_it_does_not_count_once_it_is_closed() -> None:
    """The draws above hardly ever open it, close it and fail once more."""
    breaker = Breaker(BreakerPolicy(min_calls=2), lambda: 0.0)
    for verdict in (Verdict.FAIL, Verdict.FAIL):
        breaker.record(breaker.admit(0), verdict, 0)
    assert breaker.state is State.OPEN
    later = breaker.open_until
    breaker.record(breaker.admit(later), Verdict.OK, later)
    assert breaker.state is State.CLOSED
    breaker.record(breaker.admit(later), Verdict.FAIL, later)
    assert breaker.state is State.CLOSED


@fixed(200)
@given(results=RESULTS, min_calls=st.integers(1, 20), connect_failure_threshold=st.integers(1, 5))
def test_fewer_than_min_calls_never_open_it_unless_that_many_connections_fail_in_a_row(
    results: list[tuple[Verdict, bool]], min_calls: int, connect_failure_threshold: int
) -> None:
    number = opened_after(
        BreakerPolicy(min_calls=min_calls, connect_failure_threshold=connect_failure_threshold),
        results,
    )
    if number is not None:
        counted = [entry for entry in results[:number] if entry[0] is not Verdict.NEUTRAL]
        last_success = max((n for n, e in enumerate(counted, 1) if e[0] is Verdict.OK), default=0)
        assert (
            len(counted) >= min_calls
            or sum(connect for _, connect in counted[last_success:]) >= connect_failure_threshold
        )


@fixed(100)
@given(results=RESULTS)
def test_neutral_results_move_nothing(results: list[tuple[Verdict, bool]]) -> None:
    policy = BreakerPolicy(min_calls=5, window=6)
    without = [entry for entry in results if entry[0] is not Verdict.NEUTRAL]
    number = opened_after(policy, results)
    left = (
        None
        if number is None
        else sum(verdict is not Verdict.NEUTRAL for verdict, _ in results[:number])
    )
    assert opened_after(policy, without) == left


@fixed(50)
@given(results=RESULTS)
def test_a_breaker_that_is_off_never_opens(results: list[tuple[Verdict, bool]]) -> None:
    assert (
        opened_after(
            BreakerPolicy(enabled=False, min_calls=1, connect_failure_threshold=1), results
        )
        is None
    )


@fixed(100)
@given(
    openings=st.integers(1, 80),
    steady=st.integers(1, 12),
    open_=st.floats(0.01, 100),
    longest=st.floats(0.01, 600),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_the_open_time_is_bounded_however_often_it_opens(
    openings: int, steady: int, open_: float, longest: float, chance: float
) -> None:
    breaker = Breaker(
        BreakerPolicy(
            connect_failure_threshold=1,
            steady=steady,
            break_duration=open_,
            max_break_duration=longest,
        ),
        lambda: chance,
    )
    now = 0
    for count in range(1, openings + 1):
        breaker.record(breaker.admit(now), Verdict.FAIL, now, True)
        seconds = (breaker.open_until - now) / SECOND
        assert min(open_, longest / 1.1) * 0.999 <= seconds <= longest * 1.000001
        assert count > steady or seconds <= open_ * 1.1, (
            "it does not double before it opened so often in a row"
        )
        now = breaker.open_until
