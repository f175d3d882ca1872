"""The algorithm of a call under any outcomes:
what it asks for, in which order, and what is told in the end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from by_hand import MESSAGES, Breaks, Cancelled, Play, Says, context_of, endpoint_of, failing
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core import RetryPolicy, errors
from opea_core.flow.effects import Acquire, FetchKey, Send, Settle
from opea_core.policy.breaker import Verdict
from opea_core.policy.retry import Phase
from opea_core.policy.scheduler import Reason

DROPPABLE = ("seed", "user", "logprobs", "parallel_tool_calls")
BODY = {"messages": MESSAGES, "seed": 1, "user": "u", "logprobs": True, "parallel_tool_calls": True}


@dataclass
class Step:
    """What a server does to one request; ``is_final``: nobody asks again after it."""

    name: str
    does: Says | Breaks
    is_final: bool = False
    is_answer: bool = False


def answered(text: str) -> Says:
    return Says(
        200, {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    )


ANSWERS = [Step(f"answer {n}", answered(f"answer {n}"), is_answer=True) for n in range(3)]
ERRORS = [Step(str(code), failing(code)) for code in (401, 403, 404, 408, 429, 500, 502, 503, 529)]
FINAL = [Step(str(code), failing(code), is_final=True) for code in (400, 413, 422, 501)]
FINAL.append(Step("do not retry", failing(503, headers={"x-should-retry": "false"}), is_final=True))
FINAL.append(Step("certificate", Breaks(Phase.NOT_SENT, "certificate"), is_final=True))
FINAL.append(Step("deadline", Breaks(Phase.MAYBE_SENT, "timeout", limit="total"), is_final=True))
WAITS = [
    Step(f"{code} wait {wait}", failing(code, headers={"retry-after": wait}))
    for code in (429, 503)
    for wait in ("2", "3600")
]
FINAL.append(
    Step("deadline in the body", Breaks(Phase.BODY, "timeout", limit="total"), is_final=True)
)
BROKEN = [
    Step(f"broken {phase.value}", Breaks(phase))
    for phase in (Phase.NOT_SENT, Phase.MAYBE_SENT, Phase.BODY)
]
STALE = [Step("stale", Breaks(Phase.MAYBE_SENT, reused=True))]
LATE = [Step("late", Breaks(Phase.MAYBE_SENT, "timeout", limit="first_event"))]
ODD = [
    Step("html", Says(200, b"<html></html>")),
    Step("empty", Says(200, b"")),
    Step("cut", Says(200, b'{"choices"')),
]
REFUSED = [
    Step(f"refuses {name}", failing(400, f"Unknown parameter: '{name}'", param=name))
    for name in DROPPABLE
]
STEPS = st.sampled_from(
    ANSWERS + ERRORS + FINAL + WAITS + BROKEN + STALE * 3 + LATE + ODD + REFUSED * 2
)
SCRIPTS = st.lists(STEPS, min_size=30, max_size=30)


@dataclass
class Told:
    """A call that went through a script, and what it used of it."""

    play: Play
    used: list[Step]
    retries: int


def told(
    script: list[Step], retries: int, keys: bool = False, candidates: bool = False, **options: Any
) -> Told:
    """A call through a script; ``peers``: there is another endpoint to go to."""
    context = context_of(**({"api_key": lambda: "k"} if keys else {}))
    endpoint = endpoint_of(context)
    names = [f"key {n}" for n in range(40)] if keys else ()
    kind = PlayAmongPeers if candidates else Play
    outcomes = [step.does for step in script]
    play = kind(
        *outcomes,
        context=context,
        endpoint=endpoint,
        keys=names,
        body=dict(BODY),
        retry=RetryPolicy(max_retries=retries),
        **options,
    )
    count = sum(isinstance(effect, Send) and not effect.quiet for effect in play.effects)
    return Told(play, script[:count], retries)


class PlayAmongPeers(Play):
    """A call that has another endpoint to go to."""

    def _perform(self, effect: Any) -> Any:
        got = super()._perform(effect)
        if isinstance(effect, Acquire):
            got.candidates = (self.endpoint, endpoint_of(self.context))
        if (
            isinstance(effect, Send) and effect.quiet
        ):  # the list of models says nothing; the script is for the rest
            self.outcomes.insert(0, None)
        return got


class PlayInTurn(Play):
    """A call that gets its places at several endpoints, one after the other."""

    def _perform(self, effect: Any) -> Any:
        if isinstance(effect, Acquire):
            self.places = getattr(self, "places", None) or list(self.endpoint)
            self.endpoint = self.places.pop(0)
        return super()._perform(effect)


CALLS = st.builds(
    told,
    SCRIPTS,
    st.sampled_from([3, 0, 1, 5]),
    keys=st.booleans(),
    candidates=st.booleans(),
    stream=st.booleans(),
)


ROUND = r"Acquire FetchKey Send(( FetchKey| ParameterDropped)? Send)*"
WHOLE = re.compile(rf"({ROUND} Settle RetryScheduled )*{ROUND}( Settle)?")


@fixed(150)
@given(call=CALLS)
def test_each_place_is_given_back_before_the_next_is_asked_for(call: Told) -> None:
    assert WHOLE.fullmatch(call.play.script), call.play.script
    asked = [effect for effect in call.play.effects if isinstance(effect, Acquire | Settle)]
    assert [type(effect) for effect in asked] == [Acquire, Settle] * (len(asked) // 2), (
        "no stream here stays open"
    )


@fixed(150)
@given(call=CALLS)
def test_attempts_are_bounded_and_what_costs_nothing_happens_once(call: Told) -> None:
    used = [step.name for step in call.used]
    stale = min(1, used.count("stale"))
    mends = call.play.script.count("ParameterDropped")
    rekeyed = call.play.script.count("FetchKey") - call.play.script.count("Acquire")
    assert mends <= len(DROPPABLE), "each parameter is dropped once"
    assert rekeyed <= 1, "a fresh key is asked for once"
    assert len(used) <= call.retries + 1 + stale + mends + rekeyed


@fixed(150)
@given(call=CALLS)
def test_it_stops_at_the_first_answer_and_the_first_final_error(call: Told) -> None:
    *before, last = call.used
    assert not any(step.is_answer or step.is_final for step in before)
    assert (call.play.answer is not None) is last.is_answer
    if last.is_answer:
        response = call.play.answer.reply.response_reader.response  # type: ignore[union-attr]
        assert response is not None
        assert response.content == last.name, "exactly one attempt's"


@fixed(150)
@given(call=CALLS)
def test_the_error_is_the_last_one_and_knows_all_attempts(call: Told) -> None:
    if call.play.answer is not None:
        assert call.play.error is None
        return
    error = call.play.error
    assert isinstance(error, errors.OPEAError)
    resent = next((n for n, step in enumerate(call.used) if step.name == "stale"), None)
    known = [step for n, step in enumerate(call.used) if n != resent or n == len(call.used) - 1]
    assert len(error.attempts) == len(known)
    for attempt, step in zip(error.attempts, known, strict=True):
        if isinstance(step.does, Says):
            assert attempt.status_code == step.does.status
        else:
            assert (attempt.phase, attempt.status_code) == (step.does.phase.value, None)
    assert error.attempts[-1].error == type(error).__name__


@fixed(100)
@given(call=CALLS)
def test_requests_are_numbered_and_what_was_dropped_stays_dropped(call: Told) -> None:
    sends = [
        effect for effect in call.play.effects if isinstance(effect, Send) and not effect.quiet
    ]
    assert [send.attempt for send in sends] == list(range(1, len(sends) + 1))
    bodies = call.play.sent
    for body, later in pairwise(bodies):
        assert set(later) <= set(body)
        assert len(set(body) - set(later)) <= 1


REFUSES_SEED = failing(400, "Unknown parameter: 'seed'", param="seed")


@pytest.mark.parametrize("another", [False, True])
def test_a_parameter_that_is_refused_again_after_another_failure_is_dropped_again(
    another: bool,
) -> None:
    """By the same server as before, or by the next one."""
    context = context_of(
        base_url=None,
        endpoints=[{"base_url": "http://gpu1"}, {"base_url": "http://gpu2"}],
        label=None,
    )
    first = endpoint_of(context, 0)
    endpoints = [first, endpoint_of(context, 1) if another else first]
    outcomes = [
        REFUSES_SEED,
        failing(503),
        *([REFUSES_SEED] if another else []),
        answered("in the end"),
    ]
    play = PlayInTurn(*outcomes, context=context, endpoint=endpoints, body=dict(BODY))
    assert play.error is None
    assert ["seed" in body for body in play.sent] == [
        True,
        False,
        *([True] if another else []),
        False,
    ]


@fixed(100)
@given(call=CALLS)
def test_what_a_place_is_given_back_with_is_what_its_last_request_met(call: Told) -> None:
    settles = call.play.settled
    for settle in settles[:-1]:
        assert settle.again is not None
        assert settle.effect.verdict is not Verdict.OK
    assert settles[-1].again is None
    assert (settles[-1].effect.verdict is Verdict.OK) is (call.play.answer is not None)


@fixed(100)
@given(script=SCRIPTS, retries=st.integers(0, 3), at=st.integers(1, 25), stream=st.booleans())
def test_a_cancelled_call_asks_for_nothing_more(
    script: list[Step], retries: int, at: int, stream: bool
) -> None:
    whole = told(script, retries, stream=stream).play
    play = told(script, retries, stream=stream, cancelled_at=at).play
    if len(whole.effects) < at:
        assert play.script == whole.script
    else:
        assert isinstance(play.error, Cancelled)
        assert play.script.split() == whole.script.split()[:at]


@fixed(100)
@given(
    script=SCRIPTS,
    place=st.integers(0, 4),
    reason=st.sampled_from(list(Reason)),
    later=st.booleans(),
)
def test_a_refused_place_ends_the_call_with_a_typed_error(
    script: list[Step], place: int, reason: Reason, later: bool
) -> None:
    outcomes: list[Any] = [
        step.does for step in script if step.name in ("503", "broken maybe_sent", "html")
    ][:place]
    outcomes.append((reason,) if later and outcomes else reason)
    play = Play(*outcomes, retry=RetryPolicy(max_retries=9))
    assert isinstance(play.error, errors.OPEAError)
    assert len(play.error.attempts) == sum(isinstance(effect, Send) for effect in play.effects)
    assert play.script.split()[-1] == "CallRejected"
    assert play.outcomes == []


@fixed(100)
@given(call=CALLS)
def test_keys_are_asked_for_before_each_place_is_used(call: Told) -> None:
    effects = call.play.effects
    for before, effect in pairwise(effects):
        if isinstance(before, Acquire):
            assert isinstance(effect, FetchKey)


def test_of_two_answers_that_began_one_is_not_the_whole_answer() -> None:
    """The connection ends after the first of them, while the second is not over."""
    first_of_two = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    event = {"choices": [first_of_two, {"index": 1, "delta": {"content": "H"}}]}
    first = Says(200, f"data: {json.dumps(event)}\n\n".encode())
    play = Play(first, body={"messages": MESSAGES, "n": 2}, retry=RetryPolicy(max_retries=0))
    assert isinstance(play.error, errors.OPEAError)
    assert play.error.partial is not None
    assert play.error.partial.content == "Hi"


def test_a_parameter_that_is_refused_under_both_its_names_is_not_renamed_again_and_again() -> None:
    old, new = (
        failing(400, f"Unsupported parameter: '{name}'", param=name)
        for name in ("max_tokens", "max_completion_tokens")
    )
    play = Play(*[old, new] * 20, body={"messages": MESSAGES, "max_tokens": 5})
    assert isinstance(play.error, errors.InvalidRequestError)
    assert 2 <= len(play.sent) <= 3


EACH = {
    step.name: step
    for step in ANSWERS + ERRORS + FINAL + WAITS + BROKEN + STALE + LATE + ODD + REFUSED
}


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("name", EACH)
def test_the_same_again_and_again_comes_to_an_end(name: str, retries: int, keys: bool) -> None:
    step = EACH[name]
    call = told([step] * 30, retries, keys=keys)
    at_no_cost = 1 if name in ("stale", "401" if keys else "") or step in REFUSED else 0
    assert (
        len(call.used) == 1
        if step.is_answer or step.is_final
        else len(call.used) <= retries + 1 + at_no_cost
    )


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_list_of_models_says_nothing_of_the_key_or_the_model_of_other_calls(
    status: int,
) -> None:
    play = Play(
        failing(status), kind="models", method="GET", body={}, retry=RetryPolicy(max_retries=0)
    )
    assert isinstance(play.error, errors.OPEAError)
    assert [settle.effect.mark for settle in play.settled] == [None]
