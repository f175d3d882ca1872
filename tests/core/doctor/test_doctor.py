"""The doctor against servers whose abilities are known, and what is made of what it finds."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from asking import Way, made
from drawn_server import Drawn

from opea_core import OPEA, BreakerPolicy, Capabilities, Endpoint, errors
from opea_core.doctor import plan
from opea_core.doctor.diagnosis import Diagnosis
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Ask, Outcome, Row, shape_of
from opea_core.doctor.plan import MOST
from opea_core.doctor.samples import NAMED, WEATHER
from opea_core.policy import SECOND
from opea_core.policy.endpoint import EndpointState
from opea_core.testing import ScriptedServer, error, json_answer
from opea_core.types import ChatResponse

MEANT = {"yes": "on", "no": "refused", "ignored": "ignored"}
FEW, MANY = range(12), range(12, 200)


def expected(drawn: Drawn, name: str) -> str | None:
    """The truth about a row; None where it is no ability that was drawn."""
    truth = drawn.truth
    with_tools = ("tools in streams", "tool_choice required", "tool_choice named")
    if name in (*with_tools, "parallel tool calls", "tool results") and truth["tools"] == "refused":
        return "refused"
    if name == "reasoning":
        ways = {truth["reasoning_effort"], truth["chat_template_kwargs"]}
        return next(value for value in ("on", "ignored", "refused") if value in ways)
    return "on" if truth.get(name) == "wanted" else truth.get(name)


def wrong(drawn: Drawn, diagnosis: Diagnosis) -> list[str]:
    """The rows that say something else than what is so."""
    found = []
    for row in diagnosis.rows:
        truth = expected(drawn, row.name)
        if truth is not None and row.value != "unknown" and MEANT[row.value] != truth:
            found.append(f"server {drawn.seed}: {row} but {truth}")
    return found


def diagnosed(drawn: Drawn) -> tuple[Diagnosis, int]:
    """What is found of a drawn server, and how many requests came there."""
    with ScriptedServer() as server:
        server.always(drawn)
        url = server.url.removesuffix("/v1") + drawn.base
        with OPEA(url, append_v1=False) as opea:
            diagnosis = opea.diagnose()
        return diagnosis, len(server.seen)


def check(seeds: range) -> None:
    unknown = rows = 0
    for seed in seeds:
        drawn = Drawn(seed)
        diagnosis, requests = diagnosed(drawn)
        assert requests == diagnosis.requests <= MOST
        assert wrong(drawn, diagnosis) == []
        rows += len(diagnosis.rows)
        unknown += sum(row.value == "unknown" for row in diagnosis.rows)
    assert unknown <= rows / 10


def test_no_false_yes_and_no_false_no() -> None:
    check(FEW)


@pytest.mark.slow
def test_no_false_yes_and_no_false_no_at_many_servers() -> None:
    check(MANY)


# --- sync and async, and what is made of it


def test_the_same_is_found_in_async_code(way: Way) -> None:
    found = []
    for method in ("diagnose", way):
        with ScriptedServer() as server:
            server.always(Drawn(3))
            opea = made(server, model="drawn", base_url=_base(server, Drawn(3)))
            if method == "diagnose":
                found.append(opea.diagnose())
            else:
                found.append(way.ask(opea, "diagnose").value)
    timed = ("time to first token", "tokens per second", "requests at once", "seed")
    rows = [[r for r in one.rows if r.name not in timed] for one in found]
    assert rows[0] == rows[1]
    assert found[0].capabilities == found[1].capabilities


def _base(server: ScriptedServer, drawn: Drawn) -> str:
    return server.url.removesuffix("/v1") + drawn.base


def test_a_profile_is_kept_and_read_again(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with OPEA(server.url) as opea:
        diagnosis = opea.diagnose()
    diagnosis.save(path)
    for form in (path, str(path), json.loads(path.read_text()), diagnosis.capabilities):
        with OPEA(server.url, capabilities=form) as opea:
            assert opea.capabilities() == diagnosis.capabilities
            assert opea.context_window == 8192
    assert "api_key" not in path.read_text()


def test_what_is_said_later_outranks_a_profile(server: ScriptedServer) -> None:
    several = [{"tool_choice": "auto", "dropped": ["n"]}, Capabilities(tool_choice="required")]
    with OPEA(server.url, capabilities=several) as opea:
        assert opea.capabilities().tool_choice == "required"
        assert opea.capabilities().dropped == {"n"}


def test_a_window_that_was_given_outranks_a_profile(server: ScriptedServer) -> None:
    with OPEA(server.url, capabilities={"context_window": 5}, context_window=7) as opea:
        assert opea.context_window == 7


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("/nowhere/profile.json", "cannot be read"),
        ({"opea_profile": 2, "capabilities": {}}, "form 2"),
        ({"tool_choise": "auto"}, "tool_choice"),
        (7, "not int"),
    ],
)
def test_a_profile_that_is_none(profile: object, words: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        OPEA("http://localhost:9", capabilities=profile)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ('{"error":{"message":"m"}}', None),
        ('{"error":"m"}', "error is a string"),
        ('{"b":1,"a":2}', "JSON with a, b"),
        ("[1]", "JSON that is no object"),
        ("<html>", "HTML"),
        ("no", "plain text"),
        ("", "empty"),
        ("[" * 60_000, "plain text"),
        ('{"error":{"message":"\ud800"}}', None),
    ],
)
def test_what_is_odd_about_the_form_of_an_error(body: str, shape: str | None) -> None:
    assert shape_of(errors.ServerError("m", body=body)) == shape


def test_a_profile_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("{")
    with pytest.raises(errors.ConfigurationError, match="is no JSON"):
        OPEA("http://localhost:9", capabilities=tmp_path / "p")


def test_what_was_learned_is_shown_and_stands_below_what_was_set(
    way: Way, server: ScriptedServer
) -> None:
    server.script(error(400, "Unsupported parameter: 'seed' is not supported.", param="seed"))
    opea = made(server, model="m", capabilities={"dropped": ["n"], "tool_choice": "named"})
    assert way.ask(opea, "chat", "Hello", seed=1).error is None
    assert opea.capabilities().dropped == {"n", "seed"}
    assert opea.capabilities(model="another").dropped == {"n"}
    with pytest.raises(errors.ConfigurationError, match="There is no endpoint 'nowhere'"):
        opea.capabilities("nowhere")


@pytest.mark.parametrize(
    ("known", "choice"), [({"tool_choice": "named"}, "named"), ({}, "required")]
)
def test_what_was_set_stays_whatever_is_refused(
    way: Way, server: ScriptedServer, known: dict[str, str], choice: str
) -> None:
    words = "tool_choice must be a string: none, auto or required."
    server.script(error(400, words, param="tool_choice"))
    opea = made(server, model="m", capabilities=known)
    told = way.ask(opea, "chat", "Hello", tools=[WEATHER], tool_choice=NAMED)
    assert told.error is None
    assert opea.capabilities(model="m").tool_choice == choice


def test_embeddings_are_asked_for_as_the_profile_says(way: Way, server: ScriptedServer) -> None:
    known = {"embedding_format": "base64", "embedding_batch": 2}
    opea = made(server, model="m", capabilities=known)
    assert len(way.ask(opea, "embed", ["a", "b", "c"]).value.embeddings) == 3
    assert [len(seen.body["input"]) for seen in server.seen] == [2, 1]
    assert {seen.body["encoding_format"] for seen in server.seen} == {"base64"}
    way.ask(opea, "embed", "a", encoding_format="float")
    assert server.seen[-1].body["encoding_format"] == "float"


def test_what_was_learned_is_forgotten_after_an_hour() -> None:
    state = EndpointState(Endpoint(base_url="http://one:1"), BreakerPolicy(), lambda: 0.5, 0)
    state.learn("m", Capabilities(dropped=frozenset({"seed"})), now=5)
    hour = 3600 * SECOND
    assert state.capabilities("m", hour).dropped == {"seed"}
    assert state.capabilities("m", hour + 5).dropped == frozenset()
    assert state.capabilities("m", 6).dropped == frozenset()


# --- what keeps it from finding out


def test_a_wrong_key_is_an_error(way: Way) -> None:
    with ScriptedServer(api_key="right") as server:
        outcome = way.ask(made(server, api_key="wrong"), "diagnose")
    assert isinstance(outcome.error, errors.AuthenticationError)


def test_a_key_that_the_server_echoes_is_not_shown(way: Way) -> None:
    key = "sk-very-secret-0123456789"
    with ScriptedServer(model=f"model-{key}", api_key=key) as server:
        server.always(
            lambda seen: (
                error(400, f"{key} may not do this") if b"logprobs" in seen.raw_body else None
            )
        )
        diagnosis = way.ask(made(server, model=None, api_key=key), "diagnose").value
    assert diagnosis["logprobs"].value == "no"
    assert key not in json.dumps(diagnosis.as_dict()) + repr(diagnosis) + diagnosis.markdown()


def test_of_several_models_one_must_be_named(way: Way, server: ScriptedServer) -> None:
    server.script(json_answer({"data": [{"id": "a"}, {"id": "b"}]}))
    outcome = way.ask(made(server, model=None), "diagnose")
    assert isinstance(outcome.error, errors.ConfigurationError)


def test_a_busy_server_is_unknown_and_not_a_no(way: Way, server: ScriptedServer) -> None:
    server.always(lambda seen: error(503, "busy") if b'"logprobs"' in seen.raw_body else None)
    diagnosis = way.ask(made(server, model=None), "diagnose").value
    assert diagnosis["logprobs"].value == "unknown"
    assert diagnosis["n"].value == "yes"


def test_a_server_that_must_be_asked_twice_gets_no_more_requests(server: ScriptedServer) -> None:
    count = itertools.count()
    server.always(lambda seen: error(503, "busy") if next(count) % 2 else None)
    with OPEA(server.url) as opea:
        diagnosis = opea.diagnose()
    assert len(server.seen) == diagnosis.requests == MOST
    assert diagnosis["tokenize"] == Row("tokenize", "unknown", "no request was left")
    assert diagnosis["chat"].value == "yes"


def test_equal_answers_prove_no_seed(server: ScriptedServer) -> None:
    with OPEA(server.url) as opea:
        assert opea.diagnose()["seed"].value == "unknown"


def test_the_markdown_is_a_table() -> None:
    with ScriptedServer() as server, OPEA(server.url) as opea:
        diagnosis = opea.diagnose()
    lines = diagnosis.markdown().splitlines()
    assert "| chat | yes |  |" in lines
    assert len(lines) == len(diagnosis.rows) + 2
    with pytest.raises(KeyError):
        diagnosis["nothing"]


def test_how_many_are_worked_on_at_once(server: ScriptedServer) -> None:
    with OPEA(server.url) as opea:
        detail = opea.diagnose()["requests at once"].detail
    assert re.fullmatch(r"\d, in \d+\.\d\d s; one alone took \d+\.\d\d s", detail)


def test_what_is_too_much_is_said_in_the_servers_words() -> None:
    ask = Ask("chat", "/v1/chat/completions")
    refused = errors.RateLimited("429", status_code=429, body="Too many at once.")
    outcomes = [Outcome(ask, ChatResponse(), seconds=1.0)] * 2 + [Outcome(ask, error=refused)]
    row = plan._crowd(Known("/v1"), "requests at once", outcomes)
    assert row.detail == "2 of 3; the others: 429: Too many at once."
