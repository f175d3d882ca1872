"""The Responses dialect over real sockets: when a call goes over to it, and what it carries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Told, Way, made
from no_secrets import KEY

from opea_core import OPEA, Endpoint, errors, events
from opea_core.testing import Answer, ScriptedServer, Seen, chat, error, stream, tool_call
from opea_core.testing.responses_request import BLOB, refusal_of

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
OVER = "chat/completions -> responses"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
METHODS = pytest.mark.parametrize("method", ["chat", "stream_chat"])


def paths(server: ScriptedServer) -> list[str]:
    return [seen.path for seen in server.seen]


@pytest.fixture
def picky(server: ScriptedServer) -> ScriptedServer:
    """A server that takes tools beside reasoning in the Responses dialect only."""
    server.model.wants_responses = True
    return server


def only_here(refused: Answer) -> Any:
    """A server that refuses chat in these words, and answers in the other dialect."""

    def answer(seen: Seen) -> Answer | None:
        return refused if seen.path == CHAT else refusal_of(seen.body) or chat("Hello")

    return answer


# --- going over


@METHODS
def test_it_goes_over_once_and_remembers(way: Way, picky: ScriptedServer, method: str) -> None:
    opea = made(picky)
    told = [way.ask(opea, method, "Weather?", tools=TOOLS) for _ in range(2)]
    assert [[c.name for c in one.response.tool_calls] for one in told] == [["get_weather"]] * 2
    assert [one.response.meta.dropped for one in told] == [(OVER,), ()]
    assert paths(picky) == [CHAT, RESPONSES, RESPONSES]
    assert (opea.get_stats()["requests"], opea.get_stats()["retries"]) == (2, 0)


def test_an_event_tells_of_it(server: ScriptedServer) -> None:
    server.model.wants_responses = True
    heard: list[Any] = []
    opea = made(server, hooks=[heard.append])
    opea.chat("Weather?", tools=TOOLS)
    dropped = [e for e in heard if isinstance(e, events.ParameterDropped)]
    assert [event.parameter for event in dropped] == [OVER]


WORDS = (
    "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions."
)
INSTEAD = "Please use /v1/responses instead."


@pytest.mark.parametrize(
    "refused",
    [
        error(400, f"{WORDS} {INSTEAD}", param="reasoning_effort"),
        error(400, f"{WORDS} To use tools, use /v1/responses or set reasoning_effort to 'none'."),
        error(404, "This model is only supported in v1/responses and not in v1/chat/completions."),
        error(400, f"litellm.BadRequestError: OpenAIException - {WORDS} {INSTEAD}. Received Model"),
        error(500, f"OpenAIException - {WORDS} {INSTEAD}"),
    ],
    ids=["instead", "or none", "only", "wrapped", "as a 500"],
)
def test_the_servers_words_decide(server: ScriptedServer, refused: Answer) -> None:
    server.always(only_here(refused))
    answer = made(server).chat("Hello", tools=TOOLS, reasoning_effort="low")
    assert (answer.content, answer.meta.dropped) == ("Hello", (OVER,))
    assert server.seen[-1].body["reasoning"] == {"effort": "low"}


@pytest.mark.parametrize(
    ("refused", "cls"),
    [
        (error(404, "Not Found"), errors.NotFoundError),
        (error(404, "The model does not exist."), errors.NotFoundError),
        (error(400, "gpt-4 is not supported in /v1/responses."), errors.InvalidRequestError),
        (error(401, "Use a key for /v1/responses."), errors.AuthenticationError),
        (error(429, "Use /v1/responses, there is room."), errors.RateLimited),
    ],
    ids=lambda value: value.label if isinstance(value, Answer) else "",
)
def test_nothing_else_does(server: ScriptedServer, refused: Answer, cls: type) -> None:
    server.always(refused)
    with pytest.raises(cls):
        made(server, max_retries=0).chat("Hello", tools=TOOLS)
    assert set(paths(server)) <= {CHAT, "/v1/models"}


def test_it_is_remembered_for_an_endpoint_and_a_model(server: ScriptedServer) -> None:
    refused = error(400, "Use /v1/responses.")
    server.always(
        lambda seen: refused if seen.path == CHAT and seen.body["model"] == "new" else chat("x")
    )
    opea = made(server)
    for model in ("old", "new", "old", "new"):
        opea.chat("Hello", model=model)
    assert paths(server) == [CHAT, CHAT, RESPONSES, CHAT, RESPONSES]


@pytest.mark.parametrize("refusal", [404, 500])
def test_a_server_without_the_other_dialect_is_asked_in_chat_again(
    server: ScriptedServer, refusal: int
) -> None:
    """Words alone teach nothing: the answer does."""
    server.always(
        lambda seen: (
            error(400, "Use /v1/responses.") if seen.path == CHAT else error(refusal, "No.")
        )
    )
    opea = made(server, max_retries=0)
    for _ in range(2):
        with pytest.raises(errors.OPEAError):
            opea.chat("Hello")
    assert [path for path in paths(server) if path != "/v1/models"] == [CHAT, RESPONSES] * 2


def test_what_adapts_nothing_goes_over_to_nothing(picky: ScriptedServer) -> None:
    with pytest.raises(errors.InvalidRequestError):
        made(picky).chat("Weather?", tools=TOOLS, adapt=False)
    assert paths(picky) == [CHAT]


# --- chosen


@METHODS
@pytest.mark.parametrize(("dialect", "path"), [("chat", CHAT), ("responses", RESPONSES)])
def test_a_dialect_can_be_chosen(
    way: Way, server: ScriptedServer, method: str, dialect: Any, path: str
) -> None:
    told = way.ask(made(server, dialect=dialect), method, "Hello")
    assert told.text == 'This is the scripted model. You wrote: "Hello"'
    assert (paths(server), told.response.meta.dropped) == ([path], ())


def test_what_was_chosen_is_not_changed(picky: ScriptedServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match="use /v1/responses"):
        made(picky, dialect="chat").chat("Weather?", tools=TOOLS)
    assert set(paths(picky)) == {CHAT}


def test_each_endpoint_has_its_own(server: ScriptedServer) -> None:
    with ScriptedServer() as other:
        opea = OPEA(
            endpoints=[
                Endpoint(base_url=server.url, label="one", dialect="responses"),
                Endpoint(base_url=other.url, label="two", dialect="chat", tier=1),
            ],
            model="scripted-model",
            max_retries=1,
            recovery_wait=0,
        )
        server.script(error(503, "busy"))
        assert opea.chat("Hello").endpoint == "two"
        assert (paths(server), paths(other)) == ([RESPONSES], [CHAT])


@METHODS
def test_a_turn_goes_on_at_an_endpoint_of_the_other_dialect(
    way: Way, picky: ScriptedServer, method: str
) -> None:
    """And comes back to the one that gave its reasoning."""
    with ScriptedServer() as other:
        opea = made(picky, other)
        asked = {"role": "user", "content": "Weather?"}
        first = way.ask(opea, method, [asked], tools=TOOLS).response
        output = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
        picky.script(error(503, "busy"))
        history = [asked, first.message, output]
        there = way.ask(opea, method, history, tools=TOOLS)
        back = way.ask(opea, method, history, tools=TOOLS, endpoint="one")
        assert there.text == back.text == 'The tool says: "sunny"'
        assert (there.response.endpoint, back.response.endpoint) == ("two", "one")
        assert paths(other) == [CHAT]
        assert BLOB not in json.dumps(other.seen[0].body)
        assert BLOB in json.dumps(picky.seen[-1].body)


def test_a_missing_endpoint_says_what_to_change(server: ScriptedServer) -> None:
    server.always(error(404, "File Not Found"))
    with pytest.raises(errors.NotFoundError, match="dialect"):
        made(server, dialect="responses").chat("Hello")


# --- turns


@METHODS
@pytest.mark.parametrize("dialect", ["auto", "responses"])
def test_a_turn_with_tools_carries_its_reasoning(
    way: Way, picky: ScriptedServer, method: str, dialect: Any
) -> None:
    opea = made(picky, dialect=dialect)
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    first = way.ask(opea, method, messages, tools=TOOLS).response
    (call,) = first.tool_calls
    assert first.reasoning
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = way.ask(opea, method, messages, tools=TOOLS).response
    assert second.content == 'The tool says: "sunny"'
    messages += [second.message, {"role": "user", "content": "And now?"}]
    third = way.ask(opea, method, messages, tools=TOOLS).response
    assert third.tool_calls
    assert [item["type"] for item in picky.seen[-1].body["input"]] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
        "message",
    ]
    assert all(seen.body["store"] is False for seen in picky.seen if seen.path == RESPONSES)


def test_a_turn_survives_being_stored(picky: ScriptedServer) -> None:
    opea = made(picky, dialect="responses")
    first = opea.chat("Weather?", tools=TOOLS)
    stored = json.loads(json.dumps(first.message))
    output = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    user = {"role": "user", "content": "Weather?"}
    assert "sunny" in opea.chat([user, stored, output], tools=TOOLS).content


def test_reasoning_goes_to_its_origin_and_its_model_only(picky: ScriptedServer) -> None:
    opea = made(picky, dialect="responses")
    first = opea.chat("Weather?", tools=TOOLS)
    output = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    history = [{"role": "user", "content": "Weather?"}, first.message, output]
    with ScriptedServer() as other:
        made(other, dialect="responses").chat(history, tools=TOOLS)
        made(other, dialect="chat").chat(history, tools=TOOLS)
        opea.chat(history, tools=TOOLS, model="another")
        for body in (other.seen[0].body, other.seen[1].body, picky.seen[-1].body):
            assert BLOB not in json.dumps(body)
            assert "get_weather" in json.dumps(body)


# --- reasoning that is not known any more


LOST = [
    error(
        400,
        "The encrypted content gAAA... could not be verified.",
        code="invalid_encrypted_content",
        type="invalid_request_error",
    ),
    error(404, "Item with id 'rs_1' not found. Items are not persisted when `store` is false."),
    error(
        400,
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    ),
]  # fmt: skip


@METHODS
@pytest.mark.parametrize("lost", LOST, ids=["encrypted", "not found", "alone"])
def test_lost_reasoning_is_left_out_once(
    way: Way, server: ScriptedServer, method: str, lost: Answer
) -> None:
    opea = made(server, dialect="responses")
    first = opea.chat("Hello", reasoning_effort="low")
    history = [
        {"role": "user", "content": "Hello"},
        first.message,
        {"role": "user", "content": "?"},
    ]
    server.script(lost)
    told = way.ask(opea, method, history)
    assert told.response.meta.dropped == ("reasoning is not sent",)
    assert [BLOB in json.dumps(seen.body) for seen in server.seen[1:]] == [True, False]
    way.ask(opea, method, history)
    assert BLOB in json.dumps(server.seen[-1].body)


def test_reasoning_that_stays_unknown_is_an_error(server: ScriptedServer) -> None:
    opea = made(server, dialect="responses")
    first = opea.chat("Hello", reasoning_effort="low")
    server.always(LOST[0])
    with pytest.raises(errors.InvalidRequestError, match="could not be verified"):
        opea.chat([first.message, {"role": "user", "content": "?"}])
    assert len(server.seen) == 3


# --- fields that are refused


def test_encrypted_reasoning_is_not_asked_for_where_it_was_refused(
    way: Way, server: ScriptedServer
) -> None:
    refused = error(400, "Encrypted content is not supported with this model.", param="include")
    server.always(lambda seen: refused if "include" in seen.body else None)
    opea = made(server, dialect="responses")
    told = [way.ask(opea, "chat", "Hello") for _ in range(2)]
    assert [one.response.meta.dropped for one in told] == [("reasoning.encrypted_content",), ()]
    assert ["include" in seen.body for seen in server.seen] == [True, False, False]


def test_what_the_caller_includes_stays(server: ScriptedServer) -> None:
    refused = error(400, "Encrypted content is not supported with this model.", param="include")
    server.always(lambda seen: refused if "encrypted" in str(seen.body["include"]) else None)
    opea = made(server, dialect="responses")
    opea.chat("Hello", include=["file_search_call.results"])
    assert server.seen[-1].body["include"] == ["file_search_call.results"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("stop", ["x"]), ("seed", 1), ("presence_penalty", 0.5), ("n", 2), ("logit_bias", {"1": 1})],
)
def test_fields_without_a_place_are_reported_when_they_are_refused(
    server: ScriptedServer, field: str, value: Any
) -> None:
    opea = made(server, dialect="responses")
    answers = [opea.chat("Hello", **{field: value}) for _ in range(2)]
    assert [answer.meta.dropped for answer in answers] == [(field,)] * 2
    assert [field in seen.body for seen in server.seen] == [True, False, False]


def test_servers_that_take_such_fields_get_them(server: ScriptedServer) -> None:
    server.always(chat("Hello"))
    answer = made(server, dialect="responses").chat("Hello", stop=["x"], seed=1, top_k=4)
    assert answer.meta.dropped == ()
    assert {k: server.seen[0].body[k] for k in ("stop", "seed", "top_k")} == {
        "stop": ["x"],
        "seed": 1,
        "top_k": 4,
    }


def test_names_of_users_are_left_out_when_they_are_refused(server: ScriptedServer) -> None:
    answer = made(server, dialect="responses").chat(
        [{"role": "user", "name": "Ann", "content": "Hello"}]
    )
    assert answer.meta.dropped == ("name",)


# --- everything else is as in chat


@METHODS
def test_schemas_logprobs_and_limits(way: Way, server: ScriptedServer, method: str) -> None:
    opea = made(server, dialect="responses")
    schema = {"name": "city", "schema": SCHEMA}
    assert json.loads(way.ask(opea, method, "Hello", output_schema=schema).text) == {"city": "text"}
    told = way.ask(opea, method, "Hello", logprobs=True, top_logprobs=1)
    tokens = told.response.logprobs["content"]
    assert "".join(token["token"] for token in tokens) == told.text
    assert way.ask(opea, method, "Hello", max_tokens=2).response.finish_reason == "length"


def test_names_of_tools_come_back_as_they_are_the_callers(server: ScriptedServer) -> None:
    tools = [{"type": "function", "function": {"name": "get weather!", "parameters": SCHEMA}}]
    (call,) = made(server, dialect="responses").chat("Weather?", tools=tools).tool_calls
    assert call.name == "get weather!"
    assert server.seen[0].body["tools"][0]["name"] != "get weather!"


def test_a_stream_that_breaks_off_is_interrupted(way: Way, server: ScriptedServer) -> None:
    server.script(stream(["Hel", "lo"], finish_reason=None, done=False))
    told = way.ask(made(server, dialect="responses"), "stream_chat", "Hello")
    assert isinstance(told.error, errors.StreamInterrupted)
    assert told.error.partial is not None
    assert told.error.partial.content == "Hello"


def test_a_busy_server_is_asked_again(way: Way, server: ScriptedServer) -> None:
    server.script(error(503, "busy"))
    told = way.ask(made(server, dialect="responses"), "stream_chat", "Hello")
    assert told.text
    assert paths(server) == [RESPONSES] * 2


@METHODS
def test_a_key_shows_nowhere(way: Way, server: ScriptedServer, method: str) -> None:
    server.always(lambda seen: error(400, f"Bad key {seen.headers['authorization']}", param="x"))
    told = way.ask(made(server, dialect="responses", api_key=KEY), method, "Hello")
    assert isinstance(told.error, errors.OPEAError)
    assert KEY not in f"{told.error!r}{told.error}{told.error.body}"


def test_a_legacy_completion_stays_one(server: ScriptedServer) -> None:
    made(server, dialect="responses").complete("Hello")
    assert paths(server) == ["/v1/completions"]


# --- the dialect as it is


@pytest.fixture
def spoken(server: ScriptedServer) -> OPEA:
    return made(server)


def test_a_response_comes_as_the_server_made_it(
    way: Way, spoken: OPEA, server: ScriptedServer
) -> None:
    document = way.ask(spoken, "responses", "Hello", instructions="Be brief.").value
    assert document["object"] == "response"
    assert document["output"][0]["content"][0]["text"].endswith('"Hello"')
    assert server.seen[0].body == {
        "model": "scripted-model",
        "input": "Hello",
        "instructions": "Be brief.",
        "stream": False,
    }


def test_a_refused_field_is_left_out_and_told(server: ScriptedServer) -> None:
    heard: list[Any] = []
    opea = made(server, hooks=[heard.append])
    for _ in range(2):
        opea.responses("Hello", seed=1)
    assert ["seed" in seen.body for seen in server.seen] == [True, False, False]
    assert [e.parameter for e in heard if isinstance(e, events.ParameterDropped)] == ["seed"]
    with pytest.raises(errors.InvalidRequestError, match="seed"):
        opea.responses("Hello", seed=1, adapt=False)


def test_events_come_as_the_server_made_them(way: Way, spoken: OPEA) -> None:
    found = way.ask(spoken, "stream_responses", [{"role": "user", "content": "Hello"}]).chunks
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    assert (found[0]["type"], found[-1]["type"]) == ("response.created", "response.completed")


def test_a_stream_for_a_plain_response_is_read(
    way: Way, spoken: OPEA, server: ScriptedServer
) -> None:
    server.script(stream(["Hel", "lo"]))
    document = way.ask(spoken, "responses", "Hello").value
    assert document["output"][0]["content"][0]["text"] == "Hello"


def test_a_plain_response_to_a_stream_is_its_end(
    way: Way, spoken: OPEA, server: ScriptedServer
) -> None:
    server.script(chat("Hello"))
    (event,) = way.ask(spoken, "stream_responses", "Hello").chunks
    assert event["response"]["output"][0]["content"][0]["text"] == "Hello"


@pytest.mark.parametrize("method", ["responses", "stream_responses"])
def test_it_is_tried_again_and_elsewhere(way: Way, server: ScriptedServer, method: str) -> None:
    with ScriptedServer() as other:
        server.always(error(503, "busy"))
        told = way.ask(made(server, other), method, "Hello")
        assert told.error is None
        assert paths(other) == [RESPONSES]


def _failed(told: Told) -> str:
    assert isinstance(told.error, errors.OPEAError)
    return str(told.error)


@pytest.mark.parametrize("method", ["responses", "stream_responses"])
def test_a_failed_response_is_an_error(way: Way, server: ScriptedServer, method: str) -> None:
    failed = {
        "object": "response",
        "status": "failed",
        "output": [],
        "error": {"code": "invalid_prompt", "message": "No such thing."},
    }
    server.always(
        lambda _: Answer(200, {"content-type": "application/json"}, (json.dumps(failed).encode(),))
    )
    assert "No such thing" in _failed(way.ask(made(server), method, "Hello"))


@pytest.mark.parametrize("given", ["", [], None, {"role": "user"}, 7])
def test_an_input_is_text_or_items(spoken: OPEA, given: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="input"):
        spoken.responses(given)


def test_an_answer_that_is_no_response_is_told(spoken: OPEA, server: ScriptedServer) -> None:
    server.always(lambda _: Answer(200, {"content-type": "application/json"}, (b'{"x": 1}',)))
    with pytest.raises(errors.BadAnswerError, match="output"):
        spoken.responses("Hello", max_retries=0)


def test_a_response_that_goes_on_is_given_as_it_is(spoken: OPEA, server: ScriptedServer) -> None:
    document = {
        "object": "response",
        "id": "resp_1",
        "status": "queued",
        "output": [],
        "error": None,
    }
    server.script(
        Answer(200, {"content-type": "application/json"}, (json.dumps(document).encode(),))
    )
    assert spoken.responses("Hello", background=True) == document


def test_calls_of_a_tool_are_answered_by_their_ids(spoken: OPEA, server: ScriptedServer) -> None:
    server.script(chat(None, tool_calls=[tool_call("f", {}, id="call_9")]))
    document = spoken.responses("Hello")
    assert [item["call_id"] for item in document["output"]] == ["call_9"]
