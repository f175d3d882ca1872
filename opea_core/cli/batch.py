"""``opea batch``: a file in, a file out."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opea_core import OPEA, ConfigurationError
from opea_core.batch import Summary
from opea_core.batch import run as run_batch
from opea_core.cli.batch_ray import run_on_ray
from opea_core.cli.screen import make_screen
from opea_core.cli.servers import connect
from opea_core.urls import parse_base_url

_REPEATED = ("url", "set")
_VALUES = (
    "url",
    "endpoints",
    "model",
    "max_concurrent",
    "rpm",
    "tpm",
    "shared_limits",
    "template",
    "system",
    "set",
    "schema",
    "limit",
    "shard",
    "stop_after_errors",
    "form",
)
_FLAGS = ("ordered", "summary_json")
_OURS = ("messages", "model", "output_schema", "response_format", "stream")


def run(arguments: argparse.Namespace) -> int:
    """Run the batch and tell what came of it; gives the exit status."""
    if arguments.summary_json and arguments.output == "-":
        raise ConfigurationError("--summary-json and -o - both write to standard output.")
    options = read_options(arguments.set)
    if arguments.ray is not None:
        return run_on_ray(arguments, options, connection(arguments))
    with made(arguments) as opea:
        summary = run_batch(
            opea,
            arguments.input,
            arguments.output,
            options=options,
            template=arguments.template,
            system=arguments.system,
            model=arguments.model,
            schema=arguments.schema,
            max_concurrent=arguments.max_concurrent,
            limit=arguments.limit,
            shard=arguments.shard,
            retry_failed=arguments.retry_failed,
            redo_changed=arguments.redo_changed,
            ordered=arguments.ordered,
            form=arguments.form,
            stop_after_errors=arguments.stop_after_errors,
            progress=arguments.progress,
        )
    if arguments.input != "-" and arguments.output != "-":
        summary.command = command(arguments, summary)
    if arguments.summary_json:
        print(json.dumps(summary.to_dict(), ensure_ascii=False, indent=1))
    for line in summary.lines():
        print(line, file=sys.stderr)
    return summary.exit_code


def read_options(given: list[str]) -> dict[str, Any]:
    """``temperature=0.2`` and so on; raises ConfigurationError for what is no NAME=JSON."""
    found: dict[str, Any] = {}
    for text in given:
        name, is_there, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            is_there = ""
        if not is_there or not re.fullmatch(r"\w+", name):
            raise ConfigurationError(
                f"--set {text}: it is written as NAME=JSON.",
                "For example --set temperature=0.2 or --set 'user=\"me\"'.",
            )
        if name in _OURS:
            raise ConfigurationError(f"--set cannot say {name}: the rows, --model and --schema do.")
    return found


def made(arguments: argparse.Namespace) -> OPEA:
    """The object for the servers of a command line."""
    given = connection(arguments)
    if given is not None:
        return OPEA(**given)
    plain = argparse.Namespace(url=None, key=arguments.key, model=arguments.model)
    found, limits = connect(plain, make_screen()), _limits(arguments)
    if not limits:
        return found
    with found:
        return OPEA(endpoints=found.endpoints, model=found.model, **limits)


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a command line says of requests and tokens a minute, and who else keeps to it."""
    names = ("rpm", "tpm", "shared_limits")
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name)}


def connection(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The keywords of ``OPEA`` for the servers that a command line names; None if it names none."""
    if arguments.endpoints is not None:
        if arguments.url or arguments.key is not None:
            raise ConfigurationError(
                "--endpoints says where to send and with which keys.",
                "Give no --url and no --key beside it.",
            )
        found = read_endpoints(Path(arguments.endpoints))
        return found | _named_model(arguments) | _limits(arguments)
    if not arguments.url:
        return None
    key = arguments.key if arguments.key is not None else os.environ.get("OPEA_API_KEY")
    origins = {parse_base_url(url).origin for url in arguments.url}
    if len(origins) > 1 and key is not None:
        if arguments.key is not None:
            raise ConfigurationError(
                "--key does not say for which of several servers it is.",
                "Write the servers into a file for --endpoints, each with its api_key_env.",
            )
        print(
            "OPEA_API_KEY is not sent: the URLs are of several servers. See --endpoints.",
            file=sys.stderr,
        )
        key = None
    named = {**_named_model(arguments), **_limits(arguments)}
    return {"endpoints": arguments.url, "api_key": key, **named}


def _named_model(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"model": arguments.model} if arguments.model else {}


def read_endpoints(path: Path) -> dict[str, Any]:
    """Options of ``OPEA`` from a TOML file; ``api_key_env`` names a variable that has the key."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    servers = found.get("endpoints")
    if not isinstance(servers, list) or not all(isinstance(one, Mapping) for one in servers):
        raise ConfigurationError(
            f"{path} has no [[endpoints]].",
            'Write [[endpoints]] and below it base_url = "http://...".',
        )
    return {**found, "endpoints": [_with_key(one, path) for one in servers]}


def _with_key(server: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found = dict(server)
    name = found.pop("api_key_env", None)
    if name is not None:
        if not os.environ.get(str(name)):
            raise ConfigurationError(
                f"The variable {name} is not set, and {path} names it for the key of "
                f"{parse_base_url(str(found.get('base_url'))).root}."
            )
        found["api_key"] = os.environ[str(name)]
    return found


def command(arguments: argparse.Namespace, summary: Summary) -> str:
    """The command that goes on, with no key and no password in it."""
    line = ["opea", "batch", arguments.input, "-o", arguments.output]
    for name in _VALUES:
        value = getattr(arguments, name)
        option = f"--{name.replace('_', '-')}"
        for item in value if name in _REPEATED else [value]:
            if item is not None:
                line += [option, _shown_url(item) if name == "url" else str(item)]
    line += [f"--{name.replace('_', '-')}" for name in _FLAGS if getattr(arguments, name)]
    text = shlex.join(line)
    if arguments.key is not None:
        text += ' --key "$OPEA_API_KEY"'
    is_over = summary.stopped is None and not summary.interrupted and summary.failed
    if is_over and not any(kind.retryable for kind in summary.failed.values()):
        text += " --retry-failed"
    return text


def _shown_url(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)
