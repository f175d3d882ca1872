"""LangChain's own services around a model: cache, rate limiter, retries, fallbacks,
streaming switches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core import exceptions as lc
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from lc_object_support import WAYS, Listener, ask, made
from steady_ids import steady

from langchain_opea import ChatOPEA
from opea_core import OPEA, Capabilities, Timeouts
from opea_core.testing import ScriptedServer, chat, error, stream


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


# --- cache


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_the_second_time_comes_from_the_cache(server: ScriptedServer, way: str) -> None:
    model = made(server, cache=InMemoryCache())
    assert ask(way, model).text == ask(way, model).text
    assert len(server.seen) == 1


def test_an_answer_from_the_cache_costs_nothing(server: ScriptedServer) -> None:
    model = made(server, cache=InMemoryCache())
    assert model.invoke("x").usage_metadata["total_tokens"] > 0
    assert model.invoke("x").usage_metadata.get("total_cost", 0) == 0
    assert len(server.seen) == 1


def _requests(server: ScriptedServer, one: ChatOPEA, other: ChatOPEA) -> int:
    """How many requests two models with one cache send for the same question."""
    one.invoke("Hello")
    other.invoke("Hello")
    return len(server.seen)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "another"},
        {"api_key": lambda: "another"},
        {"timeout": 7},
        {"timeout": Timeouts(idle=3)},
        {"max_retries": 9},
        {"deadline": 99},
        {"default_headers": {"x-a": "b"}},
        {"organization": "o"},
        {"max_concurrent": 2},
        {"priority": 2},
        {"label": "gpu"},
        {"breaker": False},
        {"stream_chunk_timeout": 9},
        {"capabilities": Capabilities(max_tokens_field="max_completion_tokens")},
        {"include_response_headers": False},
        {"tags": ["a"]},
    ],
    ids=steady,
)
def test_the_key_of_the_cache_does_not_depend_on(
    server: ScriptedServer, options: dict[str, Any]
) -> None:
    cache = InMemoryCache()
    defaults: dict[str, Any] = {"cache": cache, "api_key": "one"}
    assert _requests(server, made(server, **defaults), made(server, **defaults | options)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"model": "another"},
        {"temperature": 0.5},
        {"stop": ["x"]},
        {"seed": 1},
        {"max_tokens": 5},
        {"top_p": 0.5},
        {"reasoning_effort": "low"},
        {"extra_body": {"a": 1}},
        {"model_kwargs": {"a": 1}},
    ],
    ids=steady,
)
def test_the_key_of_the_cache_depends_on(server: ScriptedServer, options: dict[str, Any]) -> None:
    cache = InMemoryCache()
    assert _requests(server, made(server, cache=cache), made(server, cache=cache, **options)) == 2


def test_the_key_of_the_cache_depends_on_the_server(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    cache = InMemoryCache()
    made(server, cache=cache).invoke("Hello")
    made(second, cache=cache).invoke("Hello")
    assert (len(server.seen), len(second.seen)) == (1, 1)


@pytest.mark.parametrize("where", ["client", "endpoint", "environment"])
def test_the_key_of_the_cache_depends_on_a_model_named_elsewhere(
    server: ScriptedServer, monkeypatch: Any, where: str
) -> None:
    cache = InMemoryCache()

    def model(name: str) -> ChatOPEA:
        if where == "client":
            return ChatOPEA(client=OPEA(server.url, model=name), cache=cache)
        if where == "endpoint":
            return ChatOPEA(endpoints=[{"base_url": server.url, "model": name}], cache=cache)
        monkeypatch.setenv("OPEA_MODEL", name)
        return ChatOPEA(base_url=server.url, cache=cache)

    assert _requests(server, model("one"), model("two")) == 2


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_model_nobody_named_is_cached_from_the_first_call(
    server: ScriptedServer, way: str
) -> None:
    model = ChatOPEA(base_url=server.url, cache=InMemoryCache())
    for _ in range(2):
        ask(way, model)
    assert [seen.method for seen in server.seen] == ["GET", "POST"]


def test_the_key_of_the_cache_does_not_depend_on_further_endpoints(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    cache = InMemoryCache()
    one = ChatOPEA(base_url=server.url, model="m", cache=cache)
    two = ChatOPEA(endpoints=[server.url, second.url], model="m", cache=cache)
    one.invoke("Hello")
    two.invoke("Hello")
    assert (len(server.seen), len(second.seen)) == (1, 0)


def test_an_answer_of_another_endpoint_is_found_again(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    model = ChatOPEA(
        endpoints=[server.url, {"base_url": second.url, "tier": 1}],
        model="m",
        cache=InMemoryCache(),
        initial_retry_delay=0,
    )
    server.pause()
    one = model.invoke("Hello")
    server.resume()
    assert model.invoke("Hello").text == one.text
    assert (len(server.seen), len(second.seen)) == (0, 1)


@pytest.mark.parametrize("form", ["bind", "model_copy", "configured", "assigned"])
def test_a_changed_temperature_is_another_key(server: ScriptedServer, form: str) -> None:
    model = made(server, cache=InMemoryCache())
    model.invoke("Hello")
    forms: dict[str, Any] = {
        "bind": lambda: model.bind(temperature=0.5),
        "model_copy": lambda: model.model_copy(update={"temperature": 0.5}),
        "assigned": lambda: _warmer(model),
        "configured": lambda: model.configurable_fields(
            temperature=ConfigurableField(id="t")
        ).with_config(configurable={"t": 0.5}),
    }
    forms[form]().invoke("Hello")
    assert len(server.seen) == 2


def _warmer(model: ChatOPEA) -> ChatOPEA:
    model.temperature = 0.5
    return model


def test_an_error_is_not_cached(server: ScriptedServer) -> None:
    model = made(server, cache=InMemoryCache())
    server.script(error(400, "no"), chat("yes"))
    with pytest.raises(lc.ModelInvalidRequestError):
        model.invoke("x")
    assert model.invoke("x").text == "yes"


# --- rate limiter


class _Counting(BaseRateLimiter):
    def __init__(self) -> None:
        self.count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        """Count a call."""
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Count a call."""
        return self.acquire()


