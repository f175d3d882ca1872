"""Putting an answer together: from events of a stream, or from one plain body."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from opea_core.types import ChatChunk, ChatResponse, Choice, Json, ToolCallDelta
from opea_core.wire.jsontext import TextJoiner
from opea_core.wire.think import ThinkSplitter, split_whole
from opea_core.wire.tools import ToolAssembler
from opea_core.wire.usage import finish_reason, merge_usage, read_usage

REASONING_FIELDS = ("reasoning_content", "reasoning")
_ROOT = frozenset({"choices", "usage", "error"})
_CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "usage"})
MANY = 1 << 30
"""Choices, where it is not known how many were asked for."""
_PIECE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_MESSAGE = frozenset({"role", "content", "tool_calls", "function_call", "refusal", "reasoning_details", *REASONING_FIELDS})


class _ChoiceState:
    """One choice under construction."""

    __slots__ = (
        "choice",
        "choice_extra",
        "content",
        "content_joiner",
        "message",
        "message_extra",
        "reasoning",
        "reasoning_joiner",
        "refusal",
        "refusal_joiner",
        "splitter",
        "tools",
    )  # fmt: skip

    def __init__(self, index: int, think: bool) -> None:
        self.choice = Choice(index=index)
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.content_joiner = TextJoiner()
        self.reasoning_joiner = TextJoiner()
        self.refusal_joiner = TextJoiner()
        self.splitter = ThinkSplitter() if think else None
        self.tools = ToolAssembler()
        self.message: Mapping[str, Any] | None = None  # a cumulative message beside empty deltas
        self.message_extra: Json = {}
        self.choice_extra: Json = {}

    def push(self, raw: Mapping[str, Any], event: Json, plain: bool) -> ChatChunk:
        """Take one entry of ``choices``; gives the piece to hand on."""
        choice = self.choice
        chunk = ChatChunk(raw=event, index=choice.index)
        delta, message = raw.get("delta"), raw.get("message")
        if not plain and isinstance(delta, dict):
            if len(delta) == 1 and _says_no_more(raw):
                self._take_one(delta, chunk)
                return chunk
            self._take(delta, chunk, False)
            if isinstance(message, dict):
                self.message = message
        elif isinstance(message, dict):
            self._whole(message, chunk)
        elif isinstance(delta, dict):
            self._take(delta, chunk, True)
        text = raw.get("text")
        if isinstance(text, str):
            self._text(text, "", chunk)
        self._about(raw, chunk)
        return chunk

    def _take_one(self, delta: Mapping[str, Any], chunk: ChatChunk) -> None:
        """A delta of one field, as most are: ``_take`` without the questions about the others."""
        chunk.role = self.choice.role
        if isinstance(delta.get("content"), str):
            self._text(delta["content"], "", chunk)
        elif delta.get("tool_calls"):
            chunk.tool_calls = self.tools.push(delta["tool_calls"])
        else:
            self._take(delta, chunk, False)

    def _about(self, raw: Mapping[str, Any], chunk: ChatChunk) -> None:
        """What the entry says beside its message: finish reason, logprobs, unknown keys."""
        choice = self.choice
        reason = raw.get("finish_reason") or raw.get("finishReason")
        if not reason and isinstance(raw.get("finish_details"), dict):
            reason = raw["finish_details"].get("type")
        if reason:
            choice.raw_finish_reason = reason
            chunk.finish_reason = finish_reason(reason, bool(self.tools))
        logprobs = raw.get("logprobs")
        if isinstance(logprobs, dict):
            chunk.logprobs = dict(logprobs)
            choice.logprobs = _merge_logprobs(choice.logprobs, logprobs)
        for key, value in raw.items():
            if key not in _CHOICE:
                self.choice_extra[key] = value

    def _whole(self, message: Mapping[str, Any], chunk: ChatChunk) -> None:
        """A complete (or cumulative) message: only what is new in it counts."""
        before, content = "".join(self.content), message.get("content")
        if before and isinstance(content, str):
            message = {**message, "content": content.removeprefix(before)}
        if self.tools:
            message = {key: value for key, value in message.items() if key not in ("tool_calls", "function_call")}
        self._take(message, chunk, True)

    def _take(self, delta: Mapping[str, Any], chunk: ChatChunk, whole: bool) -> None:
        choice = self.choice
        chunk.role = choice.role
        content = delta.get("content")
        thought = self._reasoning(delta)
        if content is None:
            content = ""
        elif not isinstance(content, str):
            content, more = self._parts(content)
            thought = thought or more
        if whole and self.splitter and content and not self.content:
            content, more = split_whole(content)
            self.splitter, thought = None, thought or more
        if content or thought:
            self._text(content, thought, chunk)
        calls = delta.get("tool_calls")
        if calls:
            chunk.tool_calls = self._calls(calls, whole)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and not calls:
            chunk.tool_calls = self.tools.push_legacy(legacy)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            chunk.refusal = self.refusal_joiner.push(refusal)
            self.refusal.append(chunk.refusal)
        role = delta.get("role")
        if isinstance(role, str) and role:
            choice.role = chunk.role = role
        for key, value in delta.items():
            if key not in _MESSAGE:
                self.message_extra[key] = _continued(key, self.message_extra.get(key), value)

    def _calls(self, calls: Any, whole: bool) -> list[ToolCallDelta]:
        if not whole:
            return self.tools.push(calls)
        for raw in calls if isinstance(calls, list) else [calls]:
            if isinstance(raw, dict):
                self.tools.push_whole(raw)
        return []  # complete: handed on at the end

    def _text(self, content: str, thought: str, chunk: ChatChunk) -> None:
        if content:
            content = self.content_joiner.push(content)
            if self.splitter:
                content, more = self.splitter.push(content)
                thought += more
            self.content.append(content)
            chunk.content += content
        if thought:
            thought = self.reasoning_joiner.push(thought)
            self.reasoning.append(thought)
            chunk.reasoning += thought

    def _reasoning(self, delta: Mapping[str, Any]) -> str:
        """The first non-empty spelling; several names often carry the same text."""
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            _merge_details(self.choice.reasoning_details, details)
        for name in REASONING_FIELDS:
            text = delta.get(name)
            if text and isinstance(text, str):
                self.choice.reasoning_field = name
                return text
        if isinstance(details, list):
            texts = [d.get("text") or d.get("summary") for d in details if isinstance(d, dict)]
            joined = "".join(text for text in texts if isinstance(text, str))
            if joined:
                self.choice.reasoning_field = self.choice.reasoning_field or "reasoning_details"
            return joined
        return ""

    def _parts(self, content: Any) -> tuple[str, str]:
        """(text, reasoning) of content that is no string."""
        if not isinstance(content, list):
            return json.dumps(content, ensure_ascii=False), ""
        texts, thoughts = [], []
        for part in content:
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, dict) and part.get("type") in ("text", "output_text"):
                texts.append(str(part.get("text") or ""))
            elif isinstance(part, dict) and part.get("type") == "thinking":
                thoughts.append(_thinking(part.get("thinking")))
                self.choice.reasoning_field = self.choice.reasoning_field or "thinking"
            elif isinstance(part, dict):
                self.choice.parts.append(dict(part))
        return "".join(texts), "".join(thoughts)

    def finish(self, new_id: Callable[[], str]) -> tuple[Choice, ChatChunk]:
        """The finished choice, and a last piece with what was held back."""
        choice = self.choice
        chunk = ChatChunk(index=choice.index, role=choice.role)
        if self.message is not None and not any(self.content):
            self._whole(self.message, chunk)
        tail = self.content_joiner.end()
        if self.splitter:
            content, thought = self.splitter.push(tail)
            more = self.splitter.end()
            tail, thought = content + more[0], thought + more[1]
            self.reasoning.append(thought)
            chunk.reasoning += thought
        self.content.append(tail)
        chunk.content += tail
        tail = self.reasoning_joiner.end()
        self.reasoning.append(tail)
        chunk.reasoning += tail
        choice.extra = {**self.message_extra, **self.choice_extra}
        choice.content, choice.reasoning = "".join(self.content), "".join(self.reasoning)
        tail = self.refusal_joiner.end()
        chunk.refusal += tail
        choice.refusal = "".join((*self.refusal, tail)) or None
        if self.tools:
            cut = finish_reason(choice.raw_finish_reason, False) == "length"
            choice.tool_calls, choice.invalid_tool_calls, chunk.tool_calls = self.tools.finish(new_id, cut)
        choice.finish_reason = finish_reason(choice.raw_finish_reason, bool(self.tools))
        return choice, chunk

    def raw(self) -> Json:
        """The choice in the shape of a plain answer; after ``finish``."""
        choice = self.choice
        message: Json = {"role": choice.role, "content": choice.content or None, **self.message_extra}
        if choice.reasoning and choice.reasoning_field in REASONING_FIELDS:
            message[choice.reasoning_field] = choice.reasoning
        if choice.reasoning_details:
            message["reasoning_details"] = choice.reasoning_details
        if self.tools:
            message["tool_calls"] = self.tools.raw()
        if choice.refusal:
            message["refusal"] = choice.refusal
        entry = {"index": choice.index, "message": message, "finish_reason": choice.raw_finish_reason}
        return {**entry, **({"logprobs": choice.logprobs} if choice.logprobs else {}), **self.choice_extra}


class Assembler:
    """A whole answer out of its events. ``push`` events (or ``push_plain`` one body), then ``finish``."""

    __slots__ = ("_asked", "_new_id", "_numbers", "_states", "_think", "root", "started", "usage")

    def __init__(self, new_id: Callable[[], str], think_tags: bool = False, choices: int | None = None) -> None:
        """``choices``: how many were asked for, if that is known."""
        self._asked = MANY if choices is None else choices
        self._numbers: dict[int, int] = {}
        """Our number of a choice by the server's."""
        self._new_id = new_id
        self._think = think_tags
        self._states: dict[int, _ChoiceState] = {}
        self.root: Json = {}
        self.usage: Json | None = None
        self.started = False
        """Whether first content came: text, reasoning, a tool call, a refusal or a finish reason."""

    def push(self, event: Json, plain: bool = False) -> ChatChunk:
        """Take one event; gives the piece to hand on, which may be empty."""
        self._take_root(event)
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return ChatChunk(raw=event)
        if len(choices) == 1 and isinstance(choices[0], dict):
            chunk = self._push_choice(choices[0], 0, event, plain)
            if chunk.index == 0:
                return chunk
            pieces = [chunk]
        else:
            if plain:
                choices = _numbered(choices)
            pieces = [self._push_choice(c, i, event, plain) for i, c in enumerate(choices) if isinstance(c, dict)]
        joined: dict[int, ChatChunk] = {}
        for piece in pieces:
            before = joined.get(piece.index)
            joined[piece.index] = piece if before is None else _joined(before, piece)
        first = joined.pop(0, None) or ChatChunk(raw=event)
        first.other_choices = tuple(joined.values())
        return first

    def finish(self, requested_model: str = "", raw: Json | None = None) -> tuple[ChatResponse, ChatChunk | None]:
        """The whole answer, and a piece with what was held back if there is any."""
        finished = {index: state.finish(self._new_id) for index, state in sorted(self._states.items())}
        response = ChatResponse(
            choices=[choice for choice, _ in finished.values()] or [Choice()],
            usage=read_usage(self.usage),
            model=_string(self.root.get("model")) or requested_model,
            id=_string(self.root.get("id")),
            raw=raw if raw is not None else self._raw(),
            requested_model=requested_model,
        )
        held = [chunk for _, chunk in finished.values() if chunk.content or chunk.reasoning or chunk.tool_calls or chunk.refusal]
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

    def _push_choice(self, raw: Mapping[str, Any], position: int, event: Json, plain: bool) -> ChatChunk:
        index = raw.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            index = position
        index = self._number(index)
        if isinstance(raw.get("usage"), dict):  # Moonshot's place for it
            self.usage = merge_usage(self.usage, raw["usage"])
        state = self._states.get(index)
        if state is None:
            state = self._states[index] = _ChoiceState(index, self._think)
        chunk = state.push(raw, event, plain)
        if not self.started:
            self.started = bool(chunk.content or chunk.reasoning or chunk.tool_calls or chunk.refusal or chunk.finish_reason or state.tools)
        return chunk

    def _number(self, index: int) -> int:
        """Our number of a choice: the server's, unless that counts from 1 or in no order."""
        number = self._numbers.get(index)
        if number is None:
            fits = 0 <= index < self._asked or (index > 0 and 0 in self._states)
            number = index
            if not fits or index in self._states:
                number = next(free for free in range(len(self._states) + 1) if free not in self._states)
            self._numbers[index] = number
        return number

    def _take_root(self, event: Json) -> None:
        root = self.root
        for key, value in event.items():
            if key not in _ROOT and (value or key not in root) and not (key in ("id", "model") and root.get(key)):
                root[key] = value
        usage = event.get("usage")
        if usage:
            self.usage = merge_usage(self.usage, usage)
        groq = event.get("x_groq")
        if isinstance(groq, dict):
            self.usage = merge_usage(self.usage, groq.get("usage"))

    def _raw(self) -> Json:
        raw = {**self.root, "choices": [state.raw() for _, state in sorted(self._states.items())]}
        return {**raw, "usage": self.usage} if self.usage else raw


