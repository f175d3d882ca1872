"""Objects for tests, the eight ways to ask an LLM,
and listeners that keep what LlamaIndex's tracers are told.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import waiting
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, PrivateAttr

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core.testing import Answer, ScriptedServer, chat, json_answer, stream

_ONCE: dict[str, Any] = {"max_retries": 0, "recovery_wait": 0}


def llm(server: ScriptedServer, **options: Any) -> OPEALLM:
    """An LLM at this server that tries everything once and waits for nothing."""
    return OPEALLM(
        **{"model": "m", "api_base": server.url, "context_window": 8000, **_ONCE} | options
    )


def embedding(server: ScriptedServer, **options: Any) -> OPEAEmbedding:
    """Embeddings at this server that try everything once and wait for nothing."""
    return OPEAEmbedding(**{"model_name": "e", "api_base": server.url, **_ONCE} | options)


def reranker(server: ScriptedServer, **options: Any) -> OPEARerank:
    """A reranker at this server that tries everything once and waits for nothing."""
    return OPEARerank(**{"model": "r", "api_base": server.url, **_ONCE} | options)


MAKERS: dict[str, Callable[..., Any]] = {"llm": llm, "embedding": embedding, "rerank": reranker}
CLASSES: dict[str, Any] = {"llm": OPEALLM, "embedding": OPEAEmbedding, "rerank": OPEARerank}


def body(server: ScriptedServer) -> dict[str, Any]:
    """The parameters of the last request: its body without what was asked and ``stream``."""
    return {
        key: value
        for key, value in server.seen[-1].body.items()
        if key not in ("messages", "prompt", "stream", "stream_options")
    }


# --- the eight ways


def question(way: str, text: Any = "Hello") -> Any:
    """A text in the form this way takes."""
    if "chat" not in way or not isinstance(text, str):
        return text
    return [ChatMessage(role="user", content=text)]


def ask_all(way: str, asked: Any, text: Any = "Hello", /, **options: Any) -> list[Any]:
    """Everything a model answers in one of the ``WAYS``; whole answers are a list of one."""
    if way.startswith("a"):
        return asyncio.run(aask_all(way, asked, text, **options))
    found = getattr(asked, way)(question(way, text), **options)
    return list(found) if inspect.isgenerator(found) else [found]


async def aask_all(way: str, asked: Any, text: Any = "Hello", /, **options: Any) -> list[Any]:
    """``ask_all`` for async code."""
    if not way.startswith("a"):
        return ask_all(way, asked, text, **options)
    found = await getattr(asked, way)(question(way, text), **options)
    return [response async for response in found] if inspect.isasyncgen(found) else [found]


def ask(way: str, asked: Any, text: Any = "Hello", /, **options: Any) -> Any:
    """The last response."""
    return ask_all(way, asked, text, **options)[-1]


WHOLE = ("chat", "achat", "complete", "acomplete")
STREAMED = ("stream_chat", "astream_chat", "stream_complete", "astream_complete")
WAYS = (*WHOLE, *STREAMED)
CHATS = ("chat", "achat", "stream_chat", "astream_chat")


def says(text: str = "yes", **options: Any) -> Any:
    """A script's answer in the form the request wants: whole or streamed."""

    def answer(seen: Any) -> Answer:
        return stream([text], **options) if seen.body.get("stream") else chat(text, **options)

    return answer


def ranked(*scores: tuple[int, float]) -> Answer:
    """A reranker's answer: (index, score) in this order."""
    return json_answer(
        {"results": [{"index": index, "relevance_score": score} for index, score in scores]}
    )


# --- tools and forms


class City(BaseModel):
    """A city."""

    name: str


def _add(a: int = 1) -> int:
    """Add."""
    return a


TOOL = FunctionTool.from_defaults(_add, name="add")
_CITY = PromptTemplate("A city.")


async def _drained(responses: Any) -> None:
    async for _ in await responses:
        pass


WITH_TOOLS: dict[str, Callable[..., Any]] = {
    "chat_with_tools": lambda made, **options: made.chat_with_tools([TOOL], "x", **options),
    "achat_with_tools": lambda made, **options: asyncio.run(
        made.achat_with_tools([TOOL], "x", **options)
    ),
    "stream_chat_with_tools": lambda made, **options: list(
        made.stream_chat_with_tools([TOOL], "x", **options)
    ),
    "astream_chat_with_tools": lambda made, **options: asyncio.run(
        _drained(made.astream_chat_with_tools([TOOL], "x", **options))
    ),
    "predict_and_call": lambda made, **options: made.predict_and_call([TOOL], "x", **options),
    "apredict_and_call": lambda made, **options: asyncio.run(
        made.apredict_and_call([TOOL], "x", **options)
    ),
}
"""Calls with one tool, ``add``."""

