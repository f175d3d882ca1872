"""What the classes of an adapter take to reach a server, and the ``OPEA`` object made of it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from pydantic_core import PydanticUndefined

from opea_core.adapters.client_factory import carried, made_of, mark, take_or_make
from opea_core.config import Endpoint, Timeouts
from opea_core.errors import ConfigurationError
from opea_core.secret_origins import bind, names_servers, origins
from opea_core.types import ModelInfo

_NOW = " now"
"""Beside the values of a copy: the names of those that were given for it.

Not those that were given for what it is a copy of.
"""
_RENAMED = {"default_headers": "headers", "default_query": "query"}
_HEADERS_IN_KWARGS = (("extra_headers", "default_headers"), ("extra_query", "default_query"))
_NUMBERS = frozenset(
    {
        "timeout",
        "max_retries",
        "deadline",
        "max_concurrent",
        "max_queued",
        "queue_timeout",
        "recovery_wait",
        "initial_retry_delay",
    }
    | {
        "backoff_factor",
        "max_delay",
        "max_retry_after",
        "weight",
        "tier",
        "context_window",
        "max_response_bytes",
        "max_event_bytes",
    }
)
"""What may be given as text, as an environment variable is."""
_PACKAGES = frozenset(
    {"opea_core", "langchain_opea", "langchain_core", "llama_index_opea", "llama_index", "pydantic"}
)
PER_CALL = frozenset({"adapt", "timeout", "max_retries", "deadline", "recovery_wait"})
"""With ``client=`` these are options of each call, not of the object."""


def hidden(default: Any = None) -> Any:
    """A field that does not change answers.

    It is not serialised, not part of a cache key, not shown, and not set later.
    """
    return Field(default=default, exclude=True, repr=False, frozen=True)


class Connection(BaseModel):
    """Keywords about servers, the same as those of ``OPEA``; or ``client=`` to share one object.

    A subclass declares the fields of the URL and of the async HTTP client under its framework's
    names, and the class variables below.
    """

    model_config = ConfigDict(  # only subclasses are built, each with defer_build=False
        arbitrary_types_allowed=True,
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
        defer_build=True,
    )

    api_key: Any = hidden()
    """A string, a SecretStr, or a sync or async function that gives one.

    OPEA_API_KEY if not given; ``""`` sends none.
    """
    client: Any = hidden()
    """An ``opea_core.OPEA`` object whose queue, limits and connections are shared.

    It is never closed here.
    """
    endpoints: Sequence[str | Mapping[str, Any] | Endpoint] | None = hidden()
    """Several interchangeable servers instead of one URL."""
    timeout: Any = hidden(Timeouts())
    """Seconds per attempt, (connect, read), ``opea_core.Timeouts``, or None for no limit."""
    max_retries: int | None = hidden()
    deadline: float | None = hidden()
    """Seconds for a whole call: queue, attempts and pauses."""
    default_headers: Mapping[str, str] | None = hidden()
    default_query: Mapping[str, str] | None = hidden()
    organization: str | None = hidden()
    proxy: str | None = hidden()
    http_client: Any = hidden()
    http_library: Literal["httpx", "httpx2", "aiohttp"] | None = hidden()
    """What own connections are made of; "aiohttp" for async calls only."""
    verify: Any = hidden()
    cert: Any = hidden()
    trust_env: bool | None = hidden()
    api_keys: Sequence[str] | None = hidden()
    auth_header: str | None = hidden()
    auth_scheme: str | None = hidden("Bearer")
    api_version: str | None = hidden()
    append_v1: bool | None = hidden()
    label: str | None = hidden()
    weight: float | None = hidden()
    tier: int | None = hidden()
    capabilities: Any = hidden()
    dialect: Literal["auto", "chat", "responses"] | None = hidden()
    """What calls are made in; ``auto`` (the default) goes over where the server asks for it."""
    adapt: bool | None = hidden()
    """False sends requests as they were given, and learns nothing from refusals."""
    max_concurrent: int | None = hidden()
    shared_limits: Any = hidden()
    """Where limits are kept together with other processes: ``"sqlite:///limits.db"``, ..."""
    rpm: int | None = hidden()
    """The most requests in any 60 seconds, per endpoint."""
    tpm: int | None = hidden()
    """The most tokens in any 60 seconds, per endpoint."""
    max_queued: int | None = hidden()
    queue_timeout: float | None = hidden()
    recovery_wait: float | None = hidden()
    initial_retry_delay: float | None = hidden()
    backoff_factor: float | None = hidden()
    max_delay: float | None = hidden()
    max_retry_after: float | None = hidden()
    retry: Any = hidden()
    breaker: Any = hidden()
    queue: Any = hidden()
    max_response_bytes: int | None = hidden()
    max_event_bytes: int | None = hidden()
    hooks: Any = hidden(())

    _windows: dict[str, int] = PrivateAttr(default_factory=dict)
    _shown: tuple[Endpoint, str] | None = PrivateAttr(default=None)
    """The first endpoint and its URL as it is shown, read once: events show it with every call."""
    _is_shared: bool = PrivateAttr(default=False)
    """Whether the ``OPEA`` object is the caller's own, or that of another model."""

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

    @model_validator(mode="before")
    @classmethod
    def _read_keywords(cls, given: Any) -> Any:
        """Names checked and unified, the environment read, the ``OPEA`` object made or taken."""
        if not isinstance(given, Mapping):
            return given
        now = {cls._core_name(name) for name in given.get(_NOW, ())}
        values = cls._unified({name: value for name, value in given.items() if name != _NOW})
        house = cls._house_defaults(values)
        values = house | values
        with cls._errors():
            if values.get("endpoints") is None and values.get("client") is None:
                cls._read_environment(values)
            if isinstance(values.get("api_key"), str):
                values["api_key"] = SecretStr(values["api_key"])
            cls._leave_behind(values, given, now)
            beside = next((name for name in cls._given(values) if name not in PER_CALL), None)
            connection = cls._connection(values)
            given_for = cls._house_given_for(house) | carried(values.get("client"), connection, now)
            made = take_or_make(
                values.get("client"), connection, cls._own_model(values), beside, given_for
            )
            if made is not values.get("client"):
                cls._forget(values, connection, made_of(made) or {})
            values["client"] = made
        return values

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
    def _house_given_for(cls, house: Mapping[str, Any]) -> dict[str, frozenset[str]]:
        """For which servers subclasses set their defaults.

        For those of the class that sets it, or of the next below that names any.
        """
        line = [each for each in cls.__mro__ if issubclass(each, Connection)]
        found: dict[str, frozenset[str]] = {}
        for name in house:
            owner = next(
                (place for place, each in enumerate(line) if name in each.__annotations__), 0
            )
            named = (each._house_origins() for each in reversed(line[: owner + 1]))
            given_for = next((each for each in named if each is not None), None)
            found |= {} if given_for is None else {cls._core_name(name): given_for}
        return found

    @classmethod
    def _house_origins(cls) -> frozenset[str] | None:
        """The servers that the defaults of this class name, if they do."""
        fields = {name: cls.model_fields[name] for name in cls._server_fields()}
        own = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
        given = cls._connection(
            {name: value for name, value in own.items() if value is not PydanticUndefined}
        )
        return origins(given) if names_servers(given) else None

    @classmethod
    def _leave_behind(
        cls, values: dict[str, Any], given: Mapping[str, Any], now: Collection[str]
    ) -> None:
        """Headers in ``model_kwargs`` lie over those that came along from another model.

        Alone, where those must not follow.
        """
        before, kwargs = made_of(values.get("client")), given.get(cls._kwargs_field)
        if before is None or not isinstance(kwargs, Mapping):
            return
        for name, field in _HEADERS_IN_KWARGS:
            core = cls._core_name(field)
            came_along = core in before and core not in now and given.get(field) == before[core]
            if (
                name in kwargs
                and came_along
                and core not in bind(cls._connection(values), {core: origins(before)})
            ):
                values[field] = dict(kwargs[name])

    @classmethod
    def _forget(
        cls, values: dict[str, Any], connection: Mapping[str, Any], used: Mapping[str, Any]
    ) -> None:
        """Keep what the object was made of.

        What did not go along to its servers is not there for copies and pickles either.
        """
        for name, default in cls._server_fields().items():
            core = cls._core_name(name)
            if used.get(core) != connection.get(core):
                values[name] = used.get(core, default)

    @classmethod
    def _core_name(cls, name: str) -> str:
        return cls._core_names.get(name) or _RENAMED.get(name, name)

    @classmethod
    @lru_cache(maxsize=256)  # every model that is made asks several times
    def _server_fields(cls) -> Mapping[str, Any]:
        """The fields about servers and their defaults, by name."""
        shared = Connection.model_fields
        names = {*shared, *(name for name in cls._core_names if name in cls.model_fields)} - {
            "client"
        }
        return MappingProxyType(
            {name: shared[name].default if name in shared else None for name in sorted(names)}
        )

    @classmethod
    def _house_defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a subclass sets for all its models, as far as it goes with what was given."""
        fields = {**cls._server_fields(), "client": None}
        own = {
            name: cls.model_fields[name].get_default(call_default_factory=True)
            for name in fields
            if name not in given
        }
        house = {
            name: value
            for name, value in own.items()
            if value is not PydanticUndefined and value != fields[name]
        }
        if given.get("client") is not None:
            return {name: value for name, value in house.items() if name in PER_CALL}
        for one, other in (
            ("endpoints", (cls._url_field, "api_key")),
            (cls._url_field, ("endpoints",)),
        ):
            if given.get(one) is not None:
                house = {name: value for name, value in house.items() if name not in other}
        return house

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
        for name, field in _HEADERS_IN_KWARGS:
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
            values[name] = (
                _as_number(value) if name in _NUMBERS and isinstance(value, str) else value
            )

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
            found = next(
                ((given, own) for given, own in _HEADERS_IN_KWARGS if given in value), None
            )
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
        self._is_shared = made_of(self.client) != self._connection(vars(self))

    def _made_of(self) -> dict[str, Any] | None:
        return made_of(self.client)

    def _set_made_of(self, made_of: dict[str, Any] | None) -> None:
        """Make the ``OPEA`` object count as made here."""
        mark(self.client, made_of)

    def _shared_options(self) -> dict[str, Any]:
        """Options of a call that stand for the object's settings, if the object is the caller's."""
        if not self._is_shared:
            return {}
        values = {name: getattr(self, name) for name in sorted(PER_CALL)}
        return {
            name: value
            for name, value in values.items()
            if value != Connection.model_fields[name].default
        }

    def _call_model(self, model: str | None) -> dict[str, str]:
        """``model`` as an option of a call, where the object would choose another one."""
        known = None if self._is_shared else self.client.settings.model
        return {"model": model} if model and model != known else {}

    # --- what the server tells

    def discover(self) -> Self:
        """Ask the server which model it serves and how many tokens it takes.

        Gives the object itself.

        What was given is not changed.
        """
        with self._errors():
            if self._uses_the_clients_model():
                self.client.discover(**self._shared_options())
            else:
                self._take_windows(self.client.models(**self._shared_options()))
        self._discovered()
        return self

    async def adiscover(self) -> Self:
        """``discover`` for async code."""
        with self._errors():
            if self._uses_the_clients_model():
                await self.client.adiscover(**self._shared_options())
            else:
                self._take_windows(await self.client.amodels(**self._shared_options()))
        self._discovered()
        return self

    def _uses_the_clients_model(self) -> bool:
        return self._own_model(vars(self)) in (None, self.client.model)

    def _take_windows(self, models: Sequence[ModelInfo]) -> None:
        self._windows = {model.id: model.context_length for model in models if model.context_length}

    def _discovered_window(self) -> int | None:
        """Tokens the model takes, as far as a server or the maker of the ``OPEA`` object said."""
        model = self._own_model(vars(self))
        window: int | None = (
            self.client.context_window
            if self._uses_the_clients_model()
            else self._windows.get(str(model))
        )
        return window

    def _discovered(self) -> None:
        """Told when the server was asked."""

    def _ask_for_model(self, named: Any) -> None:
        """Ask the server which model it serves, where nobody named one: once for all callers."""
        if not named and self.client.model is None:
            with self._errors():
                self.client._ask_for_model(self._shared_options())
            self._discovered()

    async def _aask_for_model(self, named: Any) -> None:
        if not named and self.client.model is None:
            with self._errors():
                await self.client._aask_for_model(self._shared_options())
            self._discovered()


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
