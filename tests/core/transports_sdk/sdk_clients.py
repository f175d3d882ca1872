"""Plain clients of httpx and httpx2 over an OPEA object: the same asked in four ways."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2

from opea_core import OPEA
from opea_core.transports import (
    AsyncHTTPX2Transport,
    AsyncHTTPXTransport,
    HTTPX2Transport,
    HTTPXTransport,
)

NOWHERE = "http://opea.invalid/v1"
CHAT = "/chat/completions"
ASKED = {"model": "scripted-model", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = ASKED | {"stream": True}
SDK = {"x-stainless-lang": "python", "authorization": "Bearer sk-of-the-caller"}
"""What the SDKs send that read ``x-should-retry``."""


@dataclass
class Got:
    """What a client was told."""

    status: int = 0
    headers: Any = None
    pieces: list[bytes] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def said(self) -> dict[str, Any]:
        """The error object of the answer."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


@dataclass(frozen=True)
class Client:
    """One of the four."""

    library: Any
    transport: Any
    is_async: bool

    def ask(
        self,
        opea: OPEA,
        path: str = CHAT,
        body: Any = ASKED,
        *,
        method: str = "POST",
        most: int | None = None,
        base: str = NOWHERE,
        **request: Any,
    ) -> Got:
        """Send one request and read its answer as raw bytes, at most so many pieces of it."""
        options = {name: request.pop(name) for name in ("timeout",) if name in request}
        if body is not None:
            request["content" if isinstance(body, bytes) else "json"] = body
        if self.is_async:
            return asyncio.run(self._aask(opea, method, base + path, most, options, request))
        got = Got()
        try:
            with (
                self.library.Client(transport=self.transport(opea), **options) as client,
                client.stream(method, base + path, **request) as response,
            ):
                got.status, got.headers = response.status_code, response.headers
                for piece in response.iter_raw():
                    got.pieces.append(piece)
                    if len(got.pieces) == most:
                        break
        except Exception as error:  # noqa: BLE001 - what the caller is told is looked at
            got.error = error
        return got

    async def _aask(
        self, opea: OPEA, method: str, url: str, most: int | None, options: Any, request: Any
    ) -> Got:
        got = Got()
        try:
            async with (
                self.library.AsyncClient(transport=self.transport(opea), **options) as client,
                client.stream(method, url, **request) as response,
            ):
                got.status, got.headers = response.status_code, response.headers
                async for piece in response.aiter_raw():
                    got.pieces.append(piece)
                    if len(got.pieces) == most:
                        break
        except Exception as error:  # noqa: BLE001 - what the caller is told is looked at
            got.error = error
        return got


CLIENTS = {
    "httpx": Client(httpx, HTTPXTransport, is_async=False),
    "httpx, async": Client(httpx, AsyncHTTPXTransport, is_async=True),
    "httpx2": Client(httpx2, HTTPX2Transport, is_async=False),
    "httpx2, async": Client(httpx2, AsyncHTTPX2Transport, is_async=True),
}
