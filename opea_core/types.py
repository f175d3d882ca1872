"""What a caller sends and what a caller gets.

Requests are OpenAI-shaped dicts; the TypedDicts here help editors and are open for further keys.
Answers are small slotted dataclasses that keep the server's own JSON in ``raw``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

Json: TypeAlias = dict[str, Any]
Messages: TypeAlias = Sequence[Mapping[str, Any]]


class Message(TypedDict, total=False):
    """One message of a conversation, as the chat-completions protocol spells it."""

    role: str
    content: str | list[Json] | None
    name: str
    tool_calls: list[Json]
    tool_call_id: str


class OPEARequestData(TypedDict, total=False):
    """Body of a request; any other key is sent as it is."""

    model: str
    messages: list[Json]
    prompt: str
    max_tokens: int
    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    stop: str | list[str]
    stream: bool


class OPEAResponse(TypedDict, total=False):
    """Body of an answer; the server may add any other key."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Json]
    usage: Json


class OPEAStreamChunk(TypedDict, total=False):
    """One event of a streamed answer; the server may add any other key."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Json]


RESPONSE_ITEMS = "response_items"
"""In an assistant's message: the items of the Responses dialect that it was read from.

They stand in their order. Reasoning and the items of tools that the server ran are whole;
``message`` and the calls only hold places, as what they say stands in the message.
"""
SIGNED_FIELDS = (
    "reasoning_details",
    "thinking_blocks",
    "reasoning_text",
    "reasoning_opaque",
    RESPONSE_ITEMS,
)
"""Reasoning that a server signed or encrypted; it goes back as it came, or not at all."""
CALL_SIGNATURES = (
    "extra_content",
    "thought_signature",
    "thoughtSignature",
    "encrypted_content",
    "provider_specific_fields",
)
"""What servers sign calls and messages with (Gemini, and LiteLLM before it).

It stands in the message, in a call, or in the call's ``function``, and goes back wherever it came
from, without being asked for.
"""
ORIGIN = "opea_origin"
"""In an assistant's message, never sent: where it came from.

Which ``server`` (a mark of its base URL) and ``model``.
"""


@dataclass(slots=True)
class Usage:
    """Token counts as the server reported them; what it left out is None."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens read from a cache."""
    reasoning_tokens: int | None = None
    cache_creation_tokens: int | None = None
    """Prompt tokens written to a cache."""
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class ToolCall:
    """A complete call of a function; ``arguments`` is the JSON text of an object."""

    id: str
    name: str
    arguments: str
    index: int = 0
    truncated: bool = False
    """The answer ended at the token limit while this call was written."""
    extra: Json = field(default_factory=dict, repr=False)
    """What else the server sent with the call."""

    @property
    def args(self) -> Json:
        """The arguments as a dict."""
        parsed: Json = json.loads(self.arguments, strict=False)
        return parsed


