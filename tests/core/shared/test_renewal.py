"""Processes that share limits, as objects of their own: each has its member in the store."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import joined, until

from opea_core import OPEA, ConfigurationError, events
from opea_core.config import BreakerPolicy, Endpoint
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.model_limits import LONGEST_COOLDOWN
from opea_core.policy.retry import EndpointImpact
from opea_core.shared import RedisLimits, SQLiteLimits, renewal
from opea_core.shared.renewal import Part, adopt_cooldowns, demand_of, report_of
from opea_core.shared.reports import MOST, Report, read, written
from opea_core.shared.shares import Demand
from opea_core.shared.stores import Ask, Granted, Store
from opea_core.testing import ScriptedServer, Wait, chat

PLACES = 4


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "EVERY", 0.02)


def shares(server: ScriptedServer, path: Path, **options: object) -> OPEA:
    return OPEA(
        server.url,
        model="m",
        shared_limits=SQLiteLimits(path),
        **({"max_concurrent": PLACES} | options),  # type: ignore[arg-type]
    )


def test_two_never_have_more_in_flight_than_one_may(server: ScriptedServer, tmp_path: Path) -> None:
    answers: list[object] = []
    server.script(*[chat("x").after(Wait(0.002))] * 160)

    def work() -> None:
        with shares(server, tmp_path / "limits.db") as opea:
            answers.extend(result.error for result in opea.chat_many(["x"] * 80))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    joined(threads, 30)
    assert answers == [None] * 160
    assert server.max_in_flight <= PLACES


def test_who_closes_gives_its_share_back(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "limits.db"
    with shares(server, path) as opea:
        opea.chat("x")

    def is_over() -> bool:
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT ends FROM grants").fetchall()
        db.close()
        return all(ends <= time.monotonic() for (ends,) in rows)

    until(is_over, "the lease to end")


def test_without_the_store_calls_go_on_and_it_is_told_once(server: ScriptedServer) -> None:
    seen: list[events.Event] = []
    away = RedisLimits("redis://127.0.0.1:1/0")
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with OPEA(
        server.url, model="m", shared_limits=away, max_concurrent=PLACES, hooks=[seen.append]
    ) as opea:
        assert [result.ok for result in opea.chat_many(["x"] * 8)] == [True] * 8
    lost = [event for event in seen if isinstance(event, events.SharedLimitsLost)]
    assert [event.members for event in lost] == [1]
    assert server.max_in_flight <= PLACES


def test_a_store_that_cannot_be_is_told_at_the_first_call(server: ScriptedServer) -> None:
    with (
        OPEA(server.url, model="m", shared_limits="sqlite:////nowhere/at/all.db") as opea,
        pytest.raises(ConfigurationError, match="cannot be used"),
    ):
        opea.chat("x")
    assert server.seen == []


def test_a_wait_that_a_server_asked_one_for_holds_for_all() -> None:
    config = Endpoint(base_url="http://h/v1", max_concurrent=2)
    asked, other = (EndpointState(config, BreakerPolicy(), lambda: 0.0, 0) for _ in range(2))
    limits = asked.limits("m")
    permit = asked.issue_permit(limits, 0, False)
    asked.settle(permit, EndpointImpact(Verdict.FAIL, refused=True, wait=30.0), "m", 0)
    report = report_of(Part("a", 2, Demand("one"), asked), 0)
    adopt_cooldowns(other, "two", Granted(2, {"one": report}), 0)
    assert other.limits("m").opens_at(10 * SECOND) == 30 * SECOND
    again = report_of(Part("a", 2, Demand("two"), other), 0)
    assert "cooling" not in again, "what was heard is not told on, or it would never end"


class Odd(SQLiteLimits):
    """A store whose exchanges fail, until they do not."""

    error: Exception | None = None

    def open(self) -> Store:
        store = super().open()
        exchange = store.exchange

        def failing(member: str, asks: Sequence[Ask]) -> list[Granted]:
            if self.error is not None:
                raise self.error
            return exchange(member, asks)

        store.exchange = failing  # type: ignore[method-assign]
        return store


@pytest.mark.parametrize("error", [TypeError, RecursionError, OSError, MemoryError])
def test_whatever_a_store_raises_calls_go_on_and_it_is_back_when_it_works(
    server: ScriptedServer, tmp_path: Path, error: type[Exception]
) -> None:
    seen: list[events.Event] = []
    store = Odd(tmp_path / "limits.db")
    object.__setattr__(store, "error", error("redis://:hunter2@h"))
    with OPEA(
        server.url, model="m", shared_limits=store, rpm=100, hooks=[seen.append], deadline=20
    ) as opea:
        assert all(opea.chat("x") for _ in range(3))
        object.__setattr__(store, "error", None)
        until(lambda: any(isinstance(one, events.SharedLimitsBack) for one in seen), "the store")
        assert opea.chat("x")
    lost = [one for one in seen if isinstance(one, events.SharedLimitsLost)]
    assert len(lost) == 1
    assert error is OSError or lost[0].reason == error.__name__


ODD = [
    "",
    "[]",
    "5",
    "[" * 60_000,
    '{"used": NaN}',
    '{"used": true, "waiting": [5]}',
    '{"used": -1, "waiting": {"5": -3, "-1": 2}}',
    '{"used": 1e999, "waiting": {"5": 1e999}}',
    '{"used": "x", "waiting": {"a": 1, "5": "y", "\u00b2": 1, "10": 1}}',
    '{"used": ' + "9" * 400 + "}",
    '{"used": ' + "9" * 5000 + "}",
    '{"waiting": {"' + "9" * 5000 + '": 1}}',
    '{"cooling": {"m": 1e999, "n": -1, "o": NaN, "p": true, "q": "1", "r": 86401}}',
    '{"used": 1}' + " " * (1 << 17),
]


@pytest.mark.parametrize("report", ODD, ids=lambda report: report[:40])
def test_a_report_that_no_member_tells_asks_for_nothing(report: str) -> None:
    assert demand_of("m", report) == Demand("m", 0, {})
    endpoint = EndpointState(Endpoint(base_url="http://h/v1"), BreakerPolicy(), lambda: 0.0, 0)
    adopt_cooldowns(endpoint, "one", Granted(2, {"two": report}), 0)
    assert endpoint.known_limits() == []


def test_what_is_not_known_of_a_report_is_left_alone() -> None:
    report = '{"used": 3, "waiting": {"0": 2}, "cooling": {"m": 7.5}, "since": "later"}'
    assert read(report) == Report(3, {0: 2}, {"m": 7.5})


# Few texts: to draw from all of them takes longer than the test.
TEXT = st.sampled_from(["", "m", "\u00b2", "-1", "1e3", *"0123456789"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["used", "waiting", "cooling"]), JSON))
def test_what_is_read_of_a_report_is_always_bounded(told: dict[str, object]) -> None:
    found = read(json.dumps(told))
    counts = [found.used, *found.waiting.values()]
    assert all(type(count) is int and 0 <= count <= MOST for count in counts)
    assert set(found.waiting) <= set(range(10))
    assert all(0 < seconds <= LONGEST_COOLDOWN for seconds in found.cooling.values())
    assert read(written(found)) == found


def test_odd_rows_of_others_stop_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "limits.db"
    with shares(server, path, rpm=1000, deadline=20) as opea:
        opea.chat("x")
        with sqlite3.connect(path, timeout=5) as db:
            keys = [key for (key,) in db.execute("SELECT DISTINCT key FROM grants")]
            end = time.monotonic() + 3
            rows = [(key, f"m{n}", 0, end, 0, odd) for key in keys for n, odd in enumerate(ODD)]
            db.executemany("INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.close()
        keeper = opea._engine.limiter.renewal
        assert keeper is not None
        until(lambda: all(len(known) > len(ODD) for known in keeper._known.values()), "the reports")
        heard = time.monotonic()
        until(lambda: keeper._renewed > heard, "another renewal")
        assert opea.chat("x")
        assert opea._engine.limiter.endpoints[0].limits("m").cooldown_until == 0
