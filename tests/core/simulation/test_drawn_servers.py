"""Servers drawn at random: the default settings beside the best fixed number
of requests at once.
"""

from __future__ import annotations

from functools import cache
from statistics import median

import pytest
from thorough import some

from benchmarks.simulation.drawn import (
    KINDS,
    Drawn,
    Result,
    best_fixed,
    draw,
    fixed_numbers,
    play,
    result,
)
from benchmarks.simulation.load import callers
from benchmarks.simulation.record import Record
from benchmarks.simulation.scene import stage
from benchmarks.simulation.server import Heard, Model, Said, Server, Trouble
from benchmarks.simulation.world import World

UNSTATED = "rate limit, unstated"
"""Where no number of requests at once is right, and calls are lost by any."""
SAMPLE = (1, 3, 8, 10, 25, 36, 42, 44, 47)
"""One of each kind but that, with few calls."""
LONG = {seed for seed in SAMPLE if draw(seed).kind in ("503", "batches")}
"""Those that take a second, as many numbers may be the best for them."""
ALL = range(200)


@cache
def ours(seed: int) -> Result:
    """What the default settings do."""
    return result(play(draw(seed)))


def share(seed: int) -> float:
    """The answers a second as a share of those with the best fixed number."""
    return ours(seed).goodput / best_fixed(seed)[1].goodput


@pytest.mark.parametrize(
    "seed",
    some(SAMPLE, kept=set(SAMPLE) - LONG),
    ids=[draw(seed).kind for seed in SAMPLE],
)
def test_the_defaults_come_near_to_the_best_fixed_number(seed: int) -> None:
    assert ours(seed).lost == 0
    assert ours(seed).requests <= 1.2
    assert share(seed) >= 0.8


def test_the_sample_has_one_of_each_kind() -> None:
    assert sorted([UNSTATED, *(draw(seed).kind for seed in SAMPLE)]) == sorted(KINDS)


@pytest.mark.slow
def test_over_200_servers_no_answer_is_lost() -> None:
    assert [
        str(draw(seed)) for seed in ALL if ours(seed).lost and draw(seed).kind != UNSTATED
    ] == []


