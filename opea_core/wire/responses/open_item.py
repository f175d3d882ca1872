"""One item of a streamed answer in the Responses dialect, as far as it came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

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

    def said(self, part: str) -> str:
        """What was handed on of a part."""
        pieces = self.handed.get(part, [])
        if len(pieces) > 1:
            pieces[:] = ["".join(pieces)]
        return pieces[0] if pieces else ""

    def put_together(self) -> Json:
        """The item by its pieces, as the server never ended it."""
        about = {"id": self.id, "call_id": self.call_id, "name": self.name}
        return put_together(self.kind, about, {part: self.said(part) for part in self.handed})

    def is_called(self, ids: Iterable[str]) -> bool:
        """Whether one of the ids is its own; servers put the id of a call in either place."""
        return any(id_ and id_ in (self.id, self.call_id) for id_ in ids)

    def answers_another(self, event: Json) -> bool:
        """Whether an event tells of another call."""
        return bool(self.call_id and event.get("call_id") not in (None, "", self.call_id))
