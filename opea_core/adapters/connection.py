"""What the classes of an adapter take to reach a server, and the ``OPEA`` object made of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr, SecretStr, model_validator

from opea_core.adapters.class_defaults import class_defaults, defaults_given_for
from opea_core.adapters.client_settings import (
    ClientSettings,
    client_for,
    settings_of,
    shared_client,
)
from opea_core.adapters.discovery import Discovery
from opea_core.adapters.keywords import HEADERS_IN_KWARGS
from opea_core.adapters.server_fields import PER_CALL
from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.secret_origins import bind, origins

if TYPE_CHECKING:
    from opea_core.opea import OPEA

_NOW = " now"
"""Beside the values of a copy: the names of those that were given for it.

Not those that were given for what it is a copy of.
"""


class Connection(Discovery):
    """Keywords about servers, the same as those of ``OPEA``; or ``client=`` to share one object.

    A subclass declares the fields of the URL and of the async HTTP client under its framework's
    names, and the class variables of ``Keywords``.
    """

    _shown: tuple[Endpoint, str] | None = PrivateAttr(default=None)
    """The first endpoint and its URL as it is shown, read once: events show it with every call."""

    @model_validator(mode="before")
    @classmethod
    def _read_keywords(cls, given: Any) -> Any:
        """Names checked and unified, the environment read, the ``OPEA`` object made or taken."""
        if not isinstance(given, Mapping):
            return given
        now = {cls._core_name(name) for name in given.get(_NOW, ())}
        values = cls._unified({name: value for name, value in given.items() if name != _NOW})
        defaults = class_defaults(cls, values)
        values = defaults | values
        with cls._errors():
            if values.get("endpoints") is None and values.get("client") is None:
                cls._read_environment(values)
            if isinstance(values.get("api_key"), str):
                values["api_key"] = SecretStr(values["api_key"])
            cls._leave_behind(values, given, now)
            cls._take_client(values, defaults_given_for(cls, defaults), now)
        return values

    @classmethod
    def _take_client(
        cls, values: dict[str, Any], given_for: Mapping[str, frozenset[str]], now: Collection[str]
    ) -> None:
        """Put the ``OPEA`` object among the values: the one that was given, or a new one.

        ``now``: what was given for a copy, in the core's names.
        """
        before, keywords = settings_of(values.get("client")), cls._connection(values)
        came_along = {} if before is None else before.carried(keywords, now)
        settings = ClientSettings(keywords, {**given_for, **came_along})
        beside = next((name for name in cls._given(values) if name not in PER_CALL), None)
        client = shared_client(values.get("client"), settings, beside)
        if client is None:
            client = client_for(settings, cls._own_model(values))
            cls._forget(values, keywords, client)
        values["client"] = client

    @classmethod
    def _read_environment(cls, values: dict[str, Any]) -> None:
        """OPEA_API_URL and OPEA_API_KEY, where nothing else says where to send."""
        for name, variable in ((cls._url_field, "OPEA_API_URL"), ("api_key", "OPEA_API_KEY")):
            named = values.get(name) is not None or (
                name == "api_key" and values.get("api_keys") is not None
            )
            if not named and os.environ.get(variable):
                values[name] = os.environ[variable]

    @classmethod
    def _leave_behind(
        cls, values: dict[str, Any], given: Mapping[str, Any], now: Collection[str]
    ) -> None:
        """Headers in ``model_kwargs`` lie over those that came along from another model.

        Alone, where those must not follow.
        """
        settings, kwargs = settings_of(values.get("client")), given.get(cls._kwargs_field)
        if settings is None or not isinstance(kwargs, Mapping):
            return
        before = settings.keywords
        for name, field in HEADERS_IN_KWARGS:
            core = cls._core_name(field)
            came_along = core in before and core not in now and given.get(field) == before[core]
            if (
                name in kwargs
                and came_along
                and core not in bind(cls._connection(values), {core: origins(before)})
            ):
                values[field] = dict(kwargs[name])

    @classmethod
    def _forget(cls, values: dict[str, Any], keywords: Mapping[str, Any], client: OPEA) -> None:
        """Keep what the object was made of.

        What did not go along to its servers is not there for copies and pickles either.
        """
        settings = settings_of(client)
        used = {} if settings is None else settings.keywords
        for name, default in cls._server_fields().items():
            core = cls._core_name(name)
            if used.get(core) != keywords.get(core):
                values[name] = used.get(core, default)

    @classmethod
    def _is_fixed(cls, name: str) -> bool:
        """Whether the ``OPEA`` object was made of it, also if a subclass sets another default."""
        field = cls.model_fields.get(name)
        return name in cls._server_fields() or (field is not None and bool(field.frozen))

    def __setattr__(self, name: str, value: Any) -> None:
        """Sampling fields may be set.

        What the ``OPEA`` object was made of may not, and is never shown.
        """
        if self._is_fixed(name):
            with self._errors():
                raise ConfigurationError(
                    f"{name} cannot be changed afterwards.",
                    f"Use model_copy(update={{{name!r}: ...}}).",
                )
        if name == self._kwargs_field and isinstance(value, Mapping):
            found = next(((given, own) for given, own in HEADERS_IN_KWARGS if given in value), None)
            if found is not None:  # they would be shown and stored as part of the request
                with self._errors():
                    raise ConfigurationError(
                        f"{found[0]} cannot be set later.",
                        f"Give {found[1]}= to the constructor, or {found[0]}= to a call.",
                    )
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that shares the ``OPEA`` object, unless ``update`` changes what it was made of."""
        update = self._unified(update) if update else None
        if update and any(self._is_fixed(name) for name in update):
            now: dict[str, Any] = {_NOW: frozenset(update)}
            return type(self)(
                **{**{name: getattr(self, name) for name in self.model_fields_set}, **update, **now}
            )
        return super().model_copy(update=update, deep=deep)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Connections, keys and certificates are shared, not copied."""
        memo = {} if memo is None else memo
        for name in (*self._server_fields(), "client"):
            value = getattr(self, name)
            memo[id(value)] = value
        return super().__deepcopy__(memo)

    def __repr_args__(self) -> Any:
        """The model and the server first; no credentials."""
        if "client" not in vars(self):  # half made: pydantic shows it in its errors
            return super().__repr_args__()
        return [
            ("model", self._own_model(vars(self))),
            (self._url_field, self._url()),
            *super().__repr_args__(),
        ]

    def _url(self) -> str:
        first: Endpoint = self.client.endpoints[0]
        shown = self._shown  # once: pydantic looks long for private attributes
        if shown is None or shown[0] is not first:
            self._shown = shown = (first, first.url.root)
        return shown[1]

    def model_post_init(self, context: Any, /) -> None:
        """Find out whose the ``OPEA`` object is."""
        super().model_post_init(context)
        settings = settings_of(self.client)
        self._is_shared = settings is None or settings.keywords != self._connection(vars(self))