def _numbered(choices: list[Any]) -> list[Any]:
    """Whole choices, which are numbered by their places if their own numbers are not different ones from 0."""
    numbers = [choice.get("index") for choice in choices if isinstance(choice, dict)]
    known = [number for number in numbers if isinstance(number, int)]
    if not known or (0 in known and min(known) >= 0 and len(known) == len(set(known))):
        return choices
    return [{**choice, "index": place} if isinstance(choice, dict) else choice for place, choice in enumerate(choices)]


def _joined(before: ChatChunk, after: ChatChunk) -> ChatChunk:
    """Two pieces of one choice that came in the same event, as one."""
    before.content += after.content
    before.reasoning += after.reasoning
    before.refusal += after.refusal
    before.tool_calls = (*before.tool_calls, *after.tool_calls)
    before.finish_reason = after.finish_reason or before.finish_reason
    if after.logprobs is not None:
        before.logprobs = _merge_logprobs(None if before.logprobs is None else {**before.logprobs}, after.logprobs)
    return before


def _says_no_more(raw: Mapping[str, Any]) -> bool:
    """Whether an entry of ``choices`` has a delta and nothing else that counts."""
    return raw.keys() <= _PIECE and raw.get("finish_reason") is None and raw.get("logprobs") is None


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _continued(key: str, known: Any, news: Any) -> Any:
    """An unknown field of a message: the last value counts, but audio comes in pieces and annotations one by one."""
    if key == "audio" and isinstance(known, dict) and isinstance(news, dict):
        joined = {name: known[name] + news[name] for name in ("data", "transcript") if _both_text(known.get(name), news.get(name))}
        return {**known, **{name: value for name, value in news.items() if value is not None}, **joined}
    if key == "annotations" and isinstance(known, list) and isinstance(news, list):
        return [*known, *(entry for entry in news if entry not in known)]
    return known if news is None and known is not None else news


def _both_text(known: Any, news: Any) -> bool:
    return isinstance(known, str) and isinstance(news, str)


def _thinking(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(part.get("text") or "") for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _merge_logprobs(known: Json | None, news: Mapping[str, Any]) -> Json:
    merged: Json = known if known is not None else {}
    for key, value in news.items():
        if isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key].extend(value)
        elif value is not None or key not in merged:
            merged[key] = list(value) if isinstance(value, list) else value
    return merged


def _merge_details(known: list[Json], news: list[Any]) -> None:
    """Structured reasoning by its ``index``: texts are appended, other fields take the last value."""
    for detail in news:
        if not isinstance(detail, dict):
            continue
        index, kind = detail.get("index"), detail.get("type")
        same = next((d for d in known if index is not None and d.get("index") == index and d.get("type") == kind), None)
        if same is None:
            known.append(dict(detail))
            continue
        for key, value in detail.items():
            if key in ("text", "summary") and isinstance(value, str) and isinstance(same.get(key), str):
                same[key] += value
            elif value is not None:
                same[key] = value
