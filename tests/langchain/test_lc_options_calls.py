"""Options of a call that are no part of the body: times, keys, headers, endpoints;
and what the environment gives.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from lc_object_support import CLASSES, WAYS, ask, body, made, use
from pydantic import SecretStr

from langchain_opea import ChatOPEA
from opea_core import OPEA, ConfigurationError, Endpoint, EndpointTimeout, ServerError, Timeouts
from opea_core.testing import Answer, Hold, ScriptedServer, Wait, error, stream


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


RESERVED: dict[str, Any] = {
    "timeout": 5,
    "deadline": 9,
    "max_retries": 1,
    "priority": 1,
    "request_id": "req-1",
    "recovery_wait": 1,
    "extra_headers": {"x-a": "b"},
    "extra_query": {"q": "1"},
    "extra_body": {"a": 1},
}


# --- reserved options


@pytest.mark.parametrize("bound", [False, True], ids=["call", "bind"])
@pytest.mark.parametrize("way", WAYS)
def test_reserved_options_are_honoured_and_not_in_the_body(
    server: ScriptedServer, way: str, bound: bool
) -> None:
    model = made(server, label="here")
    options = RESERVED | {"endpoint": "here"}
    ask(way, model.bind(**options)) if bound else ask(way, model, **options)
    seen = server.seen[-1]
    assert {key: value for key, value in body(server).items() if key != "stream_options"} == {
        "model": "m",
        "a": 1,
    }
    assert (seen.headers["x-request-id"], seen.headers["x-a"], seen.query) == (
        "req-1",
        "b",
        {"q": "1"},
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_langchain_passes_inside_is_not_sent(server: ScriptedServer, way: str) -> None:
    ask(
        way,
        made(server),
        ls_structured_output_format={"kwargs": {}, "schema": {"title": "a"}},
        config={"metadata": {"a": 1}, "tags": ["x"]},
    )
    assert body(server).keys() - {"stream_options"} == {"model"}


@pytest.mark.parametrize("way", WAYS)
def test_retries_of_a_call(server: ScriptedServer, way: str) -> None:
    model = made(server, max_retries=0, initial_retry_delay=0, breaker=False)
    server.script(error(503, "busy"), error(503, "busy"))
    assert ask(way, model, max_retries=2).text
    server.script(error(503, "busy"))
    with pytest.raises(ServerError):
        ask(way, model)
    assert len(server.seen) == 4


@pytest.mark.parametrize("way", WAYS)
def test_the_timeout_of_a_call(server: ScriptedServer, way: str) -> None:
    server.script(Answer(before="hang"))
    with pytest.raises(EndpointTimeout, match=r"within 0.05 s"):
        ask(way, made(server), timeout=0.05)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_idle_limit_of_a_stream(server: ScriptedServer, way: str) -> None:
    server.script(stream(["Hel", Hold(threading.Event()), "lo"]))
    with pytest.raises(Exception, match=r"within 0.2 s \(idle\)"):
        ask(way, made(server, stream_chunk_timeout=0.2))


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_timeout_counts_from_piece_to_piece(server: ScriptedServer, way: str) -> None:
    server.script(stream([piece for word in "abcd" for piece in (Wait(0.3), word)]))
    assert ask(way, made(server, timeout=1)).text == "abcd"


@pytest.mark.parametrize("way", WAYS)
def test_an_endpoint_can_be_pinned(
    server: ScriptedServer, second: ScriptedServer, way: str
) -> None:
    endpoints = [
        {"base_url": server.url, "label": "one"},
        {"base_url": second.url, "label": "two", "tier": 1},
    ]
    model = ChatOPEA(endpoints=endpoints, model="m")
    assert ask(way, model, endpoint="two").response_metadata["endpoint"] == "two"
    assert (len(server.seen), len(second.seen)) == (0, 1)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_endpoint_is_an_error_that_lists_them(server: ScriptedServer, way: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no endpoint 'on'.*Did you mean 'one'"):
        ask(way, made(server, label="one"), endpoint="on")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "wrong", ["timeot", "max_retires", "deadlin", "api_key", "base_url", "headers"]
)
def test_a_typo_of_a_reserved_option_is_not_sent(
    server: ScriptedServer, wrong: str, way: str
) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        ask(way, made(server), **{wrong: "1"})
    assert server.seen == []


# --- which model


ENDPOINTS = "endpoint's"


def _with_names(server: ScriptedServer, **options: Any) -> ChatOPEA:
    return ChatOPEA(
        endpoints=[{"base_url": server.url, "model": ENDPOINTS}], max_retries=0, **options
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"model": "field"}], ids=str)
def test_an_endpoint_has_its_own_name_for_the_model(
    server: ScriptedServer, options: dict[str, Any], way: str
) -> None:
    ask(way, _with_names(server, **options))
    assert body(server)["model"] == ENDPOINTS


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["call", "field"])
def test_a_model_in_a_call_wins_over_every_other(
    server: ScriptedServer, name: str, way: str
) -> None:
    for model in (
        _with_names(server, model="field"),
        made(server, model="field"),
        ChatOPEA(client=OPEA(server.url, model="object")),
    ):
        ask(way, model, model=name)
        assert body(server)["model"] == name
        ask(way, model.bind(model=name))
        assert body(server)["model"] == name


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_tells_the_servers_name_of_the_model(server: ScriptedServer, way: str) -> None:
    assert ask(way, made(server)).response_metadata["model_name"] == "scripted-model"


# --- connection


@pytest.mark.parametrize("way", WAYS)
def test_headers_and_query_of_every_request(server: ScriptedServer, way: str) -> None:
    options = {
        "organization": "org",
        "default_headers": {"X-A": "b"},
        "default_query": {"q": "1"},
        "api_version": "v9",
    }
    ask(way, made(server, **options), extra_headers={"x-a": "call"}, extra_query={"r": "2"})
    seen = server.seen[-1]
    assert (seen.headers["openai-organization"], seen.headers["x-a"]) == ("org", "call")
    assert seen.query == {"q": "1", "r": "2", "api-version": "v9"}


def test_a_header_of_the_caller_wins_over_organization(server: ScriptedServer) -> None:
    made(server, organization="org", default_headers={"OpenAI-Organization": "mine"}).invoke("x")
    assert server.seen[-1].headers["openai-organization"] == "mine"


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"timeout": 3}, Timeouts(connect=3, first_event=3, idle=3)),
        ({"timeout": 30}, Timeouts(connect=5, first_event=30, idle=30)),
        ({"timeout": (1, 2)}, Timeouts(connect=1, first_event=2, idle=2)),
        ({"timeout": None}, Timeouts(connect=None, first_event=None, idle=None)),
        ({"timeout": Timeouts(idle=4)}, Timeouts(idle=4)),
        ({"timeout": httpx.Timeout(7, connect=2)}, Timeouts(connect=2, first_event=7, idle=7)),
        ({"request_timeout": 3}, Timeouts(connect=3, first_event=3, idle=3)),
        ({"stream_chunk_timeout": 8}, Timeouts(idle=8)),
        ({"timeout": 3, "stream_chunk_timeout": 8}, Timeouts(connect=3, first_event=3, idle=8)),
        (
            {"timeout": None, "stream_chunk_timeout": 8},
            Timeouts(connect=None, first_event=None, idle=8),
        ),
        ({"deadline": 9}, Timeouts(total=9)),
        ({"timeout": 3, "deadline": 9}, Timeouts(connect=3, first_event=3, idle=3, total=9)),
        ({}, Timeouts()),
    ],
    ids=str,
)
def test_forms_of_a_timeout(
    server: ScriptedServer, given: dict[str, Any], limits: Timeouts
) -> None:
    assert made(server, **given).client.settings.timeouts == limits


def test_a_timeout_of_the_environment_is_overruled_by_none(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_TIMEOUT", "7")
    assert made(server).client.settings.timeouts.idle == 7
    assert made(server, timeout=None).client.settings.timeouts.idle is None


def test_http_clients_of_the_caller_are_used() -> None:
    def answered(request: httpx.Request) -> httpx.Response:
        message = {"role": "assistant", "content": str(request.url)}
        return httpx.Response(
            200, json={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )

    async def both() -> list[str]:
        transport = httpx.MockTransport(answered)
        async with httpx.AsyncClient(transport=transport) as asynchronous:
            with httpx.Client(transport=transport) as plain:
                model = ChatOPEA(
                    model="m",
                    base_url="http://nowhere.test",
                    http_client=plain,
                    http_async_client=asynchronous,
                )
                return [model.invoke("x").text, (await model.ainvoke("x")).text]

    assert asyncio.run(both()) == ["http://nowhere.test/v1/chat/completions"] * 2


@pytest.mark.parametrize("cls", CLASSES)
def test_a_subclass_may_have_defaults_of_its_own(server: ScriptedServer, cls: Any) -> None:
    class House(cls):  # type: ignore[misc]
        base_url: str | None = server.url
        api_key: Any = "sk-house"
        timeout: Any = 7
        max_retries: int | None = 0

    model = House(model="m")
    assert model.client.settings.timeouts.idle == 7
    use(model)
    assert server.seen[-1].headers["authorization"] == "Bearer sk-house"
    assert House(model="m", timeout=3).client.settings.timeouts.idle == 3


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "given",
    [lambda url: {"client": OPEA(url)}, lambda url: {"endpoints": [url]}],
    ids=["client", "endpoints"],
)
def test_what_is_given_wins_over_a_default_of_a_subclass(
    server: ScriptedServer, cls: Any, given: Any
) -> None:
    class House(cls):  # type: ignore[misc]
        base_url: str | None = "http://nowhere.test"

    model = House(model="m", **given(server.url))
    use(model)
    assert len(server.seen) == 1


# --- keys


async def _async_key() -> str:
    return "sk-async"


KEYS: dict[str, tuple[Any, str | None]] = {
    "text": ("sk-text", "Bearer sk-text"),
    "SecretStr": (SecretStr("sk-secret"), "Bearer sk-secret"),
    "function": (lambda: "sk-sync", "Bearer sk-sync"),
    "async function": (_async_key, "Bearer sk-async"),
    "empty": ("", None),
    "empty SecretStr": (SecretStr(""), None),
    "none": (None, None),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KEYS)
def test_kinds_of_keys(server: ScriptedServer, kind: str, way: str) -> None:
    key, header = KEYS[kind]
    ask(way, made(server, api_key=key))
    assert server.seen[-1].headers.get("authorization") == header


@pytest.mark.parametrize("way", WAYS)
def test_a_function_is_asked_for_each_call_and_again_after_401(
    server: ScriptedServer, way: str
) -> None:
    keys = iter(["one", "two", "three"])
    model = made(server, api_key=lambda: next(keys))
    ask(way, model)
    server.script(error(401, "expired"))
    ask(way, model)
    assert [seen.headers["authorization"] for seen in server.seen] == [
        "Bearer one",
        "Bearer two",
        "Bearer three",
    ]


@pytest.mark.parametrize("cls", CLASSES)
class TestEnvironment:
    """OPEA_API_URL and OPEA_API_KEY belong to the one default endpoint."""

    @pytest.fixture(autouse=True)
    def _set(self, monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
        monkeypatch.setenv("OPEA_API_URL", server.url)
        monkeypatch.setenv("OPEA_API_KEY", "sk-env")
        monkeypatch.setenv("OPEA_MODEL", "env-model")

    def _ask(self, model: Any) -> None:
        use(model)

    def test_url_key_and_model_are_taken(self, server: ScriptedServer, cls: Any) -> None:
        self._ask(cls())
        assert server.seen[-1].headers["authorization"] == "Bearer sk-env"
        assert server.seen[-1].body["model"] == "env-model"

    def test_keywords_win(self, server: ScriptedServer, second: ScriptedServer, cls: Any) -> None:
        self._ask(cls(base_url=second.url, api_key="sk-own", model="own"))
        assert server.seen == []
        assert (second.seen[-1].headers["authorization"], second.seen[-1].body["model"]) == (
            "Bearer sk-own",
            "own",
        )

    def test_an_empty_key_means_none(self, server: ScriptedServer, cls: Any) -> None:
        self._ask(cls(api_key=""))
        assert "authorization" not in server.seen[-1].headers

    @pytest.mark.parametrize(
        "endpoint",
        [lambda url: url, lambda url: {"base_url": url}, lambda url: Endpoint(base_url=url)],
    )
    def test_the_key_never_goes_to_listed_endpoints(
        self, second: ScriptedServer, cls: Any, endpoint: Any
    ) -> None:
        self._ask(cls(endpoints=[endpoint(second.url)]))
        assert "authorization" not in second.seen[-1].headers

    def test_the_key_never_goes_to_a_given_object(self, second: ScriptedServer, cls: Any) -> None:
        self._ask(cls(client=OPEA(endpoints=[second.url])))
        assert "authorization" not in second.seen[-1].headers

    def test_several_keys_stand_for_it(self, server: ScriptedServer, cls: Any) -> None:
        self._ask(cls(api_keys=["sk-listed"]))
        assert server.seen[-1].headers["authorization"] == "Bearer sk-listed"

    def test_the_key_is_shown_nowhere(self, cls: Any) -> None:
        assert "sk-env" not in repr(cls()) + str(cls()) + str(cls().model_dump())


def test_a_key_of_openai_is_never_sent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_API_BASE", "http://elsewhere")
    made(server).invoke("x")
    assert "authorization" not in server.seen[-1].headers
    server.script(error(401, "no key"))
    with pytest.raises(Exception, match="OPENAI_API_KEY is set but is not sent"):
        made(server).invoke("x")


def test_several_keys_take_turns(server: ScriptedServer) -> None:
    model = made(server, api_keys=["one", "two"], max_concurrent=1)
    model.batch(["x"] * 8)
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer one", "Bearer two"}
