"""The one way out for a server's words: no secrets, on one line, not too long.

A server may echo what was sent to it in any spelling: in a URL, in HTML, in JSON, in base64, with
other letters in upper case, broken over lines or by letters that nobody sees. Short secrets are
only looked for as they are, as they would be found in any text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias
from urllib.parse import quote, quote_plus

from opea_core.display_text import fit

# Shorter secrets would be found in any text (K6).
_SHORTEST, _ANY_CASE = 4, 8
_TURNS = 3  # an escape may be escaped again, and once more by the next program
_ESCAPE = re.compile(
    r"%([0-9a-fA-F]{2})|(?:\\|%)u([0-9a-fA-F]{4})|\\u\{([0-9a-fA-F]{1,6})\}|\\x([0-9a-fA-F]{2})"
    r"|\\([0-3][0-7]{2})|&#(\d{1,10});|&#[xX]([0-9a-fA-F]{1,8});|&([a-zA-Z]{2,6});"
    r"|\\([\"\\/bfnrt'])"
)
_ESCAPED = re.compile(r"[%\\&]")
# What takes no room: control and format characters, soft hyphens, zero-width spaces.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_BLANK = re.compile(rf"[\s{_UNSEEN}]+")
_NO_SPACE = re.compile(rf"[{_UNSEEN}]+")
_MASK = "***"
_STEP = 32 * 1024
"""Letters that are read at once: where each stood takes a hundred times their room."""
_LONGEST_LETTER = 12
"""Letters that one letter of a secret may be spelled with (``&#0000115;``)."""
_GAP = 1024
"""So many blanks may break a secret where two readings meet."""
Span: TypeAlias = tuple[int, int]


class Redactor:
    """Takes some secrets out of any text."""

    __slots__ = ("_any_case", "_exact", "_overlap")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        spelled = {
            form
            for secret in known
            for form in (*_written(secret), *_encoded(secret))
            if len(form) >= _SHORTEST
        }
        self._exact = sorted(
            (text for text in spelled if len(text) < _ANY_CASE), key=len, reverse=True
        )
        self._any_case = sorted(
            {text.lower() for text in spelled if len(text) >= _ANY_CASE}, key=len, reverse=True
        )
        self._overlap = _GAP + _LONGEST_LETTER * max(map(len, spelled), default=0)

    def holds(self, text: str, broken: bool = True) -> bool:
        """Whether any secret stands in a text.

        ``broken``: also one with blanks or line breaks in it.
        """
        if not (self._exact or self._any_case):
            return False
        return any(
            self._stands_in(form) for _, part in self._parts(text) for form in _forms(part, broken)
        )

    def _stands_in(self, text: str) -> bool:
        lower = text.lower()
        for secret in self._any_case:
            if secret in lower:
                return True
        return any(secret in text for secret in self._exact)

    def _parts(self, text: str) -> Iterator[tuple[int, str]]:
        """A long text in parts that overlap by the longest spelling, and where each begins."""
        if len(text) <= _STEP + self._overlap:
            yield 0, text
            return
        for start in range(0, len(text) - self._overlap, _STEP):
            yield start, text[start : start + _STEP + self._overlap]

    def __call__(self, text: str) -> str:
        """The text without them."""
        if not self.holds(text) and not text.endswith("…"):
            return text
        spans = self._found(text)
        if text.endswith("…"):
            spans += self._cut(text)
        if not spans:
            return text
        parts, at = [], 0
        for start, end in sorted(spans):
            if end <= at:
                continue
            parts += [text[at:start], _MASK] if start >= at else []
            at = end
        return "".join((*parts, text[at:]))

    def _found(self, text: str) -> list[Span]:
        """Where they stand."""
        if not (self._exact or self._any_case):
            return []
        spans: list[Span] = []
        for begin, part in self._parts(text):
            if not any(self._stands_in(form) for form in _forms(part)):
                continue
            found = self._plain(part)
            for form, where in _readings(part):
                found += [(where[start][0], where[end - 1][1]) for start, end in self._plain(form)]
            spans += [(begin + start, begin + end) for start, end in found]
        return spans

    def _plain(self, text: str) -> list[Span]:
        lower = text.lower() if self._any_case else ""
        if len(lower) != len(text):  # some letters have two small ones
            lower = "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
        found = [span for secret in self._exact for span in _all(text, secret)]
        return found + [span for secret in self._any_case for span in _all(lower, secret)]

    def _cut(self, text: str) -> list[Span]:
        """A text that was cut at a bound may end in the middle of a secret."""
        end = len(text) - 1
        for secret in (*self._any_case, *self._exact):
            for size in range(min(len(secret) - 1, end), _SHORTEST - 1, -1):
                if text[end - size : end].lower() == secret[:size].lower():
                    return [(end - size, end)]
        return []


def say(text: str, redact: Redactor, most: int) -> str:
    """A server's words as they may be shown."""
    # On one line: a server's words could otherwise forge a log or steer a terminal (K7).
    return fit(redact(text), most)


def _all(text: str, secret: str) -> list[Span]:
    spans, at = [], text.find(secret)
    while at >= 0:
        spans.append((at, at + len(secret)))
        at = text.find(secret, at + len(secret))
    return spans


def _forms(text: str, broken: bool = True) -> Iterator[str]:
    """A text and its other readings, as ``_readings`` has them, without where their letters stand.

    ``broken``: also the one without blanks.
    """
    yield text
    for _ in range(_TURNS):
        if not _ESCAPED.search(text):
            break
        text = _ESCAPE.sub(_meant, text)
        yield text
    if broken and _BLANK.search(text):
        text = "".join(text.split())
        yield text if text.isprintable() else _NO_SPACE.sub("", text)


def _readings(text: str) -> list[tuple[str, list[Span]]]:
    """Other readings of a text, each with where its letters stand.

    Unescaped, again and again, and without blanks.
    """
    found: list[tuple[str, list[Span]]] = []
    form, where = (
        text,
        [(at, at + 1) for at in range(len(text))]
        if _ESCAPED.search(text) or _BLANK.search(text)
        else [],
    )
    for _ in range(_TURNS):
        if not _ESCAPED.search(form):
            break
        form, where = _unescaped(form, where)
        found.append((form, where))
    if _BLANK.search(form):
        blank = {at for gap in _BLANK.finditer(form) for at in range(gap.start(), gap.end())}
        kept = [place for place in range(len(form)) if place not in blank]
        found.append(("".join(form[place] for place in kept), [where[place] for place in kept]))
    return found


def _unescaped(text: str, where: list[Span]) -> tuple[str, list[Span]]:
    letters: list[str] = []
    places: list[Span] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        letters.append(text[at : found.start()])
        places += where[at : found.start()]
        meant = _meant(found)
        letters.append(meant)
        places += [(where[found.start()][0], where[found.end() - 1][1])] * len(meant)
        at = found.end()
    letters.append(text[at:])
    places += where[at:]
    return "".join(letters), places


def _meant(found: re.Match[str]) -> str:
    percent, unicode, braced, small, octal, decimal, hexadecimal, name, letter = found.groups()
    if name:
        meant = html.unescape(found[0])
        return meant if len(meant) == 1 else found[0]
    if letter:
        return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(letter, letter)
    if octal:
        return chr(int(octal, 8))
    hexes = percent or unicode or braced or small or hexadecimal
    code = int(decimal) if decimal else int(hexes, 16)
    return chr(code) if code <= 0x10FFFF else found[0]


def _written(secret: str) -> set[str]:
    """In a URL, in JSON, and what it is if its own letters are taken for escapes."""
    escaped = json.dumps(secret)[1:-1]
    forms = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        escaped,
        escaped.replace("/", "\\/"),
    }
    for form in tuple(forms):
        forms.update(_forms(form, broken=False))
    return forms


def _encoded(secret: str) -> set[str]:
    """In base64 at each of its three places in a group, and in hexadecimal digits."""
    data = secret.encode("utf-8", "surrogatepass")
    forms = {data.hex(), data.hex(":"), data.hex("-")}
    # How a secret looks in base64 depends on what stands in front of it in its group of three.
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + data).decode()
            whole = len(text) - (0 if (before + len(data)) % 3 == 0 else 4)
            forms.add(text[(0, 4, 4)[before] : whole])
    return {form for form in forms if len(form) >= _ANY_CASE}
