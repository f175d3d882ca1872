"""Processes that share limits, as objects of their own: each has its member in the store."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from waiting import joined, until

from opea_core import OPEA, ConfigurationError, events
from opea_core.config import BreakerPolicy, Endpoint
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.retry import EndpointImpact
from opea_core.shared import RedisLimits, SQLiteLimits, renewal
from opea_core.shared.renewal import Part, adopt_cooldowns, demand_of, report_of
from opea_core.shared.shares import Demand
from opea_core.shared.stores import Granted
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
        return all(ends <= renewal.time.monotonic() for (ends,) in rows)

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


@pytest.mark.parametrize("report", ["", "[]", '{"used": "x", "waiting": {"a": 1, "5": "y"}}'])
def test_a_report_that_cannot_be_read_asks_for_nothing(report: str) -> None:
    assert demand_of("m", report) == Demand("m", 0, {})
