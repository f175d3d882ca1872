"""Which server a command talks to: the one that is named, or one that runs on this computer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from opea_core import OPEA, AuthenticationError, ModelInfo, OPEAError
from opea_core.cli.screen import Screen
from opea_core.display_text import fit

_LISTED = 20


class CommandError(Exception):
    """What keeps a command from going on, in lines for its user."""


class Usual(NamedTuple):
    """A port of this computer where a kind of server usually listens."""

    port: int
    what: str
    start: str
    """How one is started."""

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://localhost:{self.port}"


USUAL: tuple[Usual, ...] = (
    Usual(11434, "Ollama", "ollama run llama3.2"),
    Usual(1234, "LM Studio", "lms server start"),
    Usual(8000, "vLLM", "vllm serve MODEL"),
    Usual(8080, "llama.cpp", "llama-server -m MODEL.gguf"),
    Usual(30000, "SGLang", "python -m sglang.launch_server --model-path MODEL"),
    Usual(4000, "LiteLLM", "litellm --model PROVIDER/MODEL"),
    Usual(1337, "Jan", "in Jan: Settings, Local API Server, Start"),
)
"""Where servers are looked for if none is named."""
_LIMITS = (0.3, 1.0)
"""Seconds to connect, and to answer: what is on this computer and idle needs far less."""


class Found(NamedTuple):
    """A server of this computer."""

    where: Usual
    models: list[ModelInfo] | None
    """None if it wants a key before it tells."""


def connect(arguments: argparse.Namespace, screen: Screen, url: str | None = None) -> OPEA:
    """An OPEA object for the server of a command; says which if it had to be looked for.

    Raises CommandError if there is none, or more than one.
    """
    url = url or arguments.url or os.environ.get("OPEA_API_URL")
    options: dict[str, Any] = {} if arguments.key is None else {"api_key": arguments.key}
    if arguments.model:
        options["model"] = arguments.model
    if url is not None:
        return OPEA(url, **options)
    found = look()
    if not found:
        raise CommandError(f"No server was found on this computer.\n{_how_to_start()}")
    if len(found) > 1:
        lines = [f"  --url {one.where.url}  {_about(one)}" for one in found]
        raise CommandError("\n".join(["There are several servers. Choose one:", *lines]))
    if found[0].models is None and "api_key" not in options:
        url = found[0].where.url  # the key of the environment is for a server that was named
        raise CommandError(f"The server at {url} wants a key.\nGive it: --url {url} --key KEY")
    screen.aside(f"Found a server at {found[0].where.url}: {_about(found[0])}.")
    options.setdefault("api_key", None)
    return OPEA(found[0].where.url, **options)


def look(places: Sequence[Usual] | None = None) -> list[Found]:
    """The servers that answer at the usual ports, asked all at once and without a key."""
    places = USUAL if places is None else places
    with ThreadPoolExecutor(len(places)) as pool:
        return [found for found in pool.map(_ask, places) if found is not None]


def _ask(place: Usual) -> Found | None:
    limits = {"timeout": _LIMITS, "max_retries": 0, "recovery_wait": 0.0}
    with OPEA(place.url, api_key=None, trust_env=False, **limits) as opea:  # type: ignore[arg-type]
        try:
            return Found(place, opea.models())
        except AuthenticationError:
            return Found(place, None)
        except OPEAError:  # something else listens there, or nothing
            return None


def _about(found: Found) -> str:
    """What may be said of it: its port is only where such a server usually is."""
    usual = f"the usual port of {found.where.what}"
    if found.models is None:
        return f"{usual}; it wants a key (--key)"
    names = [fit(model.id, 80) for model in found.models]
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    count = f"{len(names)} model{'' if len(names) == 1 else 's'}"
    return f"{usual}, {count}: {shown}" if names else f"{usual}, no model is loaded"


def _how_to_start() -> str:
    width = max(len(place.what) for place in USUAL)
    lines = [f"  {place.what:<{width}}  {place.start}" for place in USUAL]
    ports = ", ".join(str(place.port) for place in USUAL)
    return (
        f"Asked were the ports {ports} of localhost. Start one:\n" + "\n".join(lines) + "\n"
        "For a server elsewhere give --url (and --key) or set OPEA_API_URL (and OPEA_API_KEY).\n"
        "To see it work without a server: opea demo"
    )


def choose_model(opea: OPEA, screen: Screen, listed: list[ModelInfo] | None = None) -> str:
    """The model that was named, or the only one of the server, which is said.

    Raises CommandError if one must be chosen.
    """
    if opea.model is not None:
        return opea.model
    models = opea.models() if listed is None else listed
    if not models:
        raise CommandError("The server has no model.\nLoad one there, or name one with --model.")
    if len(models) > 1:
        lines = [f"  --model {fit(model.id, 200)}" for model in models[:_LISTED]]
        lines += [f"  and {len(models) - _LISTED} more"] if len(models) > _LISTED else []
        first = f"The server has {len(models)} models. Choose one:"
        raise CommandError("\n".join([first, *lines]))
    screen.aside(f"Its model is {fit(models[0].id, 200)}.")
    return models[0].id
