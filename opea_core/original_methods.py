"""The method names of the original JavaScript backend, as one-liners over ``opea.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.config import BreakerPolicy, RetryPolicy

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.call_options import CallOptions, RequestOptions
    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.types import ChatChunk, Json

_PROBE = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


class OriginalMethods:
    """Requests by URL or by endpoint id, dicts in and dicts out."""

    _engine: Engine

    def create_endpoint_handler(self, endpoint_url: str | None = None) -> Callable[..., Json]:
        """A callable ``handler(data, **options) -> response dict`` for an endpoint URL."""
        return lambda data, **options: self.make_post_request_opea(endpoint_url, data, **options)

    def acreate_endpoint_handler(
        self, endpoint_url: str | None = None
    ) -> Callable[..., Awaitable[Json]]:
        """The async twin of ``create_endpoint_handler``."""
        return lambda data, **options: self.amake_post_request_opea(endpoint_url, data, **options)

    def make_post_request_opea(
        self, endpoint_url: str | None, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Json:
        """Post a body to an endpoint URL; gives the server's JSON.

        ``api_key=`` is the key for this URL.

        A URL of one of our origins uses that endpoint's key and limits; any other gets no key of
        ours.
        """
        core, call = self._request(endpoint_url, data, options, stream=False)
        return _raw(core.run(call))

    async def amake_post_request_opea(
        self, endpoint_url: str | None, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Json:
        """The async twin of ``make_post_request_opea``."""
        core, call = self._request(endpoint_url, data, options, stream=False)
        return _raw(await core.arun(call))

    def make_stream_request_opea(
        self, endpoint_url: str | None, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Iterator[Json]:
        """Post a body to an endpoint URL; gives the server's events as dicts, untouched."""
        core, call = self._request(endpoint_url, data, options, stream=True)
        return _raw_chunks(core, call)

    def amake_stream_request_opea(
        self, endpoint_url: str | None, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> AsyncIterator[Json]:
        """The async twin of ``make_stream_request_opea``."""
        core, call = self._request(endpoint_url, data, options, stream=True)
        return _araw_chunks(core, call)

    def make_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Unpack[CallOptions]
    ) -> Json:
        """Post a body to the configured endpoint; gives the server's JSON."""
        return self.make_post_request_opea(None, data, api_key=api_key, **options)

    async def amake_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Unpack[CallOptions]
    ) -> Json:
        """The async twin of ``make_post_request``."""
        return await self.amake_post_request_opea(None, data, api_key=api_key, **options)

    def make_stream_request(
        self, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Iterator[Json]:
        """Post a body to the configured endpoint.

        Gives normalised chunks as dicts, the last of type ``end``.
        """
        core, call = self._request(None, data, options, stream=True)
        return _plain_chunks(core, call)

    def amake_stream_request(
        self, data: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> AsyncIterator[Json]:
        """The async twin of ``make_stream_request``."""
        core, call = self._request(None, data, options, stream=True)
        return _aplain_chunks(core, call)

    def make_request_with_endpoint(
        self, endpoint_id: str, data: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> Json:
        """Post a body through an endpoint of ``create_endpoint``, or a configured one by label."""
        core, call = self._by_id(endpoint_id, data, options)
        return _raw(core.run(call))

    async def amake_request_with_endpoint(
        self, endpoint_id: str, data: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> Json:
        """The async twin of ``make_request_with_endpoint``."""
        core, call = self._by_id(endpoint_id, data, options)
        return _raw(await core.arun(call))

    def test_endpoint(self, endpoint_url: str | None = None) -> bool:
        """Whether a real answer comes (to "Hello", 5 tokens).

        Never raises; ``endpoint_problem`` says why not.

        Without a URL, whether any of the configured endpoints answers. Sent at once, past queue,
        breaker and retries, and not counted.
        """
        return self.endpoint_problem(endpoint_url) is None

    async def atest_endpoint(self, endpoint_url: str | None = None) -> bool:
        """The async twin of ``test_endpoint``."""
        return await self.aendpoint_problem(endpoint_url) is None

    def endpoint_problem(self, endpoint_url: str | None = None) -> Exception | None:
        """What ``test_endpoint`` found wrong, or None. Never raises."""
        try:
            core, call = self._probe(endpoint_url)
            core.run(call)
        except Exception as error:  # noqa: BLE001 - never raises: the reason is given back
            return self._tell_problem(error)
        return None

    async def aendpoint_problem(self, endpoint_url: str | None = None) -> Exception | None:
        """The async twin of ``endpoint_problem``."""
        try:
            core, call = self._probe(endpoint_url)
            await core.arun(call)
        except Exception as error:  # noqa: BLE001 - never raises: the reason is given back
            return self._tell_problem(error)
        return None

    def _request(
        self, url: str | None, data: Mapping[str, Any], options: RequestOptions, stream: bool
    ) -> tuple[Engine, Call]:
        key = options.pop("api_key", None)
        return self._at_url(url, lambda core: core.calls.data(data, options, stream), key)

    def _by_id(
        self, endpoint_id: str, data: Mapping[str, Any], options: CallOptions
    ) -> tuple[Engine, Call]:
        core = self._engine_of(endpoint_id)
        call = core.calls.data(data, options, stream=False)
        if core is self._engine:
            call.endpoint = endpoint_id
        return core, call

    def _probe(self, url: str | None) -> tuple[Engine, Call]:
        """A call that is sent at once and counted nowhere: through limits of its own, used once."""
        core, call = self._at_url(url, lambda core: core.calls.data(_PROBE, {}, stream=False))
        others = len(core.settings.endpoints) - 1  # each is tried once, until one answers
        call.spec.retry = RetryPolicy(max_retries=others, initial_delay=0.0)
        return core.derived(core.settings.replace(breaker=BreakerPolicy(enabled=False))), call

    def _tell_problem(self, error: Exception) -> Exception:
        import time

        from opea_core.flow import telemetry

        reason = error.message if isinstance(error, errors.OPEAError) else type(error).__name__
        self._engine.emitter(telemetry.connection_test_failed(time.monotonic_ns(), reason))
        return error

    if TYPE_CHECKING:

        def _at_url(
            self, url: str | None, make: Any, api_key: str | None = None
        ) -> tuple[Engine, Call]: ...

        def _engine_of(self, endpoint_id: str) -> Engine: ...


def _raw(answer: Any) -> Json:
    """The server's JSON of an answer."""
    raw: Json = answer.raw if hasattr(answer, "raw") else answer
    return raw


def _plain(chunk: ChatChunk) -> Json:
    """A chunk in the original's shape."""
    plain: Json = {
        "content": chunk.content,
        "role": chunk.role,
        "type": "end" if chunk.done else chunk.type,
        "done": chunk.done,
    }
    if chunk.reasoning:
        plain["reasoning"] = chunk.reasoning
    if chunk.tool_calls:
        plain["tool_calls"] = [
            {"index": c.index, "id": c.id, "name": c.name, "arguments": c.arguments}
            for c in chunk.tool_calls
        ]
    if chunk.finish_reason:
        plain["finish_reason"] = chunk.finish_reason
    if chunk.usage is not None:
        plain["usage"] = chunk.usage.raw
    return plain


def _raw_chunks(core: Engine, call: Call) -> Iterator[Json]:
    with core.stream(call) as stream:
        yield from (chunk.raw for chunk in stream if chunk.raw)


async def _araw_chunks(core: Engine, call: Call) -> AsyncIterator[Json]:
    async with core.astream(call) as stream:
        async for chunk in stream:
            if chunk.raw:
                yield chunk.raw


def _plain_chunks(core: Engine, call: Call) -> Iterator[Json]:
    with core.stream(call) as stream:
        yield from map(_plain, stream)


async def _aplain_chunks(core: Engine, call: Call) -> AsyncIterator[Json]:
    async with core.astream(call) as stream:
        async for chunk in stream:
            yield _plain(chunk)
