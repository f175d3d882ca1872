"""Faults by name: what bad servers and bad networks do to a right answer.

A fault is scripted like an answer: ``server.script(faults.cut, faults.status(503))``. It damages
what the model would have said, so it fits whatever is asked for: a chat, a stream, embeddings.
``FAULTS`` has those that need no argument by name; ``faults.find("503")`` also knows every status.
Those called harmless are odd but right: a client has to understand them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

from opea_core.testing import damage
from opea_core.testing.answers import Answer, error
from opea_core.testing.rate_limits import rate_limit
from opea_core.testing.record import Seen


def _as_it_is(seen: Seen) -> Seen:
    return seen


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong. Called with an answer, it gives what comes of it."""

    name: str
    what: str
    """One line for people."""
    damage: Callable[[Answer], Answer]
    harmless: bool = False
    """Odd, but right: a client has to understand it."""
    ask: Callable[[Seen], Seen] = _as_it_is
    """What the model is asked instead."""

    def __call__(self, answer: Answer) -> Answer:
        """The answer with the damage done."""
        return self.damage(answer).replace(name=self.name)


Script: TypeAlias = Answer | Fault | Callable[[Seen], Answer | Fault | None]
"""An answer, a fault of the model's answer, or a function that gives either for a request.

None from the function: the model answers.
"""


# --- the connection

close = Fault(
    "close", "the connection is closed instead of an answer", lambda a: a.replace(before="close")
)
reset = Fault(
    "reset", "the connection is reset instead of an answer", lambda a: a.replace(before="reset")
)
hang = Fault("hang", "no answer, the connection stays open", lambda a: a.replace(before="hang"))
cut_head = Fault("cut-head", "closed in the middle of the headers", damage.cut_head)
reset_head = Fault("reset-head", "reset in the middle of the headers", damage.reset_head)
drip_head = Fault("drip-head", "headers without end, one at a time", damage.drip_head)
huge_head = Fault("huge-head", "headers without end, as fast as they are read", damage.huge_head)
not_http = Fault("not-http", "some other protocol answers", damage.not_http)

# --- the body

cut = Fault("cut", "closed in the middle of the body", damage.cut)
cut_early = Fault("cut-early", "closed after the headers", partial(damage.cut, share=0))
reset_body = Fault("reset-body", "reset in the middle of the body", damage.reset)
reset_early = Fault("reset-early", "reset after the headers", partial(damage.reset, share=0))
stall = Fault("stall", "nothing more after half of the body", damage.stall)
stall_early = Fault("stall-early", "nothing more after the headers", partial(damage.stall, share=0))
keepalives = Fault("keepalives", "keep-alives for ever and no data", damage.keepalives)
keepalives_late = Fault(
    "keepalives-late",
    "half of the body, then keep-alives for ever",
    partial(damage.keepalives, share=0.5),
)
long_length = Fault(
    "long-length", "a Content-Length that promises more than comes", damage.long_length
)
short_length = Fault(
    "short-length", "a Content-Length that promises half of what comes", damage.short_length
)
cut_chunk = Fault("cut-chunk", "closed inside a chunk", damage.cut_chunk)
bad_chunk = Fault("bad-chunk", "a chunk whose size is no number", damage.bad_chunk)
no_length_cut = Fault(
    "no-length-cut", "no length given, and it ends too early", damage.no_length_cut
)

# --- the content

html = Fault("html", "a login page with status 200", damage.page)
html_502 = Fault("html-502", "the page of a proxy whose upstream is down", damage.bad_gateway)
error_in_200 = Fault("error-in-200", "status 200 and an error object", damage.error_in_success)
error_first = Fault("error-first", "a stream that begins with an error", damage.error_first)
error_midway = Fault("error-midway", "a stream that ends with an error", damage.error_midway)
unfinished = Fault(
    "unfinished", "a stream that ends in good order, but without its end mark", damage.unfinished
)
broken_json = Fault("broken-json", "JSON that breaks off", damage.broken_json)
deep_json = Fault("deep-json", "JSON nested 100,000 deep", damage.deep_json)
empty = Fault("empty", "status 200 and no body", damage.empty)
empty_object = Fault(
    "empty-object", "JSON without anything that was asked for", damage.empty_object
)
bomb = Fault("bomb", "compressed blanks without end", damage.bomb)
endless = Fault("endless", "a body without end", damage.endless)
long_line = Fault("long-line", "an event whose line does not end", damage.long_line)

# --- odd, but right


def _asking(**body: bool) -> Callable[[Seen], Seen]:
    def ask(seen: Seen) -> Seen:
        return dataclasses.replace(
            seen, body={**seen.body, **body} if isinstance(seen.body, dict) else seen.body
        )

    return ask


