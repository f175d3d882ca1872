"""Every fault of the table: what the caller is told, what was sent, what came back,
and that no secret shows.

Each record is asked in two ways, a few in all; ``make test-all`` asks every record in all ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import test_fault_crowds
import test_fault_leavers
import test_fault_loops
from fault_checks import CHECKS, problems, words
from fault_rows import IN_ALL_WAYS, ROWS, TABLE, WAYS_OF
from fault_table import Certificates, Done, Outcome, Played, Record, always, fails
from fault_ways import WAYS, Told, Way
from no_secrets import KEY

from opea_core import errors
from opea_core.testing import FAULTS, faults


@pytest.mark.parametrize("record", TABLE, ids=str)
def test_everything_holds(record: Record, certificates: Certificates) -> None:
    assert problems(Played(record, WAYS_OF[record], certificates)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "record", [record for record in TABLE if str(record) not in IN_ALL_WAYS], ids=str
)
def test_everything_holds_in_every_way(record: Record, certificates: Certificates) -> None:
    assert problems(Played(record, record.ways, certificates)) == []


# --- the checks themselves


_WAY = Way("langchain", "stream")
_LIMITED = Record(
    "storm",
    "no quota",
    (always(faults.rate_limited(3600)),),
    fails(errors.RateLimited, "asks to wait 3600 s"),
)


@pytest.fixture(scope="module")
def limited(certificates: Certificates) -> Played:
    """A record in which everything holds."""
    return Played(_LIMITED, (_WAY,), certificates)


def _with_event_lost(done: Done) -> Done:
    return replace(done, heard=done.heard[:-1])


class _Unpicklable(errors.RateLimited):
    def __reduce__(self) -> Any:
        return errors.RateLimited, ("something else",)


def _unpicklable(done: Done) -> Done:
    return replace(done, told=Told(error=_Unpicklable(str(done.told.error))))


_AMISS: dict[str, tuple[Callable[[Done], Done], dict[str, Any]]] = {
    "the caller is told the right answer or the right error": (
        lambda done: done,
        {"error": errors.QuotaExceeded},
    ),
    "an error has the servers words and helps": (
        lambda done: done,
        {"says": ("asks to wait 3601 s",)},
    ),
    "a framework knows the error too": (
        lambda done: replace(done, told=Told(error=errors.RateLimited("no"))),
        {},
    ),
    "a stream that breaks off hands over what came": (
        lambda done: replace(done, told=Told(["x"], done.told.error)),
        {},
    ),
    "each server gets as many requests as it should": (lambda done: done, {"requests": (2,)}),
    "nobody is asked earlier than he said": (lambda done: done, {"waits": 0.1}),
    "the client hangs up so that the server stops": (lambda done: done, {"left": True}),
    "everything comes back": (lambda done: replace(done, left_over=["a connection"]), {}),
    "the breaker counts what it should": (lambda done: done, {"breaker": "open"}),
    "events balance": (_with_event_lost, {}),
    "no secret shows": (lambda done: replace(done, printed=KEY), {}),
    "an error comes through a pickle": (_unpicklable, {}),
}


def test_nothing_is_amiss_where_everything_holds(limited: Played) -> None:
    assert problems(limited) == []


@pytest.mark.parametrize("what", [words(check) for check in CHECKS])
def test_a_check_notices_and_says_in_which_record_and_way(
    limited: Played, certificates: Certificates, what: str
) -> None:
    spoil, expected = _AMISS[what]
    spoilt = Played(replace(_LIMITED, plain=replace(_LIMITED.plain, **expected)), (), certificates)
    spoilt.done = {_WAY: spoil(limited.done[_WAY])}
    assert [
        said
        for said in problems(spoilt)
        if said.startswith(f"storm: no quota | langchain stream | {what} | ")
    ] != []


def test_what_is_left_or_logged_is_told(certificates: Certificates) -> None:
    played = Played(_LIMITED, (), certificates)
    played.threads_left, played.log = 1, [f"key {KEY}"]
    told = problems(played)
    assert told[0] == "storm: no quota | all ways | nothing is left in the process | 1 threads"
    assert told[1] == f"storm: no quota | all ways | no secret is logged | {KEY}"


def test_a_way_in_which_it_cannot_be_asked_is_told(certificates: Certificates) -> None:
    record = replace(_LIMITED, options={"no_such_option": 1})
    told = problems(Played(record, (_WAY, Way("core", "achat")), certificates))
    assert sorted(said.split(" | ")[:3] for said in told) == [
        ["storm: no quota", way, "is asked"] for way in ("core achat", "langchain stream")
    ]


# --- the table itself


def test_no_two_records_have_the_same_name() -> None:
    assert [name for name, count in Counter(map(str, TABLE)).items() if count > 1] == []


def test_every_fault_is_in_the_table() -> None:
    used = {name for record in TABLE for node in record.at for name in node.faults}
    assert set(FAULTS) - used == set()


def test_every_harmless_fault_gives_the_right_answer() -> None:
    whole = {
        name
        for record in TABLE
        for name in record.at[0].faults
        if record.plain.error is record.plain.says is None or record.plain == Outcome()
    }
    assert {name for name, fault in FAULTS.items() if fault.harmless} - whole == set()


def test_every_record_is_of_a_row() -> None:
    assert {record.row for record in TABLE} - set(ROWS) == set()


def test_every_row_of_the_table_is_proved() -> None:
    tests = [
        it
        for module in (test_fault_crowds, test_fault_leavers, test_fault_loops)
        for it in vars(module).values()
    ]
    proved = {record.row for record in TABLE} | {it.row for it in tests if hasattr(it, "row")}
    assert proved == set(ROWS)


# --- the ways that each record is asked in


def _kinds(record: Record) -> set[str]:
    """Its row, and the errors that come of it."""
    return {record.row} | {
        outcome.error.__name__ for outcome in (record.plain, record.outcome(_WAY)) if outcome.error
    }


def _traits(way: Way) -> set[str]:
    return {way.face, "stream" if way.is_stream else "plain", "async" if way.is_async else "sync"}


def test_every_record_is_asked_for_an_answer_and_for_a_stream() -> None:
    assert [
        str(record) for record, ways in WAYS_OF.items() if len({way.is_stream for way in ways}) != 2
    ] == []


def test_every_kind_of_record_meets_every_package_sync_and_async() -> None:
    met: dict[str, set[str]] = {}
    for record, ways in WAYS_OF.items():
        for kind in _kinds(record):
            met.setdefault(kind, set()).update(*map(_traits, ways))
    every = {"core", "langchain", "llama_index", "plain", "stream", "sync", "async"}
    assert {kind: every - traits for kind, traits in met.items() if traits != every} == {}


def test_every_way_has_its_share() -> None:
    asked = Counter(
        way for record, ways in WAYS_OF.items() if str(record) not in IN_ALL_WAYS for way in ways
    )
    assert {str(way): asked[way] for way in WAYS if asked[way] < 10} == {}


def test_the_records_asked_in_all_ways_are_in_the_table() -> None:
    assert IN_ALL_WAYS - set(map(str, TABLE)) == set()
