"""The scripted upstream and the way its answers are played:
what makes the standard tests fail when they should.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import wave
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from pytest_socket import SocketBlockedError
from standard_cassettes import STORED_URL, cassette_path, comparable, prepare
from standard_flags import OPTIONS
from standard_media import PDF, PNG, WAV, get
from standard_strict import RefusedError, check
from standard_upstream import Upstream
from vcr import VCR

from langchain_opea import ChatOPEA
from opea_core.errors import EndpointConnectionError
from opea_core.testing import Seen

HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "1"}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


def body(*messages: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m1", "messages": list(messages or [HELLO]), **fields}


def user(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


REFUSED = {
    "no model": ({"messages": [HELLO]}, "model"),
    "no messages": ({"model": "m1", "messages": []}, "messages"),
    "unknown field": (body(ls_structured_output_format={}), "Unrecognized argument"),
    "usage without a stream": (body(stream=False, stream_options={}), "stream_options"),
    "no stop words": (body(stop=[]), "stop"),
    "unknown role": (body({"role": "human", "content": "Hello"}), "role"),
    "unknown key of a message": (body(HELLO | {"additional_kwargs": {}}), "Unrecognized argument"),
    "thinking as content": (
        body({"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}),
        "'thinking'",
    ),
    "a call as content": (
        body({"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}),
        "'tool_use'",
    ),
    "index of a block": (
        body(user({"type": "text", "text": "x", "index": 0})),
        "Unrecognized argument",
    ),
    "nothing said": (body({"role": "assistant", "content": None}), "no content"),
    "picture of another server": (body(user({"type": "image", "source": {}})), "'image'"),
    "picture that is none": (
        body(user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})),
        "no image/png",
    ),
    "picture in no base64": (
        body(user({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}})),
        "no base64",
    ),
    "sound that is none": (
        body(user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
        "no wav",
    ),
    "document without a name": (
        body(user({"type": "file", "file": {"file_data": "data:application/pdf;base64,"}})),
        "file name",
    ),
    "result without a call": (body(HELLO, RESULT), "must follow"),
    "call without a result": (body(HELLO, CALLS), "not answered: a"),
    "something else before the result": (body(HELLO, CALLS, HELLO, RESULT), "not answered: a"),
    "key of a tool": (body(tools=[TOOL | {"cache_control": {}}]), "Unrecognized argument"),
    "name of a tool": (
        body(tools=[{"type": "function", "function": {"name": "f g"}}]),
        "function name",
    ),
    "choice without tools": (body(tool_choice="auto"), "tool_choice"),
    "choice of LangChain": (body(tools=[TOOL], tool_choice="any"), "'any'"),
    "choice of no tool": (
        body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}),
        "not among",
    ),
    "JSON that is not spoken of": (body(response_format={"type": "json_object"}), "json"),
    "form without a name": (
        body(
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
        ),
        "name",
    ),
}
TAKEN = {
    "words": body(),
    "a call and its result": body(HELLO, CALLS, RESULT, tools=[TOOL], tool_choice="required"),
    "a call without words": body(HELLO, CALLS | {"content": None}, RESULT),
    "a mark for the cache": body(
        user({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}})
    ),
}


def asked(upstream: Upstream, document: Any, path: str = "/v1/chat/completions") -> tuple[int, Any]:
    """Status and document of an answer."""
    raw = json.dumps(document).encode()
    answer = upstream(Seen("POST", path, {}, {}, raw, json.loads(raw), 1))
    return answer.status, json.loads(answer.body)


class TestStrictness:
    @pytest.mark.parametrize(("document", "why"), REFUSED.values(), ids=REFUSED)
    def test_refuses(self, document: dict[str, Any], why: str) -> None:
        with pytest.raises(RefusedError, match=why):
            check(document)

    @pytest.mark.parametrize("document", TAKEN.values(), ids=TAKEN)
    def test_takes(self, document: dict[str, Any]) -> None:
        check(document)

    def test_refusals_are_answers_of_the_protocol(self) -> None:
        status, document = asked(Upstream(), body(stop=[]))
        assert status == 400
        assert document["error"]["type"] == "invalid_request_error"

    def test_refuses_to_embed_tokens(self) -> None:
        assert asked(Upstream(), {"model": "m1", "input": [[1, 2]]}, "/v1/embeddings")[0] == 400


class TestAnswers:
    def test_come_under_the_name_that_was_asked_for(self) -> None:
        assert asked(Upstream(), body(model="m2"))[1]["model"] == "m2"

    def test_numbers_and_quoted_words_go_into_a_call(self) -> None:
        fields = {
            "a": {"type": "integer"},
            "b": {"type": "integer"},
            "name": {"type": "string"},
            "why": {"type": "string"},
        }
        parameters = {"type": "object", "properties": fields, "required": list(fields)}
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        prompt = {"role": "user", "content": "Add 3 to 4 for '你好'."}
        (call,) = asked(Upstream(), body(prompt, tools=[tool]))[1]["choices"][0]["message"][
            "tool_calls"
        ]
        assert json.loads(call["function"]["arguments"]) == {
            "a": 3,
            "b": 4,
            "name": "你好",
            "why": "text",
        }

    def test_a_marked_prompt_is_kept(self) -> None:
        upstream, kept = (
            Upstream(),
            body(user({"type": "text", "text": "a b c", "cache_control": {"type": "ephemeral"}})),
        )
        details = [asked(upstream, kept)[1]["usage"]["prompt_tokens_details"] for _ in range(2)]
        assert [(d["cached_tokens"], d["cache_creation_tokens"]) for d in details] == [
            (0, 3),
            (3, 0),
        ]

    def test_an_upstream_begins_with_nothing_kept(self) -> None:
        details = asked(Upstream(), body())[1]["usage"]["prompt_tokens_details"]
        assert details == {"audio_tokens": 0, "cached_tokens": 0, "cache_creation_tokens": 0}


class TestFiles:
    """They are valid, so that a server that looks inside would take them."""

    def test_picture(self) -> None:
        parts, at = [], 8
        while at < len(PNG):
            (length,) = struct.unpack_from(">I", PNG, at)
            kind, data = PNG[at + 4 : at + 8], PNG[at + 8 : at + 8 + length]
            assert struct.unpack_from(">I", PNG, at + 8 + length) == (zlib.crc32(kind + data),)
            parts.append(kind)
            at += 12 + length
            if kind == b"IDAT":
                assert len(zlib.decompress(data)) == 8 * (1 + 3 * 8)
        assert parts == [b"IHDR", b"IDAT", b"IEND"]

    def test_sound(self) -> None:
        with wave.open(io.BytesIO(WAV)) as sound:
            assert (sound.getframerate(), sound.getnchannels(), len(sound.readframes(1000))) == (
                8000,
                1,
                80,
            )

    def test_document(self) -> None:
        *_, start, end = PDF.split()
        table = PDF[int(start) :]
        assert end == b"%%EOF"
        assert table.startswith(b"xref\n0 6\n")
        places = [int(line[:10]) for line in table.splitlines()[3:8]]
        assert all(
            PDF[place:].startswith(b"%d 0 obj" % number) for number, place in enumerate(places, 1)
        )

    @pytest.mark.parametrize(
        ("url", "file"),
        [
            ("https://x.test/a.png", PNG),
            ("https://x.test/b.pdf", PDF),
            ("https://x.test/c.wav", WAV),
        ],
    )
    def test_stand_for_downloads(self, url: str, file: bytes) -> None:
        assert get(url, timeout=10.0).content == file


class TestPlaying:
    def test_a_request_that_was_not_recorded_fails(self, vcr_config: dict[str, Any]) -> None:
        recorder = VCR(record_mode="none")
        prepare(recorder)
        path = cassette_path("langchain", "TestChatAutomatic", "test_invoke")
        model = ChatOPEA(**OPTIONS, max_retries=0)
        with recorder.use_cassette(str(path), **vcr_config) as cassette:
            with pytest.raises(
                EndpointConnectionError, match="CannotOverwriteExistingCassetteException"
            ):
                model.invoke("Something else")
            assert not cassette.all_played
            assert model.invoke("Hello").content
            assert cassette.all_played

    @pytest.mark.filterwarnings("ignore:A test tried to use socket")
    def test_no_socket_can_be_opened(self) -> None:
        with pytest.raises(SocketBlockedError):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (
                {"id": "03f7ddac-920b-43ce-8681-5b8e776afd5e"},
                {"id": "4fda4bb8-ce94-4bc0-ac37-b630b92ddc28"},
            ),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            (
                {"tools": [{"function": {"description": "Adds.\n\n            Two numbers."}}]},
                {"tools": [{"function": {"description": "Adds.\n\nTwo numbers."}}]},
            ),
        ],
        ids=["ids made by a test", "order of keys", "indented docstring"],
    )
    def test_requests_that_are_the_same(self, one: Any, other: Any) -> None:
        assert comparable(json.dumps(one).encode()) == comparable(json.dumps(other).encode())

    @pytest.mark.parametrize("other", [{"id": "a"}, {"content": "Hello."}, {}, None])
    def test_requests_that_differ(self, other: Any) -> None:
        assert comparable(json.dumps({"content": "Hello"}).encode()) != comparable(
            json.dumps(other).encode()
        )

    def test_a_request_without_a_body(self) -> None:
        assert comparable(None) is None

    def test_models_under_test_ask_the_stored_url(self) -> None:
        assert ChatOPEA(**OPTIONS).base_url == STORED_URL
