"""Right answers of every kind, as rich as servers give them: what the fuzzer breaks."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from fuzz_responses import RESPONSES

from opea_core.types import Json

KINDS = (
    "chat",
    "stream",
    "completion",
    "completion stream",
    "embeddings",
    "rerank",
    "models",
    "tokens",
    "response",
    "response stream",
)
USAGE: Json = {
    "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21, "cached_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 0},
}  # fmt: skip
TOKEN: Json = {"token": " the", "logprob": -0.12, "bytes": [32, 116, 104, 101]}
LOGPROBS: Json = {
    "content": [{**TOKEN, "top_logprobs": [TOKEN, {**TOKEN, "token": "a", "logprob": -3.5}]}],
    "refusal": None,
}
PERSON = '{"name": "Ada", "age": 36}'


def call(name: str = "get_weather", arguments: Any = '{"city": "Rome"}', **more: Any) -> Json:
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **more,
    }


def _root(kind: str, choices: list[Json], **more: Any) -> Json:
    return {
        "id": "c1",
        "object": kind,
        "created": 1_700_000_000,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": choices,
        **more,
    }


def _plain(message: Json, finish: str = "stop", **choice: Any) -> Json:
    return _root(
        "chat.completion",
        [
            {
                "index": 0,
                "message": {"role": "assistant", **message},
                "finish_reason": finish,
                **choice,
            }
        ],
        usage=USAGE,
    )


def _event(delta: Json, finish: str | None = None, index: int = 0, **choice: Any) -> Json:
    return _root(
        "chat.completion.chunk",
        [{"index": index, "delta": delta, "finish_reason": finish, **choice}],
    )


_MESSAGES: list[tuple[Json, str]] = [
    ({"content": "Hello, the answer is 42."}, "stop"),
    ({"content": PERSON}, "stop"),
    ({"content": f"```json\n{PERSON}\n```"}, "stop"),
    ({"content": None, "tool_calls": [call()]}, "tool_calls"),
    ({"content": "", "tool_calls": [call(index=0), call(index=1, id="call_2", name="get_time")]},
        "tool_calls"),
    ({"content": None, "tool_calls": [call("Person", PERSON)]}, "tool_calls"),
    ({"content": None, "function_call": {"name": "get_weather", "arguments": "{}"}},
        "function_call"),
    ({"content": "Well.", "reasoning_content": "Let me think.",
    "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}]}, "stop"),
    ({"content": [{"type": "text", "text": "Hi"}, {"type": "thinking", "thinking": [{"type": "text",
        "text": "Hm"}]}]}, "stop"),
    ({"content": None, "refusal": "I will not."}, "stop"),
    ({"content": "<think>Hm</think>Hi", "annotations": [{"type": "url_citation",
        "url_citation": {"url": "http://x", "title": "x"}}]},
    "length"),
    ({"content": "", "audio": {"id": "a", "data": "AAAA", "transcript": "Hi", "expires_at": 1}},
        "stop"),
]  # fmt: skip


def _chat() -> list[Json]:
    found = [_plain(message, finish, logprobs=LOGPROBS) for message, finish in _MESSAGES]
    several = _plain({"content": "one"})
    several["choices"] += [
        {"index": 1, "message": {"role": "assistant", "content": "two"}, "finish_reason": "stop"}
    ]
    return [*found, several]


def _cut(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _deltas(message: Json) -> list[Json]:
    """A message as the deltas of a stream, its texts in pieces."""
    found: list[Json] = [{"role": "assistant", "content": ""}]
    for name, value in message.items():
        if name == "tool_calls":
            for number, made in enumerate(value):
                pieces = _cut(made["function"]["arguments"])
                found.append(
                    {
                        "tool_calls": [
                            {
                                **made,
                                "index": number,
                                "function": {"name": made["function"]["name"], "arguments": ""},
                            }
                        ]
                    }
                )
                found += [
                    {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
                    for piece in pieces
                ]
        elif isinstance(value, str):
            found += [{name: piece} for piece in _cut(value)]
        else:
            found.append({name: value})
    return found


def _streams() -> list[list[Any]]:
    found: list[list[Any]] = []
    for message, finish in _MESSAGES:
        events: list[Any] = [
            _event(delta, logprobs=LOGPROBS if number == 1 else None)
            for number, delta in enumerate(_deltas(message))
        ]
        found.append([*events, _event({}, finish), _root("chat.completion.chunk", [], usage=USAGE)])
    two = [_event({"content": word}, index=index) for word in ("Hel", "lo") for index in (0, 1)]
    found.append([*two, _event({}, "stop"), _event({}, "stop", 1)])
    found.append(
        [
            _event({"content": "Hel"}),
            {"error": {"message": "overloaded", "type": "server_error", "code": 503}},
        ]
    )
    return found


def _texts(stream: bool) -> Json:
    return _root("text_completion", [{"index": 0, "text": "Hi", "logprobs": {"tokens": ["Hi"],
        "token_logprobs": [-0.1]},
                                      "finish_reason": None if stream else "stop"}])  # fmt: skip


_EMBEDDED: Json = {"object": "list", "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2},
    "data": [
    {"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1]},
    {"object": "embedding", "index": 1, "embedding": [1, 0, 0.5]}]}  # fmt: skip
_PACKED: Json = {
    **_EMBEDDED,
    "data": [{"index": index, "embedding": "AACAPgAAAL8AAIA/"} for index in (0, 1)],
}
_RANKED: list[Json] = [
    {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}, {"index": 0,
        "relevance_score": 0.1, "document": "a"},
]  # fmt: skip
_MODEL: Json = {"id": "m", "object": "model", "created": 1, "owned_by": "x", "max_model_len": 8192,
                "meta": {"n_ctx": 4096}, "top_provider": {"context_length": 1},
                "providers": [{"context_length": 9}], "capabilities": {"limits": {}}}  # fmt: skip
DOCUMENTS: dict[str, list[Any]] = {
    "chat": _chat(),
    "stream": _streams(),
    "completion": [_texts(stream=False)],
    "completion stream": [[_texts(stream=True), _texts(stream=False)]],
    "embeddings": [_EMBEDDED, _PACKED],
    "rerank": [
        {"model": "m", "results": _RANKED, "usage": {"total_tokens": 3}},
        {
            "data": [{"index": 0, "score": 3.5}, {"index": 1, "score": -3}],
            "meta": {"tokens": {"input_tokens": 4}, "billed_units": {}},
        },
    ],
    "models": [
        {"object": "list", "data": [_MODEL, {**_MODEL, "id": "n"}]},
        {"models": [{"name": "m", "model": "m"}]},
    ],
    "tokens": [
        {"count": 3, "max_model_len": 8, "tokens": [1, 2, 3]},
        {"tokens": [{"id": 1, "piece": "a"}]},
    ],
    **RESPONSES,
}
"""By kind: documents, or (streams) lists of events."""
ERRORS: list[Json] = [
    {"error": {"message": "Rate limit reached. Please try again in 1.5s.", "type": "tokens",
        "param": None, "code": "rate_limit_exceeded"}},
    {"error": {"message": "maximum context length is 8 tokens, you requested 9",
        "code": "context_length_exceeded", "param": "messages"}},
    {"error": {"message": "Unsupported parameter: 'response_format' json_schema",
    "type": "invalid_request_error", "param": "response_format"}},
    {"error": {"message": "unknown field tool_choice; use 'max_completion_tokens' instead",
        "param": "tool_choice"}},
    {"error": {"code": "json_validate_failed", "failed_generation": PERSON,
        "message": "Failed to validate JSON"}},
    {"error": {"message": "Provider returned error", "code": 429,
    "metadata": {"raw": '{"error": "x"}', "headers": {"X-RateLimit-Reset": "1"}}}},
    {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]},
    {"detail": "Not Found"},
    {"object": "error", "message": "the model is not found", "type": "NotFoundError", "code": 404},
    {"error": {"details": [{"@type": "RetryInfo", "retryDelay": "3s"}],
        "status": "RESOURCE_EXHAUSTED", "code": 429, "message": "quota"}},
    {"error": "CUDA out of memory"},
]  # fmt: skip


_BESIDE = frozenset({"id", "object", "created", "model", "system_fingerprint", "usage", "logprobs"})


def sample(chance: Random, kind: str) -> Any:
    """A right answer of the kind: a document, or the list of a stream's events; half of them
    without what stands beside the answer.
    """
    found = copy.deepcopy(chance.choice(DOCUMENTS[kind]))
    return _bare(found) if "choices" in str(found) and chance.random() < 0.5 else found


def _bare(document: Any) -> Any:
    """The same with little but the message, so that most changes are to that."""
    if isinstance(document, list):
        return [_bare(event) for event in document]
    bare = {name: value for name, value in document.items() if name not in _BESIDE}
    if "choices" in bare:
        bare["choices"] = [_bare(choice) for choice in bare["choices"]]
    return bare
