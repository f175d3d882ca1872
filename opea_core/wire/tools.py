"""Tool calls out of deltas of every shape servers send.

The rules are P21 to P26 of docs/contract.md, in that order: an id names a call, an index mostly
does, a name begins a call unless the open one still waits for it, and complete arguments are never
appended to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opea_core.types import InvalidToolCall, Json, ToolCall, ToolCallDelta
from opea_core.wire import jsontext
from opea_core.wire.braces import Braces
from opea_core.wire.merge import LARGE, NO_LIMIT, TooMany, check_weight, grown, whole

_NO_ID = ("", "null", "None")
_PLACEHOLDERS = ("null", "{}")  # stand for no arguments, or for ones that are yet to come
_CUT = "its arguments were cut off at the token limit"
_SHORT = 64
"""Characters of arguments that are kept back while they may stand for none."""
_MOST_CALLS = 1024
"""In one choice."""
_BETWEEN = re.compile(r"\}\s*\{")
_KNOWN = frozenset({"id", "index", "type", "function"})
_CONTINUES, _ARGUMENTS = {"index", "function"}, {"arguments"}


@dataclass(slots=True, eq=False)
class _Call:
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
        return any(word.startswith(begun) for word in _PLACEHOLDERS)

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
        if self.valid is None:
            self.valid = _is_object(self.args, self.heaviest)
        return self.valid

    def replace(self, text: str) -> None:
        """These are the arguments, and not what came before."""
        self.pieces.clear()
        self.unread.clear()
        self.size, self.tail, self.braces, self.valid = 0, "", Braces(), None
        self.add(text)


@dataclass(slots=True)
class _Entry:
    """One entry of a delta's list, read."""

    index: int | None
    id: str
    name: str
    args: str
    replaces: bool  # arguments came as an object, not as text
    position: int

    @classmethod
    def read(cls, raw: Mapping[str, Any], position: int) -> _Entry:
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


