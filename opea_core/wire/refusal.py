"""What servers refuse: what an endpoint is sent from then on."""

from __future__ import annotations

import re
from typing import NamedTuple

from opea_core.capabilities import Capabilities
from opea_core.types import Json

_THIS_SCHEMA = (
    r"(?i)invalid (json |response_?format |output )*schema|features? not supported|keyword|compil"
    r"|regex|regular expression|additional_?properties|\brequired\b.{0,60}\b(every|all|each"
    r"|contains|key)"
    r"|schema (is|was) (not (a )?valid|invalid|too)|schema (given )?(has|contains|uses"
    r"|conversion)|unrecognized schema|\.schema\b|\bproperties\b|\$(ref|defs)|recursi|(pars|build"
    r"|convert|generat)\w* .{0,20}grammar|grammar .{0,30}(error|pars|fail|invalid)"
    r"|(generated|output|response) (json )?(does|did) not (match|validate|conform|fit)"
    r"|does not (validate|conform)|generated json|pattern"
)


class Adapted(NamedTuple):
    """What an endpoint is sent from now on, and the names of what changed.

    Names are ``seed`` or ``a -> b``.
    """

    capabilities: Capabilities
    reports: tuple[str, ...]
    passing: frozenset[str] = frozenset()
    """What changes for this call only, as the next one may be sent in the old form again."""


def adapt(
    body: Json,
    text: str,
    known: Capabilities,
    any_form: bool = False,
    reasoning_is_set: bool = False,
    done: frozenset[str] = frozenset(),
) -> Adapted | None:
    """What to change after ``body`` was refused in these words.

    None where nothing that was sent is refused.

    ``any_form``: the caller asked for an answer of a schema and leaves it to us how.
    ``reasoning_is_set``: which reasoning goes back was decided by the caller. ``done``: what was
    changed in this call already.
    """
    # With the first refusal: most programs see none, and the patterns take time to compile.
    from opea_core.wire import adaptation_rules, adaptations

    refusal = adaptation_rules.Refusal(body, text, known, any_form, reasoning_is_set)
    for names, change, passes in adaptations.asked_for(refusal, done):
        passing = frozenset(change) if passes else frozenset[str]()
        return Adapted(known.replace(**change), names, passing)
    return None


def elsewhere(path: str, known: Capabilities) -> Adapted | None:
    """After a 404 for ``/v1/rerank``: some servers have it beside ``/v1``."""
    if known.rerank_beside_v1 or not path.endswith("/v1"):
        return None
    return Adapted(
        known.replace(rerank_beside_v1=True),
        (f"{path}/rerank -> {path.removesuffix('/v1')}/rerank",),
    )


def dislikes_schema(message: str) -> bool:
    """Whether a server's words are about the schema it was given, not about the way of asking."""
    return bool(re.search(_THIS_SCHEMA, message))
