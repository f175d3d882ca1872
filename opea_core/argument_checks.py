"""What the constructor of ``OPEA`` refuses at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from opea_core import errors
from opea_core.settings import AIOHTTP


def check_arguments(resources: Any, metadata: Any, hooks: Any) -> None:
    """Raise ConfigurationError for what is no dict, no text or no hook."""
    if not isinstance(resources, str | Mapping | None):
        raise errors.ConfigurationError(
            "The first argument is a dict of resources, or the base URL as a string."
        )
    if isinstance(resources, Mapping) and any(
        str(key).lower().startswith("opea") for key in resources
    ):
        raise errors.ConfigurationError(
            "The first argument holds settings; they are metadata.", "Write OPEA(metadata={...})."
        )
    if not isinstance(metadata, Mapping | None):
        raise errors.ConfigurationError("metadata must be a dict.")
    if not isinstance(hooks, Iterable) or not all(callable(hook) for hook in hooks):
        raise errors.ConfigurationError("hooks= takes a list of callables that take one event.")


def check_borrowed(borrowed: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for HTTP clients that do not go together.

    Also for those that do not go with the options.
    """
    given = [name for name, value in borrowed.items() if value is not None]
    if borrowed["async_http_client"] == AIOHTTP and find_spec(AIOHTTP) is None:
        raise errors.ConfigurationError(
            'async_http_client="aiohttp" needs aiohttp.', "pip install 'opea-core[aiohttp]'"
        )
    for pair in ({"http_client", "transport"}, {"async_http_client", "async_transport"}):
        if pair <= set(given):
            raise errors.ConfigurationError(
                f"{' and '.join(sorted(pair))} both say how to send; give one of them."
            )
    foreign = [name for name in given if borrowed[name] != AIOHTTP]
    if foreign:
        conflict = next(
            (name for name in ("verify", "cert", "proxy") if options.get(name) is not None), None
        )
        if conflict:
            raise errors.ConfigurationError(
                f"{conflict}= does not go with {foreign[0]}=, which has its own.",
                f"Set {conflict} where you make it.",
            )
