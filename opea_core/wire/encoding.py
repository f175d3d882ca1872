"""Bodies of requests as JSON."""

from __future__ import annotations

from typing import Any

from opea_core.errors import ConfigurationError
from opea_core.wire import jsontext


def encode_body(body: Any) -> bytes:
    """The body as JSON; ConfigurationError names what JSON cannot say."""
    try:
        return jsontext.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        bad = (
            next((key for key, value in body.items() if not _sayable(value)), "?")
            if isinstance(body, dict)
            else "arguments"
        )
        reason = (
            "a character that cannot be encoded" if isinstance(error, UnicodeError) else str(error)
        )
        raise ConfigurationError(
            f"The request cannot be written as JSON: {bad!r}: {reason}.",
            "Use plain dicts, lists, strings and finite numbers.",
        ) from None


def _sayable(value: Any) -> bool:
    try:
        jsontext.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
