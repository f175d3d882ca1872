"""Which fields of a request a server refuses.

A field is refused where words of refusal stand beside its name, and no words about its value. In
doubt a field stays: the caller must see the error of a request that is wrong, and nothing may go
out that nobody wrote.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from opea_core.wire.complaints import FIELD_WORD, Complaint
from opea_core.wire.refused_words import (
    BETWEEN,
    COLON,
    CONDITION,
    CRASH,
    END,
    FOLLOWS,
    IN_PASSING,
    IS_VALUE,
    LISTING,
    MODEL,
    MUST_GO,
    NEGATED,
    ONE_VALUE,
    REFUSED,
    SCHEMAS,
    STILL,
    STRANGE,
    VALUE,
    WITH,
)

Mention: TypeAlias = tuple[int, int, str]
"""Where a field is named in a clause: begin, end, and its name."""


def refused_fields(
    complaints: Iterable[Complaint],
    fields: Mapping[str, str],
    own: frozenset[str] = frozenset(),
    sent: Collection[str] = (),
) -> list[str]:
    """Names of the fields that are refused, in the order in which they are.

    ``fields``: names and the patterns of what they may be called. ``own``: names of the caller's
    own (properties of his schemas), which a server may mean. ``sent``: all that stands in the
    request.
    """
    complaints = list(complaints)
    found: dict[str, None] = {}
    for complaint in complaints:
        for name in _by_path(complaint, fields) or _by_words(complaint, fields, own, sent):
            found[name] = None
    # A mere "no" counts only where nothing was said plainly: in doubt a field stays (A8).
    for complaint in complaints if not found else ():
        for name in _by_any_negation(complaint, fields, own, sent):
            found[name] = None
    return list(found)


def is_about_a_value(complaint: Complaint) -> bool:
    """Whether it dislikes what a field holds, not that it is there.

    One value that is taken is as good as none.
    """
    following = complaint.after if FOLLOWS.match(complaint.after) else ""
    if CONDITION.search(complaint.words):
        return True
    if (
        STRANGE.search(complaint.words)
        or ONE_VALUE.search(complaint.words)
        or (following and ONE_VALUE.search(following))
    ):
        return False
    return bool(VALUE.search(stated(complaint.words)) or (following and VALUE.search(following)))


def points_to(path: tuple[str, ...], name: str) -> bool:
    """Whether a path is this field; an inner one only where it is ours to leave out."""
    if name == "name":
        return path[-1] == name and path[0] == "messages"
    if name == "strict":
        return path[-1] == name and "properties" not in path
    return path[0] == name or (len(path) == 2 and path[1] == name and path[0][:1].isupper())


def _by_path(complaint: Complaint, fields: Mapping[str, str]) -> list[str]:
    path = complaint.path
    if (
        not path
        or not (REFUSED.search(complaint.words) or ONE_VALUE.search(complaint.words))
        or is_about_a_value(complaint)
    ):
        return []
    return [name for name in fields if points_to(path, name)]


def _by_words(
    complaint: Complaint, fields: Mapping[str, str], own: frozenset[str], sent: Collection[str]
) -> list[str]:
    # What a server lists as right must not be read as refused.
    words = stated(complaint.words)
    if (
        complaint.path
        or is_about_a_value(complaint)
        or CRASH.search(words)
        or STILL.search(f"{words} {complaint.after}")
    ):
        return []
    mentions = _mentions(words, fields, own, sent)
    refused: list[str] = []
    for refusal in (*REFUSED.finditer(words), *ONE_VALUE.finditer(words)) if mentions else ():
        at, end = refusal.span()
        refused += (
            _right_of(end, mentions, words)
            or _left_of(at, mentions, words)
            or _right_of(end, mentions, words, across=True)
        )
    return list(dict.fromkeys(refused))


def _by_any_negation(
    complaint: Complaint, fields: Mapping[str, str], own: frozenset[str], sent: Collection[str]
) -> list[str]:
    """Fields in a clause that says no itself, where it names one field, or a list of them."""
    words = stated(complaint.words)
    if (
        complaint.path
        or is_about_a_value(complaint)
        or CRASH.search(words)
        or STILL.search(f"{words} {complaint.after}")
        or IN_PASSING.search(words)
    ):
        return []
    if not NEGATED.search(words):
        return []
    mentions = _mentions(words, fields, own, sent)
    names = list(dict.fromkeys(name for _, _, name in mentions))
    gaps = [words[one[1] : other[0]] for one, other in pairwise(mentions)]
    return names if len(names) == 1 or all(_is_list(gap) for gap in gaps) else []


def _mentions(
    words: str, fields: Mapping[str, str], own: frozenset[str], sent: Collection[str]
) -> list[Mention]:
    """Where fields are named in a clause: begin, end and name."""
    is_about_schema = bool(SCHEMAS.search(words))
    return sorted(
        (found.start(), found.end(), name)
        for name, pattern in fields.items()
        if not ((name in own or is_about_schema) and name != "strict")
        for found in re.finditer(pattern, words)
        if _is_named(words, found, name, sent)
    )


def _is_named(words: str, found: re.Match[str], name: str, sent: Collection[str]) -> bool:
    """Whether a mention is this field, no part of ``stop_sequence`` nor the name of a model."""
    start, end = found.span()
    outer = words[start - 1 : start] + words[end : end + 1]
    is_part = any(char.isalnum() or char in "_-" for char in outer) and found.group() != "n"
    token = found.group().strip("`'\"*[]()")
    if (
        words[max(0, start - 2) : start] in (", ", ": ")
        and found.group() == token
        and token in ("stop", "user", "store", "n", "metadata", "strict")
    ):
        is_part = is_part or not re.search(rf"\b{FIELD_WORD}\b", words[:start])
    return (
        not is_part
        and (token == name or token not in sent)
        and not MODEL.search(words[max(0, start - 40) : start])
    )


def _right_of(at: int, mentions: Sequence[Mention], words: str, across: bool = False) -> list[str]:
    """What follows words of refusal: ``unsupported parameters: seed, user``.

    ``across``: ``not supported with n > 1``.
    """
    group: list[str] = []
    for start, end, name in mentions:
        if start < at:
            continue
        gap = words[at:start]
        if len(gap) > (40 if not group else 24) or (
            WITH.search(gap) and not (across or COLON.search(gap))
            if not group
            else not _is_list(gap)
        ):
            break
        group.append(name)
        at = end
    return group


def _left_of(at: int, mentions: Sequence[Mention], words: str) -> list[str]:
    """What stands before words of refusal: ``seed and user are not supported``."""
    group: list[str] = []
    for start, end, name in reversed(mentions):
        if end > at:
            continue
        gap = words[end:at]
        if not group and IS_VALUE.fullmatch(gap):
            break
        if (
            len(gap) > (70 if not group else 24)
            or (not group and END.search(gap))
            or (group and not (_is_list(gap) or WITH.search(gap)))
        ):
            break
        # "X with Y is not supported" is about X.
        group = [name] if WITH.search(gap) and group else [name, *group]
        at = start
    return group


def _is_list(gap: str) -> bool:
    """Whether two names belong to one list: only commas, quotes or an "and" are between."""
    return gap.strip(BETWEEN).lower() in ("", "and", "or", "nor")


def stated(words: str) -> str:
    """A clause up to where it begins to list what would be right."""
    listing = LISTING.search(words)
    return words[: listing.start()] if listing else words


def pattern_of(name: str, words: Iterable[str] = (), is_plain_word: bool = False) -> str:
    """How a field may be called: by its name on the wire, in camelCase, in words.

    ``is_plain_word``: its name is a word that any sentence may hold; it counts where it is marked
    as a name.
    """
    first, *rest = name.split("_")
    spelled = {
        name,
        first + "".join(part.capitalize() for part in rest),
        "".join(part.capitalize() for part in (first, *rest)),
    }
    if is_plain_word:
        one = "|".join(sorted(map(re.escape, {name, name.capitalize()})))
        marked = (
            rf"[`'\"*\[]({one})[`'\"*\]](?!\s*role)|(?<![\w.])({one})(?=\s*(=|>|:\s|\(\s*\w+\s*\)"
            rf"|{FIELD_WORD}\b))"
            rf"|(?<=[./])({one})\b(?!\w)|(?<=\s:)({one})\b|(?<![\w.])({one})(?= {MUST_GO})"
            rf"|\b{FIELD_WORD}(?:\s*\(s\))?[:,]?\s+(named?\s+)?[`'\"]?({one})\b(?!\s+(role"
            rf"|message))|(?<=: )({one})(?=\W*$|,)|(?<=, )({one})(?=\W*$|,)"
        )
    else:
        every = "|".join(sorted(map(re.escape, spelled), key=len, reverse=True))
        marked = rf"(?i:(?<![A-Za-z])({every})(?![A-Za-z]))"
    if rest:
        words = (" ".join((first, *rest)), "-".join((first, *rest)), *words)
    return "|".join((marked, *(rf"(?i:\b{word}\b)" for word in words)))
