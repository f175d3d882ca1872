"""The servers of the simulation do what their models say."""

from __future__ import annotations

import pytest

from benchmarks.simulation.server import BROKEN, REFUSED, Heard, Model, Said, Server, Trouble
from benchmarks.simulation.wire import Late, Result, Wire
from benchmarks.simulation.world import Stuck, World


def answers(model: Model, count: int, at: float = 0.0) -> list[tuple[float, Heard]]:
    """What so many requests hear that come at one time, and when, in order of the answers."""
    world = World(1)
    server = Server(world, "gpu1", model)
    heard: list[tuple[float, Heard]] = []
    for _ in range(count):
        world.after(
            at, lambda: server.connect(None, lambda what: heard.append((world.seconds - at, what)))
        )
    world.run(10_000)
    return heard


def statuses(heard: list[tuple[float, Heard]]) -> list[int | str]:
    return [what.status if isinstance(what, Said) else what.kind for _, what in heard]


def test_a_server_works_on_as_many_as_it_has_places() -> None:
    assert [round(at) for at, _ in answers(Model(places=2, service=1.0), 6)] == [1, 1, 2, 2, 3, 3]


def test_what_does_not_fit_into_its_queue_is_turned_away_at_once() -> None:
    heard = answers(Model(places=1, service=1.0, queue=1), 4)
    assert statuses(heard) == [503, 503, 200, 200]
    assert heard[0][0] < 0.01


@pytest.mark.parametrize(
    ("trouble", "heard"),
    [
        (Trouble("down", 5, 6), ["connect"]),
        (Trouble("failing", 5, 6, status=500), [500]),
        (Trouble("slow", 5, 6, factor=3), [200]),
    ],
)
def test_troubles(trouble: Trouble, heard: list[int | str]) -> None:
    assert statuses(answers(Model(troubles=(trouble,)), 1, at=5.5)) == heard
    assert statuses(answers(Model(troubles=(trouble,)), 1, at=6.5)) == [200]


def test_the_first_answers_may_fail() -> None:
    assert statuses(answers(Model(fails_first=(2, 500)), 3)) == [500, 500, 200]


def test_a_slow_server_takes_longer() -> None:
    ((seconds, _),) = answers(Model(service=1.0, troubles=(Trouble("slow", factor=20),)), 1)
    assert seconds == pytest.approx(20, abs=0.01)


def test_a_server_that_dies_breaks_what_it_works_on() -> None:
    heard = answers(Model(places=1, service=10.0, troubles=(Trouble("down", 1, 2),)), 2)
    assert [what for _, what in heard] == [BROKEN, BROKEN]


def test_a_rate_limit_says_when_its_next_window_begins() -> None:
    heard = answers(Model(rate=(2, 10)), 3, at=4.5)
    refused = next(what for _, what in heard if isinstance(what, Said) and what.status == 429)
    assert sorted(statuses(heard)) == [200, 200, 429]
    assert refused.headers == {"retry-after": "6"}


def test_a_kept_connection_of_a_server_that_died_breaks_when_it_is_used() -> None:
    world = World(1)
    server, wire, results = (
        Server(world, "gpu1", Model(troubles=(Trouble("down", 1, 3),))),
        Wire(world),
        list[Result](),
    )
    for at in (0, 2, 2.5):
        world.after(at, lambda: wire.send(server, None, None, results.append))
    world.run(10)
    assert [(result.heard, result.reused) for result in results] == [
        (Said(), False),
        (BROKEN, True),
        (REFUSED, False),
    ]


@pytest.mark.parametrize(
    ("patience", "deadline", "limit"), [(1.0, None, "first_event"), (None, 10**9, "total")]
)
def test_a_request_is_given_up_at_its_limit(
    patience: float | None, deadline: int | None, limit: str
) -> None:
    world = World(1)
    server, results = Server(world, "gpu1", Model(service=5.0)), list[Result]()
    Wire(world).send(server, patience, deadline, results.append)
    world.run(10)
    assert [(result.heard, len(server.busy)) for result in results] == [(Late(limit), 0)]


def test_time_that_stands_still_is_noticed() -> None:
    world = World(1)

    def again() -> None:
        world.after(0, again)

    again()
    with pytest.raises(Stuck):
        world.run(1)
