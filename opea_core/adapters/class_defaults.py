"""Defaults that a subclass sets for all its models: ``class Ours(ChatOPEA): base_url = ...``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticUndefined

from opea_core.adapters.keywords import Keywords
from opea_core.adapters.server_fields import PER_CALL
from opea_core.secret_origins import names_servers, origins


def class_defaults(cls: type[Keywords], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the class sets about servers, as far as it goes with what was given."""
    fields = {**cls._server_fields(), "client": None}
    own = _defaults(cls, [name for name in fields if name not in given])
    found = {name: value for name, value in own.items() if value != fields[name]}
    if given.get("client") is not None:
        return {name: value for name, value in found.items() if name in PER_CALL}
    # A URL that was given takes the place of endpoints, and endpoints that of a URL and its key.
    for one, others in (
        ("endpoints", (cls._url_field, "api_key")),
        (cls._url_field, ("endpoints",)),
    ):
        if given.get(one) is not None:
            found = {name: value for name, value in found.items() if name not in others}
    return found


def defaults_given_for(
    cls: type[Keywords], defaults: Mapping[str, Any]
) -> dict[str, frozenset[str]]:
    """For which servers these defaults were set, in the core's names.

    For those of the class that sets each, or of the next below that names any.
    """
    line = [each for each in cls.__mro__ if issubclass(each, Keywords)]
    found: dict[str, frozenset[str]] = {}
    for name in defaults:
        owner = next((place for place, each in enumerate(line) if name in each.__annotations__), 0)
        named = (_named_origins(each) for each in reversed(line[: owner + 1]))
        given_for = next((each for each in named if each is not None), None)
        found |= {} if given_for is None else {cls._core_name(name): given_for}
    return found


def _named_origins(cls: type[Keywords]) -> frozenset[str] | None:
    """The servers that the defaults of this class name, if they do."""
    given = cls._connection(_defaults(cls, list(cls._server_fields())))
    return origins(given) if names_servers(given) else None


def _defaults(cls: type[Keywords], names: list[str]) -> dict[str, Any]:
    own = {name: cls.model_fields[name].get_default(call_default_factory=True) for name in names}
    return {name: value for name, value in own.items() if value is not PydanticUndefined}
