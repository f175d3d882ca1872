"""The scripted model: short, deterministic answers to whatever is asked.

They come in the protocol's own shapes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, TypeGuard

from opea_core.testing.answers import Answer, Json, envelope, error, json_answer, sse
from opea_core.testing.record import Seen
from opea_core.testing.reply import Reply, limited, quote, reply_to, text_of, words
from opea_core.testing.responses import as_responses
from opea_core.testing.responses_request import chat_request, refusal_of

CONTEXT_LENGTH = 8192
TOOLS_WITH_REASONING = (
    "Function tools with reasoning_effort are not supported for {} in /v1/chat/completions."
    " To use function tools, use /v1/responses or set reasoning_effort to 'none'."
)
"""OpenAI's words, for models that think by themselves."""
DIMENSIONS = 8


class ScriptedModel:
    """Answers requests by their paths; knows nothing about sockets, time or chance.

    A "token" is a word with the blanks behind it.
    """

    def __init__(
        self, name: str, api_key: str | None = None, wants_responses: bool = False
    ) -> None:
        self.name = name
        self.api_key = api_key
        self.wants_responses = wants_responses
        """It thinks unless told not to, and then takes tools in the Responses dialect only."""

    def answer(self, seen: Seen) -> Answer:
        """The answer to a request, an error of the protocol included."""
        if self.api_key is not None and self.api_key not in _keys(seen.headers):
            return error(
                401,
                "Incorrect API key provided.",
                type="invalid_request_error",
                code="invalid_api_key",
            )
        path = seen.path.rstrip("/")
        if path.endswith("/models"):
            return self._models() if seen.method == "GET" else _wrong_method(seen)
        routes: dict[str, Callable[[Json], Answer]] = {
            "/chat/completions": self._chat,
            "/completions": self._completion,
            "/responses": self._responses,
            "/embeddings": self._embeddings,
            "/rerank": self._rerank,
        }
        route = next((routes[suffix] for suffix in routes if path.endswith(suffix)), None)
        if route is None:
            return error(
                404,
                f"There is nothing at {seen.path}.",
                type="invalid_request_error",
                code="not_found",
            )
        if seen.method != "POST":
            return _wrong_method(seen)
        if not isinstance(seen.body, dict):
            return _invalid("The body is no JSON object.")
        return route(seen.body)

    def _models(self) -> Answer:
        entry = {
            "id": self.name,
            "object": "model",
            "created": 1_700_000_000,
            "owned_by": "opea",
            "max_model_len": CONTEXT_LENGTH,
        }
        return json_answer({"object": "list", "data": [entry]})

    def _chat(self, body: Json) -> Answer:
        if self.wants_responses:
            body = {"reasoning_effort": "medium", **body}
            if body.get("tools") and body["reasoning_effort"] != "none":
                return _invalid(TOOLS_WITH_REASONING.format(self.name), "reasoning_effort")
        return self._said(body)

    def _responses(self, body: Json) -> Answer:
        refused = refusal_of(body)
        if refused is not None:
            return refused
        asked = chat_request(body)
        if self.wants_responses:
            asked = {"reasoning_effort": "medium", **asked}
        stream = {"stream_options": {"include_usage": True}} if asked.get("stream") else {}
        return as_responses(self._said(asked | stream), body)

    def _said(self, body: Json) -> Answer:
        messages = body.get("messages")
        if not _are_messages(messages):
            return _invalid("messages must be a list of messages.", "messages")
        replies = [reply_to(body, messages, index) for index in range(_count(body))]
        usage = _usage(sum(len(words(text_of(m.get("content")))) for m in messages), replies)
        if body.get("stream"):
            rounds = zip_longest(*(reply.deltas(self.name) for reply in replies))
            return self._streamed(
                body,
                [event for events in rounds for event in events if event],
                usage,
                "chat.completion.chunk",
            )
        return json_answer(
            envelope("chat.completion", self.name, [reply.choice() for reply in replies])
            | {"usage": usage}
        )

    def _streamed(self, body: Json, events: list[Json], usage: Json, kind: str) -> Answer:
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            events.append(envelope(kind, self.name, []) | {"usage": usage})
        return sse(*events)

    def _completion(self, body: Json) -> Answer:
        prompts = _inputs(body.get("prompt"))
        if prompts is None:
            return _invalid("prompt must be text, tokens, or a list of them.", "prompt")
        made = [
            limited(Reply(f'This is the scripted model. You wrote: "{quote(prompt)}"'), body)
            for prompt in prompts
            for _ in range(_count(body))
        ]
        replies = [dataclasses.replace(reply, index=index) for index, reply in enumerate(made)]
        usage = _usage(sum(len(words(prompt)) for prompt in prompts), replies)
        if body.get("stream"):
            texts = [(reply, word) for reply in replies for word in words(reply.content)]
            events = [
                self._text(
                    [{"index": reply.index, "text": word, "logprobs": None, "finish_reason": None}]
                )
                for reply, word in texts
            ]
            events += [
                self._text(
                    [
                        {
                            "index": r.index,
                            "text": "",
                            "logprobs": None,
                            "finish_reason": r.finish_reason,
                        }
                    ]
                )
                for r in replies
            ]
            return self._streamed(body, events, usage, "text_completion")
        choices = [
            {
                "index": r.index,
                "text": r.content,
                "logprobs": None,
                "finish_reason": r.finish_reason,
            }
            for r in replies
        ]
        return json_answer(self._text(choices) | {"usage": usage})

    def _text(self, choices: list[Json]) -> Json:
        return envelope("text_completion", self.name, choices)

    def _embeddings(self, body: Json) -> Answer:
        inputs = _inputs(body.get("input"))
        if inputs is None:
            return _invalid("input must be text, tokens, or a list of them.", "input")
        dimensions = body.get("dimensions", DIMENSIONS)
        if not isinstance(dimensions, int) or dimensions < 1:
            return _invalid("dimensions must be a positive integer.", "dimensions")
        packed = body.get("encoding_format") == "base64"
        vectors = [vector(text, dimensions) for text in inputs]
        data = [
            {"object": "embedding", "index": i, "embedding": _base64(v) if packed else v}
            for i, v in enumerate(vectors)
        ]
        tokens = sum(len(words(text)) for text in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer({"object": "list", "model": self.name, "data": data, "usage": usage})

    def _rerank(self, body: Json) -> Answer:
        query, documents = body.get("query"), body.get("documents")
        if (
            not isinstance(query, str)
            or not isinstance(documents, list)
            or not all(isinstance(text, str) for text in documents)
        ):
            return _invalid("query must be text, documents a list of texts.", "documents")
        scores = [
            {"index": index, "relevance_score": relevance(query, text)}
            for index, text in enumerate(documents)
        ]
        found = sorted(scores, key=lambda score: -score["relevance_score"])
        top_n = body.get("top_n")
        tokens = sum(len(words(text)) for text in (query, *documents))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer(
            {
                "object": "list",
                "model": self.name,
                "results": found[: top_n if isinstance(top_n, int) else None],
                "usage": usage,
            }
        )


def relevance(query: str, text: str) -> float:
    """The share of the query's words that a text has."""
    wanted = set(re.findall(r"\w+", query.lower()))
    return round(len(wanted & set(re.findall(r"\w+", text.lower()))) / max(1, len(wanted)), 3)


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of a text: always the same, of length 1, exact as float32."""
    blocks = -(-dimensions // 8)
    data = b"".join(hashlib.sha256(f"{block}:{text}".encode()).digest() for block in range(blocks))
    numbers = [number / 2**31 - 1 for number in struct.unpack(f"<{blocks * 8}I", data)[:dimensions]]
    norm = sum(number * number for number in numbers) ** 0.5
    return list(
        struct.unpack(
            f"<{dimensions}f",
            struct.pack(f"<{dimensions}f", *(number / norm for number in numbers)),
        )
    )


def _base64(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _count(body: Json) -> int:
    count = body.get("n")
    return count if isinstance(count, int) and count > 0 else 1


def _are_messages(value: Any) -> TypeGuard[list[Json]]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) for message in value)
    )


def _inputs(value: Any) -> list[str] | None:
    """Texts of an ``input`` or ``prompt``: text, tokens, or a list of either.

    None if it is neither.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, int) for item in value):
        return [" ".join(map(str, value))]
    if all(isinstance(item, str | list) for item in value):
        return [item if isinstance(item, str) else " ".join(map(str, item)) for item in value]
    return None


def _usage(prompt: int, replies: list[Reply]) -> Json:
    reasoning = sum(len(words(reply.reasoning)) for reply in replies)
    said = sum(
        len(words(reply.content))
        + sum(len(c["function"]["arguments"]) // 4 + 1 for c in reply.tool_calls)
        for reply in replies
    )
    usage: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": said + reasoning,
        "total_tokens": prompt + said + reasoning,
    }
    return usage | (
        {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    )


def _keys(headers: Mapping[str, str]) -> set[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return {token.strip() or scheme, headers.get("api-key", ""), headers.get("x-api-key", "")}


def _invalid(message: str, param: str | None = None) -> Answer:
    return error(400, message, type="invalid_request_error", param=param)


def _wrong_method(seen: Seen) -> Answer:
    return error(405, f"{seen.method} is not allowed at {seen.path}.", type="invalid_request_error")
