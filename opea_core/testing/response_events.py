"""Events of the Responses dialect, written as OpenAI's servers order them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opea_core.testing.answers import Json, encode
from opea_core.testing.responses_request import THOUGHTFUL


@dataclass(slots=True)
class _Open:
    """An item that is being said."""

    place: int
    item: Json
    text: str = ""


class EventWriter:
    """Takes the events of a streamed chat completion, and gives those of a streamed response.

    Reasoning and messages end where another kind of item begins; calls end with the answer.
    """

    def __init__(
        self,
        response: Json,
        reasoning: Callable[[str, str], Json],
        ended: Callable[[Json, Any], Json],
        waits_for_done: bool = True,
    ) -> None:
        """``reasoning``: an item of an id and a text. ``ended``: the response by its reason."""
        self._response = response
        self._reasoning = reasoning
        self._ended = ended
        self._waits = waits_for_done
        self._number = 0
        self._items: list[Json] = []
        self._said: _Open | None = None
        """The reasoning or the message that is being said."""
        self._calls: dict[Any, _Open] = {}
        self._thought = False
        self._reason: Any = None
        self._is_over = False

    def chat(self, event: Json) -> bytes:
        """What a chat event means."""
        return b"".join(map(self._bytes, self._chat(event)))

    def passed(self, event: Json) -> None:
        """An event that is of this dialect already: it is counted."""
        if isinstance(event.get("sequence_number"), int):
            self._number = event["sequence_number"] + 1

    def done(self) -> bytes:
        """The end mark: nothing more comes, and the response is told whole, if there is one."""
        if not self._number:
            return b"data: [DONE]\n\n"
        return b"".join(map(self._bytes, self._end()))

    def failed(self, error: Any) -> bytes:
        """An error in the stream, and the response that failed with it."""
        about = error if isinstance(error, dict) else {"message": str(error)}
        known = {name: about.get(name) for name in ("code", "message", "param")}
        kept = {name: about[name] for name in ("type",) if about.get(name)}
        told = {"code": about.get("code") or "server_error", "message": about.get("message")}
        response = {**self._response, "status": "failed", "error": told}
        events: list[Json] = [
            {"type": "error", "error": kept | known},
            {"type": "response.failed", "response": response},
        ]
        self._is_over = True
        return b"".join(map(self._bytes, [*self._begin(), *events]))

    def _bytes(self, event: Json) -> bytes:
        event = {"type": event["type"], "sequence_number": self._number, **event}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))

    # --- the events

    def _begin(self) -> Iterator[Json]:
        if not self._number:
            for kind in ("response.created", "response.in_progress"):
                yield {"type": kind, "response": self._response}

    def _chat(self, event: Json) -> Iterator[Json]:
        yield from self._begin()
        for choice in event["choices"]:
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            yield from self._delta(choice.get("delta") or {}, logprobs_of(choice))
            if choice.get("finish_reason"):
                self._reason = choice["finish_reason"]
                if not self._waits:
                    yield from self._end()

    def _delta(self, delta: Json, logprobs: list[Json]) -> Iterator[Json]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield from self._think(thought)
        for kind, value in (
            ("output_text", delta.get("content")),
            ("refusal", delta.get("refusal")),
        ):
            if isinstance(value, str) and value:
                yield from self._say(kind, value, logprobs)
        for position, call in enumerate(delta.get("tool_calls") or ()):
            yield from self._call(call, call.get("index", position))

    def _think(self, text: str) -> Iterator[Json]:
        if self._said is None or self._said.item["type"] != "reasoning":
            yield from self._close()
            self._thought = True
            item = self._reasoning(f"rs{THOUGHTFUL}{len(self._items) + 1}", "")
            yield from self._open({**item, "summary": []})
            part = {"type": "summary_text", "text": ""}
            yield self._about("reasoning_summary_part.added", summary_index=0, part=part)
        yield self._about("reasoning_summary_text.delta", summary_index=0, delta=text)
        assert self._said is not None
        self._said.text += text

    def _say(self, kind: str, text: str, logprobs: list[Json]) -> Iterator[Json]:
        if self._said is None or self._said.item["type"] != "message":
            yield from self._close()
            about = {"role": "assistant", "status": "in_progress", "content": []}
            yield from self._open({"type": "message", "id": self._id("msg"), **about})
        assert self._said is not None
        parts = self._said.item["content"]
        if not parts or parts[-1]["type"] != kind:
            yield from self._close_part()
            parts.append(_part(kind))
            yield self._about("content_part.added", content_index=len(parts) - 1, part=_part(kind))
        at = {"content_index": len(parts) - 1}
        name = "text" if kind == "output_text" else "refusal"
        more: Json = {"logprobs": logprobs} if kind == "output_text" else {}
        parts[-1][name] += text
        if logprobs:
            parts[-1]["logprobs"] = [*parts[-1]["logprobs"], *logprobs]
        yield self._about(f"{kind}.delta", **at, delta=text, **more)

    def _call(self, call: Json, index: Any) -> Iterator[Json]:
        inner = call.get("function") or {}
        known = self._calls.get(index)
        if known is None:
            yield from self._close()
            item = {
                "type": "function_call",
                "id": self._id("fc"),
                "status": "in_progress",
                "call_id": call.get("id"),
                "name": inner.get("name"),
                "arguments": "",
            }
            yield from self._open(item)
            assert self._said is not None
            known, self._said = self._said, None
            self._calls[index] = known
        arguments = inner.get("arguments")
        if isinstance(arguments, str) and arguments:
            known.text += arguments
            at = {"item_id": known.item["id"], "output_index": known.place}
            yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}

    # --- items

    def _id(self, kind: str) -> str:
        return f"{kind}{THOUGHTFUL if self._thought else '_'}{len(self._items) + 1}"

    def _open(self, item: Json) -> Iterator[Json]:
        self._said = _Open(len(self._items), item)
        self._items.append(item)
        shown = {**item, "content": []} if item["type"] == "message" else dict(item)
        yield {
            "type": "response.output_item.added",
            "output_index": self._said.place,
            "item": shown,
        }

    def _about(self, kind: str, **fields: Any) -> Json:
        assert self._said is not None
        at = {"item_id": self._said.item["id"], "output_index": self._said.place}
        return {"type": f"response.{kind}", **at, **fields}

    def _close(self) -> Iterator[Json]:
        """End the reasoning or the message that is being said."""
        if self._said is None:
            return
        if self._said.item["type"] == "reasoning":
            text = self._said.text
            whole = self._reasoning(self._said.item["id"], text)
            yield self._about("reasoning_summary_text.done", summary_index=0, text=text)
            part = {"type": "summary_text", "text": text}
            yield self._about("reasoning_summary_part.done", summary_index=0, part=part)
        else:
            yield from self._close_part()
            whole = {**self._said.item, "status": "completed"}
        yield self._finished(self._said, whole)
        self._said = None

    def _close_part(self) -> Iterator[Json]:
        assert self._said is not None
        parts = self._said.item["content"]
        if parts:
            part, at = parts[-1], {"content_index": len(parts) - 1}
            name = "text" if part["type"] == "output_text" else "refusal"
            more: Json = {"logprobs": part["logprobs"]} if name == "text" else {}
            yield self._about(f"{part['type']}.done", **at, **{name: part[name]}, **more)
            yield self._about("content_part.done", **at, part=part)

    def _finished(self, known: _Open, whole: Json) -> Json:
        self._items[known.place] = whole
        at = {"output_index": known.place}
        return {"type": "response.output_item.done", **at, "item": whole}

    def _end(self) -> Iterator[Json]:
        if self._is_over:
            return
        self._is_over = True
        yield from self._begin()
        yield from self._close()
        status = "incomplete" if self._reason == "length" else "completed"
        for known in self._calls.values():
            at = {"item_id": known.item["id"], "output_index": known.place}
            done = {"name": known.item["name"], "arguments": known.text}
            yield {"type": "response.function_call_arguments.done", **at, **done}
            yield self._finished(known, {**known.item, "status": status, "arguments": known.text})
        response = self._ended({**self._response, "output": self._items}, self._reason)
        yield {"type": f"response.{response['status']}", "response": response}


def _part(kind: str) -> Json:
    if kind == "refusal":
        return {"type": kind, "refusal": ""}
    return {"type": kind, "text": "", "annotations": [], "logprobs": []}


def logprobs_of(choice: Json) -> list[Json]:
    """The logprobs of a choice; this dialect has the bytes of every token."""
    found = (choice.get("logprobs") or {}).get("content") or []
    return [
        _with_bytes(entry) | {"top_logprobs": list(map(_with_bytes, entry.get("top_logprobs", ())))}
        for entry in found
    ]


def _with_bytes(entry: Json) -> Json:
    return {**entry, "bytes": list(entry["token"].encode())}
