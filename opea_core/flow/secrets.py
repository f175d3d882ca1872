"""Which values must not be shown of an endpoint and its requests; ``wire/redact`` finds them."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from opea_core.urls import BaseURL
from opea_core.wire.redact import Redactor

_SCHEMES = frozenset({"bearer", "token", "apikey", "api-key", "key"})


def redactor(
    url: BaseURL,
    keys: Iterable[str | None],
    headers: Iterable[str],
    query: Iterable[Any],
    proxy: str | None,
) -> Redactor:
    """Takes secrets out of any text.

    The keys, the values of headers and query, and the credentials of URLs.
    """
    sent = set(headers)
    secrets = {
        *sent,
        *(part for value in sent for part in _parts(value)),
        *map(str, query),
        *(value for _, value in url.query),
    }
    given = (key for key in keys if key)
    return _made(frozenset((*secrets, *given, *user_info(url), *_proxy_secrets(proxy))))


def user_info(url: BaseURL) -> tuple[str, ...]:
    """User name, password and both as Basic credentials; nothing if the URL has none."""
    return () if url.user is None else _credentials(url.user, url.password or "")


# To spell each secret in every way is too dear for each call (decision 9).
@lru_cache(maxsize=256)
def _made(secrets: frozenset[str]) -> Redactor:
    return Redactor(secrets)


def _parts(value: str) -> tuple[str, ...]:
    """What of a header's value is secret by itself.

    The credentials behind a scheme, the values of cookies.
    """
    scheme, _, credentials = value.partition(" ")
    # A server may echo the password alone, without its user or encoded with it.
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            both = base64.b64decode(credentials).decode()
            return credentials, *both.partition(":")[::2]
    if scheme.lower() in _SCHEMES:
        return (credentials.strip(),)
    return (
        tuple(cookie.partition("=")[2].strip() for cookie in value.split(";"))
        if "=" in value
        else ()
    )


@lru_cache(maxsize=64)
def _proxy_secrets(proxy: str | None) -> tuple[str, ...]:
    """The user and the password of a proxy's URL."""
    if not proxy or "@" not in proxy:
        return ()
    try:
        split = urlsplit(proxy)
    except ValueError:
        return ()
    return _credentials(unquote(split.username or ""), unquote(split.password or ""))


def _credentials(user: str, password: str) -> tuple[str, str, str]:
    return user, password, base64.b64encode(f"{user}:{password}".encode()).decode()
