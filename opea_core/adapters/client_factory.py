"""The ``OPEA`` object of an adapter's model.

It is the caller's, that of the model it is a copy of, or a new one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import SecretStr

from opea_core.errors import ConfigurationError
from opea_core.opea import OPEA
from opea_core.secret_origins import bind, origins, with_organization

_MADE_OF = "_made_of"
"""The attribute of an ``OPEA`` object made here that says of what.

Copies of a model share it as long as that stays.
"""
_LENT_FOR = "_lent_for"
"""The attribute that says for which origins its HTTP clients were lent, by their names.

For its own if it does not say.
"""
_CLIENTS = frozenset({"http_client", "async_http_client"})


def carried(
    client: Any, connection: Mapping[str, Any], now: Collection[str]
) -> dict[str, frozenset[str]]:
    """What came along from the model that this is a copy of, and for which origins that had it."""
    before = made_of(client)
    if before is None:
        return {}
    same = {
        name for name, value in before.items() if name not in now and connection.get(name) == value
    }
    return {
        **dict.fromkeys(same, origins(before)),
        **{name: lent for name, lent in vars(client).get(_LENT_FOR, {}).items() if name in same},
    }


def take_or_make(
    client: Any,
    connection: dict[str, Any],
    model: str | None,
    beside: str | None,
    given_for: Mapping[str, frozenset[str]],
) -> OPEA:
    """The object to use: the caller's, the one of the model this is a copy of, or a new one.

    ``given_for``: for which origins some of the values were given.
    """
    if client is None:
        return _make(connection, model, given_for)
    if not isinstance(client, OPEA):
        raise ConfigurationError(
            f"client= takes an opea_core.OPEA object, not {type(client).__name__}.",
            "An httpx client goes into http_client=, an async one into the keyword beside it.",
        )
    if beside is None:
        return client
    before = made_of(client)
    if before is not None:  # a copy of a model, with what it is to be now
        return client if before == connection else _make(connection, model, given_for)
    raise ConfigurationError(
        f"client= and {beside}= both say how to reach the server; give one of them.",
        "Set it where you make the OPEA object.",
    )


def made_of(client: Any) -> dict[str, Any] | None:
    """What an object was made of here; None for one of the caller's own."""
    found: dict[str, Any] | None = vars(client).get(_MADE_OF) if isinstance(client, OPEA) else None
    return found


def _make(
    connection: Mapping[str, Any], model: str | None, given_for: Mapping[str, frozenset[str]]
) -> OPEA:
    """A new object.

    What was given for other servers than its own does not go to them, and is not kept for its
    copies.
    """
    bound = bind(connection, given_for)
    if isinstance(bound.get("api_key"), str):
        bound["api_key"] = SecretStr(bound["api_key"])  # as the field has it
    options: dict[str, Any] = with_organization(bound) | ({"model": model} if model else {})
    made = OPEA(**options)
    lent_for = {name: given_for[name] for name in _CLIENTS if name in given_for and name in bound}
    for name, lent in lent_for.items():
        made._lend_client_to(name, lent)
    mark(made, bound)
    vars(made)[_LENT_FOR] = lent_for
    return made


def mark(client: OPEA, connection: dict[str, Any] | None) -> None:
    """Say of what an object was made here."""
    if connection is not None:
        vars(client)[_MADE_OF] = connection
