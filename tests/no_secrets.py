"""Secrets that tests give a client, and all that can be read of an error."""

from __future__ import annotations

import base64
import pickle
import traceback
from typing import Any
from urllib.parse import quote

from opea_core.testing import Seen

KEY = "sk-THE-SECRET-KEY-0123456789"
HEADER = "THE-SECRET-HEADER-VALUE"
CALL_HEADER = "THE-SECRET-CALL-HEADER"
QUERY = "THE-SECRET-QUERY-VALUE"
CALL_QUERY = "THE-SECRET+CALL/QUERY"
USER, PASSWORD = "THE-SECRET-USER", "THE-SECRET-PASSWORD"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = (
    KEY,
    HEADER,
    CALL_HEADER,
    QUERY,
    CALL_QUERY,
    quote(CALL_QUERY, safe=""),
    USER,
    PASSWORD,
    BASIC,
)


def echo(seen: Seen) -> str:
    """All that the client sent."""
    return f"you sent {seen.headers} and {seen.query} to {seen.path}"


def credential(seen: Seen) -> str:
    """The key, or the user and password as they were sent."""
    return seen.headers["authorization"].split(" ")[1]


def everything(error: BaseException | None) -> str:
    """All that can be read of an error, and of what is behind it."""
    text = ""
    while error is not None:
        text += (
            f"{error} {error!r} {error.args} {vars(error)} {pickle.dumps(error)!r} "
            f"{''.join(traceback.format_exception(error))}"
        )
        error = error.__cause__ or error.__context__
    return text


def found_in(text: str) -> list[Any]:
    """The secrets, or pieces of them, that a text shows."""
    pieces = ("THE-SECRET", BASIC[: len(BASIC) // 2])
    return [secret for secret in (*SECRETS, *pieces) if secret in text]


def check(text: str) -> None:
    """Nothing of a secret, not even a piece of it."""
    assert found_in(text) == []
