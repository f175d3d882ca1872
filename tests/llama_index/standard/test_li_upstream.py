"""The scripted upstream of the conformance suite, and the way its answers are played:
what makes the suite fail when it should.
"""

from __future__ import annotations

import io
import json
import socket
import wave
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from li_flags import HEADER, KEY, EveryFlag
from li_upstream import BROKEN, CUT, PROSE, REFUSED, THOUGHT, TOO_FEW, WORDS, upstream
from pytest_socket import SocketBlockedError
from standard_cassettes import STORED_URL, cassette_path, prepare
from vcr import VCR

from llama_index_opea import OPEALLM
from llama_index_opea.testing.samples import ADD, ADD_TWICE, PDF, PNG, SAY_AND_ADD, WAV
from opea_core.errors import EndpointConnectionError
from opea_core.testing import Seen

HELLO = {"role": "user", "content": "Hello"}
INTEGERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
ADDING = {"type": "function", "function": {"name": "add_numbers", "parameters": INTEGERS}}
OTHER = {
    "type": "function",
    "function": {"name": "other", "parameters": {"type": "object", "properties": {}}},
}
OLD_CALL = {
    "role": "assistant",
    "content": "",
    "function_call": {"name": "add_numbers", "arguments": "{}"},
}
OLD_RESULT = {"role": "function", "name": "add_numbers", "content": "5"}
FORM = {"type": "json_schema", "json_schema": {"name": "Sum", "schema": INTEGERS}}
RANK: dict[str, Any] = {"model": "m1", "query": "b c", "documents": ["a", "b", "b c"]}


def asked(document: Any, path: str = "/v1/chat/completions") -> tuple[int, Any]:
    """Status and document of an answer."""
    raw = json.dumps(document).encode()
    answer = upstream(Seen("POST", path, {}, {}, raw, json.loads(raw), 1))
    return answer.status, json.loads(answer.body)


def streamed(document: Mapping[str, Any]) -> str:
    raw = json.dumps({**document, "stream": True}).encode()
    return upstream(
        Seen("POST", "/v1/chat/completions", {}, {}, raw, json.loads(raw), 1)
    ).body.decode()


def body(*messages: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m1", "messages": list(messages or [HELLO]), **fields}


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def message_of(document: Any) -> dict[str, Any]:
    status, answer = asked(document)
    assert status == 200, answer
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def calls_of(document: Any) -> list[tuple[str, Any]]:
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message_of(document).get("tool_calls", ())
    ]


REFUSALS = {
    "no JSON object": ([], "no JSON object"),
    "null": (body(tool_choice=None), "Nothing is given for tool_choice"),
    "no tools": (body(tools=[]), "Nothing is given for tools"),
    "alternatives of no probabilities": (body(top_logprobs=2), "top_logprobs"),
    "a thought as text": (
        body(HELLO, {"role": "assistant", "content": THOUGHT + "Hi."}, HELLO),
        "thought",
    ),
    "LlamaIndex's roles": (body({"role": "chatbot", "content": "Hi"}), "Invalid role"),
    "LlamaIndex's blocks": (
        body({"role": "user", "content": [{"block_type": "text", "text": "Hi"}]}),
        "cannot hold",
    ),
    "an old result without its call": (body(HELLO, OLD_RESULT), "must follow"),
    "an old call without its result": (body(HELLO, OLD_CALL, HELLO), "not answered"),
    "parts that are none": (body({"role": "user", "content": ["Hi"]}), "malformed"),
}


class TestChat:
    @pytest.mark.parametrize(("document", "why"), REFUSALS.values(), ids=REFUSALS)
    def test_refuses(self, document: Any, why: str) -> None:
        status, answer = asked(document)
        assert status == 400
        assert why in answer["error"]["message"]

    def test_takes_the_old_form(self) -> None:
        assert message_of(body(HELLO, OLD_CALL, OLD_RESULT))["content"] == WORDS

    def test_says_some_words(self) -> None:
        assert message_of(body())["content"] == WORDS

    @pytest.mark.parametrize(
        ("prompt", "fields", "calls"),
        [
            (ADD, {}, [("add_numbers", {"a": 2, "b": 3})]),
            (ADD_TWICE, {}, [("add_numbers", {"a": 2, "b": 3}), ("add_numbers", {"a": 4, "b": 5})]),
            ("Hello", {}, []),
            ("Hello", {"tool_choice": "required"}, [("other", {})]),
            (ADD, {"tool_choice": "none"}, []),
            (
                ADD,
                {"tool_choice": {"type": "function", "function": {"name": "other"}}},
                [("other", {})],
            ),
        ],
        ids=["named", "twice", "not named", "required", "none", "chosen"],
    )
    def test_calls(self, prompt: str, fields: dict[str, Any], calls: list[Any]) -> None:
        assert calls_of(body(said(prompt), tools=[OTHER, ADDING], **fields)) == calls

    def test_calls_once_for_each_prompt(self) -> None:
        call = {
            "id": "a",
            "type": "function",
            "function": {"name": "add_numbers", "arguments": "{}"},
        }
        done = [
            said(ADD),
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "5"},
        ]
        assert calls_of(body(*done, tools=[ADDING])) == []
        assert len(calls_of(body(*done, said(ADD), tools=[ADDING]))) == 1

    def test_speaks_before_it_calls_when_it_is_told_to(self) -> None:
        message = message_of(body(said(SAY_AND_ADD), tools=[ADDING]))
        assert (message["content"], len(message["tool_calls"])) == ("One moment, please.", 1)

    def test_fills_in_a_form(self) -> None:
        assert json.loads(message_of(body(response_format=FORM))["content"]) == {"a": 0, "b": 0}

    def test_fills_in_a_schema_of_the_prompt_between_fences(self) -> None:
        assert (
            "```json\n" in message_of(body(said(f"Follow this: {json.dumps(INTEGERS)}")))["content"]
        )

    def test_fills_in_nothing_as_the_model_that_never_does(self) -> None:
        assert message_of(body(model=PROSE, response_format=FORM))["content"] == WORDS

    def test_thinks_when_it_is_told_how_hard(self) -> None:
        assert message_of(body(reasoning_effort="low"))["reasoning_content"] == THOUGHT

    def test_speaks_as_react_wants_it(self) -> None:
        tools = {"role": "system", "content": "> Tool Name: add_numbers"}
        assert "Action: add_numbers" in message_of(body(tools, said(ADD)))["content"]
        assert "Answer:" in message_of(body(tools, said(ADD), said("Observation: 5")))["content"]


