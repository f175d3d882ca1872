"""The openai SDK's own clients over an OPEA object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opea_core.errors import ConfigurationError
from opea_core.opea import OPEA

if TYPE_CHECKING:
    import openai  # pyright: ignore[reportMissingImports]

NOWHERE = "http://opea.invalid/v1"
"""A base URL that no name server knows: without the transport nothing is sent anywhere."""
_NO_KEY = "the-key-is-that-of-the-endpoint"
_OURS = ("api_key", "base_url", "http_client")


def openai_client(opea: OPEA, **options: Any) -> openai.OpenAI:
    """``openai.OpenAI`` whose calls go through ``opea``; closing it does not close ``opea``.

    ``options`` are those of ``openai.OpenAI`` except its key, URL and HTTP client, which are those
    of ``opea``. Raises ConfigurationError for these, and where openai is not installed.
    """
    sdk = _sdk(options)
    if _speaks_httpx2(sdk):
        import httpx2

        from opea_core.transports.httpx2_transports import HTTPX2Transport

        http: Any = httpx2.Client(transport=HTTPX2Transport(opea))
    else:
        import httpx

        from opea_core.transports.httpx_transports import HTTPXTransport

        http = httpx.Client(transport=HTTPXTransport(opea))
    client: openai.OpenAI = sdk.OpenAI(
        api_key=_NO_KEY, base_url=NOWHERE, http_client=http, **options
    )
    return client


def async_openai_client(opea: OPEA, **options: Any) -> openai.AsyncOpenAI:
    """``openai.AsyncOpenAI`` whose calls go through ``opea``: ``openai_client`` for async code."""
    sdk = _sdk(options)
    if _speaks_httpx2(sdk):
        import httpx2

        from opea_core.transports.httpx2_transports import AsyncHTTPX2Transport

        http: Any = httpx2.AsyncClient(transport=AsyncHTTPX2Transport(opea))
    else:
        import httpx

        from opea_core.transports.httpx_transports import AsyncHTTPXTransport

        http = httpx.AsyncClient(transport=AsyncHTTPXTransport(opea))
    client: openai.AsyncOpenAI = sdk.AsyncOpenAI(
        api_key=_NO_KEY, base_url=NOWHERE, http_client=http, **options
    )
    return client


def _sdk(options: dict[str, Any]) -> Any:
    """The module openai."""
    given = next((name for name in _OURS if name in options), None)
    if given is not None:
        raise ConfigurationError(
            f"{given}= of the openai client is that of the OPEA object.",
            "Give it to OPEA(...) instead.",
        )
    try:
        import openai  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigurationError(
            "openai_client needs the openai SDK.", "pip install openai"
        ) from None
    return openai


def _speaks_httpx2(sdk: Any) -> bool:
    """Whether this version of the SDK is made of httpx2: openai 3 and newer."""
    made_of = {cls.__module__.partition(".")[0] for cls in sdk.DefaultHttpxClient.__mro__}
    return "httpx2" in made_of
