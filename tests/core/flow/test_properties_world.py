"""Whole calls among servers that do anything, by a clock of the test's own:
what docs/contract.md promises.
"""

from __future__ import annotations

import pytest
from by_hand import ANSWER, EVENT, Breaks, Says, failing
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed
from thorough import some
from virtual_world import Left, Sent, Server, VirtualCall, World, everything_comes_back

from opea_core import errors
from opea_core.policy import SECOND
from opea_core.policy.retry import AWAY, Phase

# --- servers


def answer(text: str) -> Says:
    return Says(
        200, {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    )


def healthy(now: int, number: int) -> tuple[float, Says]:
    return 0.05, Says(200, ANSWER)


REFUSED = Breaks(Phase.NOT_SENT, "connect")
BAD: dict[str, tuple[float, Says | Breaks]] = {
    "refuses": (0.001, REFUSED),
    "resets": (0.01, Breaks(Phase.MAYBE_SENT)),
    "500": (0.02, failing(500)),
    "503": (0.02, failing(503)),
    "503 with a wait": (0.02, failing(503, headers={"retry-after": "7"})),
    "429": (0.02, failing(429)),
    "429 with a wait": (0.02, failing(429, headers={"retry-after": "3"})),
    "429 for an hour": (0.02, failing(429, headers={"retry-after": "3600"})),
    "wrong key": (0.02, failing(401)),
    "no such model": (0.02, failing(404, "The model `m` does not exist", code="model_not_found")),
    "HTML": (0.02, Says(200, b"<html>proxy</html>")),
    "hangs": (1e9, REFUSED),
    "breaks the body": (0.3, Breaks(Phase.BODY)),
}


def always(what: str) -> Server:
    return lambda now, number: BAD[what]


# --- one healthy endpoint of several


KINDS = sorted(BAD)
DIFFERENT = [(bad, KINDS[n - 5]) for n, bad in enumerate(KINDS)]
PAIRS = [*DIFFERENT, *((bad, bad) for bad in KINDS)]


@pytest.mark.parametrize(
    "pair", some(PAIRS, kept=DIFFERENT), ids=[" and ".join(pair) for pair in PAIRS]
)
def test_with_one_healthy_endpoint_everything_succeeds_after_warm_up(pair: tuple[str, str]) -> None:
    bad, other = pair
    world = World({"one": always(bad), "two": healthy, "three": always(other)}, timeout=4)
    with everything_comes_back(world):
        for tenth in range(250):
            world.call(at=tenth / 10)
    late = [call for call in world.calls if call.started >= 12 * SECOND]
    assert [repr(call.error) for call in late if call.error is not None] == []
    wasted = [sent for call in late for sent in call.sent if sent.endpoint != "two"]
    assert len(wasted) <= 0.25 * len(late), "and the others are mostly left alone"


# --- anything at all

WORDS = st.sampled_from(
    [*sorted(BAD), "well", "well", "well", "well", "slow", "reused", "stream", "refused parameter"]
)
SCRIPTS = st.lists(st.tuples(WORDS, st.floats(0.01, 3)), min_size=1, max_size=12)
ARRIVALS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from([None, None, None, 30.0, 5.0, 0.5]),
        st.booleans(),
        st.sampled_from([None, None, None, 0.0, 0.3, 2.0]),
        st.sampled_from([5, 5, 0, 9]),
    ),
    min_size=1,
    max_size=25,
)


