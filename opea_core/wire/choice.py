"""One choice of an answer, put together from its pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from opea_core.types import ChatChunk, Choice, Json, ToolCallDelta
from opea_core.wire.content_order import in_order
from opea_core.wire.jsontext import TextJoiner
from opea_core.wire.merge import Fields, check_size, grown, joined, merge_logprobs, whole
from opea_core.wire.think import ThinkSplitter, split_whole
from opea_core.wire.tools import ToolAssembler
from opea_core.wire.usage import finish_reason

REASONING_FIELDS = ("reasoning_content", "reasoning")
_REASONING_NAMES = (*REASONING_FIELDS, "reasoning_text")
_CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "usage"})
_PIECE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_MESSAGE = frozenset(
    {
        "role",
        "content",
        "tool_calls",
        "function_call",
        "refusal",
        "reasoning_details",
        *REASONING_FIELDS,
    }
)


class ChoiceFailed(Exception):
    """A server put an error into a choice (OpenRouter)."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error


class ChoiceState:
    """One choice under construction."""

    __slots__ = (
        "choice",
        "choice_extra",
        "content",
        "content_joiner",
        "details",
        "kept_values",
        "kind",
        "message",
        "message_extra",
        "order",
        "reasoning",
        "reasoning_joiner",
        "refusal",
        "refusal_joiner",
        "size",
        "splitter",
        "thought",
        "tools",
    )  # fmt: skip

    def __init__(self, index: int, think: bool, heaviest: int, names: Mapping[str, str]) -> None:
        self.choice = Choice(index=index)
        self.content: list[str] = []
        self.size = 0
        """Letters of the content."""
        self.reasoning: list[str] = []
        self.thought = 0
        """Letters of the reasoning."""
        self.refusal: list[str] = []
        self.content_joiner = TextJoiner()
        self.reasoning_joiner = TextJoiner()
        self.refusal_joiner = TextJoiner()
        self.splitter = ThinkSplitter() if think else None
        self.tools = ToolAssembler(heaviest, names)
        self.message: Mapping[str, Any] | None = None  # a cumulative message beside empty deltas
        self.message_extra: Fields | None = None
        self.details: Any = None
        self.choice_extra: Json = {}
        self.order: list[tuple[str, int]] = []
        """What came in turn (text, reasoning, part), and where in all of that kind it began."""
        self.kind = ""
        """What came last."""
        self.kept_values = False
        """Whether more than text was kept of the last entry."""

    def push(self, raw: Mapping[str, Any], event: Json, plain: bool) -> ChatChunk:
        """Take one entry of ``choices``; gives the piece to hand on."""
        choice = self.choice
        self.kept_values = False
        chunk = ChatChunk(raw=event, index=choice.index)
        delta, message = raw.get("delta"), raw.get("message")
        if not plain and isinstance(delta, dict):
            # As nearly all deltas are; the questions below would find nothing (decision 9).
            if len(delta) == 1 and _says_no_more(raw):
                self._take_one(delta, chunk)
                return chunk
            self._take(delta, chunk, False)
            # Some servers send the message so far as well; it counts if no delta has text.
            if isinstance(message, dict):
                self.message = message
        elif isinstance(message, dict):
            self._whole(message, chunk)
        # A plain answer under the name of a delta.
        elif isinstance(delta, dict):
            self._take(delta, chunk, True)
        text = raw.get("text")
        # Together says it in both.
        if isinstance(text, str) and not _has_text(delta) and not _has_text(message):
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
            self.kept_values = not self.tools.went_on
        else:
            self._take(delta, chunk, False)

    def _about(self, raw: Mapping[str, Any], chunk: ChatChunk) -> None:
        """What stands beside the message: its end, logprobs, unknown keys. Raises ChoiceFailed."""
        choice = self.choice
        message = raw.get("message")
        error = raw.get("error") or (message.get("error") if isinstance(message, Mapping) else None)
        if error:
            raise ChoiceFailed(error)
        reason = raw.get("finish_reason") or raw.get("finishReason")
        if not reason and isinstance(raw.get("finish_details"), dict):
            reason = raw["finish_details"].get("type")
        if reason:
            choice.raw_finish_reason = reason
            chunk.finish_reason = finish_reason(reason, bool(self.tools))
        logprobs = raw.get("logprobs")
        if isinstance(logprobs, dict):
            chunk.logprobs = dict(logprobs)
            choice.logprobs = merge_logprobs(choice.logprobs, logprobs)
            self.kept_values = True
        for key, value in raw.items():
            if key not in _CHOICE:
                if isinstance(value, list | dict) and self.choice_extra.get(key) != value:
                    self.kept_values = True
                self.choice_extra[key] = value
        if self.choice_extra:
            check_size("unknown fields", self.choice_extra)

    def _whole(self, message: Mapping[str, Any], chunk: ChatChunk) -> None:
        """A complete (or cumulative) message: only what is new in it counts."""
        content = message.get("content")
        # What the deltas said already must not be handed out again (S4).
        if self.size and isinstance(content, str) and len(content) >= self.size:
            message = {**message, "content": content.removeprefix(joined(self.content))}
        # The calls came in deltas already: a final message says them again.
        if self.tools:
            message = {
                key: value
                for key, value in message.items()
                if key not in ("tool_calls", "function_call")
            }
        self._take(message, chunk, True)

    def _take(self, delta: Mapping[str, Any], chunk: ChatChunk, whole: bool) -> None:
        choice = self.choice
        chunk.role = choice.role
        content = delta.get("content")
        thought = self._reasoning(delta)
        if content is None:
            content = ""
        elif isinstance(content, list):
            self._parts(content, chunk, thought)
            content = thought = ""
        # Not in the protocol, and all the same it is what came (P18).
        elif not isinstance(content, str):
            content = json.dumps(content, ensure_ascii=False)
        # Only a whole text shows a block that the template opened: it has the closing tag alone.
        if whole and self.splitter and content and not self.content:
            content, more = split_whole(content)
            self.splitter, thought = None, thought or more
        if content or thought:
            self._text(content, thought, chunk)
        calls = delta.get("tool_calls")
        if calls:
            self.kept_values = True
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
        for key in delta:
            if key not in _MESSAGE:
                self._unknown(key, delta[key])

    def _unknown(self, key: str, value: Any) -> None:
        """Keep a field of the message that has no rule of its own."""
        if isinstance(value, list | dict):
            self.kept_values = True
        self.message_extra = self.message_extra or Fields()
        self.message_extra.add(key, value)

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
        if thought:
            thought = self.reasoning_joiner.push(thought)
            if thought and self.kind != "reasoning":
                self._turn("reasoning", self.thought)
            self.reasoning.append(thought)
            self.thought += len(thought)
            chunk.reasoning += thought
        if content:
            if self.kind != "text":
                self._turn("text", self.size)
            self.content.append(content)
            self.size += len(content)
            chunk.content += content

    def _turn(self, kind: str, at: int) -> None:
        """Another kind begins: remember which, and where in the text of that kind."""
        self.kind = kind
        self.order.append((kind, at))
        check_size("parts of content", self.order)

    def _reasoning(self, delta: Mapping[str, Any]) -> str:
        """The first non-empty spelling; several names often carry the same text."""
        # Kept beside the text: its signatures have to go back in the next turn (decision 12).
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            self.kept_values = True
            self.details = grown(self.details, details, "reasoning_details")
        for name in _REASONING_NAMES:
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

    def _parts(self, content: list[Any], chunk: ChatChunk, thought: str) -> None:
        """Content that is a list, in its order.

        ``thought``: reasoning that came beside it, which counts instead of that in it.
        """
        self.kept_values = True
        if thought:
            self._text("", thought, chunk)
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(part, str):
                self._text(part, "", chunk)
            elif kind in ("text", "output_text"):
                self._text(str(part.get("text") or ""), "", chunk)
            elif kind in ("thinking", "reasoning"):
                self.choice.reasoning_field = self.choice.reasoning_field or str(kind)
                if not thought:
                    self._text(
                        "",
                        _thinking(next((part[key] for key in _THOUGHTS if part.get(key)), "")),
                        chunk,
                    )
            # Unknown parts are kept in their place: what came must not be lost (P18).
            elif isinstance(part, dict):
                self._turn("part", len(self.choice.parts))
                self.choice.parts.append(dict(part))

    def finish(self, new_id: Callable[[], str], so_far: bool = False) -> tuple[Choice, ChatChunk]:
        """The choice as it is now, and a last piece with what was held back.

        ``so_far``: more may come.
        """
        known = self.choice
        chunk = ChatChunk(index=known.index, role=known.role)
        if self.message is not None and not self.size:
            if so_far:
                # An id that was shown stays.
                return deepcopy(self, {id(self.tools.given): self.tools.given}).finish(new_id)
            self._whole(self.message, chunk)
        tail, thought, refusal = self._held_back()
        chunk.content += tail
        chunk.reasoning += thought
        chunk.refusal += refusal
        choice = self._choice(
            joined(self.content) + tail,
            joined(self.reasoning) + thought,
            joined(self.refusal) + refusal,
        )
        if self.tools:
            cut = finish_reason(known.raw_finish_reason, False) == "length"
            choice.tool_calls, choice.invalid_tool_calls, chunk.tool_calls = self.tools.finish(
                new_id, cut
            )
        return choice, chunk

    def _held_back(self) -> tuple[str, str, str]:
        """Text, reasoning and refusal that more might have changed."""
        tail, thought = self.content_joiner.end(), self.reasoning_joiner.end()
        if self.splitter:
            content, inner = self.splitter.end()
            tail, thought = content + tail, inner + thought
        return tail, thought, self.refusal_joiner.end()

    def _choice(self, content: str, reasoning: str, refusal: str) -> Choice:
        """What is known now, as a choice of its own."""
        known = self.choice
        return Choice(
            index=known.index,
            role=known.role,
            raw_finish_reason=known.raw_finish_reason,
            reasoning_field=known.reasoning_field,
            content=content,
            reasoning=reasoning,
            refusal=refusal or None,
            finish_reason=finish_reason(known.raw_finish_reason, bool(self.tools)),
            logprobs=None
            if known.logprobs is None
            else {k: list(v) if isinstance(v, list) else v for k, v in known.logprobs.items()},
            reasoning_details=[
                entry for entry in whole(self.details) or () if isinstance(entry, dict)
            ],
            parts=known.parts.copy(),
            blocks=in_order(self.order, known.parts, content, reasoning),
            extra={**self._message_extra(), **self.choice_extra},
        )

    def _message_extra(self) -> Json:
        return {} if self.message_extra is None else self.message_extra.joined()

    def raw(self, choice: Choice) -> Json:
        """A finished choice in the shape of a plain answer."""
        message: Json = {
            "role": choice.role,
            "content": choice.content or None,
            **self._message_extra(),
        }
        if choice.reasoning and choice.reasoning_field in REASONING_FIELDS:
            message[choice.reasoning_field] = choice.reasoning
        if choice.reasoning_details:
            message["reasoning_details"] = choice.reasoning_details
        if self.tools:
            message["tool_calls"] = self.tools.raw()
        if choice.refusal:
            message["refusal"] = choice.refusal
        entry = {
            "index": choice.index,
            "message": message,
            "finish_reason": choice.raw_finish_reason,
        }
        return {
            **entry,
            **({"logprobs": choice.logprobs} if choice.logprobs else {}),
            **self.choice_extra,
        }


_THOUGHTS = ("thinking", "summary", "text", "reasoning", "content")


def _thinking(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(part.get("text") or "") for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _has_text(message: Any) -> bool:
    return isinstance(message, Mapping) and bool(message.get("content"))


def _says_no_more(raw: Mapping[str, Any]) -> bool:
    """Whether an entry of ``choices`` has a delta and nothing else that counts."""
    return raw.keys() <= _PIECE and raw.get("finish_reason") is None and raw.get("logprobs") is None
