"""The keywords of ``ChatOPEA``, ``OPEAEmbeddings`` and ``OPEARerank``, for checkers and editors.

Other names of a keyword, those of ``ChatOpenAI`` and of the core, stand here too: whoever moves
over keeps them. A test compares these with what the classes take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from opea_core.adapters import ConnectionOptions

if TYPE_CHECKING:
    import httpx
    import httpx2
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import Callbacks
    from langchain_core.language_models import ModelProfile
    from langchain_core.rate_limiters import BaseRateLimiter
    from pydantic import SecretStr


class _ServerOptions(ConnectionOptions, total=False):
    """Keywords about the server and the request that all three classes take."""

    model: str | None
    """If not given and the server serves one model, that one, asked for at the first call."""
    base_url: str | None
    """``http://localhost:8000`` or with a path; OPEA_API_URL if not given."""
    http_async_client: httpx.AsyncClient | httpx2.AsyncClient | None
    context_window: int | None
    """Tokens the model takes; found out by ``discover`` if not given."""
    model_kwargs: Mapping[str, Any]
    """Further fields of the request."""
    extra_body: Mapping[str, Any] | None
    """Further fields of the request; they win over ``model_kwargs``."""
    priority: int | None
    """0 (urgent) to 9 in the queue."""

    # Other names of the same.
    model_name: str | None
    opea_api_url: str | None
    api_base: str | None
    async_http_client: httpx.AsyncClient | httpx2.AsyncClient | None
    openai_api_base: str | None
    openai_api_key: str | SecretStr | Callable[[], Any] | None
    openai_api_version: str | None
    openai_organization: str | None
    openai_proxy: str | None


class ChatOPEAOptions(_ServerOptions, total=False):
    """What ``ChatOPEA(...)`` takes; a field of the request that is None is not sent."""

    temperature: float | None
    max_tokens: int | None
    stop: Sequence[str] | str | None
    n: int | None
    top_p: float | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logprobs: bool | None
    top_logprobs: int | None
    logit_bias: Mapping[str, int] | Mapping[int, int] | None
    reasoning_effort: str | None
    verbosity: str | None
    service_tier: str | None
    store: bool | None
    use_responses_api: bool | None
    """ChatOpenAI's word for ``dialect``: True for ``responses``, False for ``chat``."""
    max_completion_tokens: int | None
    stop_sequences: Sequence[str] | str | None
    streaming: bool | None
    """Whether ``invoke`` streams, too."""
    stream_usage: bool
    """Whether streams ask for token counts."""
    stream_chunk_timeout: float | None
    """Seconds between two pieces of a stream (the core's ``idle``)."""
    count_tokens_on_server: bool
    """Whether ``get_num_tokens`` asks the server's ``/tokenize``."""
    include_response_headers: bool
    disabled_params: Mapping[str, Any] | None
    """Parameters that are not sent: names, each with None or a list of the values meant."""

    # Of every chat model of LangChain.
    name: str | None
    cache: BaseCache | bool | None
    verbose: bool
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    custom_get_token_ids: Callable[[str], list[int]] | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: ModelProfile | None


class OPEAEmbeddingsOptions(_ServerOptions, total=False):
    """What ``OPEAEmbeddings(...)`` takes."""

    dimensions: int | None
    """The length of the vectors, at models that can be shortened."""
    chunk_size: int
    """Texts in one request, at most."""
    max_request_bytes: int
    """Bytes of text in one request, at most; a longer text goes alone."""
    query_prefix: str
    """What stands before a query, where the model wants it (``"query: "``)."""
    document_prefix: str
    """What stands before a document (``"passage: "``)."""


class OPEARerankOptions(_ServerOptions, total=False):
    """What ``OPEARerank(...)`` takes."""

    top_n: int | None
    """Documents that come back, at most; None for all."""
    top_k: int | None
    """Another name of ``top_n``."""


__all__ = ["ChatOPEAOptions", "OPEAEmbeddingsOptions", "OPEARerankOptions"]
