"""The recorder of the live suite: of the headers only those stay that opea_core looks at."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import vcr
from readable_cassettes import FOLDER, ReadableSerializer
from vcr.request import Request

KEPT = ("content-type", "content-encoding", "retry-after", "x-request-id")
KEPT_OF_LITELLM = (
    "llm_provider-retry-after",
    "x-litellm-attempted-fallbacks",
    "x-litellm-attempted-retries",
    "x-litellm-call-id",
    "x-litellm-model-group",
    "x-litellm-version",
)


def cassette_path(server: str, test: str) -> Path:
    """The cassette of a test, from the name of its function."""
    return FOLDER / server / f"{test.removeprefix('test_').replace('_', '-')}.yaml"


@contextmanager
def no_network() -> Iterator[None]:
    """Every attempt to connect fails the test,
    even if something on the way swallows the failure.
    """
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
    """A recorder; ``addresses`` says under which URL each server's own URL stands
    in the cassettes.
    """

    def request_as_stored(request: Request) -> Request:
        for real, stored in addresses.items():
            root = real.removesuffix("/v1") + "/"
            if request.uri.startswith(root):
                request.uri = stored.removesuffix("v1") + request.uri.removeprefix(root)
                break
        request.headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("accept", "content-type")
        }
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
    """The response with the headers that matter, names in lower case,
    and no folders in its body.
    """
    headers = {name.lower(): values for name, values in response["headers"].items()}
    body = re.sub(rb'("model_path": ?")[^"]*/', rb"\1", response["body"]["string"])
    return {
        **response,
        "headers": {name: headers[name] for name in (*KEPT, *KEPT_OF_LITELLM) if name in headers},
        "body": {**response["body"], "string": body},
    }


def same_json(ours: Request, recorded: Request) -> None:
    """Fails unless both bodies say the same, however they are laid out."""
    assert _document(ours.body) == _document(recorded.body)


def _document(body: bytes | None) -> Any:
    return json.loads(body) if body else None
