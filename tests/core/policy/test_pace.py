"""The time between two requests, where a server limits not how many it works on
but how many come.
"""

from __future__ import annotations

import pytest

from opea_core.policy import SECOND
from opea_core.policy.pace import Pace


def measured(answers: int, seconds: int) -> Pace:
    """Of a server that gave so many answers, one after the other, between two refusals."""
    pace = Pace()
    pace.refused(0)
    for _ in range(answers):
        pace.answered(alone=True)
    pace.refused(seconds * SECOND)
    return pace


def interval(pace: Pace, now: int = 0) -> float:
    """Seconds to the next request, when one goes out now."""
    pace.sent(now)
    return max(0, pace.next_at - now) / SECOND


def test_without_refusals_there_is_none() -> None:
    pace = Pace()
    for _ in range(100):
        pace.answered(alone=True)
    assert interval(pace) == 0


def test_one_refusal_measures_nothing() -> None:
    pace = Pace()
    pace.answered(alone=True)
    pace.refused(10 * SECOND)
    assert interval(pace, 10 * SECOND) == 0


@pytest.mark.parametrize(
    ("answers", "seconds", "expected"), [(4, 20, 5.0), (4, 10, 2.5), (10, 1, 0.1)]
)
def test_it_is_what_was_measured_between_two_refusals(
    answers: int, seconds: int, expected: float
) -> None:
    pace = measured(answers, seconds)
    assert interval(pace, 100 * SECOND) == expected
    assert pace.next_at == 100 * SECOND + int(expected * SECOND)


def test_nothing_waits_until_a_request_has_gone_out() -> None:
    assert measured(4, 10).next_at == 0


@pytest.mark.parametrize("answers", [1, 2, 3])
def test_few_answers_measure_nothing(answers: int) -> None:
    assert interval(measured(answers, 10)) == 0


@pytest.mark.parametrize(("answers", "expected"), [(1, 1.25), (3, 1.25), (4, 5.0)])
def test_few_answers_between_two_refusals_halve_it(answers: int, expected: float) -> None:
    pace = measured(4, 10)
    for _ in range(answers):
        pace.answered(alone=True)
    pace.refused(30 * SECOND)
    assert interval(pace) == expected


def test_refusals_without_an_answer_between_them_count_as_one() -> None:
    pace = measured(4, 10)
    for second in range(11, 30):
        pace.refused(second * SECOND)
    assert interval(pace) == 2.5
    for _ in range(4):
        pace.answered(alone=True)
    pace.refused(30 * SECOND)
    assert interval(pace) == 5.0  # since the first of them


def test_each_measure_begins_at_the_refusal_before() -> None:
    pace = measured(4, 10)
    for _ in range(5):
        pace.answered(alone=True)
    pace.refused(15 * SECOND)
    assert interval(pace) == 1.0


def test_every_eighth_answer_makes_it_a_tenth_shorter() -> None:
    pace, course = measured(4, 40), []
    for _ in range(24):
        pace.answered(alone=True)
        course.append(interval(pace))
    assert course[:7] == [10.0] * 7
    assert course[7:15] == pytest.approx([9.0] * 8)
    assert course[23] == pytest.approx(7.29)


def test_a_server_that_takes_several_at_once_has_none() -> None:
    pace = measured(4, 10)
    pace.sent(100 * SECOND)
    pace.answered(alone=False)
    assert pace.next_at == 0
    assert interval(pace, 200 * SECOND) == 0


@pytest.mark.parametrize("seconds", [61, 3600, 86_400])
def test_it_is_never_longer_than_a_minute(seconds: int) -> None:
    assert interval(measured(4, 4 * seconds)) == 60.0
