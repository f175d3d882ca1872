"""Bad input gets a clear typed error at once, before anything is sent."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Any

import pytest
from asking import Sync, Way, made
from steady_ids import steady

from opea_core import OPEA, ConfigurationError, Endpoint, RetryPolicy
from opea_core.testing import ScriptedServer

MESSAGES = [{"role": "user", "content": "Hello"}]
RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = RECURSIVE

CONSTRUCTORS: dict[str, dict[str, Any]] = {
    "an unknown option": {"temprature": 1},
    "an option with a typo": {"max_retry": 1},
    "no scheme": {"base_url": "localhost:8000"},
    "another scheme": {"base_url": "ftp://localhost"},
    "an empty URL": {"base_url": ""},
    "a URL with blanks": {"base_url": "http://local host"},
    "a URL that is no text": {"base_url": 5},
    "a port out of range": {"base_url": "http://localhost:99999"},
    "port 0": {"base_url": "http://localhost:0"},
    "a key with a line break": {"api_key": "abc\ndef"},
    "a key with blanks": {"api_key": " abc"},
    "a key beyond ASCII": {"api_key": "schlüssel"},
    "a key that is a number": {"api_key": 5},
    "a key beside user info": {"base_url": "http://ann:pw@localhost", "api_key": "abc"},
    "keys and a key": {"api_keys": ["a", "b"], "api_key": "c"},
    "keys that are one text": {"api_keys": "abc"},
    "no keys": {"api_keys": []},
    "endpoints and a URL": {"endpoints": ["http://a"], "base_url": "http://b"},
    "no endpoints": {"endpoints": []},
    "endpoints that are one URL": {"endpoints": "http://a"},
    "an endpoint that is a number": {"endpoints": [5]},
    "an endpoint with a typo": {"endpoints": [{"base_url": "http://a", "wieght": 1}]},
    "a limit of nobody": {"max_concurrent": 0},
    "a limit of a half": {"max_concurrent": 1.5},
    "a limit in words": {"max_concurrent": "5"},
    "a negative timeout": {"timeout": -1},
    "a timeout of nothing": {"timeout": 0},
    "a timeout in words": {"timeout": "30"},
    "a timeout that is true": {"timeout": True},
    "an endless timeout": {"timeout": math.inf},
    "a timeout of three": {"timeout": (1, 2, 3)},
    "two timeouts": {"timeout": 1, "timeouts": (1, 2)},
    "a deadline of nothing": {"deadline": 0},
    "negative retries": {"max_retries": -1},
    "retries in words": {"max_retries": "3"},
    "a retry that is a number": {"retry": 3},
    "a breaker in words": {"breaker": "off"},
    "a queue that is a number": {"queue": 100},
    "a negative queue": {"max_queued": -1},
    "a header with a line break": {"headers": {"x-a": "b\r\nx-c: d"}},
    "a header that is no text": {"headers": {"x-a": 5}},
    "a header with a bad name": {"headers": {"x a": "b"}},
    "headers that are a list": {"headers": [("x-a", "b")]},
    "a bad auth_header": {"auth_header": "x y"},
    "a query that is text": {"query": "a=b"},
    "a proxy without a scheme": {"proxy": "localhost:3128"},
    "a weight of nothing": {"weight": 0},
    "a tier of a half": {"tier": 0.5},
    "hooks that are one function": {"hooks": print},
    "hooks that are a number": {"hooks": 5},
    "hooks that cannot be called": {"hooks": ["x"]},
    "metadata that is text": {"metadata": "x"},
    "metadata with a typo": {"metadata": {"opea_api_ulr": "http://a"}},
    "metadata with a timeout in words": {"metadata": {"timeout": "30 s"}},
    "resources that are a number": {"resources": 5},
    "two URLs": {"resources": "http://a", "base_url": "http://b"},
    "capabilities in words": {"capabilities": "all"},
}


@pytest.mark.parametrize("what", CONSTRUCTORS)
def test_an_object_that_could_never_work_is_not_made(what: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        OPEA(**CONSTRUCTORS[what])
    assert "abc" not in str(raised.value)
    assert raised.value.message.endswith((".", "?")), raised.value.message


CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "no messages": ([], {}),
    "None": (None, {}),
    "bytes": (b"Hello", {}),
    "a number": (5, {}),
    "one message": ({"role": "user", "content": "Hello"}, {}),
    "messages that are texts": (["Hello"], {}),
    "a message without a role": ([{"content": "Hello"}], {}),
    "a role that is no text": ([{"role": 5, "content": "Hello"}], {}),
    "a generator": ((m for m in MESSAGES), {}),
    "an object in a message": ([{"role": "user", "content": object()}], {}),
    "bytes in a message": ([{"role": "user", "content": b"x"}], {}),
    "half a character": ([{"role": "user", "content": "\ud800"}], {}),
    "a number that is none": (MESSAGES, {"temperature": math.nan}),
    "an endless number": (MESSAGES, {"temperature": math.inf}),
    "a set": (MESSAGES, {"stop": {"a"}}),
    "a date": (MESSAGES, {"metadata": {"at": datetime.datetime(2024, 1, 1)}}),
    "a dict with itself inside": (MESSAGES, {"metadata": RECURSIVE}),
    "a key of a dict that is no text": (MESSAGES, {"metadata": {object(): 1}}),
    "a model that is a number": (MESSAGES, {"model": 5}),
    "the other kind of call": (MESSAGES, {"stream": None}),
    "a timeout of nothing": (MESSAGES, {"timeout": 0}),
    "a negative timeout": (MESSAGES, {"timeout": -1}),
    "a timeout in words": (MESSAGES, {"timeout": "5"}),
    "a deadline of nothing": (MESSAGES, {"deadline": 0}),
    "a deadline in words": (MESSAGES, {"deadline": "5"}),
    "negative retries": (MESSAGES, {"max_retries": -1}),
    "retries in words": (MESSAGES, {"max_retries": "1"}),
    "a priority of 10": (MESSAGES, {"priority": 10}),
    "a priority of a half": (MESSAGES, {"priority": 0.5}),
    "a priority that is true": (MESSAGES, {"priority": True}),
    "a recovery_wait in words": (MESSAGES, {"recovery_wait": "1"}),
    "a negative recovery_wait": (MESSAGES, {"recovery_wait": -1}),
    "an endless recovery_wait": (MESSAGES, {"recovery_wait": math.inf}),
    "an unknown endpoint": (MESSAGES, {"endpoint": "nowhere"}),
    "an endpoint that is a number": (MESSAGES, {"endpoint": 5}),
    "headers that are text": (MESSAGES, {"extra_headers": "x"}),
    "a header with a line break": (MESSAGES, {"extra_headers": {"x-a": "abc\ndef"}}),
    "a header that is no text": (MESSAGES, {"extra_headers": {"x-a": None}}),
    "a header with a bad name": (MESSAGES, {"extra_headers": {"": "abc"}}),
    "a query that is text": (MESSAGES, {"extra_query": "a=b"}),
    "a body that is text": (MESSAGES, {"extra_body": "a=b"}),
    "an extra body that JSON cannot say": (MESSAGES, {"extra_body": {"a": object()}}),
    "a request id with a line break": (MESSAGES, {"request_id": "a\nb"}),
    "a request id that is a number": (MESSAGES, {"request_id": 5}),
}


PROMPTS: list[Any] = ["", [], None, 5, {"a": 1}, b"x", [object()]]
INPUTS: list[Any] = [None, 5, [5], [None], {"a": 1}, b"x", [b"x"], ["a", ["b"]], ["\ud800"]]
DATA: list[Any] = [
    *(None, "text", 5, [], {"messages": []}, {"messages": [{"content": "x"}]}),
    *({"messages": MESSAGES, "stream": True}, {"input": object()}),
]
URLS: list[Any] = ["", "not a url", 5, "ftp://x", "http://", "http://a b/"]
SYNC = Sync()

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method, and what it is called with."""


