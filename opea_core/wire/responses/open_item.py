"""One item of a streamed answer in the Responses dialect, as far as it came."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opea_core.types import Json
from opea_core.wire.responses.items import put_together


@dataclass(slots=True)
class OpenItem:
    """One item of the answer, as far as it came."""

    kind: str
    id: str = ""
    call_id: str = ""
    name: str = ""
    handed: dict[str, list[str]] = field(default_factory=dict)
    """What was handed on of text, refusal, thought, summary or arguments, in pieces."""
    part: int = 0
    """Which part of a summary came last."""
    call: int | None = None
    """Which of the calls it is."""
    whole: Json | None = None
    """The item as the server ended it."""
    is_comment: bool = False
    is_matched: bool = False
    """Whether the final response has it."""

    def rest_of(self, part: str, whole: str) -> str | None:
        """What ``whole`` has of a part that was not handed on; None where the two differ."""
        pieces, at = self.handed.get(part, []), 0
        # No piece is empty, so it takes as long as ``whole`` is, however much was handed on: an
        # end may come behind each piece, and say little.
        for piece in pieces:
            if not whole.startswith(piece, at):
                return None
            at += len(piece)
        if len(pieces) > 1:
            pieces[:] = [whole[:at]]
        return whole[at:]

    def put_together(self) -> Json:
        """The item by its pieces, as the server never ended it."""
        about = {"id": self.id, "call_id": self.call_id, "name": self.name}
        said = {part: "".join(pieces) for part, pieces in self.handed.items()}
        return put_together(self.kind, about, said)

    def is_called(self, ids: Iterable[str]) -> bool:
        """Whether one of the ids is its own; servers put the id of a call in either place."""
        return any(id_ and id_ in (self.id, self.call_id) for id_ in ids)

    def answers_another(self, event: Json) -> bool:
        """Whether an event tells of another call."""
        return bool(self.call_id and event.get("call_id") not in (None, "", self.call_id))


class UnmatchedItems:
    """The items of a stream that were not yet found in the final response.

    Both may have many in any order, so none is looked for by going through the others.
    """

    def __init__(self, items: Mapping[Any, OpenItem]) -> None:
        """``items``: by place where they have one, in the order in which they came."""
        self._items = items
        self._named: dict[tuple[str, str], deque[OpenItem]] = defaultdict(deque)
        """By kind and id; all of a kind by "", too."""
        for item in items.values():
            for id_ in {item.id, item.call_id, ""}:
                self._named[item.kind, id_].append(item)

    def take(self, kind: str, ids: Iterable[str], place: int) -> OpenItem | None:
        """The one that a final item is: by an id, else at its place, else the next of its kind."""
        at = self._items.get(place)
        if at is not None and (at.kind != kind or at.is_matched):
            at = None
        called = (self._next(kind, id_) for id_ in ids if id_)
        found = next(filter(None, called), None) or at or self._next(kind, "")
        if found is not None:
            found.is_matched = True
        return found

    def _next(self, kind: str, id_: str) -> OpenItem | None:
        left = self._named.get((kind, id_))
        while left and left[0].is_matched:
            left.popleft()
        return left[0] if left else None
