"""Keys and headers that can be sent; what is wrong with them is said without showing them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from pydantic import (
    SecretStr,
)

from opea_core.errors import ConfigurationError

KeySource: TypeAlias = Callable[[], str | None] | Callable[[], Awaitable[str | None]]
"""A function that gives the key, sync or async; asked before each attempt."""


def check_key(value: Any) -> Any:
    """A key as it is kept: a secret, or a function that gives one; "" is none."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        check_header_value("api_key", value)
        return SecretStr(value) if value else None
    if value is None or callable(value):
        return value
    raise ValueError("must be a string or a function that gives one")


def checked_key(key: Any) -> str | None:
    """A key given for one call, or ConfigurationError; its value is never shown."""
    found = check_key(key) if isinstance(key, str | SecretStr | None) else key
    if not isinstance(found, SecretStr | None):
        raise ConfigurationError("api_key of a call must be a string (its value is not shown).")
    return None if found is None else found.get_secret_value()


def check_header_value(name: str, value: str) -> None:
    """Raise ConfigurationError unless ``value`` can stand in an HTTP header; never shows it."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string (its value is not shown).")
    problem = None
    if value != value.strip():
        problem = "begins or ends with a blank or a line break"
    elif not value.isascii():
        problem = "holds characters outside ASCII"
    elif not value.isprintable():
        problem = "holds a control character or a line break"
    if problem:
        raise ConfigurationError(
            f"{name} {problem} (its value is not shown).", "Copy it again without extra characters."
        )


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


_FRAMING = "How long a body is and how it is sent is said by what sends it; leave the header out."


_KEPT = "Whether connections are kept is decided here; leave the header out."


_PROXY = "Give the proxy's user and password in its URL: proxy='http://user:password@host:port'."


NOT_YOURS: Mapping[str, str] = {
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "te": _FRAMING,
    "trailer": _FRAMING,
    "expect": "No server is asked before the body is sent; leave the header out.",
    "connection": _KEPT,
    "keep-alive": _KEPT,
    "proxy-connection": _KEPT,
    "upgrade": "HTTP/1.1 is spoken here; leave the header out.",
    "http2-settings": "HTTP/1.1 is spoken here; leave the header out.",
    "proxy-authorization": _PROXY,
    "proxy-authenticate": _PROXY,
}
"""Headers that belong to the connection or to the form of the body, and what to do instead."""


def check_headers(what: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as a dict, or ConfigurationError naming the one that cannot be sent."""
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"{what} must be a mapping of names to strings.")
    for name, value in headers.items():
        if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
            raise ConfigurationError(
                f"{what}: a header name is not valid.",
                "Names are ASCII letters, digits and dashes.",
            )
        if name.lower() in NOT_YOURS:
            raise ConfigurationError(
                f"{what}: {name.lower()} cannot be set.", NOT_YOURS[name.lower()]
            )
        check_header_value(f"{what}[{name!r}]", value)
    names = Counter(name.lower() for name in headers)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ConfigurationError(
            f"{what}: {twice} is given twice.", "Names are compared without case; give one of them."
        )
    return dict(headers)
