"""Cassettes that people can read: vcrpy's YAML with bodies laid out,
and nothing in it that only this machine knows.

JSON bodies are laid out over several lines, streams stand as they came, compressed bodies are
stored as text and compressed again when they are loaded.
"""

from __future__ import annotations

import gzip
import json
import platform
import re
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "cassettes"
WIDTH = 130
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one written in C is ten times as fast."""
FORBIDDEN = {
    "a key": r"\bsk-\w",
    "credentials": r"(?i)bearer|authorization|cookie|password",
    "a path of a machine": r"(?<![\w+/])/(root|home|work|tmp|Users)\b",
    "an address": r"\b(?!127\.0\.0\.1\b)\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b",
}


def private_parts(text: str, hosts: str) -> dict[str, str]:
    """What should not stand in a cassette; ``hosts`` is a pattern of the hosts whose URLs may."""
    patterns = {**FORBIDDEN, "a host": rf"https?://(?!{hosts})"}
    machine = platform.node()
    if re.search(r"[\d.-]", machine):  # not where it could be any word
        patterns["the name of this machine"] = rf"(?i)\b{re.escape(machine)}\b"
    return {
        what: match[0] for what, pattern in patterns.items() if (match := re.search(pattern, text))
    }


class ReadableSerializer:
    """Cassettes as YAML with their bodies as blocks of text."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        """The text of a cassette file."""
        for interaction in cassette["interactions"]:
            request, response = interaction["request"], interaction["response"]
            request["body"] = pretty(request["body"] or "")
            body = response["body"]["string"]
            if _compressed(response):
                body = gzip.decompress(body).decode()
            response["body"]["string"] = pretty(body)
        return yaml.dump(cassette, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=WIDTH)

    @staticmethod
    def deserialize(text: str) -> dict[str, Any]:
        """What vcrpy makes requests and responses of."""
        cassette: dict[str, Any] = yaml.load(text, LOADER)
        for interaction in cassette["interactions"]:
            response = interaction["response"]
            if _compressed(response):
                response["body"]["string"] = gzip.compress(response["body"]["string"].encode())
        return cassette


def _compressed(response: dict[str, Any]) -> bool:
    return response["headers"].get("content-encoding") == ["gzip"]


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def pretty(body: str) -> str:
    """A JSON body over several lines; any other body as it is."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    return _laid_out(document) + "\n"


def _laid_out(value: Any, indent: int = 0, key: str = "") -> str:
    """On one line if it fits, else one entry a line; lists of plain values fill their lines."""
    line = key + json.dumps(value, ensure_ascii=False)
    if indent + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        entries = [
            _laid_out(item, indent + 2, f"{json.dumps(name, ensure_ascii=False)}: ")
            for name, item in value.items()
        ]
        return f"{key}{{\n{inner}" + f",\n{inner}".join(entries) + f"\n{' ' * indent}}}"
    if any(isinstance(item, dict | list | str) for item in value):
        entries = [_laid_out(item, indent + 2) for item in value]
        return f"{key}[\n{inner}" + f",\n{inner}".join(entries) + f"\n{' ' * indent}]"
    lines = wrap(json.dumps(value)[1:-1], WIDTH, initial_indent=inner, subsequent_indent=inner)
    return f"{key}[\n" + "\n".join(lines) + f"\n{' ' * indent}]"
