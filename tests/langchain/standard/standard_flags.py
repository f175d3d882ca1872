"""How ``ChatOPEA`` and ``OPEAEmbeddings`` are put through LangChain's standard
tests: every flag on.
"""

from __future__ import annotations

import base64
from functools import reduce
from operator import add
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from standard_cassettes import STORED_URL, base_url
from standard_media import WAV

from langchain_opea import ChatOPEA, OPEAEmbeddings

KEY = "not-a-key"
OPTIONS = {"model": "m1", "base_url": STORED_URL, "api_key": KEY}
FROM_ENVIRONMENT = (
    {"OPEA_API_KEY": KEY, "OPEA_API_URL": STORED_URL},
    {"model": "m1"},
    {"api_key": KEY, "base_url": STORED_URL},
)
"""What is set, what is given, what the object then has."""
DETAILS = [
    "audio_input",
    "audio_output",
    "reasoning_output",
    "cache_read_input",
    "cache_creation_input",
]


class EveryFlag:
    """What the chat model can do: all there is."""

    chat_model_class = ChatOPEA
    chat_model_params: Any = OPTIONS
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_audio_inputs = True
    supports_video_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True
    returns_usage_metadata = True
    supported_usage_metadata_details = {"invoke": DETAILS, "stream": DETAILS}
    supports_model_override = True
    model_override_value = "m2"
    enable_vcr_tests = True


class EveryRequest(EveryFlag):
    """The same for tests that ask a server, and the requests
    that make one count each kind of token.
    """

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return OPTIONS | {"base_url": base_url()}

    def invoke_with_audio_input(self, *, stream: bool = False) -> AIMessage:
        audio = {
            "type": "audio",
            "mime_type": "audio/wav",
            "base64": base64.b64encode(WAV).decode(),
        }
        return self._asked(
            [HumanMessage([{"type": "text", "text": "What do you hear?"}, audio])], stream
        )

    def invoke_with_audio_output(self, *, stream: bool = False) -> AIMessage:
        return self._asked(
            [HumanMessage("Say it aloud.")],
            stream,
            modalities=["text", "audio"],
            audio={"voice": "any", "format": "wav"},
        )

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._asked([HumanMessage("Think about it.")], stream, reasoning_effort="low")

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        self._asked(_kept("These words are asked for twice."), stream)
        return self._asked(_kept("These words are asked for twice."), stream)

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._asked(_kept("These words are asked for once."), stream)

    def _asked(self, messages: list[BaseMessage], stream: bool, **options: Any) -> AIMessage:
        model = ChatOPEA(**self.chat_model_params)
        return (
            reduce(add, model.stream(messages, **options))
            if stream
            else model.invoke(messages, **options)
        )


def _kept(text: str) -> list[BaseMessage]:
    """A prompt whose beginning the server is told to keep."""
    return [
        SystemMessage([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]),
        HumanMessage("Hello"),
    ]


class Vectors:
    """The embeddings under test."""

    embeddings_class = OPEAEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return OPTIONS | {"base_url": base_url()}
