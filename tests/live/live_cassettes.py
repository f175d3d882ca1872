"""What a cassette looks like: vcrpy's YAML, made readable, with nothing in it that only this machine knows.

JSON bodies are laid out over several lines, streams stand as they came, compressed bodies are stored as
text and compressed again when they are loaded. Of the headers only those stay that opea_core looks at.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

import pytest
import vcr
import yaml
from vcr.request import Request

FOLDER = Path(__file__).parents[2] / "cassettes"
KEPT = ("content-type", "content-encoding", "retry-after", "x-request-id")
KEPT_OF_LITELLM = (
    "llm_provider-retry-after",
    "x-litellm-attempted-fallbacks",
    "x-litellm-attempted-retries",
    "x-litellm-call-id",
    "x-litellm-model-group",
    "x-litellm-version",
)
WIDTH = 130


def cassette_path(server: str, test: str) -> Path:
    """The cassette of a test, from the name of its function."""
    return FOLDER / server / f"{test.removeprefix('test_').replace('_', '-')}.yaml"


@contextmanager
def no_network() -> Iterator[None]:
    """Every attempt to connect fails the test, even if something on the way swallows the failure."""
    attempts: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        attempts.append(address)
        pytest.fail(f"the test tried to connect to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        yield
    assert not attempts, f"the test tried to connect to {attempts}"


def make_vcr(addresses: Mapping[str, str]) -> vcr.VCR:
    """A recorder; ``addresses`` says under which URL each server's own URL stands in the cassettes."""

    def request_as_stored(request: Request) -> Request:
        for real, stored in addresses.items():
            if request.uri.startswith(real):
                request.uri = stored + request.uri.removeprefix(real)
                break
        request.headers = {name: value for name, value in request.headers.items() if name.lower() in ("accept", "content-type")}
        return request

    recorder = vcr.VCR(
        serializer="readable",
        match_on=["method", "path", "json"],
        before_record_request=request_as_stored,
        before_record_response=response_as_stored,
    )
    recorder.register_serializer("readable", ReadableSerializer)
    recorder.register_matcher("json", same_json)
    return recorder


def response_as_stored(response: dict[str, Any]) -> dict[str, Any]:
    """The response with the headers that matter, names in lower case."""
    headers = {name.lower(): values for name, values in response["headers"].items()}
    return {**response, "headers": {name: headers[name] for name in (*KEPT, *KEPT_OF_LITELLM) if name in headers}}


def same_json(ours: Request, recorded: Request) -> None:
    """Fails unless both bodies say the same, however they are laid out."""
    assert _document(ours.body) == _document(recorded.body)


def _document(body: bytes | None) -> Any:
    return json.loads(body) if body else None


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
        cassette: dict[str, Any] = yaml.safe_load(text)
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
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


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
        entries = [_laid_out(item, indent + 2, f"{json.dumps(name, ensure_ascii=False)}: ") for name, item in value.items()]
        return f"{key}{{\n{inner}" + f",\n{inner}".join(entries) + f"\n{' ' * indent}}}"
    if any(isinstance(item, dict | list | str) for item in value):
        entries = [_laid_out(item, indent + 2) for item in value]
        return f"{key}[\n{inner}" + f",\n{inner}".join(entries) + f"\n{' ' * indent}]"
    lines = wrap(json.dumps(value)[1:-1], WIDTH, initial_indent=inner, subsequent_indent=inner)
    return f"{key}[\n" + "\n".join(lines) + f"\n{' ' * indent}]"
