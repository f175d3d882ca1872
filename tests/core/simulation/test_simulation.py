"""Many callers, endpoints and processes on virtual time:
the real flow over the real gate, and the bounds that are promised.
"""

from __future__ import annotations

import pytest
from thorough import some

from benchmarks.simulation import brownout, limits, outages, replicas
from benchmarks.simulation.figures import SCENARIOS
from benchmarks.simulation.load import arrivals
from benchmarks.simulation.scene import Scene, stage
from benchmarks.simulation.server import Model, Trouble

BROWNOUT = "60 s at three times the capacity, the server {}"


LONG = {
    "the defaults at 200 servers drawn at random",
    "10,000 calls at once, one of two gone for 5 s",
}
"""What takes seconds or minutes."""
ALIKE = {
    "the defaults: 64 callers, 8 places, 429 beyond",
    "the defaults: the same, 2,000 calls, gone for 3 s",
    "outage of 3 s, 1 caller",
    "outage of 3 s, 4 callers",
    "outage of 3 s, 64 callers",
    "outage of 8 s, 1 caller",
    "outage of 8 s, 64 callers, a gateway answers 502",
}
"""What differs by a number from a scenario that is played in every run."""


def test_what_is_left_out_is_among_the_scenarios() -> None:
    assert SCENARIOS.keys() >= LONG | ALIKE


@pytest.mark.parametrize("scenario", some(SCENARIOS, kept=SCENARIOS.keys() - LONG - ALIKE))
def test_bounds_hold(scenario: str) -> None:
    assert [figure for figure in SCENARIOS[scenario]("ours") if not figure.holds] == []


@pytest.mark.parametrize(
    ("without", "scenario", "broken"),
    [
        ("naive", BROWNOUT.format("answers 503"), "retries above the budget's bound"),
        (
            "naive",
            BROWNOUT.format("lets them wait"),
            "goodput from 30 s after healing, % of what is asked",
        ),
        ("no breaker", "outage of 8 s, 64 callers", "answers of 2,000"),
        ("no breaker", "outage of 8 s, 64 callers", "requests per answer"),
        ("naive", "outage of 8 s, 1 caller", "answers of 2,000"),
        ("naive", "outage of 8 s, 64 callers", "requests per answer"),
        ("no breaker", "one of three: refused", "calls answered, %"),
        ("no breaker", "one of three: 500 at once", "wasted requests"),
        ("naive", "one of three: 20 x slower", "slowest answer, s"),
        ("no breaker", "one of two dies with all places taken", "calls answered, %"),
        ("no breaker", "gone for 90 s", "requests per call while it is gone"),
        pytest.param(
            "no breaker",
            "restart under 8 processes",
            "requests a second and process while it is down",
            marks=pytest.mark.slow,
        ),
        ("no chance", "restart under 32 processes", "most requests within 20 ms while it is down"),
        ("hasty", "429 with a stated wait, 200 callers", "requests earlier than asked (trials)"),
        (
            "naive",
            "429 with a stated wait, 200 callers",
            "most requests within 0.1 s after the first wait",
        ),
        (
            "no chance",
            "429 with a stated wait, 20 processes with one call each",
            "seconds over which half of 20 processes come back",
        ),
    ],
)
def test_without_the_part_that_keeps_it_the_bound_breaks(
    without: str, scenario: str, broken: str
) -> None:
    assert broken in [figure.name for figure in SCENARIOS[scenario](without) if not figure.holds]


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(lambda: brownout.brownout("ours", "sheds"), id="brownout"),
        pytest.param(lambda: outages.outage("ours", 8, 64), id="outage"),
        pytest.param(lambda: outages.gone_for_good("ours"), id="gone for long"),
        pytest.param(lambda: outages.restart("ours", 8), id="restart"),
        pytest.param(lambda: outages.with_deadlines("ours", 5.0), id="deadlines"),
        pytest.param(lambda: replicas.one_of_three("ours", "silent"), id="silent"),
        pytest.param(lambda: limits.storm("ours"), id="storm"),
    ],
)
def test_every_call_ends_and_nothing_is_left_over(scene: Scene) -> None:
    played = scene()
    assert played.record.unfinished == 0
    for client in played.clients:
        figures = client.limiter.stats()
        assert (figures["in_flight"], figures["queued"]) == (0, 0)
    assert [dict(server.busy) for server in played.servers] == [{}] * len(played.servers)


@pytest.mark.parametrize("seed", [2])
def test_other_chances_keep_the_bounds_of_an_outage(seed: int) -> None:
    record = outages.outage("ours", 8, 4, seed).record
    assert (len(record.answers), record.errors.total()) == (outages.TOTAL, 0)
    assert record.amplification <= 1.10
    assert record.finished <= 1.10 * outages.ideal(8, 4)


@pytest.mark.parametrize(
    ("variant", "is_kept"),
    [("ours", True), pytest.param("no budget", False, marks=pytest.mark.slow)],
)
def test_without_a_budget_retries_have_no_bound(variant: str, is_kept: bool) -> None:
    """Answers that say nothing of too much, of a server that gets more than it can do."""
    model = Model(
        places=8,
        service=0.5,
        queue=0,
        refusal=(504, None),
        troubles=(Trouble("slow", 5.0, 40.0, factor=4.0),),
    )
    scene = stage(variant, 1, [model], 2, timeout=10, max_concurrent=32, breaker=False)
    arrivals(scene.world, scene.clients, 24.0, 40.0)
    scene.world.run(300)
    assert (
        max(scene.record.retries_over_budget(client.name, "gpu1", 64) for client in scene.clients)
        <= 0
    ) is is_kept


def test_one_seed_gives_one_course_of_events() -> None:
    first, second = (
        brownout.brownout.__wrapped__("ours", "queues", end=40.0).record for _ in range(2)
    )
    assert first == second


def test_callers_who_give_up_do_not_keep_a_breaker_open() -> None:
    """The first to wait has the least time left; as the probe it would prove nothing."""
    closed = outages.with_deadlines("ours", 5.0).closed_again()
    assert closed
    assert closed[-1] <= 25


def test_after_a_long_outage_the_endpoint_is_tried_within_the_open_time() -> None:
    scene = outages.gone_for_good("ours")
    assert len(scene.closed_again()) == 1
    assert scene.closed_again()[0] <= outages.BACK + 66
