"""Making the objects: environment, other names in stored dicts, subclasses,
and a shared ``OPEA`` object.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from li_object_support import (
    CLASSES,
    MAKERS,
    WAYS,
    aask_all,
    ask,
    in_threads,
    joined,
    llm,
    ranked,
    says,
    until,
)
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import SecretStr

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import (
    OPEA,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    EndpointTimeout,
    RateLimited,
    ServerError,
    Timeouts,
)
from opea_core.testing import Hold, ScriptedServer, chat, error

NODE = [NodeWithScore(node=TextNode(text="n"))]


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def use(model: Any) -> None:
    """One request of any of the three."""
    if isinstance(model, OPEALLM):
        model.complete("x")
    elif isinstance(model, OPEAEmbedding):
        model.get_query_embedding("x")
    else:
        model.postprocess_nodes(NODE, query_str="q")


# --- what they are


def test_their_bases() -> None:
    assert {BaseLLM, FunctionCallingLLM} <= set(OPEALLM.__mro__)
    assert BaseEmbedding in OPEAEmbedding.__mro__
    assert BaseNodePostprocessor in OPEARerank.__mro__


def test_class_names_do_not_clash_with_those_of_other_packages() -> None:
    assert [cls.class_name() for cls in (OPEALLM, OPEAEmbedding, OPEARerank)] == [
        "OPEALLM",
        "OPEAProxyEmbedding",
        "OPEARerank",
    ]


@pytest.mark.parametrize("kind", CLASSES)
def test_no_key_is_needed(server: ScriptedServer, kind: str) -> None:
    server.always(ranked((0, 1.0)) if kind == "rerank" else None)
    use(MAKERS[kind](server))
    assert "authorization" not in server.seen[-1].headers


# --- environment


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_url_key_and_timeout_come_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("OPEA_API_URL", server.url)
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    monkeypatch.setenv("OPEA_TIMEOUT", "7")
    made = CLASSES[kind](model="m", max_retries=0)
    use(made)
    assert server.seen[-1].headers["authorization"] == "Bearer sk-env"
    assert made.client.settings.timeouts == Timeouts.of(7.0)


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_what_is_given_wins_over_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("OPEA_API_URL", "http://localhost:1")
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    monkeypatch.setenv("OPEA_TIMEOUT", "7")
    made = MAKERS[kind](server, api_key="sk-given", timeout=9)
    use(made)
    assert server.seen[-1].headers["authorization"] == "Bearer sk-given"
    assert made.client.settings.timeouts == Timeouts.of(9)


def test_an_empty_key_sends_none(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    use(llm(server, api_key=""))
    assert "authorization" not in server.seen[-1].headers


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_what_is_openais_in_the_environment_is_never_read(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name, value in (
        ("API_KEY", "sk-openai"),
        ("API_BASE", "http://localhost:1"),
        ("BASE_URL", "http://localhost:1"),
        ("ORG_ID", "o"),
    ):
        monkeypatch.setenv(f"OPENAI_{name}", value)
    use(MAKERS[kind](server))
    assert not any("openai" in f"{name} {value}" for name, value in server.seen[-1].headers.items())
    assert CLASSES[kind](model="m").client.endpoints[0].url.root == "http://localhost:8000/v1"


def test_the_environments_key_does_not_go_to_listed_endpoints(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    use(OPEALLM(model="m", endpoints=[server.url], max_retries=0))
    assert "authorization" not in server.seen[-1].headers


@pytest.mark.parametrize("url", ["{}", "{}/", "{}/v1", "{}/v1/"])
def test_the_url_may_end_in_v1_or_not(server: ScriptedServer, url: str) -> None:
    use(llm(server, api_base=url.format(server.origin)))
    assert server.seen[-1].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "key", ["sk-a", SecretStr("sk-a"), lambda: "sk-a"], ids=["text", "SecretStr", "function"]
)
@pytest.mark.parametrize("way", WAYS)
def test_keys_are_texts_secrets_or_functions(server: ScriptedServer, way: str, key: Any) -> None:
    ask(way, llm(server, api_key=key))
    assert server.seen[-1].headers["authorization"] == "Bearer sk-a"


# --- subclasses


class HouseLLM(OPEALLM):
    """A company's defaults."""

    model: str | None = "house"
    temperature: float | None = 0.7
    max_retries: int | None = 1
    timeout: Any = 17
    default_headers: Any = {"x-house": "1"}
    system_prompt: str | None = "Be polite."

    @classmethod
    def class_name(cls) -> str:
        """Its own name."""
        return "HouseLLM"


