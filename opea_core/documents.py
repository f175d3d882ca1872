"""What ``OPEA`` does besides chat.

Vectors, relevance, models, tokens, and asking servers what they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from opea_core.bounded_dict import Bounded
from opea_core.errors import ConfigurationError
from opea_core.flow.discover import Discovery, Together, discover_flow
from opea_core.flow.embed import Sizes, check_inputs, embed_flow
from opea_core.lazy_imports import importing
from opea_core.types import CallMeta, EmbeddingResponse, ModelInfo, RerankResponse

if TYPE_CHECKING:
    from typing import Unpack

    from opea_core.batch.many import AsyncMany, Many
    from opea_core.call_options import (
        CallOptions,
        EmbedManyOptions,
        EmbedOptions,
        RerankOptions,
        TokenOptions,
    )
    from opea_core.calls import Call
    from opea_core.engine import Engine


class DocumentMethods:
    """Calls whose answer is one JSON document."""

    _engine: Engine
    _listed: Bounded[str, None]
    _batches: Bounded[str, Sizes]

    def embed(self, inputs: str | list[str], **options: Unpack[EmbedOptions]) -> EmbeddingResponse:
        """Vectors for texts, in their order, as lists of floats.

        A batch that the server refuses as too large is split and tried again; the size it takes is
        remembered. No input, no request.
        """
        return self._engine.run_all(
            embed_flow(inputs, self._embedding_calls(options), self._sizes(options))
        )

    async def aembed(
        self, inputs: str | list[str], **options: Unpack[EmbedOptions]
    ) -> EmbeddingResponse:
        """``embed`` for async code."""
        return await self._engine.arun_all(
            embed_flow(inputs, self._embedding_calls(options), self._sizes(options))
        )

    def embed_many(
        self, texts: Iterable[str] | AsyncIterable[str], **options: Unpack[EmbedManyOptions]
    ) -> Many[list[float]]:
        """Vectors for many texts, in order: ``chat_many`` for embeddings.

        Texts are pulled as there is room, and go out in batches of ``batch_size`` (128), or of what
        the server takes if it refuses so many. Each result has ``index``, ``request`` (the text),
        ``response`` (its vector) and ``error``. A text that the server refuses costs the others of
        its batch nothing. ``max_concurrent`` is the most batches on their way at once.
        """
        with importing:
            from opea_core.batch.many import Many

        if self._engine.drivers.only_sync:
            raise ConfigurationError(
                "Many texts are embedded in an event loop, and only a sync HTTP client was given.",
                "Give async_http_client= too, so that they go the same way.",
            )
        return Many(self._vectors_maker(texts, options))

    def aembed_many(
        self, texts: Iterable[str] | AsyncIterable[str], **options: Unpack[EmbedManyOptions]
    ) -> AsyncMany[list[float]]:
        """``embed_many`` for async code; no ``await`` before ``async for``."""
        return self._vectors_maker(texts, options)()

    def _vectors_maker(
        self, texts: Any, options: Mapping[str, Any]
    ) -> Callable[[], AsyncMany[list[float]]]:
        with importing:
            from opea_core.batch.feed import Feed
            from opea_core.batch.vectors import AsyncVectors, limits, shared_options

        most, shared = limits(options), shared_options(options)
        self._embedding_calls(shared)(["checked now"])
        feed, sizes = Feed(texts), self._sizes(shared)
        return lambda: AsyncVectors(
            self._engine, feed, sizes, lambda: self._embedding_calls(shared), most
        )

    def _sizes(self, options: Mapping[str, Any]) -> Sizes:
        model = str(options.get("model"))
        known = [e.capabilities.embedding_batch for e in self._engine.settings.endpoints]
        most = min((most for most in known if most is not None), default=None)
        sizes = self._batches[model] = self._batches.get(model) or Sizes(most)
        return sizes

    def _embedding_calls(self, options: Mapping[str, Any]) -> Callable[[list[str]], Call]:
        deadline: int | None = None  # of the whole, however often it is split

        def make(batch: list[str]) -> Call:
            nonlocal deadline
            call = self._engine.calls.embeddings(batch, options)
            call.spec.deadline = deadline = deadline or call.spec.deadline
            return call

        return make

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """Documents by their relevance to a query, best first.

        By ``/rerank`` of vLLM, llama.cpp, Jina, Cohere, Voyage.

        ``index`` of a result is the document's place in ``documents``. No document, no request.
        """
        texts = _texts(documents)
        if not texts:
            return RerankResponse([], meta=CallMeta(attempts=0))
        response: RerankResponse = self._engine.run(
            self._engine.calls.rerank(query, texts, top_n, options)
        )
        return response

    async def arerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """``rerank`` for async code."""
        texts = _texts(documents)
        if not texts:
            return RerankResponse([], meta=CallMeta(attempts=0))
        response: RerankResponse = await self._engine.arun(
            self._engine.calls.rerank(query, texts, top_n, options)
        )
        return response

    def models(self, **options: Unpack[CallOptions]) -> list[ModelInfo]:
        """The models the server lists; ``is_compatible_model`` knows them from then on."""
        return self._listing(self._engine.run(self._engine.calls.models(options)))

    async def amodels(self, **options: Unpack[CallOptions]) -> list[ModelInfo]:
        """``models`` for async code."""
        return self._listing(await self._engine.arun(self._engine.calls.models(options)))

    def _listing(self, models: list[ModelInfo]) -> list[ModelInfo]:
        for model in models:
            self._listed[model.id] = None
        return models

    def count_tokens(self, text: str, **options: Unpack[TokenOptions]) -> int:
        """How many tokens a text has, by the server's own tokenizer.

        By ``/tokenize`` of vLLM, SGLang, llama.cpp.

        Raises NotFoundError at servers that have none.
        """
        count: int = self._engine.run(self._engine.calls.tokens(text, options))
        return count

    async def acount_tokens(self, text: str, **options: Unpack[TokenOptions]) -> int:
        """``count_tokens`` for async code."""
        count: int = await self._engine.arun(self._engine.calls.tokens(text, options))
        return count

    def discover(self, **options: Unpack[CallOptions]) -> Self:
        """Ask the servers once what they are; gives the object itself.

        Fills what was not set: the model (if one is served), ``context_window``, and how many calls
        run at once where the server tells (llama.cpp). Raises ConfigurationError when no model was
        given and several are served, naming them.
        """
        self._engine.found(self._engine.run_all(self._discovery(options)))
        return self

    async def adiscover(self, **options: Unpack[CallOptions]) -> Self:
        """``discover`` for async code."""
        self._engine.found(await self._engine.arun_all(self._discovery(options)))
        return self

    def _ask_for_model(self, options: Mapping[str, Any]) -> None:
        """Find out the model as the first call without one does; ``options`` are a call's."""
        self._engine.question.ask(self._engine.calls.models(options))

    async def _aask_for_model(self, options: Mapping[str, Any]) -> None:
        await self._engine.question.aask(self._engine.calls.models(options))

    def _discovery(
        self, options: Mapping[str, Any]
    ) -> Generator[Together, Sequence[Any], Discovery]:
        calls, settings = self._engine.calls, self._engine.settings
        model = settings.model if settings.model_given else None
        return discover_flow(
            settings.endpoints,
            model,
            lambda at: calls.models({**options, "endpoint": at}),
            calls.props,
            self._engine.shown,
        )


def _texts(documents: Any) -> list[str]:
    """The documents as a list, or ConfigurationError."""
    if isinstance(documents, str | Mapping) or not isinstance(documents, Iterable):
        raise ConfigurationError("documents must be a list of strings.")
    return check_inputs(list(documents))