def call_of(method: str, what: str) -> Call:
    """One of CALLS, made for a method."""
    messages, options = CALLS[what]
    if what == "the other kind of call":
        options = {"stream": method == "chat"}
    if what == "a generator":
        messages = (message for message in MESSAGES)
    return method, (messages,), options


def data_calls(server: ScriptedServer, data: Any) -> list[Call]:
    return [
        ("make_post_request", (data,), {}),
        ("make_post_request_opea", (server.url, data), {}),
        ("make_request_with_endpoint", ("one", data), {}),
    ]


def url_calls(url: Any) -> list[Call]:
    return [
        (method, (url, {"messages": MESSAGES}), {})
        for method in ("make_post_request_opea", "make_stream_request_opea")
    ]


def check_refused(way: Way, server: ScriptedServer, calls: Iterable[Call]) -> None:
    """Each is a clear typed error that shows no secret; nothing was sent or counted."""
    opea = made(server)
    for method, args, options in calls:
        error = way.ask(opea, method, *args, **options).error
        assert type(error) is ConfigurationError, f"{method}{args} {options}: {error!r}"
        assert "abc" not in str(error)
    assert server.seen == []
    assert (
        opea.get_stats()["requests"],
        opea.get_stats()["in_flight"],
        opea.get_stats()["queued"],
    ) == (0, 0, 0)


# It is refused before anything depends on the way to call: each in sync, and all of them together
# in async.


@pytest.mark.parametrize("what", CALLS)
def test_a_call_that_could_never_work_is_not_sent(server: ScriptedServer, what: str) -> None:
    check_refused(SYNC, server, [call_of("chat", what), call_of("stream_chat", what)])


