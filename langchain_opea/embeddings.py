"""``OPEAEmbeddings``: LangChain's embeddings from any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.embeddings import Embeddings
from pydantic import PositiveInt

from langchain_opea import options
from langchain_opea.connection import DocumentConnection
from langchain_opea.errors import OPEAConfigurationError, langchain_errors
from opea_core.adapters import batches

if TYPE_CHECKING:
    from typing import Unpack

    from langchain_opea.constructor_options import OPEAEmbeddingsOptions


class OPEAEmbeddings(DocumentConnection, Embeddings, defer_build=False):
    """Vectors for texts, in their order, as lists of floats.

    Texts are sent as strings, never as token ids.

    ``OPEAEmbeddings(model="bge-m3", base_url="http://localhost:8080")``; the keywords about servers
    are those of ``ChatOPEA``. Raises errors that are both the core's and LangChain's.
    """

    dimensions: int | None = None
    """The length of the vectors, at models that can be shortened."""
    chunk_size: PositiveInt = 512
    """Texts in one request, at most."""
    max_request_bytes: PositiveInt = 1_000_000
    """Bytes of text in one request, at most; a longer text goes alone."""
    query_prefix: str = ""
    """What stands before a query, where the model wants it (``"query: "``)."""
    document_prefix: str = ""
    """What stands before a document (``"passage: "``)."""

    _aliases: ClassVar[Mapping[str, str]] = options.ALIASES
    _no_effect: ClassVar[frozenset[str]] = options.EMBEDDINGS_NO_EFFECT
    _refused: ClassVar[Mapping[str, str]] = options.EMBEDDINGS_REFUSED

    if TYPE_CHECKING:

        def __init__(self, **keywords: Unpack[OPEAEmbeddingsOptions]) -> None: ...

    def embed_documents(self, texts: list[str], chunk_size: int | None = None) -> list[list[float]]:
        """A vector for each text; no text, no request."""
        return self._embed([self.document_prefix + text for text in _checked(texts)], chunk_size)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self._embed([self.query_prefix + _checked([text])[0]])[0]

    async def aembed_documents(
        self, texts: list[str], chunk_size: int | None = None
    ) -> list[list[float]]:
        """``embed_documents`` for async code."""
        return await self._aembed(
            [self.document_prefix + text for text in _checked(texts)], chunk_size
        )

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` for async code."""
        return (await self._aembed([self.query_prefix + _checked([text])[0]]))[0]

    def _embed(self, texts: list[str], chunk_size: int | None = None) -> list[list[float]]:
        vectors: list[list[float]] = []
        with langchain_errors():
            if texts:
                self._ask_for_model(self._named_model())
            for batch in self._batches(texts, chunk_size):
                vectors += self.client.embed(
                    batch, **self._options(dimensions=self.dimensions)
                ).embeddings
        return vectors

    async def _aembed(self, texts: list[str], chunk_size: int | None = None) -> list[list[float]]:
        vectors: list[list[float]] = []
        with langchain_errors():
            if texts:
                await self._aask_for_model(self._named_model())
            for batch in self._batches(texts, chunk_size):
                vectors += (
                    await self.client.aembed(batch, **self._options(dimensions=self.dimensions))
                ).embeddings
        return vectors

    def _batches(self, texts: Sequence[str], chunk_size: int | None) -> Iterator[list[str]]:
        return batches(texts, chunk_size or self.chunk_size, self.max_request_bytes)


def _checked(texts: Any) -> list[str]:
    if (
        isinstance(texts, str)
        or not isinstance(texts, Sequence)
        or not all(isinstance(text, str) for text in texts)
    ):
        raise OPEAConfigurationError(
            "Only strings can be embedded.", "Pass a list of strings, or one string to embed_query."
        )
    return list(texts)
