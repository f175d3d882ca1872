"""A streamed answer in the Responses dialect, event by event, as events of the chat dialect.

An item of the answer::

    state    event                                next state  handed on
    new      output_item.added                    open        a call's id and name
    new      a delta of an item never announced   open        the delta
    open     ... .delta                           open        the delta
    open     ... .done, content_part.done         open        what the deltas did not hold
    open     output_item.done                     done        what nothing before it held
    done     the final response                   done        nothing, or what is missing
    new      output_item.done, final response     done        all of it

Ids are not keys: some servers change them from event to event. An item is found by its
``output_index``, else by its id, else it is the open item of that kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.merge import check_size
from opea_core.wire.responses import ending
from opea_core.wire.responses.items import (
    CALLS,
    annotation_of,
    annotations_of,
    arguments_of,
    call_id_of,
    dicts,
    is_commentary,
    logprobs_of,
    places_of,
    text,
    texts_of,
)
from opea_core.wire.responses.open_item import OpenItem, UnmatchedItems

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_BEGUN = frozenset({"response.created", "response.in_progress", "response.queued"})
_DELTAS: dict[str, tuple[str, str]] = {
    "response.output_text": ("message", "text"),
    "response.refusal": ("message", "refusal"),
    "response.reasoning_text": ("reasoning", "thought"),
    "response.reasoning_summary_text": ("reasoning", "summary"),
    "response.function_call_arguments": (CALLS[0], "arguments"),
    "response.custom_tool_call_input": (CALLS[1], "arguments"),
}
"""By the beginning of an event's name: the kind of its item, and what it is a piece of."""
_VALUES = ("delta", "text", "refusal", "arguments", "input")
_NOWHERE: tuple[Any, Any, list[str]] = (object(), None, [])
_TWINS = {"thought": "summary", "summary": "thought"}