def scripted(label: str, script: list[tuple[str, float]]) -> Server:
    """A server that goes through a script over and over; each good answer has a text of its own."""

    def server(now: int, number: int) -> tuple[float, Says | Breaks]:
        what, seconds = script[number % len(script)]
        if what in BAD:
            return BAD[what]
        if what == "reused":
            return 0.001, Breaks(Phase.MAYBE_SENT, reused=True)
        if what == "refused parameter":
            return 0.01, failing(400, "unknown parameter: seed", param="seed")
        if what == "stream":
            return seconds, Says(200, EVENT.replace(b"Hi", f"{label}{number}".encode()), open_=True)
        return seconds if what == "slow" else 0.05, answer(f"{label}{number}")

    return server


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world whose calls are about to come."""
    labels = ["a", "b", "c"][: draw(st.integers(1, 3))]
    servers = {label: scripted(label, draw(SCRIPTS)) for label in labels}
    limits = {label: draw(st.integers(1, 3)) for label in labels}
    options = {
        "max_retries": draw(st.sampled_from([3, 3, 0, 1, 5])),
        "recovery_wait": draw(st.sampled_from([30.0, 30.0, 2.0, 0.0])),
        "timeout": draw(st.sampled_from([5.0, 60.0])),
        "max_retry_after": draw(st.sampled_from([60.0, 4.0])),
        "queue_size": draw(st.sampled_from([1000, 1000, 2])),
        "queue_timeout": draw(st.sampled_from([None, None, 6.0])),
    }
    world = World(servers, draw(st.integers(0, 99)), limits, **options)
    for at, deadline, stream, leaves_after, priority in draw(ARRIVALS):
        world.call(at, deadline, stream, leaves_after=leaves_after, priority=priority)
    return world


def asked_to_wait(sent: Sent) -> float | None:
    """The seconds a server asked for in its answer."""
    said = sent.said
    if sent.outcome is None or not isinstance(said, Says) or said.status not in (429, 503):
        return None
    wait = said.headers.get("retry-after")
    return None if wait is None else min(float(wait), 3600.0)


def is_connect_class(sent: Sent) -> bool:
    return isinstance(sent.said, Breaks) and sent.said.phase in (Phase.NOT_SENT, Phase.MAYBE_SENT)


def is_vain_probe(sent: Sent) -> bool:
    """A gateway's word that the server behind it is still away costs the probing call nothing."""
    return sent.probe and isinstance(sent.said, Says) and sent.said.status in AWAY


def was_too_much(sent: Sent) -> bool:
    """A refusal of a server that works costs nothing: the call waits for room."""
    return isinstance(sent.said, Says) and sent.said.status in (429, 503)


def check_call(world: World, call: VirtualCall) -> None:
    policy, deadline = world.settings.retry, call.running.spec.deadline
    assert call.ended is not None
    assert deadline is None or call.answer is not None or call.ended <= deadline, (
        "slept and worked within the deadline"
    )
    tries = [
        sent
        for sent in call.sent
        if not (is_connect_class(sent) or is_vain_probe(sent) or was_too_much(sent))
    ]
    assert len(tries) <= policy.max_retries + 1, "attempts over all endpoints"
    if policy.max_retries == 0:
        stale = sum(isinstance(s.said, Breaks) and "reused" in s.said.details for s in call.sent)
        assert len(call.sent) <= 1 + min(1, stale)
    for sent in call.sent:
        assert sent.key == f"Bearer key-of-{sent.endpoint}", "only its own key"
        assert sent.at >= call.started
        assert deadline is None or sent.at < deadline
    for before, after in zip(call.sent, call.sent[1:], strict=False):
        assert before.ended <= after.at, "an attempt is over before the next one goes out"
    if call.text is not None and call.error is None:
        assert call.text == f"{call.sent[-1].endpoint}{number_of(world, call.sent[-1])}", (
            "exactly one attempt's answer"
        )
    if isinstance(call.error, errors.OPEAError) and not isinstance(
        call.error, errors.StreamInterrupted
    ):
        stale = sum(isinstance(s.said, Breaks) and "reused" in s.said.details for s in call.sent)
        assert len(call.sent) - min(1, stale) <= len(call.error.attempts) <= len(call.sent), (
            "the error has every attempt"
        )


def number_of(world: World, sent: Sent) -> int:
    """How many requests its endpoint had had before."""
    return [s for s in world.sent if s.endpoint == sent.endpoint].index(sent)


def check_endpoint(world: World, label: str) -> None:
    endpoint = next(e for e in world.limiter.endpoints if e.label == label)
    mine = [sent for sent in world.sent if sent.endpoint == label]
    for sent in mine:
        at_once = [s for s in mine if s.at <= sent.at < (s.ended or s.at)]
        most = endpoint.config.max_concurrent or 1 << 30
        assert len(at_once) <= most or sum(s.outcome is None for s in at_once), (
            "no more at once than it takes"
        )
    for earlier in mine:
        wait = asked_to_wait(earlier)
        # with others in flight it is tried again as one of them ends well
        alone = not any(s.at < earlier.ended < s.ended for s in mine if s is not earlier)
        if wait is not None and alone:
            soon = [
                s for s in mine if earlier.ended < s.granted < earlier.ended + int(wait * SECOND)
            ]
            assert soon == [], "nobody is let through before the time the server asked for"
    uses_retry_budget = successes = 0
    for sent in mine:
        successes = sum(
            s.outcome is not None
            and s.ended <= sent.at
            and isinstance(s.said, Says)
            and s.said.status == 200
            for s in mine
        )
        uses_retry_budget += sent.uses_retry_budget
        assert (
            uses_retry_budget
            <= endpoint.budget.capacity + 0.1 * successes + sent.at / SECOND / 10 + 1e-6
        ), "R18"


