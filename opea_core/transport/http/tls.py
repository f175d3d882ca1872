"""What servers are verified by."""

from __future__ import annotations

import os
import ssl
import threading
from functools import lru_cache
from pathlib import Path

from opea_core.config import Endpoint
from opea_core.errors import ConfigurationError
from opea_core.transport.http.library import HTTPLibrary

SYSTEM = "system"
"""``verify="system"``: what the operating system trusts."""
_context_lock = threading.Lock()


def _renew_lock() -> None:
    global _context_lock
    _context_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def tls(endpoint: Endpoint, library: HTTPLibrary) -> ssl.SSLContext:
    """What an endpoint's connections are verified by; one object for all that verify alike.

    ``verify=True`` is what the library takes for it: httpx the certificates of certifi, httpx2
    those of the system.
    """
    if isinstance(endpoint.verify, ssl.SSLContext):
        return endpoint.verify
    if endpoint.url.origin.startswith("http://"):
        return _no_tls()
    verify = endpoint.verify if isinstance(endpoint.verify, bool) else str(endpoint.verify)
    with _context_lock:
        files = (
            tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
            if endpoint.trust_env
            else None
        )
        return _tls_context(verify, endpoint.cert, files, library)


def _system_context() -> ssl.SSLContext:
    """Verified by what the operating system trusts, a company's own authorities included."""
    try:
        import truststore
    except ImportError:
        raise ConfigurationError(
            'verify="system" needs the package truststore.',
            "Install it: pip install 'opea-core[truststore]'.",
        ) from None
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache
def _no_tls() -> ssl.SSLContext:
    """For http origins, which need none: trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache
def _tls_context(
    verify: bool | str,
    cert: str | tuple[str, ...] | None,
    env: tuple[str | None, ...] | None,
    library: HTTPLibrary,
) -> ssl.SSLContext:
    """One context for all that verify the same way.

    ``env`` are the CA variables it honours, None for none.
    """
    context: ssl.SSLContext
    try:
        if verify == SYSTEM:
            context = _system_context()
        elif isinstance(verify, str):
            path = Path(verify)
            context = ssl.create_default_context(
                cafile=None if path.is_dir() else verify, capath=verify if path.is_dir() else None
            )
        else:
            context = library.http.create_ssl_context(verify=verify, trust_env=env is not None)
        if cert is not None:
            files = (cert,) if isinstance(cert, str) else cert
            context.load_cert_chain(*files)
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"verify= or cert= cannot be loaded: {error}.", "Give paths of PEM files."
        ) from None
    return context
