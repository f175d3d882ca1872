"""Which servers the live suite asks, in which mode, and the two ways of asking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from live_cassettes import make_vcr

from opea_core import OPEA
from opea_core.types import ChatChunk, ChatResponse, EmbeddingResponse, ModelInfo

MODE = next(
    (
        mode
        for mode in ("record", "live")
        if os.environ.get(f"OPEA_{mode.upper()}", "0") not in ("", "0")
    ),
    "replay",
)
RECORDED = {
    "OPEA_LIVE_LLAMA": "http://127.0.0.1:8080/v1",
    "OPEA_LIVE_EMBED": "http://127.0.0.1:8082/v1",
    "OPEA_LIVE_RERANK": "http://127.0.0.1:8083/v1",
    "OPEA_LIVE_LITELLM": "http://127.0.0.1:4100/v1",
}
"""The base URLs that stand in the cassettes; the default for running servers, too."""
URLS = {
    name: url if MODE == "replay" else os.environ.get(name, url).rstrip("/")
    for name, url in RECORDED.items()
}
KEY = "none" if MODE == "replay" else os.environ.get("OPEA_LIVE_KEY", "sk-local")
RECORDER = make_vcr({URLS[name]: url for name, url in RECORDED.items() if URLS[name]})


@dataclass(frozen=True)
class Server:
    """Where the tests of one file send their requests."""

    name: str
    """The folder of its cassettes."""
    url: str
    embed_url: str
    rerank_url: str = ""
    """Nothing: it has no reranker."""
    model: str = "tiny-chat"
    embed_model: str = "tiny-embed"
    rerank_model: str = "tiny-rerank"


SERVERS = {
    "llama-server": Server(
        "llama-server", URLS["OPEA_LIVE_LLAMA"], URLS["OPEA_LIVE_EMBED"], URLS["OPEA_LIVE_RERANK"]
    ),
    "litellm": Server("litellm", URLS["OPEA_LIVE_LITELLM"], URLS["OPEA_LIVE_LITELLM"]),
}


class Client:
    """An OPEA object used in one of its two ways; every answer is whole when it is given back."""

    def __init__(self, opea: OPEA, runner: asyncio.Runner | None) -> None:
        self.opea = opea
        self._runner = runner

    def chat(self, messages: Any, **options: Any) -> ChatResponse:
        return self._call(self.opea.chat, self.opea.achat, messages, options)

    def complete(self, prompt: Any, **options: Any) -> ChatResponse:
        return self._call(self.opea.complete, self.opea.acomplete, prompt, options)

    def embed(self, inputs: Any, **options: Any) -> EmbeddingResponse:
        return self._call(self.opea.embed, self.opea.aembed, inputs, options)

    def models(self) -> list[ModelInfo]:
        return self.opea.models() if self._runner is None else self._runner.run(self.opea.amodels())

    def stream_chat(self, messages: Any, **options: Any) -> list[ChatChunk]:
        return self._chunks(self.opea.stream_chat, self.opea.astream_chat, messages, options)

    def stream_complete(self, prompt: Any, **options: Any) -> list[ChatChunk]:
        return self._chunks(self.opea.stream_complete, self.opea.astream_complete, prompt, options)

    def responses(self, given: Any, **options: Any) -> Any:
        return self._call(self.opea.responses, self.opea.aresponses, given, options)

    def stream_responses(self, given: Any, **options: Any) -> list[Any]:
        return self._chunks(self.opea.stream_responses, self.opea.astream_responses, given, options)

    def close(self) -> None:
        if self._runner is None:
            self.opea.close()
        else:
            self._runner.run(self.opea.aclose())

    def _call(
        self,
        sync: Callable[..., Any],
        twin: Callable[..., Coroutine[Any, Any, Any]],
        asked: Any,
        options: dict[str, Any],
    ) -> Any:
        return (
            sync(asked, **options)
            if self._runner is None
            else self._runner.run(twin(asked, **options))
        )

    def _chunks(
        self,
        sync: Callable[..., Any],
        twin: Callable[..., Any],
        asked: Any,
        options: dict[str, Any],
    ) -> list[Any]:
        async def collect() -> list[Any]:
            return [chunk async for chunk in twin(asked, **options)]

        return list(sync(asked, **options)) if self._runner is None else self._runner.run(collect())
