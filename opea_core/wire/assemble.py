"""Putting an answer together: from events of a stream, or from one plain body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from opea_core.types import ChatChunk, ChatResponse, Choice, Json
from opea_core.wire.choice import ChoiceState
from opea_core.wire.merge import NO_LIMIT, TooMany, check_size, merge_logprobs
from opea_core.wire.usage import copied, merge_usage, read_usage

_ROOT = frozenset({"choices", "usage", "error"})
_FIRST = frozenset({"id", "model"})
"""Fields whose first value counts."""
_MANY = 64
MANY = 1 << 30
"""Choices, where it is not known how many were asked for."""
_MOST_HELD = 1000
"""Events that wait until it is known how choices are counted."""
_MOST_CHOICES, _MOST_UNKNOWN = 128, 65_536
"""In one answer, unless more were asked for; and where that is not known."""


class Assembler:
    """A whole answer out of its events.

    ``push`` events (or ``push_plain`` one body), then ``finish``.
    """

    __slots__ = (
        "_asked",
        "_first",
        "_heaviest",
        "_held",
        "_most",
        "_names",
        "_new_id",
        "_numbers",
        "_states",
        "_think",
        "kept_values",
        "root",
        "started",
        "usage",
    )

    def __init__(
        self,
        new_id: Callable[[], str],
        think_tags: bool = False,
        choices: int | None = None,
        heaviest: int = NO_LIMIT,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """How many choices were asked for, what arguments may weigh, and whose names tools have.

        ``choices``: how many were asked for, if that is known. ``heaviest``: what arguments may
        weigh. ``names``: the caller's names of tools, by those that were sent.
        """
        self._names = names or {}
        self._asked = MANY if choices is None else choices
        self._most = _MOST_UNKNOWN if choices is None else max(_MOST_CHOICES, choices)
        self._first: int | None = None
        """The number of the server's first choice, once it is known."""
        self._held: list[Json] = []
        """Events that wait until it is."""
        self._numbers: dict[int, int] = {}
        """Our number of a choice by the server's."""
        self._new_id = new_id
        self._think = think_tags
        self._heaviest = heaviest
        self._states: dict[int, ChoiceState] = {}
        self.root: Json = {}
        self.usage: Json | None = None
        self.kept_values = False
        """Whether more than text was kept of an event.

        Set here, taken back by whoever weighed it.
        """
        self.started = False
        """Whether first content came.

        Text, reasoning, a tool call, a refusal or a finish reason.
        """

    def push(self, event: Json, plain: bool = False) -> ChatChunk:
        """Take one event; returns the piece to hand on, which may be empty."""
        self._take_root(event)
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return ChatChunk(raw=event)
        # Some servers count from 1, number none, or use one number twice (P15).
        if plain:
            choices, self._first = _numbered(choices), 0
        elif self._first is None and not self._knows_first(choices):
            self._held.append(event)
            self.kept_values = True
            return ChatChunk(raw=event)
        if self._held:
            self._held.append(event)
            return self.release() or ChatChunk(raw=event)
        if len(choices) == 1 and isinstance(choices[0], dict):
            chunk = self._push_choice(choices[0], 0, event, plain)
            return chunk if chunk.index == 0 else _chunk([chunk], event)
        return _chunk(self._pieces(choices, event, plain), event)

    def release(self) -> ChatChunk | None:
        """What waited until it was known how the server counts: it is now, or no more comes."""
        if not self._held:
            return None
        held, self._held = self._held, []
        # A plain answer without a first choice is numbered anew, too (P15).
        if self._first is None:
            self._first = 1
        pieces = [
            piece for event in held for piece in self._pieces(event["choices"], event, plain=False)
        ]
        return _chunk(pieces, held[-1])

    def _knows_first(self, choices: list[Any]) -> bool:
        """Whether it shows from where the server counts; nothing is handed on before it does.

        A choice that is not the first may be the first that says something.
        """
        numbers = [choice.get("index") for choice in choices if isinstance(choice, dict)]
        known = [number for number in numbers if isinstance(number, int) and number > 0]
        if not known or len(known) < len(numbers) or max(known) > self._asked:
            self._first = 0
        elif max(known) == self._asked:
            self._first = 1
        elif self._asked == MANY or len(self._held) >= _MOST_HELD:
            self._first = 0
        return self._first is not None

    def _pieces(self, choices: list[Any], event: Json, plain: bool) -> list[ChatChunk]:
        return [
            self._push_choice(choice, place, event, plain)
            for place, choice in enumerate(choices)
            if isinstance(choice, dict)
        ]

    def finish(
        self, requested_model: str = "", raw: Json | None = None, so_far: bool = False
    ) -> tuple[ChatResponse, ChatChunk | None]:
        """The answer, and a piece with what was held back if there is any.

        ``so_far``: more may come.
        """
        finished = {
            index: state.finish(self._new_id, so_far)
            for index, state in sorted(self._states.items())
        }
        usage = None if self.usage is None else copied(self.usage)
        response = ChatResponse(
            choices=[choice for choice, _ in finished.values()] or [Choice()],
            usage=read_usage(usage),
            model=_string(self.root.get("model")) or requested_model,
            id=_string(self.root.get("id")),
            raw=raw
            if raw is not None
            else self._raw({index: choice for index, (choice, _) in finished.items()}, usage),
            requested_model=requested_model,
        )
        held = [
            chunk
            for _, chunk in finished.values()
            if chunk.content or chunk.reasoning or chunk.tool_calls or chunk.refusal
        ]
        if not held:
            return response, None
        first = next((chunk for chunk in held if chunk.index == 0), None) or ChatChunk()
        first.other_choices = tuple(chunk for chunk in held if chunk.index)
        return response, first

    @property
    def has_finish_reason(self) -> bool:
        """Whether any choice said why it ended."""
        return any(state.choice.raw_finish_reason for state in self._states.values())

    @property
    def finish_reasons(self) -> list[Any]:
        """The finish reasons so far, as the server spelled them."""
        return [state.choice.raw_finish_reason for state in self._states.values()]

    def _push_choice(
        self, raw: Mapping[str, Any], position: int, event: Json, plain: bool
    ) -> ChatChunk:
        index = raw.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            index = position
        elif self._first:
            index -= self._first
        number = self._numbers.get(index)
        index = self._number(index) if number is None else number
        if isinstance(raw.get("usage"), dict):  # Moonshot's place for it
            self.usage = merge_usage(self.usage, raw["usage"])
        state = self._states.get(index)
        if state is None:
            # No real answer has more, and each choice costs memory (L4).
            if len(self._states) >= self._most:
                raise TooMany(f"the answer has more than {len(self._states)} choices")
            state = self._states[index] = ChoiceState(
                index, self._think, self._heaviest, self._names
            )
        chunk = state.push(raw, event, plain)
        if state.kept_values:
            self.kept_values = True
        # A role alone proves nothing, and what is delivered ends the right to retry (S2).
        if not self.started:
            self.started = bool(
                chunk.content
                or chunk.reasoning
                or chunk.tool_calls
                or chunk.refusal
                or chunk.finish_reason
                or state.tools
            )
        return chunk

    def _number(self, index: int) -> int:
        """Our number of a new choice: the server's, unless that counts in no order."""
        fits = 0 <= index < self._asked or (index > 0 and 0 in self._states)
        number = index
        if not fits or index in self._states:
            number = next(free for free in range(len(self._states) + 1) if free not in self._states)
        self._numbers[index] = number
        return number

    def _take_root(self, event: Json) -> None:
        root = self.root
        for key, value in event.items():
            if (
                key not in _ROOT
                and (value or key not in root)
                and not (key in _FIRST and root.get(key))
            ):
                if isinstance(value, list | dict) and root.get(key) != value:
                    self.kept_values = True
                root[key] = value
        if len(root) > _MANY:
            check_size("unknown fields", root)
        usage = event.get("usage")
        if usage:
            self.kept_values = self.kept_values or _is_nested(usage)
            # Never a sum: servers send counts so far, twice, or with nulls (P16).
            self.usage = merge_usage(self.usage, usage)
        # Groq's place for it in streams.
        groq = event.get("x_groq")
        if isinstance(groq, dict):
            self.usage = merge_usage(self.usage, groq.get("usage"))
        # Names of counts come from the server, so their number is bounded, too (L4).
        if self.usage is not None:
            check_size("counts", self.usage)

    def _raw(self, choices: Mapping[int, Choice], usage: Json | None) -> Json:
        # People use fields that we have never heard of (P19).
        raw = {
            **self.root,
            "choices": [self._states[index].raw(choice) for index, choice in choices.items()],
        }
        return {**raw, "usage": usage} if usage else raw


