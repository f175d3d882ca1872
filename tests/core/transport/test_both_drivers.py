"""One table of calls, asked for in sync and in async: the same comes of them both times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import rows_answers
import rows_broken
import rows_retries
from asking import WAYS
from table import Row, Transcript, transcript

from opea_core import events
from opea_core.flow import call

TABLE: list[Row] = [
    *rows_answers.PLAIN,
    *rows_answers.STREAMS,
    *rows_answers.SENT,
    *rows_retries.ROWS,
    *rows_broken.ROWS,
]


@pytest.fixture(scope="module", autouse=True)
def patient_connections() -> Iterator[None]:
    """The table is of what servers answer: where a busy machine runs one of them late,
    that is no address to leave.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call, "_DOUBTFUL_CONNECT", 30.0)
        patch.setattr(call, "_USUAL_CONNECT", 30.0)
        yield


def test_no_two_rows_have_the_same_name() -> None:
    assert [name for name, count in Counter(map(str, TABLE)).items() if count > 1] == []


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_call_in_sync_and_in_async(row: Row) -> None:
    for way_name in WAYS:
        done = transcript(row, way_name)
        for check in (
            check_told,
            check_sent_and_tried,
            check_hooks_and_statistics,
            check_everything_is_back,
        ):
            try:
                check(row, done)
            except AssertionError as failure:
                failure.add_note(f"That was in {way_name}.")
                raise
    sync, other = (transcript(row, way_name).comparable for way_name in WAYS)
    assert sync == other


def check_told(row: Row, done: Transcript) -> None:
    """What the caller is told, and when."""
    told = done.told
    if row.error is None:
        assert told.error is None
        assert (
            row.gives(told.response)
            if callable(row.gives)
            else (told.text, told.response.content) == (row.gives, row.gives)
        )
    else:
        assert type(told.error) is row.error, repr(told.error)
        assert re.search(row.says, str(told.error)), str(told.error)
    for name, value in row.has.items():
        assert getattr(told.error or told.response, name) == value, name
    assert told.seconds >= row.seconds


def check_sent_and_tried(row: Row, done: Transcript) -> None:
    """What was sent, and how often it was tried."""
    assert tuple(map(len, done.seen)) == row.requests
    attempts = sum(row.requests) if row.attempts is None else row.attempts
    if row.error is not None:
        assert len(done.told.error.attempts) == attempts
        if row.failed:
            assert [f"{a.phase} {a.endpoint}" for a in done.told.error.attempts] == list(row.failed)
    elif hasattr(done.told.response, "meta"):
        assert done.told.response.meta.attempts == attempts
    for part, wanted in row.sent.items():
        _check_sent(done, part, wanted)


def _check_sent(done: Transcript, part: str, wanted: Any) -> None:
    last = done.seen[0][-1]
    if part == "messages":
        for position, message in wanted.items():
            assert message.items() <= last.body["messages"][position].items()
    elif isinstance(wanted, Mapping):
        sent = getattr(last, part)
        assert {name: sent.get(name) for name in wanted} == dict(wanted)
    else:
        assert getattr(last, part) == wanted


def check_hooks_and_statistics(row: Row, done: Transcript) -> None:
    """What hooks were told, and what the call added to the statistics."""
    if row.events is not None:
        assert done.event_names == f"CallStarted {row.events} CallEnded"
    count = Counter(type(event) for event in done.events)
    assert count[events.CallStarted] == count[events.CallEnded]
    assert count[events.AttemptStarted] == count[events.AttemptEnded]
    assert {name: done.counted(name) for name in row.stats} == dict(row.stats)
    if row.error is None and sum(row.requests):
        assert done.counted("success") == 1
    assert done.counted("errors") == sum(done.counted("errors_by_class").values())


def check_everything_is_back(row: Row, done: Transcript) -> None:
    """No place is held, nobody waits, no connection is in use."""
    assert done.everything_is_back
    assert (done.stats["in_flight"], done.stats["queued"]) == (0, 0)
