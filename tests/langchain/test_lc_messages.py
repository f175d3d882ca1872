"""What of a conversation goes over the wire: system, human, tool and other messages."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from lc_asking import STREAMED, ModelWith

from opea_core import Capabilities
from opea_core.testing import ScriptedServer

CACHED = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
LINK = {"type": "image_url", "image_url": {"url": "http://x/i.png"}}
WAV = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
PDF = {
    "type": "file",
    "file": {"filename": "x.pdf", "file_data": "data:application/pdf;base64,QUJD"},
}
DATA = {"data": "QUJD", "source_type": "base64"}


def _sent(server: ScriptedServer) -> Any:
    return server.seen[-1].body["messages"]


# --- content

CONTENT: dict[str, tuple[Any, Any]] = {
    "text": ("Hi", "Hi"),
    "no text": ("", ""),
    "an empty list": ([], ""),
    "texts": ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    "strings in a list": (["a", {"type": "text", "text": "b"}], "ab"),
    "text of v1": (
        [{"type": "text", "text": "a", "id": "lc_1", "index": 0, "annotations": []}],
        "a",
    ),
    "text to be cached": (
        [{"type": "text", "text": "a", **CACHED}],
        [{"type": "text", "text": "a", **CACHED}],
    ),
    "text of v1 to be cached": (
        [{"type": "text", "text": "a", "extras": CACHED}],
        [{"type": "text", "text": "a", **CACHED}],
    ),
    "a plain-text document of v1": (
        [{"type": "text-plain", "text": "a", "mime_type": "text/plain"}],
        "a",
    ),
    "a plain-text document in base64": (
        [{"type": "text-plain", "base64": "aGk=", "mime_type": "text/plain"}],
        "hi",
    ),
    "Anthropic's text document": (
        [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
            }
        ],
        "hi",
    ),
}
MEDIA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image, OpenAI": (PNG, PNG),
    "image, OpenAI, with detail": (
        {"type": "image_url", "image_url": {"url": "http://x/i.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "http://x/i.png", "detail": "low"}},
    ),
    "image, OpenAI, a string": ({"type": "image_url", "image_url": "http://x/i.png"}, LINK),
    "image, OpenAI, cached": (PNG | CACHED, PNG | CACHED),
    "image, v0": ({"type": "image", "mime_type": "image/png", **DATA}, PNG),
    "image, v0, by URL": ({"type": "image", "source_type": "url", "url": "http://x/i.png"}, LINK),
    "image, v1": (
        {"type": "image", "base64": "QUJD", "mime_type": "image/png", "id": "lc_1", "index": 3},
        PNG,
    ),
    "image, v1, by URL": ({"type": "image", "url": "http://x/i.png"}, LINK),
    "image, v1, cached": (
        {"type": "image", "base64": "QUJD", "mime_type": "image/png", "extras": CACHED},
        PNG | CACHED,
    ),
    "image, Anthropic": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        PNG,
    ),
    "image, Anthropic, by URL": (
        {"type": "image", "source": {"type": "url", "url": "http://x/i.png"}},
        LINK,
    ),
    "image, Anthropic, cached": (
        {"type": "image", "source": {"type": "url", "url": "http://x/i.png"}, **CACHED},
        LINK | CACHED,
    ),
    "audio, OpenAI": (WAV, WAV),
    "audio, v0": ({"type": "audio", "mime_type": "audio/wav", **DATA}, WAV),
    "audio, v1": ({"type": "audio", "base64": "QUJD", "mime_type": "audio/wav"}, WAV),
    "audio, v1, x-wav": ({"type": "audio", "base64": "QUJD", "mime_type": "audio/x-wav"}, WAV),
    "audio, v1, MP3": (
        {"type": "audio", "base64": "QUJD", "mime_type": "audio/mpeg"},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
    ),
    "file, OpenAI": (PDF, PDF),
    "file, OpenAI, by id": (
        {"type": "file", "file": {"file_id": "f-1"}},
        {"type": "file", "file": {"file_id": "f-1"}},
    ),
    "file, v0": (
        {"type": "file", "mime_type": "application/pdf", "filename": "x.pdf", **DATA},
        PDF,
    ),
    "file, v0, by id": (
        {"type": "file", "source_type": "id", "id": "f-1"},
        {"type": "file", "file": {"file_id": "f-1"}},
    ),
    "file, v1": (
        {
            "type": "file",
            "base64": "QUJD",
            "mime_type": "application/pdf",
            "extras": {"filename": "x.pdf"},
        },
        PDF,
    ),
    "file, v1, by id": (
        {"type": "file", "file_id": "f-1"},
        {"type": "file", "file": {"file_id": "f-1"}},
    ),
    "file, v1, without a name": (
        {"type": "file", "base64": "QUJD", "mime_type": "application/pdf"},
        {
            "type": "file",
            "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,QUJD"},
        },
    ),
    "file, Anthropic": (
        {
            "type": "document",
            "title": "x.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
        },
        PDF,
    ),
    "video, v1": (
        {"type": "video", "base64": "QUJD", "mime_type": "video/mp4"},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QUJD"}},
    ),
    "video, v1, by URL": (
        {"type": "video", "url": "http://x/v.mp4"},
        {"type": "video_url", "video_url": {"url": "http://x/v.mp4"}},
    ),
    "of a kind only the server knows": (
        {"type": "point_cloud", "points": [1]},
        {"type": "point_cloud", "points": [1]},
    ),
}
KINDS = {
    "system": (SystemMessage, {}, {"role": "system"}),
    "human": (HumanMessage, {}, {"role": "user"}),
    "tool": (ToolMessage, {"tool_call_id": "a"}, {"role": "tool", "tool_call_id": "a"}),
    "chat": (ChatMessage, {"role": "critic"}, {"role": "critic"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONTENT)
def test_text_of_every_message(
    server: ScriptedServer, model_with: ModelWith, name: str, kind: str
) -> None:
    given, expected = CONTENT[name]
    cls, fields, head = KINDS[kind]

    model_with().invoke([cls(content=given, **fields)])

    assert _sent(server) == [head | {"content": expected}]


@pytest.mark.parametrize("name", MEDIA)
def test_media_of_every_form(server: ScriptedServer, model_with: ModelWith, name: str) -> None:
    given, expected = MEDIA[name]
    content = [{"type": "text", "text": "Look:"}, given]
    model = model_with()

    model.invoke([HumanMessage(content)])
    assert _sent(server) == [
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, expected]}
    ]

    model.invoke([ToolMessage(content, tool_call_id="a")])
    told = {"role": "tool", "tool_call_id": "a", "content": "Look:"}
    assert _sent(server) == [told, {"role": "user", "content": [expected]}]


def test_a_server_that_takes_media_of_tools_gets_them_there(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    model_with(capabilities=Capabilities(tool_media=True)).invoke(
        [ToolMessage([MEDIA["image, v1"][0]], tool_call_id="a")]
    )

    assert _sent(server) == [{"role": "tool", "tool_call_id": "a", "content": [PNG]}]


def test_images_of_several_tools_follow_behind_the_last(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    image = MEDIA["image, v1"][0]

    model_with().invoke([ToolMessage([image], tool_call_id=id_) for id_ in "ab"])

    results = [
        {"role": "tool", "tool_call_id": id_, "content": "See the next message."} for id_ in "ab"
    ]
    assert _sent(server) == [*results, {"role": "user", "content": [PNG, PNG]}]


@pytest.mark.parametrize("way", STREAMED)
def test_media_go_out_the_same_in_every_way(server: ScriptedServer, way: str) -> None:
    blocks = [MEDIA[name][0] for name in ("image, v0", "audio, v1", "file, v0")]

    STREAMED[way](server, [HumanMessage(blocks)])

    assert _sent(server) == [{"role": "user", "content": [PNG, WAV, PDF]}]


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"type": "file", "url": "http://x/x.pdf"}, "URL"),
        ({"type": "document", "source": {"type": "url", "url": "http://x/x.pdf"}}, "URL"),
        ({"type": "image"}, "url or base64"),
        ({"type": "audio", "url": "http://x/a.wav"}, "base64"),
        ({"type": "text-plain", "url": "http://x/a.txt", "mime_type": "text/plain"}, "text"),
    ],
    ids=["file by URL", "document by URL", "image of nothing", "audio by URL", "text by URL"],
)
def test_what_cannot_be_sent_is_refused_and_named(
    server: ScriptedServer, model_with: ModelWith, block: Any, says: str
) -> None:
    with pytest.raises(ModelInvalidRequestError, match=says):
        model_with().invoke([HumanMessage([block])])

    assert server.seen == []


# --- roles and names

ROLES: dict[str, tuple[BaseMessage, dict[str, Any]]] = {
    "system": (SystemMessage("a"), {"role": "system", "content": "a"}),
    "human": (HumanMessage("a"), {"role": "user", "content": "a"}),
    "human with a name": (
        HumanMessage("a", name="al"),
        {"role": "user", "content": "a", "name": "al"},
    ),
    "assistant with a name": (
        AIMessage("a", name="bo"),
        {"role": "assistant", "content": "a", "name": "bo"},
    ),
    "tool with a name": (
        ToolMessage("a", tool_call_id="1", name="f"),
        {"role": "tool", "content": "a", "tool_call_id": "1", "name": "f"},
    ),
    "a tool that failed": (
        ToolMessage("a", tool_call_id="1", status="error"),
        {"role": "tool", "content": "a", "tool_call_id": "1"},
    ),
    "a tool with an artifact": (
        ToolMessage("a", tool_call_id="1", artifact=object()),
        {"role": "tool", "content": "a", "tool_call_id": "1"},
    ),
    "function": (FunctionMessage("a", name="f"), {"role": "function", "content": "a", "name": "f"}),
    "a role of its own": (ChatMessage("a", role="critic"), {"role": "critic", "content": "a"}),
    "developer": (
        SystemMessage("a", additional_kwargs={"__openai_role__": "developer"}),
        {"role": "system", "content": "a"},
    ),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles_and_names(server: ScriptedServer, model_with: ModelWith, name: str) -> None:
    message, expected = ROLES[name]

    model_with().invoke([message])

    assert _sent(server) == [expected]


@pytest.mark.parametrize(
    "message",
    [
        SystemMessage("a", additional_kwargs={"__openai_role__": "developer"}),
        ChatMessage("a", role="developer"),
    ],
    ids=type,
)
def test_a_server_that_knows_developers_gets_them(
    server: ScriptedServer, model_with: ModelWith, message: BaseMessage
) -> None:
    model_with(capabilities=Capabilities(developer_role=True)).invoke([message])

    assert _sent(server) == [{"role": "developer", "content": "a"}]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_message_that_removes_another_is_refused(
    server: ScriptedServer, model_with: ModelWith, way: str
) -> None:
    with pytest.raises(ModelInvalidRequestError, match="RemoveMessage"):
        list(getattr(model_with(), way)([HumanMessage("a"), RemoveMessage(id="1")]))

    assert server.seen == []


def test_messages_of_the_caller_are_not_changed(model_with: ModelWith) -> None:
    blocks = [
        {"type": "text", "text": "a", "extras": dict(CACHED)},
        {"type": "image", "base64": "QUJD", "mime_type": "image/png"},
    ]
    messages = [
        HumanMessage(blocks),
        AIMessage(blocks[:1], additional_kwargs={"reasoning_content": "r"}),
    ]
    before = [message.model_dump() for message in messages]

    model_with().invoke(messages)

    assert [message.model_dump() for message in messages] == before


# --- tool results among what the user says


def test_tool_results_become_messages_before_the_rest(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    blocks = [
        {"type": "text", "text": "And?"},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "sunny"}]},
        {"type": "tool_result", "tool_use_id": "b", "content": "windy", "is_error": True},
    ]

    model_with().invoke([HumanMessage(blocks)])

    assert _sent(server) == [
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "b", "content": "windy"},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize("content", [None, "", []], ids=repr)
def test_a_tool_result_of_nothing_stands_alone(
    server: ScriptedServer, model_with: ModelWith, content: Any
) -> None:
    model_with().invoke(
        [HumanMessage([{"type": "tool_result", "tool_use_id": "a", "content": content}])]
    )

    assert _sent(server) == [{"role": "tool", "tool_call_id": "a", "content": ""}]


def test_a_tool_result_may_hold_an_image(server: ScriptedServer, model_with: ModelWith) -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
    }

    model_with().invoke(
        [HumanMessage([{"type": "tool_result", "tool_use_id": "a", "content": [image]}])]
    )

    assert _sent(server) == [
        {"role": "tool", "tool_call_id": "a", "content": "See the next message."},
        {"role": "user", "content": [PNG]},
    ]
