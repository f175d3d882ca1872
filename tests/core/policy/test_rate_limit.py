"""Requests and tokens a minute, on virtual time."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.rate_limit import NOTHING, Need, RateWindow
from opea_core.policy.retry import EndpointImpact
from opea_core.policy.scheduler import Scheduler, Ticket
from opea_core.types import Usage

MINUTE = 60 * SECOND
OK = EndpointImpact(Verdict.OK)


class Load:
    """Callers that always want more, one scheduler, and a clock that jumps to what comes next."""

    def __init__(self, takes: list[int], used: list[tuple[int, int]], **limits: Any) -> None:
        config = Endpoint(base_url="http://h/v1", **limits)
        self.endpoint = EndpointState(config, BreakerPolicy(), lambda: 0.0, 0)
        policy = QueuePolicy(queue_timeout=None)
        self.scheduler = Scheduler([self.endpoint], policy, 60.0, lambda: 0.5)
        self.takes, self.used, self.now = takes, used, 0
        self.sent: list[tuple[int, int]] = []
        """When, and how many tokens it took."""
        self.running: list[tuple[int, Ticket, Usage]] = []

    def run(self, until: int, limits: tuple[int, int | None]) -> None:
        """Calls of ``limits`` (prompt, answer) until a time; they take what ``used`` says."""
        waiting: deque[Ticket] = deque()
        while self.now < until:
            while len(waiting) < 3:
                ticket = self.scheduler.ticket(self.now, model="m", need=Need(*limits))
                self.scheduler.add(ticket, self.now)
                waiting.append(ticket)
            self.scheduler.poll(self.now)
            if isinstance(self.scheduler.take(waiting[0]), Permit):
                self._send(waiting.popleft())
            else:
                self._go_on(until)

    def _send(self, ticket: Ticket) -> None:
        count = len(self.sent)
        prompt, answer = self.used[count % len(self.used)]
        self.sent.append((self.now, prompt + answer))
        ends = self.now + self.takes[count % len(self.takes)]
        self.running.append((ends, ticket, Usage(prompt, answer, prompt + answer)))

    def _go_on(self, until: int) -> None:
        self.running.sort(key=lambda one: one[0])
        times = [self.running[0][0]] if self.running else []
        wake = self.scheduler.wake_at(self.now)
        times += [] if wake is None else [wake]
        assert times, "somebody waits, and nothing will ever wake him"
        self.now = min(*times, until) if len(times) > 1 else min(times[0], until)
        while self.running and self.running[0][0] <= self.now:
            _, ticket, usage = self.running.pop(0)
            assert ticket.permit is not None
            self.endpoint.settle(ticket.permit, OK, "m", self.now, usage=usage)

    def most(self, of_tokens: bool) -> int:
        """The most in any window of 60 seconds."""
        found, begin, total = 0, 0, 0
        for at, tokens in self.sent:
            total += tokens if of_tokens else 1
            while self.sent[begin][0] <= at - MINUTE:
                total -= self.sent[begin][1] if of_tokens else 1
                begin += 1
            found = max(found, total)
        return found


TAKES = st.lists(st.integers(1, 20 * SECOND), min_size=1, max_size=5)


@fixed(30, few=12)
@given(rpm=st.integers(1, 300), takes=TAKES)
def test_requests_never_exceed_the_limit_and_use_nearly_all_of_it(
    rpm: int, takes: list[int]
) -> None:
    load = Load(takes, [(1, 1)], rpm=rpm, max_concurrent=1000)
    load.run(10 * MINUTE, (1, 1))
    assert load.most(of_tokens=False) <= rpm
    later = [at for at, _ in load.sent if at >= 4 * MINUTE]  # how many at once is found out first
    assert len(later) >= 0.95 * rpm * 6


@fixed(30, few=12)
@given(
    tpm=st.integers(1000, 50_000),
    takes=TAKES,
    used=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), min_size=1, max_size=6),
)
def test_tokens_never_exceed_the_limit(
    tpm: int, takes: list[int], used: list[tuple[int, int]]
) -> None:
    load = Load(takes, used, tpm=tpm, max_concurrent=1000)
    load.run(5 * MINUTE, (100, 100))
    assert load.most(of_tokens=True) <= tpm


def test_tokens_that_were_reserved_too_much_come_back() -> None:
    load = Load([SECOND], [(10, 10)], tpm=20_000, max_concurrent=1000)
    load.run(10 * MINUTE, (100, 4000))
    assert load.most(of_tokens=True) <= 20_000
    kept = 6 * 20_000 // 4100  # calls, if none did
    assert len([at for at, _ in load.sent if at >= 4 * MINUTE]) > 20 * kept


def test_an_answer_without_a_limit_is_reserved_by_the_answers_before() -> None:
    load = Load([SECOND], [(100, 900)], tpm=50_000, max_concurrent=1000)
    load.run(10 * MINUTE, (100, None))
    minute = sum(tokens for at, tokens in load.sent if at >= 9 * MINUTE)
    assert 0.9 * 50_000 <= minute <= 50_000


def test_both_limits_hold_and_that_of_a_model_beside_that_of_the_endpoint() -> None:
    load = Load([SECOND], [(5, 5)], rpm=100, models={"m": {"rpm": 30}}, max_concurrent=1000)
    load.run(5 * MINUTE, (5, 5))
    assert load.most(of_tokens=False) == 30
    others = EndpointState(load.endpoint.config, BreakerPolicy(), lambda: 0.0, 0)
    for _ in range(30):
        others.issue_permit(others.limits("m"), 0, False)
    assert not others.has_room(others.limits("m"), 0)
    assert others.has_room(others.limits("n"), 0)


def test_a_call_that_takes_more_than_a_minute_has_goes_when_nothing_else_does() -> None:
    window = RateWindow(None, 1000)
    assert window.has_room(0, Need(5000, 5000))
    held = window.take(0, Need(5000, 5000))
    assert held.tokens == 1000
    assert not window.has_room(SECOND)


def test_a_large_call_is_not_overtaken_by_small_ones_behind_it() -> None:
    window = RateWindow(None, 1000)
    window.take(0, Need(600, 0))
    assert not window.has_room(0, Need(800, 0)), "the first in the queue does not fit"
    assert not window.has_room(0), "nor does anybody behind it go"
    at = window.room_at(0)
    assert at is not None
    assert window.has_room(at, Need(800, 0))


@pytest.mark.parametrize("need", [NOTHING, Need(10, 10)])
def test_what_was_not_sent_is_given_back(need: Need) -> None:
    window = RateWindow(1, 100)
    held = window.take(0, need)
    assert not window.has_room(0)
    window.give_back(held)
    assert window.has_room(0, need)


def test_time_that_goes_on_opens_it_again_bit_by_bit() -> None:
    window = RateWindow(2, None)
    window.take(0, NOTHING)
    window.take(30 * SECOND, NOTHING)
    first = window.room_at(30 * SECOND)
    assert first is not None
    assert window.has_room(first)
    window.take(first, NOTHING)
    second = window.room_at(first)
    assert second is not None
    assert [round(b / SECOND) for a, b in pairwise([0, first, second])] == [60, 90]


@pytest.mark.parametrize("counted", [(10**12, 1), (1, 10**12), (10**12, 10**12), (10**30, 10**30)])
def test_one_odd_count_teaches_little_and_closes_one_minute(counted: tuple[int, int]) -> None:
    window = RateWindow(None, 1_000_000)
    need = Need(100, None)
    usual = window.tokens_of(need)
    window.settle(window.take(0, need), *counted)
    assert window.tokens_of(need) <= 10 * usual
    assert not window.has_room(0)
    opens = window.room_at(0)
    assert opens is not None
    assert window.has_room(opens, need), "the minute after is free"
    for _ in range(50):
        window.settle(window.take(opens, need), 100, 256)
    assert window.tokens_of(need) <= 1.1 * usual


def test_many_odd_counts_teach_no_more_than_an_estimate_may_be_wrong() -> None:
    window = RateWindow(None, 1_000_000)
    for _ in range(20):
        window.settle(window.take(0, Need(100, 0)), 10**12, None)
    assert window.tokens_of(Need(100, 0)) == 6400


def test_answers_that_are_long_are_learned_within_ten() -> None:
    window = RateWindow(None, 1_000_000)
    for _ in range(10):
        window.settle(window.take(0, Need(100, None)), 100, 8000)
    assert window.tokens_of(Need(100, None)) > 4000