class ResponseEvents:
    """One answer. ``chat_events`` says an event in events of the chat dialect."""

    KEEPALIVE = "keepalive"
    """A typed event that only says that the server lives."""
    __slots__ = (
        "_calls",
        "_items",
        "_last",
        "_latest",
        "_limit",
        "_named",
        "_news",
        "_open",
        "_order",
        "_root",
        "_thought",
        "response",
    )

    def __init__(self, limit: int | None = None) -> None:
        """``limit``: the most tokens that were asked for."""
        self._limit = limit
        self._items: dict[Any, OpenItem] = {}
        self._order: list[Any] = []
        self._open: dict[str, OpenItem] = {}
        """By kind: the item of that kind that was opened last."""
        self._named: dict[tuple[str, str], OpenItem] = {}
        """By kind and id."""
        self._calls = 0
        self._thought = False
        """Whether any reasoning was handed on."""
        self._root: Json = {}
        self._news = True
        """Whether what is known of the response was not handed on yet."""
        self._last: Json = {}
        self._latest = _NOWHERE
        """Place, id and pieces of the text that a piece was handed on of last."""
        self.response: Json | None = None
        """The response as its end told it, once it did."""

    def chat_events(self, event: Json, name: str = "") -> Iterator[Json]:
        """Chat events; the last one of an answer has a finish reason. Raises ending.NoAnswer."""
        kind = text(event.get("type")) or name
        if self._is_repeated(event, kind):
            return
        if kind == "error":
            error = event.get("error")
            flat = {key: event.get(key) for key in ("message", "code", "type", "param")}
            raise ending.NoAnswer(error if isinstance(error, dict) else flat)
        if kind in _TERMINAL:
            yield from self._ended(event.get("response"))
        elif kind in _BEGUN:
            self._about(event.get("response"))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            yield from self._announced(event, kind.endswith(".done"))
        elif kind in ("response.content_part.done", "response.reasoning_part.done"):
            yield from self._part(event)
        elif kind == "response.output_text.annotation.added":
            if isinstance(event.get("annotation"), dict):
                yield self._event({"annotations": [annotation_of(event["annotation"])]})
        else:
            yield from self._piece(event, kind)

    def next_piece(self, event: Json) -> Json | None:
        """The chat event of a further piece of the same text, as most events are; else None."""
        place, id_, pieces = self._latest
        if (
            event.get("type") != "response.output_text.delta"
            or event.get("output_index") != place
            or event.get("item_id") != id_
            or event.get("logprobs")
            or self._news
            or not isinstance(event.get("delta"), str)
            or event.get("sequence_number", 0) == self._last.get("sequence_number")
        ):
            return None
        self._last = event
        if event["delta"]:
            pieces.append(event["delta"])
        delta = {"content": event["delta"]}
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    @property
    def text(self) -> str:
        """The text of the answer by the last word of the server."""
        items = [item.whole for item in self._in_order() if item.whole and not item.is_comment]
        return "".join(texts_of(item).get("text", "") for item in items)

    def _is_repeated(self, event: Json, kind: str) -> bool:
        """Whether an event comes again under its number."""
        number, last = event.get("sequence_number"), self._last
        self._last = event
        if not isinstance(number, int) or number <= 0 or last.get("sequence_number") != number:
            return False
        same = ("type", "output_index", "item_id", "delta")
        return bool(kind) and all(last.get(name) == event.get(name) for name in same)

    # --- pieces

    def _piece(self, event: Json, name: str) -> Iterator[Json]:
        begin, _, stage = name.rpartition(".")
        known = _DELTAS.get(begin)
        if known is None or stage not in ("delta", "done"):
            return  # progress of a tool that the server runs, or news: the item's end tells
        kind, part = known
        item = self._find(event, kind, "part" if stage == "done" else stage)
        value = next((event[key] for key in _VALUES if isinstance(event.get(key), str)), "")
        if part == "arguments" and item.call is None:
            return  # it has neither a name nor the id to answer: its end tells all of it
        if stage == "delta":
            place = event.get("summary_index")
            # Parts of a summary come without a line break between them.
            if part == "summary" and isinstance(place, int) and place != item.part:
                item.part = place
                value = f"\n\n{value}" if item.handed.get(part) else value
            yield from self._hand(item, part, value, event.get("logprobs"))
            if part == "text" and not item.is_comment and part in item.handed:
                self._latest = (event.get("output_index"), event.get("item_id"), item.handed[part])
        else:
            yield from self._rest(item, part, value)

    def _part(self, event: Json) -> Iterator[Json]:
        part = event.get("part")
        if isinstance(part, dict):
            kind = "reasoning" if text(part.get("type")).startswith("reasoning") else "message"
            item = self._find(event, kind, "part")
            for what, value in texts_of({"type": kind, "content": [part]}).items():
                yield from self._rest(item, what, value)

    def _hand(self, item: OpenItem, part: str, value: str, logprobs: Any = None) -> Iterator[Json]:
        """Hand a piece on. Where reasoning comes raw and as a summary, the first kind counts."""
        if not value or (_TWINS.get(part) in item.handed):
            return
        is_first = part not in item.handed
        item.handed.setdefault(part, []).append(value)
        if part == "arguments":
            inner = (
                {"custom": {"input": value}}
                if item.kind == CALLS[1]
                else {"function": {"arguments": value}}
            )
            yield self._event({"tool_calls": [{"index": item.call, **inner}]})
        elif part == "refusal":
            yield self._event({"refusal": value})
        elif part == "text" and not item.is_comment:
            yield self._event({"content": value}, logprobs)
        else:
            begin = "\n\n" if self._thought and is_first else ""
            self._thought = True
            yield self._event({"reasoning_content": begin + value})

    def _rest(self, item: OpenItem, part: str, value: str, logprobs: Any = None) -> Iterator[Json]:
        """What of a finished part was not handed on; of arguments the last word counts."""
        rest = item.rest_of(part, value)
        # Where pieces and ends differ the last word counts, and nothing is handed on twice (D9).
        if rest is not None:
            yield from self._hand(item, part, rest, None if item.handed.get(part) else logprobs)
        elif part == "arguments" and item.kind == CALLS[0] and jsontext.is_object(value):
            item.handed[part] = [value]
            function = {"arguments": jsontext.decode(value)}
            yield self._event({"tool_calls": [{"index": item.call, "function": function}]})

    # --- items

    def _announced(self, event: Json, is_end: bool) -> Iterator[Json]:
        raw = event.get("item")
        if not isinstance(raw, dict):
            return
        kind = text(raw.get("type"))
        about = {**event, "item_id": raw.get("id"), "call_id": raw.get("call_id")}
        item = self._find(about, kind, "done" if is_end else "added")
        if not item.call_id and raw.get("call_id"):
            item.call_id = text(raw["call_id"])
            self._name(item)
        item.is_comment = item.is_comment or raw.get("phase") == "commentary"
        if is_end:
            yield from self._finished(item, raw)
        elif kind in CALLS and text(raw.get("name")) and call_id_of(raw):
            yield from self._begin(item, raw)

    def _begin(self, item: OpenItem, raw: Json) -> Iterator[Json]:
        """Begin a call: its id and its name."""
        if item.call is not None:
            return
        item.call, self._calls = self._calls, self._calls + 1
        name, id_ = text(raw.get("name")), call_id_of({"id": item.id, **raw})
        item.name, item.call_id = name, id_
        if item.kind == CALLS[1]:
            begun: Json = {"type": "custom", "custom": {"name": name, "input": ""}}
        else:
            begun = {"type": "function", "function": {"name": name, "arguments": ""}}
        yield self._event({"tool_calls": [{"index": item.call, "id": id_, **begun}]})

    def _finished(self, item: OpenItem, raw: Json) -> Iterator[Json]:
        """The server's last word on an item."""
        self._latest = _NOWHERE
        is_first, item.whole = item.whole is None, raw
        if item.kind in CALLS:
            yield from self._begin(item, raw)
            yield from self._rest(item, "arguments", arguments_of(raw))
        elif item.kind in ("message", "reasoning"):
            for part, value in texts_of(raw).items():
                yield from self._rest(item, part, value, logprobs_of(raw))
            for annotation in annotations_of(raw):
                yield self._event({"annotations": [annotation]})
        elif is_first:
            yield self._event({"content": [raw]})

    def _find(self, event: Json, kind: str, stage: str = "delta") -> OpenItem:
        """The item that an event is about; opened, if it was never announced.

        ``stage``: the event announces the item (``added``), goes on with it (``delta``), ends a
        part of it (``part``) or all of it (``done``).
        """
        index = event.get("output_index")
        ids = (text(event.get("item_id")), text(event.get("call_id")))
        there = self._items.get(index) if isinstance(index, int) else None
        at = there if there is not None and there.kind == kind else None
        found = at
        if at is None or not at.is_called(ids):
            found = next((self._named[kind, id_] for id_ in ids if (kind, id_) in self._named), at)
        if stage == "added":
            is_known = found is not None and (found is at or not isinstance(index, int))
            if found is None or not is_known or found.whole or found.answers_another(event):
                return self._new(index, kind, event)
            return found
        if found is None and (there is not None or not isinstance(index, int)):
            found = self._open.get(kind)
            if found is not None and found.whole is not None and stage != "part":
                found = None
        return found or self._new(index, kind, event)

    def _new(self, index: Any, kind: str, event: Json) -> OpenItem:
        id_ = text(event.get("item_id"))
        is_free = isinstance(index, int) and index not in self._items
        key: Any = index if is_free else (len(self._order), id_)
        self._items[key] = item = OpenItem(kind, id_, text(event.get("call_id")))
        self._order.append(key)
        # Each event may be small, and its item is kept all the same (L4).
        check_size("items", self._order)
        self._open[kind] = item
        self._latest = _NOWHERE
        self._name(item)
        return item

    def _name(self, item: OpenItem) -> None:
        for id_ in (item.id, item.call_id):
            if id_:
                self._named[item.kind, id_] = item

    # --- the end

    def _ended(self, response: Any) -> Iterator[Json]:
        response = response if isinstance(response, dict) else {}
        self._about(response)
        left = UnmatchedItems(self._items)
        for place, raw in enumerate(dicts(response.get("output"))):
            yield from self._finished(self._matching(place, raw, left), raw)
        # An item without an end is what its pieces said; else cut arguments would pass as whole.
        for item in self._items.values():
            if item.whole is None and item.handed:
                item.whole = item.put_together()
        items = [item.whole for item in self._in_order() if item.whole is not None]
        reason = ending.finish_reason(response, items, self._limit)
        # Some servers leave the final output empty after they streamed all of it.
        self.response = response if response.get("output") else {**response, "output": items}
        places = places_of(items)
        last = self._event({"response_items": places} if places else {})
        last["choices"][0]["finish_reason"] = reason
        usage = response.get("usage")
        yield last | ({"usage": usage} if isinstance(usage, dict) else {})

    def _matching(self, place: int, raw: Json, left: UnmatchedItems) -> OpenItem:
        """The item that a final one is: one of the stream, else a new one."""
        kind = text(raw.get("type"))
        item = left.take(kind, (text(raw.get("id")), text(raw.get("call_id"))), place)
        if item is None:
            about = {"item_id": raw.get("id"), "call_id": raw.get("call_id")}
            item = self._new(None, kind, about)
            item.is_comment = is_commentary(raw)
        return item

    def _in_order(self) -> list[OpenItem]:
        """The items in the order of the answer; those without a place as they came."""
        keys = sorted(self._order, key=lambda key: key if isinstance(key, int) else key[0])
        return [self._items[key] for key in keys]

    def _about(self, response: Any) -> None:
        if not isinstance(response, dict):
            return
        for name in ("id", "model", "service_tier", "metadata", "content_filters"):
            if response.get(name):
                self._root[name] = response[name]
        if response.get("created_at"):
            self._root["created"] = response["created_at"]
        self._news = True

    def _event(self, delta: Json, logprobs: Any = None) -> Json:
        choice: Json = {"index": 0, "delta": delta, "finish_reason": None}
        if logprobs and isinstance(logprobs, list):
            choice["logprobs"] = {"content": logprobs}
        about = {**self._root, "object": "chat.completion.chunk"} if self._news else {}
        self._news = False
        return {**about, "choices": [choice]}
