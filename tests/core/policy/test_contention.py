"""When one more is asked for and when some are left to others, by hand on virtual time;
a request takes a second.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from opea_core.policy import SECOND
from opea_core.policy.contention import Contention


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


def refused_at(level: int, seconds: float = 1.0) -> Contention:
    """One beyond the level was refused at 0, where a request takes so long."""
    contention = Contention()
    contention.answered(seconds, 0)
    contention.refused(level + 1, level, True, 0)
    return contention


def ask(contention: Contention, level: int, at: float) -> int:
    """More is asked for at that time, which is when it may be and not before; gives how many."""
    assert [contention.may_ask(ns(at - 0.001)), contention.may_ask(ns(at))] == [False, True]
    return contention.ask(level, ns(at))


def vain(contention: Contention, level: int, at: float) -> None:
    """One more is asked for at that time and refused at once."""
    assert ask(contention, level, at) == 1
    contention.refused(level + 1, level, True, ns(at))


def offers(contention: Contention, level: int, until: float, at: float = 0.0) -> list[float]:
    """The seconds at which some are left to others, if nobody asks for more."""
    found = []
    while at < until:
        at += 0.5
        if contention.may_yield(ns(at)):
            contention.offer(level, ns(at))
            found.append(at)
    return found


# --- asking for more


@pytest.mark.parametrize("seconds", [0.1, 1.0, 20.0])
def test_one_more_is_asked_for_after_three_times_what_a_request_takes(seconds: float) -> None:
    contention = refused_at(8, seconds)
    assert contention.asks_at == ns(3 * seconds)
    assert ask(contention, 8, 3 * seconds) == 1


def test_for_how_long_nothing_was_answered_is_counted_from_the_last_answer() -> None:
    contention = refused_at(8)
    contention.answered(1.0, ns(2.5))
    assert contention.asks_at == ns(5.5)
    assert contention.may_ask(ns(3)), "a place that is filled again waits for no silence"


def test_what_is_taken_makes_the_next_step_larger_and_come_soon() -> None:
    contention, level, course = refused_at(8), 8, []
    for at in (3.0, 3.5, 4.0, 4.5):
        more = ask(contention, level, at)
        level += more
        course.append(more)
    assert course == [1, 2, 4, 8]


@pytest.mark.parametrize(("level", "waits"), [(1, [6, 6, 6]), (2, [3, 3, 3]), (8, [3, 3, 3])])
def test_the_only_place_asks_less_often_after_it_asked_in_vain(
    level: int, waits: list[float]
) -> None:
    contention, at = refused_at(level), 0.0
    for wait in waits:
        at += wait
        vain(contention, level, at)


@pytest.mark.parametrize(("level", "waits"), [(1, [6, 6, 6]), (2, [3, 3, 3]), (3, [3, 3, 3])])
def test_each_vain_asking_doubles_the_wait_up_to_six_times_over_what_is_left(
    level: int, waits: list[float]
) -> None:
    contention = Contention()
    contention.answered(1.0, 0)
    for wait in waits:
        contention.refused(level, level, True, 0)
        assert contention.asks_at == ns(wait)


def test_two_that_are_taken_in_a_row_make_the_wait_short_again() -> None:
    contention = refused_at(1)
    assert ask(contention, 1, 6.0) == 1
    contention.answered(1.0, ns(6.5))
    assert contention.asks_at == ns(12.5)
    assert ask(contention, 2, 6.5) == 2
    assert contention.asks_at == ns(9.5)


# --- what was lost


def test_a_level_that_was_lost_is_tried_again_soon_but_not_for_long() -> None:
    contention = refused_at(8)
    contention.refused(8, 5, False, ns(1))
    vain(contention, 5, 1.5)
    vain(contention, 5, 2.0)
    vain(contention, 5, 5.0)


def test_a_level_that_was_lost_and_is_reached_again_is_lost_no_more() -> None:
    contention = refused_at(8)
    contention.refused(8, 5, False, ns(1))
    assert [ask(contention, level, at) for level, at in ((5, 1.5), (6, 2.0), (8, 2.5))] == [1, 2, 4]
    contention.refused(12, 7, True, ns(3))
    assert ask(contention, 7, 6.0) == 1


# --- leaving some to others


@pytest.mark.parametrize(("level", "left"), [(2, 1), (6, 1), (11, 1), (12, 2), (60, 10), (256, 42)])
def test_a_sixth_is_left_to_others(level: int, left: int) -> None:
    assert refused_at(level).offer(level, 0) == left


@pytest.mark.parametrize(("seconds", "first"), [(0.5, 2.5), (1.0, 5.0), (20.0, 100.0)])
def test_some_are_left_after_five_times_what_a_request_takes(seconds: float, first: float) -> None:
    contention = refused_at(8, seconds)
    assert [contention.may_yield(ns(first - 0.001)), contention.may_yield(ns(first))] == [
        False,
        True,
    ]


def test_each_time_that_nobody_takes_them_it_is_done_three_request_times_later_up_to_forty() -> (
    None
):
    found = [0.0, *offers(refused_at(8), 8, 450)]
    waits = [after - before for before, after in pairwise(found)]
    assert waits == [5, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, *[40] * 4]


@pytest.mark.parametrize(
    ("level", "second"), [(1, 15), (2, 15), (3, 10), (4, 7.5), (5, 6), (6, 5), (100, 5)]
)
def test_few_places_are_left_to_others_less_often(level: int, second: float) -> None:
    assert offers(refused_at(level), level, 5.0 + second) == [5.0, 5.0 + second]


def test_a_place_that_is_taken_by_others_makes_it_often_again_at_once() -> None:
    contention = refused_at(8)
    *_, last = offers(contention, 8, 100)
    contention.refused(8, 7, False, ns(last + 1))
    assert offers(contention, 8, last + 20, last + 1) == [last + 6, last + 11, last + 19]


def test_a_place_of_ours_that_was_refused_after_an_offer_is_not_asked_for_again_soon() -> None:
    contention = refused_at(8)
    offers(contention, 8, 5)
    contention.refused(8, 7, False, ns(6))
    assert ask(contention, 7, 9.0) == 1


def test_a_request_for_more_that_is_refused_does_not_show_that_others_took_a_place() -> None:
    contention = refused_at(8)
    found = offers(contention, 8, 10)
    contention.refused(9, 8, True, ns(11))
    assert [*found, *offers(contention, 8, 30, 11)] == [5, 10, 18, 29]


def test_nothing_is_left_to_others_while_more_is_asked_for() -> None:
    contention = refused_at(8)
    contention.ask(8, ns(4.9))
    assert offers(contention, 8, 50) == []
    contention.refused(9, 8, True, ns(50))
    assert contention.may_yield(ns(50))


def test_after_a_restart_nothing_is_left_to_others_at_first() -> None:
    contention = refused_at(8)
    contention.restart()
    assert offers(contention, 8, 110, 100) == [105.5]  # as it is asked about half a second after it