slow = Fault("slow", "slow but steady", damage.slow, harmless=True)
torn = Fault("torn", "byte by byte, letters and events torn apart", damage.torn, harmless=True)
glued = Fault("glued", "all events in one piece", damage.glued, harmless=True)
comments = Fault(
    "comments",
    "comments and CRLF between the events, blanks before a plain answer",
    damage.with_comments,
    harmless=True,
)
gzipped = Fault("gzipped", "compressed, asked for or not", damage.gzipped, harmless=True)
http10 = Fault("http10", "HTTP/1.0", damage.http10, harmless=True)
interim = Fault("interim", "an interim answer first", damage.interim, harmless=True)
no_length = Fault("no-length", "the body ends with the connection", damage.no_length, harmless=True)
stray = Fault("stray", "right, and followed by an answer to nothing", damage.stray, harmless=True)
closing = Fault(
    "closing",
    "right, and then the connection is closed without notice",
    lambda a: a.replace(end="close"),
    harmless=True,
)
json_for_stream = Fault(
    "json-for-stream",
    "JSON instead of a stream",
    lambda a: a,
    harmless=True,
    ask=_asking(stream=False),
)
stream_for_json = Fault(
    "stream-for-json",
    "a stream instead of JSON",
    lambda a: a,
    harmless=True,
    ask=_asking(stream=True),
)

# --- refusals

busy = Fault("busy", "503 that says when to come back", lambda _: rate_limit(1.0, status=503))
no_model = Fault(
    "no-model",
    "404, the model does not exist",
    lambda _: error(404, "The model does not exist.", code="model_not_found"),
)
no_quota = Fault(
    "no-quota",
    "429, the quota is used up",
    lambda _: error(429, "You exceeded your current quota.", code="insufficient_quota"),
)
too_long = Fault(
    "too-long",
    "400, more than the context holds",
    lambda _: error(
        400,
        "This model's maximum context length is 8192 tokens, you asked for 9000.",
        code="context_length_exceeded",
    ),
)


def status(
    code: int,
    message: str = "",
    *,
    code_word: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """An error with this status: ``status(503)``."""
    if not isinstance(code, int) or not 300 <= code <= 599:
        raise ValueError(f"status({code!r}): it must be a status from 300 to 599.")
    words = message or f"scripted {code}"
    return Fault(
        str(code), f"status {code}", lambda _: error(code, words, code=code_word, headers=headers)
    )


def rate_limited(wait: float | str | None = 1.0, form: str = "seconds") -> Fault:
    """429 with a wait.

    So many seconds in one of the forms of ``STATED_WAITS``, a Retry-After of any text, or None
    for no wait at all.
    """
    rate_limit(wait, form)  # what it cannot say is told now
    return Fault("429", "status 429", lambda _: rate_limit(wait, form))


def redirect(to: str = "http://elsewhere.invalid/v1", code: int = 302) -> Fault:
    """A redirect to another place."""
    return Fault(
        f"redirect-{code}", f"a redirect ({code})", partial(damage.redirect, to=to, status=code)
    )


def slowly(seconds: float) -> Fault:
    """Slow but steady: so many seconds between two events.

    In a plain answer, between two eighths of it.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ValueError(f"slowly({seconds!r}): it must be a number of seconds.")
    return Fault(
        "slow",
        f"slow but steady, {seconds:g} s between events",
        partial(damage.slow, seconds=seconds),
        harmless=True,
    )


# --- when


def sometimes(share: float, what: Script, seed: int = 0) -> Script:
    """For this share of the requests, chosen by a seeded dice; the model answers the others."""
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"sometimes({share!r}): the share must be from 0 to 1.")
    checked(what)
    dice = random.Random(seed)  # noqa: S311 - nobody's secret
    return lambda seen: chosen(what, seen) if dice.random() < share else None


def in_turn(*scripts: Script | None) -> Script:
    """One after the other, and again from the start; None: the model answers."""
    if not scripts:
        raise ValueError("in_turn() needs something that takes turns.")
    for script in scripts:
        checked(script)
    count = iter(range(2**62))
    return lambda seen: chosen(scripts[next(count) % len(scripts)], seen)


def chosen(script: Script | None, seen: Seen) -> Answer | Fault | None:
    """What a script says to a request.

    Raises TypeError if that is none of an answer, a fault and None.
    """
    said = script if script is None or isinstance(script, Answer | Fault) else script(seen)
    if said is not None and not isinstance(said, Answer | Fault):
        raise TypeError(f"A script gave {said!r}: it must give an Answer, a Fault or None.")
    return said


def checked(script: Script | None) -> Script | None:
    """The script; raises TypeError if it is none."""
    if script is not None and not isinstance(script, Answer | Fault) and not callable(script):
        raise TypeError(
            f"{script!r} is no script: give an Answer (chat(...), error(...)),"
            " a Fault (faults.cut) or a function of the request."
        )
    return script


# --- by name

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        made.name: made
        for made in (
            *(value for value in list(globals().values()) if isinstance(value, Fault)),
            rate_limited(),
            redirect(),
        )
    }
)
"""All faults that need no argument, by name."""


def find(name: str) -> Fault:
    """The fault of this name, or a status as a number.

    The name is written ``cut-early`` or ``cut_early``. Raises ValueError that lists the names.
    """
    found = FAULTS.get(name) or FAULTS.get(name.replace("_", "-"))
    if found is not None:
        return found
    if name.isdecimal() and 400 <= int(name) <= 599:
        return status(int(name))
    raise ValueError(
        f"There is no fault {name!r}. There are: {', '.join(FAULTS)},"
        " and every status from 400 to 599."
    )
