"""In which order a model thought, wrote and drew.

Kept where that is not the usual one: reasoning, text, other parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import opea_core as core

ORDER = "content_order"
"""In a message's ``additional_kwargs``: what came in turn.

It is ``[kind, length]`` of ``text``, ``reasoning`` and ``part``. Text and reasoning stand in the
message as a whole each; this says where they are to be cut.
"""
TURNS = "opea_turns"
"""An attribute of a chunk: the numbers of its reasoning and of its text.

It is there where one of them is not 0. Chunks that are added lose it.
"""
_USUAL = ("reasoning", "text", "part")

Block = dict[str, Any]


def order_of(response: core.ChatResponse, choice: core.Choice) -> dict[str, Any]:
    """The order of a whole answer, to be kept.

    Only a list tells one, fields beside each other do not.
    """
    is_list = isinstance(_message(response, choice).get("content"), list)
    if not choice.blocks or not (is_list or "output" in response.raw):
        return {}
    # A server's own part may be of no type.
    kinds = [(block.get("type"), block) for block in choice.blocks]
    return _unusual(
        [
            [kind, len(block[kind])] if kind in ("text", "reasoning") else ["part", 1]
            for kind, block in kinds
        ]
    )


def _message(response: core.ChatResponse, choice: core.Choice) -> Mapping[str, Any]:
    raw = response.raw.get("choices")
    entries = raw if isinstance(raw, list) else []
    place = next((number for number, known in enumerate(response.choices) if known is choice), 0)
    message = (
        entries[place].get("message")
        if place < len(entries) and isinstance(entries[place], Mapping)
        else None
    )
    return message if isinstance(message, Mapping) else {}


def _unusual(entries: Sequence[Sequence[Any]]) -> dict[str, Any]:
    kinds = [kind for kind, _ in entries]
    is_usual = kinds == sorted(kinds, key=_USUAL.index) and all(
        kinds.count(kind) < 2 for kind in ("text", "reasoning")
    )
    return {} if is_usual else {ORDER: [list(entry) for entry in entries]}


def in_order(order: Any, text: str, reasoning: str, parts: Sequence[Block]) -> list[Block] | None:
    """Text, reasoning and parts in their order.

    None where it does not fit them, as they were changed since.
    """
    texts, at, found = (
        {"text": text, "reasoning": reasoning},
        {"text": 0, "reasoning": 0, "part": 0},
        list[Block](),
    )
    for kind, size in order if isinstance(order, list) else ():
        if kind == "part":
            found += parts[at[kind] : at[kind] + size]
        else:
            found.append({"type": kind, kind: texts[kind][at[kind] : at[kind] + size]})
        at[kind] += size
    return found if list(at.values()) == [len(text), len(reasoning), len(parts)] else None


class Turns:
    """The order of a stream. What comes at once has none."""

    __slots__ = ("_attribute", "_entries", "_last", "_places")

    def __init__(self) -> None:
        self._entries: list[list[Any]] = []
        self._places: dict[str, list[int]] = {"text": [], "reasoning": []}
        """Where the entries of a kind are."""
        self._last = ""
        self._attribute: dict[str, Any] = {}

    def take(self, text: int, reasoning: int) -> dict[str, Any]:
        """So many letters came; gives the attribute of the chunk that has them."""
        if not (text or reasoning):
            return {}
        # It goes on, as most does.
        if (self._last == "text" and not reasoning) or (self._last == "reasoning" and not text):
            self._entries[self._places[self._last][-1]][1] += text + reasoning
            return self._attribute
        now = "both" if text and reasoning else "text" if text else "reasoning"
        for kind, size in (("reasoning", reasoning), ("text", text)):
            if size:
                self._add(kind, size, is_new=now != "both" and self._last not in (kind, "both"))
        self._last = now
        numbers = {kind: max(len(places) - 1, 0) for kind, places in self._places.items()}
        self._attribute = {TURNS: numbers} if any(numbers.values()) else {}
        return self._attribute

    def order(self, parts: int) -> dict[str, Any]:
        """What the whole message is to keep of it; other parts come at the end."""
        return _unusual([*self._entries, *([["part", parts]] if parts else [])])

    def _add(self, kind: str, size: int, is_new: bool) -> None:
        places = self._places[kind]
        if is_new or not places:
            places.append(len(self._entries))
            self._entries.append([kind, size])
        else:
            self._entries[places[-1]][1] += size