STRUCTURED: dict[str, Callable[..., Any]] = {
    "structured_predict": lambda made, **options: made.structured_predict(
        City, _CITY, llm_kwargs=options
    ),
    "astructured_predict": lambda made, **options: asyncio.run(
        made.astructured_predict(City, _CITY, llm_kwargs=options)
    ),
    "stream_structured_predict": lambda made, **options: list(
        made.stream_structured_predict(City, _CITY, llm_kwargs=options)
    ),
    "astream_structured_predict": lambda made, **options: asyncio.run(
        _drained(made.astream_structured_predict(City, _CITY, llm_kwargs=options))
    ),
}
"""Calls for a ``City``."""

USAGE = {"prompt_tokens": 17, "completion_tokens": 5, "total_tokens": 22}


def counted(seen: Any) -> Answer:
    """A few words and the usage."""
    if seen.body.get("stream"):
        return stream(["one ", "two ", "three"], usage=USAGE)
    return chat("one two three", usage=USAGE)


# --- what listeners are told


class Listener(BaseCallbackHandler):
    """A callback handler that keeps its events."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[tuple[CBEventType, dict[Any, Any], str]] = []
        self.ended: list[tuple[CBEventType, dict[Any, Any], str]] = []

    def on_event_start(
        self,
        event_type: Any,
        payload: Any = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Something begins."""
        self.started.append((event_type, payload or {}, event_id))
        return event_id

    def on_event_end(
        self, event_type: Any, payload: Any = None, event_id: str = "", **kwargs: Any
    ) -> None:
        """Something ended."""
        self.ended.append((event_type, payload or {}, event_id))

    def start_trace(self, trace_id: str | None = None) -> None:
        """Not kept."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Not kept."""

    @property
    def manager(self) -> CallbackManager:
        """A manager that lets it listen."""
        return CallbackManager([self])

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Starts and ends of each type; the exceptions
        that core counts as events of their own are left out.
        """
        kinds = {kind for kind, _, _ in [*self.started, *self.ended]} - {CBEventType.EXCEPTION}
        return {
            kind.value: (
                sum(k == kind for k, _, _ in self.started),
                sum(k == kind for k, _, _ in self.ended),
            )
            for kind in kinds
        }


class Events(BaseEventHandler):
    """An instrumentation handler that keeps its events."""

    _kept: list[Any] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Its name in core."""
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Something happened."""
        self._kept.append(event)

    @property
    def names(self) -> list[str]:
        """The names of the events, spans' left out."""
        return [
            type(event).__name__
            for event in self._kept
            if not type(event).__name__.startswith("Span")
        ]

    def of(self, name: str) -> list[Any]:
        """The events of one class."""
        return [event for event in self._kept if type(event).__name__ == name]

    @property
    def text(self) -> str:
        """All of them, as a tracer would write them down."""
        return "\n".join(f"{event!r} {event.model_dump()!r}" for event in self._kept)


class Spans(BaseSpanHandler[SimpleSpan]):
    """A span handler that keeps the spans, how they ended
    and what tracers see of their arguments and results.
    """

    _seen: list[str] = PrivateAttr(default_factory=list)

    def new_span(
        self,
        id_: str,
        bound_args: Any,
        instance: Any = None,
        parent_span_id: Any = None,
        tags: Any = None,
        **kwargs: Any,
    ) -> Any:
        """A span begins."""
        self._seen.append(
            f"{bound_args!r} {bound_args.arguments!r} {dict(bound_args.kwargs)!r} {instance!r}"
        )
        return SimpleSpan(id_=id_, parent_id=parent_span_id, tags=tags or {})

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **kwargs: Any
    ) -> Any:
        """A span ended well."""
        self._seen.append(f"{bound_args.arguments!r} {result!r}")
        span = self.open_spans[id_]
        self.completed_spans.append(span)
        return span

    def prepare_to_drop_span(
        self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **kwargs: Any
    ) -> Any:
        """A span failed."""
        self._seen.append(f"{bound_args.arguments!r} {err!r}")
        span = self.open_spans[id_]
        self.dropped_spans.append(span)
        return span

    @property
    def text(self) -> str:
        """What tracers see."""
        return "\n".join(self._seen)

    def named(self, name: str) -> int:
        """How many spans of this name ended."""
        return sum(
            span.id_.startswith(f"{name}-") for span in [*self.completed_spans, *self.dropped_spans]
        )


@contextmanager
def instrumented() -> Iterator[tuple[Events, Spans]]:
    """Listen to the instrumentation's events and spans for a while."""
    root, events, spans = get_dispatcher(), Events(), Spans()
    before = (root.event_handlers, root.span_handlers)
    root.event_handlers, root.span_handlers = [*before[0], events], [*before[1], spans]
    try:
        yield events, spans
    finally:
        root.event_handlers, root.span_handlers = before


class Counter(BaseRateLimiter):
    """A rate limiter that counts and never waits."""

    def __init__(self) -> None:
        self.sync = self.asynchronous = 0

    def acquire(self, num_tokens: int = 0) -> None:
        """One more."""
        self.sync += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        """One more."""
        self.asynchronous += 1

    @property
    def total(self) -> int:
        """All of them."""
        return self.sync + self.asynchronous


# --- threads


in_threads = waiting.in_threads
until = partial(waiting.until, patience=10)
joined = partial(waiting.joined, patience=10)
