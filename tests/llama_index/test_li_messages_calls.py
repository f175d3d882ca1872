"""Tool calls and their results on the way to the server, in every form a history may have."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
from li_asking import CHATS, LLMWith, last_of
from llama_index.core.base.llms.types import DocumentBlock, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage
from pydantic import BaseModel

from llama_index_opea import OPEALLM
from opea_core import Capabilities
from opea_core.testing import ScriptedServer

LINK = "http://example.test/i.png"
PICTURE = {"type": "image_url", "image_url": {"url": LINK}}
F = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
G = {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y": 2}'}}
F_BLOCK = ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs={"x": 1})
G_BLOCK = ToolCallBlock(tool_call_id="b", tool_name="g", tool_kwargs={"y": 2})


class _Function(BaseModel):
    name: str = "f"
    arguments: str = '{"x": 1}'


class _Call(BaseModel):
    """A call as an SDK has it."""

    id: str = "a"
    function: _Function = _Function()
    type: str = "function"
    index: int | None = None


def _called(*blocks: Any, **additional: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional)


def _result(*blocks: Any, id_: str = "a", **additional: Any) -> ChatMessage:
    return ChatMessage(
        role="tool", blocks=list(blocks), additional_kwargs={"tool_call_id": id_, **additional}
    )


def _sent(server: ScriptedServer, llm: OPEALLM, *messages: ChatMessage, way: str = "chat") -> Any:
    last_of(way, llm, messages)
    return server.seen[-1].body["messages"]


# --- calls

CALLS: dict[str, tuple[ChatMessage, list[Any]]] = {
    "a block": (_called(F_BLOCK), [F]),
    "a block with text arguments": (
        _called(ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs='{"x": 1}')),
        [F],
    ),
    "blocks": (_called(F_BLOCK, G_BLOCK), [F, G]),
    "dicts": (_called(tool_calls=[F, G]), [F, G]),
    "SDK objects": (_called(tool_calls=[_Call()]), [F]),
    "plain objects": (
        _called(
            tool_calls=[
                SimpleNamespace(
                    id="a",
                    type="function",
                    function=SimpleNamespace(name="f", arguments='{"x": 1}'),
                )
            ]
        ),
        [F],
    ),
    "an object in a dict": (
        _called(
            tool_calls=[{"id": "a", "function": SimpleNamespace(name="f", arguments='{"x": 1}')}]
        ),
        [F],
    ),
    "blocks and dicts": (_called(F_BLOCK, G_BLOCK, tool_calls=[F, G]), [F, G]),
    "blocks and dicts in another order": (_called(F_BLOCK, G_BLOCK, tool_calls=[G, F]), [F, G]),
    "blocks and SDK objects": (_called(F_BLOCK, tool_calls=[_Call()]), [F]),
    "a block and one dict more": (_called(F_BLOCK, tool_calls=[F, G]), [F, G]),
    "dicts with object arguments": (
        _called(
            tool_calls=[
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
            ]
        ),
        [F],
    ),
    "Anthropic's": (
        _called(tool_calls=[{"id": "a", "type": "tool_use", "name": "f", "input": {"x": 1}}]),
        [F],
    ),
    "Gemini's": (_called(tool_calls=[{"id": "a", "name": "f", "args": {"x": 1}}]), [F]),
    "Ollama's": (
        _called(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]),
        [F],
    ),
    "with more than the protocol has": (
        _called(tool_calls=[{**F, "extra_content": {"google": {"thought_signature": "s"}}}]),
        [{**F, "extra_content": {"google": {"thought_signature": "s"}}}],
    ),
    "blocks and more in the dicts": (
        _called(F_BLOCK, tool_calls=[{**F, "extra_content": {"s": 1}}]),
        [{**F, "extra_content": {"s": 1}}],
    ),
}


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("name", CALLS)
def test_calls_of_every_form(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    message, expected = CALLS[name]

    assert _sent(server, llm, message, way=way) == [
        {"role": "assistant", "content": "", "tool_calls": expected}
    ]


def test_text_beside_a_call_stays(server: ScriptedServer, llm: OPEALLM) -> None:
    assert _sent(server, llm, _called(TextBlock(text="Wait."), F_BLOCK)) == [
        {"role": "assistant", "content": "Wait.", "tool_calls": [F]}
    ]


@pytest.mark.parametrize(("spelled", "content"), [("null", {"content": None}), ("omit", {})])
def test_no_text_beside_a_call_as_the_server_wants_it(
    server: ScriptedServer, llm_with: LLMWith, spelled: Any, content: Any
) -> None:
    llm = llm_with(capabilities=Capabilities(tool_content=spelled))

    assert _sent(server, llm, _called(F_BLOCK)) == [
        {"role": "assistant", **content, "tool_calls": [F]}
    ]


def test_a_legacy_function_call(server: ScriptedServer, llm: OPEALLM) -> None:
    called = _called(function_call={"name": "f", "arguments": '{"x": 1}'})

    assert _sent(server, llm, called) == [
        {"role": "assistant", "content": "", "function_call": F["function"]}
    ]


def test_a_call_without_an_id(server: ScriptedServer, llm: OPEALLM) -> None:
    (message,) = _sent(server, llm, _called(ToolCallBlock(tool_name="f", tool_kwargs={"x": 1})))

    assert message["tool_calls"] == [{**F, "id": ""}]


def test_a_call_without_an_id_in_both_places_is_sent_once(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    block = ToolCallBlock(tool_name="f", tool_kwargs={"x": 1})

    (message,) = _sent(server, llm, _called(block, tool_calls=[{"name": "f", "args": {"x": 1}}]))

    assert len(message["tool_calls"]) == 1


ARGUMENTS: list[tuple[Any, Any]] = [
    ('{"x": 1}', {"x": 1}),
    ({"x": "\u4f60"}, {"x": "\u4f60"}),
    ({}, {}),
    ("", {}),
    ("  ", {}),
    ("null", {}),
    ('{"x": ', {"invalid_arguments": '{"x": '}),
    ("[1]", {"invalid_arguments": "[1]"}),
    ("x=1", {"invalid_arguments": "x=1"}),
]


@pytest.mark.parametrize(("given", "expected"), ARGUMENTS)
@pytest.mark.parametrize("form", ["block", "dict"])
def test_arguments_are_always_the_text_of_an_object(
    server: ScriptedServer, llm: OPEALLM, form: str, given: Any, expected: Any
) -> None:
    in_dict = {"id": "a", "type": "function", "function": {"name": "f", "arguments": given}}
    block = ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs=given)
    called = _called(block) if form == "block" else _called(tool_calls=[in_dict])

    (message,) = _sent(server, llm, called)

    arguments = message["tool_calls"][0]["function"]["arguments"]
    assert isinstance(arguments, str)
    assert json.loads(arguments) == expected


@pytest.mark.parametrize("given", [[1], 7, None, True])
def test_arguments_of_a_dict_that_are_no_object(
    server: ScriptedServer, llm: OPEALLM, given: Any
) -> None:
    called = _called(
        tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": given}}]
    )

    (message,) = _sent(server, llm, called)

    assert isinstance(json.loads(message["tool_calls"][0]["function"]["arguments"]), dict)


# --- results


@pytest.mark.parametrize("way", CHATS)
def test_a_result_is_text_and_an_id(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    result = ChatMessage(
        role="tool", content="5", additional_kwargs={"tool_call_id": "a", "name": "f"}
    )

    assert _sent(server, llm, _called(F_BLOCK), result, way=way)[1] == {
        "role": "tool",
        "content": "5",
        "name": "f",
        "tool_call_id": "a",
    }


def test_several_texts_of_a_result_are_one(server: ScriptedServer, llm: OPEALLM) -> None:
    assert (
        _sent(server, llm, _result(TextBlock(text="a"), TextBlock(text="b")))[0]["content"]
        == "a\nb"
    )


def test_an_image_of_a_result_goes_into_a_message_behind_it(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    messages = _sent(
        server, llm, _called(F_BLOCK), _result(TextBlock(text="see"), ImageBlock(url=LINK))
    )

    assert messages[1:] == [
        {"role": "tool", "content": "see", "tool_call_id": "a"},
        {"role": "user", "content": [PICTURE]},
    ]


@pytest.mark.parametrize("way", CHATS)
def test_images_stand_behind_the_last_of_several_results(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    first = _result(ImageBlock(url=LINK))
    second = _result(TextBlock(text="2"), ImageBlock(url=LINK + "2"), id_="b")
    after = ChatMessage(role="user", content="And?")

    messages = _sent(server, llm, _called(F_BLOCK, G_BLOCK), first, second, after, way=way)

    assert [message["role"] for message in messages] == [
        "assistant",
        "tool",
        "tool",
        "user",
        "user",
    ]
    assert messages[3]["content"] == [
        PICTURE,
        {"type": "image_url", "image_url": {"url": LINK + "2"}},
    ]


def test_results_of_two_turns_keep_their_images_apart(server: ScriptedServer, llm: OPEALLM) -> None:
    turn = [_called(F_BLOCK), _result(ImageBlock(url=LINK))]

    messages = _sent(server, llm, *turn, *turn)

    assert [message["role"] for message in messages] == ["assistant", "tool", "user"] * 2


def test_a_document_of_a_result_is_lifted_too(server: ScriptedServer, llm: OPEALLM) -> None:
    messages = _sent(
        server,
        llm,
        _result(DocumentBlock(data=b"hi", title="x.txt", document_mimetype="text/plain")),
    )

    assert messages[1] == {
        "role": "user",
        "content": [
            {
                "type": "file",
                "file": {"filename": "x.txt", "file_data": "data:text/plain;base64,aGk="},
            }
        ],
    }


def test_the_answer_of_a_tool_that_returns_directly_has_no_id(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    direct = ChatMessage(role="assistant", content="5", additional_kwargs={"tool_call_id": "a"})

    assert _sent(server, llm, direct) == [{"role": "assistant", "content": "5"}]


def test_long_ids_are_shortened_alike(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm = llm_with(capabilities=Capabilities(tool_id_length=40))
    long = "x" * 60

    called, result = _sent(
        server,
        llm,
        _called(ToolCallBlock(tool_call_id=long, tool_name="f")),
        _result(TextBlock(text="5"), id_=long),
    )

    assert called["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == 40


# --- nothing of the caller's changes


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("name", CALLS)
def test_the_callers_history_is_not_changed(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    messages = [CALLS[name][0], _result(TextBlock(text="5"), ImageBlock(url=LINK))]
    before = copy.deepcopy(messages)

    last_of(way, llm, messages)

    assert messages == before
    assert len(messages) == 2
