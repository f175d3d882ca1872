"""HTTP clients with as little on top as can be: an own splitter of events, and orjson."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

from .targets import KEY, MESSAGES, MODEL, TOOL, Target

_HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
_DONE = b"[DONE]"


class Events:
    """Splits bytes into the data of server-sent events."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """What is whole now."""
        *whole, self.rest = (self.rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        return [event[6:] for event in whole if event.startswith(b"data: ")]


class RawHttpx(Target):
    """httpx as its documentation shows it."""

    venv = "raw"
    imports = ("httpx", "orjson")
    packages = ("httpx", "orjson")

    def __init__(self, url: str, asynchronous: bool) -> None:
        httpx, self.json = import_module("httpx"), import_module("orjson")
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        self.url, self.embeddings = f"{url}/chat/completions", f"{url}/embeddings"
        self.client: Any = (httpx.AsyncClient if asynchronous else httpx.Client)(
            limits=limits, timeout=60, headers=_HEADERS
        )

    def _body(self, **more: Any) -> bytes:
        body: bytes = self.json.dumps({"model": MODEL, "messages": MESSAGES, **more})
        return body

    def _text(self, answer: bytes) -> str:
        text: str = self.json.loads(answer)["choices"][0]["message"]["content"]
        return text

    def chat(self) -> str:
        return self._text(
            self.client.post(self.url, content=self._body()).raise_for_status().content
        )

    async def achat(self) -> str:
        return self._text(
            (await self.client.post(self.url, content=self._body())).raise_for_status().content
        )

    def _deltas(self, **more: Any) -> Iterator[dict[str, Any]]:
        loads, feed = self.json.loads, Events().feed
        with self.client.stream(
            "POST", self.url, content=self._body(stream=True, **more)
        ) as response:
            for data in response.iter_raw():
                for event in feed(data):
                    if event != _DONE:  # and read to the end: only then is the connection kept
                        yield loads(event)["choices"][0]["delta"]

    def stream(self) -> Iterator[str]:
        for delta in self._deltas():
            yield delta.get("content") or ""

    async def astream(self) -> AsyncIterator[str]:
        loads, feed = self.json.loads, Events().feed
        async with self.client.stream(
            "POST", self.url, content=self._body(stream=True)
        ) as response:
            async for data in response.aiter_raw():
                for event in feed(data):
                    if event != _DONE:  # and read to the end: only then is the connection kept
                        yield loads(event)["choices"][0]["delta"].get("content") or ""

    def tools(self) -> str:
        calls = (
            call for delta in self._deltas(tools=[TOOL]) for call in delta.get("tool_calls") or ()
        )
        return "".join(call["function"].get("arguments", "") for call in calls)

    def embed(self, texts: list[str], floats: bool) -> list[list[float]]:  # noqa: ARG002 - numbers are what a server gives
        response = self.client.post(
            self.embeddings, content=self.json.dumps({"model": MODEL, "input": texts})
        )
        return [item["embedding"] for item in self.json.loads(response.content)["data"]]

    def close(self) -> None:
        self.client.close()

    async def aclose(self) -> None:
        await self.client.aclose()


class RawAiohttp(Target):
    """aiohttp, whose parser is written in C: about the limit of what Python can do."""

    venv = "raw"
    imports = ("aiohttp", "orjson")
    packages = ("aiohttp",)
    lacks = frozenset({"S1", "S3s", "S5", "S7", "S10", "S10acc"})

    def __init__(self, url: str, asynchronous: bool) -> None:  # noqa: ARG002 - only async
        aiohttp, self.json = import_module("aiohttp"), import_module("orjson")
        self.url = f"{url}/chat/completions"
        self.client = aiohttp.ClientSession(
            headers=_HEADERS, connector=aiohttp.TCPConnector(limit=1000)
        )

    async def achat(self) -> str:
        async with self.client.post(
            self.url, data=self.json.dumps({"model": MODEL, "messages": MESSAGES})
        ) as response:
            text: str = self.json.loads(await response.read())["choices"][0]["message"]["content"]
            return text

    async def astream(self) -> AsyncIterator[str]:
        loads, feed = self.json.loads, Events().feed
        async with self.client.post(
            self.url, data=self.json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True})
        ) as response:
            async for data in response.content.iter_any():
                for event in feed(data):
                    if event != _DONE:  # and read to the end: only then is the connection kept
                        yield loads(event)["choices"][0]["delta"].get("content") or ""

    async def aclose(self) -> None:
        await self.client.close()
