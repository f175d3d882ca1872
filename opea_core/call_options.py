"""The keywords of calls, for type checkers and for completion in editors.

At run time a call takes any keyword and sends what it does not know as a field of the body. A
checker cannot have both, open keywords and a warning about ``temprature=``, so these list what is
known: in typed code, a field that only one server has goes into ``extra_body=``.

To hand keywords on, write ``def ask(**options: Unpack[ChatOptions])``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from opea_core.time_limits import Timeout


class CallOptions(TypedDict, total=False):
    """What every call takes; none of it is part of the body, except what ``extra_body`` holds."""

    timeout: Timeout
    deadline: float | None
    """Seconds for the whole call: queue, attempts and pauses."""
    max_retries: int | None
    """Attempts after the first; 0 sends exactly one request."""
    recovery_wait: float | None
    """Seconds to wait for a server that is down; 0 fails at once."""
    priority: int | None
    """0 (urgent) to 9 in the queue."""
    request_id: str | None
    """Goes along as a header, and stands in errors, events and answers."""
    endpoint: str | None
    """The label of the only endpoint that may serve the call."""
    adapt: bool | None
    """False sends the request as it was given, and learns nothing from a refusal."""
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None
    """Further fields of the body; they win over keywords of the same name."""


class RequestOptions(CallOptions, total=False):
    """What the methods of the original backend take beside ``data``, which is the body."""

    api_key: str | None
    """The key for the URL that was given."""


class _SamplingOptions(CallOptions, total=False):
    """Fields of the body that chats and legacy completions have in common; None sends none."""

    model: str | None
    """The model; that of the object if not given."""
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    """The longest answer, in tokens."""
    stop: str | Sequence[str] | None
    """Where the answer ends; the text itself is not part of it."""
    n: int | None
    """How many answers, each a choice of the response."""
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | Mapping[int, float] | None
    """What is added to a token's chance, by its id: -100 never, 100 always."""
    stream_options: Mapping[str, Any] | None
    """For streams; None does not ask for token counts."""
    user: str | None
    # OpenAI has none of the rest; several families of servers do, under these names.
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    min_tokens: int | None
    stop_token_ids: Sequence[int] | None
    ignore_eos: bool | None


class ChatOptions(_SamplingOptions, total=False):
    """What ``chat``, ``stream_chat`` and their async twins take beside the messages."""

    max_completion_tokens: int | None
    """The name of ``max_tokens`` at OpenAI's newer models; servers get the one they take."""
    logprobs: bool | None
    top_logprobs: int | None
    """Alternatives for each token, with ``logprobs=True``."""
    tools: Sequence[Mapping[str, Any]] | None
    """Functions the model may call: ``{"type": "function", "function": {"name": ...}}``."""
    tool_choice: str | Mapping[str, Any] | None
    """``"auto"``, ``"none"``, ``"required"``, or a dict that names a function."""
    parallel_tool_calls: bool | None
    response_format: Mapping[str, Any] | None
    """Sent as it is; ``output_schema`` is asked for as the endpoint takes it."""
    output_schema: Mapping[str, Any] | None
    """``{"name": ..., "schema": {...}}``: the answer is JSON of that schema."""
    reasoning_effort: str | None
    verbosity: str | None
    modalities: Sequence[str] | None
    audio: Mapping[str, Any] | None
    prediction: Mapping[str, Any] | None
    web_search_options: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None
    store: bool | None
    service_tier: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    chat_template_kwargs: Mapping[str, Any] | None
    """What vLLM, SGLang and llama.cpp hand to the model's template."""


class ChatManyOptions(ChatOptions, total=False):
    """What ``chat_many``, ``chat_as_completed`` and their async twins take beside the requests."""

    max_concurrent: int | None
    """The most calls on their way at once; found out if not given."""


class ResponsesOptions(CallOptions, total=False):
    """What ``responses``, ``stream_responses`` and their async twins take beside the input."""

    model: str | None
    instructions: str | None
    """What stands before the input; it is not carried over by ``previous_response_id``."""
    temperature: float | None
    top_p: float | None
    max_output_tokens: int | None
    """The longest answer in tokens, reasoning included."""
    max_tool_calls: int | None
    tools: Sequence[Mapping[str, Any]] | None
    """Functions without a level of their own (``{"type": "function", "name": ...}``), and tools
    that the server runs."""
    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    text: Mapping[str, Any] | None
    """How the answer is to look: ``{"format": {...}, "verbosity": ...}``."""
    reasoning: Mapping[str, Any] | None
    """``{"effort": ..., "summary": ...}``."""
    include: Sequence[str] | None
    """What the answer holds besides: ``"reasoning.encrypted_content"``."""
    top_logprobs: int | None
    store: bool | None
    """Whether the server keeps the answer; most do unless it is False."""
    previous_response_id: str | None
    conversation: str | Mapping[str, Any] | None
    background: bool | None
    truncation: str | None
    metadata: Mapping[str, str] | None
    service_tier: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    prompt: Mapping[str, Any] | None
    user: str | None


class CompletionOptions(_SamplingOptions, total=False):
    """What ``complete``, ``stream_complete`` and their async twins take beside the prompt."""

    suffix: str | None
    """What comes after the answer, for models that fill gaps."""
    echo: bool | None
    """Whether the answer begins with the prompt."""
    best_of: int | None
    logprobs: int | None
    """Alternatives for each token."""


class EmbedOptions(CallOptions, total=False):
    """What ``embed`` and ``aembed`` take beside the texts."""

    model: str | None
    dimensions: int | None
    """The length of the vectors, at models that can be shortened."""
    encoding_format: str | None
    """How the server writes vectors (``"float"``, ``"base64"``); they come back as floats."""
    user: str | None


class EmbedManyOptions(EmbedOptions, total=False):
    """Options of ``embed_many``: those of ``embed``, and how many go out at once."""

    batch_size: int | None
    """Texts of a batch, 128 if not given; fewer go out where the server takes fewer."""
    max_concurrent: int | None
    """The most batches on their way at once; None finds out how many the server takes."""


class RerankOptions(CallOptions, total=False):
    """What ``rerank`` and ``arerank`` take beside the query, the documents and ``top_n``."""

    model: str | None
    return_documents: bool | None


class TokenOptions(CallOptions, total=False):
    """What ``count_tokens`` and ``acount_tokens`` take beside the text."""

    model: str | None
    add_special_tokens: bool | None
    """Whether marks that the model sets itself count, such as the one at the beginning."""


__all__ = [
    "CallOptions",
    "ChatManyOptions",
    "ChatOptions",
    "CompletionOptions",
    "EmbedManyOptions",
    "EmbedOptions",
    "RequestOptions",
    "RerankOptions",
    "ResponsesOptions",
    "TokenOptions",
]
