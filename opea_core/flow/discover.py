"""Asking servers what they are: model, context window, places."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from opea_core import errors
from opea_core.config import Endpoint
from opea_core.types import ModelInfo

_LISTED = 20


def discover_flow(
    endpoints: Sequence[Endpoint], model: str | None, ask_models: Callable[[str], Any], ask_props: Callable[[str], Any]
) -> Generator[Any, Any, tuple[Endpoint, ...]]:
    """Yields the calls to make, takes answers or errors; returns the endpoints with what was found.

    ``model`` is what the caller set, or None. What a caller set is never changed. An endpoint that does
    not answer is left as it is if another does. Raises the first error if none does, ConfigurationError
    if a model must be named because several are served.
    """
    listings: list[list[ModelInfo] | errors.OPEAError] = []
    for endpoint in endpoints:
        listing = yield ask_models(endpoint.label)
        listings.append(listing)
    answered = [listing for listing in listings if isinstance(listing, list)]
    if not answered:
        raise next(listing for listing in listings if isinstance(listing, errors.OPEAError))
    served = [
        _chosen(endpoint, listing, model) if isinstance(listing, list) else None
        for endpoint, listing in zip(endpoints, listings, strict=True)
    ]
    fallback = next((name for name in served if name), None)
    found = []
    for endpoint, listing, name in zip(endpoints, listings, served, strict=True):
        changes: dict[str, Any] = {}
        if endpoint.model is None and model is None:
            changes["model"] = name or fallback
        if isinstance(listing, list):
            entry = _entry(listing, name)
            if entry is not None and entry.context_length and endpoint.context_window is None:
                changes["context_window"] = entry.context_length
            if entry is not None and isinstance(entry.raw.get("meta"), dict) and "max_concurrent" not in endpoint.model_fields_set:
                slots = _slots((yield ask_props(endpoint.label)))
                changes |= {"max_concurrent": slots} if slots else {}
        found.append(endpoint.replace(**changes) if changes else endpoint)
    return tuple(found)


def _chosen(endpoint: Endpoint, listing: list[ModelInfo], model: str | None) -> str | None:
    """The model that is used there: the one that was set, or the only one there is."""
    name = endpoint.model or model
    if name is not None:
        return name
    if not listing:
        raise errors.ConfigurationError(f"{endpoint.label} lists no model.", "Pass model=, or load one on the server.")
    if len(listing) > 1:
        names = ", ".join(entry.id for entry in listing[:_LISTED]) + (", ..." if len(listing) > _LISTED else "")
        raise errors.ConfigurationError(
            f"No model was given, and {endpoint.label} serves several: {names}.", f'Pass model="{listing[0].id}" or another one.'
        )
    return listing[0].id


def _entry(listing: list[ModelInfo], name: str | None) -> ModelInfo | None:
    """What is listed about a model; a server with one model serves it under any name."""
    same = next((entry for entry in listing if entry.id == name), None)
    return same or (listing[0] if len(listing) == 1 else None)


def _slots(props: Any) -> int | None:
    """How many requests llama.cpp's server works on at once."""
    slots = props.get("total_slots") if isinstance(props, dict) else None
    return slots if isinstance(slots, int) and not isinstance(slots, bool) and slots > 0 else None