def _is_nested(usage: Any) -> bool:
    """Whether there is more in the counts of an event than numbers and objects of numbers."""
    details = usage.values() if isinstance(usage, dict) else ()
    return any(
        isinstance(value, list)
        or (isinstance(value, dict) and any(isinstance(n, list | dict) for n in value.values()))
        for value in details
    )


def _numbered(choices: list[Any]) -> list[Any]:
    """Whole choices, numbered by their places.

    Unless their own numbers are different ones from 0.
    """
    numbers = [choice.get("index") for choice in choices if isinstance(choice, dict)]
    known = [number for number in numbers if isinstance(number, int)]
    if not known or (0 in known and min(known) >= 0 and len(known) == len(set(known))):
        return choices
    return [
        {**choice, "index": place} if isinstance(choice, dict) else choice
        for place, choice in enumerate(choices)
    ]


def _chunk(pieces: list[ChatChunk], event: Json) -> ChatChunk:
    """The pieces as one chunk.

    An event may hold several entries of one choice, and a chunk has one piece of each.
    """
    by_choice: dict[int, list[ChatChunk]] = {}
    for piece in pieces:
        by_choice.setdefault(piece.index, []).append(piece)
    joined = {index: _joined(of_one) for index, of_one in by_choice.items()}
    # A chunk is the first choice's, also where the event says nothing of it (S5).
    first = joined.pop(0, None) or ChatChunk()
    first.raw = event
    first.other_choices = tuple(joined.values())
    return first


def _joined(pieces: list[ChatChunk]) -> ChatChunk:
    """The pieces of one choice that came in the same event, as one."""
    first = pieces[0]
    if len(pieces) > 1:
        first.content = "".join(piece.content for piece in pieces)
        first.reasoning = "".join(piece.reasoning for piece in pieces)
        first.refusal = "".join(piece.refusal for piece in pieces)
        first.tool_calls = [delta for piece in pieces for delta in piece.tool_calls]
        first.finish_reason = next(
            (piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), None
        )
        probabilities = [piece.logprobs for piece in pieces if piece.logprobs is not None]
        first.logprobs = reduce(merge_logprobs, probabilities, None)
    return first


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
