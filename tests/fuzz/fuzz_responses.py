"""Right answers in the Responses dialect, and a way to ask as other clients do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx

from opea_core import OPEA
from opea_core.transports import HTTPXTransport
from opea_core.types import Json

_ANNOTATION: Json = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0}
_TOKEN: Json = {"token": "H", "logprob": -0.1, "bytes": [72]}
_ITEMS: list[Json] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
        "content": [{"type": "reasoning_text", "text": "t"}], "encrypted_content": "e"},
    {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": [
        {"type": "output_text", "text": "Hello", "annotations": [_ANNOTATION],
        "logprobs": [{**_TOKEN, "top_logprobs": [_TOKEN]}]},
        {"type": "refusal", "refusal": "no"}]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_weather",
        "arguments": '{"city": "Rome"}'},
    {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_2", "name": "x", "input": "abc"},
    {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
]  # fmt: skip
_RESPONSE: Json = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
    "error": None, "incomplete_details": None, "metadata": {}, "output": _ITEMS,
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 1}},
}  # fmt: skip


def _event(kind: str, index: int, **fields: Any) -> Json:
    about = {"type": f"response.{kind}", "output_index": index, "item_id": _ITEMS[index]["id"]}
    return {**about, **fields}


def _items() -> Iterator[Json]:
    """The beginning, the pieces and the end of each item."""
    pieces: list[list[Json]] = [
        [_event("reasoning_summary_text.delta", 0, summary_index=0, delta="s")],
        [
            _event("output_text.delta", 1, delta="Hel", sequence_number=3, logprobs=[_TOKEN]),
            _event("output_text.delta", 1, delta="lo", sequence_number=4),
            _event("output_text.annotation.added", 1, annotation=_ANNOTATION),
            _event("output_text.done", 1, text="Hello"),
            _event("refusal.delta", 1, delta="no"),
            _event("content_part.done", 1, part=_ITEMS[1]["content"][0]),
        ],
        [
            _event("function_call_arguments.delta", 2, delta='{"city": '),
            _event("function_call_arguments.delta", 2, delta='"Rome"}'),
            _event("function_call_arguments.done", 2, arguments='{"city": "Rome"}'),
        ],
        [_event("custom_tool_call_input.delta", 3, delta="abc")],
        [],
    ]
    for index, item in enumerate(_ITEMS):
        yield _event("output_item.added", index, item={**item, "arguments": "", "content": []})
        yield from pieces[index]
        yield _event("output_item.done", index, item=item)


RESPONSES: dict[str, list[Any]] = {
    "response": [_RESPONSE],
    "response stream": [
        [
            {"type": "response.created", "response": {**_RESPONSE, "output": []}},
            *_items(),
            {"type": "response.completed", "response": _RESPONSE},
        ]
    ],
}
"""By kind: documents, or (streams) lists of events."""


def handed_on(stream: bool) -> Callable[[OPEA], bytes]:
    """A call of another client's, whose answer is handed on as bytes."""

    def ask(opea: OPEA) -> bytes:
        body = {"model": "m", "input": "Hi", "stream": stream}
        with httpx.Client(transport=HTTPXTransport(opea)) as client:
            try:
                return client.post("http://opea.invalid/v1/responses", json=body).read()
            except httpx.HTTPError:
                return b""

    return ask
