"""Every fault of the table, in every way to ask: what the caller is told, what was sent, what came back, and that no secret shows."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from functools import lru_cache
from typing import Any

import pytest
import test_fault_crowds
import test_fault_leavers
import test_fault_loops
from fault_rows import ROWS, TABLE
from fault_table import Certificates, Done, Outcome, Played, Record
from fault_ways import RIGHT, Way
from langchain_core import exceptions as lc
from no_secrets import everything, found_in

from opea_core import StreamInterrupted, errors, events
from opea_core.testing import FAULTS

LANGCHAIN: dict[type[errors.OPEAError], tuple[type[Exception], bool | None]] = {
    errors.ConfigurationError: (lc.ModelInvalidRequestError, False),
    errors.AuthenticationError: (lc.ModelAuthenticationError, False),
    errors.PermissionDeniedError: (lc.ModelPermissionDeniedError, False),
    errors.NotFoundError: (lc.ModelNotFoundError, False),
    errors.InvalidRequestError: (lc.ModelInvalidRequestError, False),
    errors.ContextOverflowError: (lc.ContextOverflowError, False),
    errors.RateLimited: (lc.ModelRateLimitError, True),
    errors.QuotaExceeded: (lc.ModelRateLimitError, False),
    errors.ServerError: (lc.ModelAPIError, None),
    errors.BadAnswerError: (lc.ModelAPIError, True),
    errors.EndpointConnectionError: (lc.ModelConnectionError, True),
    errors.CertificateError: (lc.ModelConnectionError, False),
    errors.EndpointTimeout: (lc.ModelTimeoutError, True),
    errors.DeadlineExceeded: (lc.ModelTimeoutError, True),
    errors.StreamInterrupted: (lc.ModelAPIError, True),
}
"""LangChain's class for each error, and whether it says that trying again may help (None: that depends on the status)."""
CORE_ERRORS = [it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, errors.OPEAError)]


@pytest.fixture(scope="module", params=TABLE, ids=str)
def record(request: pytest.FixtureRequest) -> Record:
    """Of module scope, so that all tests of a record come together."""
    return request.param


@lru_cache(maxsize=2)
def _play(record: Record, certificates: Certificates) -> Played | Exception:
    try:
        return Played(record, certificates)
    except Exception as error:  # noqa: BLE001 - every test of the record is told, and it is tried once
        return error


@pytest.fixture
def played(record: Record, certificates: Certificates) -> Played:
    """What came of it in every way."""
    played = _play(record, certificates)
    if isinstance(played, Exception):
        raise played
    return played


def in_every_way(played: Played, look: Any) -> dict[str, Any]:
    """What ``look`` says to a call and what should come of it, by the way it was asked; only where it says something."""
    found = {str(way): look(way, done, played.record.outcome(way)) for way, done in played.done.items()}
    return {way: said for way, said in found.items() if said not in (None, [], (), "")}


def core_class(error: BaseException | None) -> type | None:
    """The core's own class of an error of any package."""
    return next((cls for cls in type(error).__mro__ if cls in CORE_ERRORS), type(error)) if error is not None else None


def test_the_caller_is_told_the_right_answer_or_the_right_error(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        if outcome.error is None:
            return None if (done.told.text, done.told.error) == (RIGHT, None) else (done.told.text, done.told.error)
        return None if core_class(done.told.error) is outcome.error else (done.told.text, repr(done.told.error))

    assert in_every_way(played, look) == {}
    assert set(played.done) == set(played.record.ways)


def test_an_error_has_the_servers_words_and_helps(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        text = str(done.told.error)
        wrong = [name for name, value in outcome.has.items() if getattr(done.told.error, name) != value]
        missing = [says for says in outcome.says if not re.search(says, text)]
        return (missing, text) if missing else wrong

    assert in_every_way(played, look) == {}


def test_a_framework_knows_the_error_too(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        error = done.told.error
        if outcome.error is None or way.package != "langchain":
            return None
        cls, may_help = LANGCHAIN[outcome.error]
        return None if isinstance(error, cls) and may_help in (None, error.is_retryable) else repr(error)  # type: ignore[attr-defined]

    assert in_every_way(played, look) == {}


def test_a_stream_that_breaks_off_hands_over_what_came(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        text, error = done.told.text, done.told.error
        if not outcome.breaks_off:
            return text if error is not None else None
        assert isinstance(error, StreamInterrupted), repr(error)
        partial = error.partial.content if error.partial else None
        whole = partial == text if "without end" in played.record.name else text and RIGHT.startswith(text) and text != RIGHT
        phases = [attempt.phase for attempt in error.attempts]
        return None if partial == text and whole and phases == ["delivered"] else (text, partial, phases)

    assert in_every_way(played, look) == {}


def test_each_server_gets_as_many_requests_as_it_should(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        counts = [len(seen) for seen in done.seen]
        fits = [
            count in wanted if isinstance(wanted, range) else count == wanted
            for count, wanted in zip(counts, outcome.requests, strict=True)
        ]
        attempts = len(getattr(done.told.error, "attempts", ())) if outcome.error else None
        told = attempts in (None, sum(counts) if outcome.attempts is None else outcome.attempts)
        return None if all(fits) and told else (counts, attempts)

    assert in_every_way(played, look) == {}


def test_nobody_is_asked_earlier_than_he_said(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        waited = (done.seen[0][-1].at - done.seen[0][0].at) / 1e9 if outcome.waits else 0
        return None if waited >= outcome.waits else waited

    assert in_every_way(played, look) == {}


def test_the_client_hangs_up_so_that_the_server_stops(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        return None if not outcome.left or done.seen[0][-1].disconnected else done.seen[0][-1]

    assert in_every_way(played, look) == {}


def test_everything_comes_back(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        return [*done.left_over, *(f"{done.stats[name]} {name}" for name in ("in_flight", "queued") if done.stats[name])]

    assert in_every_way(played, look) == {}
    assert max(0, played.files_left) == max(0, played.threads_left) == 0


def test_the_breaker_counts_what_it_should(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        state = done.stats["endpoints"]["one"]["breaker"]
        return None if outcome.breaker in (None, state) else state

    assert in_every_way(played, look) == {}


def test_events_balance(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        count = Counter(type(event) for event in done.heard)
        ends = [event for event in done.heard if isinstance(event, events.CallEnded)]
        one_call = count[events.CallStarted] == len(ends) == len({event.call_id for event in done.heard if event.call_id})
        told = [event.error for event in ends] == [outcome.error.__name__ if outcome.error else ""]
        attempts = count[events.AttemptStarted] == count[events.AttemptEnded] > 0
        return None if one_call and told and attempts else (count, ends)

    assert in_every_way(played, look) == {}


def test_no_secret_shows(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        return found_in(f"{everything(done.told.error)} {done.heard} {done.stats} {done.printed}")

    assert in_every_way(played, look) == {}
    assert found_in(" ".join(played.log)) == []


def test_an_error_comes_through_a_pickle(played: Played) -> None:
    def look(way: Way, done: Done, outcome: Outcome) -> Any:
        again = pickle.loads(pickle.dumps(done.told.error))
        return None if (type(again), str(again)) == (type(done.told.error), str(done.told.error)) else repr(again)

    assert in_every_way(played, look) == {}


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
    tests = [it for module in (test_fault_crowds, test_fault_leavers, test_fault_loops) for it in vars(module).values()]
    proved = {record.row for record in TABLE} | {it.row for it in tests if hasattr(it, "row")}
    assert proved == set(ROWS)
