"""The request as an endpoint gets it: URL, query, headers, body, and what of it is secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from by_hand import context_of, endpoint_of, spec_of

from opea_core import Timeouts
from opea_core.flow.effects import Request
from opea_core.flow.prepare import build_request, models_request


def request(key: str | None = None, spec: dict[str, Any] | None = None, **options: Any) -> Request:
    context = context_of(**options)
    endpoint = endpoint_of(context)
    return build_request(
        spec_of(context, **(spec or {})), context, endpoint, endpoint.capabilities("m"), key
    )[0]


@pytest.mark.parametrize(
    ("base", "spec", "url"),
    [
        ("http://h:1", {}, "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", {}, "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", {}, "http://h:1/v1/chat/completions"),
        ("https://h/openai/deployments/d", {}, "https://h/openai/deployments/d/chat/completions"),
        ("http://h:1", {"kind": "completion"}, "http://h:1/v1/completions"),
        ("http://h:1", {"kind": "embeddings"}, "http://h:1/v1/embeddings"),
        ("http://h:1", {"kind": "models", "method": "GET"}, "http://h:1/v1/models"),
        ("http://h:1", {"path": "/api/generate"}, "http://h:1/api/generate"),
        ("http://h:1/?a=1", {"query": {"b": "2 3"}}, "http://h:1/v1/chat/completions?a=1&b=2+3"),
        ("http://user:pw@h:1", {}, "http://h:1/v1/chat/completions"),
        ("http://[::1]:1", {}, "http://[::1]:1/v1/chat/completions"),
    ],
)
def test_where_it_goes(base: str, spec: dict[str, Any], url: str) -> None:
    assert request(base_url=base, spec=spec).url == url


def test_the_query_of_url_endpoint_call_and_version() -> None:
    made = request(
        base_url="http://h?a=1", query={"b": "2"}, api_version="v", spec={"query": {"c": "3"}}
    )
    assert made.url.partition("?")[2] == "a=1&b=2&c=3&api-version=v"


@pytest.mark.parametrize(
    ("options", "key", "expected"),
    [
        ({}, None, {}),
        ({}, "k", {"authorization": "Bearer k"}),
        ({"auth_scheme": "Token"}, "k", {"authorization": "Token k"}),
        ({"auth_header": "X-Api-Key", "auth_scheme": None}, "k", {"x-api-key": "k"}),
        ({"auth_header": "X-Api-Key"}, "k", {"x-api-key": "Bearer k"}),
        ({"base_url": "http://u:p@h"}, None, {"authorization": "Basic dTpw"}),
        ({"base_url": "http://u@h"}, None, {"authorization": "Basic dTo="}),
        ({"headers": {"Authorization": "Mine"}}, "k", {"authorization": "Mine"}),
    ],
)
def test_what_says_who_we_are(
    options: dict[str, Any], key: str | None, expected: dict[str, str]
) -> None:
    headers = dict(request(key, **options).headers)
    assert {
        name: value for name, value in headers.items() if name in ("authorization", "x-api-key")
    } == expected


def test_headers_of_the_call_over_those_of_the_endpoint_over_ours() -> None:
    made = request(
        headers={"X-A": "endpoint", "User-Agent": "endpoint"}, spec={"headers": {"x-a": "call"}}
    )
    names = list(made.headers)
    assert len(names) == len(set(names))
    assert (dict(made.headers)["x-a"], dict(made.headers)["user-agent"]) == ("call", "endpoint")


def test_a_stream_takes_no_compression() -> None:
    headers = dict(request(spec={"stream": True}).headers)
    assert (headers["accept"], headers["accept-encoding"]) == (
        "text/event-stream, application/json",
        "identity",
    )


def test_a_get_has_no_body() -> None:
    made = request(spec={"kind": "models", "method": "GET", "body": {}})
    assert made.content is None
    assert "content-type" not in dict(made.headers)


@pytest.mark.parametrize(
    ("body", "endpoint", "object_", "model", "given"),
    [
        ("call", "endpoint", "object", "call", True),
        (None, "endpoint", "object", "endpoint", True),
        (None, None, "object", "object", True),
        (None, None, None, "gpt-3.5-turbo", False),
    ],
)
def test_the_model_of_call_endpoint_object_or_default(
    body: str | None, endpoint: str | None, object_: str | None, model: str, given: bool
) -> None:
    context = context_of(
        endpoints=[{"base_url": "http://h", "model": endpoint}], base_url=None, model=object_
    )
    state = endpoint_of(context)
    spec = spec_of(context, body={"messages": [], **({"model": body} if body else {})})
    made, where = build_request(spec, context, state, state.capabilities("m"), None)
    assert made.content is not None
    assert (json.loads(made.content)["model"], where.model, where.model_given) == (
        model,
        model,
        given,
    )


def test_time_limits_of_call_endpoint_or_object() -> None:
    own = Timeouts(first_event=1)
    assert request(spec={"timeouts": own}, timeout=5).timeouts == own
    assert request(timeout=5).timeouts.first_event == 5
    context = context_of(
        endpoints=[{"base_url": "http://h", "timeout": 3}], base_url=None, timeout=5
    )
    state = endpoint_of(context)
    assert (
        build_request(spec_of(context), context, state, state.capabilities("m"), None)[
            0
        ].timeouts.first_event
        == 3
    )


@pytest.mark.parametrize(
    "secret",
    [
        "the-key",
        "header-value",
        "call-header",
        "query-value",
        "call query/+",
        "call%20query%2F%2B",
        "user-name",
        "pass-word",
        "url-value",
    ],
)
def test_what_is_secret_about_it(secret: str) -> None:
    context = context_of(
        base_url="http://user-name:pass-word@h?u=url-value",
        headers={"x-a": "header-value"},
        query={"q": "query-value"},
    )
    state = endpoint_of(context)
    spec = spec_of(context, headers={"x-b": "call-header"}, query={"r": "call query/+"})
    _, where = build_request(spec, context, state, state.capabilities("m"), "the-key")
    assert where.redact(f"before {secret} after") == "before *** after"


def test_short_words_are_no_secrets() -> None:
    context = context_of(headers={"x-a": "on"})
    state = endpoint_of(context)
    _, where = build_request(spec_of(context), context, state, state.capabilities("m"), None)
    assert where.redact("the connection") == "the connection"


def test_the_list_of_models_is_asked_briefly_and_with_the_same_key() -> None:
    context = context_of()
    state = endpoint_of(context)
    spec = spec_of(context, stream=True, path="/exact", headers={"x-a": "b"})
    _, where = build_request(spec, context, state, state.capabilities("m"), "the-key")
    listing = models_request(spec, context, where)
    assert (listing.method, listing.url, listing.content) == (
        "GET",
        "http://gpu1:8000/v1/models",
        None,
    )
    assert dict(listing.headers)["authorization"] == "Bearer the-key"
    assert listing.timeouts.first_event == 2.0
    assert not listing.expected.stream
