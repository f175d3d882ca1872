"""Models for tests, one way to use any class, four to ask a chat model,
and a handler that keeps what tracers are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from langchain_opea import ChatOPEA, OPEAEmbeddings, OPEARerank
from opea_core.testing import Answer, ScriptedServer, json_answer


def made(server: ScriptedServer, **options: Any) -> ChatOPEA:
    """A model at this server that tries everything once and waits for nothing."""
    defaults: dict[str, Any] = {
        "base_url": server.url,
        "model": "m",
        "max_retries": 0,
        "recovery_wait": 0,
    }
    return ChatOPEA(**defaults | options)


def body(server: ScriptedServer) -> dict[str, Any]:
    """The parameters of the last request: its body without messages and ``stream``."""
    return {
        key: value
        for key, value in server.seen[-1].body.items()
        if key not in ("messages", "stream")
    }


def use(model: Any) -> None:
    """One request of any of the three."""
    if isinstance(model, ChatOPEA):
        model.invoke("x")
    elif isinstance(model, OPEAEmbeddings):
        model.embed_query("x")
    else:
        model.rerank("x", ["x"])


def ranked(*scores: tuple[int, float]) -> Answer:
    """A reranker's answer: (index, score) in this order."""
    return json_answer(
        {"results": [{"index": index, "relevance_score": score} for index, score in scores]}
    )


CLASSES: tuple[Any, ...] = (ChatOPEA, OPEAEmbeddings, OPEARerank)


# --- ways to ask


def _stream(runnable: Any, input_: Any, config: Any, **options: Any) -> Any:
    return _merged(list(runnable.stream(input_, config, **options)))


def _ainvoke(runnable: Any, input_: Any, config: Any, **options: Any) -> Any:
    return asyncio.run(runnable.ainvoke(input_, config, **options))


def _astream(runnable: Any, input_: Any, config: Any, **options: Any) -> Any:
    async def collect() -> list[Any]:
        return [chunk async for chunk in runnable.astream(input_, config, **options)]

    return _merged(asyncio.run(collect()))


def _merged(chunks: list[Any]) -> Any:
    """Message chunks (and dicts of them) are added up;
    of anything else the last one is the whole.
    """
    whole, *rest = chunks
    for chunk in rest:
        whole = (
            whole + chunk
            if hasattr(type(whole), "__add__")
            and type(whole).__name__ in ("AIMessageChunk", "AddableDict")
            else chunk
        )
    return whole


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda runnable, input_, config, **options: runnable.invoke(
        input_, config, **options
    ),
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
}


def ask(way: str, runnable: Any, input_: Any = "Hello", config: Any = None, **options: Any) -> Any:
    """What a runnable answers, asked in one of the ``WAYS``."""
    return WAYS[way](runnable, input_, config, **options)


# --- what tracers are told


class Listener(BaseCallbackHandler):
    """Keeps what a tracer would store, and the error."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.results: list[Any] = []
        self.error: BaseException | None = None
        self.response: Any = None

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: Any, **details: Any
    ) -> None:
        """A call begins."""
        self.told.append({"serialized": serialized, "messages": messages, **details})

    def on_llm_end(self, response: Any, **details: Any) -> None:
        """A call ended well."""
        self.results.append(response)

    def on_llm_error(self, error: BaseException, **details: Any) -> None:
        """A call failed."""
        self.error, self.response = error, details.get("response")

    @property
    def config(self) -> dict[str, Any]:
        """The config that lets it listen."""
        return {"callbacks": [self]}


# --- threads
