"""``OPEARerank``: documents by their relevance, from any server that has ``/rerank``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import PositiveInt

from langchain_opea import options
from langchain_opea.connection import DocumentConnection
from langchain_opea.errors import OPEAConfigurationError, langchain_errors
from opea_core import RerankResponse
from opea_core.adapters import best_first

if TYPE_CHECKING:
    from typing import Unpack

    from langchain_core.callbacks import Callbacks

    from langchain_opea.constructor_options import OPEARerankOptions


class OPEARerank(DocumentConnection, BaseDocumentCompressor, defer_build=False):
    """The ``top_n`` documents that fit a query best (vLLM, llama.cpp, Jina, Cohere, Voyage).

    ``OPEARerank(model="bge-reranker", base_url="http://localhost:8080", top_n=3)``; the keywords
    about servers are those of ``ChatOPEA``. Scores are the server's own: higher is better, between
    which numbers depends on the model. Raises errors that are both the core's and LangChain's.
    """

    top_n: PositiveInt | None = 3
    """Documents that come back, at most; None for all."""

    _aliases: ClassVar[Mapping[str, str]] = options.RERANK_ALIASES

    if TYPE_CHECKING:

        def __init__(self, **keywords: Unpack[OPEARerankOptions]) -> None: ...

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - LangChain's signature
    ) -> list[Document]:
        """Copies of the best documents, best first, with ``metadata["relevance_score"]``.

        The given ones stay as they are. No document, no request.
        """
        given = _listed(documents, Document)
        return _scored(given, self._rank(query, given, self.top_n))

    def rerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        top_n: int | EllipsisType | None = ...,
    ) -> list[dict[str, Any]]:
        """``{"index": 2, "relevance_score": 0.9}`` of the best documents, best first.

        ``index`` is the document's place in ``documents``; ``top_n`` is the object's if not given,
        None for all. No document, no request.
        """
        given = _listed(documents, Document, str)
        return _placed(self._rank(query, given, self.top_n if top_n is ... else top_n))

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - LangChain's signature
    ) -> list[Document]:
        """``compress_documents`` for async code."""
        given = _listed(documents, Document)
        return _scored(given, await self._arank(query, given, self.top_n))

    async def arerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        top_n: int | EllipsisType | None = ...,
    ) -> list[dict[str, Any]]:
        """``rerank`` for async code."""
        given = _listed(documents, Document, str)
        return _placed(await self._arank(query, given, self.top_n if top_n is ... else top_n))

    def _rank(self, query: str, documents: list[Any], top_n: int | None) -> RerankResponse:
        query, texts = _checked(query), _texts(documents)
        with langchain_errors():
            if texts:
                self._ask_for_model(self._named_model())
            found: RerankResponse = self.client.rerank(query, texts, **self._options(top_n=top_n))
        return found

    async def _arank(self, query: str, documents: list[Any], top_n: int | None) -> RerankResponse:
        query, texts = _checked(query), _texts(documents)
        with langchain_errors():
            if texts:
                await self._aask_for_model(self._named_model())
            options = self._options(top_n=top_n)
            found: RerankResponse = await self.client.arerank(query, texts, **options)
        return found


def _listed(documents: Any, *kinds: type) -> list[Any]:
    """The documents as a list; raises OPEAConfigurationError for what is none."""
    if isinstance(documents, Iterable) and not isinstance(documents, str | Mapping):
        found = list(documents)
        if all(isinstance(each, kinds) for each in found):
            return found
    allowed = " or ".join(kind.__name__ for kind in kinds)
    raise OPEAConfigurationError(
        f"Only a list of {allowed} can be ranked.",
        "The order is compress_documents(documents, query), and rerank(query, documents).",
    )


def _checked(query: Any) -> str:
    if not isinstance(query, str) or not query:
        raise OPEAConfigurationError("The query must be a string, and not empty.")
    return query


def _texts(documents: list[Any]) -> list[str]:
    return [each.page_content if isinstance(each, Document) else each for each in documents]


def _scored(documents: list[Document], response: RerankResponse) -> list[Document]:
    """Copies in their new order, with whatever stands in their metadata copied too."""
    found = []
    for document, score in best_first(documents, response):
        copy = document.model_copy(deep=True)
        copy.metadata["relevance_score"] = score
        found.append(copy)
    return found


def _placed(response: RerankResponse) -> list[dict[str, Any]]:
    return [{"index": r.index, "relevance_score": r.relevance_score} for r in response.results]
