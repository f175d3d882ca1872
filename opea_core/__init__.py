"""One dependable client for every server that speaks OpenAI's chat-completions protocol.

``OPEA`` is the object to hold; ``errors`` has the error tree, ``events`` what hooks are told.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from opea_core import errors
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
from opea_core.lazy_imports import names as _names
from opea_core.version import __version__

if _TYPE_CHECKING:
    from opea_core import events
    from opea_core.backend import BaseApiBackend
    from opea_core.config import (
        BreakerPolicy,
        Capabilities,
        Endpoint,
        QueuePolicy,
        RetryPolicy,
        Timeouts,
    )
    from opea_core.opea import OPEA
    from opea_core.registry import (
        create_api_backend,
        find_compatible_backend,
        get_available_backends,
        register_backend,
    )
    from opea_core.settings import Options, Settings
    from opea_core.transport.stream import AsyncChatStream, ChatStream
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

if not _TYPE_CHECKING:
    __getattr__, __dir__ = _names(
        __name__,
        {
            "backend": ("BaseApiBackend",),
            "config": (
                "BreakerPolicy",
                "Capabilities",
                "Endpoint",
                "QueuePolicy",
                "RetryPolicy",
                "Timeouts",
            ),
            "opea": ("OPEA",),
            "registry": (
                "create_api_backend",
                "find_compatible_backend",
                "get_available_backends",
                "register_backend",
            ),
            "settings": ("Options", "Settings"),
            "transport.stream": ("AsyncChatStream", "ChatStream"),
            "types": (
                "CallMeta",
                "ChatChunk",
                "ChatResponse",
                "Choice",
                "EmbeddingResponse",
                "InvalidToolCall",
                "Message",
                "ModelInfo",
                "OPEARequestData",
                "OPEAResponse",
                "OPEAStreamChunk",
                "RerankResponse",
                "RerankResult",
                "ToolCall",
                "ToolCallDelta",
                "Usage",
            ),
            "events": (),
        },
    )
