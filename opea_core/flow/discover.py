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
    named = [_chosen(e, listing, model) if isinstance(listing, list) else None for e, listing in zip(endpoints, listings, strict=True)]
    only = next((name for name in named if name), None)
    found = []
    for endpoint, listing, name in zip(endpoints, listings, named, strict=True):
        changes: dict[str, Any] = {"model": name or only} if endpoint.model is None and model is None else {}
        entry = _entry(listing, name) if isinstance(listing, list) else None
        if entry is not None:
            places = (yield ask_props(endpoint.label)) if _may_tell_places(endpoint, entry) else None
            changes |= _told(endpoint, entry, places)
        found.append(endpoint.replace(**changes) if changes else endpoint)
    return tuple(found)


def _may_tell_places(endpoint: Endpoint, entry: ModelInfo) -> bool:
    """Whether the server looks like llama.cpp's, and nobody said how many calls it takes at once."""
    return isinstance(entry.raw.get("meta"), dict) and "max_concurrent" not in endpoint.model_fields_set


def _told(endpoint: Endpoint, entry: ModelInfo, props: Any) -> dict[str, Any]:
    """What the server tells about a model, where the caller said nothing."""
    told = {"context_window": None if endpoint.context_window else entry.context_length, "max_concurrent": _slots(props)}
    return {name: value for name, value in told.items() if value}


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