@pytest.mark.parametrize("way", WAYS)
def test_the_rate_limiter_is_asked_once_a_call(server: ScriptedServer, way: str) -> None:
    limiter = _Counting()
    model = made(server, rate_limiter=limiter, max_retries=2, initial_retry_delay=0)
    server.script(error(503, "busy"))
    ask(way, model)
    assert limiter.count == 1
    assert len(server.seen) == 2


def test_the_rate_limiter_is_not_asked_for_cached_answers(server: ScriptedServer) -> None:
    limiter = _Counting()
    model = made(server, rate_limiter=limiter, cache=InMemoryCache())
    model.invoke("x")
    model.invoke("x")
    assert limiter.count == 1


# --- retries and fallbacks


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_with_retry_knows_our_errors(server: ScriptedServer, way: str) -> None:
    patient = made(server).with_retry(
        retry_if_exception_type=(lc.ModelAPIError,),
        stop_after_attempt=2,
        wait_exponential_jitter=False,
    )
    server.script(error(503, "busy"), chat("yes"))
    assert ask(way, patient).text == "yes"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_with_retry_leaves_other_errors_alone(server: ScriptedServer, way: str) -> None:
    patient = made(server).with_retry(
        retry_if_exception_type=(lc.ModelAPIError,),
        stop_after_attempt=2,
        wait_exponential_jitter=False,
    )
    server.script(error(401, "no"))
    with pytest.raises(lc.ModelAuthenticationError):
        ask(way, patient)
    assert len(server.seen) == 1


@pytest.mark.parametrize("way", WAYS)
def test_fallbacks_before_the_first_piece(
    server: ScriptedServer, second: ScriptedServer, way: str
) -> None:
    both = made(server).with_fallbacks([made(second)], exceptions_to_handle=(lc.ModelError,))
    server.script(error(503, "busy"))
    second.script(chat("yes") if way.endswith("invoke") else stream(["yes"]))
    assert ask(way, both).text == "yes"


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_no_fallback_after_the_first_piece(
    server: ScriptedServer, second: ScriptedServer, way: str
) -> None:
    both = made(server).with_fallbacks([made(second)])
    server.script(stream(["Hel"], finish_reason=None, done=False, end="cut"))
    with pytest.raises(lc.ModelAPIError):
        ask(way, both)
    assert second.seen == []


# --- streaming switches


def _streamed(server: ScriptedServer) -> bool:
    return bool(server.seen[-1].body["stream"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "streamed"),
    [
        pytest.param({}, {"stream", "astream"}, id="default"),
        pytest.param({"streaming": True}, set(WAYS), id="streaming"),
        pytest.param({"disable_streaming": True}, set(), id="disabled"),
        pytest.param({"disable_streaming": True, "streaming": True}, set(), id="disabled wins"),
        pytest.param(
            {"disable_streaming": "tool_calling"}, {"stream", "astream"}, id="disabled for tools"
        ),
    ],
)
def test_what_streams(
    server: ScriptedServer, options: dict[str, Any], streamed: set[str], way: str
) -> None:
    assert ask(way, made(server, **options)).text
    assert _streamed(server) is (way in streamed)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_streaming_may_be_disabled_for_tools(server: ScriptedServer, way: str) -> None:
    ask(
        way,
        made(server, disable_streaming="tool_calling").bind_tools(
            [{"title": "f", "description": "d", "type": "object", "properties": {}}]
        ),
    )
    assert _streamed(server) is False


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_stream_as_an_option_of_a_call(server: ScriptedServer, way: str) -> None:
    assert ask(way, made(server), stream=True).text
    assert _streamed(server) is True
    assert ask(way, made(server, streaming=True), stream=False).text
    assert _streamed(server) is False


@pytest.mark.parametrize("way", WAYS)
def test_callbacks_get_every_token_once(server: ScriptedServer, way: str) -> None:
    class Tokens(Listener):
        def __init__(self) -> None:
            super().__init__()
            self.tokens: list[str] = []

        def on_llm_new_token(self, token: Any, **details: Any) -> None:
            """A piece came."""
            self.tokens.append(token)

    listener = Tokens()
    server.script(stream(["Hel", "lo"]))
    found = ask(way, made(server, streaming=True), config=listener.config)
    assert found.text == "".join(listener.tokens) == "Hello"
    assert len(listener.results) == 1


def test_usage_callbacks_count_once(server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    counter = UsageMetadataCallbackHandler()
    model = made(server)
    server.script(chat("x", usage=usage, model="m"), stream(["x"], usage=usage, model="m"))
    model.invoke("x", {"callbacks": [counter]})
    asyncio.run(_drain(model, {"callbacks": [counter]}))
    assert counter.usage_metadata["m"]["total_tokens"] == 10


async def _drain(model: ChatOPEA, config: Any) -> None:
    async for _ in model.astream("x", config):
        pass
