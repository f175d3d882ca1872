"""One streamed tool call under construction, and the entries that it comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opea_core.types import Json, ToolCallDelta
from opea_core.wire import jsontext
from opea_core.wire.braces import Braces
from opea_core.wire.tool_arguments import PLACEHOLDERS, is_whole_object

# Some servers write that there is no id as a word.
_NO_ID = ("", "null", "None")


_SHORT = 64
"""Characters of arguments that are kept back while they may stand for none."""


@dataclass(slots=True, eq=False)
class PendingCall:
    """A call under construction, and what of it was handed on."""

    position: int
    heaviest: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    tail: str = ""  # the last character that is not blank
    braces: Braces = field(default_factory=Braces)
    unread: list[str] = field(default_factory=list)  # what the braces were not counted of yet
    valid: bool | None = None  # whether the object that ended is JSON, once that was asked
    extra: Json = field(default_factory=dict)
    joiner: jsontext.TextJoiner = field(default_factory=jsontext.TextJoiner)
    problem: str = ""
    id_sent: bool = False
    name_sent: bool = False
    pending: list[str] = field(default_factory=list)  # argument text not handed on yet
    held: int = 0  # its characters
    handed: int = 0  # characters handed on
    closed: bool = False  # another object began after a whole one: the end decides what it was

    def hand_on(self, text: str) -> list[ToolCallDelta]:
        """What is certain now: id and name once, and the arguments that may be handed on."""
        text = self._certain(text)
        id_ = self.id if self.id and not self.id_sent else None
        name = self.name if self.name and not self.name_sent else None
        self.id_sent, self.name_sent = (
            self.id_sent or id_ is not None,
            self.name_sent or name is not None,
        )
        return [ToolCallDelta(self.position, id_, name, text)] if text or id_ or name else []

    def _certain(self, text: str) -> str:
        """What of the arguments may be handed on now.

        Not what the end may turn into something else.
        """
        # The ordinary piece: something was handed on before, and nothing is in doubt.
        if self.handed and not self.pending and not self.closed:
            self.handed += len(text)
            return text
        if text:
            self.pending.append(text)
            self.held += len(text)
        if self.closed or (not self.handed and self.held <= _SHORT and self._may_stand_for_none()):
            return ""
        if not self.handed and self._is_encoded_twice():
            return ""  # the end decodes it
        text = "".join(self.pending)
        self.keep_nothing()
        self.handed += len(text)
        return text

    def _may_stand_for_none(self) -> bool:
        begun = "".join(self.pending).strip()
        return any(word.startswith(begun) for word in PLACEHOLDERS)

    def _is_encoded_twice(self) -> bool:
        return self.pending[0].lstrip().startswith('"') if self.pending else False

    def keep_nothing(self) -> None:
        """What was kept back is not any more."""
        self.pending.clear()
        self.held = 0

    @property
    def args(self) -> str:
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.unread.append(text)
        self.size += len(text)
        self.tail = text.rstrip()[-1:] or self.tail

    def is_other(self, args: str) -> bool:
        """Whether the arguments are complete and these are others.

        The cheap questions come first: it is asked of every fragment.
        """
        return self.tail == "}" and (len(args) != self.size or args != self.args) and self.whole

    @property
    def whole(self) -> bool:
        """Whether the arguments are one JSON object.

        They are looked at only when they end like one, and parsed once.
        """
        if self.tail != "}":
            return False
        for text in self.unread:
            self.braces.feed(text)
        self.unread.clear()
        if not self.braces.ended or self.braces.goes_on:
            return False
        # Once it ended, the object does not change any more: it is parsed once (L7).
        if self.valid is None:
            self.valid = is_whole_object(self.args, self.heaviest)
        return self.valid

    def replace(self, text: str) -> None:
        """These are the arguments, and not what came before."""
        self.pieces.clear()
        self.unread.clear()
        self.size, self.tail, self.braces, self.valid = 0, "", Braces(), None
        self.add(text)


@dataclass(slots=True)
class CallEntry:
    """One entry of a delta's list, read."""

    index: int | None
    id: str
    name: str
    args: str
    replaces: bool  # arguments came as an object, not as text
    position: int

    @classmethod
    def read(cls, raw: Mapping[str, Any], position: int) -> CallEntry:
        function = raw.get("function")
        if not isinstance(function, dict):
            function = {}
        custom = raw.get("custom")
        index, id_, name = (
            raw.get("index"),
            raw.get("id"),
            function.get("name") or (custom.get("name") if isinstance(custom, dict) else None),
        )
        args = function.get("arguments")
        return cls(
            index=index if isinstance(index, int) and not isinstance(index, bool) else None,
            id=id_ if isinstance(id_, str) and id_ not in _NO_ID else "",
            name=name if isinstance(name, str) else "",
            args=args
            if isinstance(args, str)
            else ""
            if args is None
            else json.dumps(args, ensure_ascii=False),
            replaces=isinstance(args, dict | list),
            position=position,
        )


def goes_on(call: PendingCall, entry: CallEntry) -> bool:
    """Whether an entry with a new id and the same name has more of a call's arguments.

    At some servers each entry has a new id and the name again.
    """
    if entry.name != call.name or not entry.args or entry.replaces or call.whole:
        return False
    # A further object would be another call.
    return not call.size or not entry.args.lstrip().startswith("{")
