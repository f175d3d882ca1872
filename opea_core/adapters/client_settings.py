"""The ``OPEA`` object of an adapter's model: the caller's, one that is shared, or a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from opea_core.errors import ConfigurationError
from opea_core.opea import OPEA
from opea_core.secret_origins import bind, origins, with_organization

_CLIENTS = frozenset({"http_client", "async_http_client"})


@dataclass(frozen=True)
class ClientSettings:
    """What an ``OPEA`` object is made of, beside its model: models with the same share one."""

    keywords: Mapping[str, Any] = field(repr=False)
    """What was given about servers, in the core's names."""
    given_for: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """For which origins some of these were given, where not for those they name."""

    def carried(self, keywords: Mapping[str, Any], now: Collection[str]) -> dict[str, Any]:
        """Which of these ``keywords`` came along from here, and for which origins.

        ``now``: those that were given anew, for a copy.
        """
        same = {
            name
            for name, value in self.keywords.items()
            if name not in now and keywords.get(name) == value
        }
        lent = {name: lent for name, lent in self.given_for.items() if name in same}
        return {**dict.fromkeys(same, origins(self.keywords)), **lent}


def settings_of(client: object) -> ClientSettings | None:
    """What an object was made of by ``client_for``; None for one of the caller's own."""
    found = client._made_by_adapter if isinstance(client, OPEA) else None
    return found if isinstance(found, ClientSettings) else None


def remember(client: OPEA, settings: ClientSettings | None) -> None:
    """Let an object count as made by ``client_for``, or as the caller's for None."""
    # In the object: these refer to what refers to it, and are to be freed together.
    client._made_by_adapter = settings


def client_for(settings: ClientSettings, model: str | None) -> OPEA:
    """A new object.

    What was given for other servers than its own does not go to them, and is not kept for copies.
    """
    bound = bind(settings.keywords, settings.given_for)
    if isinstance(bound.get("api_key"), str):
        bound["api_key"] = SecretStr(bound["api_key"])  # as the field has it
    options: dict[str, Any] = with_organization(bound) | ({"model": model} if model else {})
    made = OPEA(**options)
    lent_for = {
        name: settings.given_for[name]
        for name in _CLIENTS
        if name in settings.given_for and name in bound
    }
    for name, lent in lent_for.items():
        made._lend_client_to(name, lent)
    remember(made, ClientSettings(bound, lent_for))
    return made


def shared_client(client: Any, settings: ClientSettings, beside: str | None) -> OPEA | None:
    """The object that ``client=`` gives; None where these settings need a new one.

    ``beside`` is what else was said about servers. Raises ConfigurationError for what is not an
    ``OPEA`` object, and for the caller's own with more said beside it.
    """
    if client is None:
        return None
    if not isinstance(client, OPEA):
        raise ConfigurationError(
            f"client= takes an opea_core.OPEA object, not {type(client).__name__}.",
            "An httpx client goes into http_client=, an async one into the keyword beside it.",
        )
    if beside is None:
        return client
    before = settings_of(client)
    if before is not None:  # a copy of a model, with what it is to be now
        return client if before.keywords == settings.keywords else None
    raise ConfigurationError(
        f"client= and {beside}= both say how to reach the server; give one of them.",
        "Set it where you make the OPEA object.",
    )


__all__ = ["ClientSettings", "client_for", "remember", "settings_of", "shared_client"]
