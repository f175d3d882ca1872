"""The ``OPEA`` object of an adapter's model: the caller's, that of the model it is a copy of, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from opea_core.binding import bind, with_organization
from opea_core.errors import ConfigurationError
from opea_core.opea import OPEA

_MADE_OF = "_made_of"
"""The attribute of an ``OPEA`` object made here that says of what; copies of a model share it as long as that stays."""
_CLIENTS = frozenset({"http_client", "async_http_client", "http_async_client"})


class Layer(NamedTuple):
    """Some of the values, and the origins for which they were given; None if for any."""

    names: frozenset[str]
    origins: frozenset[str] | None


def take_or_make(client: Any, connection: dict[str, Any], model: str | None, beside: str | None, layers: Sequence[Layer]) -> OPEA:
    """The object to use: the caller's, the one of the model this is a copy of, or a new one."""
    if client is None:
        return _make(connection, model, layers)
    if not isinstance(client, OPEA):
        raise ConfigurationError(
            f"client= takes an opea_core.OPEA object, not {type(client).__name__}.",
            "An httpx client goes into http_client=, an async one into the keyword beside it.",
        )
    if beside is None:
        return client
    before = made_of(client)
    if before is not None:  # a copy of a model, with what it is to be now
        return client if before == connection else _make(connection, model, layers)
    raise ConfigurationError(
        f"client= and {beside}= both say how to reach the server; give one of them.", "Set it where you make the OPEA object."
    )


def made_of(client: Any) -> dict[str, Any] | None:
    """What an object was made of here; None for one of the caller's own."""
    found: dict[str, Any] | None = vars(client).get(_MADE_OF) if isinstance(client, OPEA) else None
    return found


def _make(connection: dict[str, Any], model: str | None, layers: Sequence[Layer]) -> OPEA:
    """A new object; what was given for other servers than its own does not go to them."""
    options: dict[str, Any] = dict(connection)
    lent_for: frozenset[str] | None = None
    for layer in layers:
        if layer.origins is not None:
            options = bind(options, layer.names, layer.origins)
            if layer.names & _CLIENTS:
                lent_for = layer.origins
    options = with_organization(options) | ({"model": model} if model else {})
    made = OPEA(**options)
    if lent_for is not None:
        made._lend_client_to(lent_for)
    mark(made, connection)
    return made


def mark(client: OPEA, connection: dict[str, Any] | None) -> None:
    """Say of what an object was made here."""
    if connection is not None:
        vars(client)[_MADE_OF] = connection
