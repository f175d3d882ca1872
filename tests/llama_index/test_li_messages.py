"""What of a conversation goes over the wire: roles, text, pictures, sound, documents."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from li_asking import CHATS, LLMWith, last_of
from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage

from llama_index_opea import OPEALLM
from llama_index_opea.testing.samples import PDF, PNG, WAV
from opea_core import Capabilities, ConfigurationError
from opea_core.testing import ScriptedServer

PNG64, WAV64, PDF64 = (base64.b64encode(data).decode() for data in (PNG, WAV, PDF))
LINK = "http://example.test/i.png"
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
}


def _sent(server: ScriptedServer) -> Any:
    return server.seen[-1].body["messages"]


def _content(
    server: ScriptedServer, llm: OPEALLM, *blocks: Any, role: str = "user", way: str = "chat"
) -> Any:
    """How blocks of one message are sent."""
    last_of(way, llm, [ChatMessage(role=role, blocks=list(blocks))])
    (message,) = _sent(server)
    assert message.keys() == {"role", "content"}
    return message["content"]


# --- roles and text


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("role", ROLES)
def test_roles_are_sent_in_the_words_of_the_protocol(
    server: ScriptedServer, llm: OPEALLM, role: str, way: str
) -> None:
    last_of(
        way,
        llm,
        [ChatMessage(role=MessageRole(role), content="a"), ChatMessage(role=role, content="b")],
    )

    assert _sent(server) == [
        {"role": ROLES[role], "content": "a"},
        {"role": ROLES[role], "content": "b"},
    ]


def test_developer_is_sent_to_a_server_that_knows_it(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    llm_with(capabilities=Capabilities(developer_role=True)).chat(
        [ChatMessage(role="developer", content="a")]
    )

    assert _sent(server) == [{"role": "developer", "content": "a"}]


def test_function_with_an_id_is_a_tool(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat(
        [
            ChatMessage(
                role="function", content="5", additional_kwargs={"name": "f", "tool_call_id": "a"}
            )
        ]
    )

    assert _sent(server) == [{"role": "tool", "content": "5", "name": "f", "tool_call_id": "a"}]


def test_function_without_an_id_is_the_legacy_role(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat([ChatMessage(role="function", content="5", additional_kwargs={"name": "f"})])

    assert _sent(server) == [{"role": "function", "content": "5", "name": "f"}]


def test_a_late_system_message_stays_where_it_is(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat([ChatMessage(role="user", content="a"), ChatMessage(role="system", content="b")])

    assert [message["role"] for message in _sent(server)] == ["user", "system"]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, "a"),
        ({"content": ""}, ""),
        ({"content": None}, ""),
        ({"blocks": []}, ""),
        ({"blocks": [TextBlock(text="a"), TextBlock(text="b")]}, "a\nb"),
        ({"content": "\u4f60 \U0001f600 \u2028 {x} \\"}, "\u4f60 \U0001f600 \u2028 {x} \\"),
    ],
)
def test_text_alone_is_a_string(
    server: ScriptedServer, llm: OPEALLM, message: Any, text: str, role: str
) -> None:
    llm.chat([ChatMessage(role=role, **message)])

    assert _sent(server) == [{"role": role, "content": text}]


def test_additional_kwargs_of_others_are_not_sent(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat(
        [
            ChatMessage(
                content="a",
                additional_kwargs={
                    "name": "Ann",
                    "usage": {"a": 1},
                    "citations": [1],
                    "doc_id": "d",
                },
            )
        ]
    )

    assert _sent(server) == [{"role": "user", "content": "a", "name": "Ann"}]


# --- pictures


def _image(url: str, **more: Any) -> Any:
    return {"type": "image_url", "image_url": {"url": url, **more}}


IMAGES: dict[str, tuple[Any, Any]] = {
    "URL": ({"url": LINK}, _image(LINK)),
    "URL with detail": ({"url": LINK, "detail": "low"}, _image(LINK, detail="low")),
    "data URL": (
        {"url": f"data:image/png;base64,{PNG64}"},
        _image(f"data:image/png;base64,{PNG64}"),
    ),
    "bytes": ({"image": PNG}, _image(f"data:image/png;base64,{PNG64}")),
    "bytes with detail": (
        {"image": PNG, "detail": "high"},
        _image(f"data:image/png;base64,{PNG64}", detail="high"),
    ),
    "base64": ({"image": PNG64.encode()}, _image(f"data:image/png;base64,{PNG64}")),
    "named type": (
        {"image": b"any bytes", "image_mimetype": "image/webp"},
        _image("data:image/webp;base64,YW55IGJ5dGVz"),
    ),
    "open file": (
        {"image": io.BytesIO(PNG), "image_mimetype": "image/png"},
        _image(f"data:image/png;base64,{PNG64}"),
    ),
}


@pytest.mark.parametrize("way", ["chat", "achat"])
@pytest.mark.parametrize("name", IMAGES)
def test_images(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    given, expected = IMAGES[name]

    assert _content(server, llm, TextBlock(text="a"), ImageBlock(**given), way=way) == [
        {"type": "text", "text": "a"},
        expected,
    ]


@pytest.mark.parametrize("way", CHATS)
def test_an_image_of_a_file(server: ScriptedServer, llm: OPEALLM, tmp_path: Path, way: str) -> None:
    file = tmp_path / "i.png"
    file.write_bytes(PNG)

    assert _content(server, llm, ImageBlock(path=file), way=way) == [
        _image(f"data:image/png;base64,{PNG64}")
    ]


def test_an_open_file_is_sent_every_time(server: ScriptedServer, llm: OPEALLM) -> None:
    messages = [ChatMessage(blocks=[ImageBlock(image=io.BytesIO(PNG), image_mimetype="image/png")])]

    llm.chat(messages)
    llm.chat(messages)

    assert server.seen[0].body == server.seen[1].body


# --- sound, films, documents


def _file(name: str, kind: str, data: str) -> Any:
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{kind};base64,{data}"}}


MEDIA: dict[str, tuple[Any, Any]] = {
    "audio": (
        AudioBlock(audio=WAV, format="wav"),
        {"type": "input_audio", "input_audio": {"data": WAV64, "format": "wav"}},
    ),
    "audio of a guessed kind": (
        AudioBlock(audio=WAV),
        {"type": "input_audio", "input_audio": {"data": WAV64, "format": "wav"}},
    ),
    "audio in an open file": (
        AudioBlock(audio=io.BytesIO(WAV), format="wav"),
        {"type": "input_audio", "input_audio": {"data": WAV64, "format": "wav"}},
    ),
    "video by URL": (
        VideoBlock(url="http://example.test/v.mp4"),
        {"type": "video_url", "video_url": {"url": "http://example.test/v.mp4"}},
    ),
    "video": (
        VideoBlock(video=b"a film!", video_mimetype="video/mp4"),
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,YSBmaWxtIQ=="}},
    ),
    "video in an open file": (
        VideoBlock(video=io.BytesIO(b"a film!"), video_mimetype="video/mp4"),
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,YSBmaWxtIQ=="}},
    ),
    "document": (DocumentBlock(data=PDF, title="x.pdf"), _file("x.pdf", "application/pdf", PDF64)),
    "document without a title": (
        DocumentBlock(data=PDF),
        _file("input_document", "application/pdf", PDF64),
    ),
    "document whose kind the title tells": (
        DocumentBlock(data=b"a,b", title="x.csv"),
        _file("x.csv", "text/csv", "YSxi"),
    ),
    "document of a named kind": (
        DocumentBlock(data=b"hi", document_mimetype="text/plain"),
        _file("input_document", "text/plain", "aGk="),
    ),
    "document in an open file": (
        DocumentBlock(data=io.BytesIO(PDF), title="x.pdf", document_mimetype="application/pdf"),
        _file("x.pdf", "application/pdf", PDF64),
    ),
}


@pytest.mark.parametrize("way", ["chat", "achat"])
@pytest.mark.parametrize("name", MEDIA)
def test_media(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    given, expected = MEDIA[name]

    assert _content(server, llm, given, way=way) == [expected]


@pytest.mark.parametrize("way", CHATS)
def test_media_of_files(server: ScriptedServer, llm: OPEALLM, tmp_path: Path, way: str) -> None:
    sound, document = tmp_path / "s.wav", tmp_path / "d.pdf"
    sound.write_bytes(WAV)
    document.write_bytes(PDF)

    found = _content(
        server, llm, AudioBlock(path=sound), DocumentBlock(path=document, title="d.pdf"), way=way
    )

    assert found == [
        {"type": "input_audio", "input_audio": {"data": WAV64, "format": "wav"}},
        _file("d.pdf", "application/pdf", PDF64),
    ]


UNKNOWN: dict[str, tuple[Any, str]] = {
    "document": (DocumentBlock(data=b"hello"), "document_mimetype"),
    "image": (ImageBlock(image=b"hello"), "image_mimetype"),
    "video": (VideoBlock(video=b"hello"), "video_mimetype"),
    "audio": (AudioBlock(audio=b"hello"), "format"),
    "empty image": (ImageBlock(), "ImageBlock"),
    "empty document": (DocumentBlock(), "DocumentBlock"),
    "missing file": (DocumentBlock(path="/nowhere/at/all.pdf"), "DocumentBlock"),
}


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_sent_is_named_and_nothing_is_sent(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    block, named = UNKNOWN[name]

    with pytest.raises(ConfigurationError, match=named):
        last_of(way, llm, [ChatMessage(blocks=[block])])

    assert server.seen == []


# --- cached and cited parts

CACHED = CachePoint(cache_control={"type": "ephemeral"})
CONTROL = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}


def test_a_cache_point_marks_the_part_before_it(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm = llm_with(capabilities=Capabilities(cache_points=True))

    found = _content(
        server, llm, TextBlock(text="a"), ImageBlock(url=LINK), CACHED, TextBlock(text="b")
    )

    assert found == [
        {"type": "text", "text": "a"},
        _image(LINK) | CONTROL,
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_cache_point_behind_text_alone(
    server: ScriptedServer, llm_with: LLMWith, role: str
) -> None:
    llm = llm_with(capabilities=Capabilities(cache_points=True))

    assert _content(server, llm, TextBlock(text="a"), CACHED, role=role) == [
        {"type": "text", "text": "a", **CONTROL}
    ]


def test_a_cache_point_with_nothing_before_it(server: ScriptedServer, llm_with: LLMWith) -> None:
    assert (
        _content(
            server,
            llm_with(capabilities=Capabilities(cache_points=True)),
            CACHED,
            TextBlock(text="a"),
        )
        == "a"
    )


def test_cache_points_are_left_out_for_other_servers(server: ScriptedServer, llm: OPEALLM) -> None:
    assert _content(server, llm, TextBlock(text="a"), CACHED, TextBlock(text="b")) == "a\nb"


def test_a_cache_point_behind_the_result_of_a_tool(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    result = ChatMessage(
        role="tool", blocks=[TextBlock(text="5"), CACHED], additional_kwargs={"tool_call_id": "a"}
    )

    llm_with(capabilities=Capabilities(cache_points=True)).chat([result])

    assert _sent(server) == [
        {"role": "tool", "content": [{"type": "text", "text": "5", **CONTROL}], "tool_call_id": "a"}
    ]


def test_a_cache_point_goes_to_no_endpoint_that_does_not_take_it(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    takes = {
        "base_url": server.url + "/takes",
        "label": "takes",
        "capabilities": Capabilities(cache_points=True),
    }
    llm = llm_with(
        api_base=None, label=None, endpoints=[takes, {"base_url": server.url, "label": "does not"}]
    )

    llm.chat([ChatMessage(blocks=[TextBlock(text="a"), CACHED])], endpoint="does not")

    assert _sent(server) == [{"role": "user", "content": "a"}]


def test_citable_and_cited_blocks_are_their_content(server: ScriptedServer, llm: OPEALLM) -> None:
    cited = CitationBlock(cited_content="c", source="s", title="t", additional_location_info={})
    several = CitableBlock(
        title="t", source="s", content=[TextBlock(text="d"), ImageBlock(url=LINK)]
    )

    assert (
        _content(
            server,
            llm,
            CitableBlock(title="t", source="s", content="a"),
            TextBlock(text="b"),
            cited,
        )
        == "a\nb\nc"
    )
    assert _content(server, llm, several) == [{"type": "text", "text": "d"}, _image(LINK)]


# --- the caller's objects


@pytest.mark.parametrize("way", CHATS)
def test_the_callers_messages_are_not_changed(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    llm = llm_with(capabilities=Capabilities(cache_points=True))
    blocks = [TextBlock(text="a"), CACHED, ImageBlock(image=PNG), DocumentBlock(data=PDF)]
    messages = [
        ChatMessage(role="developer", content="x"),
        ChatMessage(blocks=blocks, additional_kwargs={"name": "Ann", "other": [1]}),
    ]
    before = [message.model_dump() for message in messages]

    last_of(way, llm, messages)

    assert [message.model_dump() for message in messages] == before
    assert messages[1].blocks == blocks


def test_a_tuple_of_messages(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat((ChatMessage("a"), ChatMessage("b")))

    assert _sent(server) == [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]


def test_the_body_is_minimal(server: ScriptedServer, llm: OPEALLM) -> None:
    llm.chat([ChatMessage("a")])

    assert server.seen[0].body == {
        "model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": 0.1,
        "stream": False,
    }  # fmt: skip
