"""The cassettes themselves: nothing secret in them, none forgotten,
and none that a test could leave aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import test_langchain_litellm
import test_langchain_llama_server
import test_litellm
import test_llama_index_litellm
import test_llama_index_llama_server
import test_llama_server
import test_responses_litellm
import test_responses_llama_server
import yaml
from live_cassettes import (
    KEPT,
    KEPT_OF_LITELLM,
    cassette_path,
    make_vcr,
    no_network,
    response_as_stored,
)
from live_servers import RECORDER, SERVERS
from readable_cassettes import FOLDER, LOADER, ReadableSerializer, pretty, private_parts
from vcr.errors import CannotOverwriteExistingCassetteException
from vcr.request import Request

from opea_core import OPEA
from opea_core.errors import EndpointConnectionError

TESTS = {
    "llama-server": (
        test_llama_server.TestLlamaServer,
        test_responses_llama_server.TestResponsesLlamaServer,
        test_langchain_llama_server.TestLangChainLlamaServer,
        test_llama_index_llama_server.TestLlamaIndexLlamaServer,
    ),
    "litellm": (
        test_litellm.TestLiteLLM,
        test_responses_litellm.TestResponsesLiteLLM,
        test_langchain_litellm.TestLangChainLiteLLM,
        test_llama_index_litellm.TestLlamaIndexLiteLLM,
    ),
}
NAMES = {
    server: [name for cases in classes for name in dir(cases) if name.startswith("test_")]
    for server, classes in TESTS.items()
}
FILES = [cassette_path(server, name) for server, names in NAMES.items() for name in names]
README = FOLDER / "README.md"
HOSTS = r"127\.0\.0\.1[:/]|docs\.litellm\.ai/"


@cache
def section(server: str) -> str:
    """What the README says about a folder."""
    parts = re.split(r"^## ", README.read_text("utf-8"), flags=re.MULTILINE)
    return next(part for part in parts if part.startswith(f"{server}/"))


def complaints(text: str, name: str, origin: str) -> Iterator[str]:
    """What is wrong with the text of a cassette;
    ``origin`` is the README's section about its folder.
    """
    interactions = yaml.load(text, Loader=LOADER)["interactions"]
    for what, found in private_parts(text, HOSTS).items():
        yield f"it holds {what}: {found!r}"
    if not interactions:
        yield "it holds no request"
    for number, interaction in enumerate(interactions):
        yield from (f"request {number}: {what}" for what in _complaints_of_one(interaction))
    if r"\n" in re.sub(r'"(\\.|[^"\\])*"', "", text):
        yield "bodies are quoted text, not blocks"
    if f"`{name}`" not in origin:
        yield "the README does not list it by origin"
    versions = set(re.findall(r'"system_fingerprint": ?"([^"]+)"', text)) | set(
        re.findall(r"x-litellm-version:\s+- (\S+)", text)
    )
    yield from (
        f"the README does not state version {version}"
        for version in sorted(versions)
        if version not in origin
    )


def _complaints_of_one(interaction: dict[str, Any]) -> Iterator[str]:
    request, response = interaction["request"], interaction["response"]
    kept = {"request": {"accept", "content-type"}, "response": {*KEPT, *KEPT_OF_LITELLM}}
    for side, body in (("request", request["body"]), ("response", response["body"]["string"])):
        if needless := interaction[side]["headers"].keys() - kept[side]:
            yield f"headers of the {side} that nobody needs: {sorted(needless)}"
        if not isinstance(body, str):
            yield f"the body of the {side} is no text"
        elif body != pretty(body):
            yield f"the body of the {side} is not laid out"


@pytest.mark.parametrize("server", TESTS)
def test_cassettes_are_readable_listed_and_hold_nothing_private_or_needless(server: str) -> None:
    paths = [cassette_path(server, name) for name in NAMES[server]]
    found = {
        path.name: list(complaints(path.read_text("utf-8"), path.name, section(server)))
        for path in paths
    }
    assert found == {path.name: [] for path in paths}


def test_everything_wrong_with_a_cassette_is_told() -> None:
    text = (FOLDER / "llama-server" / "chat.yaml").read_text("utf-8")
    version = text.partition('"system_fingerprint": "')[2].partition('"')[0]
    for old, new in [
        ("accept:", "x-api-key:"),
        ("content-type:", "x-powered-by:"),
        ('"temperature": 0,', '"temperature":  0,'),
        ('"content": "Say', '"content": "Bearer Say'),
        (version, "b0-0000000"),
        ("message: OK", r"message: OK\n"),
    ]:
        assert old in text
        text = text.replace(old, new)

    assert list(complaints(text, "forgotten.yaml", section("llama-server"))) == [
        "it holds credentials: 'Bearer'",
        "request 0: headers of the request that nobody needs: ['x-api-key', 'x-powered-by']",
        "request 0: the body of the request is not laid out",
        "request 0: headers of the response that nobody needs: ['x-powered-by']",
        "bodies are quoted text, not blocks",
        "the README does not list it by origin",
        "the README does not state version b0-0000000",
    ]
    assert list(complaints("interactions: []", "chat.yaml", section("llama-server"))) == [
        "it holds no request"
    ]


@pytest.mark.parametrize("server", SERVERS)
def test_each_test_has_a_cassette_and_each_cassette_a_test(server: str) -> None:
    assert {path for path in FILES if path.parent.name == server} == set(
        (FOLDER / server).iterdir()
    )


def test_every_folder_is_a_server_or_scripted() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*SERVERS, "scripted", README.name}


class TestHarness:
    """What makes the other tests fail when they should."""

    CHAT = FOLDER / "llama-server" / "chat.yaml"

    def test_a_request_that_was_not_recorded_fails(self) -> None:
        opea = OPEA(base_url=SERVERS["llama-server"].url, model="tiny-chat")
        with (
            opea,
            no_network(),
            RECORDER.use_cassette(str(self.CHAT), record_mode="none") as cassette,
        ):
            with pytest.raises(EndpointConnectionError) as caught:
                opea.chat("Something else.")
            assert isinstance(caught.value.__cause__, CannotOverwriteExistingCassetteException)
            assert not cassette.all_played

    @pytest.mark.parametrize("swallow", [False, True])
    def test_no_way_to_the_network(self, swallow: bool) -> None:
        def attempt() -> None:
            with socket.socket() as sock, contextlib.suppress(BaseException if swallow else ()):
                sock.connect(("127.0.0.1", 9))

        with (
            pytest.raises(
                AssertionError if swallow else pytest.fail.Exception, match="tried to connect"
            ),
            no_network(),
        ):
            attempt()

    async def test_no_way_to_the_network_from_a_loop(self) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(pytest.fail.Exception, match="tried to connect"), no_network():
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 9))

    def test_compressed_bodies_are_stored_as_text(self) -> None:
        def cassette() -> dict[str, list[dict[str, dict[str, object]]]]:
            response = {
                "headers": {"content-encoding": ["gzip"]},
                "body": {"string": gzip.compress('{"text": "café"}'.encode())},
            }
            return {"interactions": [{"request": {"body": '{"n": 1}'}, "response": response}]}

        text = ReadableSerializer.serialize(cassette())
        assert '{"text": "café"}' in text
        loaded = ReadableSerializer.deserialize(text)["interactions"][0]["response"]["body"][
            "string"
        ]
        assert json.loads(gzip.decompress(loaded)) == {"text": "café"}

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/props"])
    def test_urls_are_stored_as_the_readme_has_them(self, path: str) -> None:
        recorder = make_vcr({"http://gpu.corp:9000/llama/v1": "http://127.0.0.1:8080/v1"})
        request = recorder.before_record_request(
            Request("GET", f"http://gpu.corp:9000/llama{path}", b"", {})
        )
        assert request.uri == f"http://127.0.0.1:8080{path}"

    def test_folders_of_the_model_are_not_stored(self) -> None:
        stored = response_as_stored(
            {
                "headers": {},
                "body": {"string": b'{"model_path":"/data/models/tiny.gguf","model_alias":"a/b"}'},
            }
        )
        assert json.loads(stored["body"]["string"]) == {
            "model_path": "tiny.gguf",
            "model_alias": "a/b",
        }

    @pytest.mark.parametrize(
        "document",
        [
            {"a": ["x" * 200, {"b": None}]},
            [0.1, -1e-9] * 200,
            {"vectors": [[0.5] * 99] * 2},
            [],
            {},
            "plain",
            {"é": "🙂"},
        ],
    )
    def test_laying_out_changes_nothing(self, document: object) -> None:
        text = pretty(json.dumps(document))
        assert json.loads(text) == document
        assert pretty(text) == text
        assert max(map(len, text.splitlines())) <= 210
