"""The keywords of ``OPEALLM``, ``OPEAEmbedding`` and ``OPEARerank``, for checkers and editors.

Other names of a keyword, those of ``OpenAILike``, of ``ChatOPEA`` and of the core, stand here too:
whoever moves over keeps them. A test compares these with what the classes take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opea_core.adapters import ConnectionOptions

if TYPE_CHECKING:
    import httpx
    import httpx2
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.types import BaseOutputParser, PydanticProgramMode


class _ServerOptions(ConnectionOptions, total=False):
    """Keywords about the server and the request that all three classes take."""

    api_base: str | None
    """``http://localhost:8000`` or with a path; OPEA_API_URL if not given."""
    model: str | None
    """If not given and the server serves one model, that one, asked for at the first call."""
    async_http_client: httpx.AsyncClient | httpx2.AsyncClient | None
    additional_kwargs: Mapping[str, Any] | None
    """Further fields of the request."""
    extra_body: Mapping[str, Any] | None
    """Further fields of the request; they win over ``additional_kwargs``."""
    priority: int | None
    """0 (urgent) to 9 in the queue."""
    callback_manager: CallbackManager | None

    # Other names of the same.
    base_url: str | None
    opea_api_url: str | None
    model_name: str | None
    http_async_client: httpx.AsyncClient | httpx2.AsyncClient | None
    model_kwargs: Mapping[str, Any] | None


class OPEALLMOptions(_ServerOptions, total=False):
    """What ``OPEALLM(...)`` takes; a field of the request that is None is not sent."""

    temperature: float | None
    max_tokens: int | None
    context_window: int | None
    """Tokens the model takes; else what ``discover`` found, else 3900."""
    stop: Sequence[str] | str | None
    top_p: float | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logprobs: bool | None
    top_logprobs: int
    """Alternatives for each token; sent with ``logprobs=True``."""
    logit_bias: Mapping[str, int] | Mapping[int, int] | None
    reasoning_effort: str | None
    verbosity: str | None
    service_tier: str | None
    modalities: Sequence[str] | None
    audio_config: Mapping[str, Any] | None
    tokenizer: Any
    """Has an ``encode`` method (or names a tokenizer of Hugging Face)."""
    is_chat_model: bool
    """False sends prompts to ``/completions``."""
    is_function_calling_model: bool
    should_use_structured_outputs: bool
    """Whether objects are asked for by ``json_schema`` only."""
    strict: bool
    max_completion_tokens: int | None
    max_new_tokens: int | None
    stop_sequences: Sequence[str] | str | None

    # Of every LLM of LlamaIndex.
    rate_limiter: Any
    system_prompt: str | None
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None
    completion_to_prompt: Callable[[str], str] | None
    output_parser: BaseOutputParser | None
    pydantic_program_mode: PydanticProgramMode
    query_wrapper_prompt: BasePromptTemplate | None


class OPEAEmbeddingOptions(_ServerOptions, total=False):
    """What ``OPEAEmbedding(...)`` takes."""

    dimensions: int | None
    """The length of the vectors, at models that can be shortened."""
    embed_batch_size: int
    """Texts in one request, at most."""
    num_workers: int | None
    """Requests at once; if not given, as many as the endpoints take."""
    max_request_bytes: int
    """Bytes of text in one request, at most; a longer text goes alone."""
    query_prefix: str
    """What stands before a query, where the model wants it (``"query: "``)."""
    text_prefix: str
    """What stands before a document (``"passage: "``)."""
    embeddings_cache: Any
    """A key-value store of LlamaIndex: texts found there are not sent."""
    rate_limiter: Any
    document_prefix: str
    chunk_size: int


class OPEARerankOptions(_ServerOptions, total=False):
    """What ``OPEARerank(...)`` takes."""

    top_n: int
    """Nodes that come back, at most."""
    top_k: int
    """Another name of ``top_n``."""


__all__ = ["OPEAEmbeddingOptions", "OPEALLMOptions", "OPEARerankOptions"]