@pytest.mark.slow
def test_over_200_servers_the_answers_a_second_are_near_to_the_best() -> None:
    shares = sorted(share(seed) for seed in ALL)
    assert shares[len(ALL) // 20] >= 0.80
    assert median(shares) >= 0.95


@pytest.mark.slow
def test_over_200_servers_an_answer_takes_hardly_more_than_one_request() -> None:
    assert median(ours(seed).requests for seed in ALL) <= 1.05


# --- what is drawn


def test_one_seed_gives_one_server() -> None:
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
    assert len({str(draw(seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        (Model(places=8), [8]),
        (Model(places=8, queue=8), [8, 16]),
        (Model(places=8, changes=((1.0, 0.5),)), [4, 8]),
        (Model(places=256, cache=(10, 2.0)), [8, 10, 12]),
        (Model(places=64, rate=(100, 60)), [4, 32]),
    ],
)
def test_the_best_fixed_number_is_sought_among_those_that_may_be(
    model: Model, numbers: list[int]
) -> None:
    assert fixed_numbers(Drawn(0, "any", model, 1, 1)) == numbers


def test_a_fixed_number_that_is_too_small_takes_longer() -> None:
    server = Drawn(0, "503", Model(places=8, service=1.0, queue=0), 32, 200)
    small, right = (result(play(server, max_concurrent=number)) for number in (2, 8))
    assert small.goodput == pytest.approx(right.goodput / 4, rel=0.1)
    assert (small.requests, right.requests) == (1.0, 1.0)


# --- what such servers do


def answers(model: Model, count: int, at: float = 0.0) -> list[tuple[float, Said]]:
    """What so many requests hear that come at one time, and after how many seconds,
    in order of the answers.
    """
    world, heard = World(1), list[tuple[float, Said]]()
    server = Server(world, "gpu1", model)

    def hear(what: Heard) -> None:
        assert isinstance(what, Said)
        heard.append((round(world.seconds - at, 1), what))

    for _ in range(count):
        world.after(at, lambda: server.connect(None, hear))
    world.run(1e6)
    return heard


def seconds(model: Model, count: int, at: float = 0.0) -> list[float]:
    return [when for when, what in answers(model, count, at) if what.status == 200]


@pytest.mark.parametrize("refusal", [(503, None), (429, 7), (529, 1)])
def test_a_server_refuses_as_it_is_told(refusal: tuple[int, int | None]) -> None:
    heard = answers(Model(places=1, service=1.0, queue=0, refusal=refusal), 2)
    assert [what.status for _, what in heard] == [refusal[0], 200]
    assert heard[0][1].headers == ({} if refusal[1] is None else {"retry-after": str(refusal[1])})


def test_an_engine_that_works_on_a_batch_is_slower_the_more_there_is() -> None:
    model = Model(places=5, service=1.0, batching=2.0)
    assert [seconds(model, count)[-1] for count in (1, 3, 5)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("count", "slowest"), [(1, 1.0), (10, 1.0), (15, 2.5), (20, 4.0)])
def test_beyond_its_cache_a_server_gives_fewer_answers_a_second(count: int, slowest: float) -> None:
    assert seconds(Model(places=256, service=1.0, cache=(10, 3.0)), count)[-1] == slowest


@pytest.mark.parametrize(("at", "last"), [(1.0, 1.0), (5.0, 2.0), (9.0, 4.0)])
def test_a_server_has_more_or_fewer_places_from_a_time_on(at: float, last: float) -> None:
    assert (
        seconds(Model(places=8, service=1.0, changes=((4.0, 0.5), (8.0, 0.25))), 8, at)[-1] == last
    )


def test_a_limited_rate_may_be_unstated() -> None:
    heard = answers(Model(places=8, rate=(1, 60), rate_is_stated=False), 2)
    assert sorted((what.status, str(what.headers)) for _, what in heard) == [
        (200, "{}"),
        (429, "{}"),
    ]


def test_a_token_bucket_fills_again() -> None:
    model = Model(places=64, bucket=(2.0, 10))
    assert [len(seconds(model, 20, at)) for at in (0.0, 100.0)] == [10, 10]
    refused = [what for _, what in answers(model, 11) if what.status == 429]
    assert [what.headers for what in refused] == [{"retry-after": "1.0"}]


# --- the case that was reported: 64 callers, a server of 8 x 50 ms that refuses what is too much


@cache
def refusing(status: int, calls: int, outage: bool = False, places: int | None = None) -> Record:
    """What happens at the defaults, or with a number that fits."""
    troubles = (Trouble("down", 2.0, 5.0),) if outage else ()
    scene = stage(
        "ours",
        1,
        [Model(places=8, service=0.05, queue=0, refusal=(status, None), troubles=troubles)],
        max_concurrent=places,
    )
    callers(scene.world, scene.clients[0], 64, calls)
    scene.world.run(1000)
    return scene.record


@pytest.mark.parametrize("status", some([503, 429], kept=[503]))
def test_a_crowd_at_a_small_server_is_answered_as_fast_as_with_the_number_that_fits(
    status: int,
) -> None:
    record = refusing(status, 1_000)
    assert (len(record.answers), record.errors.total()) == (1_000, 0)
    assert record.finished <= 1.15 * refusing(status, 1_000, places=8).finished
    assert record.amplification <= 1.1


@pytest.mark.parametrize("status", some([503, 429], kept=[503]))
def test_a_crowd_at_a_small_server_outlasts_an_outage(status: int) -> None:
    record = refusing(status, 2_000, outage=True)
    assert (len(record.answers), record.errors.total()) == (2_000, 0)
    assert record.amplification <= 1.2
    assert record.finished <= 1.15 * refusing(status, 2_000, outage=True, places=8).finished
