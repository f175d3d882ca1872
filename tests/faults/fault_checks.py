"""What is looked at in every call of the table; a check says what is wrong, or nothing."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from fault_table import Done, Outcome, Played
from fault_ways import RIGHT, Way
from langchain_core import exceptions as lc
from no_secrets import everything, found_in

from opea_core import StreamInterrupted, errors, events

Check = Callable[[Way, Done, Outcome], Any]
LANGCHAIN: Mapping[type[errors.OPEAError], tuple[type[Exception], bool | None]] = {
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
"""LangChain's class for each error, and whether it says that trying again may help (None:
that depends on the status).
"""
CORE_ERRORS = [
    it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, errors.OPEAError)
]


def core_class(error: BaseException | None) -> type | None:
    """The core's own class of an error of any package."""
    return (
        next((cls for cls in type(error).__mro__ if cls in CORE_ERRORS), type(error))
        if error is not None
        else None
    )


def the_caller_is_told_the_right_answer_or_the_right_error(
    way: Way, done: Done, outcome: Outcome
) -> Any:
    if outcome.error is None:
        return (
            None
            if (done.told.text, done.told.error) == (RIGHT, None)
            else (done.told.text, done.told.error)
        )
    return (
        None
        if core_class(done.told.error) is outcome.error
        else (done.told.text, repr(done.told.error))
    )


def an_error_has_the_servers_words_and_helps(way: Way, done: Done, outcome: Outcome) -> Any:
    text = str(done.told.error)
    wrong = [name for name, value in outcome.has.items() if getattr(done.told.error, name) != value]
    missing = [says for says in outcome.says if not re.search(says, text)]
    return (missing, text) if missing else wrong


def a_framework_knows_the_error_too(way: Way, done: Done, outcome: Outcome) -> Any:
    error = done.told.error
    if outcome.error is None or way.package != "langchain":
        return None
    cls, may_help = LANGCHAIN[outcome.error]
    return (
        None if isinstance(error, cls) and may_help in (None, error.is_retryable) else repr(error)
    )  # type: ignore[attr-defined]


def a_stream_that_breaks_off_hands_over_what_came(way: Way, done: Done, outcome: Outcome) -> Any:
    text, error = done.told.text, done.told.error
    if not outcome.breaks_off:
        return text if error is not None else None
    if not isinstance(error, StreamInterrupted):
        return repr(error)
    partial = error.partial.content if error.partial else None
    begun = bool(text) and (outcome.without_end or (RIGHT.startswith(text) and text != RIGHT))
    phases = [attempt.phase for attempt in error.attempts]
    return (
        None if partial == text and begun and phases == ["delivered"] else (text, partial, phases)
    )


def each_server_gets_as_many_requests_as_it_should(way: Way, done: Done, outcome: Outcome) -> Any:
    counts = [len(seen) for seen in done.seen]
    fits = [
        count in wanted if isinstance(wanted, range) else count == wanted
        for count, wanted in zip(counts, outcome.requests, strict=True)
    ]
    attempts = len(getattr(done.told.error, "attempts", ())) if outcome.error else None
    told = attempts in (None, sum(counts) if outcome.attempts is None else outcome.attempts)
    return None if all(fits) and told else (counts, attempts)


def nobody_is_asked_earlier_than_he_said(way: Way, done: Done, outcome: Outcome) -> Any:
    waited = (done.seen[0][-1].at - done.seen[0][0].at) / 1e9 if outcome.waits else 0
    return None if waited >= outcome.waits else f"after {waited} s"


def the_client_hangs_up_so_that_the_server_stops(way: Way, done: Done, outcome: Outcome) -> Any:
    return None if not outcome.left or done.seen[0][-1].disconnected else done.seen[0][-1]


def everything_comes_back(way: Way, done: Done, outcome: Outcome) -> Any:
    return [
        *done.left_over,
        *(f"{done.stats[name]} {name}" for name in ("in_flight", "queued") if done.stats[name]),
    ]


def the_breaker_counts_what_it_should(way: Way, done: Done, outcome: Outcome) -> Any:
    state = done.stats["endpoints"]["one"]["breaker"]
    return None if outcome.breaker in (None, state) else state


def events_balance(way: Way, done: Done, outcome: Outcome) -> Any:
    count = Counter(type(event) for event in done.heard)
    ends = [event for event in done.heard if isinstance(event, events.CallEnded)]
    one_call = (
        count[events.CallStarted]
        == len(ends)
        == len({event.call_id for event in done.heard if event.call_id})
    )
    told = [event.error for event in ends] == [outcome.error.__name__ if outcome.error else ""]
    attempts = count[events.AttemptStarted] == count[events.AttemptEnded] > 0
    return None if one_call and told and attempts else (dict(count), ends)


def no_secret_shows(way: Way, done: Done, outcome: Outcome) -> Any:
    return found_in(f"{everything(done.told.error)} {done.heard} {done.stats} {done.printed}")


def an_error_comes_through_a_pickle(way: Way, done: Done, outcome: Outcome) -> Any:
    again = pickle.loads(pickle.dumps(done.told.error))
    return (
        None
        if (type(again), str(again)) == (type(done.told.error), str(done.told.error))
        else repr(again)
    )


CHECKS: tuple[Check, ...] = (
    the_caller_is_told_the_right_answer_or_the_right_error,
    an_error_has_the_servers_words_and_helps,
    a_framework_knows_the_error_too,
    a_stream_that_breaks_off_hands_over_what_came,
    each_server_gets_as_many_requests_as_it_should,
    nobody_is_asked_earlier_than_he_said,
    the_client_hangs_up_so_that_the_server_stops,
    everything_comes_back,
    the_breaker_counts_what_it_should,
    events_balance,
    no_secret_shows,
    an_error_comes_through_a_pickle,
)


def problems(played: Played) -> list[str]:
    """What is wrong: each time the record, the way it was asked, the check,
    and what was found instead.
    """
    record = played.record
    found = [(way, "is asked", repr(error)) for way, error in played.not_asked.items()]
    for way, done in played.done.items():
        found += [
            (way, words(check), said)
            for check in CHECKS
            if (said := _said(check, way, done, record.outcome(way)))
        ]
    left = {"open files": max(0, played.files_left), "threads": max(0, played.threads_left)}
    found += [
        ("all ways", "nothing is left in the process", f"{count} {what}")
        for what, count in left.items()
        if count
    ]
    found += [
        ("all ways", "no secret is logged", shown) for shown in found_in(" ".join(played.log))
    ]
    return [f"{record} | {way} | {what} | {said}" for way, what, said in found]


def words(check: Check) -> str:
    """Its name, to be read."""
    return check.__name__.replace("_", " ")  # type: ignore[attr-defined]


def _said(check: Check, way: Way, done: Done, outcome: Outcome) -> str:
    try:
        said = check(way, done, outcome)
    except Exception as error:  # noqa: BLE001 - the others are to be looked at, too
        return f"it cannot tell: {error!r}"
    return "" if said in (None, [], (), "") else str(said)
