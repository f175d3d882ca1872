"""Asking servers what they are: model, context window, slots."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from opea_core import errors
from opea_core.config import Endpoint
from opea_core.types import ModelInfo

_LISTED = 20
Show = Callable[[Endpoint, str], str]
"""Makes a name that a server gave fit to be shown: it may echo what was sent."""


@dataclass(frozen=True, slots=True)
class Together:
    """Calls to make at once.

    Their results come back: errors as values, and None for those that are not over soon after the
    first one was answered.
    """

    calls: Sequence[Any]
    waits_for_all: bool = False
    """Whether all results are waited for, however long after the first one they come."""


class Discovery(NamedTuple):
    """What was found."""

    endpoints: tuple[Endpoint, ...]
    answered: frozenset[str]
    """Labels of those that said what they serve."""


def discover_flow(
    endpoints: Sequence[Endpoint],
    model: str | None,
    ask_models: Callable[[str], Any],
    ask_props: Callable[[str], Any],
    show: Show,
) -> Generator[Together, Sequence[Any], Discovery]:
    """Yields the calls to make, takes answers or errors; returns the endpoints with what was found.

    ``model`` is what the caller set, or None. What a caller set is never changed. An endpoint that
    does not answer is left as it is if another does. Raises the first error if none does,
    ConfigurationError if a model must be named because several are served.
    """
    asked = yield Together([ask_models(endpoint.label) for endpoint in endpoints])
    listings = _listings(endpoints, asked)
    named = {
        e.label: chosen_model(e, listings[e.label], model, show)
        for e in endpoints
        if e.label in listings
    }
    only = next((name for name in named.values() if name), None)
    entries = {
        e.label: _entry(listings[e.label], named[e.label]) for e in endpoints if e.label in listings
    }
    tells = [
        e.label
        for e in endpoints
        if (entry := entries.get(e.label)) is not None and _may_tell_places(e, entry)
    ]
    props = (
        dict(zip(tells, (yield Together([ask_props(label) for label in tells])), strict=True))
        if tells
        else {}
    )
    found = []
    for endpoint in endpoints:
        label, changes = endpoint.label, dict[str, Any]()
        if endpoint.model is None and model is None:
            # Endpoints are interchangeable, so one that did not answer has the same model.
            changes["model"] = named.get(label) or only
        if (entry := entries.get(label)) is not None:
            changes |= _told(endpoint, entry, props.get(label))
        found.append(endpoint.replace(**changes) if changes else endpoint)
    return Discovery(tuple(found), frozenset(listings))


def _listings(endpoints: Sequence[Endpoint], asked: Sequence[Any]) -> dict[str, list[ModelInfo]]:
    """The models that each endpoint listed, by its label; raises the first error if none did."""
    found = {
        endpoint.label: listing
        for endpoint, listing in zip(endpoints, asked, strict=True)
        if isinstance(listing, list)
    }
    # One endpoint that answers is enough; the others stay as they were (E12).
    if not found:
        raise next(error for error in asked if isinstance(error, errors.OPEAError))
    return found


def _may_tell_places(endpoint: Endpoint, entry: ModelInfo) -> bool:
    """Whether the server looks like llama.cpp's, and nobody said how many calls it takes."""
    return (
        # Only llama.cpp lists a "meta"; no other server has to be asked for its slots.
        isinstance(entry.raw.get("meta"), dict)
        and "max_concurrent" not in endpoint.model_fields_set
    )


def _told(endpoint: Endpoint, entry: ModelInfo, props: Any) -> dict[str, Any]:
    """What the server tells about a model, where the caller said nothing."""
    told = {
        "context_window": None if endpoint.context_window else entry.context_length,
        "max_concurrent": _slots(props),
    }
    return {name: value for name, value in told.items() if value}


def chosen_model(
    endpoint: Endpoint, listing: list[ModelInfo], model: str | None, show: Show
) -> str | None:
    """The model that is used there: the one that was set, or the only one there is."""
    name = endpoint.model or model
    if name is not None:
        return name
    if not listing:
        raise errors.ConfigurationError(
            f"{endpoint.label} lists no model.", "Pass model=, or load one on the server."
        )
    if len(listing) > 1:
        shown = [show(endpoint, entry.id) for entry in listing[:_LISTED]]
        names = ", ".join(shown) + (", ..." if len(listing) > _LISTED else "")
        raise errors.ConfigurationError(
            f"No model was given, and {endpoint.label} serves several: {names}.",
            f'Pass model="{shown[0]}" or another one.',
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
