"""Where grants are kept: a file, and a real Redis where its server is installed."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import running_redis

from opea_core import OPEA, ConfigurationError
from opea_core.shared import RedisLimits, SharedLimits, SQLiteLimits
from opea_core.shared import stores as stores_module
from opea_core.shared.reports import Report, read
from opea_core.shared.stores import Ask, shared_limits

LIMIT = 20


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with running_redis() as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def limits(request: pytest.FixtureRequest, tmp_path: Path) -> SharedLimits:
    if request.param == "sqlite":
        return SQLiteLimits(tmp_path / "limits.db")
    url = request.getfixturevalue("redis_url")
    return RedisLimits(url, namespace=request.node.name)


def ask(wanted: int, used: int = 0, lingers: bool = False, report: str = "{}") -> Ask:
    return Ask("a", LIMIT, used, wanted, lingers, report)


def test_grants_never_add_up_to_more_than_the_limit(limits: SharedLimits) -> None:
    """Members that all want all of it, each in a thread: after any exchange the sum holds."""
    held: dict[str, int] = {}
    over: list[int] = []
    lock = threading.Lock()

    def member(name: str) -> None:
        store = limits.open()
        for turn in range(12):
            wanted = (LIMIT, 3, 7)[turn % 3]
            with lock:  # a grant counts from the exchange on
                held[name] = store.exchange(name, [ask(wanted)])[0].amount
                over.extend([sum(held.values())] if sum(held.values()) > LIMIT else [])
        store.close()

    threads = [threading.Thread(target=member, args=(f"m{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert over == []
    assert len(held) == 5


def test_what_one_gives_back_another_takes(limits: SharedLimits) -> None:
    store = limits.open()
    assert store.exchange("one", [ask(LIMIT)])[0].amount == LIMIT
    assert store.exchange("two", [ask(10)])[0].amount == 0
    assert store.exchange("one", [ask(4)])[0].amount == 4
    assert store.exchange("two", [ask(LIMIT)])[0].amount == LIMIT - 4
    store.close()


def test_what_is_used_is_never_taken(limits: SharedLimits) -> None:
    store = limits.open()
    store.exchange("one", [ask(15)])
    assert store.exchange("one", [ask(2, used=9)])[0].amount == 9
    assert store.exchange("two", [ask(LIMIT)])[0].amount == LIMIT - 9
    store.close()


def test_each_hears_what_the_others_told(limits: SharedLimits) -> None:
    store = limits.open()
    store.exchange("one", [ask(1, report='{"used": 1}')])
    granted = store.exchange("two", [ask(1, report='{"used": 2}')])[0]
    assert granted.reports == {"one": '{"used": 1}', "two": '{"used": 2}'}
    store.close()


def test_who_leaves_is_forgotten_and_what_it_sent_in_this_minute_is_not(
    limits: SharedLimits,
) -> None:
    store = limits.open()
    asks = [ask(12), Ask("minute", LIMIT, 0, 12, True, "{}")]
    store.exchange("one", asks)
    store.leave("one", ["a", "minute"])
    again = [ask(LIMIT), Ask("minute", LIMIT, 0, LIMIT, True, "{}")]
    assert [g.amount for g in store.exchange("two", again)] == [LIMIT, LIMIT - 12]
    assert all("one" not in g.reports for g in store.exchange("two", again))
    store.close()


def test_groups_in_one_store_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "limits.db"
    one, two = SQLiteLimits(path, "one").open(), SQLiteLimits(path, "two").open()
    assert one.exchange("m", [ask(LIMIT)])[0].amount == LIMIT
    assert two.exchange("n", [ask(LIMIT)])[0].amount == LIMIT
    one.close()
    two.close()


def test_a_lease_from_before_a_restart_of_the_machine_is_void(tmp_path: Path) -> None:
    """The clock of a host begins again: an end further away than any lease is not of this start."""
    store = SQLiteLimits(tmp_path / "limits.db").open()
    store.exchange("before", [ask(LIMIT)])
    with sqlite3.connect(tmp_path / "limits.db") as db:
        db.execute("UPDATE grants SET ends = ends + 100000")
    db.close()
    assert store.exchange("now", [ask(LIMIT)])[0].amount == LIMIT
    store.close()


ROW = {"amount": LIMIT, "lingers": 0, "report": "{}"}


def write(limits: SharedLimits, row: dict[str, Any]) -> None:
    """Have another one write a row, as anybody can who reaches the store."""
    clock = time.monotonic if isinstance(limits, SQLiteLimits) else time.time
    row = {"ends": clock() + 3, **ROW, **row}
    if isinstance(limits, SQLiteLimits):
        values = ("opea:a", "other", row["amount"], row["ends"], row["lingers"], row["report"])
        with sqlite3.connect(limits.path) as db:
            db.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)", values)
        db.close()
    else:
        store: Any = limits.open()
        store._client.hset(f"{{{limits.namespace}}}:a", "other", json.dumps(row))
        store.close()


@pytest.mark.parametrize(
    "odd",
    [
        {"amount": "all"},
        {"amount": None},
        {"amount": -LIMIT},
        {"amount": 1 << 60},
        {"ends": None},
        {"ends": "for ever"},
        {"ends": 1e300},
        {"lingers": None},
        {"lingers": 1 << 40},
    ],
    ids=str,
)
def test_a_row_that_no_member_writes_holds_nothing(
    limits: SharedLimits, odd: dict[str, Any]
) -> None:
    store = limits.open()
    write(limits, odd)
    granted = store.exchange("one", [ask(LIMIT)])[0]
    assert (granted.amount, list(granted.reports)) == (LIMIT, ["one"])
    store.close()


@pytest.mark.parametrize(
    "report", ["x" * (1 << 20), None, b"\xff\xfe"], ids=["long", "none", "raw"]
)
def test_a_report_that_is_no_short_text_is_not_handed_on(tmp_path: Path, report: Any) -> None:
    limits = SQLiteLimits(tmp_path / "limits.db")
    store = limits.open()
    write(limits, {"amount": 5, "report": report})
    granted = store.exchange("one", [ask(LIMIT)])[0]
    assert granted.amount == LIMIT - 5
    assert read(granted.reports["other"]) == Report()
    store.close()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("postgres://h/db", "names no store"),
        (7, "names no store"),
        ("sqlite:////nowhere/at/all.db", "cannot be used"),
    ],
)
def test_what_cannot_be_a_store_is_said_at_once(value: object, words: str) -> None:
    def opened() -> None:
        found = shared_limits(value)
        assert found is not None
        found.open()

    with pytest.raises(ConfigurationError, match=words):
        opened()


@pytest.mark.parametrize("path", ["", "~nobody-of-this-name/a.db", "a\0b", "\ud800"], ids=ascii)
def test_a_path_that_can_be_no_file_is_refused_when_the_object_is_made(path: str) -> None:
    for limits in (f"sqlite:///{path}", SQLiteLimits(path)):
        with pytest.raises(ConfigurationError, match="names no file"):
            OPEA("http://127.0.0.1:1", model="m", shared_limits=limits)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///",
        "redis://:hunter2@127.0.0.1:1/0?unknown=1",
        "redis://:hunter2@127.0.0.1:1/0?socket_timeout=soon",
        "redis://:hunter2/and@127.0.0.1:1/0",
        "redis://[hunter2/0",
    ],
)
def test_a_url_that_can_never_work_is_refused_when_the_object_is_made(url: str) -> None:
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with pytest.raises(ConfigurationError, match="shared_limits") as refused:
        OPEA("http://127.0.0.1:1", model="m", shared_limits=url)
    assert "hunter2" not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_a_network_folder_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stores_module, "_NETWORK_FILES", {stores_module._file_system(tmp_path / "x")}
    )
    with pytest.raises(ConfigurationError, match="network folder"):
        SQLiteLimits(tmp_path / "limits.db").open()


def test_no_password_is_shown() -> None:
    shown = repr(RedisLimits("redis://user:hunter2@host:6379/0"))
    assert "hunter2" not in shown
    assert "host:6379" in shown
