"""The suite for embeddings."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Sequence
from typing import Any

import llama_index.core
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.cache import IngestionCache
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index_opea.testing.base import Conformance, asynchronous, needs
from llama_index_opea.testing.watching import CountingLimiter, Watch, watching

TEXTS = [
    "It rains in Lima.",
    "Ada wrote a program.",
    "A cat sleeps.\nA dog does not.",
    "Seven apples.",
    "It rains in Lima.",
]
QUERY = "What is the weather?"


def same(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two vectors are the same but for the noise of a server that batches."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other) > 0.999


class EmbeddingConformance(Conformance):
    """All tests for embeddings: give ``embedding_class`` and ``embedding_params``.

    class TestMyEmbedding(EmbeddingConformance):
        embedding_class = MyEmbedding
        embedding_params = {"model_name": "m1"}
    """

    @property
    def embedding_class(self) -> type[BaseEmbedding]:
        """The class under test. Required."""
        raise NotImplementedError(f"{type(self).__name__} must say which embedding_class it tests")

    @property
    def embedding_params(self) -> dict[str, Any]:
        """The keyword arguments of its constructor."""
        return {}

    @property
    def prefix_params(self) -> dict[str, str]:
        """``query_prefix`` and ``text_prefix``, where the class has them; else no test of them."""
        return {}

    @property
    def dimensions_params(self) -> dict[str, Any]:
        """Ask for vectors of ``dimensions`` numbers, where the server can; else no test of it."""
        return {}

    @property
    def failing_params(self) -> dict[str, Any]:
        """Make every call fail. Default: not given, its tests are skipped."""
        return {}

    @property
    def too_few_params(self) -> dict[str, Any]:
        """Make the server answer with one vector too few; not given, its test is skipped.

        It needs a scripted one.
        """
        return {}

    @property
    def secrets(self) -> Sequence[str]:
        """What must never be shown. Default: the ``api_key`` of ``embedding_params``."""
        key = self.embedding_params.get("api_key")
        return [key] if isinstance(key, str) else []

    def embedding(self, **changes: Any) -> BaseEmbedding:
        """A new object of the class under test."""
        return self.embedding_class(**{**self.embedding_params, **changes})

    @pytest.fixture(autouse=True)
    def _words_are_tokens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llama_index.core, "global_tokenizer", str.split)

    # --- vectors

    def _check_vectors(self, vectors: Sequence[Sequence[float]], count: int) -> None:
        assert len(vectors) == count, f"{len(vectors)} vectors for {count} texts"
        assert all(isinstance(number, float) for vector in vectors for number in vector)
        assert len({len(vector) for vector in vectors}) == 1
        assert all(vector for vector in vectors)

    def test_query(self) -> None:
        """A query becomes a list of floats."""
        self._check_vectors([self.embedding().get_query_embedding(QUERY)], 1)

    @asynchronous
    async def test_query_async(self) -> None:
        """The same for ``aget_query_embedding``."""
        embedding = self.embedding()
        vector = await embedding.aget_query_embedding(QUERY)
        self._check_vectors([vector], 1)
        assert same(vector, embedding.get_query_embedding(QUERY))

    def test_text(self) -> None:
        """A text becomes a list of floats, the same each time."""
        embedding = self.embedding()
        self._check_vectors([embedding.get_text_embedding(TEXTS[0])], 1)
        assert same(embedding.get_text_embedding(TEXTS[0]), embedding.get_text_embedding(TEXTS[0]))

    @asynchronous
    async def test_text_async(self) -> None:
        """The same for ``aget_text_embedding``."""
        embedding = self.embedding()
        assert same(
            await embedding.aget_text_embedding(TEXTS[0]), embedding.get_text_embedding(TEXTS[0])
        )

    def test_batch_order(self) -> None:
        """The vectors of a batch are in the order of its texts. To fix: sort them by ``index``."""
        embedding = self.embedding()
        vectors = embedding.get_text_embedding_batch(TEXTS)
        self._check_vectors(vectors, len(TEXTS))
        singles = [embedding.get_text_embedding(text) for text in TEXTS]
        assert [same(vector, single) for vector, single in zip(vectors, singles, strict=True)] == [
            True
        ] * len(TEXTS)
        assert not same(vectors[0], vectors[1])

    @asynchronous
    async def test_batch_order_async(self) -> None:
        """The same for ``aget_text_embedding_batch``."""
        embedding = self.embedding()
        vectors = await embedding.aget_text_embedding_batch(TEXTS)
        self._check_vectors(vectors, len(TEXTS))
        assert [
            same(vector, embedding.get_text_embedding(text))
            for text, vector in zip(TEXTS, vectors, strict=True)
        ] == [True] * len(TEXTS)

    def test_batches(self) -> None:
        """Texts beyond ``embed_batch_size`` go in several requests; nothing is lost or mixed up."""
        whole = self.embedding().get_text_embedding_batch(TEXTS)
        parts = self.embedding(embed_batch_size=2).get_text_embedding_batch(TEXTS)
        self._check_vectors(parts, len(TEXTS))
        assert all(same(one, other) for one, other in zip(whole, parts, strict=True))

    @pytest.mark.parametrize("num_workers", [None, 2])
    @asynchronous
    async def test_batches_async(self, num_workers: int | None) -> None:
        """The same in async, with and without ``num_workers``: any batch may be first."""
        whole = self.embedding().get_text_embedding_batch(TEXTS)
        parts = await self.embedding(
            embed_batch_size=2, num_workers=num_workers
        ).aget_text_embedding_batch(TEXTS)
        self._check_vectors(parts, len(TEXTS))
        assert all(same(one, other) for one, other in zip(whole, parts, strict=True))

    def test_empty(self) -> None:
        """No texts need no request: an empty list is the answer. To fix: return early."""
        assert self.embedding(**self.failing_params).get_text_embedding_batch([]) == []

    @asynchronous
    async def test_empty_async(self) -> None:
        """The same for the async method."""
        assert await self.embedding(**self.failing_params).aget_text_embedding_batch([]) == []

    def test_aggregate(self) -> None:
        """The mean of several queries is a vector of the same length."""
        embedding = self.embedding()
        mean = embedding.get_agg_embedding_from_queries([QUERY, TEXTS[0]])
        assert len(mean) == len(embedding.get_query_embedding(QUERY))

    @needs("prefix_params")
    def test_prefixes(self) -> None:
        """The prefixes stand before what is embedded, in single calls and batches."""
        plain, prefixed = self.embedding(), self.embedding(**self.prefix_params)
        query, text = (self.prefix_params[name] for name in ("query_prefix", "text_prefix"))
        assert same(prefixed.get_query_embedding(QUERY), plain.get_query_embedding(query + QUERY))
        assert same(prefixed.get_text_embedding(QUERY), plain.get_text_embedding(text + QUERY))
        assert same(
            prefixed.get_text_embedding_batch([QUERY])[0], plain.get_text_embedding(text + QUERY)
        )

    @needs("prefix_params")
    @asynchronous
    async def test_prefixes_async(self) -> None:
        """The same for the async methods."""
        plain, prefixed = self.embedding(), self.embedding(**self.prefix_params)
        query, text = (self.prefix_params[name] for name in ("query_prefix", "text_prefix"))
        assert same(
            await prefixed.aget_query_embedding(QUERY),
            await plain.aget_query_embedding(query + QUERY),
        )
        assert same(
            (await prefixed.aget_text_embedding_batch([QUERY]))[0],
            await plain.aget_text_embedding(text + QUERY),
        )

    @needs("dimensions_params")
    def test_dimensions(self) -> None:
        """``dimensions`` is the length of the vectors."""
        assert (
            len(self.embedding(**self.dimensions_params).get_query_embedding(QUERY))
            == self.dimensions_params["dimensions"]
        )

    # --- errors

    @needs("too_few_params")
    def test_count(self) -> None:
        """Fewer vectors than texts are an error. To fix: compare the counts.

        An index would give texts to the wrong vectors.
        """
        with pytest.raises(Exception):  # noqa: B017, PT011 - each integration has errors of its own
            self.embedding(**self.too_few_params).get_text_embedding_batch(TEXTS)

    @needs("too_few_params")
    @asynchronous
    async def test_count_async(self) -> None:
        """The same for the async method."""
        with pytest.raises(Exception):  # noqa: B017, PT011
            await self.embedding(**self.too_few_params).aget_text_embedding_batch(TEXTS)

    @needs("failing_params")
    def test_error_raises(self) -> None:
        """A refused call raises, and its message shows no key."""
        with pytest.raises(Exception) as caught:  # noqa: PT011
            self.embedding(**self.failing_params).get_query_embedding(QUERY)
        assert not [
            secret for secret in self.secrets if secret in f"{caught.value} {caught.value!r}"
        ]

    # --- what others see

    def _check_events(self, watch: Watch, batches: int) -> None:
        started, ended = watch.callbacks(CBEventType.EMBEDDING)
        assert len(started) == batches
        assert sorted(ended) == sorted(started)
        assert len(watch.of(EmbeddingStartEvent)) == len(watch.of(EmbeddingEndEvent)) == batches
        assert [text for event in watch.of(EmbeddingEndEvent) for text in event.chunks] == TEXTS
        chunks = [
            text
            for payload in watch.payloads(CBEventType.EMBEDDING, end=True)
            for text in payload[EventPayload.CHUNKS]
        ]
        assert chunks == TEXTS
        assert not [secret for secret in self.secrets if secret in watch.shown()], (
            "an event shows a secret"
        )

    def test_events(self) -> None:
        """Each batch has one start and one end, as a callback and as an event, with its texts.

        To fix: override the private methods only.
        """
        embedding = self.embedding(embed_batch_size=2)
        with watching(embedding) as watch:
            embedding.get_text_embedding_batch(TEXTS)
        self._check_events(watch, 3)

    @asynchronous
    async def test_events_async(self) -> None:
        """The same for the async method."""
        embedding = self.embedding(embed_batch_size=2)
        with watching(embedding) as watch:
            await embedding.aget_text_embedding_batch(TEXTS)
        self._check_events(watch, 3)

    def test_rate_limiter_once(self) -> None:
        """Each request takes the limiter once."""
        limiter = CountingLimiter()
        embedding = self.embedding(rate_limiter=limiter, embed_batch_size=2)
        embedding.get_text_embedding_batch(TEXTS)
        embedding.get_query_embedding(QUERY)
        assert limiter.acquired == 4

    def test_cache(self) -> None:
        """``embeddings_cache`` saves requests. To fix: hand it on to ``super().__init__``.

        It gives the same vectors.
        """
        cache = SimpleKVStore()
        first = self.embedding(embeddings_cache=cache).get_text_embedding_batch(TEXTS)
        again = self.embedding(
            embeddings_cache=cache, **self.failing_params
        ).get_text_embedding_batch(TEXTS)
        assert first == again

    # --- in use

    def test_retriever(self) -> None:
        """An index over some nodes finds each by its own text."""
        nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(TEXTS[:4])]
        index = VectorStoreIndex(nodes, embed_model=self.embedding(), transformations=[])
        (found,) = index.as_retriever(similarity_top_k=1).retrieve(TEXTS[1])
        assert found.node.node_id == "1"

    def test_ingestion_cache(self) -> None:
        """A pipeline finds its own results again: ``to_dict()`` is stable and holds no key.

        It finds them with another key, too.

        To fix: exclude keys and everything that changes from serialisation, or changing a key
        empties the cache.
        """
        cache = IngestionCache(cache=SimpleKVStore())
        nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(TEXTS[:2])]
        copies = [node.model_copy() for node in nodes]
        first = IngestionPipeline(transformations=[self.embedding()], cache=cache).run(nodes=nodes)
        changed = {"api_key": "another-key"} if "api_key" in self.embedding_params else {}
        again = self.embedding(**changed)
        with watching(again) as watch:
            second = IngestionPipeline(transformations=[again], cache=cache).run(nodes=copies)
        assert [node.embedding for node in second] == [node.embedding for node in first]
        assert not watch.of(EmbeddingStartEvent), "the texts were embedded again"

    @needs("has_async")
    def test_two_event_loops(self) -> None:
        """One object works in two event loops, in turn. To fix: keep async clients per loop."""
        embedding = self.embedding()
        vectors = [asyncio.run(embedding.aget_query_embedding(QUERY)) for _ in range(2)]
        assert same(*vectors)

    # --- keeping

    def test_class_in_mro(self) -> None:
        """The class is an embedding of LlamaIndex."""
        assert BaseEmbedding in self.embedding_class.__mro__

    def test_class_name(self) -> None:
        """``class_name()`` is the class's own. To fix: override it."""
        assert self.embedding_class.class_name() not in (
            "",
            "base_component",
            BaseEmbedding.class_name(),
        )

    def test_init(self) -> None:
        """The constructor keeps ``embedding_params`` and what core gives to every embedding."""
        manager = CallbackManager([])
        embedding = self.embedding(callback_manager=manager, embed_batch_size=7, num_workers=3)
        assert embedding.callback_manager is manager
        assert (embedding.embed_batch_size, embedding.num_workers) == (7, 3)
        assert embedding.model_name
        assert isinstance(self.embedding(callback_manager=None).callback_manager, CallbackManager)

    def test_unknown_init_argument_raises(self) -> None:
        """A misspelt argument raises and is named."""
        with pytest.raises(Exception, match="no_such_argument"):
            self.embedding(no_such_argument=1)

    @needs("secrets")
    def test_no_secret_leak(self) -> None:
        """The key is in no repr, dict, JSON or payload. To fix: an excluded ``SecretStr``."""
        embedding = self.embedding()
        shown = [
            repr(embedding),
            str(embedding),
            repr(embedding.to_dict()),
            embedding.to_json(),
            repr(embedding.to_payload()),
        ]
        assert not [text for text in shown for secret in self.secrets if secret in text]

    def test_roundtrip_dict(self) -> None:
        """``from_dict(to_dict())`` gives an equal object that works, with its key given again."""
        embedding = self.embedding(embed_batch_size=7)
        given = {
            name: self.embedding_params[name]
            for name in ("api_key", "default_headers")
            if name in self.embedding_params
        }
        again = self.embedding_class.from_dict(json.loads(json.dumps(embedding.to_dict())), **given)
        assert again.to_dict() == embedding.to_dict()
        self._check_vectors([again.get_query_embedding(QUERY)], 1)

    def test_pickle_after_use(self) -> None:
        """A used object can be pickled, as pipelines need; the copy is equal and works."""
        embedding = self.embedding(embed_batch_size=7)
        vector = embedding.get_query_embedding(QUERY)
        again: Any = pickle.loads(pickle.dumps(embedding))  # noqa: S301 - our own
        assert again.to_dict() == embedding.to_dict()
        assert same(again.get_query_embedding(QUERY), vector)