def test_a_subclass_sets_house_defaults(server: ScriptedServer) -> None:
    made = HouseLLM(api_base=server.url)
    made.complete("x")
    assert (server.seen[-1].body["model"], server.seen[-1].body["temperature"]) == ("house", 0.7)
    assert server.seen[-1].headers["x-house"] == "1"
    assert (made.client.settings.retry.max_retries, made.client.settings.timeouts) == (
        1,
        Timeouts.of(17),
    )
    assert made.to_dict()["class_name"] == "HouseLLM"


def test_what_is_given_wins_over_house_defaults(server: ScriptedServer) -> None:
    made = HouseLLM(
        api_base=server.url, model="mine", temperature=0, timeout=3, default_headers={"x-mine": "1"}
    )
    made.complete("x")
    assert (server.seen[-1].body["model"], server.seen[-1].body["temperature"]) == ("mine", 0)
    assert "x-house" not in server.seen[-1].headers
    assert made.client.settings.timeouts == Timeouts.of(3)


def test_house_defaults_go_with_a_shared_object(server: ScriptedServer) -> None:
    made = HouseLLM(client=OPEA(server.url))
    made.complete("x")
    assert server.seen[-1].body["model"] == "house"


def test_a_house_url_gives_way_to_endpoints(server: ScriptedServer) -> None:
    class House(OPEALLM):
        api_base: str | None = "http://localhost:1"

    use(House(model="m", endpoints=[server.url], max_retries=0))
    assert len(server.seen) == 1


def test_a_subclass_may_have_fields_and_methods_of_its_own(server: ScriptedServer) -> None:
    class Polite(OPEALLM):
        greeting: str = "Please: "

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return super().complete(self.greeting + prompt, formatted, **kwargs)

    Polite(api_base=server.url, model="m", greeting="Kindly: ").complete("answer")
    assert server.seen[-1].body["messages"][0]["content"] == "Kindly: answer"
    with pytest.raises(ConfigurationError, match="Did you mean 'greeting'"):
        Polite(api_base=server.url, greetin="x")


# --- a shared object


@pytest.mark.parametrize("way", WAYS)
def test_a_given_object_is_used_with_its_model(server: ScriptedServer, way: str) -> None:
    ask(way, OPEALLM(client=OPEA(server.url, model="object's", api_key="k")))
    assert server.seen[-1].body["model"] == "object's"
    assert server.seen[-1].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("way", WAYS)
def test_a_model_of_its_own_wins_over_the_objects(server: ScriptedServer, way: str) -> None:
    ask(way, OPEALLM(client=OPEA(server.url, model="object's"), model="mine"))
    assert server.seen[-1].body["model"] == "mine"


def test_the_environment_does_not_reach_past_a_given_object(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_API_URL", "http://localhost:1")
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    use(OPEALLM(client=OPEA(server.url, api_key="sk-object"), model="m"))
    assert server.seen[-1].headers["authorization"] == "Bearer sk-object"


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "option",
    [
        {"api_base": "http://localhost:1"},
        {"api_key": "k"},
        {"default_headers": {"a": "b"}},
        {"max_concurrent": 1},
    ],
    ids=str,
)
def test_connection_keywords_beside_an_object_are_an_error(
    kind: str, option: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=f"client= and {next(iter(option))}="):
        CLASSES[kind](client=OPEA("http://localhost:1"), **option)


def test_an_http_client_is_no_object() -> None:
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="http_client="):
        OPEALLM(client=client)


