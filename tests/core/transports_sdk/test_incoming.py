"""What of another client's request counts: its limits, its headers, and which call it is."""

from __future__ import annotations

import httpx
import pytest

from opea_core import Endpoint, Timeouts
from opea_core.flow.effects import CallSpec
from opea_core.settings import Settings, resolve
from opea_core.transports.incoming import Incoming, OwnNames, call_of, passed_on


def settings(**options: object) -> Settings:
    return resolve(None, options, {})


def incoming(url: str = "http://a/v1/chat/completions", **options: object) -> Incoming:
    """As the transports read it, of a request that httpx's client makes."""
    method = str(options.pop("method", "POST"))
    request = httpx.Client(timeout=None).build_request(method, url, **options)  # type: ignore[arg-type]
    timeout = request.extensions["timeout"]
    return Incoming.of(method, request.url.raw_path, request.headers.raw, timeout)


def spec_of(given: Incoming, body: bytes, known: Settings, now: int = 0) -> CallSpec:
    return call_of(given, body, known, OwnNames.of(known.endpoints), "id", now).spec


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        (httpx.Timeout(600, connect=5.0), None),
        (httpx.Timeout(30), Timeouts(connect=30, first_event=30, idle=30)),
        (httpx.Timeout(600, connect=2.0), Timeouts(connect=2, first_event=600, idle=600)),
        (httpx.Timeout(7, read=None), Timeouts(connect=7, first_event=None, idle=None)),
        (httpx.Timeout(None), Timeouts(connect=None, first_event=None, idle=None)),
    ],
)
def test_the_clients_limits_count_and_the_default_of_sdks_does_not(
    given: httpx.Timeout, limits: Timeouts | None
) -> None:
    spec = spec_of(incoming(timeout=given), b"{}", settings(), 0)
    assert spec.timeouts == limits


def test_a_client_that_names_no_limit_has_ours() -> None:
    raw = Incoming.of("POST", b"/v1/embeddings", [], None)
    assert spec_of(raw, b"{}", settings(), 0).timeouts is None


def test_the_deadline_of_the_object_holds() -> None:
    spec = spec_of(incoming(), b"{}", settings(deadline=3), 7)
    assert (spec.deadline, spec.deadline_seconds) == (3_000_000_007, 3.0)


@pytest.mark.parametrize(
    ("body", "is_stream"),
    [
        (b'{"stream":true}', True),
        (b'{"stream":false}', False),
        (b'{"stream":"true"}', False),
        (b'["stream"]', False),
        (b"stream", False),
    ],
)
def test_the_body_says_whether_a_stream_is_wanted(body: bytes, is_stream: bool) -> None:
    assert spec_of(incoming(), body, settings(), 0).stream is is_stream


@pytest.mark.parametrize(
    ("method", "path", "kind", "suffix"),
    [
        ("POST", "/v1/chat/completions", "chat", "/chat/completions"),
        ("POST", "/api/v3/chat/completions/", "chat", "/chat/completions"),
        ("POST", "/openai/deployments/gpt-4/embeddings", "embeddings", "/embeddings"),
        ("POST", "/v1/completions", "completion", "/completions"),
        ("POST", "/v1/responses", "document", "/responses"),
        ("GET", "/v1/models", "models", "/models"),
        ("GET", "/v1/models/v1/x", None, "/models/v1/x"),
        ("DELETE", "/v1/models", None, "/models"),
        ("GET", "/v1/responses", None, "/responses"),
        ("POST", "/v1/responses/r/cancel", None, "/responses/r/cancel"),
        ("POST", "/openai/deployments/whisper/audio/speech", None, "/audio/speech"),
        ("POST", "/openai/v1/files", None, "/files"),
        ("POST", "/own/path", None, "/own/path"),
    ],
)
def test_which_call_it_is_and_what_stands_behind_the_base(
    method: str, path: str, kind: str | None, suffix: str
) -> None:
    found = incoming(f"http://a{path}?a=1", method=method)
    assert (found.kind, found.suffix) == (kind, suffix)


def test_an_endpoints_own_headers_and_query_win_over_the_clients() -> None:
    endpoint = Endpoint(
        base_url="http://b/v1?tenant=ours", headers={"X-Team": "ours"}, query={"region": "ours"}
    )
    given = incoming(
        "http://a/v1/embeddings?tenant=theirs&region=theirs&own=1&own=2",
        headers={"x-team": "theirs", "x-own": "1", "x-stainless-lang": "python"},
        json={},
    )
    spec = spec_of(given, b"{}", settings(endpoints=[endpoint]), 0)
    assert (spec.headers, spec.query) == ({"x-own": "1"}, {"own": ["1", "2"]})
    assert spec.raw is not None
    assert spec.raw.headers["x-stainless-lang"] == "python"
    assert not {"host", "content-length", "connection", "accept-encoding"} & set(spec.raw.headers)


STAYS = (
    "Authorization", "api-key", "x-api-key", "X-API-KEY-2", "apikey", "x-goog-api-key",
    "ocp-apim-subscription-key", "subscription-key", "x-functions-key", "x-auth-token", "x-auth",
    "helicone-auth", "cf-aig-authorization", "cf-access-client-secret", "x-portkey-virtual-key",
    "private-token", "x-vault-token", "x-access-token", "access_token", "x-csrf-token", "x-jwt",
    "x-user-password", "x-amz-security-token", "x-signature", "x-hub-signature-256", "session-key",
    "authentication", "x-client-credentials", "Cookie", "cookie2", "openai-organization",
    "openai-project", "x-goog-user-project",
)  # fmt: skip
STAYS_IN_QUERY = (
    "key", "Key", "api_key", "apiKey", "token", "access_token", "sig", "Signature", "code",
    "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "password",
    "client_secret", "subscription-key",
)  # fmt: skip
LEAVES = (
    "x-own", "http-referer", "x-title", "openai-beta", "anthropic-version", "idempotency-key",
    "x-cache-key", "traceparent", "x-session-id", "x-portkey-config", "x-author", "x-max-tokens",
    "x-key-id", "x-country-code", "x-tokenizer", "helicone-user-id",
)  # fmt: skip
LEAVES_IN_QUERY = ("api-version", "after", "page_token", "pageToken", "limit", "codec", "q")


@pytest.mark.parametrize("kind", ["/chat/completions", "/files"])
def test_a_key_stays_with_the_caller_whatever_its_name(kind: str) -> None:
    """Gateways and clouds have names of their own for keys (U2)."""
    query = "&".join(f"{name}=v" for name in (*STAYS_IN_QUERY, *LEAVES_IN_QUERY))
    headers = dict.fromkeys((*STAYS, *LEAVES), "v") | {"x-any": "Bearer sk-1"}
    given = incoming(f"http://a/v1{kind}?{query}", headers=headers, json={})
    known = settings(base_url="http://b", auth_header="x-endpoint")
    own = OwnNames.of(known.endpoints)
    if given.kind is None:
        spec = passed_on(given, known, own, "id")
    else:
        spec = call_of(given, b"{}", known, own, "id", 0).spec
    assert set(spec.headers) == set(LEAVES)
    assert spec.raw is not None
    assert not {name.lower() for name in STAYS} & set(spec.raw.headers)
    assert set(spec.query) == set(LEAVES_IN_QUERY)


def test_limits_of_tokens_see_the_whole_request() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":7}'
    spec = spec_of(incoming(), body, settings(), 0)
    assert (spec.body["messages"][0]["content"], spec.body["max_tokens"]) == ("Hello", 7)
    assert spec.raw is not None
    assert spec.raw.content == body
