"""What went wrong on the way to a server, in words and as a failure."""

from __future__ import annotations

from opea_core import errors
from opea_core.display_text import redact_url
from opea_core.flow.effects import TransportFailure
from opea_core.flow.error_context import ErrorContext
from opea_core.policy import SECOND
from opea_core.policy.retry import Failure, Phase

USUAL_ADDRESSES = (
    "Is the server running? Usual addresses: Ollama http://localhost:11434, LM Studio :1234,"
    " vLLM :8000, llama.cpp :8080. "
    "Set base_url= or OPEA_API_URL."
)
LIMIT_HINTS = {
    "connect": "Raise timeout= if the server is only slow. " + USUAL_ADDRESSES,
    "first_event": "Long prompts can take minutes: raise timeout=, or Timeouts(first_event=...).",
    "idle": "Raise timeout=, or Timeouts(idle=...), if the server may pause that long.",
    "total": "Raise deadline= if the call may take longer.",
}


def from_broken(where: ErrorContext, broken: TransportFailure) -> Failure:
    """The failure that a broken connection or a passed time limit is."""
    cls, message, hint = _broken_words(where, broken)
    error = cls(
        message,
        hint,
        # Nothing was sent by which the server could know it.
        request_id=None if broken.phase is Phase.NOT_SENT else where.spec.request_id,
        endpoint=where.endpoint.label,
        url=redact_url(where.request.url),
        headers=where.shown(broken.headers),
    )
    error.__cause__ = broken.cause
    # A certificate, a port without TLS or a request that cannot be written will not change.
    retryable = (
        broken.kind not in ("certificate", "not_tls", "invalid", "unexpected")
        and broken.limit != "total"
    )
    brief = (
        message.removeprefix(str(where)).strip(" :.")
        if broken.kind == "timeout"
        else where.say(broken.reason)
    )
    # Exactly one request is not put at risk by a guess.
    reused = broken.reused and (broken.own or where.spec.retry.max_retries > 0)
    ours = broken.limit == "total" or broken.kind == "local"  # says nothing of the endpoint
    return Failure(
        broken.phase, error, reused=reused, retryable=retryable, own_limit=ours, brief=brief
    )


def _broken_words(
    where: ErrorContext, broken: TransportFailure
) -> tuple[type[errors.OPEAError], str, str]:
    reason = where.say(broken.reason)
    if broken.kind == "timeout":
        return _timeout_words(where, broken)
    if broken.kind == "certificate":
        # Never "turn verification off": anything that skips it makes it pointless (K13).
        hint = "If it is your own CA, pass verify='/path/ca.pem' or set SSL_CERT_FILE."
        return (
            errors.CertificateError,
            f"{where}: the TLS certificate was not accepted ({reason}).",
            hint,
        )
    if broken.kind == "not_tls":
        return (
            errors.ConfigurationError,
            f"{where} does not speak TLS.",
            "Write http:// in base_url, or check the port.",
        )
    if broken.kind == "invalid":
        return (
            errors.ConfigurationError,
            f"The request to {where} cannot be sent: {reason}.",
            "Check the URL, the headers and the transport.",
        )
    if broken.kind == "proxy":
        return (
            errors.EndpointConnectionError,
            f"The proxy in front of {where} failed ({reason}).",
            "Check proxy=, or HTTP_PROXY, HTTPS_PROXY and NO_PROXY.",
        )
    if broken.kind == "local":
        hint = (
            "Raise the limit (ulimit -n), lower max_concurrent=,"
            " or close what is not used any more."
        )
        return errors.EndpointConnectionError, f"Nothing was sent to {where}: {reason}.", hint
    if broken.kind == "unexpected":
        hint = (
            "The cause has its own words;"
            " a transport or an HTTP client of yours may have raised it."
        )
        return errors.EndpointConnectionError, f"{where}: the connection failed ({reason}).", hint
    if broken.phase is Phase.NOT_SENT:
        return (
            errors.EndpointConnectionError,
            f"Nothing answers at {where.endpoint.url.origin} ({reason}).",
            USUAL_ADDRESSES,
        )
    return errors.EndpointConnectionError, f"{where}: {reason}.", ""


def _timeout_words(
    where: ErrorContext, broken: TransportFailure
) -> tuple[type[errors.OPEAError], str, str]:
    limit = broken.limit or "idle"
    if limit == "total":
        allowed = f" of {where.spec.deadline_seconds:g} s" if where.spec.deadline_seconds else ""
        return (
            errors.DeadlineExceeded,
            f"The deadline{allowed} passed while {where} was answering.",
            LIMIT_HINTS[limit],
        )
    seconds = getattr(where.request.timeouts, limit)
    waited = f"{seconds:g}" if seconds else f"{(broken.at - broken.sent_at) / SECOND:.1f}"
    what = {
        "connect": "took no connection",
        "first_event": "sent no answer",
        "idle": "sent nothing more",
    }[limit]
    hint = LIMIT_HINTS[limit]
    if limit == "connect" and where.endpoint.url.origin.startswith("https"):
        hint = "Does it speak TLS? If not, write http:// in base_url. " + hint
    return errors.EndpointTimeout, f"{where} {what} within {waited} s ({limit}).", hint
