"""What the classes of this package take to reach a server, as LlamaIndex stores and pickles it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from llama_index_opea import options
from llama_index_opea.instrumentation import revealed
from opea_core import ConfigurationError, Endpoint
from opea_core.adapters import Connection as CoreConnection
from opea_core.adapters import hidden, in_call, layered

_NOT_STORED = frozenset(
    {
        "api_base",
        "api_key",
        "api_keys",
        "async_http_client",
        "cert",
        "default_headers",
        "default_query",
        "endpoints",
        "hooks",
    }
    | {"http_client", "organization", "proxy", "shared_limits", "verify"}
)
"""Keys, what may hold one, and objects of this process."""
_NOT_SHOWN = frozenset(
    {
        "callback_manager",
        "rate_limiter",
        "messages_to_prompt",
        "completion_to_prompt",
        "embeddings_cache",
    }
)
_SHARED = ("callback_manager", "rate_limiter", "embeddings_cache")
_ENDPOINT_STORED = (
    "label",
    "model",
    "api_version",
    "auth_header",
    "auth_scheme",
    "max_concurrent",
    "weight",
    "tier",
    "context_window",
)
_NOT_SENT = ("stream", "extra_body")
_logger = logging.getLogger("opea_core")


class Connection(CoreConnection):
    """Keywords about servers, the same as those of ``opea_core.OPEA``.

    Or ``client=`` to share one object.
    """

    api_base: str | None = Field(default=None, repr=False, frozen=True)
    """``http://localhost:8000`` or with a path; OPEA_API_URL if not given.

    ``base_url`` is another name.
    """
    async_http_client: Any = hidden()

    _named: str | None = PrivateAttr(default=None)

    _core_names: ClassVar[Mapping[str, str]] = {
        "api_base": "base_url",
        "async_http_client": "async_http_client",
    }
    _url_field: ClassVar[str] = "api_base"
    _kwargs_field: ClassVar[str] = "additional_kwargs"
    _refused: ClassVar[Mapping[str, str]] = options.REFUSED

    def __init__(self, *model: Any, **keywords: Any) -> None:
        """``model`` may come first, as in LlamaIndex's OpenAI classes.

        Everything else has a name.
        """
        if len(model) > 1:
            raise ConfigurationError(
                f"{type(self).__name__} takes one unnamed argument, the model.", "Name the others."
            )
        super().__init__(**({self._model_field: model[0]} if model else {}), **keywords)

    @classmethod
    def _take(cls, values: dict[str, Any], key: str, value: Any) -> None:
        # LlamaIndex's OpenAI classes take None for these as not given
        optional = (cls._kwargs_field, cls._model_field, "callback_manager")
        nothing = value is None and cls._aliases.get(key, key) in optional
        if key not in options.TAKEN and not nothing:
            super()._take(values, key, value)

    def model_post_init(self, context: Any, /) -> None:
        """Remember what the ``OPEA`` object was told before any server is asked."""
        super().model_post_init(context)
        self._named = self.client.model

    @model_serializer(mode="wrap")
    def custom_model_dump(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """LlamaIndex's form, with all about the servers that is neither a key nor an object."""
        ours, left_out, wanted = self._stored_connection(), info.exclude or (), info.include
        data: dict[str, Any] = handler(self)
        data |= {
            name: value
            for name, value in ours.items()
            if name not in left_out and (wanted is None or name in wanted)
        }
        data["class_name"] = type(self).class_name()  # type: ignore[attr-defined]
        return data

    def _stored_connection(self) -> dict[str, Any]:
        given = {
            name: getattr(self, name) for name in self._given(vars(self)) if name not in _NOT_STORED
        }
        found = {name: _plain(value) for name, value in given.items()}
        endpoints = self.client.endpoints
        if len(endpoints) > 1 or self.endpoints is not None:
            return {
                **found,
                "api_base": None,
                "endpoints": [_stored(endpoint) for endpoint in endpoints],
            }
        model = (
            {self._model_field: self._named}
            if self._named and self._own_model(vars(self)) is None
            else {}
        )
        return {**found, "api_base": self._url(), **model}

    def _merged(
        self, fields: Mapping[str, Any], kwargs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The options of a call.

        The call's own lie over ``extra_body``, that over ``additional_kwargs``, those over the
        fields.
        """
        values, kwargs = vars(self), revealed(kwargs or {})
        usual = values["additional_kwargs"]
        given = in_call({name: value for name, value in kwargs.items() if name not in _NOT_SENT})
        found, extra = layered(
            (False, fields),
            (False, {name: value for name, value in usual.items() if name != "extra_body"}),
            (True, usual.get("extra_body")),
            (True, values["extra_body"]),
            (False, given),
            (True, kwargs.get("extra_body")),
        )
        if values["priority"] is not None:
            found.setdefault("priority", values["priority"])
        return found | ({"extra_body": extra} if extra else {})

    def _named_model(self, kwargs: Mapping[str, Any] | None = None) -> Any:
        """The model a call names, in whatever place."""
        values, kwargs = vars(self), kwargs or {}
        usual = values["additional_kwargs"]
        places = (
            kwargs,
            kwargs.get("extra_body") or {},
            values["extra_body"] or {},
            usual,
            usual.get("extra_body") or {},
        )
        return self._own_model(values) or next(
            (place["model"] for place in places if place.get("model")), None
        )

    def __repr_args__(self) -> Any:
        """The model, the server, and what is not as usual."""
        if "client" not in vars(self):
            return []
        where = [("model", self._own_model(vars(self))), ("api_base", self._url())]
        given = {
            name: field
            for name, field in type(self).model_fields.items()
            if name not in (*_NOT_SHOWN, self._model_field)
        }
        values = [(name, getattr(self, name), field) for name, field in given.items() if field.repr]
        return where + [
            (name, value)
            for name, value, field in values
            if value != field.get_default(call_default_factory=True)
        ]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Limiters, listeners and caches are shared, as connections are."""
        memo = {} if memo is None else memo
        for name in _SHARED:
            value = vars(self).get(name)
            memo[id(value)] = value
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: the fields, keys included, as a worker process needs them.

        Connections are made anew there.

        LlamaIndex's own takes what cannot be pickled away from the living object; this one leaves
        it.
        """
        state = BaseModel.__getstate__(self)
        values = {
            name: value
            for name, value in state["__dict__"].items()
            if name != "client" or self._is_shared
        }
        needed = {*self._server_fields(), "client"}
        for name in [name for name, value in values.items() if not _can_be_pickled(value)]:
            if name in needed:
                raise ConfigurationError(
                    f"{name}= of {type(self).__name__} cannot be pickled.",
                    "Make the object in each process instead.",
                )
            _logger.warning("%s: %s cannot be pickled and is left out.", type(self).__name__, name)
            del values[name]
        return {**state, "__dict__": values, "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Made from its fields, as by its constructor."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _stored(endpoint: Endpoint) -> dict[str, Any]:
    given = {
        name: getattr(endpoint, name)
        for name in _ENDPOINT_STORED
        if name in endpoint.model_fields_set
    }
    return {"base_url": endpoint.url.root, **given}


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - pickle raises whatever the object raises
        return False
    return True
