"""``OPEAEmbedding``: LlamaIndex's embeddings from any OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import Context, copy_context
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.utils import get_tqdm_iterable
from llama_index_instrumentation import get_dispatcher
from pydantic import Field, PositiveInt

from llama_index_opea import options
from llama_index_opea.connection import Connection
from opea_core import ConfigurationError
from opea_core.adapters import Caller, batches, hidden

if TYPE_CHECKING:
    from typing import Unpack

    from llama_index_opea.constructor_options import OPEAEmbeddingOptions

_MEASURED = 8
"""Batches at once for an endpoint that was not told how many requests it takes."""
_UNNAMED = "unknown"
dispatcher = get_dispatcher(__name__)


class OPEAEmbedding(Connection, BaseEmbedding, defer_build=False):
    """Vectors for texts, in their order, as lists of floats.

    Texts are sent as they are, line breaks included.

    ``OPEAEmbedding(model_name="bge-m3", api_base="http://localhost:8080")``; the keywords about
    servers are those of ``OPEALLM``. A batch that the server refuses as too large is split. Raises
    the errors of ``opea_core``.
    """

    model_name: str = _UNNAMED
    """The model (``model`` is another name).

    If not given and the server serves one, that one, asked for at the first call.
    """
    dimensions: int | None = None
    """The length of the vectors, at models that can be shortened."""
    max_request_bytes: PositiveInt = 1_000_000
    """Bytes of text in one request, at most; a longer text goes alone."""
    query_prefix: str = ""
    """What stands before a query, where the model wants it (``"query: "``)."""
    text_prefix: str = ""
    """What stands before a document (``"passage: "``)."""
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request."""
    extra_body: dict[str, Any] | None = None
    embeddings_cache: Any | None = Field(default=None, exclude=True)
    """A key-value store of LlamaIndex: texts found there are not sent."""
    priority: Annotated[int, Field(ge=0, le=9)] | None = hidden()
    """0 (urgent) to 9 in the queue."""

    _aliases: ClassVar[Mapping[str, str]] = options.EMBEDDING_ALIASES

    if TYPE_CHECKING:  # the model may come first, and names may be LlamaIndex's or the core's

        def __init__(
            self, model_: str | None = None, /, **keywords: Unpack[OPEAEmbeddingOptions]
        ) -> None: ...

    @classmethod
    def class_name(cls) -> str:
        """The name in stored dicts; another package has taken "OPEAEmbedding"."""
        return "OPEAProxyEmbedding"

    @classmethod
    def _own_model(cls, values: Mapping[str, Any]) -> str | None:
        name = super()._own_model(values)
        return None if name == _UNNAMED else name

    def to_payload(self) -> dict[str, Any]:
        """What events show of this object; no keys, no headers."""
        name = self._own_model(vars(self)) or self.client.model or _UNNAMED
        known = {
            "class_name": self.class_name(),
            "model_name": name,
            "embed_batch_size": self.embed_batch_size,
        }
        return {**known, "api_base": self._url()}

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._embed([self.query_prefix + _text(query)])[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._aembed([self.query_prefix + _text(query)]))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._embed([self.text_prefix + _text(text) for text in texts])

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self._aembed([self.text_prefix + _text(text) for text in texts])

    def _embed(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = []
        if texts:
            self._ask_for_model(self._named_model())
        for batch in batches(texts, len(texts), self.max_request_bytes):
            vectors += self.client.embed(batch, **self._options()).embeddings
        return vectors

    async def _aembed(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = []
        if texts:
            await self._aask_for_model(self._named_model())
        for batch in batches(texts, len(texts), self.max_request_bytes):
            vectors += (await self.client.aembed(batch, **self._options())).embeddings
        return vectors

    def _options(self) -> dict[str, Any]:
        optional = {"dimensions": self.dimensions} if self.dimensions is not None else {}
        found = self._merged(
            self._call_model(self._own_model(vars(self))) | self._shared_options() | optional
        )
        options.refuse_own(found, "input", "inputs")
        return found

    def get_query_embedding(self, query: str) -> Embedding:
        """The vector of a query."""
        return cast(
            Embedding, inspect.unwrap(BaseEmbedding.get_query_embedding)(self._for_queries(), query)
        )

    async def aget_query_embedding(self, query: str) -> Embedding:
        """``get_query_embedding`` for async code."""
        return cast(
            Embedding,
            await inspect.unwrap(BaseEmbedding.aget_query_embedding)(self._for_queries(), query),
        )

    def _for_queries(self) -> Self:
        """The object to embed queries with: without the cache where prefixes differ.

        LlamaIndex's cache knows a text without its prefix, so it must not answer queries then.
        """
        if self.embeddings_cache is None or self.query_prefix == self.text_prefix:
            return self
        return self.model_copy(update={"embeddings_cache": None})

    # --- many texts

    @dispatcher.span
    def get_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[Embedding]:
        """Vectors of texts, in their order.

        The requests are of ``embed_batch_size`` texts, ``num_workers`` at once.

        ``num_workers``: if not given, as many as the endpoints' ``max_concurrent``, 8 for one
        without. An error ends the requests that were not begun.
        """
        work = _Batches(self, texts)
        workers = self._workers(len(work))
        if workers < 2:
            return work.gather(map(self._one_batch, work), show_progress)
        with Caller().blocks():
            jobs = [(copy_context(), batch) for batch in work]
            return self._in_parallel(work, workers, jobs, show_progress)

    def _in_parallel(
        self,
        work: _Batches,
        workers: int,
        jobs: list[tuple[Context, list[str]]],
        show_progress: bool,
    ) -> list[Embedding]:
        def one(job: tuple[Context, list[str]]) -> list[Embedding]:
            context, batch = job
            with work.unless_failed():
                return context.run(self._one_batch, batch)

        return work.gather(_in_threads(workers, one, jobs), show_progress)

    @dispatcher.span
    async def aget_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[Embedding]:
        """``get_text_embedding_batch`` for async code."""
        work = _Batches(self, texts)
        places = asyncio.Semaphore(max(1, self._workers(len(work))))

        async def one(batch: list[str]) -> list[Embedding]:
            async with places:
                with work.unless_failed():
                    return await self._aone_batch(batch)

        caller = Caller()
        with caller.awaits():
            tasks = [asyncio.ensure_future(one(batch)) for batch in work]
        try:
            for task in get_tqdm_iterable(tasks, show_progress, "Generating embeddings"):
                with caller.awaits():
                    work.ended(await task)
        except BaseException as error:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            work.failed(error)
            raise
        return work.vectors

    def _workers(self, count: int) -> int:
        return min(
            count,
            self.num_workers
            or sum(endpoint.max_concurrent or _MEASURED for endpoint in self.client.endpoints),
        )

    def _one_batch(self, batch: list[str]) -> list[Embedding]:
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()
        return (
            self._get_text_embeddings_cached(batch)
            if self.embeddings_cache is not None
            else self._get_text_embeddings(batch)
        )

    async def _aone_batch(self, batch: list[str]) -> list[Embedding]:
        if self.rate_limiter is not None:
            await self.rate_limiter.async_acquire()
        if self.embeddings_cache is not None:
            return await self._aget_text_embeddings_cached(batch)
        return await self._aget_text_embeddings(batch)


def _in_threads(count: int, run: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
    """Results in the jobs' order, from threads that nobody waits for.

    An error or Ctrl-C is raised at once.
    """
    futures: list[Future[Any]] = [Future() for _ in jobs]
    waiting = deque(zip(jobs, futures, strict=True))

    def work() -> None:
        while True:
            try:
                job, future = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(run(job))
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                future.set_exception(error)

    try:
        for _ in range(count):
            Thread(target=work, name="opea-embed", daemon=True).start()
        for future in futures:
            yield future.result()
    finally:
        waiting.clear()


class _Batches:
    """Texts in batches, each with LlamaIndex's events.

    These are told in their order on the caller's thread.
    """

    def __init__(self, model: OPEAEmbedding, texts: Sequence[str]) -> None:
        if isinstance(texts, str):
            raise ConfigurationError(
                "A list of texts is needed, not one string.",
                "Pass [text], or call get_text_embedding.",
            )
        size = model.embed_batch_size
        self._batches = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        self._model = model
        self._open: list[tuple[list[str], str]] = []
        self._error: Exception | None = None
        self.vectors: list[Embedding] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[str]]:
        payload = self._model.to_payload()
        for batch in self._batches:
            dispatcher.event(EmbeddingStartEvent(model_dict=payload))
            started = self._model.callback_manager.on_event_start(
                CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: payload}
            )
            self._open.append((batch, started))
            yield batch

    @contextmanager
    def unless_failed(self) -> Iterator[None]:
        """Around each request: once one has failed, no other begins."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except Exception as error:
            self._error = error
            raise

    def gather(self, results: Iterator[list[Embedding]], show_progress: bool) -> list[Embedding]:
        """All vectors of the results, which come in the batches' order."""
        try:
            for vectors in get_tqdm_iterable(
                _Counted(results, len(self)), show_progress, "Generating embeddings"
            ):
                self.ended(vectors)
        except BaseException as error:
            self.failed(error)
            raise
        return self.vectors

    def ended(self, vectors: list[Embedding]) -> None:
        """The next batch is done."""
        batch, started = self._open.pop(0)
        self.vectors += vectors
        dispatcher.event(EmbeddingEndEvent(chunks=batch, embeddings=vectors))
        payload: dict[Any, Any] = {EventPayload.CHUNKS: batch, EventPayload.EMBEDDINGS: vectors}
        self._model.callback_manager.on_event_end(
            CBEventType.EMBEDDING, payload=payload, event_id=started
        )

    def failed(self, error: BaseException) -> None:
        """No further batch will be done."""
        for _, started in self._open:
            self._model.callback_manager.on_event_end(
                CBEventType.EMBEDDING, payload={EventPayload.EXCEPTION: error}, event_id=started
            )
        self._open.clear()


class _Counted:
    """An iterator that knows its length, for the progress bar."""

    def __init__(self, items: Iterator[Any], count: int) -> None:
        self._items = items
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return self._items


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise ConfigurationError(f"Only strings can be embedded, not {type(text).__name__}.")
    return text