@pytest.mark.parametrize("way", ["chat", "acomplete", "stream_chat", "astream_complete"])
def test_a_timeout_beside_an_object_holds_for_each_call(server: ScriptedServer, way: str) -> None:
    held = threading.Event()
    server.always(chat("late").after(Hold(held)))
    shared = OPEA(server.url, max_retries=0, breaker=False)
    with pytest.raises(EndpointTimeout):
        ask(way, OPEALLM(client=shared, model="m", timeout=0.05, max_retries=0))
    held.set()
    server.always(says())
    assert ask(way, OPEALLM(client=shared, model="m"))


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_max_retries_beside_an_object_holds_for_each_call(
    server: ScriptedServer, kind: str
) -> None:
    server.always(error(500, "no"))
    shared = OPEA(server.url, max_retries=5, initial_retry_delay=0, breaker=False, recovery_wait=0)
    with pytest.raises(ServerError):
        use(CLASSES[kind](client=shared, model="m", max_retries=1))
    assert len(server.seen) == 2


def test_a_limit_holds_over_all_that_share_an_object(server: ScriptedServer) -> None:
    shared = OPEA(server.url, model="m", max_concurrent=1)
    held = threading.Event()
    server.script(chat("first").after(Hold(held)))
    one, other = OPEALLM(client=shared), OPEALLM(client=shared, model="other")
    vectors, chain = OPEAEmbedding(client=shared, model="e"), ChatOPEA(client=shared)
    first, _ = in_threads(lambda: one.complete("x"))
    server.wait_seen(1)
    threads, results = in_threads(
        lambda: other.complete("x"),
        lambda: asyncio.run(other.acomplete("x")),
        lambda: vectors.get_text_embedding("x"),
        lambda: chain.invoke("x"),
    )
    until(lambda: shared.get_stats()["queued"] == 4, "the others to queue")
    assert server.in_flight == 1
    held.set()
    joined(first + threads)
    assert len(results) == 4
    assert server.max_in_flight == 1


def test_an_object_is_not_closed_with_one_of_its_users(server: ScriptedServer) -> None:
    shared = OPEA(server.url, model="m")
    made = OPEALLM(client=shared)
    made.complete("x")
    del made
    assert ChatOPEA(client=shared).invoke("x").text
    assert server.connections == 1


def test_a_closed_object_is_closed_for_all(server: ScriptedServer) -> None:
    shared = OPEA(server.url, model="m")
    made = OPEALLM(client=shared)
    shared.close()
    with pytest.raises(ClientClosed):
        made.complete("x")


# --- endpoints, http clients


def test_a_second_endpoint_takes_over(server: ScriptedServer, second: ScriptedServer) -> None:
    server.pause()
    made = OPEALLM(
        model="m",
        endpoints=[server.url, {"base_url": second.url, "tier": 1}],
        initial_retry_delay=0,
    )
    assert made.complete("x").text
    assert len(second.seen) == 1


def test_max_retries_of_3_are_at_most_4_requests(server: ScriptedServer) -> None:
    server.always(error(503, "no"))
    with pytest.raises(ServerError):
        llm(server, max_retries=3, initial_retry_delay=0, breaker=False).complete("x")
    assert len(server.seen) == 4


@pytest.mark.parametrize("way", WAYS)
async def test_given_http_clients_are_used(server: ScriptedServer, way: str) -> None:
    with httpx.Client(headers={"x-mine": "sync"}) as client:
        async with httpx.AsyncClient(headers={"x-mine": "async"}) as asynchronous:
            await aask_all(way, llm(server, http_client=client, async_http_client=asynchronous))
    assert server.seen[-1].headers["x-mine"] == ("async" if way.startswith("a") else "sync")


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_the_cores(server: ScriptedServer, way: str) -> None:
    server.script(error(401, "wrong key"), error(429, "slow down"))
    made = llm(server)
    for expected in (AuthenticationError, RateLimited):
        with pytest.raises(expected) as caught:
            ask(way, made)
        assert server.url.removeprefix("http://").split("/")[0] in str(caught.value)


# --- validation of stored dicts


@pytest.mark.parametrize("kind", CLASSES)
def test_a_dumped_object_can_be_validated(server: ScriptedServer, kind: str) -> None:
    made = MAKERS[kind](server)
    again = CLASSES[kind].model_validate(made.model_dump())
    assert again.model_dump() == made.model_dump()


@pytest.mark.parametrize("kind", CLASSES)
def test_an_object_is_itself_when_validated(server: ScriptedServer, kind: str) -> None:
    made = MAKERS[kind](server)
    assert CLASSES[kind].model_validate(made) is made
