"""The faults of answers over the Responses dialect: the same comes of them as in chat.

Each record that is about an answer is asked in one way in turn; ``make test-all`` asks all of them
in all ways.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from fault_checks import problems
from fault_rows_answers import ANSWERS
from fault_rows_connections import CONNECTIONS
from fault_table import Certificates, Outcome, Played, Record
from fault_ways import WAYS, Way

from opea_core.testing import FAULTS

_ROWS = ("broken", "stuck")
"""Of those about connections: the ones in which part of an answer comes."""


def _over(record: Record) -> Record:
    """The record at servers that are asked in this dialect."""
    at = tuple(
        replace(node, options={**node.options, "dialect": "responses"}) for node in record.at
    )
    stream = record.stream and _said(record.stream)
    return replace(record, at=at, plain=_said(record.plain), stream=stream)


def _said(outcome: Outcome) -> Outcome:
    """An answer of this dialect lacks its output, not choices."""
    return replace(
        outcome, says=tuple(words.replace("no choices", "no output") for words in outcome.says)
    )


RECORDS = [
    _over(record)
    for record in [*ANSWERS, *(it for it in CONNECTIONS if it.row in _ROWS)]
    if not any(node.options or node.outage for node in record.at)
]
CHATS = [way for way in WAYS if "complet" not in way.method or way.package == "llama_index"]


def _ways(record: Record) -> list[Way]:
    return [way for way in CHATS if way in record.ways]


def _in_turn(number: int) -> tuple[Way, ...]:
    ways = _ways(RECORDS[number])
    return (ways[(5 * number) % len(ways)],)


@pytest.mark.parametrize("number", range(len(RECORDS)), ids=lambda n: str(RECORDS[n]))
def test_everything_holds(number: int, certificates: Certificates) -> None:
    assert problems(Played(RECORDS[number], _in_turn(number), certificates)) == []


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_everything_holds_in_every_way(record: Record, certificates: Certificates) -> None:
    assert problems(Played(record, tuple(_ways(record)), certificates)) == []


def test_every_fault_of_an_answer_is_met() -> None:
    met = {name for record in RECORDS for node in record.at for name in node.faults}
    body = {"cut", "stall", "error-midway", "unfinished", "torn", "json-for-stream", "endless"}
    assert body <= met
    assert {name for name, fault in FAULTS.items() if fault.harmless} - {"slow"} <= met


def test_it_is_this_dialect_that_is_asked() -> None:
    assert {_in_turn(number)[0].package for number in range(len(RECORDS))} == {
        "core",
        "aiohttp",
        "langchain",
        "llama_index",
    }
    assert all(node.options["dialect"] == "responses" for r in RECORDS for node in r.at)
