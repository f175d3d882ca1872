"""OPEA under code that brings its own SDK: transports for httpx and httpx2, and openai's clients.

``httpx.Client(transport=HTTPXTransport(opea))`` and its async twin send every call of the protocol
through the queue, limits, breakers, retries and failover of an ``OPEA`` object. ``HTTPX2Transport``
and ``AsyncHTTPX2Transport`` do the same for httpx2. ``openai_client`` and ``async_openai_client``
give the openai SDK's own objects made like that.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from opea_core.lazy_imports import names as _names

if _TYPE_CHECKING:
    from opea_core.transports.httpx2_transports import AsyncHTTPX2Transport, HTTPX2Transport
    from opea_core.transports.httpx_transports import AsyncHTTPXTransport, HTTPXTransport
    from opea_core.transports.openai_clients import async_openai_client, openai_client

__all__ = [
    "AsyncHTTPX2Transport",
    "AsyncHTTPXTransport",
    "HTTPX2Transport",
    "HTTPXTransport",
    "async_openai_client",
    "openai_client",
]

if not _TYPE_CHECKING:
    __getattr__, __dir__ = _names(
        __name__,
        {
            "httpx2_transports": ("AsyncHTTPX2Transport", "HTTPX2Transport"),
            "httpx_transports": ("AsyncHTTPXTransport", "HTTPXTransport"),
            "openai_clients": ("async_openai_client", "openai_client"),
        },
    )
