"""Embeddings and rerankers that do one thing wrong each:
ours, and then something that integrations really do.
"""

from __future__ import annotations

from typing import Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore

from llama_index_opea import OPEAEmbedding, OPEARerank

# --- embeddings


class Swapped(OPEAEmbedding):
    """Vectors in the order in which they came."""

    def _get_text_embeddings(self, texts: list[str]) -> Any:
        return super()._get_text_embeddings(texts)[::-1]

    async def _aget_text_embeddings(self, texts: list[str]) -> Any:
        return (await super()._aget_text_embeddings(texts))[::-1]


class OneLost(OPEAEmbedding):
    def get_text_embedding_batch(self, texts: list[str], *args: Any, **kwargs: Any) -> Any:
        return super().get_text_embedding_batch(texts, *args, **kwargs)[:-1]


class FewerWillDo(OPEAEmbedding):
    def get_text_embedding_batch(self, texts: list[str], *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_text_embedding_batch(texts, *args, **kwargs)
        except Exception:  # noqa: BLE001
            return []


class Strings(OPEAEmbedding):
    def get_query_embedding(self, query: str) -> Any:
        return [str(number) for number in super().get_query_embedding(query)]


class Unprefixed(OPEAEmbedding):
    def __init__(self, **data: Any) -> None:
        super().__init__(**{**data, "text_prefix": None})


class Loud(OPEAEmbedding):
    """Two events for a batch."""

    def get_text_embedding_batch(self, texts: list[str], *args: Any, **kwargs: Any) -> Any:
        super().get_text_embedding_batch(texts[:1])
        return super().get_text_embedding_batch(texts, *args, **kwargs)


class KeyInEmbedding(OPEAEmbedding):
    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().to_dict(**kwargs), "api_key": self.api_key.get_secret_value()}


class AlwaysAsks(OPEAEmbedding):
    def get_text_embedding_batch(self, texts: list[str], *args: Any, **kwargs: Any) -> Any:
        return super().get_text_embedding_batch(texts or ["nothing"], *args, **kwargs)


# --- rerankers


class Unsorted(OPEARerank):
    def postprocess_nodes(self, *args: Any, **kwargs: Any) -> Any:
        return super().postprocess_nodes(*args, **kwargs)[::-1]


class AllOfThem(OPEARerank):
    def postprocess_nodes(self, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        self.top_n = len(nodes) or 1
        return super().postprocess_nodes(nodes, *args, **kwargs)


class ScoresOthers(OPEARerank):
    """Writes into the nodes it was given."""

    def postprocess_nodes(self, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        found = super().postprocess_nodes(nodes, *args, **kwargs)
        for given in nodes:
            given.score = next(
                (each.score for each in found if each.node is given.node), given.score
            )
        return found


class AnyQuery(OPEARerank):
    def postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: Any = None, query_str: Any = None
    ) -> Any:
        return super().postprocess_nodes(
            nodes, query_bundle, query_str or (None if query_bundle else "nothing")
        )


class Unranked(OPEARerank):
    """The old order, where it could not ask."""

    def postprocess_nodes(self, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        try:
            return super().postprocess_nodes(nodes, *args, **kwargs)
        except Exception:  # noqa: BLE001
            return nodes


class TextOnly(OPEARerank):
    """Without the metadata."""

    def postprocess_nodes(self, nodes: list[NodeWithScore], *args: Any, **kwargs: Any) -> Any:
        bare = [
            each.model_copy(update={"node": each.node.model_copy(update={"metadata": {}})})
            for each in nodes
        ]
        return super().postprocess_nodes(bare, *args, **kwargs)


class Silent(OPEARerank):
    def postprocess_nodes(self, *args: Any, **kwargs: Any) -> Any:
        manager, self.callback_manager = self.callback_manager, CallbackManager([])
        try:
            return super().postprocess_nodes(*args, **kwargs)
        finally:
            self.callback_manager = manager


class InAThread(OPEARerank):
    _apostprocess_nodes = BaseNodePostprocessor._apostprocess_nodes
