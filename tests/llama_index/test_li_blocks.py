"""Text, reasoning and pictures as blocks, in the order in which they came."""

from __future__ import annotations

from typing import Any

import pytest
from li_asking import CHATS, HI, responses_of
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage

from llama_index_opea import OPEALLM
from opea_core.testing import ScriptedServer, json_answer, stream, tool_call

Json = dict[str, Any]
DATA = "data:image/png;base64,iVBORw0KGgo="
LINK = "https://example.test/cat.png"


def shown(message: ChatMessage) -> list[tuple[str, Any]]:
    """Kind and content of each block."""
    return [(block.block_type, _content(block)) for block in message.blocks]


def _content(block: Any) -> Any:
    match block:
        case TextBlock():
            return block.text
        case ThinkingBlock():
            return block.content
        case ImageBlock():
            return str(block.url)
        case ToolCallBlock():
            return block.tool_name
    return None


def thought(text: str) -> Json:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def image(url: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


LISTS: dict[str, tuple[list[Json], list[tuple[str, str]]]] = {
    "thought, text, thought, text": (
        [thought("a"), text("One"), thought("b"), text("Two.")],
        [("thinking", "a"), ("text", "One"), ("thinking", "b"), ("text", "Two.")],
    ),
    "text, thought, text": (
        [text("One.\n\n"), thought("a"), text("Two.")],
        [("text", "One.\n"), ("thinking", "a"), ("text", "Two.")],
    ),
    "text, thought": ([text("One."), thought("a")], [("text", "One."), ("thinking", "a")]),
    "thought, text, text": (
        [thought("a"), text("One, "), text("two.")],
        [("thinking", "a"), ("text", "One, two.")],
    ),
    "text, image, text": (
        [text("See"), image(LINK), text("this.")],
        [("text", "See"), ("image", LINK), ("text", "this.")],
    ),
    "image, text": ([image(DATA), text("A cat.")], [("image", DATA), ("text", "A cat.")]),
    "text, what is not known, text": (
        [text("Hel"), {"type": "chart", "x": 1}, text("lo")],
        [("text", "Hello")],
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_order_of_parts_is_kept(server: ScriptedServer, llm: OPEALLM, name: str) -> None:
    parts, expected = LISTS[name]
    message = {"role": "assistant", "content": parts, "tool_calls": [tool_call("f", {}, "c1")]}
    called = {"tool_calls": [{"index": 0, **tool_call("f", {}, "c1")}]}
    whole = json_answer(
        {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    )
    for way in CHATS:
        for pieces in ([{"content": parts}], [{"content": [part]} for part in parts]):
            server.script(
                stream([*pieces, called], finish_reason="tool_calls") if "stream" in way else whole
            )

            last = responses_of(way, llm)[-1].message

            assert shown(last) == [*expected, ("tool_call", "f")], way
            assert ChatMessage.model_validate_json(last.model_dump_json()) == last


TURNS: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "as usual": (
        [("r", "a"), ("t", "One. "), ("t", "Two.")],
        [("thinking", "a"), ("text", "One. Two.")],
    ),
    "paragraphs": (
        [("r", "a"), ("t", "One.\n"), ("t", "\n"), ("r", "b"), ("t", "Two.")],
        [("thinking", "a"), ("text", "One.\n"), ("thinking", "b"), ("text", "Two.")],
    ),
    "a line break behind": (
        [("t", "One."), ("r", "b"), ("t", "\nTwo."), ("r", "c")],
        [("text", "One."), ("thinking", "b"), ("text", "Two."), ("thinking", "c")],
    ),
    "amid a sentence": (
        [("t", "On"), ("r", "a"), ("t", "e."), ("r", "b")],
        [("thinking", "ab"), ("text", "One.")],
    ),
    "amid one, then a paragraph": (
        [("t", "On"), ("r", "a"), ("t", "e.\n"), ("r", "b"), ("t", "Two.")],
        [("text", "One."), ("thinking", "ab"), ("text", "Two.")],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_the_order_in_a_stream_is_kept_where_the_text_stays_as_it_is(
    server: ScriptedServer, llm: OPEALLM, name: str
) -> None:
    pieces, expected = TURNS[name]
    for way in ("stream_chat", "astream_chat"):
        server.script(
            stream([{"reasoning_content": said} if kind == "r" else said for kind, said in pieces])
        )

        responses = responses_of(way, llm)

        written = "".join(said for kind, said in pieces if kind == "t")
        assert shown(responses[-1].message) == expected
        assert (
            responses[-1].message.content
            == written
            == "".join(response.delta or "" for response in responses)
        )
        llm.chat([*HI, responses[-1].message, *HI])
        assert server.seen[-1].body["messages"][1]["content"] == written


@pytest.mark.parametrize("url", [DATA, LINK])
def test_generated_images_are_blocks(server: ScriptedServer, llm: OPEALLM, url: str) -> None:
    message = {"role": "assistant", "content": "A cat.", "images": [{"index": 0, **image(url)}]}
    whole = json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    for way in CHATS:
        server.script(
            stream(["A ", "cat.", {"images": message["images"]}]) if "stream" in way else whole
        )

        last = responses_of(way, llm)[-1].message

        assert shown(last) == [("text", "A cat."), ("image", url)]
        assert [part["image_url"] for part in last.additional_kwargs["content_parts"]] == [
            {"url": url}
        ]
        assert ChatMessage.model_validate_json(last.model_dump_json()) == last
        llm.chat([*HI, last, *HI])
        assert server.seen[-1].body["messages"][1] == {"role": "assistant", "content": "A cat."}


@pytest.mark.parametrize("url", ["", "cat.png", None, 7, {"a": 1}])
def test_what_is_no_url_is_no_image(server: ScriptedServer, llm: OPEALLM, url: Any) -> None:
    message = {"role": "assistant", "content": "A cat.", "images": [image(url), "x", None]}
    server.script(
        json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    )

    assert shown(llm.chat(HI).message) == [("text", "A cat.")]


def test_images_of_the_caller_in_an_answer_are_sent(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat([*HI, ChatMessage(role="assistant", blocks=[ImageBlock(url=LINK)]), *HI])

    assert server.seen[0].body["messages"][1]["content"] == [image(LINK)]


def test_encrypted_reasoning_stays_where_the_parts_have_none(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    locked = {"type": "reasoning.encrypted", "data": "gAAA"}
    message = {
        "role": "assistant",
        "content": [text("See"), image(LINK), text("this.")],
        "reasoning_details": [locked],
    }
    server.script(
        json_answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    )

    first, *others = llm.chat(HI).message.blocks

    assert isinstance(first, ThinkingBlock)
    assert first.additional_information["reasoning_details"] == [locked]
    assert [block.block_type for block in others] == ["text", "image", "text"]
