"""The library that HTTP is spoken with: httpx or httpx2.

Both have the same interface, each with classes of its own, and a client of one takes no request of
the other. So whatever makes a request or a connection is told with which.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from opea_core.errors import ConfigurationError

LibraryName = Literal["httpx", "httpx2", "aiohttp"]
AIOHTTP = "aiohttp"
"""As ``http_library=``: connections of async calls by aiohttp, of sync ones as usual."""
_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}
"""The libraries in the order of preference, and the package that each has its connections from."""
NAMES = (*_CORES, AIOHTTP)


@dataclass(frozen=True, slots=True, eq=False)  # one object each; looked up with every call
class HTTPLibrary:
    """The modules of one library; their types are those of httpx, which both have in common."""

    http: Any
    """``httpx`` or ``httpx2``."""
    core: Any
    """``httpcore`` or ``httpcore2``."""


@lru_cache
def _loaded(name: str) -> HTTPLibrary:
    return HTTPLibrary(import_module(name), import_module(_CORES[name]))


def load_library(name: str | None = None) -> HTTPLibrary:
    """The library of this name; the one that is installed for None and "aiohttp".

    Raises ConfigurationError if it is not installed.
    """
    wanted = (name,) if name in _CORES else tuple(_CORES)
    for each in wanted:
        try:
            return _loaded(each)
        except ImportError:
            continue
    raise ConfigurationError(
        f"{' or '.join(wanted)} is not installed.", f"pip install {wanted[-1]}"
    )


def used_libraries() -> list[HTTPLibrary]:
    """Those that were imported: objects and exceptions come from no other."""
    return [_loaded(name) for name in _CORES if sys.modules.get(name) is not None]


def transport_errors() -> tuple[type[Exception], ...]:
    """``TransportError`` of each."""
    found: list[type[Exception]] = [each.http.TransportError for each in used_libraries()]
    return tuple(found)


def check_library(name: object) -> None:
    """Raise ConfigurationError for what is not the name of a library that is installed."""
    if name is None:
        return
    if name not in NAMES:
        raise ConfigurationError(
            f"http_library= takes one of {', '.join(map(repr, NAMES))}, not {name!r}."
        )
    if not _is_installed(str(name)):
        raise ConfigurationError(
            f"http_library={name!r} needs {name}.", f"pip install 'opea-core[{name}]'"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # set to None in ``sys.modules``, which forbids its import
        return False
