"""One dependable client for every server that speaks OpenAI's chat-completions protocol.

``OPEA`` is the object to hold; ``errors`` has the error tree, ``events`` what hooks are told.
"""

import typing as _typing

from opea_core import errors, events
from opea_core.backend import BaseApiBackend
from opea_core.config import BreakerPolicy, Capabilities, Endpoint, QueuePolicy, RetryPolicy, Timeouts
from opea_core.errors import (
    Attempt,
    AuthenticationError,
    BadAnswerError,
    CertificateError,
    ClientClosed,
    ConfigurationError,
    ContextOverflowError,
    DeadlineExceeded,
    EndpointConnectionError,
    EndpointTimeout,
    InvalidRequestError,
    NoEndpointAvailable,
    NotFoundError,
    OPEAError,
    PermissionDeniedError,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    RefusalError,
    RequestError,
    ServerError,
    StreamInterrupted,
)
from opea_core.opea import OPEA
from opea_core.registry import (
    create_api_backend,
    find_compatible_backend,
    get_available_backends,
    register_backend,
)
from opea_core.settings import Options, Settings
from opea_core.types import (
    CallMeta,
    ChatChunk,
    ChatResponse,
    Choice,
    EmbeddingResponse,
    InvalidToolCall,
    Message,
    ModelInfo,
    OPEARequestData,
    OPEAResponse,
    OPEAStreamChunk,
    RerankResponse,
    RerankResult,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from opea_core.version import __version__

if _typing.TYPE_CHECKING:
    from opea_core.transport.stream import AsyncChatStream, ChatStream

register_backend("opea", OPEA)


def __getattr__(name: str) -> object:
    """The two kinds of stream come with the HTTP client, which is imported with the first ``OPEA`` object."""
    if name in ("AsyncChatStream", "ChatStream"):
        from opea_core.transport import stream

        return getattr(stream, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "OPEA",
    "AsyncChatStream",
    "Attempt",
    "AuthenticationError",
    "BadAnswerError",
    "BaseApiBackend",
    "BreakerPolicy",
    "CallMeta",
    "Capabilities",
    "CertificateError",
    "ChatChunk",
    "ChatResponse",
    "ChatStream",
    "Choice",
    "ClientClosed",
    "ConfigurationError",
    "ContextOverflowError",
    "DeadlineExceeded",
    "EmbeddingResponse",
    "Endpoint",
    "EndpointConnectionError",
    "EndpointTimeout",
    "InvalidRequestError",
    "InvalidToolCall",
    "Message",
    "ModelInfo",
    "NoEndpointAvailable",
    "NotFoundError",
    "OPEAError",
    "OPEARequestData",
    "OPEAResponse",
    "OPEAStreamChunk",
    "Options",
    "PermissionDeniedError",
    "QueueFull",
    "QueuePolicy",
    "QuotaExceeded",
    "RateLimited",
    "RefusalError",
    "RequestError",
    "RerankResponse",
    "RerankResult",
    "RetryPolicy",
    "ServerError",
    "Settings",
    "StreamInterrupted",
    "Timeouts",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
    "create_api_backend",
    "errors",
    "events",
    "find_compatible_backend",
    "get_available_backends",
    "register_backend",
]
