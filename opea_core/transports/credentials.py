"""What is a key, whatever it is called: such headers and query values stay with the caller."""

from __future__ import annotations

import re
from functools import lru_cache

_CREDENTIAL = re.compile(
    r"accesskey|apikey|authentication|authoriz|cookie|credential|passw|secret|virtualkey"
    r"|(?:auth|bearer|jwt|key|sig|signature|token)$|^code$"
)
"""In a name that is written as one word, as servers and gateways call theirs."""
_NO_CREDENTIAL = re.compile(
    r"(?:affinity|cache|continuation|idempotency|next|page|partition|routing)(?:key|token)$"
)
"""What ends like one, and means an attempt, a page or a place."""
_ACCOUNTS = frozenset({"openaiorganization", "openaiproject", "xgooguserproject"})
"""Whose account it is at the server that the request was written for."""
_BEARER = re.compile(r"(?i)\s*bearer\s+\S+\s*$")


@lru_cache(maxsize=256)
def names_credential(name: str) -> bool:
    """Whether a header or query value of this name is a key, a signature or an account (U2)."""
    word = re.sub(r"[^a-z]+", "", name.lower())
    if word in _ACCOUNTS:
        return True
    return _CREDENTIAL.search(word) is not None and _NO_CREDENTIAL.search(word) is None


def is_credential(name: str, value: str) -> bool:
    """Whether a header is one: by its name, or because its value says so."""
    return names_credential(name) or _BEARER.match(value) is not None
