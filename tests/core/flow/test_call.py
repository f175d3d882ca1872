"""A call as a generator of effects: what it asks for, in which order, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import (
    ANSWER,
    EVENT,
    OK,
    Breaks,
    Cancelled,
    Play,
    Says,
    context_of,
    endpoint_of,
    failing,
)

from opea_core import RetryPolicy, errors
from opea_core.flow.effects import Send
from opea_core.policy import SECOND
from opea_core.policy.breaker import Verdict
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.retry import Phase
from opea_core.policy.scheduler import Reason

BEGIN = "Acquire FetchKey Send"
AGAIN = "Settle RetryScheduled"
ONCE = RetryPolicy(max_retries=0)
TWICE = RetryPolicy(max_retries=1)


def error_of(play: Play) -> errors.OPEAError:
    assert isinstance(play.error, errors.OPEAError)
    return play.error


# --- the way of a call


def test_a_call_that_goes_well() -> None:
    play = Play(OK)
    assert play.script == f"{BEGIN} Settle"
    assert play.answer is not None
    assert play.answer.reply.response_reader.response.content == "Hi"  # type: ignore[union-attr]
    assert (play.settled[0].effect.verdict, play.settled[0].again) == (Verdict.OK, None)


def test_a_stream_keeps_its_place() -> None:
    play = Play(Says(200, EVENT, open_=True), stream=True)
    assert play.script == BEGIN
    assert play.answer is not None
    assert play.answer.reply.connection == "open"


def test_a_stream_that_came_at_once_gives_it_back() -> None:
    play = Play(Says(200, ANSWER), stream=True)
    assert play.script == f"{BEGIN} Settle"


def test_a_failure_is_settled_before_the_next_wait() -> None:
    play = Play(failing(503), OK)
    assert play.script == f"{BEGIN} {AGAIN} {BEGIN} Settle"
    assert [settle.effect.verdict for settle in play.settled] == [Verdict.FAIL, Verdict.OK]
    assert play.settled[0].again is not None
    assert play.answer is not None
    assert play.answer.log.sent == 2


def test_the_last_failure_is_settled_before_it_is_raised() -> None:
    play = Play(failing(503), retry=ONCE)
    assert play.script == f"{BEGIN} Settle"
    assert play.settled[0].again is None
    assert error_of(play).status_code == 503


def test_the_error_has_every_attempt_with_its_times() -> None:
    error = error_of(
        Play(
            failing(503), Breaks(Phase.MAYBE_SENT), Breaks(Phase.NOT_SENT, "connect"), failing(502)
        )
    )
    assert [(a.phase, a.error, a.status_code, a.seconds) for a in error.attempts] == [
        ("status", "ServerError", 503, 1.0),
        ("maybe_sent", "EndpointConnectionError", None, 1.0),
        ("not_sent", "EndpointConnectionError", None, 1.0),
        ("status", "ServerError", 502, 1.0),
    ]
    assert error.seconds is not None
    assert error.seconds > 10


@pytest.mark.parametrize(
    ("outcomes", "count"),
    [
        ([failing(503)] * 9, 4),
        ([Breaks(Phase.NOT_SENT, "connect")] * 9, 4),
        ([failing(500), failing(500), (Reason.NO_OTHER,)], 2),
        ([failing(400)], 1),
    ],
)
def test_how_often_it_is_tried(outcomes: list[Any], count: int) -> None:
    play = Play(*outcomes)
    assert [effect.attempt for effect in play.effects if isinstance(effect, Send)] == list(
        range(1, count + 1)
    )
    assert len(error_of(play).attempts) == count


@pytest.mark.parametrize("status", [400, 404, 413, 422, 501])
def test_what_is_not_tried_again_asks_for_no_second_place(status: int) -> None:
    play = Play(failing(status), (Reason.NO_OTHER,))
    assert play.script.count("Acquire") == 1
    assert error_of(play).status_code == status


# --- no place


@pytest.mark.parametrize(
    ("reason", "cls"),
    [
        (Reason.QUEUE_FULL, errors.QueueFull),
        (Reason.QUEUE_TIMEOUT, errors.QueueFull),
        (Reason.DEADLINE, errors.DeadlineExceeded),
        (Reason.RATE_LIMITED, errors.RateLimited),
        (Reason.UNAVAILABLE, errors.NoEndpointAvailable),
        (Reason.CLOSED, errors.ClientClosed),
        (Reason.WOULD_BLOCK, errors.ConfigurationError),
        (Reason.WAITS_FOR_ITSELF, errors.ConfigurationError),
    ],
)
def test_a_call_that_gets_no_place(reason: Reason, cls: type[errors.OPEAError]) -> None:
    play = Play(reason)
    assert play.script == "Acquire CallRejected"
    assert type(play.error) is cls
    assert error_of(play).attempts == ()


def test_every_reason_is_among_them() -> None:
    assert set(Reason) == {
        Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.DEADLINE, Reason.RATE_LIMITED,
        Reason.UNAVAILABLE, Reason.CLOSED, Reason.WOULD_BLOCK, Reason.WAITS_FOR_ITSELF,
        Reason.BUDGET, Reason.NO_OTHER,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "marked"),
    [
        (Reason.BUDGET, {"retry_suppressed": "budget"}),
        (Reason.DEADLINE, {"deadline_exceeded": True}),
        (Reason.NO_OTHER, {}),
    ],
)
def test_a_retry_that_gets_no_place_raises_the_last_real_error(
    reason: Reason, marked: dict[str, Any]
) -> None:
    play = Play(failing(503, "the real one"), (reason,))
    assert play.script == f"{BEGIN} Settle RetrySuppressed CallRejected"
    assert "the real one" in str(play.error)
    assert {name: getattr(play.error, name) for name in marked} == marked
    assert len(error_of(play).attempts) == 1


@pytest.mark.parametrize("reason", [Reason.BUDGET, Reason.DEADLINE])
def test_the_same_while_it_waits(reason: Reason) -> None:
    play = Play(failing(503, "the real one"), reason)
    assert play.script == f"{BEGIN} {AGAIN} Acquire CallRejected"
    assert "the real one" in str(play.error)


# --- at once, with the same place


def test_a_stale_connection_is_sent_again_with_the_same_place() -> None:
    play = Play(Breaks(Phase.MAYBE_SENT, reused=True), OK)
    assert play.script == "Acquire FetchKey Send Send Settle"


def test_but_only_once() -> None:
    play = Play(Breaks(Phase.MAYBE_SENT, reused=True), Breaks(Phase.MAYBE_SENT, reused=True), OK)
    assert play.script == f"Acquire FetchKey Send Send {AGAIN} {BEGIN} Settle"


def test_also_for_who_wants_one_attempt() -> None:
    assert Play(Breaks(Phase.MAYBE_SENT, reused=True), OK, retry=ONCE).answer is not None


@pytest.mark.parametrize("phase", [Phase.BODY, Phase.FIRST])
def test_not_once_something_of_the_answer_came(phase: Phase) -> None:
    play = Play(Breaks(phase, reused=True), OK)
    assert play.script == f"{BEGIN} {AGAIN} {BEGIN} Settle"


def test_a_refused_parameter_is_left_out_with_the_same_place() -> None:
    context = context_of()
    endpoint = endpoint_of(context)
    refusal = failing(400, "Unsupported parameter: seed", param="seed")
    play = Play(
        refusal,
        OK,
        context=context,
        endpoint=endpoint,
        body={"messages": [{"role": "user", "content": "x"}], "seed": 1},
    )
    assert play.script == "Acquire FetchKey Send ParameterDropped Send Settle"
    assert ["seed" in body for body in play.sent] == [True, False]
    assert play.answer is not None
    assert play.answer.log.changes == ["seed"]
    assert endpoint.capabilities("gpt-3.5-turbo").dropped == {"seed"}
    assert endpoint.capabilities("another").dropped == frozenset()


def test_what_was_tried_is_learned_only_if_it_helped() -> None:
    context = context_of()
    endpoint = endpoint_of(context)
    body = {"messages": [{"role": "user", "content": "x"}], "seed": 1}
    play = Play(
        failing(400, "seed is not supported", param="seed"),
        failing(400, "no"),
        context=context,
        endpoint=endpoint,
        body=body,
    )
    assert play.error is not None
    assert endpoint.capabilities("gpt-3.5-turbo").dropped == frozenset()


def test_the_callers_body_is_not_changed() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "seed": 1}
    Play(failing(400, "seed is not supported", param="seed"), OK, body=body)
    assert body == {"messages": [{"role": "user", "content": "x"}], "seed": 1}


def _asked() -> EndpointState:
    return endpoint_of(context_of(api_key=lambda: "never called here"))


def test_a_key_function_is_asked_again_after_a_401() -> None:
    play = Play(failing(401), OK, endpoint=_asked(), keys=["old", "new"])
    assert play.script == "Acquire FetchKey Send FetchKey Send Settle"
    sends = [effect for effect in play.effects if isinstance(effect, Send)]
    assert [dict(send.request.headers)["authorization"] for send in sends] == [
        "Bearer old",
        "Bearer new",
    ]


@pytest.mark.parametrize("keys", [["old", "old"], ["old", "new"]])
def test_but_only_once_and_only_for_a_new_key(keys: list[str]) -> None:
    play = Play(failing(401), failing(401), (Reason.NO_OTHER,), endpoint=_asked(), keys=keys)
    assert play.script.count("Send") == len(set(keys))
    assert type(play.error) is errors.AuthenticationError


def test_a_plain_key_is_not_asked_again() -> None:
    play = Play(failing(401), (Reason.NO_OTHER,), keys=["plain"])
    assert play.script.startswith("Acquire FetchKey Send Settle")


def test_the_key_of_the_call_is_used_without_asking() -> None:
    play = Play(OK, key="mine")
    assert play.script == "Acquire Send Settle"


# --- probes


def probing(answered: bool) -> EndpointState:
    """An endpoint whose breaker was open until now."""
    endpoint = endpoint_of(context_of())
    for _ in range(3):
        endpoint.breaker.record(endpoint.breaker.admit(0), Verdict.FAIL, 0, connect_class=True)
    endpoint.answered = answered
    return endpoint


def broken_probes(answered: bool, **spec: Any) -> Play:
    return Play(*[Breaks(Phase.NOT_SENT, "connect")] * 6, OK, endpoint=probing(answered), **spec)


def test_a_failed_probe_of_an_endpoint_that_answered_costs_nothing() -> None:
    play = broken_probes(answered=True)
    assert (play.settled[0].behind, play.settled[0].again.uses_retry_budget) == (True, False)
    assert play.script.count("Send") >= 4


def test_one_that_never_answered_is_reported_after_the_attempts() -> None:
    play = broken_probes(answered=False)
    assert play.settled[0].again.uses_retry_budget
    assert len(error_of(play).attempts) == 4


def test_who_wants_one_attempt_gets_one() -> None:
    play = broken_probes(answered=True, retry=ONCE)
    assert len(error_of(play).attempts) == 1


# --- what an answer is


@pytest.mark.parametrize(
    ("outcome", "cls"),
    [
        (Says(200, b"<html>"), errors.BadAnswerError),
        (Says(200, b'{"choices": ['), errors.BadAnswerError),
        (Says(200, b""), errors.BadAnswerError),
        (Says(200, {"error": {"message": "x", "code": 400}}), errors.InvalidRequestError),
        (Says(302, b"", {"location": "https://elsewhere"}), errors.ConfigurationError),
        (Breaks(Phase.NOT_SENT, "connect"), errors.EndpointConnectionError),
        (Breaks(Phase.NOT_SENT, "certificate"), errors.CertificateError),
        (Breaks(Phase.NOT_SENT, "invalid"), errors.ConfigurationError),
        (Breaks(Phase.NOT_SENT, "proxy"), errors.EndpointConnectionError),
        (Breaks(Phase.NOT_SENT, "timeout", limit="connect"), errors.EndpointTimeout),
        (Breaks(Phase.MAYBE_SENT, "timeout", limit="first_event"), errors.EndpointTimeout),
        (Breaks(Phase.BODY, "timeout", limit="idle"), errors.EndpointTimeout),
        (Breaks(Phase.MAYBE_SENT, "timeout", limit="total"), errors.DeadlineExceeded),
    ],
)
def test_what_is_no_answer(outcome: Any, cls: type[errors.OPEAError]) -> None:
    play = Play(outcome, retry=ONCE)
    assert type(play.error) is cls
    assert play.script == f"{BEGIN} Settle"


def test_a_document_that_cannot_be_decoded_is_not_tried_again() -> None:
    def decode(document: Any) -> Any:
        raise errors.BadAnswerError("three vectors for two texts")

    play = Play(OK, kind="document", decode=decode)
    assert play.script == f"{BEGIN} Settle"
    assert "three vectors" in str(play.error)
    assert "one" in str(play.error)


def test_a_missing_model_is_named_with_what_there_is() -> None:
    listing = Says(200, {"data": [{"id": "llama3.2"}]})
    play = Play(
        failing(404, "model not found", code="model_not_found"),
        listing,
        (Reason.NO_OTHER,),
        retry=TWICE,
    )
    sends = [effect for effect in play.effects if isinstance(effect, Send)]
    assert [(send.request.method, send.quiet) for send in sends] == [("POST", False), ("GET", True)]
    assert "It serves: llama3.2." in str(play.error)
    assert len(error_of(play).attempts) == 1


def test_who_wants_one_request_is_told_of_no_other_models() -> None:
    play = Play(failing(404, "model not found", code="model_not_found"), retry=ONCE)
    assert len([effect for effect in play.effects if isinstance(effect, Send)]) == 1
    assert "It serves" not in str(play.error)


# --- nothing is held


@pytest.mark.parametrize("at", range(1, 10))
def test_a_call_that_is_cancelled_asks_for_nothing_more(at: int) -> None:
    """Wherever it stands: the flow holds nothing, so it has nothing to give back."""
    play = Play(failing(503), Breaks(Phase.MAYBE_SENT, reused=True), OK, cancelled_at=at)
    assert isinstance(play.error, Cancelled)
    assert len(play.effects) == at
    assert play.flow.gi_frame is None


def test_it_knows_no_clock_but_the_outcomes() -> None:
    play = Play(failing(503), OK)
    assert play.answer is not None
    assert play.answer.log.at == play.answer.reply.at
    assert play.answer.log.seconds * SECOND == play.answer.reply.at
