"""How many requests one endpoint gets at once:
the level beside simulated servers, by hand on virtual time.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.server import Heard, Model, Said, Server
from benchmarks.simulation.world import World
from opea_core.policy import SECOND
from opea_core.policy.cohort import Cohort
from opea_core.policy.concurrency import ConcurrencyLimit, Phase

MS = SECOND // 1000
LESS = 0.005
"""Seconds of a step of time."""


class Played:
    """A limit, a simulated server, and callers that ask again as soon as they hear something."""

    def __init__(
        self,
        model: Model,
        callers: int,
        ceiling: int | None = None,
        weight: float = 1.0,
        seed: int = 1,
    ) -> None:
        self.world = World(seed)
        self.server = Server(self.world, "gpu", model)
        self.limit = ConcurrencyLimit(ceiling, weight)
        self.waiting = callers
        self.in_flight = self.answers = self.refusals = 0
        self.levels: list[int] = []
        """One for each answer."""
        self._end = 0.0
        self.world.at(0, self._fill)

    def run(self, answers: int) -> Played:
        """Until so many more are answered."""
        goal = self.answers + answers
        while self.answers < goal:
            self._end += LESS
            self.world.run(self._end)
        return self

    def becomes(self, **changes: int) -> None:
        """The server is another one from now on."""
        self.server.model = replace(self.server.model, **changes)

    def usual(self, last: int) -> float:
        """The level at most of the last answers; trials of other levels are brief."""
        return median(self.levels[-last:])

    def _fill(self) -> None:
        while self.waiting:
            self.limit.pass_time(self.in_flight, self.world.now)
            if not self.limit.has_room(self.in_flight):
                break
            self._send()
        at = self.limit.rises_at(self.world.now)
        if self.waiting and at is not None:
            self.world.at(at, self._fill)

    def _send(self) -> None:
        self.waiting -= 1
        self.in_flight += 1
        cohort, place, at = self.limit.sent(self.world.now), self.in_flight, self.world.now
        above = self.limit.is_above(place)
        self.server.connect(None, lambda heard: self._hear(heard, cohort, place, above, at))

    def _hear(self, heard: Heard, cohort: Cohort | None, place: int, above: bool, at: int) -> None:
        self.waiting += 1
        self.in_flight -= 1
        now = self.world.now
        if isinstance(heard, Said) and heard.status == 200:
            self.answers += 1
            self.limit.answered(cohort, place, self.in_flight, (now - at) / SECOND, 1.0, now)
            self.levels.append(self.limit.level)
        else:
            self.refusals += 1
            self.limit.refused(self.in_flight, above, now)
            if cohort is not None:
                cohort.lose(at)
        self._fill()


def refuses(places: int, **more: float) -> Model:
    return Model(places=places, service=1.0, queue=0, **more)  # type: ignore[arg-type]


def queues(places: int, **more: float) -> Model:
    return Model(places=places, service=1.0, **more)  # type: ignore[arg-type]


def answer(
    limit: ConcurrencyLimit, place: int = 1, left: int = 0, seconds: float = 1.0, now: int = 0
) -> None:
    """One request goes out and is answered."""
    sent = limit.sent(now - int(seconds * SECOND))
    limit.answered(sent, place, left, seconds, 1.0, now)


def steady(level: int, now: int = 0) -> ConcurrencyLimit:
    """Of a server that refused one more, where a request takes a second."""
    limit = ConcurrencyLimit(None)
    answer(limit, now=now)
    limit.level = level + 1
    limit.refused(level, limit.is_above(level + 1), now)
    assert limit.level == level
    return limit


def round_of(limit: ConcurrencyLimit, now: int, seconds: float = 1.0) -> None:
    """As many requests as may be in flight, all answered."""
    count = limit.level
    sent_at = now - int(seconds * SECOND)
    out = [(limit.sent(sent_at), place) for place in range(1, count + 1)]
    for left, (cohort, place) in enumerate(reversed(out)):
        limit.answered(cohort, place, count - 1 - left, seconds, 1.0, now)


# --- before anything is known


@pytest.mark.parametrize("seconds", [0.01, 1.0, 60.0])
def test_a_caller_that_asks_one_after_the_other_never_notices(seconds: float) -> None:
    limit, now = ConcurrencyLimit(None), 0
    for number in range(100):
        limit.pass_time(0, now)
        assert limit.has_room(0)
        now += int(seconds * SECOND)
        answer(limit, seconds=seconds * (1 + number % 3), now=now)
        assert limit.level >= 4


def test_without_an_answer_it_rises_by_the_clock_and_stops() -> None:
    limit, now, course = ConcurrencyLimit(None), 0, []
    for _ in range(3):
        limit.pass_time(limit.level, now)
        course.append((now // MS, limit.level))
        at = limit.rises_at(now)
        assert at is not None
        limit.pass_time(limit.level, at - 1)
        assert limit.level == course[-1][1]
        now = at
    limit.pass_time(limit.level, now)
    course.append((now // MS, limit.level))
    assert course == [(0, 4), (50, 8), (250, 16), (1050, 32)]
    limit.pass_time(32, 3600 * SECOND)
    limit.pass_time(32, 7200 * SECOND)
    assert (limit.level, limit.rises_at(7200 * SECOND)) == (32, None)


def test_it_does_not_rise_by_the_clock_while_there_is_room() -> None:
    limit = ConcurrencyLimit(None)
    for second in range(100):
        limit.pass_time(3, second * SECOND)
    assert (limit.level, limit.rises_at(100 * SECOND)) == (4, None)


def test_after_an_answer_the_clock_waits_for_more_of_them() -> None:
    limit = ConcurrencyLimit(None)
    limit.pass_time(4, 0)
    answer(limit, place=1, left=3, seconds=0.04, now=40 * MS)
    limit.pass_time(4, 50 * MS)
    assert limit.rises_at(50 * MS) == (50 + 4 * 40) * MS


def test_an_answer_starts_the_clock_again() -> None:
    limit = ConcurrencyLimit(None)
    limit.pass_time(4, 0)
    answer(limit, place=4, left=3, seconds=0.01, now=49 * MS)
    limit.pass_time(4, 50 * MS)
    assert (limit.level, limit.rises_at(50 * MS)) == (4, 100 * MS)


@pytest.mark.parametrize(
    ("weight", "start", "unseen"), [(0.1, 1, 3), (0.5, 2, 16), (1.0, 4, 32), (3.0, 12, 96)]
)
def test_the_weight_scales_the_start_and_how_far_it_rises_unseen(
    weight: float, start: int, unseen: int
) -> None:
    limit = ConcurrencyLimit(None, weight)
    assert limit.level == start
    for minute in range(10):
        limit.pass_time(limit.level, minute * 60 * SECOND)
    assert limit.level == unseen


# --- refusals


@pytest.mark.parametrize("places", [1, 3, 20])
def test_a_refusal_sets_it_to_what_is_still_in_flight(places: int) -> None:
    limit = ConcurrencyLimit(None)
    for minute in range(10):
        limit.pass_time(limit.level, minute * 60 * SECOND)
    limit.refused(places, limit.is_above(32), 600 * SECOND)
    assert limit.level == places


def test_after_a_refusal_it_rises_by_the_clock_no_more() -> None:
    limit = ConcurrencyLimit(None)
    limit.pass_time(4, 0)
    limit.refused(3, limit.is_above(4), MS)
    for number in range(2, 900):
        limit.pass_time(3, number * MS)
    assert limit.level == 3


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("places", [2, 8, 40])
def test_a_refusing_server_gets_what_it_takes(places: int, spread: float) -> None:
    played = Played(refuses(places, spread=spread), 500).run(60 * places)
    assert 0.8 * places <= played.usual(30 * places) <= places + 1
    assert played.refusals <= 0.1 * played.answers + 40


def test_refusals_of_requests_sent_before_the_last_one_change_nothing() -> None:
    limit = ConcurrencyLimit(None)
    for minute in range(10):
        limit.pass_time(limit.level, minute * 60 * SECOND)
    above = limit.is_above(32)
    limit.refused(10, above, 600 * SECOND)
    limit.refused(12, above, 600 * SECOND)
    assert limit.level == 10


@pytest.mark.parametrize(("place", "above"), [(10, True), (8, False)])
def test_what_is_beyond_the_level_that_was_good_is_above(place: int, above: bool) -> None:
    limit = steady(8)
    limit.pass_time(8, 10 * SECOND)
    limit.pass_time(limit.level, 20 * SECOND)
    assert limit.level > 9
    assert limit.is_above(place) is above


@pytest.mark.parametrize("place", [1, 4, 32])
def test_before_a_level_is_known_all_is_above(place: int) -> None:
    assert ConcurrencyLimit(None).is_above(place)


def test_a_level_that_was_raised_is_known_when_it_is_raised_again() -> None:
    limit = steady(8)
    limit.pass_time(8, 6 * SECOND)
    assert (limit.level, limit.is_above(8), limit.is_above(9)) == (9, False, True)
    limit.pass_time(9, 7 * SECOND)
    assert (limit.level, limit.is_above(9), limit.is_above(10)) == (11, False, True)


def test_answers_to_requests_sent_before_a_level_was_raised_do_not_prove_it() -> None:
    limit = steady(8)
    *some, last = [limit.sent(0) for _ in range(7)]
    limit.sent(0)
    for cohort in some:
        limit.answered(cohort, 1, 7, 1.0, 1.0, SECOND)
    limit.pass_time(8, 7 * SECOND)
    limit.answered(last, 1, 7, 1.0, 1.0, 7 * SECOND)
    assert last is not None
    assert last.is_done
    assert (limit.level, limit.is_above(8), limit.is_above(9)) == (9, False, True)


def doubled() -> ConcurrencyLimit:
    """Of a server that answered the first ones in a second, with twice as many in flight now."""
    limit = ConcurrencyLimit(None)
    for number in range(7):
        answer(limit, place=4, left=3, now=(number + 1) * SECOND)
    assert (limit.level, limit.phase) == (8, Phase.HIGHER)
    return limit


def test_the_clock_ends_no_trial() -> None:
    limit = doubled()
    for second in (10, 20, 30):
        limit.pass_time(8, second * SECOND)
    assert (limit.level, limit.rises_at(31 * SECOND)) == (8, None)


@pytest.mark.parametrize(("seconds", "level"), [(1.0, 8), (30.0, 4)])
def test_what_is_doubled_ends_as_soon_as_it_cannot_be_better(seconds: float, level: int) -> None:
    limit = doubled()
    for _ in range(4):
        limit.sent(7 * SECOND)
    limit.answered(None, 4, 7, 1.0, 1.0, int((7 + seconds) * SECOND))
    assert limit.level == level


def test_one_more_is_asked_for_even_if_nothing_is_answered() -> None:
    limit = steady(8)
    first = limit.rises_at(0)
    assert first == 3 * SECOND  # three times what a request takes
    limit.pass_time(8, first - 1)
    assert not limit.has_room(8)
    limit.pass_time(8, first)
    assert limit.has_room(8)
    assert not limit.has_room(9)
    assert limit.rises_at(first) == first + SECOND // 2


def test_for_how_long_nothing_was_answered_is_counted_from_the_last_answer() -> None:
    limit = steady(8)
    answer(limit, left=7, now=3 * SECOND)
    assert limit.rises_at(3 * SECOND) == 6 * SECOND
    limit.pass_time(8, 6 * SECOND - 1)
    assert not limit.has_room(8)
    limit.pass_time(8, 6 * SECOND)
    assert limit.has_room(8)


def uses_up(limit: ConcurrencyLimit, seconds: float) -> int:
    """The last place is answered at that time; gives the level then."""
    answer(limit, place=limit.level, left=limit.level - 1, now=round(seconds * SECOND))
    return limit.level


@pytest.mark.parametrize(("level", "seconds"), [(1, 6), (2, 3), (3, 3), (20, 3)])
def test_the_only_place_is_asked_for_more_less_often(level: int, seconds: int) -> None:
    limit = steady(level)
    assert limit.rises_at(0) == seconds * SECOND
    assert [uses_up(limit, at) for at in (1, seconds - 0.001, seconds)] == [level, level, level + 1]


def test_a_level_that_was_lost_is_tried_again_soon() -> None:
    limit = steady(8)
    limit.refused(5, limit.is_above(8), SECOND)
    assert [uses_up(limit, at) for at in (1.0, 1.499, 1.5, 2.0)] == [5, 5, 6, 8]


def test_a_level_that_was_lost_is_given_up_after_two_vain_tries() -> None:
    limit = steady(8)
    limit.refused(5, limit.is_above(8), SECOND // 2)
    for at in (1.0, 1.5):
        assert uses_up(limit, at) == 6
        limit.refused(5, limit.is_above(6), round(at * SECOND))
    assert [uses_up(limit, at) for at in (2.5, 4.499, 4.5)] == [5, 5, 6]


def test_nobody_waits_for_nothing_after_a_refusal_before_any_answer() -> None:
    limit = ConcurrencyLimit(None)
    limit.refused(3, limit.is_above(4), 0)
    at = limit.rises_at(0)
    assert at is not None
    limit.pass_time(3, at)
    assert limit.has_room(3)


def test_each_further_one_that_is_taken_makes_the_next_step_larger_until_one_is_refused() -> None:
    limit, levels = steady(8), []
    for second in range(6, 10):
        limit.pass_time(limit.level, second * SECOND)
        levels.append(limit.level)
    assert levels == [9, 11, 15, 23]
    limit.refused(20, limit.is_above(23), 10 * SECOND)
    limit.pass_time(20, 16 * SECOND)
    assert limit.level == 21


def course(limit: ConcurrencyLimit, places: int, seconds: int) -> list[int]:
    """The levels second by second, each with a round of answers,
    where the server takes no more than so many.
    """
    levels = []
    for second in range(1, seconds + 1):
        if limit.level > places:
            limit.refused(places, limit.is_above(limit.level), second * SECOND)
        round_of(limit, second * SECOND)
        levels.append(limit.level)
    return levels


@pytest.mark.parametrize(("places", "left"), [(6, 5), (12, 10), (40, 34)])
def test_a_sixth_is_left_to_others_for_three_rounds_and_the_less_often_the_longer_nobody_takes_it(
    places: int, left: int
) -> None:
    levels = course(steady(places), places, 70)
    assert {level for level in levels if level < places} == {left}
    seconds = [second for second, level in enumerate(levels, 1) if level < places]
    assert seconds == [second + more for second in (5, 10, 18, 29, 43, 60) for more in (0, 1, 2)]


# --- a server that lets requests wait


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_a_queueing_server_it_ends_near_what_is_worked_on(seed: int, spread: float) -> None:
    played = Played(queues(40, spread=spread), 500, seed=seed).run(400 * 40)
    assert 40 <= played.usual(100 * 40) <= 1.6 * 40


def test_it_doubles_while_more_brings_more() -> None:
    played = Played(queues(100_000), 500).run(1_500)
    assert played.limit.level >= 256


@pytest.mark.parametrize("more", [1.5, 4.0])
@pytest.mark.parametrize("full", [8, 40])
def test_where_the_cache_is_full_it_is_not_more_than_half_as_much_again(
    full: int, more: float
) -> None:
    played = Played(Model(places=256, service=1.0, cache=(full, more)), 300).run(60 * full)
    assert 0.8 * full <= played.usual(20 * full) <= 1.5 * full


# --- a server that changes


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize("places", [8, 40])
def test_a_refusing_server_is_followed(places: int, factor: float) -> None:
    played = Played(refuses(places), 500).run(30 * places)
    then = int(places * factor)
    played.becomes(places=then)
    played.run(30 * then)
    assert 0.8 * then <= played.usual(5 * then) <= then + 2


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("places", [8, 40])
def test_a_queueing_server_that_grows_is_made_use_of(places: int, spread: float) -> None:
    played = Played(queues(places, spread=spread), 500).run(400 * places)
    before = played.usual(20 * places)
    played.becomes(places=2 * places)
    played.run(30 * 2 * places)
    assert max(before, 2 * places) <= played.usual(5 * 2 * places) <= 4 * places


# --- a number that the user set


def test_a_number_that_was_set_is_what_it_starts_from() -> None:
    assert ConcurrencyLimit(20).level == 20
    limit = ConcurrencyLimit(None)
    limit.configure(20)
    assert (limit.level, limit.ceiling) == (20, 20)


def test_a_number_that_was_set_is_returned_to_after_refusals() -> None:
    played = Played(refuses(8), 100, ceiling=20).run(10 * 8)
    assert played.usual(3 * 8) <= 9
    played.becomes(places=100)
    played.run(30 * 20)
    assert played.usual(3 * 20) == 20
    assert max(played.levels) == 20


@pytest.mark.parametrize(
    "model", [queues(2), queues(2, spread=0.8), Model(places=256, service=1.0, cache=(4, 4.0))]
)
def test_a_number_that_was_set_is_never_lowered_by_slowness(model: Model) -> None:
    played = Played(model, 100, ceiling=40).run(1_000)
    assert set(played.levels) == {40}


# --- other events


@pytest.mark.parametrize(("before", "after"), [(32, 16), (5, 2), (1, 1)])
def test_a_request_that_is_late_halves_it(before: int, after: int) -> None:
    limit = steady(before)
    limit.late()
    assert limit.level == after


def test_a_request_that_is_late_does_not_lower_a_number_that_was_set() -> None:
    limit = ConcurrencyLimit(20)
    limit.late()
    assert limit.level == 20


def test_after_a_restart_it_starts_at_one_and_rises_to_what_was_good() -> None:
    limit, levels = steady(9), []
    limit.restart()
    for number in range(12):
        levels.append(limit.level)
        answer(limit, place=limit.level, left=limit.level - 1, now=number * MS)
    assert levels == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]
    assert limit.phase is Phase.STEADY


def test_a_restart_before_it_is_done_keeps_what_was_good() -> None:
    limit = steady(9)
    limit.restart()
    answer(limit, place=1, now=MS)
    limit.restart()
    for number in range(20):
        answer(limit, place=limit.level, left=limit.level - 1, now=number * MS)
    assert limit.level == 9


def test_a_restart_before_anything_is_known_rises_to_the_start_and_goes_on() -> None:
    limit, levels = ConcurrencyLimit(None), []
    limit.restart()
    for number in range(5):
        levels.append(limit.level)
        answer(limit, place=limit.level, left=limit.level - 1, now=number * MS)
    assert levels == [1, 2, 3, 4, 4]
    played = Played(queues(100_000), 500)
    played.limit.restart()
    assert played.run(300).limit.level >= 128, "it doubles"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_doubled_after_such_a_restart_is_judged_by_the_answers(seed: int) -> None:
    played = Played(queues(40), 500, seed=seed)
    played.limit.restart()
    assert 40 <= played.run(400 * 40).usual(100 * 40) <= 1.6 * 40


@pytest.mark.parametrize("lost", [1, 3, 4, 7])
def test_requests_without_an_answer_do_not_stop_it(lost: int) -> None:
    limit = ConcurrencyLimit(None)
    for cohort in [limit.sent(0) for _ in range(lost)]:
        assert cohort is not None
        cohort.lose(0)
    for number in range(60):
        answer(limit, place=limit.level, left=limit.level - 1, now=number * SECOND)
    assert limit.level >= 16


STEP = st.tuples(
    st.sampled_from(["send", "send", "answer", "answer", "answer", "refuse", "late", "restart"]),
    st.integers(0, 300),
)


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(ceiling=st.none() | st.integers(1, 40), steps=st.lists(STEP, max_size=150))
def test_it_is_always_at_least_one_and_at_most_the_ceiling(
    ceiling: int | None, steps: list[tuple[str, int]]
) -> None:
    limit, out, now = ConcurrencyLimit(ceiling), list[tuple[Cohort | None, int, bool, int]](), 0
    for step, size in steps:
        now += size * MS
        if step == "send":
            limit.pass_time(len(out), now)
            places = range(len(out) + 1, min(len(out) + size, limit.level) + 1)
            out += [(limit.sent(now), place, limit.is_above(place), now) for place in places]
        elif step in ("late", "restart"):
            getattr(limit, step)()
        elif out:
            cohort, place, above, at = out.pop(size % len(out))
            if step == "answer":
                limit.answered(cohort, place, len(out), (now - at) / SECOND, 1.0, now)
            else:
                limit.refused(len(out), above, now)
                if cohort is not None:
                    cohort.lose(at)
        assert 1 <= limit.level <= (ceiling or 4096)
