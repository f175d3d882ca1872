"""Calls of ``OPEA`` as people type them: checked by mypy and pyright, never run."""

from __future__ import annotations

import os
from typing import Any, Unpack, assert_type

import httpx

from opea_core import (
    OPEA,
    AsyncChatStream,
    BaseApiBackend,
    ChatManyOptions,
    ChatOptions,
    ChatResponse,
    ChatStream,
    EmbeddingResponse,
    OPEAError,
    Options,
    Timeouts,
)

opea = OPEA("http://localhost:8000", model="m", timeout=httpx.Timeout(5.0))

# --- what is right

assert_type(opea.chat("Hello", temperature=0, max_retries=0, stop=["."], n=2), ChatResponse)
assert_type(opea.stream_chat("Hello", timeout=(5, None), stream_options=None), ChatStream)
assert_type(opea.astream_chat("Hello", timeout=Timeouts(idle=3)), AsyncChatStream)
assert_type(opea.complete("Once", logprobs=3, echo=True, top_k=4), ChatResponse)
assert_type(opea.embed(["a", "b"], dimensions=64, priority=0), EmbeddingResponse)
opea.chat([{"role": "user", "content": "Hello"}], tools=[{"type": "function"}], tool_choice="auto")
opea.chat("Hello", output_schema={"name": "A", "schema": {}}, extra_body={"guided_regex": "a+"})
opea.rerank("q", ["a", "b"], top_n=1, model="m")
opea.models(endpoint="gpu1", timeout=2)
opea.count_tokens("Hello", model="m")
opea.discover(deadline=3.0)
opea.make_post_request({"messages": []}, "key", request_id="r")
opea.make_post_request_opea("http://other", {"messages": []}, api_key="key")
opea.create_endpoint(base_url="http://other", max_concurrent=4)
for result in opea.chat_many(["a", "b"], max_concurrent=8, temperature=0):
    assert_type(result.response, ChatResponse | None)

OPEA(base_url=os.environ.get("URL"), api_key=None, timeout=30, retry={"jitter": "full"})
OPEA(endpoints=["http://a", {"base_url": "http://b"}], breaker=False, verify="ca.pem")


# --- what is wrong

opea.chat("Hello", max_retries="three")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
opea.chat("Hello", temprature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.chat("Hello", api_key="key")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.chat(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
opea.stream_chat("Hello", timeout="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
opea.astream_chat("Hello", tools="f")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
opea.complete("Once", tools=[])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.embed("a", dimension=64)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.rerank("q", ["a"], top_n="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
opea.models(model="m")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.count_tokens("Hello", temperature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.chat_many(["a"], max_concurent=8)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.make_post_request({}, temperature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
opea.create_endpoint(base_ulr="http://a")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
OPEA(base_url=8000)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
OPEA(temperature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


# --- async twins


async def twins() -> None:
    assert_type(await opea.achat("Hello", seed=1), ChatResponse)
    assert_type(await opea.aembed("a"), EmbeddingResponse)
    async for result in opea.achat_many(["a"], max_concurrent=None):
        assert_type(result.error, OPEAError | None)
    await opea.achat("Hello", max_retries="three")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await opea.acomplete("Once", sufix="")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await opea.arerank("q", ["a"], top_k=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await opea.amodels(priority="low")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# --- options that are handed on


def ask(question: str, **options: Unpack[ChatOptions]) -> str:
    """A user's own function has the same completion and the same errors."""
    return opea.chat(question, **options).content


def ask_many(questions: list[str], options: ChatManyOptions) -> list[str]:
    return [result.unwrap().content for result in opea.chat_many(questions, **options)]


def made(**options: Unpack[Options]) -> OPEA:
    return OPEA(**options)


def from_a_file(options: dict[str, Any]) -> ChatResponse:
    """What is read at run time is checked at run time."""
    return opea.chat("Hello", **options)


ask("Hello", temperature=0)
ask("Hello", temprature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
ask_many(["a"], {"max_concurrent": 2, "priority": 9})
made(base_url="http://a", max_retries=0)


# --- a backend of somebody else's may take more than ours


class Parrot(BaseApiBackend):
    """Says what it was told."""

    def create_endpoint_handler(self, endpoint_url: str | None = None) -> Any: ...

    def test_endpoint(self, endpoint_url: str | None = None) -> bool:
        return True

    def make_post_request(self, data: Any, api_key: str | None = None, **options: Any) -> Any: ...

    def make_stream_request(self, data: Any, **options: Any) -> Any: ...

    def chat(self, messages: Any, **options: Any) -> str:
        return str(options.get("voice", messages))

    def stream_chat(self, messages: Any, **options: Any) -> Any: ...

    def is_compatible_model(self, model: str) -> bool:
        return model == "parrot"


def through_the_interface(backend: BaseApiBackend) -> None:
    backend.chat("Hello", temperature=0)
    backend.chat("Hello", temprature=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
