"""What ``ChatOPEA``, ``OPEAEmbeddings`` and ``OPEARerank`` take to reach a server.

As LangChain shows, copies and stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_serializer

from langchain_opea.errors import langchain_errors
from opea_core.adapters import Connection as CoreConnection
from opea_core.adapters import hidden, remember, settings_of

_SETTINGS = "opea_client_settings"
"""In what is pickled: what the ``OPEA`` object was made of."""


class Connection(CoreConnection):
    """Keywords about servers, the same as those of ``opea_core.OPEA``.

    Or ``client=`` to share one object.
    """

    base_url: str | None = Field(default=None, repr=False, frozen=True)
    """``http://localhost:8000`` or with a path; OPEA_API_URL if not given."""
    http_async_client: Any = hidden()
    context_window: int | None = hidden()
    _core_names: ClassVar[Mapping[str, str]] = {
        "base_url": "base_url",
        "http_async_client": "async_http_client",
        "context_window": "context_window",
    }

    @staticmethod
    def _errors() -> AbstractContextManager[None]:
        return langchain_errors()

    @field_serializer("base_url")
    def _dumped_url(self, url: str | None) -> str | None:  # noqa: ARG002 - pydantic's signature
        return self._url()

    def __setattr__(self, name: str, value: Any) -> None:
        """As in the core's class; a change makes LangChain's cache key new."""
        vars(self).pop("_serialized", None)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that shares the ``OPEA`` object, unless ``update`` changes what it was made of."""
        copy = super().model_copy(update=update, deep=deep)
        vars(copy).pop("_serialized", None)
        return copy

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: also what the ``OPEA`` object was made of."""
        return {**super().__getstate__(), _SETTINGS: settings_of(self.client)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """The ``OPEA`` object of an unpickled model is its own."""
        settings = state.pop(_SETTINGS, None)
        super().__setstate__(state)
        remember(self.client, settings)

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The key's name in the environment, for LangChain's serialisation."""
        return {"api_key": "OPEA_API_KEY"}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The first server's URL without credentials, and the model.

        They are part of the cache key, as two servers may differ.
        """
        model = self.model
        return {"base_url": self._url()} | ({"model_name": model} if model else {})

    @property
    def model(self) -> str | None:
        """The model's name; None if none was given and none was discovered yet."""
        return self._own_model(vars(self)) or self.client.model

    def _discovered(self) -> None:
        vars(self).pop("_serialized", None)


class DocumentConnection(Connection):
    """The same, with what ``OPEAEmbeddings`` and ``OPEARerank`` send besides texts."""

    model_name: str | None = Field(default=None, alias="model", repr=False)
    """The model; if not given and the server serves one, that one, asked for at the first call."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request."""
    extra_body: dict[str, Any] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = hidden()
    """0 (urgent) to 9 in the queue."""

    def _options(self, **own: Any) -> dict[str, Any]:
        """The options of a call: fields that were given, over ``model_kwargs``."""
        optional = {**own, "priority": self.priority, "extra_body": self.extra_body}
        given = {name: value for name, value in optional.items() if value is not None}
        return (
            self._call_model(self.model_name) | self._shared_options() | self.model_kwargs | given
        )

    def _named_model(self) -> Any:
        """The model that a call names, in whatever place."""
        return (
            self.model_name
            or self.model_kwargs.get("model")
            or (self.extra_body or {}).get("model")
        )
