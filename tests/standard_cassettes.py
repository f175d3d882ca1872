"""Where the cassettes of the standard tests lie, what stands in them,
and when a request is the recorded one.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml
from readable_cassettes import FOLDER as ALL_CASSETTES
from readable_cassettes import LOADER, ReadableSerializer, pretty
from vcr import VCR
from vcr.request import Request

from opea_core.testing import ScriptedServer

FOLDER = ALL_CASSETTES / "scripted"
STORED_URL = "http://scripted.test/v1"
"""The base URL in the cassettes; the name leads nowhere."""
RECORDS = os.environ.get("OPEA_RECORD", "0") not in ("", "0")
SERVER = ScriptedServer() if RECORDS else None
"""The upstream while cassettes are recorded."""

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
KEPT_OF_REQUESTS = ("accept", "content-type")
KEPT_OF_RESPONSES = ("content-type",)


def base_url() -> str:
    """Where the models under test send their requests."""
    return SERVER.url if SERVER is not None else STORED_URL


def cassette_path(framework: str, cls: str, test: str) -> Path:
    """The cassette of a test item.

    ``langchain``, ``TestChatJsonSchema``, ``test_stream[model0]`` ->
    ``langchain/chat-json-schema/stream-model0.yaml``.
    """
    folder = "-".join(re.findall("[A-Z]+(?![a-z])|[A-Z][a-z]+", cls.removeprefix("Test"))).lower()
    name = re.sub(r"[^\w.]+|_", "-", test.removeprefix("test_")).strip("-")
    return FOLDER / framework / folder / f"{name}.yaml"


def checked_statuses(path: Path) -> set[int]:
    """The statuses in a cassette, which holds only what matters, and is readable."""
    recorded: list[dict[str, Any]] = yaml.load(path.read_text("utf-8"), LOADER)["interactions"]
    assert recorded, path
    for interaction in recorded:
        request, response = interaction["request"], interaction["response"]
        assert request["uri"].startswith(STORED_URL), path
        assert request["headers"].keys() <= set(KEPT_OF_REQUESTS), path
        assert response["headers"].keys() <= set(KEPT_OF_RESPONSES), path
        for body in (request["body"], response["body"]["string"]):
            assert body == pretty(body), path
    return {interaction["response"]["status"]["code"] for interaction in recorded}


def prepare(recorder: VCR) -> None:
    """Teach a recorder of this suite to compare bodies and to write readable files."""
    recorder.register_matcher("json_body", same_body)
    recorder.register_serializer("yaml", ReadableSerializer)


def request_as_stored(request: Request) -> Request:
    """The request as sent to the stored URL, with the headers that matter."""
    request.uri = request.uri.replace(base_url(), STORED_URL)
    request.headers = {
        name: value for name, value in request.headers.items() if name.lower() in KEPT_OF_REQUESTS
    }
    return request


def response_as_stored(response: dict[str, Any]) -> dict[str, Any]:
    """The response with the headers that matter, names in lower case."""
    headers = {name.lower(): values for name, values in response["headers"].items()}
    return {
        **response,
        "headers": {name: headers[name] for name in KEPT_OF_RESPONSES if name in headers},
    }


def same_body(ours: Request, recorded: Request) -> None:
    """Fails unless both bodies say the same."""
    assert comparable(ours.body) == comparable(recorded.body)


def comparable(body: bytes | None) -> Any:
    """A body without what differs from run to run (ids made by a test)
    and from Python to Python (indented docstrings).
    """
    document = json.loads(
        UUID4.sub("00000000-0000-4000-8000-000000000000", (body or b"null").decode())
    )
    for tool in document.get("tools", ()) if isinstance(document, dict) else ():
        function = tool.get("function", tool)
        if "description" in function:
            function["description"] = inspect.cleandoc(function["description"])
    return document
