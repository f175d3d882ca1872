"""Many callers of one object while its servers are busy, down, slow, restarted or wrong;
in the three packages.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice, product
from typing import Any

import pytest
from asking import idle
from fault_table import of, right
from fault_ways import CROWDS, DECK, RIGHT, Crowd, Session, Way, core_of
from waiting import until

from opea_core import BreakerPolicy, errors
from opea_core.testing import Answer, Hold, ScriptedServer, Seen, chat, faults
from opea_core.testing.rate_limits import rate_limit

Servers = Callable[..., ScriptedServer]
Made = Callable[..., Any]
_deck: Iterator[Way] = cycle(DECK)


def in_turn(**cases: Sequence[Any]) -> Any:
    """Each case of a test in the next two ways of the deck,
    a test without cases in the next three.
    """
    every = list(product(*cases.values()))
    count = 3 if len(every) == 1 else 2
    found = [
        pytest.param(
            way, *case, id="-".join([str(way), *(getattr(it, "name", str(it)) for it in case)])
        )
        for case in every
        for way in islice(_deck, count)
    ]
    return pytest.mark.parametrize(("way", *cases), found)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def question(seen: Seen) -> str:
    return str(seen.body["messages"][-1]["content"])


@of("storm")
@in_turn()
def test_a_storm_of_rate_limits_is_served(way: Way, servers: Servers, made: Made) -> None:
    """200 callers at a server that takes 25 at once and tells the others to come back in 0.3 s:
    they come as others end well.
    """
    callers = 200 if way.package == "core" else 60
    server = servers(capacity=callers // 8, latency=0.1, overload=faults.rate_limited(0.3))
    it = made(way, server, max_concurrent=callers)
    crowd = Crowd(way, it, [f"caller {number}" for number in range(callers)])
    assert [told.error for told in crowd.told() if told.error is not None] == []
    refused = [seen for seen in server.seen if seen.answer == "429"]
    assert 1 <= len(refused) <= callers, "at most the first burst, and hardly anything after it"
    assert core_of(it).get_stats("one")["breaker"] == "closed"
    assert idle(core_of(it))


@of("storm")
@in_turn(status=[429, 503])
def test_others_do_not_come_earlier_than_one_was_told(
    way: Way, server: ScriptedServer, made: Made, status: int
) -> None:
    it = made(way, server)
    server.script(rate_limit(0.4, status=status))
    assert len(Crowd(way, it, 1, max_retries=0).errors()) == 1
    assert Crowd(way, it, 3).errors() == []
    assert [seen for seen in server.seen[1:] if seen.at - server.seen[0].at < 0.4e9] == []


@of("burst")
@in_turn(bad=[faults.status(500), faults.status(503), faults.html, faults.reset])
def test_one_of_three_that_fails_fast_is_left_alone(
    way: Way, servers: Servers, made: Made, bad: faults.Fault
) -> None:
    three = [servers() for _ in range(3)]
    three[0].always(bad)
    it = made(way, *three, breaker=BreakerPolicy(break_duration=30), max_concurrent=4)
    assert Crowd(way, it, 60).errors() == []
    assert len(three[0].seen) <= 10 + 4  # min_calls, and those that were under way
    assert idle(core_of(it))


@of("burst")
@in_turn(how=["refuse", "close", "reset"])
def test_one_of_three_that_is_down_is_not_missed_and_comes_back(
    way: Way, servers: Servers, made: Made, how: Any
) -> None:
    three = [servers(latency=0.002) for _ in range(3)]
    it = made(way, *three, max_concurrent=4)
    three[0].pause(how)
    assert Crowd(way, it, 40).errors() == []
    three[0].resume()

    def asked() -> bool:
        assert Crowd(way, it, 12).errors() == []
        return bool(three[0].seen)

    until(asked, "the first server to be asked again", 10)
    assert idle(core_of(it))


@of("burst")
@in_turn()
def test_one_of_three_that_is_slow_gets_less(way: Way, servers: Servers, made: Made) -> None:
    three = [servers(latency=latency) for latency in (0.4, 0.002, 0.002)]
    assert Crowd(way, made(way, *three, max_concurrent=3), 60).errors() == []
    assert len(three[0].seen) < min(len(three[1].seen), len(three[2].seen))


@of("burst")
@in_turn()
def test_a_brownout_is_not_made_worse_and_passes(way: Way, servers: Servers, made: Made) -> None:
    """More than the server takes at once, answered with 503:
    retries stay within their budget, and it ends when the server heals.
    """
    server = servers(capacity=4, latency=0.01, overload=faults.status(503, "overloaded"))
    it = made(way, server, max_concurrent=16, breaker=False)
    crowd = Crowd(way, it, 60)
    served = [told for told in crowd.told() if told.error is None]
    assert {
        type(told.error).__mro__.__contains__(errors.ServerError)
        for told in crowd.told()
        if told.error
    } <= {True}
    assert (
        len(server.seen) <= 60 + 32 + 0.1 * len(served) + 2
    )  # the budget: twice the places, a tenth of the successes, and with time
    server.capacity = None
    assert Crowd(way, it, 8).errors() == []
    assert idle(core_of(it))


@of("outage")
@in_turn(callers=[64, 4, 1], how=["refuse", "reset"])
def test_callers_are_carried_over_an_outage(
    way: Way, servers: Servers, made: Made, callers: int, how: Any
) -> None:
    server = servers(capacity=8, latency=0.01, overload="wait")
    it = made(way, server, max_concurrent=8)
    assert Crowd(way, it, 1).errors() == []
    fails_at = min(callers, 6)
    server.script(*[right] * fails_at, lambda _: server.pause(how))
    crowd = Crowd(way, it, callers, rounds=3)
    until(lambda: len(server.seen) > fails_at + 1, "the outage")
    pause(0.4)
    assert crowd.finished < 3 * callers
    server.resume()
    assert crowd.errors() == []
    assert crowd.finished == 3 * callers
    assert (
        len(server.seen) - 1 <= 1.1 * 3 * callers + 8
    )  # those under way were lost, and no storm followed
    assert idle(core_of(it))


@of("outage")
@in_turn()
def test_an_outage_told_by_a_gateway(way: Way, servers: Servers, made: Made) -> None:
    """What stands in front of the server answers 503 meanwhile."""
    server = servers(latency=0.01)
    it = made(way, server, max_concurrent=8, recovery_wait=10)
    assert Crowd(way, it, 12).errors() == []
    server.always(faults.status(503, "no upstream"))
    crowd = Crowd(way, it, 24)
    pause(0.3)
    server.always(None)
    assert crowd.errors() == []
    assert idle(core_of(it))


@of("dead")
@in_turn()
def test_down_for_good_ends_with_the_reasons_and_recovers(
    way: Way, servers: Servers, made: Made
) -> None:
    two = [servers(), servers()]
    it = made(way, *two, recovery_wait=0.3)
    session = Session(way, it)
    assert [session.ask(endpoint=label).error for label in ("one", "two")] == [None, None]
    for server in two:
        server.pause()
    while (
        core_of(it).get_stats("one")["breaker"] == "closed"
        or core_of(it).get_stats("two")["breaker"] == "closed"
    ):
        assert session.ask(recovery_wait=0).error is not None
    told = session.ask()
    assert isinstance(told.error, errors.NoEndpointAvailable), repr(told.error)
    assert [
        word
        for word in ("one", "two", "connection refused", "recovery_wait=0.3")
        if word not in str(told.error)
    ] == []
    two[1].resume()
    assert session.ask(recovery_wait=20).text == RIGHT
    session.close()


@of("revoked")
@in_turn()
def test_a_key_that_is_revoked_in_the_middle(way: Way, servers: Servers, made: Made) -> None:
    two = [servers(api_key="good", latency=0.01), servers(api_key="good", latency=0.01)]
    it = made(way, *two, api_key="good", max_concurrent=4)
    crowd = Crowd(way, it, 40)
    two[0].wait_seen(4)
    two[0].model.api_key = "another"
    assert crowd.errors() == []
    assert len([seen for seen in two[0].seen if seen.answer == "401"]) <= 4
    assert idle(core_of(it))


@of("second")
@in_turn(fault=[faults.status(401), faults.no_model])
def test_what_is_wrong_is_told_at_once_until_it_is_mended(
    way: Way, server: ScriptedServer, made: Made, fault: faults.Fault
) -> None:
    cls = errors.NotFoundError if fault is faults.no_model else errors.AuthenticationError
    session = Session(way, made(way, server, breaker=BreakerPolicy(break_duration=30)))
    server.always(fault)
    for count in (1, 2, 3):
        assert isinstance(session.ask().error, cls)
        assert len([seen for seen in server.seen if seen.method == "POST"]) == count
    server.always(None)
    assert session.ask().text == RIGHT
    session.close()


@of("restart")
@in_turn()
def test_restarts_under_load_are_bridged(way: Way, servers: Servers, made: Made) -> None:
    server = servers(latency=0.005)
    it = made(way, server, max_concurrent=8)
    crowd = Crowd(way, it, 16, rounds=6)
    for count in (10, 40):
        server.wait_seen(count)
        server.pause("reset")
        pause(0.1)
        server.resume()
    assert crowd.errors() == []
    assert crowd.finished == 96
    assert idle(core_of(it))


def held(server: ScriptedServer) -> threading.Event:
    """The next answer is held until the event is set."""
    go = threading.Event()
    server.script(chat("held").after(Hold(go)))
    return go


@of("full")
@in_turn()
def test_a_full_queue_refuses_at_once(way: Way, server: ScriptedServer, made: Made) -> None:
    it, go = made(way, server, max_concurrent=1, max_queued=1), held(server)
    holder = Crowd(way, it, 1)
    server.wait_seen(1)
    waiter = Crowd(way, it, 1)
    until(lambda: core_of(it).get_stats()["queued"] == 1, "the second to wait")
    (told,) = Crowd(way, it, 1).told()
    assert isinstance(told.error, errors.QueueFull), repr(told.error)
    assert "nothing was sent" in str(told.error)
    go.set()
    assert (holder.errors(), waiter.errors(), len(server.seen)) == ([], [], 2)
    assert idle(core_of(it))


@of("deadline")
@in_turn()
def test_a_deadline_that_passes_in_the_queue(way: Way, server: ScriptedServer, made: Made) -> None:
    it, go = made(way, server, max_concurrent=1), held(server)
    holder = Crowd(way, it, 1)
    server.wait_seen(1)
    (told,) = Crowd(way, it, 1, deadline=0.2).told()
    assert isinstance(told.error, errors.DeadlineExceeded), repr(told.error)
    assert "nothing was sent" in str(told.error)
    assert told.seconds >= 0.2
    go.set()
    assert (holder.errors(), len(server.seen)) == ([], 1)
    assert idle(core_of(it))


@in_turn()
def test_a_crowd_tells_of_each_of_its_callers(way: Way, server: ScriptedServer, made: Made) -> None:
    server.script(Answer(400, {}, (b"no",)))
    crowd = Crowd(way, made(way, server), 3, rounds=2)
    assert len(crowd.errors()) == 1
    assert sorted(told.text for told in crowd.told()) == ["", *[RIGHT] * 5]


def test_every_test_meets_every_package_sync_and_async() -> None:
    """And every way gets its share."""
    asked: Counter[Way] = Counter()
    for test in [
        it
        for name, it in globals().items()
        if name.startswith("test_") and hasattr(it, "pytestmark")
    ]:
        ways = [case.values[0] for mark in test.pytestmark for case in mark.args[1]]
        asked.update(ways)
        assert {way.face for way in ways} == {"core", "langchain", "llama_index"}, test.__name__
        assert {way.is_async for way in ways} == {False, True}, test.__name__
    assert {str(way): asked[way] for way in CROWDS if asked[way] < 5} == {}
