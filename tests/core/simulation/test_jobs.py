"""A batch over three replicas, one of them slow and one gone for a while, on virtual time."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from thorough import some

from benchmarks.simulation.jobs import BEYOND, LEAST, Job, Played, play, played, run, table


@pytest.mark.parametrize("beyond", some(BEYOND, kept=["503", "all wait"]))
def test_a_batch_uses_what_the_places_allow(beyond: str) -> None:
    """A quarter of the places, so that fewer rows do, and a restart."""
    found = play(Job(beyond, rows=2_000, places=16, gone=(60.0, 68.0)))
    assert found.answered == 2_000
    assert found.share >= LEAST
    assert found.requests <= 1.1


@pytest.mark.slow
def test_a_batch_of_20_000_rows_keeps_the_bound_through_an_outage_of_a_minute() -> None:
    assert [each for each in played() if not each.holds] == []


def test_a_row_is_sent_only_while_less_than_the_window_waits_for_a_place() -> None:
    record = run(Job("503", rows=600, places=8, gone=(5.0, 8.0)))[0].record
    ended = sorted(call.ended for call in record.calls if call.ended is not None)
    sent = sorted(request.at for request in record.requests)
    heard = sorted(request.ended for request in record.requests)
    waiting = [
        number - bisect_right(ended, at) - bisect_right(sent, at) + bisect_right(heard, at)
        for number, at in enumerate((call.started for call in record.calls), 1)
    ]
    assert max(waiting) == 8


# --- what is told of it


def test_what_the_places_allow_leaves_out_the_time_that_one_is_gone() -> None:
    job = Job("503", places=26, gone=(10.0, 30.0))
    assert job.allowed(8.0) == pytest.approx(10 * 8 * 2.25)
    assert job.allowed(20.0) == pytest.approx(10 * (20 * 1.25 + 10))
    assert job.allowed(100.0) == pytest.approx(10 * (100 * 1.25 + 80))


def test_the_table_says_where_the_bound_is_broken() -> None:
    good, bad = Played("503", 10, 10, 7.0, 0.93, 1.02), Played("429", 10, 10, 8.0, 0.8, 1.0)
    lost = good._replace(answered=9)
    lines = table([good, bad, lost]).splitlines()[1:]
    assert ["not kept" in line for line in lines] == [False, True, True]
    assert lines[0].split() == ["503", "10", "10", "7", "93.0%", "1.02"]
