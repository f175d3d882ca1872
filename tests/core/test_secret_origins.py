"""Which secrets follow which servers: the property of ``bind``,
and what users see of it in settings and calls.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from asking import Way, made
from hypothesis import example, given
from hypothesis import strategies as st

from opea_core import OPEA, ConfigurationError, Endpoint
from opea_core.secret_origins import SECRETS, bind, with_organization
from opea_core.settings import resolve
from opea_core.testing import ScriptedServer

ORIGINS = ("http://a:1", "http://b:2", "https://c")
ENVIRON = {"OPEA_API_KEY": "of the environment"}
DATA = {"messages": [{"role": "user", "content": "Hello"}]}
CARRIED: dict[str, Any] = {
    "api_key": "carried",
    "api_keys": ["carried", "carried too"],
    "headers": {"x-carried": "yes"},
    "query": {"carried": "yes"},
    "cert": "carried.pem",
    "organization": "carried",
}
NOW: dict[str, Any] = {
    "api_key": "now",
    "headers": {"x-now": "yes"},
    "query": {"now": "yes"},
    "cert": "now.pem",
    "organization": "now",
}
OWN: dict[str, Any] = {
    "api_key": "own",
    "headers": {"x-own": "yes"},
    "query": {"own": "yes"},
    "cert": "own.pem",
}
FORMS = ("url", "dict", "Endpoint")

_given_for = st.sets(st.sampled_from(ORIGINS), min_size=1).map(frozenset)


@st.composite
def _secrets(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, frozenset[str]]]:
    """Options that hold secrets, and for which origins each of those was given that came along."""
    names = draw(st.sets(st.sampled_from(sorted(CARRIED))))
    names -= (
        {draw(st.sampled_from(["api_key", "api_keys"]))}
        if {"api_key", "api_keys"} <= names
        else set()
    )
    given_for = {name: draw(_given_for) for name in sorted(names)}
    free = NOW.keys() - names - ({"api_key"} if "api_keys" in names else set())
    now = draw(st.sets(st.sampled_from(sorted(free)))) if free else set()
    return {name: CARRIED[name] for name in names} | {name: NOW[name] for name in now}, given_for


@st.composite
def _specs(draw: st.DrawFn) -> list[tuple[str, frozenset[str], Any]]:
    """Endpoints: the origin, the names of what each has of its own, and how it is written."""
    specs = []
    for number in range(draw(st.integers(1, 4))):
        origin, form = draw(st.sampled_from(ORIGINS)), draw(st.sampled_from(FORMS))
        own = draw(st.sets(st.sampled_from(sorted(OWN)))) if form != "url" else set()
        url = f"{origin}/{number}/v1"
        values = {"base_url": url, **{name: OWN[name] for name in own}}
        spec = url if form == "url" else values if form == "dict" else Endpoint(**values)
        specs.append((origin, frozenset(own), spec))
    return specs


def holds(endpoints: list[Endpoint]) -> Mapping[str, Any]:
    """The secrets of the endpoints that one spec became, under the names of the options."""
    keys = [None if e.api_key is None else e.api_key.get_secret_value() for e in endpoints]
    headers = {
        name: value for name, value in endpoints[0].headers.items() if name != "OpenAI-Organization"
    }
    return {
        "api_key": keys[0],
        "api_keys": keys,
        "headers": headers,
        "query": dict(endpoints[0].query),
        "cert": endpoints[0].cert,
        "organization": endpoints[0].headers.get("OpenAI-Organization"),
    }


BOTH = [(origin, frozenset[str](), f"{origin}/v1") for origin in ORIGINS[:2]]


@given(_secrets(), _specs())
@example(
    (
        {"headers": NOW["headers"], "organization": CARRIED["organization"]},
        {"organization": frozenset({ORIGINS[0]})},
    ),
    BOTH,
)
@example(
    (
        {"headers": CARRIED["headers"], "organization": NOW["organization"]},
        {"headers": frozenset({ORIGINS[0]})},
    ),
    BOTH,
)
def test_a_secret_is_with_the_origins_it_was_given_for_and_with_no_other(
    secrets: tuple[dict[str, Any], dict[str, frozenset[str]]],
    specs: list[tuple[str, frozenset[str], Any]],
) -> None:
    options, given_for = secrets
    if "api_keys" in options:  # a list of keys replaces those of the endpoints
        specs = [(origin, own, spec) for origin, own, spec in specs if "api_key" not in own] or [
            (ORIGINS[0], frozenset(), ORIGINS[0])
        ]
    settings = resolve(
        None,
        with_organization(
            bind({**options, "endpoints": [spec for _, _, spec in specs]}, given_for)
        ),
        ENVIRON,
    )
    found: dict[str, list[Endpoint]] = {}
    for endpoint in settings.endpoints:
        found.setdefault(endpoint.url.root, []).append(endpoint)
    assert len(found) == len(specs)
    for (origin, own, _), endpoints in zip(specs, found.values(), strict=True):
        held = holds(endpoints)
        goes = {name for name in options if origin in given_for.get(name, {origin})}
        goes -= (
            {"organization"} if "headers" in own else set()
        )  # an endpoint's own headers replace those that all share
        goes -= own
        for name in goes:
            assert held[name] == options[name], name
        for name in {"headers", "query", "cert", "organization"} - goes:
            assert held[name] == (
                OWN[name] if name in own else {} if name in ("headers", "query") else None
            ), name
        if not goes & {"api_key", "api_keys"}:
            assert set(held["api_keys"]) == ({"own"} if "api_key" in own else {None})


@given(_secrets(), st.sampled_from(ORIGINS))
def test_one_url_has_all_that_was_given_for_it_and_nothing_else(
    secrets: tuple[dict[str, Any], dict[str, frozenset[str]]], origin: str
) -> None:
    options, given_for = secrets
    bound = bind({**options, "base_url": f"{origin}/v1", "max_concurrent": 3}, given_for)
    goes = {name for name in options if origin in given_for.get(name, {origin})}
    dropped = options.keys() - goes
    keys = goes & {"api_key", "api_keys"}
    assert {name: value for name, value in bound.items() if name in SECRETS and value} == {
        name: options[name] for name in goes
    }
    assert (bound["base_url"], bound["max_concurrent"]) == (f"{origin}/v1", 3)
    if dropped and not keys:
        (endpoint,) = resolve(None, with_organization(bound), ENVIRON).endpoints
        assert endpoint.api_key is None  # the key of the environment does not take its place


@pytest.mark.parametrize("bad", ["http://a:1", b"http://a:1", 5, [5], [{"api_key": "k"}], [None]])
def test_endpoints_that_are_none_get_their_own_error(bad: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(
            None,
            bind(
                {"api_key": "sk-secret", "endpoints": bad}, {"api_key": frozenset({"http://a:1"})}
            ),
            {},
        )
    assert "sk-secret" not in str(caught.value)
    assert "ndpoint" in str(caught.value)


# --- over metadata, over the environment


@pytest.mark.parametrize(
    ("keywords", "keys"),
    [
        ({}, ["meta"]),
        ({"base_url": "http://a:1/other/v1"}, ["meta"]),
        ({"base_url": "http://b:2"}, [None]),
        ({"base_url": "http://b:2", "api_key": "mine"}, ["mine"]),
        ({"endpoints": ["http://b:2", "http://a:1"]}, [None, "meta"]),
        ({"endpoints": ["http://b:2"]}, [None]),
    ],
)
def test_the_key_of_metadata_goes_with_the_url_of_metadata(
    keywords: dict[str, Any], keys: list[str | None]
) -> None:
    found = resolve(
        {"opea_api_url": "http://a:1", "opea_api_key": "meta"}, keywords, ENVIRON
    ).endpoints
    assert [None if e.api_key is None else e.api_key.get_secret_value() for e in found] == keys


@pytest.mark.parametrize(
    "where",
    [{"environ": {"OPEA_API_URL": "http://b:2"}}, {"metadata": {"opea_api_url": "http://b:2"}}, {}],
)
def test_the_key_of_the_environment_goes_with_the_default_endpoint(where: dict[str, Any]) -> None:
    options = {} if where else {"base_url": "http://b:2"}
    (endpoint,) = resolve(
        where.get("metadata"), options, ENVIRON | where.get("environ", {})
    ).endpoints
    assert (endpoint.url.origin, endpoint.api_key.get_secret_value()) == (
        "http://b:2",
        "of the environment",
    )
    (listed,) = resolve(None, {"endpoints": ["http://b:2"]}, ENVIRON).endpoints
    assert listed.api_key is None


# --- endpoints made later


@pytest.mark.parametrize(
    ("options", "goes"),
    [
        ({}, True),
        ({"base_url": "http://a:1/other/v1"}, True),
        ({"base_url": "http://b:2"}, False),
        ({"endpoints": ["http://a:1/other/v1"]}, True),
        ({"endpoints": ["http://b:2"]}, False),
    ],
)
def test_an_endpoint_made_later_has_key_headers_and_certificate_at_the_same_origin_only(
    options: dict[str, Any], goes: bool
) -> None:
    with OPEA(
        "http://a:1", **{name: CARRIED[name] for name in ("api_key", "headers", "query", "cert")}
    ) as opea:
        core = opea._engine_of(opea.create_endpoint(**options))
    (endpoint,) = core.settings.endpoints
    nothing = {"api_key": None, "headers": {}, "query": {}, "cert": None}
    expected = {name: CARRIED[name] for name in nothing} if goes else nothing
    assert {name: value for name, value in holds([endpoint]).items() if name in nothing} == expected


# --- what a call names


def test_the_user_of_a_foreign_url_is_sent_there_and_our_key_is_not(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-secret", headers={"x-internal": "team"})
    for user in ("ann:s3cret", "b%40b:p%3Aw", "only"):
        url = f"{second.origin.replace('://', f'://{user}@')}/v1/chat/completions"
        assert way.ask(opea, "make_post_request_opea", url, DATA).error is None
    assert (
        way.ask(opea, "make_post_request_opea", f"{second.origin}/v1/chat/completions", DATA).error
        is None
    )
    expected = [
        f"Basic {base64.b64encode(user).decode()}" for user in (b"ann:s3cret", b"b@b:p:w", b"only:")
    ]
    assert [seen.headers.get("authorization") for seen in second.seen] == [*expected, None]
    assert all("x-internal" not in seen.headers for seen in second.seen)
    assert server.seen == []


def test_the_user_of_a_url_of_ours_stands_for_our_key(way: Way, server: ScriptedServer) -> None:
    opea = made(server, api_key="our-secret", headers={"x-internal": "team"})
    url = f"{server.origin.replace('://', '://ann:s3cret@')}/v1/chat/completions"
    assert way.ask(opea, "make_post_request_opea", url, DATA).error is None
    assert [seen.headers["authorization"] for seen in server.seen] == ["Basic YW5uOnMzY3JldA=="]


def test_a_key_beside_the_user_of_a_url_is_refused(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    url = f"{second.origin.replace('://', '://ann:s3cret@')}/v1/chat/completions"
    told = way.ask(made(server), "make_post_request_opea", url, DATA, api_key="their-key")
    assert isinstance(told.error, ConfigurationError)
    assert "api_key and a user name" in str(told.error)
    assert not any(secret in str(told.error) for secret in ("ann", "s3cret", "their-key"))
    assert (server.seen, second.seen) == ([], [])


def test_a_key_of_a_call_needs_one_server(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, second)
    told = way.ask(opea, "make_post_request", DATA, api_key="once")
    assert isinstance(told.error, ConfigurationError)
    assert "endpoint=" in str(told.error)
    assert (server.seen, second.seen) == ([], [])
    assert way.ask(opea, "make_post_request", DATA, api_key="once", endpoint="two").error is None
    assert way.ask(opea, "make_post_request_opea", second.url, DATA, api_key="twice").error is None
    assert [seen.headers["authorization"] for seen in second.seen] == [
        "Bearer once",
        "Bearer twice",
    ]
    assert server.seen == []


def test_several_endpoints_of_one_server_take_the_key_of_a_call(
    way: Way, server: ScriptedServer
) -> None:
    opea = made(server, server, api_key="ours")
    assert way.ask(opea, "make_post_request", DATA, api_key="once").error is None
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer once"]