class TestStreams:
    def test_begin_with_what_is_said(self) -> None:
        first = json.loads(streamed(body()).split("\n\n")[0].removeprefix("data: "))
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": "This "}

    def test_end_with_a_reason(self) -> None:
        text = streamed(body())
        assert '"finish_reason":"stop"' in text
        assert text.rstrip().endswith("[DONE]")

    @pytest.mark.parametrize("model", [CUT, BROKEN])
    def test_do_not_end_for_the_models_that_break_off(self, model: str) -> None:
        text = streamed(body(model=model))
        assert '"finish_reason":"stop"' not in text
        assert "[DONE]" not in text
        assert ('"error"' in text) == (model == BROKEN)


class TestOthers:
    def test_a_model_that_does_not_exist(self) -> None:
        assert asked(body(model=REFUSED))[0] == 404

    def test_vectors_come_last_first(self) -> None:
        _, answer = asked({"model": "m1", "input": ["a", "b", "c"]}, "/v1/embeddings")
        assert [each["index"] for each in answer["data"]] == [2, 1, 0]

    def test_one_vector_too_few(self) -> None:
        _, answer = asked({"model": TOO_FEW, "input": ["a", "b"]}, "/v1/embeddings")
        assert len(answer["data"]) == 1

    @pytest.mark.parametrize("texts", [[], [""], [[1, 2]], None], ids=repr)
    def test_vectors_of_nothing_are_refused(self, texts: Any) -> None:
        assert asked({"model": "m1", "input": texts}, "/v1/embeddings")[0] == 400

    def test_ranks_come_in_the_order_of_the_documents(self) -> None:
        _, answer = asked({**RANK, "top_n": 2}, "/v1/rerank")
        assert [(each["index"], each["relevance_score"]) for each in answer["results"]] == [
            (1, 0.49),
            (2, 0.98),
        ]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"documents": []},
            {"query": ""},
            {"documents": [{"text": "a"}]},
            {"top_n": 0},
            {"nodes": []},
        ],
        ids=repr,
    )
    def test_ranks_of_nothing_are_refused(self, wrong: dict[str, Any]) -> None:
        assert asked({**RANK, **wrong}, "/v1/rerank")[0] == 400


class TestFiles:
    """Those of the suite are valid, so that a server that looks inside would take them."""

    def test_picture(self) -> None:
        kinds, at = [], 8
        while at < len(PNG):
            length = int.from_bytes(PNG[at : at + 4])
            kind, data = PNG[at + 4 : at + 8], PNG[at + 8 : at + 8 + length]
            assert int.from_bytes(PNG[at + 8 + length : at + 12 + length]) == zlib.crc32(
                kind + data
            )
            kinds.append(kind)
            at += 12 + length
            assert kind != b"IDAT" or len(zlib.decompress(data)) == 64 * (1 + 3 * 64)
        assert kinds == [b"IHDR", b"IDAT", b"IEND"]

    def test_sound(self) -> None:
        with wave.open(io.BytesIO(WAV)) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (
                8000,
                1,
                1600,
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


class TestPlaying:
    """With a cassette of the suite: what is said in it, to whom it is said, and nothing else."""

    @pytest.fixture
    def cassette(self, vcr_config: dict[str, Any]) -> Any:
        recorder = VCR(record_mode="none")
        prepare(recorder)
        return recorder.use_cassette(
            str(cassette_path("llama_index", "TestLLM", "test_complete")), **vcr_config
        )

    def test_a_request_that_was_not_recorded_fails(self, cassette: Any) -> None:
        llm = OPEALLM(**EveryFlag().llm_params)
        with cassette as played:
            with pytest.raises(
                EndpointConnectionError, match="CannotOverwriteExistingCassetteException"
            ):
                llm.complete("Something else")
            assert not played.all_played
            assert llm.complete("Say hello and ask me how I am.").text == WORDS
            assert played.all_played
            with pytest.raises(
                EndpointConnectionError, match="CannotOverwriteExistingCassetteException"
            ):
                llm.complete("Say hello and ask me how I am.")

    @pytest.mark.parametrize("lost", ["api_key", "default_headers"])
    def test_a_request_without_its_key_or_header_fails(self, cassette: Any, lost: str) -> None:
        given = {name: value for name, value in EveryFlag().llm_params.items() if name != lost}
        with cassette, pytest.raises(AssertionError, match=KEY if lost == "api_key" else HEADER):
            OPEALLM(**given).complete("Say hello and ask me how I am.")

    @pytest.mark.filterwarnings("ignore:A test tried to use socket")
    def test_no_socket_can_be_opened(self) -> None:
        with pytest.raises(SocketBlockedError):
            socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def test_llms_under_test_ask_the_stored_url(self) -> None:
        assert OPEALLM(model="m1", api_base=STORED_URL).api_base == STORED_URL
