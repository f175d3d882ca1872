"""Secrets belong to the origins they were given for.

Options come in layers: what a call of a constructor gives, over what the object it copies was
given, over a subclass's defaults, over metadata, over the environment. A layer that names servers
gave its keys, headers and certificates for those. When a layer above it names others, they must not
follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opea_core.config import Endpoint
from opea_core.urls import DEFAULT_URL, parse_base_url

SECRETS = frozenset({"api_key", "api_keys", "headers", "query", "cert", "organization"})
_KEYS = ("api_key", "api_keys")
_HEADERS = ("headers", "organization")


def origins(options: Mapping[str, Any]) -> frozenset[str]:
    """Scheme, host and port of every server that the options name, or of the default one."""
    specs = options.get("endpoints")
    if specs is None:
        return frozenset(
            {
                parse_base_url(
                    options.get("base_url") or DEFAULT_URL, options.get("append_v1")
                ).origin
            }
        )
    return frozenset(_origin(spec) for spec in specs)


def names_servers(options: Mapping[str, Any]) -> bool:
    """Whether the options say where to send."""
    return options.get("endpoints") is not None or options.get("base_url") is not None


def bind(options: Mapping[str, Any], given_for: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """The options without the secrets that are not for these servers.

    Of the secrets that were given for some origins (by their names), what goes to other ones is
    left out.
    """
    names = SECRETS & given_for.keys() & options.keys()
    if not names or not _is_readable(options.get("endpoints")):
        return dict(options)
    targets = origins(options)
    split = {name for name in names if not targets <= given_for[name]}
    if not split:
        return dict(options)
    kept = {name: value for name, value in options.items() if name not in split}
    if options.get("endpoints") is not None:
        specs = [
            (spec, {name: options[name] for name in split if _origin(spec) in given_for[name]})
            for spec in options["endpoints"]
        ]
        kept["endpoints"] = [
            each for spec, secrets in specs for each in _with_secrets(spec, secrets, kept)
        ]
    if not any(name in kept for name in _KEYS):
        kept["api_key"] = ""  # nor that of the environment
    return kept


def with_organization(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with ``organization`` as the header that it is."""
    found = {name: value for name, value in options.items() if name != "organization"}
    if options.get("organization"):
        found["headers"] = {
            "OpenAI-Organization": options["organization"],
            **(found.get("headers") or {}),
        }
    return found


def _is_readable(specs: Any) -> bool:
    """Whether the list of endpoints can be looked through.

    If not, there is an error of its own about it.
    """
    if specs is None:
        return True
    is_list = isinstance(specs, Sequence) and not isinstance(specs, str | bytes)
    return is_list and all(
        isinstance(spec, str | Endpoint) or (isinstance(spec, Mapping) and "base_url" in spec)
        for spec in specs
    )


def _origin(spec: str | Mapping[str, Any] | Endpoint) -> str:
    url = (
        spec
        if isinstance(spec, str)
        else spec.base_url
        if isinstance(spec, Endpoint)
        else spec["base_url"]
    )
    return parse_base_url(url).origin


def _with_secrets(spec: Any, secrets: Mapping[str, Any], shared: Mapping[str, Any]) -> list[Any]:
    """An endpoint with the secrets that were given for its origin, beside what all share.

    One for each of several keys.
    """
    if not secrets:
        return [spec]
    own: Mapping[str, Any] = {"base_url": spec} if isinstance(spec, str) else spec
    if isinstance(spec, Endpoint):
        own = {name: getattr(spec, name) for name in spec.model_fields_set}
    if secrets.keys() & _HEADERS:  # an endpoint's headers replace those that all share
        secrets = with_organization(
            {**{name: shared[name] for name in _HEADERS if name in shared}, **secrets}
        )
    keys = secrets.get("api_keys") or [secrets.get("api_key")]
    others = {name: value for name, value in secrets.items() if name not in _KEYS}
    return [{**others, **({} if key is None else {"api_key": key}), **own} for key in keys]
