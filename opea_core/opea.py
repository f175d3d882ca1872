"""``OPEA``: the backend a user holds."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from opea_core import errors
from opea_core.argument_checks import check_arguments, check_borrowed
from opea_core.backend import BaseApiBackend
from opea_core.batch.methods import ManyMethods
from opea_core.bounded_dict import Bounded
from opea_core.config import Endpoint
from opea_core.doctor.methods import DiagnoseMethods
from opea_core.documents import DocumentMethods
from opea_core.endpoint_methods import EndpointMethods
from opea_core.lazy_imports import importing
from opea_core.object_options import Options
from opea_core.original_methods import OriginalMethods
from opea_core.responses_methods import ResponsesMethods
from opea_core.settings import Settings, resolve
from opea_core.transport.http.library import AIOHTTP
from opea_core.urls import DEFAULT_URL

if TYPE_CHECKING:
    from typing import Unpack

    import httpx
    import httpx2

    from opea_core import events
    from opea_core.call_options import ChatOptions, CompletionOptions
    from opea_core.engine import Engine
    from opea_core.flow.embed import Sizes
    from opea_core.transport.http.library import LibraryName
    from opea_core.transport.stream import AsyncChatStream, ChatStream
    from opea_core.types import ChatResponse, Messages

_MAX_FOREIGN = 64
_MOST_LISTED = 10_000


class OPEA(
    DiagnoseMethods,
    EndpointMethods,
    DocumentMethods,
    ManyMethods,
    OriginalMethods,
    ResponsesMethods,
    BaseApiBackend,
):
    """One object that talks to any server speaking OpenAI's chat-completions protocol.

    Build one per program: its queue, limits, breakers and statistics hold for all threads and all
    event loops that use it. Use it as a context manager, or call ``close`` / ``aclose``.

    Args:
        resources: kept for backends that need them; a string is taken as ``base_url``.
        metadata: the original's dict (``opea_api_url``, ``opea_api_key``, ``opea_model`` in either
            spelling; ``timeout`` and ``initial_retry_delay`` in MILLISECONDS there).
        hooks: callables that get every event.
        http_client, async_http_client (or http_async_client), transport, async_transport: your own
            client or transport of httpx or httpx2, used as it is and never closed by us.
        http_library: what OPEA's own connections are made of: "httpx" (the default), "httpx2"
            (the default where only that is installed), or "aiohttp" for async calls, which suits
            thousands of streams in one process. Extras ``[httpx2]`` and ``[aiohttp]``.
        options: see ``Options`` for every keyword; times are in SECONDS. Keywords win over
            metadata, over the environment (OPEA_API_URL, OPEA_API_KEY, OPEA_MODEL, OPEA_TIMEOUT in
            seconds), over the defaults.

    Raises:
        ConfigurationError: at once, for anything that can never work; nothing is sent.
    """

    def __init__(
        self,
        resources: Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        hooks: Iterable[events.Hook] = (),
        http_client: httpx.Client | httpx2.Client | None = None,
        async_http_client: httpx.AsyncClient | httpx2.AsyncClient | None = None,
        http_async_client: httpx.AsyncClient | httpx2.AsyncClient | None = None,
        transport: httpx.BaseTransport | httpx2.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport | None = None,
        http_library: LibraryName | None = None,
        **options: Unpack[Options],
    ) -> None:
        hooks = tuple(hooks) if isinstance(hooks, Iterable) else hooks
        given: dict[str, Any] = dict(options)
        check_arguments(resources, metadata, hooks)
        if isinstance(resources, str):
            if "base_url" in given:
                raise errors.ConfigurationError(
                    "The first argument and base_url= both give the URL; give one of them."
                )
            given["base_url"], resources = resources, None
        super().__init__(resources, metadata)
        borrowed = {
            "http_client": http_client,
            "async_http_client": async_http_client or http_async_client,
            "transport": transport,
            "async_transport": async_transport,
            "http_library": http_library,
        }
        if borrowed["async_http_client"] == AIOHTTP:  # as it was asked for before http_library=
            borrowed |= {"async_http_client": None, "http_library": http_library or AIOHTTP}
        check_borrowed(borrowed, given)
        self._borrowed: dict[str, Any] = {
            name: value for name, value in borrowed.items() if value is not None
        }
        self._setup(resolve(self.metadata, given, os.environ), hooks)

    _made_by_adapter: object = None
    """What an adapter made it of, for the copies of a model; None for the user's own."""

    def _setup(self, settings: Settings, hooks: tuple[events.Hook, ...]) -> None:
        with importing:
            # With the first object: most of the import is this and the HTTP client.
            from opea_core import events, log
            from opea_core.engine import Engine
            from opea_core.transport.drivers.pair import Drivers

        log.attach_from_env()
        drivers = Drivers(
            **self._borrowed, origins=[endpoint.url.origin for endpoint in settings.endpoints]
        )
        self._engine = Engine(settings, events.Emitter(hooks, log.LogHook()), drivers)
        self._created: dict[str, Engine] = {}
        self._foreign: Bounded[tuple[str, str | None], Engine] = Bounded(_MAX_FOREIGN)
        self._listed: Bounded[str, None] = Bounded(_MOST_LISTED)
        self._batches: Bounded[str, Sizes] = Bounded(_MAX_FOREIGN)

    # --- chat and completions

    def chat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatResponse:
        """One chat completion.

        ``messages`` is a list of message dicts, or one string as the user's message. Options go
        into the body as they are (``model``, ``temperature``, ``tools``, ``response_format``, ``n``
        ...), except the reserved ones: ``timeout``, ``deadline``, ``max_retries``, ``priority``,
        ``request_id``, ``endpoint``, ``recovery_wait``, ``extra_headers``, ``extra_query``,
        ``extra_body``. Raises an OPEAError.
        """
        response: ChatResponse = self._engine.run(
            self._engine.calls.chat(messages, options, stream=False)
        )
        return response

    async def achat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatResponse:
        """``chat`` for async code."""
        response: ChatResponse = await self._engine.arun(
            self._engine.calls.chat(messages, options, stream=False)
        )
        return response

    def stream_chat(self, messages: Messages | str, **options: Unpack[ChatOptions]) -> ChatStream:
        """One chat completion in chunks; the request goes out at the first ``next`` or ``with``."""
        return self._engine.stream(self._engine.calls.chat(messages, options, stream=True))

    def astream_chat(
        self, messages: Messages | str, **options: Unpack[ChatOptions]
    ) -> AsyncChatStream:
        """``stream_chat`` for async code; no ``await`` before ``async for``."""
        return self._engine.astream(self._engine.calls.chat(messages, options, stream=True))

    def complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatResponse:
        """One legacy completion of a prompt (``/completions``); the text is ``response.text``."""
        response: ChatResponse = self._engine.run(
            self._engine.calls.completion(prompt, options, stream=False)
        )
        return response

    async def acomplete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatResponse:
        """``complete`` for async code."""
        response: ChatResponse = await self._engine.arun(
            self._engine.calls.completion(prompt, options, stream=False)
        )
        return response

    def stream_complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> ChatStream:
        """One legacy completion in chunks."""
        return self._engine.stream(self._engine.calls.completion(prompt, options, stream=True))

    def astream_complete(
        self, prompt: str | list[Any], **options: Unpack[CompletionOptions]
    ) -> AsyncChatStream:
        """``stream_complete`` for async code."""
        return self._engine.astream(self._engine.calls.completion(prompt, options, stream=True))

    # --- models

    @property
    def model(self) -> str | None:
        """The model that calls use which name none.

        None if none was given and none was discovered.
        """
        settings = self._engine.settings
        return settings.endpoints[0].model or (settings.model if settings.model_given else None)

    @property
    def context_window(self) -> int | None:
        """Tokens every endpoint takes, as far as it was set or discovered."""
        return min(
            (e.context_window for e in self.endpoints if e.context_window is not None), default=None
        )

    def is_compatible_model(self, model: str) -> bool:
        """Whether the name has a known prefix, is configured, or was listed by the server."""
        if not isinstance(model, str) or not model:
            return False
        settings = self._engine.settings
        configured = {e.model for e in settings.endpoints} | (
            {settings.model} if settings.model_given else set()
        )
        return (
            model.lower().startswith(settings.compatible_prefixes)
            or model in configured
            or model in self._listed
        )

    # --- the object itself

    def _lend_client_to(self, name: str, origins: Iterable[str]) -> None:
        """Say for which origins the HTTP client of this name was lent, in place of its own."""
        drivers = self._engine.drivers
        (drivers.async_lent if name == "async_http_client" else drivers.lent).to(origins)

    def add_hook(self, hook: events.Hook) -> None:
        """Tell this callable every event from now on."""
        if not callable(hook):
            raise errors.ConfigurationError("A hook is a callable that takes one event.")
        self._engine.emitter.hooks = (*self._engine.emitter.hooks, hook)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The configured endpoints."""
        return self._engine.settings.endpoints

    @property
    def settings(self) -> Settings:
        """Everything this object was made of."""
        return self._engine.settings

    def close(self) -> None:
        """End everything: waiting and running calls and open streams get ClientClosed.

        Twice does nothing more.
        """
        self._engine.drivers.close()

    async def aclose(self) -> None:
        """The same; closes the connections of the running loop gracefully."""
        await self._engine.drivers.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        engine = self._engine
        labels = ", ".join(e.label for e in engine.settings.endpoints)
        model = engine.shown(engine.settings.endpoints[0], self.model or engine.settings.model)
        return f"OPEA({labels}; model={model!r})"

    def __copy__(self) -> OPEA:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> OPEA:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        parts = {
            **self._borrowed,
            "hooks": self._engine.emitter.hooks,
            "api_key": [e.api_key for e in self.endpoints],
            "verify": [e.verify for e in self.endpoints],
        }
        for name, value in parts.items():
            try:
                pickle.dumps(value)
            except Exception as error:  # noqa: BLE001 - pickle raises whatever the object raises
                raise errors.ConfigurationError(
                    f"This OPEA object cannot be pickled because of {name}="
                    f" ({type(error).__name__}).",
                    "Use something a worker process can rebuild.",
                ) from None
        return _restore, (
            type(self),
            self.settings,
            self._engine.emitter.hooks,
            self._borrowed,
            self.resources,
            self.metadata,
        )


def _restore(
    cls: type[OPEA],
    settings: Settings,
    hooks: tuple[events.Hook, ...],
    borrowed: dict[str, Any],
    resources: Any,
    metadata: Any,
) -> OPEA:
    opea = cls.__new__(cls)
    BaseApiBackend.__init__(opea, resources, metadata)
    opea._borrowed = borrowed
    opea._setup(settings, hooks)
    return opea


__all__ = ["DEFAULT_URL", "OPEA"]
