"""Errors that are both: the core's own class and LangChain's class for the same condition.

``except opea_core.RateLimited`` and ``except langchain_core.exceptions.ModelRateLimitError`` catch
the same error. ``is_retryable`` says whether the same request may succeed later, which is what
``ModelRetryMiddleware`` decides by; ``response`` is what the server answered, secrets taken out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core import exceptions as lc

import opea_core as core

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    _RefusalBase = lc.ModelError
else:
    # langchain-core has it since 1.7.5.
    _RefusalBase = getattr(lc, "ModelRefusalError", lc.ModelError)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What the server answered: status, headers and body, secrets taken out."""

    status_code: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body read as JSON; raises ValueError if it is none."""
        return json.loads(self.text)


class LangChainError(core.OPEAError):
    """What every error of this package has besides the core's fields."""

    is_retryable: bool = False
    """Whether the same request may succeed later."""

    @property
    def response(self) -> ErrorResponse | None:
        """What the server answered, or None if it did not."""
        if self.status_code is None:
            return None
        return ErrorResponse(self.status_code, self.body or "", dict(self.headers))


class OPEAConfigurationError(LangChainError, core.ConfigurationError, lc.ModelInvalidRequestError):
    """What can never work as it is set."""


class OPEARequestError(LangChainError, core.RequestError, lc.ModelInvalidRequestError):
    """A 4xx of no special kind."""


class OPEAAuthenticationError(
    LangChainError, core.AuthenticationError, lc.ModelAuthenticationError
):
    """401: the key is wrong or missing."""


class OPEAPermissionDeniedError(
    LangChainError, core.PermissionDeniedError, lc.ModelPermissionDeniedError
):
    """403: the key may not do this."""


class OPEANotFoundError(LangChainError, core.NotFoundError, lc.ModelNotFoundError):
    """404: no such path, or no such model."""


class OPEAInvalidRequestError(
    LangChainError, core.InvalidRequestError, lc.ModelInvalidRequestError
):
    """The request is malformed or asks for something the server cannot do."""


class OPEAContextOverflowError(LangChainError, core.ContextOverflowError, lc.ContextOverflowError):
    """More tokens than the model's context window holds; ``SummarizationMiddleware`` catches it."""


class OPEARateLimited(LangChainError, core.RateLimited, lc.ModelRateLimitError):
    """429: too many requests."""

    is_retryable = True


class OPEAQuotaExceeded(LangChainError, core.QuotaExceeded, lc.ModelRateLimitError):
    """No quota or credit is left; waiting does not help."""

    is_retryable = False


class OPEAServerError(LangChainError, core.ServerError, lc.ModelAPIError):
    """5xx; retryable unless the status says that it will never work (501, 505)."""

    is_retryable = True


class OPEABadAnswerError(LangChainError, core.BadAnswerError, lc.ModelAPIError):
    """HTML, broken JSON or nothing where an answer should be."""

    is_retryable = True


class OPEAConnectionError(LangChainError, core.EndpointConnectionError, lc.ModelConnectionError):
    """No connection, or it broke before an answer."""

    is_retryable = True


class OPEACertificateError(LangChainError, core.CertificateError, lc.ModelConnectionError):
    """The TLS certificate was not accepted."""

    is_retryable = False


class OPEATimeout(LangChainError, core.EndpointTimeout, lc.ModelTimeoutError):
    """A time limit passed before the server answered."""

    is_retryable = True


class OPEADeadlineExceeded(LangChainError, core.DeadlineExceeded, lc.ModelTimeoutError):
    """The ``deadline`` of the whole call passed."""

    is_retryable = True


class OPEAStreamInterrupted(LangChainError, core.StreamInterrupted, lc.ModelAPIError):
    """A stream broke off after part of it was handed out; ``partial`` has what came."""

    is_retryable = True


class OPEAQueueFull(LangChainError, core.QueueFull, lc.ModelRateLimitError):
    """The local queue took no more calls."""

    is_retryable = True


class OPEANoEndpointAvailable(LangChainError, core.NoEndpointAvailable, lc.ModelConnectionError):
    """Every endpoint is resting after failures."""

    is_retryable = True


class OPEAClientClosed(LangChainError, core.ClientClosed, lc.ModelError):
    """The OPEA object was closed."""


class OPEARefusalError(LangChainError, core.RefusalError, _RefusalBase):
    """The model refused where an answer of a given form was needed.

    ``raw_message`` is what it said.
    """

    raw_message: BaseMessage | None = None


class OPEAModelError(LangChainError, lc.ModelError):
    """Any other error of the core."""


_DUAL: dict[type[core.OPEAError], type[LangChainError]] = {
    core.ConfigurationError: OPEAConfigurationError,
    core.RequestError: OPEARequestError,
    core.AuthenticationError: OPEAAuthenticationError,
    core.PermissionDeniedError: OPEAPermissionDeniedError,
    core.NotFoundError: OPEANotFoundError,
    core.InvalidRequestError: OPEAInvalidRequestError,
    core.ContextOverflowError: OPEAContextOverflowError,
    core.RateLimited: OPEARateLimited,
    core.QuotaExceeded: OPEAQuotaExceeded,
    core.ServerError: OPEAServerError,
    core.BadAnswerError: OPEABadAnswerError,
    core.EndpointConnectionError: OPEAConnectionError,
    core.CertificateError: OPEACertificateError,
    core.EndpointTimeout: OPEATimeout,
    core.DeadlineExceeded: OPEADeadlineExceeded,
    core.StreamInterrupted: OPEAStreamInterrupted,
    core.QueueFull: OPEAQueueFull,
    core.NoEndpointAvailable: OPEANoEndpointAvailable,
    core.ClientClosed: OPEAClientClosed,
    core.RefusalError: OPEARefusalError,
    core.OPEAError: OPEAModelError,
}


def refused(refusal: str, message: BaseMessage) -> OPEARefusalError:
    """The error for a refusal, with the message that holds it."""
    error = OPEARefusalError(
        f"The model refused: {refusal}", "Ask differently, or catch it to show the refusal."
    )
    error.raw_message = message
    return error


def translated(error: core.OPEAError) -> LangChainError:
    """The same error in the class that LangChain knows too."""
    if isinstance(error, LangChainError):
        return error
    dual = next(_DUAL[cls] for cls in type(error).__mro__ if cls in _DUAL)
    copy = dual(error.message, error.hint)
    vars(copy).update(vars(error))
    if isinstance(error, core.ServerError):
        status = error.status_code or 0
        copy.is_retryable = error.is_transient_error or not (
            500 < status < 520 or status in (525, 526)
        )
    return copy.with_traceback(error.__traceback__)


@contextmanager
def langchain_errors() -> Iterator[None]:
    """Errors of the core leave the block as ones that LangChain knows too."""
    try:
        yield
    except core.OPEAError as error:
        raise translated(error) from error.__cause__


def langchain_stream(stream: Iterator[Item]) -> Iterator[Item]:
    """The items of a stream of the core, its errors as LangChain's.

    What the caller does with them is his own.
    """
    while True:
        try:
            item = next(stream)
        except StopIteration:
            return
        except core.OPEAError as error:
            raise translated(error) from error.__cause__
        yield item


async def alangchain_stream(stream: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """``langchain_stream`` for async code."""
    while True:
        try:
            item = await anext(stream)
        except StopAsyncIteration:
            return
        except core.OPEAError as error:
            raise translated(error) from error.__cause__
        yield item