@dataclass(slots=True)
class InvalidToolCall(ToolCall):
    """A call that cannot be made: ``arguments`` is the raw text, ``error`` says what is wrong."""

    error: str = ""

    @property
    def args(self) -> Json:
        """Raises ValueError: there are no usable arguments."""
        raise ValueError(f"tool call {self.name or '(no name)'}: {self.error}")


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a call. ``id`` and ``name`` come once per call, ``arguments`` are to be joined."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)
class Choice:
    """One of the ``n`` answers."""

    index: int = 0
    role: str = "assistant"
    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    invalid_tool_calls: list[InvalidToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    refusal: str | None = None
    logprobs: Json | None = None
    raw_finish_reason: Any = None
    """The finish reason as the server spelled it."""
    reasoning_field: str | None = None
    """The name under which the server sent its reasoning."""
    reasoning_details: list[Json] = field(default_factory=list)
    """Structured reasoning (signatures, encrypted parts), verbatim."""
    parts: list[Json] = field(default_factory=list, repr=False)
    """Content parts that are neither text nor reasoning."""
    blocks: list[Json] = field(default_factory=list, repr=False)
    """Text, reasoning and other parts in the order in which they came.

    Where that is not the usual one: reasoning, text, other parts. Text is
    ``{"type": "text", "text"}``, reasoning ``{"type": "reasoning", "reasoning"}``.
    """
    extra: Json = field(default_factory=dict, repr=False)
    """Unknown keys of the message and the choice."""


@dataclass(slots=True)
class CallMeta:
    """How the call went, in seconds."""

    attempts: int = 1
    queued: float = 0.0
    elapsed: float = 0.0
    first_content: float | None = None
    """From sending the request that succeeded to its first content."""
    dropped: tuple[str, ...] = ()
    """Parameters the server refused, now or before, and what was done.

    ``"seed"``, ``"a -> b"`` (renamed: only the first time).
    """


@dataclass(slots=True)
class ChatResponse:
    """A whole answer. The fields of the first choice stand on the response itself."""

    choices: list[Choice] = field(default_factory=lambda: [Choice()])
    usage: Usage | None = None
    model: str = ""
    """The server's name for the model; the requested one if it named none."""
    id: str = ""
    raw: Json = field(default_factory=dict, repr=False)
    """The server's JSON; for a stream, put together from its events."""
    requested_model: str = ""
    endpoint: str = ""
    origin: str = field(default="", repr=False)
    """A mark of the server that answered: what it signed goes back to it alone."""
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    meta: CallMeta = field(default_factory=CallMeta)
    warnings: list[str] = field(default_factory=list)
    """Oddities that were tolerated."""

    @property
    def content(self) -> str:
        """The text of the first choice, ``""`` if there is none."""
        return self.choices[0].content

    @property
    def text(self) -> str:
        """The same as ``content``, as completions call it."""
        return self.choices[0].content

    @property
    def reasoning(self) -> str:
        """The reasoning of the first choice, whatever the server called it."""
        return self.choices[0].reasoning

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The valid tool calls of the first choice."""
        return self.choices[0].tool_calls

    @property
    def invalid_tool_calls(self) -> list[InvalidToolCall]:
        """Tool calls whose arguments are no JSON object."""
        return self.choices[0].invalid_tool_calls

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended: stop, length, tool_calls, content_filter or None."""
        return self.choices[0].finish_reason

    @property
    def refusal(self) -> str | None:
        """The model's refusal, if it refused."""
        return self.choices[0].refusal

    @property
    def logprobs(self) -> Json | None:
        """The log probabilities of the first choice."""
        return self.choices[0].logprobs

    @property
    def message(self) -> Json:
        """The first choice as a message to append to the conversation.

        Tool calls and reasoning are in it.

        Whether reasoning is sent back to the server is decided by ``Capabilities.send_reasoning``;
        what is signed goes to the base URL and the model it came from only (``opea_origin``, which
        is not sent).
        """
        choice = self.choices[0]
        message: Json = {"role": choice.role, "content": choice.content}
        calls = [
            {
                "id": c.id,
                "type": "function",
                **c.extra,
                "function": {
                    "name": c.name,
                    "arguments": c.arguments,
                    **c.extra.get("function", {}),
                },
            }
            for c in choice.tool_calls
        ]
        calls += [{"id": c.id, **c.extra} for c in choice.invalid_tool_calls if "custom" in c.extra]
        if calls:
            message["tool_calls"] = calls
        if choice.reasoning and choice.reasoning_field in (
            None,
            "",
            "reasoning",
            "reasoning_content",
        ):
            message[choice.reasoning_field or "reasoning_content"] = choice.reasoning
        signed = {
            "reasoning_details": choice.reasoning_details,
            "refusal": choice.refusal,
            **choice.extra,
        }
        found = {
            name: signed[name]
            for name in (*SIGNED_FIELDS, *CALL_SIGNATURES, "refusal", "audio")
            if signed.get(name)
        }
        if found or any(call.extra for call in choice.tool_calls):
            message |= {**found, ORIGIN: {"server": self.origin, "model": self.requested_model}}
        return message

    @property
    def role(self) -> str:
        """Who speaks; ``assistant`` unless the server says otherwise."""
        return self.choices[0].role


@dataclass(slots=True)
class ChatChunk:
    """A piece of a streamed answer. Joining every ``content`` gives the answer once."""

    content: str = ""
    reasoning: str = ""
    tool_calls: Sequence[ToolCallDelta] = ()
    finish_reason: str | None = None
    type: str = "token"
    """``token``; the last one is ``complete`` and carries the whole answer in ``response``."""
    done: bool = False
    role: str = "assistant"
    refusal: str = ""
    logprobs: Json | None = None
    raw: Json = field(default_factory=dict, repr=False)
    """The server's event."""
    response: ChatResponse | None = None
    usage: Usage | None = None
    """On the last chunk."""
    index: int = 0
    other_choices: Sequence[ChatChunk] = ()
    """The pieces of choices 1.. that came in the same event (``n`` > 1)."""


@dataclass(slots=True)
class EmbeddingResponse:
    """Vectors in the order of the inputs, as lists of floats."""

    embeddings: list[list[float]]
    model: str = ""
    usage: Usage | None = None
    raw: Json = field(default_factory=dict, repr=False)
    endpoint: str = ""
    request_id: str | None = None
    meta: CallMeta = field(default_factory=CallMeta)

    @property
    def dimensions(self) -> int:
        """The length of each vector, 0 if there is none."""
        return len(self.embeddings[0]) if self.embeddings else 0


@dataclass(slots=True)
class RerankResult:
    """One document's relevance to the query."""

    index: int
    """Its place among the documents that were sent."""
    relevance_score: float
    """Higher is better; the scale is the model's."""
    document: str | None = None
    """Its text, if the server sent it back."""


@dataclass(slots=True)
class RerankResponse:
    """Documents by relevance, best first."""

    results: list[RerankResult]
    model: str = ""
    usage: Usage | None = None
    raw: Json = field(default_factory=dict, repr=False)
    endpoint: str = ""
    request_id: str | None = None
    meta: CallMeta = field(default_factory=CallMeta)


@dataclass(slots=True)
class ModelInfo:
    """A model a server offers."""

    id: str
    context_length: int | None = None
    """Tokens, or None if the server does not tell."""
    raw: Json = field(default_factory=dict, repr=False)
