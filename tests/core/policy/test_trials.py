"""When another level is tried, how far a trial goes, and what a start has shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from opea_core.policy import SECOND
from opea_core.policy.cohort import Cohort, Seen
from opea_core.policy.trials import Trials, enough, some_luck


def cohort(places: range, seconds: Sequence[float]) -> Cohort:
    """Requests that went out at once at these places, the first of which were answered."""
    made = Cohort(len(places), places[0])
    for _ in places:
        made.join(0)
    for place, took in zip(places, seconds, strict=False):
        made.add(took, 1.0, place, 0, int(took * SECOND))
    return made


def seen(in_flight: float, throughput: float, variance: float = 0.0) -> Seen:
    return Seen(in_flight, throughput, variance, 1.0)


FIRST = cohort(range(1, 5), [1.0] * 4)


def test_the_start_goes_on_where_more_at_once_is_more_answers() -> None:
    assert enough([FIRST, cohort(range(5, 9), [1.0] * 4)], SECOND) is None


def test_a_queue_is_seen_by_what_each_place_took() -> None:
    queue = [cohort(range(1, 5), [1, 2, 3, 4]), cohort(range(5, 9), [5, 6, 7, 8])]
    assert enough(queue, 8 * SECOND) in (2, 3)


@pytest.mark.parametrize(("seconds", "level"), [(1, None), (2, None), (3, 2), (100, 2)])
def test_nobody_waits_for_answers_that_would_come_too_late(seconds: int, level: int | None) -> None:
    assert enough([FIRST, cohort(range(5, 9), [])], seconds * SECOND) == level


def test_what_is_not_answered_yet_is_not_compared_with() -> None:
    late = [cohort(range(1, 5), [1.0]), cohort(range(5, 9), [])]
    assert enough(late, 100 * SECOND) is None
    assert enough([FIRST, Cohort(4, 5)], 100 * SECOND) is None


def test_a_cohort_that_was_closed_is_complete_with_those_that_went_out() -> None:
    part = Cohort(7, 4)
    part.join(0)
    part.add(1.0, 1.0, 1, 0, SECOND)
    assert not part.is_done
    part.close()
    assert part.is_done
    assert not part.join(0)


def test_a_cohort_grows_up_to_a_bound() -> None:
    grown = Cohort(4, 1)
    assert [grown.prolong(8) for _ in range(3)] == [True, True, False]
    assert [grown.join(0) for _ in range(9)] == [True] * 8 + [False]


@pytest.mark.parametrize(("gain", "waits"), [(1.0, [4, 5, 5]), (0.8, [8, 10, 10])])
def test_a_trial_of_more_waits_long_where_answers_a_second_fell(
    gain: float, waits: list[int]
) -> None:
    trials, found = Trials(), []
    for _ in waits:
        trials.higher_failed(gain, 20)
        found.append(trials.higher_in)
    assert found == waits


def test_where_a_cohort_is_one_request_more_of_them_pass_before_the_next_trial() -> None:
    small, large = Trials(), Trials()
    small.higher_failed(0.5, 1)
    large.higher_failed(0.5, 6)
    assert small.higher_in == 3 * large.higher_in


def test_a_trial_of_less_goes_half_of_the_way_and_less_after_it_failed() -> None:
    trials, found = Trials(), []
    trials.see(seen(8, 8))
    crowded = seen(32, 8)  # four times as long for a piece of work
    for _ in range(3):
        found.append(trials.less(32, crowded))
        trials.lower_failed(crowded)
    assert found == [16, 24, 27]


def test_callers_that_are_fewer_than_the_level_notice_little_of_a_trial() -> None:
    trials = Trials()
    trials.see(seen(8, 8))
    assert trials.less(64, seen(32, 8)) == 27


def test_where_nothing_waits_less_is_hardly_ever_tried() -> None:
    trials, calm, crowded = Trials(), seen(8, 8), seen(8, 4)
    trials.stayed(calm, is_used=True)
    assert trials.lower_in > 0
    trials.stayed(crowded, is_used=True)
    assert trials.lower_in <= 0


def test_some_luck_is_half_of_what_chance_may_do() -> None:
    assert some_luck(seen(8, 8), seen(4, 4)) == 2.0
    assert some_luck(seen(8, 8, 0.01), seen(4, 4)) == pytest.approx(2.1)
