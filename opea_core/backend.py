"""The interface that all backends share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.call_options import CallOptions, ChatOptions, RequestOptions
    from opea_core.types import Messages


class BaseApiBackend(ABC):
    """A service that answers chats: what callers may rely on whichever backend they hold.

    A backend must implement the synchronous methods; the async twins (``a`` in front) run them in a
    thread unless a backend has something better.
    """

    def __init__(
        self, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.resources = resources or {}
        self.metadata = metadata or {}

    @abstractmethod
    def create_endpoint_handler(self, endpoint_url: str | None = None) -> Callable[..., Any]:
        """A callable ``handler(data) -> response`` for one endpoint."""

    @abstractmethod
    def test_endpoint(self, endpoint_url: str | None = None) -> bool:
        """Whether an endpoint gives a real answer; never raises."""

    @abstractmethod
    def make_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Unpack[CallOptions]
    ) -> Any:
        """Send one request body; gives the service's answer."""

    @abstractmethod
    def make_stream_request(
        self, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Iterator[Any]:
        """Send one request body; gives normalised chunks."""

    @abstractmethod
    def chat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> Any:
        """One chat completion."""

    @abstractmethod
    def stream_chat(
        self, messages: Messages | str, **options: Unpack[ChatOptions]
    ) -> Iterator[Any]:
        """One chat completion, in chunks."""

    @abstractmethod
    def is_compatible_model(self, model: str) -> bool:
        """Whether this backend is likely to serve the model."""

    async def atest_endpoint(self, endpoint_url: str | None = None) -> bool:
        """``test_endpoint`` for async code."""
        return bool(await _in_thread(self.test_endpoint, endpoint_url))

    async def amake_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Unpack[CallOptions]
    ) -> Any:
        """``make_post_request`` for async code."""
        return await _in_thread(self.make_post_request, data, api_key, **options)

    async def achat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> Any:
        """``chat`` for async code."""
        return await _in_thread(self.chat, messages, **options)

    def amake_stream_request(
        self, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> AsyncIterator[Any]:
        """``make_stream_request`` for async code."""
        return _in_threads(self.make_stream_request(data, **options))

    def astream_chat(
        self, messages: Messages | str, **options: Unpack[ChatOptions]
    ) -> AsyncIterator[Any]:
        """``stream_chat`` for async code."""
        return _in_threads(self.stream_chat(messages, **options))


async def _in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    import asyncio  # costs as much as httpx: only who is in a loop pays, and has it already

    return await asyncio.to_thread(function, *args, **options)


async def _in_threads(chunks: Iterator[Any]) -> AsyncIterator[Any]:
    end = object()
    while (chunk := await _in_thread(next, chunks, end)) is not end:
        yield chunk