@pytest.mark.parametrize("prompt", PROMPTS, ids=steady)
def test_a_prompt_is_text_or_a_list(server: ScriptedServer, prompt: Any) -> None:
    check_refused(SYNC, server, [("complete", (prompt,), {}), ("stream_complete", (prompt,), {})])


@pytest.mark.parametrize("inputs", INPUTS, ids=steady)
def test_what_is_embedded_is_text(server: ScriptedServer, inputs: Any) -> None:
    check_refused(SYNC, server, [("embed", (inputs,), {})])


@pytest.mark.parametrize("data", DATA, ids=steady)
def test_data_must_be_a_dict_that_makes_sense(server: ScriptedServer, data: Any) -> None:
    check_refused(SYNC, server, data_calls(server, data))


@pytest.mark.parametrize("url", URLS, ids=steady)
def test_a_url_must_be_one(server: ScriptedServer, url: Any) -> None:
    check_refused(SYNC, server, url_calls(url))


def test_a_stream_of_data_without_text_is_refused(server: ScriptedServer) -> None:
    check_refused(SYNC, server, [("make_stream_request", ({"input": "x"},), {})])


@pytest.mark.parametrize("way", ["async", "aiohttp"], indirect=True)
def test_the_same_is_refused_in_async(way: Way, server: ScriptedServer) -> None:
    check_refused(
        way, server, (call_of(method, what) for what in CALLS for method in ("chat", "stream_chat"))
    )
    check_refused(
        way,
        server,
        (
            (method, (prompt,), {})
            for prompt in PROMPTS
            for method in ("complete", "stream_complete")
        ),
    )
    check_refused(way, server, (("embed", (inputs,), {}) for inputs in INPUTS))
    check_refused(way, server, (call for data in DATA for call in data_calls(server, data)))
    check_refused(way, server, (call for url in URLS for call in url_calls(url)))
    check_refused(way, server, [("make_stream_request", ({"input": "x"},), {})])


def test_a_stream_that_could_never_work_is_refused_at_the_call(server: ScriptedServer) -> None:
    """Not at its first chunk, which may be asked for far away."""
    opea = made(server)
    for what in CALLS:
        for method in (opea.stream_chat, opea.astream_chat):
            _, (messages,), options = call_of("stream_chat", what)
            with pytest.raises(ConfigurationError):
                method(messages, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "nonsense"},
        {"unknown": 1},
        {"max_concurrent": 0},
        {"api_key": "a\nb"},
        {"endpoints": []},
        {"retry": 5},
    ],
    ids=str,
)
def test_an_endpoint_that_could_never_work_is_not_created(
    server: ScriptedServer, options: dict[str, Any]
) -> None:
    opea = made(server)
    with pytest.raises(ConfigurationError):
        opea.create_endpoint(**options)
    assert opea.endpoint_ids() == ["one"]


def test_a_hook_must_be_callable(server: ScriptedServer) -> None:
    with pytest.raises(ConfigurationError):
        made(server).add_hook("x")  # type: ignore[arg-type]


def test_the_caller_gets_a_hint_what_to_write_instead(server: ScriptedServer) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'timeout'"):
        OPEA(timout=5)
    with pytest.raises(ConfigurationError, match="Did you mean 'max_retries'"):
        OPEA(retry=RetryPolicy(), max_retrys=1)
    with pytest.raises(ConfigurationError, match="Did you mean 'weight'"):
        Endpoint(base_url="http://a", wieght=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="http://"):
        OPEA("localhost:8000")
    with pytest.raises(ConfigurationError, match="role"):
        made(server).chat([{"content": "x"}])
    with pytest.raises(ConfigurationError, match="stream_chat"):
        made(server).chat("Hello", stream=True)


def test_an_error_of_input_is_no_attempt_and_no_event(server: ScriptedServer) -> None:
    heard: list[Any] = []
    told = SYNC.ask(made(server, hooks=[heard.append]), "chat", [])
    assert told.error.attempts == ()  # type: ignore[union-attr]
    assert heard == []


def test_the_callers_objects_stay_as_they_were(way: Way, server: ScriptedServer) -> None:
    messages = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            ],
        }
    ]
    before = repr(messages)
    options = {
        "stop": ["a"],
        "extra_body": {"b": {"c": 1}},
        "extra_headers": {"x-a": "b"},
        "extra_query": {"q": "r"},
    }
    kept = repr(options)
    way.ask(made(server), "chat", messages, **options)
    assert (repr(messages), repr(options)) == (before, kept)
    data: dict[str, Any] = {"messages": messages, "stream": False}
    way.ask(made(server), "make_post_request", data)
    assert data == {"messages": messages, "stream": False}
