"""Configuration: what options, metadata, environment and defaults become, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from opea_core.capabilities import AS_GIVEN, Capabilities
from opea_core.config import BreakerPolicy, Endpoint, QueuePolicy, RetryPolicy, Timeouts
from opea_core.errors import ConfigurationError
from opea_core.object_options import OPTIONS
from opea_core.settings import DEFAULT_MODEL, Settings, resolve
from opea_core.wire.request import build_body

SECRET = "sk-5ecret"
ENVIRON = {
    "OPEA_API_URL": "http://env:1",
    "OPEA_API_KEY": "env-key",
    "OPEA_MODEL": "env-model",
    "OPEA_TIMEOUT": "7",
}
METADATA = {
    "opea_api_url": "http://meta:1",
    "opea_api_key": "meta-key",
    "opea_model": "meta-model",
    "timeout": 6000,
}


def settings(
    metadata: dict[str, Any] | None = None, environ: dict[str, str] | None = None, /, **options: Any
) -> Settings:
    return resolve(metadata, options, environ or {})


def endpoint(*args: Any, **options: Any) -> Endpoint:
    """The one endpoint of the settings."""
    (found,) = settings(*args, **options).endpoints
    return found


def key(found: Endpoint) -> str | None:
    return None if found.api_key is None else found.api_key.get_secret_value()


# --- which value counts


def test_the_defaults() -> None:
    found = settings()
    assert [e.url.root for e in found.endpoints] == ["http://localhost:8000/v1"]
    assert (found.model, found.model_given, key(found.endpoints[0])) == (DEFAULT_MODEL, False, None)
    assert (found.timeouts, found.retry, found.breaker, found.queue) == (
        Timeouts(),
        RetryPolicy(),
        BreakerPolicy(),
        QueuePolicy(),
    )


@pytest.mark.parametrize(
    ("args", "options", "expected"),
    [
        ((None, ENVIRON), {}, ("http://env:1/v1", "env-key", "env-model", 7)),
        ((METADATA, ENVIRON), {}, ("http://meta:1/v1", "meta-key", "meta-model", 6)),
        (
            (METADATA, ENVIRON),
            {"base_url": "http://opt:1", "api_key": "opt-key", "model": "opt-model", "timeout": 5},
            ("http://opt:1/v1", "opt-key", "opt-model", 5),
        ),
        (
            (METADATA, ENVIRON),
            {"model": "opt-model"},
            ("http://meta:1/v1", "meta-key", "opt-model", 6),
        ),
        (
            ({"opea_model": "meta-model"}, ENVIRON),
            {},
            ("http://env:1/v1", "env-key", "meta-model", 7),
        ),
    ],
)
def test_option_before_metadata_before_environment_before_default(
    args: Any, options: Any, expected: tuple[Any, ...]
) -> None:
    found = settings(*args, **options)
    assert (
        found.endpoints[0].url.root,
        key(found.endpoints[0]),
        found.model,
        found.timeouts.idle,
    ) == expected
    assert found.model_given


def test_an_empty_environment_variable_is_none() -> None:
    assert settings(None, dict.fromkeys(ENVIRON, "")) == settings()


def test_the_variables_of_others_are_not_read() -> None:
    environ = {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": "http://other",
        "OPENAI_API_BASE": "http://other",
    }
    assert settings(None, environ) == settings()


def test_the_key_of_the_environment_belongs_to_the_default_endpoint_alone() -> None:
    assert key(endpoint(None, ENVIRON, base_url="http://opt:1")) == "env-key"
    assert key(endpoint(None, ENVIRON, endpoints=["http://opt:1"])) is None


@pytest.mark.parametrize("given", ["", None])
def test_no_key_can_be_said(given: str | None) -> None:
    assert key(endpoint(None, ENVIRON, api_key=given)) is None


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "5s"])
def test_a_timeout_in_the_environment_must_make_sense(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OPEA_TIMEOUT"):
        settings(None, {"OPEA_TIMEOUT": text})


# --- metadata


@pytest.mark.parametrize(
    ("metadata", "path", "value"),
    [
        ({"opea_api_url": "http://h:1"}, "endpoints.0.url.root", "http://h:1/v1"),
        ({"opeaApiUrl": "http://h:1"}, "endpoints.0.url.root", "http://h:1/v1"),
        ({"opea_model": "m"}, "model", "m"),
        ({"opeaModel": "m"}, "model", "m"),
        ({"timeout": 1500}, "timeouts.first_event", 1.5),
        ({"max_retries": 7}, "retry.max_retries", 7),
        ({"maxRetries": 7}, "retry.max_retries", 7),
        ({"initial_retry_delay": 250}, "retry.initial_delay", 0.25),
        ({"initialRetryDelay": 250}, "retry.initial_delay", 0.25),
        ({"backoffFactor": 3}, "retry.backoff_factor", 3),
        ({"maxConcurrentRequests": 5}, "endpoints.0.max_concurrent", 5),
        ({"queue_size": 9}, "queue.max_queued", 9),
        ({"queueSize": 9}, "queue.max_queued", 9),
        ({"timeout": None}, "timeouts.first_event", 600),
    ],
)
def test_metadata_in_either_spelling_with_times_in_milliseconds(
    metadata: dict[str, Any], path: str, value: Any
) -> None:
    found: Any = settings(metadata)
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    assert found == value


@pytest.mark.parametrize("spelling", ["opea_api_key", "opeaApiKey"])
def test_the_key_in_metadata(spelling: str) -> None:
    assert key(endpoint({spelling: "k"})) == "k"


@pytest.mark.parametrize("name", ["openai_api_key", "groqApiKey", "claude_model", "ollamaApiUrl"])
def test_the_keys_of_other_backends_are_ignored(name: str) -> None:
    assert settings({name: "x"}) == settings()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("max_retris", "max_retries"), ("opea_api_ur", "opea_api_url"), ("opeaModl", "opea_model")],
)
def test_an_unknown_key_of_metadata_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*{nearest}"):
        settings({name: 1})


@pytest.mark.parametrize("value", ["1000", True, -1, 0, math.nan, [1]])
def test_a_time_in_metadata_is_a_number_of_milliseconds(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        settings({"timeout": value})


def test_an_option_wins_over_metadata_under_another_name_too() -> None:
    assert settings({"timeout": 1000}, timeouts=Timeouts(idle=9)).timeouts == Timeouts(idle=9)
    assert [
        e.url.host
        for e in settings({"opea_api_url": "http://meta:1"}, endpoints=["http://opt:1"]).endpoints
    ] == ["opt:1"]
    assert [key(e) for e in settings({"opea_api_key": "meta"}, api_keys=["a", "b"]).endpoints] == [
        "a",
        "b",
    ]


# --- option names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_retris", "max_retries"),
        ("baseurl", "base_url"),
        ("apikey", "api_key"),
        ("max_concurent", "max_concurrent"),
        ("time_out", "timeout"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*{nearest}"):
        settings(**{name: 1})


def test_an_option_that_resembles_nothing_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigurationError, match="'zzz'") as caught:
        settings(zzz=1)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"retry": {"max_retris": 1}},
        {"queue": {"max_queue": 1}},
        {"breaker": {"windw": 1}},
        {"timeouts": {"idel": 1}},
        {"endpoints": [{"base_url": "http://h", "api_ky": "x"}]},
        {"capabilities": {"think_tag": True}},
    ],
)
def test_unknown_names_inside_are_refused_with_the_nearest(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean"):
        settings(**options)


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        ({"max_retries": 0}, "retry.max_retries", 0),
        ({"initial_retry_delay": 0.5}, "retry.initial_delay", 0.5),
        ({"initial_delay": 0.5}, "retry.initial_delay", 0.5),
        ({"backoff_factor": 3}, "retry.backoff_factor", 3),
        ({"max_delay": 3}, "retry.max_delay", 3),
        ({"max_retry_after": 3}, "retry.max_retry_after", 3),
        ({"max_queued": 0}, "queue.max_queued", 0),
        ({"queue_size": 0}, "queue.max_queued", 0),
        ({"queue_timeout": 3}, "queue.queue_timeout", 3),
        ({"queue_timeout": None}, "queue.queue_timeout", None),
        ({"recovery_wait": 0}, "queue.recovery_wait", 0),
        ({"max_concurrent": 3}, "endpoints.0.max_concurrent", 3),
        ({"max_concurrent_requests": 3}, "endpoints.0.max_concurrent", 3),
        ({"deadline": 3}, "timeouts.total", 3),
        ({"max_response_bytes": 3}, "max_response_bytes", 3),
        ({"max_event_bytes": 3}, "max_event_bytes", 3),
        ({"breaker": False}, "breaker.enabled", False),
        ({"breaker": {"window": 3}}, "breaker.window", 3),
        ({"retry": RetryPolicy(max_retries=9)}, "retry.max_retries", 9),
        ({"retry": {"max_retries": 9, "max_delay": 8}, "max_delay": 7}, "retry.max_delay", 7),
        ({"headers": {"X-Title": "t"}}, "endpoints.0.headers", {"X-Title": "t"}),
        ({"append_v1": False}, "endpoints.0.url.root", "http://localhost:8000"),
    ],
)
def test_options_reach_their_place(options: dict[str, Any], path: str, value: Any) -> None:
    found: Any = settings(**options)
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrent": 1, "max_concurrent_requests": 2},
        {"timeout": 1, "timeouts": Timeouts()},
        {"base_url": "http://a", "endpoints": ["http://b"]},
        {"api_key": "a", "api_keys": ["b"]},
        {"base_url": "http://me:pw@h", "api_key": "k"},
    ],
)
def test_two_options_that_say_the_same_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        settings(**options)


# --- times


@pytest.mark.parametrize(
    ("value", "connect", "read"),
    [
        (30, 5, 30),
        (2, 2, 2),
        (0.5, 0.5, 0.5),
        ((3, 30), 3, 30),
        ([3, 30], 3, 30),
        ((None, 30), None, 30),
        (None, None, None),
        (SimpleNamespace(connect=3, read=30), 3, 30),
        (SimpleNamespace(connect=None, read=None), None, None),
    ],
)
def test_a_timeout_is_a_number_a_pair_an_object_or_none(
    value: Any, connect: float | None, read: float | None
) -> None:
    assert settings(timeout=value).timeouts == Timeouts(
        connect=connect, first_event=read, idle=read, total=None
    )


@pytest.mark.parametrize("name", ["timeout", "timeouts"])
@pytest.mark.parametrize("value", [{"connect": 3, "total": 9}, Timeouts(connect=3, total=9)])
def test_time_limits_may_be_given_one_by_one(name: str, value: Any) -> None:
    assert settings(**{name: value}).timeouts == Timeouts(connect=3, total=9)


def test_a_deadline_goes_with_any_timeout() -> None:
    assert settings(timeout=30, deadline=100).timeouts == Timeouts(
        connect=5, first_event=30, idle=30, total=100
    )


def test_the_time_limits_of_one_endpoint() -> None:
    found = settings(timeout=9, endpoints=[{"base_url": "http://a", "timeout": 3}, "http://b"])
    assert [e.timeouts and e.timeouts.idle for e in found.endpoints] == [3, None]
    assert found.timeouts.idle == 9


@pytest.mark.parametrize(
    "value", [0, -1, math.nan, math.inf, True, "30", "soon", (1,), (1, 2, 3), (0, 1), object()]
)
def test_a_timeout_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        settings(timeout=value)


# --- limits


NONSENSE: dict[str, list[Any]] = {
    "max_retries": [-1, 1.5, True, "3", math.inf],
    "initial_retry_delay": [-1, math.nan, math.inf, True, "1"],
    "backoff_factor": [0.5, 0, -1, math.nan, True, "2"],
    "max_delay": [-1, math.nan, True],
    "max_retry_after": [-1, math.nan, True],
    "max_queued": [-1, 1.5, True],
    "queue_timeout": [0, -1, math.nan, True],
    "recovery_wait": [-1, math.nan, True],
    "deadline": [0, -1, math.nan, math.inf, True, "9"],
    "max_concurrent": [0, -1, 1.5, True, "3"],
    "weight": [0, -1, 1e308, math.nan, math.inf, True],
    "tier": [1.5, True, "1"],
    "max_response_bytes": [0, -1, 1.5, True],
    "max_event_bytes": [0, -1, 1.5, True],
    "endpoints": [[], "http://h", {"base_url": "http://h"}, [7], [None], 7],
    "api_keys": [[], "k", 7, [7], ["a\n"]],
    "api_key": [7, ["k"], b"k"],
    "base_url": ["h:8000", "", "ftp://h"],
    "headers": [
        "X: y",
        [("X", "y")],
        {"X": 1},
        {1: "y"},
        {"X Y": "z"},
        {"X:": "z"},
        {"": "z"},
        {"X\n": "z"},
    ],
    "auth_header": ["", "X Y", "X:"],
    "auth_scheme": ["Bearer\n", "Bear\u00e9r", 7],
    "retry": [7, "no", BreakerPolicy()],
    "queue": [7, False],
    "breaker": [7, True],
    "proxy": ["proxy:3128", 7],
    "capabilities": [{"send_reasoning": "maybe"}, {"tool_id_length": 0}, 7],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NONSENSE.items() for value in values]
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError):
        settings(**{name: value})


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (BreakerPolicy, {"failure_rate": 0}),
        (BreakerPolicy, {"failure_rate": 1.1}),
        (BreakerPolicy, {"failure_rate": math.nan}),
        (BreakerPolicy, {"window": 0}),
        (BreakerPolicy, {"break_duration": 0}),
        (BreakerPolicy, {"probe_interval": -1}),
        (RetryPolicy, {"jitter": "some"}),
        (QueuePolicy, {"aging": -1}),
        (Timeouts, {"idle": 0}),
        (Capabilities, {"max_tokens_field": "tokens"}),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(cls: type[Any], values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(ConfigurationError, match=rf"{cls.__name__}\.{name}"):
        cls(**values)


def test_values_are_frozen() -> None:
    with pytest.raises((TypeError, ValueError, ConfigurationError)):
        RetryPolicy().max_retries = 5
    assert RetryPolicy().max_retries == 3


def test_a_changed_copy_is_checked_too() -> None:
    assert RetryPolicy().replace(max_retries=5) == RetryPolicy(max_retries=5)
    with pytest.raises(ConfigurationError):
        RetryPolicy().replace(max_retries=-1)


def test_in_a_changed_copy_what_was_not_set_stays_not_set() -> None:
    changed = Endpoint(base_url="http://h:1", weight=2.0).replace(model="m")
    assert (changed.model, changed.weight, changed.max_concurrent) == (
        "m",
        2.0,
        Endpoint(base_url="http://h:1").max_concurrent,
    )
    assert changed.model_fields_set == {"base_url", "weight", "model"}


def test_a_changed_endpoint_still_takes_what_holds_for_all() -> None:
    changed = Endpoint(base_url="http://h:1", weight=2.0).replace(model="m")
    (found,) = settings(endpoints=[changed], max_concurrent=5, weight=9.0).endpoints
    assert (found.max_concurrent, found.weight, found.model) == (5, 2.0, "m")


def test_a_changed_copy_keeps_the_label_that_tells_it_from_the_others() -> None:
    found = settings(endpoints=["http://h:1", "http://h:1"]).endpoints
    assert [e.replace(model="m").label for e in found] == [e.label for e in found]
    assert len({e.label for e in found}) == 2


@pytest.mark.parametrize("window", [0, -1, True, "8192", 1.5])
def test_a_context_window_is_a_number_of_tokens(window: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Endpoint\.context_window"):
        Endpoint(base_url="http://h:1", context_window=window)


def test_a_context_window_of_the_options_holds_for_all_endpoints() -> None:
    found = settings(
        endpoints=["http://a:1", {"base_url": "http://b:1", "context_window": 10}],
        context_window=4096,
    ).endpoints
    assert [e.context_window for e in found] == [4096, 10]


@pytest.mark.parametrize("way", ["json_schema", "function_calling", "json_mode", None])
def test_ways_of_structured_output(way: Any) -> None:
    assert Capabilities(structured_output=way).structured_output == way


def test_another_way_of_structured_output_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Capabilities\.structured_output"):
        Capabilities(structured_output="tools")  # type: ignore[arg-type]


# --- endpoints


def test_endpoints_may_be_urls_dicts_and_objects() -> None:
    found = settings(
        endpoints=[
            "http://a:1",
            {"base_url": "http://b:1", "model": "m"},
            Endpoint(base_url="http://c:1"),
        ]
    ).endpoints
    assert [(e.url.host, e.model) for e in found] == [("a:1", None), ("b:1", "m"), ("c:1", None)]


def test_options_hold_for_all_endpoints_that_say_nothing_themselves() -> None:
    specs = [
        "http://a:1",
        {"base_url": "http://b:1", "api_key": "own", "max_concurrent": 2},
        Endpoint(base_url="http://c:1", api_key="own"),
    ]
    found = settings(endpoints=specs, api_key="shared", max_concurrent=9).endpoints
    assert [(key(e), e.max_concurrent) for e in found] == [("shared", 9), ("own", 2), ("own", 9)]


def test_several_keys_make_an_endpoint_for_each() -> None:
    found = settings(base_url="http://a:1", api_keys=["k1", "k2"]).endpoints
    assert [(e.url.host, key(e)) for e in found] == [("a:1", "k1"), ("a:1", "k2")]


def test_several_keys_are_for_every_endpoint() -> None:
    found = settings(endpoints=["http://a:1", "http://b:1"], api_keys=["k1", "k2"]).endpoints
    assert [(e.url.host, key(e)) for e in found] == [
        ("a:1", "k1"),
        ("a:1", "k2"),
        ("b:1", "k1"),
        ("b:1", "k2"),
    ]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"base_url": "http://a:1"}, ["a:1"]),
        ({"base_url": "http://me:pw@a:1"}, ["a:1"]),
        ({"base_url": "http://a:1", "label": "gpu"}, ["gpu"]),
        ({"base_url": "http://a:1", "api_keys": ["x", "y", "z"]}, ["a:1", "a:1#2", "a:1#3"]),
        ({"endpoints": ["http://a:1/v1", "http://a:1/v2", "http://b:1"]}, ["a:1", "a:1#2", "b:1"]),
        (
            {
                "endpoints": [
                    {"base_url": f"http://{n}", "label": label}
                    for n, label in enumerate(["g", "g", "g#2", "g#2"])
                ]
            },
            ["g", "g#2", "g#2#2", "g#2#3"],
        ),
    ],
)
def test_labels_are_all_different(options: dict[str, Any], labels: list[str]) -> None:
    assert [e.label for e in settings(**options).endpoints] == labels


def test_a_key_may_be_a_function() -> None:
    def fetch() -> str:
        return SECRET

    assert endpoint(api_key=fetch).api_key is fetch


# --- secrets


BAD_KEYS = {
    "a line break at the end": f"{SECRET}\n",
    "a blank at the beginning": f" {SECRET}",
    "a blank at the end": f"{SECRET} ",
    "a line break inside": f"{SECRET}\r\nX: y",
    "a tab inside": f"{SECRET}\tx",
    "a null byte": f"{SECRET}\0",
    "a letter outside ASCII": f"{SECRET}é",
    "a typographic dash": f"{SECRET}\u2013x",
    "a non-breaking space": f"{SECRET}\u00a0x",
}


WHERE: dict[str, Callable[[str], object]] = {
    "api_key": lambda bad: settings(api_key=bad),
    "api_keys": lambda bad: settings(api_keys=["fine", bad]),
    "headers": lambda bad: settings(headers={"X-Key": bad}),
    "metadata": lambda bad: settings({"opea_api_key": bad}),
    "environ": lambda bad: settings(None, {"OPEA_API_KEY": bad}),
    "endpoints": lambda bad: settings(endpoints=[{"base_url": "http://h", "api_key": bad}]),
    "Endpoint": lambda bad: Endpoint(base_url="http://h", api_key=bad),
}


@pytest.mark.parametrize("what", BAD_KEYS)
@pytest.mark.parametrize("where", WHERE)
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_never_shown(
    where: str, what: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WHERE[where](BAD_KEYS[what])
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.args} {vars(error)} {error.__cause__!r}"
    assert "not shown" in str(error)


SECRETIVE: dict[str, Any] = {
    "base_url": f"http://h:1/v1?key={SECRET}",
    "api_key": SECRET,
    "headers": {"X-Key": SECRET},
    "query": {"sig": SECRET},
    "proxy": f"http://me:{SECRET}@proxy:1",
    "cert": ("cert.pem", "key.pem", SECRET),
}


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_secrets_are_not_shown(show: Any) -> None:
    found = settings(**SECRETIVE)
    inside = endpoint(base_url=f"http://me:{SECRET}@h:1/v1")
    for value in (
        found,
        found.endpoints,
        found.endpoints[0],
        inside,
        settings(base_url=f"http://{SECRET}@h:1"),
    ):
        assert SECRET not in show(value)
    assert "http://h:1/v1?key=***" in show(found.endpoints[0])


@pytest.mark.parametrize(
    "options",
    [
        {**SECRETIVE, "weight": -1},
        {**SECRETIVE, "unknown": 1},
        {**SECRETIVE, "headers": {"X Key": SECRET}},
        {**SECRETIVE, "query": {"sig": [SECRET]}},
        {**SECRETIVE, "cert": {"x": SECRET}},
        {**SECRETIVE, "proxy": SECRET},
        {**SECRETIVE, "auth_header": f"X {SECRET}"},
        {**SECRETIVE, "base_url": f"http://me:{SECRET}@h:port"},
        {**SECRETIVE, "base_url": f"http://me:{SECRET}@h:1"},
        {"api_key": [SECRET]},
        {"endpoints": [[SECRET]]},
        {"endpoints": [{**SECRETIVE, "max_concurrent": 0}]},
        {"endpoints": [{"base_url": "http://h", "api_keyy": SECRET}]},
        {"retry": [SECRET]},
    ],
)
def test_errors_show_no_secrets(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(**options)
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.__cause__!r}"


def test_whether_there_is_a_key_is_shown() -> None:
    assert "api_key='***'" in repr(endpoint(api_key=SECRET))
    assert "api_key=None" in repr(endpoint())


# --- as it was given


def test_what_was_not_set_changes_nothing() -> None:
    assert Capabilities().as_given() == AS_GIVEN
    given = Capabilities(
        max_tokens_field="max_tokens", tool_content="null", developer_role=False
    ).as_given()
    assert given == AS_GIVEN.replace(
        max_tokens_field="max_tokens", tool_content="null", developer_role=False
    )


def test_a_body_goes_out_as_it_was_given() -> None:
    call = {"id": "x" * 60, "function": {"name": "a/b", "arguments": "{}"}}
    body: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}]},
            {"role": "user", "content": "b"},
            {"role": "user", "content": "c"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call],
                "reasoning": "r",
                "refusal": "x",
            },
            {"role": "tool", "tool_call_id": "x" * 60, "content": [{"type": "image_url"}]},
            {"role": "system", "content": "d"},
        ],
        "tools": [{"type": "function", "function": {"name": "a/b"}}],
        "tool_choice": "required",
        "max_tokens": 5,
    }
    assert build_body(body, "m", False, AS_GIVEN) == {"model": "m", **body, "stream": False}


# --- copies


@pytest.mark.parametrize(
    "value",
    [
        Timeouts.of(30),
        RetryPolicy(max_retries=1),
        BreakerPolicy(enabled=False),
        QueuePolicy(max_queued=0),
        Capabilities(dropped=frozenset({"seed"})),
        Endpoint(
            base_url="http://h:1", api_key=SECRET, headers={"X": "y"}, timeouts=Timeouts.of(3)
        ),
        settings(**SECRETIVE, timeout=3, deadline=9),
        endpoint(api_key=SECRET).url,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_survive_pickling_and_copying(value: Any) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert (type(again), again) == (type(value), value)


def test_a_pickled_endpoint_keeps_its_key() -> None:
    assert key(pickle.loads(pickle.dumps(endpoint(api_key=SECRET)))) == SECRET


def test_what_the_caller_gave_is_not_changed() -> None:
    headers, specs = {"X": "y"}, [{"base_url": "http://a", "timeout": 3}]
    metadata = dict(METADATA)
    settings(metadata, headers=headers)
    settings(endpoints=specs)
    assert (headers, specs, metadata) == (
        {"X": "y"},
        [{"base_url": "http://a", "timeout": 3}],
        METADATA,
    )


def test_every_option_has_a_name_of_its_own() -> None:
    assert {
        "base_url",
        "api_key",
        "model",
        "timeout",
        "deadline",
        "max_retries",
        "endpoints",
        "max_queued",
    } <= OPTIONS
