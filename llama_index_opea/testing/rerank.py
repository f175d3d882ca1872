"""The suite for postprocessors that rerank."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import llama_index.core
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index_opea.testing.base import Conformance, asynchronous, needs
from llama_index_opea.testing.watching import Watch, watching

QUERY = "Who wrote the first program?"
TEXTS = (
    "A cat sleeps.",
    "Seven apples lie on a table.",
    "Ada wrote the first program.",
    "It rains in Lima.",
)
BEST = 2
"""The number of the text that answers."""


def nodes(texts: Sequence[str] = TEXTS) -> list[NodeWithScore]:
    """What a retriever found."""
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(number)), score=0.5)
        for number, text in enumerate(texts)
    ]


class RerankConformance(Conformance):
    """All tests for rerankers: give ``rerank_class`` and ``rerank_params``.

    class TestMyRerank(RerankConformance):
        rerank_class = MyRerank
        rerank_params = {"model": "m1"}
    """

    @property
    def rerank_class(self) -> type[BaseNodePostprocessor]:
        """The class under test; it has a ``top_n``. Required."""
        raise NotImplementedError(f"{type(self).__name__} must say which rerank_class it tests")

    @property
    def rerank_params(self) -> dict[str, Any]:
        """The keyword arguments of its constructor."""
        return {}

    @property
    def failing_params(self) -> dict[str, Any]:
        """Make every call fail. Default: not given, its tests are skipped."""
        return {}

    @property
    def secrets(self) -> Sequence[str]:
        """What must never be shown. Default: the ``api_key`` of ``rerank_params``."""
        key = self.rerank_params.get("api_key")
        return [key] if isinstance(key, str) else []

    def rerank(self, **changes: Any) -> Any:
        """A new object of the class under test."""
        return self.rerank_class(**{**self.rerank_params, **changes})

    @pytest.fixture(autouse=True)
    def _words_are_tokens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(llama_index.core, "global_tokenizer", str.split)

    # --- order

    def _check_ranked(self, found: Sequence[NodeWithScore], count: int) -> None:
        assert len(found) == count
        assert found[0].node.node_id == str(BEST), "the text that answers should be first"
        assert len({each.node.node_id for each in found}) == count, "a node came twice"
        scores = [each.score for each in found]
        assert all(isinstance(score, float) for score in scores)
        assert scores == sorted(scores, key=lambda score: -(score or 0)), "the best come first"

    def test_order(self) -> None:
        """All nodes come back, the best first, with the model's scores.

        To fix: sort by score, take ``index`` as the place in the request.
        """
        self._check_ranked(self.rerank(top_n=4).postprocess_nodes(nodes(), query_str=QUERY), 4)

    @asynchronous
    async def test_order_async(self) -> None:
        """The same for ``apostprocess_nodes``."""
        self._check_ranked(
            await self.rerank(top_n=4).apostprocess_nodes(nodes(), query_str=QUERY), 4
        )

    def test_top_n(self) -> None:
        """``top_n`` of them are kept; more than there are is no error."""
        self._check_ranked(self.rerank(top_n=2).postprocess_nodes(nodes(), query_str=QUERY), 2)
        self._check_ranked(self.rerank(top_n=9).postprocess_nodes(nodes(), query_str=QUERY), 4)

    @asynchronous
    async def test_top_n_async(self) -> None:
        """The same for ``apostprocess_nodes``."""
        self._check_ranked(
            await self.rerank(top_n=2).apostprocess_nodes(nodes(), query_str=QUERY), 2
        )

    def test_query_bundle(self) -> None:
        """The query may be a ``QueryBundle``."""
        self._check_ranked(self.rerank(top_n=2).postprocess_nodes(nodes(), QueryBundle(QUERY)), 2)

    def test_nodes_not_changed(self) -> None:
        """The nodes that were given keep their scores: others use them, too.

        To fix: make new ``NodeWithScore`` objects.
        """
        given = nodes()
        found = self.rerank(top_n=4).postprocess_nodes(given, query_str=QUERY)
        assert [each.score for each in given] == [0.5] * 4
        assert [each.node.node_id for each in given] == ["0", "1", "2", "3"]
        assert not {id(each) for each in found} & {id(each) for each in given}

    def test_metadata(self) -> None:
        """What is ranked is the text with the metadata that is meant for embeddings, and no other.

        To fix: ``node.get_content(metadata_mode=MetadataMode.EMBED)``.
        """
        answer = {"note": TEXTS[BEST]}
        shown = TextNode(text="A note.", id_=str(BEST), metadata=answer)
        hidden = TextNode(
            text="A note.", id_="hidden", metadata=answer, excluded_embed_metadata_keys=["note"]
        )
        given = [NodeWithScore(node=node, score=0.5) for node in (hidden, shown)]
        self._check_ranked(self.rerank(top_n=2).postprocess_nodes(given, query_str=QUERY), 2)

    # --- nothing to do

    def test_empty(self) -> None:
        """No nodes need no request. To fix: return early."""
        assert self.rerank(**self.failing_params).postprocess_nodes([], query_str=QUERY) == []

    @asynchronous
    async def test_empty_async(self) -> None:
        """The same for ``apostprocess_nodes``."""
        assert (
            await self.rerank(**self.failing_params).apostprocess_nodes([], query_str=QUERY) == []
        )

    def test_query_none(self) -> None:
        """Without a query there is no order: ``ValueError``."""
        with pytest.raises(ValueError, match=r"(?i)query"):
            self.rerank().postprocess_nodes(nodes())

    @asynchronous
    async def test_query_none_async(self) -> None:
        """The same for ``apostprocess_nodes``."""
        with pytest.raises(ValueError, match=r"(?i)query"):
            await self.rerank().apostprocess_nodes(nodes())

    @needs("failing_params")
    def test_error_raises(self) -> None:
        """A refused call raises; nodes in their old order would look like an answer.

        The message shows no key.
        """
        # Each integration has errors of its own.
        with pytest.raises(Exception) as caught:  # noqa: PT011
            self.rerank(**self.failing_params).postprocess_nodes(nodes(), query_str=QUERY)
        assert not [
            secret for secret in self.secrets if secret in f"{caught.value} {caught.value!r}"
        ]

    # --- what others see

    def _check_events(self, watch: Watch, found: Sequence[NodeWithScore]) -> None:
        (start,), (end,) = watch.of(ReRankStartEvent), watch.of(ReRankEndEvent)
        query = start.query.query_str if isinstance(start.query, QueryBundle) else start.query
        assert (query, start.top_n, len(start.nodes)) == (QUERY, 2, 4)
        assert start.model_name
        assert [each.node.node_id for each in end.nodes] == [each.node.node_id for each in found]
        started, ended = watch.callbacks(CBEventType.RERANKING)
        assert len(started) == 1
        assert ended == started
        (asked,), (told,) = (
            watch.payloads(CBEventType.RERANKING, end=False),
            watch.payloads(CBEventType.RERANKING, end=True),
        )
        assert (
            asked[EventPayload.QUERY_STR],
            asked[EventPayload.TOP_K],
            len(asked[EventPayload.NODES]),
        ) == (QUERY, 2, 4)
        assert asked[EventPayload.MODEL_NAME] == start.model_name
        assert len(told[EventPayload.NODES]) == len(found)
        assert not [secret for secret in self.secrets if secret in watch.shown()], (
            "an event shows a secret"
        )

    def test_events(self) -> None:
        """One start and one end, as events and as callbacks.

        They have query, nodes, ``top_n`` and model.
        """
        reranker = self.rerank(top_n=2)
        with watching(reranker) as watch:
            found = reranker.postprocess_nodes(nodes(), query_str=QUERY)
        self._check_events(watch, found)

    @asynchronous
    async def test_events_async(self) -> None:
        """The same for ``apostprocess_nodes``."""
        reranker = self.rerank(top_n=2)
        with watching(reranker) as watch:
            found = await reranker.apostprocess_nodes(nodes(), query_str=QUERY)
        self._check_events(watch, found)

    # --- in use

    def test_query_engine(self) -> None:
        """A query engine reranks what it retrieved."""
        index = VectorStoreIndex(
            [each.node for each in nodes()],
            embed_model=MockEmbedding(embed_dim=4),
            transformations=[],
        )
        engine = index.as_query_engine(
            llm=MockLLM(), similarity_top_k=4, node_postprocessors=[self.rerank(top_n=2)]
        )
        self._check_ranked(engine.query(QUERY).source_nodes, 2)

    @needs("has_async")
    def test_async_is_own(self) -> None:
        """``_apostprocess_nodes`` is the class's own: core's takes a thread for the sync one.

        To fix: write it.
        """
        assert (
            self.rerank_class._apostprocess_nodes is not BaseNodePostprocessor._apostprocess_nodes
        )

    # --- keeping

    def test_class_in_mro(self) -> None:
        """The class is a postprocessor of LlamaIndex."""
        assert BaseNodePostprocessor in self.rerank_class.__mro__

    def test_class_name(self) -> None:
        """``class_name()`` is the class's own. To fix: override it."""
        assert self.rerank_class.class_name() not in ("", BaseNodePostprocessor.class_name())

    def test_init(self) -> None:
        """The constructor takes ``rerank_params`` and a ``callback_manager``, and keeps it."""
        manager = CallbackManager([])
        reranker = self.rerank(callback_manager=manager, top_n=3)
        assert reranker.callback_manager is manager
        assert reranker.top_n == 3
        assert isinstance(self.rerank(callback_manager=None).callback_manager, CallbackManager)

    def test_unknown_init_argument_raises(self) -> None:
        """A misspelt argument raises and is named."""
        with pytest.raises(Exception, match="no_such_argument"):
            self.rerank(no_such_argument=1)

    @needs("secrets")
    def test_no_secret_leak(self) -> None:
        """The key is in no repr, dict or JSON. To fix: ``SecretStr``, excluded from all of them."""
        reranker = self.rerank()
        shown = [repr(reranker), str(reranker), repr(reranker.to_dict()), reranker.to_json()]
        assert not [text for text in shown for secret in self.secrets if secret in text]

    def test_roundtrip_dict(self) -> None:
        """``from_dict(to_dict())`` gives an equal object that works, with its key given again."""
        reranker = self.rerank(top_n=3)
        given = {
            name: self.rerank_params[name]
            for name in ("api_key", "default_headers")
            if name in self.rerank_params
        }
        again: Any = self.rerank_class.from_dict(
            json.loads(json.dumps(reranker.to_dict())), **given
        )
        assert again.to_dict() == reranker.to_dict()
        self._check_ranked(again.postprocess_nodes(nodes(), query_str=QUERY), 3)

    def test_pickle_after_use(self) -> None:
        """A used object can be pickled; the copy is equal and works."""
        reranker = self.rerank(top_n=3)
        reranker.postprocess_nodes(nodes(), query_str=QUERY)
        again: Any = pickle.loads(pickle.dumps(reranker))  # noqa: S301 - our own
        assert again.to_dict() == reranker.to_dict()
        self._check_ranked(again.postprocess_nodes(nodes(), query_str=QUERY), 3)
