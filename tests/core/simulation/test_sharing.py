"""Four clients of one server that know nothing of each other."""

from __future__ import annotations

import pytest
from thorough import some

from benchmarks.simulation import sharing
from benchmarks.simulation.server import Model
from benchmarks.simulation.sharing import Share, draw, lines, share, shares, table

FEW = {2: 0.4, 6: 0.7, 39: 0.5}
"""Seeds of small scenes, and what the client with the fewest answers has
of what the one with the most has, at least.
"""


@pytest.mark.parametrize("seed", some(FEW, kept=[39]))
def test_nobody_starves_and_nothing_is_lost(seed: int) -> None:
    got = share(seed)
    assert got.least >= FEW[seed]
    assert got.lost == 0
    assert got.used >= 0.9
    assert got.requests <= 1.3


@pytest.mark.slow
def test_over_all_drawn_servers_the_bounds_of_each_size_hold() -> None:
    found = lines(shares())
    assert [
        line.middle >= least for line, least in zip(found, (0.25, 0.5, 0.5, 0.7), strict=True)
    ] == [True] * 4
    assert [
        line.requests <= most for line, most in zip(found, (1.4, 1.15, 1.1, 1.05), strict=True)
    ] == [True] * 4
    assert [line.used >= 0.9 for line in found] == [True] * 4
    assert sum(line.lost for line in found[1:]) == 0


# --- what is drawn, and what is told of it


def test_one_seed_gives_one_scene() -> None:
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
    assert len({draw(seed) for seed in range(50)}) == 50


@pytest.mark.parametrize(
    ("places", "callers", "rounds", "crowded"),
    [(4, 8, 500, True), (20, 8, 300, True), (32, 8, 300, False)],
)
def test_it_lasts_for_as_long_as_tells_something(
    places: int, callers: int, rounds: int, crowded: bool
) -> None:
    crowd = sharing.Crowd(0, Model(places=places, service=2.0), callers)
    assert (crowd.end, crowd.is_crowded) == (2.0 * rounds, crowded)


def test_the_lines_tell_the_worst_the_lower_quarter_and_the_middle() -> None:
    found = [Share(10, least / 10, 0.9, 1.0 + least / 100, least) for least in (7, 1, 5, 3)]
    assert lines(found) == [("8-15", 4, 0.1, 0.3, 0.4, 0.9, 1.04, 16)]
    assert [line.split()[-8:] for line in table(found).splitlines()[1:]] == [
        ["8-15", "4", "0.10", "0.30", "0.40", "0.90", "1.04", "16"]
    ]