class ToolAssembler:
    """The tool calls of one choice. ``push`` takes a delta's list, ``finish`` gives the calls."""

    __slots__ = (
        "_by_id",
        "_by_index",
        "_calls",
        "_heaviest",
        "_names",
        "_open",
        "_placeholders",
        "given",
        "went_on",
    )

    def __init__(self, heaviest: int = NO_LIMIT, names: Mapping[str, str] | None = None) -> None:
        """What the values of arguments may weigh, and whose names tools have.

        ``heaviest``: what the values of arguments may weigh. ``names``: the caller's names, by
        those that were sent.
        """
        self._names = names or {}
        self._heaviest = heaviest
        self._calls: list[_Call] = []
        self._placeholders: set[str] = set()  # ids that turned out to stand for several calls
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._open: _Call | None = None
        self.went_on = False
        """Whether the last delta held nothing but more arguments of the open call."""
        self.given: dict[int, str] = {}
        """Our ids, for calls that have none, by their positions."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def push(self, entries: Any) -> list[ToolCallDelta]:
        """Take the ``tool_calls`` of one delta; gives what is to be handed on."""
        self.went_on = False
        if isinstance(entries, dict):
            entries = [entries]
        if not isinstance(entries, list):
            return []
        if len(entries) == 1:
            call = self._continued(entries[0])
            self.went_on = call is not None
            if call is not None:
                return call.hand_on(self._append(call, entries[0]["function"]["arguments"]))
        return [
            delta
            for position, raw in enumerate(entries)
            if isinstance(raw, dict)
            for delta in self._take(raw, position)
        ]

    def push_whole(self, raw: Mapping[str, Any]) -> None:
        """Take one complete call of a plain answer: each entry is a call of its own."""
        entry = _Entry.read(raw, 0)
        call = self._new()
        call.id = "" if entry.id in self._by_id else entry.id
        self._by_id.setdefault(entry.id, call)
        self._apply(call, entry, raw)

    def push_legacy(self, raw: Mapping[str, Any]) -> list[ToolCallDelta]:
        """Take a legacy ``function_call``: one call without id; the empty decoy is ignored."""
        if not raw.get("name") and not raw.get("arguments"):
            return []
        return self._take({"index": 0, "function": raw}, 0)

    def finish(
        self, new_id: Callable[[], str], cut: bool
    ) -> tuple[list[ToolCall], list[InvalidToolCall], list[ToolCallDelta]]:
        """The valid calls, the invalid ones, and what was held back until now.

        ``cut`` says that the answer ended at the token limit: the last call may be incomplete.
        """
        valid: list[ToolCall] = []
        invalid: list[InvalidToolCall] = []
        held: list[ToolCallDelta] = []
        for call in self._calls:
            before = call.args + call.joiner.end()
            after = _normalised(before, self._heaviest)
            id_ = self._id_of(call, new_id)
            last = cut and call is self._calls[-1]
            cut_short = "it was cut off before its arguments" if last and not before.strip() else ""
            problem = (
                call.problem
                or ("" if call.name else "it has no name")
                or cut_short
                or _problem(after, self._heaviest)
            )
            if problem and last and call.name and before.strip():
                problem = _CUT
            delta = self._held(call, id_, before if problem else after)
            if delta is not None:
                held.append(delta)
            extra = {key: whole(value) for key, value in call.extra.items()}
            if problem:
                invalid.append(
                    InvalidToolCall(
                        id_, call.name, before, call.position, last, extra, error=problem
                    )
                )
            else:
                valid.append(ToolCall(id_, call.name, after, call.position, last, extra))
        return valid, invalid, held

    def _id_of(self, call: _Call, new_id: Callable[[], str]) -> str:
        """The server's id, or one of ours, which stays the same."""
        if not call.id and call.position not in self.given:
            self.given[call.position] = new_id()
        return call.id or self.given[call.position]

    @staticmethod
    def _held(call: _Call, known_id: str, arguments: str) -> ToolCallDelta | None:
        """What of a finished call was not handed on yet."""
        sent = call.args[: call.handed]
        text = arguments[len(sent) :] if arguments.startswith(sent) else "".join(call.pending)
        id_, name = (
            None if call.id_sent else known_id,
            None if call.name_sent else call.name or None,
        )
        return ToolCallDelta(call.position, id_, name, text) if id_ or name or text else None

    def raw(self) -> list[Json]:
        """The calls in the shape of a plain answer."""
        return [
            {
                "id": call.id or self.given.get(call.position, ""),
                "type": "function",
                **{key: whole(value) for key, value in call.extra.items()},
                **(
                    {}
                    if "custom" in call.extra
                    else {
                        "function": {"name": call.name, "arguments": call.args + call.joiner.end()}
                    }
                ),
            }
            for call in self._calls
        ]

    def _continued(self, raw: Any) -> _Call | None:
        """The open call that an entry goes on with.

        It does if it says nothing but an index and more arguments, as most do.
        """
        if not isinstance(raw, dict) or raw.keys() != _CONTINUES:
            return None
        index, function = raw["index"], raw["function"]
        if (
            type(index) is not int
            or not isinstance(function, dict)
            or function.keys() != _ARGUMENTS
        ):
            return None
        call = self._by_index.get(index)
        return call if call is self._open and isinstance(function["arguments"], str) else None

    def _take(self, raw: Mapping[str, Any], position: int) -> list[ToolCallDelta]:
        entry = self._identified(_Entry.read(raw, position))
        call = self._choose(entry)
        if (
            entry.name
            and call is not None
            and call.name
            and entry.args.strip()
            and call.is_other(entry.args)
        ):
            call = (
                None  # P26: a named entry with other arguments than the complete ones begins a call
            )
        call = call or self._new()
        if entry.index is not None:
            self._by_index[entry.index] = call
        if entry.id and entry.id not in self._by_id:
            self._by_id[entry.id] = call
            call.id = call.id or entry.id
        return call.hand_on(self._apply(call, entry, raw))

    def _identified(self, entry: _Entry) -> _Entry:
        """The entry, without its id if that turned out to stand for several calls."""
        if entry.id in self._by_id and self._collides(entry):
            self._placeholders.add(entry.id)
        if entry.id in self._placeholders:
            entry.id = ""
        return entry

    def _choose(self, entry: _Entry) -> _Call | None:
        """P21 to P25: the call an entry belongs to; None for a new one."""
        opened = self._open
        at = self._by_index.get(entry.index) if entry.index is not None else None
        if entry.id:
            if entry.id in self._by_id:
                return self._by_id[entry.id]
            fits = at is not None and (
                not entry.name or (not at.id and not (at.name and at.whole)) or _goes_on(at, entry)
            )
            return at if fits else None
        if entry.index is not None:
            if at is not None:
                return at
            return None if entry.name or opened is None or opened.whole else opened
        named_again = opened is not None and bool(entry.name and opened.name) and entry.position > 0
        return None if opened is None or named_again else opened

    def _collides(self, entry: _Entry) -> bool:
        """Whether it is a placeholder id (``"0"``) used for several calls.

        That is a known id with a name at a new index.
        """
        known = self._by_id[entry.id]
        new_index = entry.index is not None and entry.index not in self._by_index
        return (
            new_index
            and bool(entry.name and known.name)
            and known.whole
            and entry.args != known.args
        )

    def _new(self) -> _Call:
        if len(self._calls) >= _MOST_CALLS:
            raise TooMany(f"the answer has more than {_MOST_CALLS} tool calls")
        call = _Call(len(self._calls), self._heaviest)
        self._calls.append(call)
        return call

    def _apply(self, call: _Call, entry: _Entry, raw: Mapping[str, Any]) -> str:
        """Put the entry into the call; gives the argument text to hand on."""
        call.name = call.name or self._names.get(entry.name, entry.name)
        text = entry.args
        if entry.replaces:
            text = "" if call.args == entry.args else entry.args
            if text and not call.handed:
                call.keep_nothing()
            call.replace(entry.args)
        else:
            text = self._append(call, text)
        for key, value in raw.items():
            if key not in _KNOWN:
                call.extra[key] = grown(call.extra.get(key), value, key)
        if raw.get("type") not in (None, "", "function"):
            call.extra["type"] = raw["type"]
            if not raw.get("function"):
                call.problem = f"calls of type {str(raw['type'])[:50]!r} are not supported"
        self._open = call
        return text

    @staticmethod
    def _append(call: _Call, text: str) -> str:
        """Put more arguments into the call; gives the text to hand on."""
        if not text or (len(text) == call.size and call.whole and text == call.args):
            return ""  # sent again
        text = call.joiner.push(text)
        begins = call.tail == "}" and text.lstrip().startswith("{")
        call.closed = call.closed or (begins and call.whole) or (not call.size and _holds_two(text))
        call.add(text)
        return text


