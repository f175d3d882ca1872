"""Content that is a list, and images a model drew:
as standard blocks, in the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from lc_asking import BLOCK_WAYS, WAYS, ModelWith, chat_model
from lc_shapes import body, deltas

from opea_core import Capabilities
from opea_core.testing import ScriptedServer

Json = dict[str, Any]
URL = {"url": "data:image/png;base64,QUJD"}
IMAGE = {"type": "image", "base64": "QUJD", "mime_type": "image/png"}
LINK = {"type": "image", "url": "http://x/i.png"}


def _thought(text: str) -> Json:
    return {"type": "reasoning", "reasoning": text}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _summary(text: str) -> Json:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


@dataclass(frozen=True)
class Parts:
    """Parts as a server gives them, and the blocks they are."""

    content: list[Any]
    blocks: list[Json]
    beside: Json = field(default_factory=dict)
    """What stands beside the content."""


ROWS = {
    "thought, text, thought, text": Parts(
        [{"type": "thinking", "thinking": [_text("A")]}, _text("b"), {"type": "thinking",
            "thinking": "C"}, _text("d")],
        [_thought("A"), _text("b"), _thought("C"), _text("d")],
    ),
    "text before a thought": Parts([_text("a"), {"type": "reasoning", "text": "B"}], [_text("a"),
        _thought("B")]),
    "summaries": Parts([_summary("A"), _text("b"), _summary("C")], [_thought("A"), _text("b"),
        _thought("C")]),
    "a summary, as usual": Parts([_summary("A"), _text("b")], [_thought("A"), _text("b")]),
    "an image": Parts([_text("a"), {"type": "image_url", "image_url": URL}], [_text("a"), IMAGE]),
    "an image by its URL": Parts([_text("a"), {"type": "image_url",
        "image_url": {"url": LINK["url"]}}], [_text("a"), LINK]),
    "an image that was put out": Parts([_text("a"), {"type": "output_image",
        "image_url": URL["url"]}], [_text("a"), IMAGE]),
    "an image put out as data": Parts([_text("a"), {"type": "output_image", "b64_json": "QUJD"}],
        [_text("a"), IMAGE]),
    "images beside the text": Parts(
        [_text("a")], [_text("a"), IMAGE, LINK],
        {"images": [{"type": "image_url", "image_url": URL}, {"type": "image_url",
            "image_url": {"url": LINK["url"]}}]},
    ),
    "an image and nothing else": Parts([], [IMAGE], {"images": [{"type": "image_url",
        "image_url": URL, "index": 0}]}),
}  # fmt: skip


def _plain(blocks: list[Any]) -> list[Json]:
    return [
        {key: value for key, value in block.items() if key not in ("id", "index")}
        for block in blocks
    ]


@pytest.mark.parametrize("name", ROWS)
def test_parts_are_blocks_in_their_order(server: ScriptedServer, name: str) -> None:
    row = ROWS[name]
    for way, ask in (WAYS | BLOCK_WAYS).items():
        pieces = [
            *({"content": [part]} for part in row.content),
            *([row.beside] if row.beside else []),
        ]
        is_whole = way in ("invoke", "ainvoke", "invoke v1")
        server.script(body({"content": row.content, **row.beside}) if is_whole else deltas(*pieces))

        message = ask(server)

        assert _plain(message.content_blocks) == row.blocks, way
        assert message.text == "".join(block.get("text", "") for block in row.blocks), way
        thoughts = "".join(block.get("reasoning", "") for block in row.blocks)
        assert message.additional_kwargs.get("reasoning_content", "") == thoughts, way


def test_an_image_stands_where_it_came(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(
        body({"content": [_text("a"), {"type": "image_url", "image_url": URL}, _text("b")]})
    )

    assert _plain(model_with().invoke("Hi").content_blocks) == [_text("a"), IMAGE, _text("b")]


def test_fields_beside_each_other_have_no_order(server: ScriptedServer) -> None:
    for way, ask in (WAYS | BLOCK_WAYS).items():
        is_whole = way in ("invoke", "ainvoke", "invoke v1")
        pieces = [{"content": letter, "reasoning": letter.upper()} for letter in "ab"]
        pieces += [{"content": "c"}, {"content": "d"}]
        server.script(body({"content": "abcd", "reasoning": "AB"}) if is_whole else deltas(*pieces))

        assert _plain(ask(server).content_blocks) == [_thought("AB"), _text("abcd")], way


def test_a_message_that_was_changed_has_the_usual_order(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.script(body({"content": ROWS["thought, text, thought, text"].content}))
    message = model_with().invoke("Hi")

    changed = message.model_copy(update={"content": "other words"})

    assert _plain(changed.content_blocks) == [_thought("AC"), _text("other words")]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_parts_go_back_as_one_text(server: ScriptedServer, version: str) -> None:
    for row in (ROWS["thought, text, thought, text"], ROWS["images beside the text"]):
        server.script(body({"content": row.content, **row.beside}))
        model = chat_model(
            server, output_version=version, capabilities=Capabilities(send_reasoning="always")
        )
        message: AIMessage = model.invoke("Hi")
        model.invoke([HumanMessage("Hi"), message, HumanMessage("Go on")])
        model.client.close()

        sent = server.seen[-1].body["messages"][1]
        thoughts = message.additional_kwargs.get("reasoning_content")
        assert sent == {"role": "assistant", "content": message.text} | (
            {"reasoning_content": thoughts} if thoughts else {}
        )
