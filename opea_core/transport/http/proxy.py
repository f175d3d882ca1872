"""Which proxy an endpoint's connections go through."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.transport.http.library import HTTPLibrary
from opea_core.transport.http.no_proxy import goes_direct

if TYPE_CHECKING:
    import httpx


def choose_proxy(endpoint: Endpoint) -> str | None:
    """The proxy of an endpoint: its own, else the environment's when ``trust_env``.

    None for none.
    """
    if endpoint.proxy is not None or not endpoint.trust_env:
        return endpoint.proxy
    split = urlsplit(endpoint.url.origin)
    proxies = getproxies()
    found = proxies.get(split.scheme) or proxies.get("all")
    if not found or goes_direct(
        split.hostname or "",
        split.port or (443 if split.scheme == "https" else 80),
        proxies.get("no"),
    ):
        return None
    return found if "://" in found else f"http://{found}"


def proxy_url(proxy: str | None, library: HTTPLibrary) -> httpx.Proxy | None:
    """The proxy as the library has it, or ConfigurationError."""
    if proxy is None:
        return None
    try:
        found: httpx.Proxy = library.http.Proxy(proxy)
        return found
    except (ValueError, library.http.InvalidURL) as error:
        raise ConfigurationError(
            "The proxy is no usable URL (it is not shown, as it may hold a password).",
            f"{type(error).__name__}",
        ) from None