def _goes_on(call: _Call, entry: _Entry) -> bool:
    """Whether an entry with a new id and the same name has more of a call's arguments.

    At some servers each entry has a new id and the name again.
    """
    if entry.name != call.name or not entry.args or entry.replaces or call.whole:
        return False
    return not call.size or not entry.args.lstrip().startswith("{")


def _holds_two(text: str) -> bool:
    """Whether something follows a whole object in the same piece."""
    if not _BETWEEN.search(text):
        return False
    try:
        first, rest = jsontext.decode_first(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return False
    return isinstance(first, dict) and bool(rest)


def _is_object(args: str, heaviest: int) -> bool:
    """Whether arguments are a JSON object; raises TooMany if it would take too much to find out."""
    if len(args) > LARGE:
        check_weight(args.encode("utf-8", "surrogatepass"), heaviest)
    return jsontext.is_object(args)


def _normalised(args: str, heaviest: int) -> str:
    """Blank and null arguments are an empty object; the same object twice is one."""
    text = args.strip().removeprefix("\ufeff")
    if text in ("", "null"):
        return "{}"
    if text.startswith('"'):
        return _decoded(text, heaviest) or args
    if len(text) != len(args.strip()):
        return text
    if text.startswith("{") and not _is_object(text, heaviest):
        try:
            first, rest = jsontext.decode_first(text.encode("utf-8", "surrogatepass"))
            if (
                isinstance(first, dict)
                and jsontext.decode(rest.encode("utf-8", "surrogatepass")) == first
            ):
                return text[: len(text) - len(rest)].rstrip()
        except ValueError:
            pass
    return args


def _decoded(text: str, heaviest: int) -> str:
    """The object in a text that was encoded twice; nothing if there is none in it."""
    try:
        inner = jsontext.decode(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return ""
    return inner if isinstance(inner, str) and _is_object(inner, heaviest) else ""


def _problem(args: str, heaviest: int) -> str:
    return "" if _is_object(args, heaviest) else "its arguments are no JSON object"
