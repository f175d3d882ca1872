"""``OPEARerank``: nodes by their relevance, from any server that has ``/rerank``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import Field, PositiveInt

from llama_index_opea import options
from llama_index_opea.connection import Connection
from llama_index_opea.errors import NoQueryError
from opea_core import RerankResponse
from opea_core.adapters import best_first, hidden

if TYPE_CHECKING:
    from typing import Unpack

    from llama_index_opea.constructor_options import OPEARerankOptions

dispatcher = get_dispatcher(__name__)


class OPEARerank(Connection, BaseNodePostprocessor, defer_build=False):
    """The ``top_n`` nodes that fit a query best, with the reranker's scores.

    The reranker may be of vLLM, llama.cpp, Jina, Cohere or Voyage.

    ``OPEARerank(model="bge-reranker", api_base="http://localhost:8080", top_n=3)``; the keywords
    about servers are those of ``OPEALLM``. Raises the errors of ``opea_core``.
    """

    model: str | None = None
    """The model; if not given and the server serves one, that one, asked for at the first call."""
    top_n: PositiveInt = 2
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request."""
    extra_body: dict[str, Any] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = hidden()
    """0 (urgent) to 9 in the queue."""

    _model_field: ClassVar[str] = "model"
    _aliases: ClassVar[Mapping[str, str]] = options.RERANK_ALIASES

    if TYPE_CHECKING:  # the model may come first, and names may be LlamaIndex's or the core's

        def __init__(
            self, model_: str | None = None, /, **keywords: Unpack[OPEARerankOptions]
        ) -> None: ...

    @classmethod
    def class_name(cls) -> str:
        """The name in stored dicts."""
        return "OPEARerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query(query_bundle)
        if not nodes:
            return []
        self._ask_for_model(self._named_model())
        with self._told(nodes, query_bundle) as done:
            done(self.client.rerank(query, _texts(nodes), top_n=self.top_n, **self._options()))
        return done.nodes

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query(query_bundle)
        if not nodes:
            return []
        await self._aask_for_model(self._named_model())
        with self._told(nodes, query_bundle) as done:
            done(
                await self.client.arerank(query, _texts(nodes), top_n=self.top_n, **self._options())
            )
        return done.nodes

    def _options(self) -> dict[str, Any]:
        found = self._merged(self._call_model(self._own_model(vars(self))) | self._shared_options())
        options.refuse_own(found, "query", "documents", top_n="Give top_n= to OPEARerank itself.")
        return found

    @contextmanager
    def _told(self, nodes: list[NodeWithScore], query: QueryBundle | None) -> Iterator[_Ranked]:
        """LlamaIndex's events around the call."""
        name = self.model or self.client.model or "unknown"
        dispatcher.event(
            ReRankStartEvent(query=query, nodes=nodes, top_n=self.top_n, model_name=name)
        )
        payload: dict[Any, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.TOP_K: self.top_n,
        }
        if query is not None:
            payload[EventPayload.QUERY_STR] = query.query_str
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = _Ranked(nodes)
            yield ranked
            event.on_end(payload={EventPayload.NODES: ranked.nodes})
        dispatcher.event(ReRankEndEvent(nodes=ranked.nodes))


class _Ranked:
    """The nodes in their new order, as new objects with the reranker's scores."""

    def __init__(self, nodes: list[NodeWithScore]) -> None:
        self._given = nodes
        self.nodes: list[NodeWithScore] = []

    def __call__(self, response: RerankResponse) -> None:
        self.nodes = [
            NodeWithScore(node=given.node, score=score)
            for given, score in best_first(self._given, response)
        ]


def _query(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise NoQueryError(
            "Nodes cannot be ranked without a query.", "Pass query_bundle= or query_str=."
        )
    return bundle.query_str


def _texts(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