@fixed(150, few=60)
@given(world=worlds())
def test_whatever_servers_and_callers_do_the_promises_hold(world: World) -> None:
    with everything_comes_back(world):
        pass
    for call in world.calls:
        check_call(world, call)
    for label in world.servers:
        check_endpoint(world, label)
    assert all(isinstance(c.error, errors.OPEAError | Left | None) for c in world.calls)


@fixed(40, few=20)
@given(world=worlds())
def test_a_retry_is_paid_unless_the_server_asked_for_the_wait_or_is_down(world: World) -> None:
    world.run()
    for call in world.calls:
        for before, after in zip(call.sent, call.sent[1:], strict=False):
            said = before.said
            if (isinstance(said, Says) and said.status == 500) or (
                isinstance(said, Says) and said.body.startswith(b"<")
            ):
                assert after.uses_retry_budget
            if isinstance(said, Says) and said.status == 429 and asked_to_wait(before) is not None:
                assert not after.uses_retry_budget


@fixed(25, few=10)
@given(
    down=st.floats(0.5, 9),
    callers=st.integers(1, 12),
    seed=st.integers(0, 99),
    endpoints=st.integers(1, 2),
)
def test_callers_are_carried_over_an_outage(
    down: float, callers: int, seed: int, endpoints: int
) -> None:
    def restarting(now: int, number: int) -> tuple[float, Says | Breaks]:
        return (
            (0.001, REFUSED)
            if 2 * SECOND <= now < int((2 + down) * SECOND)
            else (0.05, Says(200, ANSWER))
        )

    labels = ["a", "b"][:endpoints]
    world = World(dict.fromkeys(labels, restarting), seed, dict.fromkeys(labels, 4))
    with everything_comes_back(world):
        for _ in labels:
            # each has answered once: a server that never did is reported, not waited for
            world.call()
        for caller in range(callers):
            for second in range(12):
                world.call(at=second + caller / callers)
    assert [repr(call.error) for call in world.calls if call.error] == []
    assert len(world.sent) <= 1.1 * len(world.calls) + 5 * endpoints + down + 10, (
        "few requests are wasted"
    )


@fixed(20)
@given(places=st.integers(1, 4), seed=st.integers(0, 99), callers=st.integers(1, 40))
def test_when_a_server_is_down_for_good_each_call_ends_within_its_patience(
    places: int, seed: int, callers: int
) -> None:
    world = World(
        {"a": lambda now, number: (0.05, answer("x")) if number < 1 else (0.001, REFUSED)},
        seed,
        {"a": places},
        recovery_wait=8,
    )
    with everything_comes_back(world):
        for caller in range(callers):
            world.call(at=1 + caller / 10)
    for call in world.calls[1:]:
        assert isinstance(call.error, errors.NoEndpointAvailable | errors.EndpointConnectionError)
        assert call.ended is not None
        assert call.ended - call.started <= 25 * SECOND


@fixed(15)
@given(callers=st.integers(4, 20), seed=st.integers(0, 99), endpoints=st.integers(1, 2))
def test_who_wants_one_request_makes_one_also_in_an_outage(
    callers: int, seed: int, endpoints: int
) -> None:
    def dies(now: int, number: int) -> tuple[float, Says | Breaks]:
        return (0.05, Says(200, ANSWER)) if now < SECOND else (0.001, REFUSED)

    labels = ["a", "b"][:endpoints]
    world = World(dict.fromkeys(labels, dies), seed, max_retries=0, recovery_wait=5)
    with everything_comes_back(world):
        for _ in labels:
            world.call()
        for caller in range(callers):
            world.call(at=2 + caller / 4)
    assert {len(call.sent) for call in world.calls} <= {0, 1}
    assert [call for call in world.calls if call.started > SECOND and call.error is None] == []


@fixed(25, few=10)
@given(
    places=st.integers(1, 5),
    callers=st.integers(1, 40),
    seed=st.integers(0, 99),
    streams=st.booleans(),
)
def test_a_place_that_is_given_back_is_taken_at_once(
    places: int, callers: int, seed: int, streams: bool
) -> None:
    answers = Says(200, EVENT, open_=True) if streams else Says(200, ANSWER)
    world = World({"a": lambda now, number: (0.05, answers)}, seed, {"a": places})
    with everything_comes_back(world):
        for _ in range(callers):
            world.call(stream=streams)
    rounds, each = -(-callers // places), SECOND // 20 + streams * SECOND
    assert max(call.ended or 0 for call in world.calls) == rounds * each, (
        "no moment is lost between two calls"
    )
