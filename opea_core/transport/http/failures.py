"""What exceptions of HTTP libraries mean."""

from __future__ import annotations

import errno
import os
import ssl

from opea_core.flow.effects import TransportFailure
from opea_core.policy.retry import Phase
from opea_core.transport.deadline import SocketState


def describe(error: Exception, line: SocketState, sent_at: int, now: int) -> TransportFailure:
    """What an exception of httpx or httpx2 means.

    The caller adds which of its time limits had passed.
    """
    phase = Phase.MAYBE_SENT if line.wrote else Phase.NOT_SENT
    if phase is Phase.NOT_SENT and line.own and _is_out_of_files():
        return TransportFailure(
            phase, "local", "this process has no file descriptor left", sent_at, now
        )
    reason, kinds = _reason(error), _kinds(error)
    if "TimeoutException" in kinds:
        if kinds & {"ConnectTimeout", "PoolTimeout"}:
            return TransportFailure(
                Phase.NOT_SENT, "timeout", reason, sent_at, now, limit="connect"
            )
        return TransportFailure(phase, "timeout", reason, sent_at, now)
    if kinds & {"LocalProtocolError", "UnsupportedProtocol", "InvalidURL"}:
        # Its words quote header values.
        return TransportFailure(phase, "invalid", type(error).__name__, sent_at, now)
    if "ProxyError" in kinds:
        return TransportFailure(Phase.NOT_SENT, "proxy", reason, sent_at, now)
    if "ConnectError" in kinds:
        kind = (
            "certificate"
            if _certificate(error)
            else "not_tls"
            if reason == _NOT_TLS
            else "proxy"
            if line.proxied
            else "connect"
        )
        return TransportFailure(
            Phase.NOT_SENT,
            kind,  # type: ignore[arg-type]
            reason,
            sent_at,
            now,
        )
    if not (kinds or isinstance(error, OSError | EOFError)):
        return TransportFailure(
            phase, "unexpected", type(error).__name__, sent_at, now, cause=error
        )
    return TransportFailure(
        phase, "disconnected", reason, sent_at, now, reused=line.was_stale(now), own=line.own
    )


_LIBRARIES = ("httpx", "httpx2")


def _kinds(error: Exception) -> frozenset[str]:
    """The names of the classes that the HTTP library has for it; empty for what is not its own."""
    return frozenset(
        cls.__name__
        for cls in type(error).__mro__
        if cls.__module__.partition(".")[0] in _LIBRARIES
    )


def _is_out_of_files() -> bool:
    """Whether it is this process that can open nothing more.

    A failed connection or name lookup does not always say so.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(
            error
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


_NOT_TLS = "the other side does not speak TLS"
_NO_HANDSHAKE = "connection closed in the TLS handshake"
_PLAIN_WORDS = {
    "ECONNREFUSED": "connection refused",
    "Connection refused": "connection refused",
    "All connection attempts failed": "connection refused",
    "Name or service not known": "the host name is not known",
    "nodename nor servname": "the host name is not known",
    "No address associated": "the host name is not known",
    "Temporary failure in name resolution": "the host name is not known",
    "Connection reset": "connection reset",
    "Server disconnected without sending a response": "disconnected without an answer",
    "peer closed connection without sending complete message body": (
        "connection closed in the middle of the answer"
    ),
    "UNEXPECTED_EOF_WHILE_READING": _NO_HANDSHAKE,
    "illegal chunk header": "the chunks of the answer are broken",
    "Receive buffer too long": "the headers of the answer are too large",
    "illegal status line": "the other side does not speak HTTP",
    "illegal header line": "the headers of the answer are broken",
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "wrong version number": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "record layer failure": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "EndOfStream": _NO_HANDSHAKE,
}


def _reason(error: Exception) -> str:
    """A short reason in plain words."""
    text = str(error) or type(error).__name__
    chain = text
    cause: BaseException | None = error
    while cause is not None:
        chain += f" {type(cause).__name__} {cause}"
        if isinstance(cause, BaseExceptionGroup):
            chain += " ".join(str(e) for e in cause.exceptions)
        cause = cause.__cause__ or cause.__context__
    return next((words for mark, words in _PLAIN_WORDS.items() if mark in chain), text)
