"""Keywords of a constructor, under whatever name, as the fields they are for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

from opea_core.adapters.server_fields import ServerFields
from opea_core.errors import ConfigurationError

_RENAMED = {"default_headers": "headers", "default_query": "query"}
HEADERS_IN_KWARGS = (("extra_headers", "default_headers"), ("extra_query", "default_query"))
"""What may stand among the further parts of a request, and the field it is for."""
_SECONDS = frozenset(
    {
        "timeout", "deadline", "queue_timeout", "recovery_wait", "initial_retry_delay", "max_delay",
        "max_retry_after", "stream_chunk_timeout",
    }
)  # fmt: skip
_NUMBERS = _SECONDS | {
    "max_retries", "max_concurrent", "max_queued", "backoff_factor", "weight", "tier",
    "context_window", "max_response_bytes", "max_event_bytes",
}  # fmt: skip
"""What may be given as text, as an environment variable is."""
_LONGEST = 1e300
"""Seconds; a longer time is the same, and beyond it there are numbers that are no float."""
_PACKAGES = frozenset(
    {"opea_core", "langchain_opea", "langchain_core", "llama_index_opea", "llama_index", "pydantic"}
)


class Keywords(ServerFields):
    """Reads the keywords of a class whose framework has names of its own for some of them."""

    _core_names: ClassVar[Mapping[str, str]] = {}
    """The core's names of fields that are called differently here.

    Those named here are about servers, too.
    """
    _url_field: ClassVar[str] = "base_url"
    _model_field: ClassVar[str] = "model_name"
    _kwargs_field: ClassVar[str] = "model_kwargs"
    """The field with further parts of the request."""
    _aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of fields."""
    _no_effect: ClassVar[frozenset[str]] = frozenset()
    """Names of the framework's OpenAI classes that are taken and change nothing."""
    _refused: ClassVar[Mapping[str, str]] = {}
    """Names that cannot be honoured, and what to do instead."""

    @staticmethod
    def _errors() -> AbstractContextManager[None]:
        """Turns the core's errors into the framework's."""
        return nullcontext()

    @classmethod
    def _core_name(cls, name: str) -> str:
        return cls._core_names.get(name) or _RENAMED.get(name, name)

    @classmethod
    @lru_cache(maxsize=256)  # every model that is made asks several times
    def _server_fields(cls) -> Mapping[str, Any]:
        """The fields about servers and their defaults, by name."""
        shared = ServerFields.model_fields
        names = {*shared, *(name for name in cls._core_names if name in cls.model_fields)} - {
            "client"
        }
        return MappingProxyType(
            {name: shared[name].default if name in shared else None for name in sorted(names)}
        )

    @classmethod
    def _given(cls, values: Mapping[str, Any]) -> list[str]:
        """The names that were given about servers."""
        return [
            name
            for name, default in cls._server_fields().items()
            if name in values and values[name] != default
        ]

    @classmethod
    def _unified(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every name as the field's.

        Raises ConfigurationError for one that is unknown, refused or given twice.
        """
        values: dict[str, Any] = {}
        with cls._errors():
            for key, value in given.items():
                cls._take(values, key, value)
        kwargs = values.get(cls._kwargs_field)
        # Where they would be shown and stored as part of the request.
        for name, field in HEADERS_IN_KWARGS:
            if isinstance(kwargs, Mapping) and isinstance(kwargs.get(name), Mapping):
                values[field] = {**(values.get(field) or {}), **kwargs[name]}
                kwargs = values[cls._kwargs_field] = {
                    key: value for key, value in kwargs.items() if key != name
                }
        return values

    @classmethod
    def _take(cls, values: dict[str, Any], key: str, value: Any) -> None:
        name = cls._aliases.get(key, key)
        if key in cls._refused and value not in (None, False):
            raise ConfigurationError(f"{cls.__name__} cannot honour {key}=.", cls._refused[key])
        if key in cls._no_effect or key in cls._refused:
            if value is not None:
                warnings.warn(f"{key}= has no effect in {cls.__name__}.", stacklevel=_users_level())
            return
        if name not in cls.model_fields:
            raise ConfigurationError(
                f"{cls.__name__} knows no option {key!r}.{cls._nearest(key)}", cls._unknown_hint()
            )
        if name in values and values[name] is not None and value is not None:
            raise ConfigurationError(f"{key!r} is another name of {name!r}; give one of them.")
        if values.get(name) is None:
            values[name] = _number(name, value) if name in _NUMBERS else value

    @classmethod
    def _nearest(cls, name: str) -> str:
        found = get_close_matches(name, sorted({*cls.model_fields, *cls._aliases}), n=1, cutoff=0.6)
        return f" Did you mean {found[0]!r}?" if found else ""

    @classmethod
    def _unknown_hint(cls) -> str:
        return f"Further fields of the request body go into {cls._kwargs_field}=."

    @classmethod
    def _own_model(cls, values: Mapping[str, Any]) -> str | None:
        """The model the object is made with."""
        return values.get(cls._model_field) or None

    @classmethod
    def _connection(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was given about servers, in the core's names."""
        return {cls._core_name(name): values[name] for name in cls._given(values)}


def _number(name: str, value: Any) -> Any:
    """A number, which may be given as text; a time beyond all floats is the longest there is."""
    number = _as_number(value) if isinstance(value, str) else value
    is_too_long = name in _SECONDS and isinstance(number, int) and number > _LONGEST
    return _LONGEST if is_too_long else number


def _as_number(text: str) -> Any:
    """The number a text says; another text stays, for the error that names it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _users_level() -> int:
    """The stack level of the line that made the model."""
    level, frame = 1, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES
    ):
        level, frame = level + 1, frame.f_back
    return level
