"""What others see of an LLM: callbacks, events, spans, and the acquisitions of a rate limiter."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index_instrumentation import get_dispatcher
from pydantic import PrivateAttr
from typing_extensions import override

STARTS = (LLMChatStartEvent, LLMCompletionStartEvent)
ENDS = (LLMChatEndEvent, LLMCompletionEndEvent)


class Watch(BaseCallbackHandler):
    """Remembers callbacks, and by ``watching`` events and spans."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[tuple[CBEventType, str, dict[str, Any]]] = []
        self.ended: list[tuple[CBEventType, str, dict[str, Any]]] = []
        self.events: list[BaseEvent] = []
        self.spans: list[str] = []

    # --- what was seen

    def of(self, *kinds: type[BaseEvent]) -> list[Any]:
        """The events of these classes."""
        return [event for event in self.events if isinstance(event, kinds)]

    def callbacks(self, kind: CBEventType) -> tuple[list[str], list[str]]:
        """The ids of what was started and of what was ended."""
        return [entry[1] for entry in self.started if entry[0] == kind], [
            entry[1] for entry in self.ended if entry[0] == kind
        ]

    def payloads(self, kind: CBEventType, *, end: bool) -> list[dict[str, Any]]:
        """The payloads of the starts or the ends."""
        return [entry[2] for entry in (self.ended if end else self.started) if entry[0] == kind]

    def last_response(self) -> Any:
        """The response in the last callback that ended a call of an LLM."""
        payload = self.payloads(CBEventType.LLM, end=True)[-1]
        return payload.get(EventPayload.RESPONSE) or payload.get(EventPayload.COMPLETION)

    def prompts(self) -> list[str]:
        """What LLMs were asked, the messages of a call in one text."""
        return [
            event.prompt
            if isinstance(event, LLMCompletionStartEvent)
            else "\n".join(f"{message.role.value}: {message.content}" for message in event.messages)
            for event in self.of(*STARTS)
        ]

    def shown(self) -> str:
        """All that a log of callbacks and events would hold."""
        events = [event.model_dump() for event in self.events]
        return repr([self.started, self.ended, events])

    # --- what core calls

    @override
    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Remember a start."""
        self.started.append((event_type, event_id, payload or {}))
        return event_id

    @override
    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Remember an end."""
        self.ended.append((event_type, event_id, payload or {}))

    @override
    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces are not looked at."""

    @override
    def end_trace(
        self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None
    ) -> None:
        """Traces are not looked at."""


@contextmanager
def watching(*components: Any) -> Iterator[Watch]:
    """Watch these components and, for as long, all of LlamaIndex's events and spans."""
    watch = Watch()
    events, spans, root = _Events(watch), _Spans(watch), get_dispatcher()
    managers = [component.callback_manager for component in components]
    for component, manager in zip(components, managers, strict=True):
        # The old one may share its handlers with others.
        component.callback_manager = CallbackManager([*manager.handlers, watch])
    root.add_event_handler(events)
    root.add_span_handler(spans)
    try:
        yield watch
    finally:
        root.event_handlers = [handler for handler in root.event_handlers if handler is not events]
        root.span_handlers = [handler for handler in root.span_handlers if handler is not spans]
        for component, manager in zip(components, managers, strict=True):
            component.callback_manager = manager


class _Events(BaseEventHandler):
    _watch: Watch = PrivateAttr()

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    @override
    def handle(self, event: BaseEvent, **_: Any) -> None:
        self._watch.events.append(event)


class _Spans(BaseSpanHandler[BaseSpan]):
    _watch: Watch = PrivateAttr()

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    @override
    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **_: Any,
    ) -> BaseSpan:
        self._watch.spans.append(id_.partition("-")[0])
        return BaseSpan(id_=id_, parent_id=parent_span_id, tags=tags or {})

    @override
    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        result: Any | None = None,
        **_: Any,
    ) -> BaseSpan | None:
        return self.open_spans.get(id_)

    @override
    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        err: BaseException | None = None,
        **_: Any,
    ) -> BaseSpan | None:
        return self.open_spans.get(id_)


class CountingLimiter(BaseRateLimiter):
    """Lets everything through and counts it."""

    def __init__(self) -> None:
        self.acquired = 0

    @override
    def acquire(self, num_tokens: int = 0) -> None:
        """Count."""
        self.acquired += 1

    @override
    async def async_acquire(self, num_tokens: int = 0) -> None:
        """Count."""
        self.acquired += 1
