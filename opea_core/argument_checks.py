"""What the constructor of ``OPEA`` refuses at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opea_core import errors
from opea_core.transport.http.library import check_library


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
    check_library(borrowed["http_library"])
    for pair in ({"http_client", "transport"}, {"async_http_client", "async_transport"}):
        if pair <= set(given):
            raise errors.ConfigurationError(
                f"{' and '.join(sorted(pair))} both say how to send; give one of them."
            )
    foreign = [name for name in given if name != "http_library"]
    if len(foreign) == 2 and "http_library" in given:
        raise errors.ConfigurationError(
            f"http_library= is of OPEA's own connections, and {' and '.join(foreign)} leave none.",
            "Give one or the other.",
        )
    if foreign:
        conflict = next(
            (name for name in ("verify", "cert", "proxy") if options.get(name) is not None), None
        )
        if conflict:
            raise errors.ConfigurationError(
                f"{conflict}= does not go with {foreign[0]}=, which has its own.",
                f"Set {conflict} where you make it.",
            )
