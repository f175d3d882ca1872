"""Tool calls out of deltas of every shape servers send.

The rules are P21 to P26 of docs/contract.md, in that order: an id names a call, an index mostly
does, a name begins a call unless the open one still waits for it, and complete arguments are never
appended to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opea_core.types import CALL_SIGNATURES, InvalidToolCall, Json, ToolCall, ToolCallDelta
from opea_core.wire.merge import NO_LIMIT, TooMany, grown, whole
from opea_core.wire.tool_arguments import holds_two, normalised, problem_of
from opea_core.wire.tool_call_pieces import CallEntry, PendingCall, goes_on

_KNOWN = frozenset({"id", "index", "type", "function"})
_NAME_AND_ARGUMENTS = 2
_CUT = "its arguments were cut off at the token limit"
# No real answer has more, and each one costs memory (L4).
_MOST_CALLS = 1024
"""In one choice."""
_CONTINUES, _ARGUMENTS = {"index", "function"}, {"arguments"}


class ToolAssembler:
    """The tool calls of one choice. ``push`` takes a delta's list, ``finish`` returns the calls."""

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
        self._calls: list[PendingCall] = []
        self._placeholders: set[str] = set()  # ids that turned out to stand for several calls
        self._by_id: dict[str, PendingCall] = {}
        self._by_index: dict[int, PendingCall] = {}
        self._open: PendingCall | None = None
        self.went_on = False
        """Whether the last delta held nothing but more arguments of the open call."""
        self.given: dict[int, str] = {}
        """Our ids, for calls that have none, by their positions."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def push(self, entries: Any) -> list[ToolCallDelta]:
        """Take the ``tool_calls`` of one delta; returns what is to be handed on."""
        self.went_on = False
        if isinstance(entries, dict):
            entries = [entries]
        if not isinstance(entries, list):
            return []
        # Nearly every delta only goes on with the open call (decision 9).
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
        entry = CallEntry.read(raw, 0)
        call = self._new()
        # Two calls with one id could not be answered apart; the second gets an id of ours (P30).
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
            after = normalised(before, self._heaviest)
            id_ = self._id_of(call, new_id)
            last = cut and call is self._calls[-1]
            cut_short = "it was cut off before its arguments" if last and not before.strip() else ""
            problem = (
                call.problem
                or ("" if call.name else "it has no name")
                or cut_short
                or problem_of(after, self._heaviest)
            )
            # The token limit is the cause; that the JSON is broken is only how it shows.
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

    def _id_of(self, call: PendingCall, new_id: Callable[[], str]) -> str:
        """The server's id, or one of ours, which stays the same."""
        if not call.id and call.position not in self.given:
            self.given[call.position] = new_id()
        return call.id or self.given[call.position]

    @staticmethod
    def _held(call: PendingCall, known_id: str, arguments: str) -> ToolCallDelta | None:
        """What of a finished call was not handed on yet."""
        sent = call.args[: call.handed]
        # What was handed out cannot be taken back, whatever the end made of the arguments (S6).
        text = arguments[len(sent) :] if arguments.startswith(sent) else "".join(call.pending)
        id_, name = (
            None if call.id_sent else known_id,
            None if call.name_sent else call.name or None,
        )
        return ToolCallDelta(call.position, id_, name, text) if id_ or name or text else None

    def raw(self) -> list[Json]:
        """The calls in the shape of a plain answer."""
        return [self._raw(call) for call in self._calls]

    def _raw(self, call: PendingCall) -> Json:
        extra = {key: whole(value) for key, value in call.extra.items()}
        found: Json = {
            "id": call.id or self.given.get(call.position, ""),
            "type": "function",
            **extra,
        }
        if "custom" not in extra:
            arguments = call.args + call.joiner.end()
            signed = extra.get("function", {})
            found["function"] = {"name": call.name, "arguments": arguments, **signed}
        return found

    def _continued(self, raw: Any) -> PendingCall | None:
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
        entry = self._identified(CallEntry.read(raw, position))
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

    def _identified(self, entry: CallEntry) -> CallEntry:
        """The entry, without its id if that turned out to stand for several calls."""
        if entry.id in self._by_id and self._collides(entry):
            self._placeholders.add(entry.id)
        if entry.id in self._placeholders:
            entry.id = ""
        return entry

    def _choose(self, entry: CallEntry) -> PendingCall | None:
        """P21 to P25: the call an entry belongs to; None for a new one."""
        opened = self._open
        at = self._by_index.get(entry.index) if entry.index is not None else None
        if entry.id:
            # P21: an id is the most reliable name that a call has.
            if entry.id in self._by_id:
                return self._by_id[entry.id]
            # P22: some servers send a new id with each fragment.
            fits = at is not None and (
                not entry.name or (not at.id and not (at.name and at.whole)) or goes_on(at, entry)
            )
            return at if fits else None
        if entry.index is not None:
            # P23: the ordinary case of the protocol.
            if at is not None:
                return at
            # P24: some servers send the tail of a call under the next index.
            return None if entry.name or opened is None or opened.whole else opened
        # P25: some servers send whole calls without id or index, several in one list.
        named_again = opened is not None and bool(entry.name and opened.name) and entry.position > 0
        return None if opened is None or named_again else opened

    def _collides(self, entry: CallEntry) -> bool:
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

    def _new(self) -> PendingCall:
        if len(self._calls) >= _MOST_CALLS:
            raise TooMany(f"the answer has more than {_MOST_CALLS} tool calls")
        call = PendingCall(len(self._calls), self._heaviest)
        self._calls.append(call)
        return call

    def _apply(self, call: PendingCall, entry: CallEntry, raw: Mapping[str, Any]) -> str:
        """Put the entry into the call; returns the argument text to hand on."""
        # Assigned once: servers repeat the name in every fragment, and it would double (P27).
        call.name = call.name or self._names.get(entry.name, entry.name)
        text = entry.args
        # An object is complete by itself, so it takes the place of what came before (P27).
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
        function = raw.get("function")
        if isinstance(function, Mapping) and len(function) > _NAME_AND_ARGUMENTS:
            signed = {name: function[name] for name in CALL_SIGNATURES if name in function}
            if signed:
                call.extra["function"] = grown(call.extra.get("function"), signed, "function")
        if raw.get("type") not in (None, "", "function"):
            call.extra["type"] = raw["type"]
            if not raw.get("function"):
                call.problem = f"calls of type {str(raw['type'])[:50]!r} are not supported"
        self._open = call
        return text

    @staticmethod
    def _append(call: PendingCall, text: str) -> str:
        """Put more arguments into the call; returns the text to hand on."""
        if not text or (len(text) == call.size and call.whole and text == call.args):
            return ""  # sent again
        text = call.joiner.push(text)
        # A second object behind a whole one may be the same sent again; only the end tells (P28).
        begins = call.tail == "}" and text.lstrip().startswith("{")
        call.closed = call.closed or (begins and call.whole) or (not call.size and holds_two(text))
        call.add(text)
        return text
