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

Mention: TypeAlias = tuple[int, int, str]
"""Where a field is named in a clause: begin, end, and its name."""
_REFUSED = re.compile(
    r"(?i)\bunsupported|(\bnot|n['\u2019]t|\bnever|\bno longer"
    r"|\bonly partially) (\w+ ){0,2}?(support"
    r"|accept|allow|permit|recogni[sz]|implement|enabl|available|compatible|valid|expected\b)\w*"
    r"|\bnot[ _-]supported|\bno support\b|\bunavailable|\bincompatible|\bunrecogni[sz]ed"
    r"|\bunknown\b|\bunexpected\b|\bextra[ _](inputs?|fields?|forbidden)"
    r"|\b(is|are|was|were) (forbidden|disallowed|disabled|rejected|refused|removed|ignored"
    r"|deprecated|reserved|prohibited)"
    r"|\b(cannot|can['\u2019]t|can not|may not|must not|should not|shouldn['\u2019]t"
    r"|mustn['\u2019]t) (be )?(\w+ ){0,1}?(used|set|specified|combined|given|passed|provided|sent"
    r"|included|present|supplied|honou?red|served|produced|use|handle|take|do|process|contain|have"
    r"|include)\b"
    r"|\b(do|does|did|will|should|must) ?(not|n['\u2019]t) (\w+ ){0,2}?(take|exist|have|know"
    r"|understand|contain|match any|handle|work)|\bno such\b|\bnot (a )?(known|defined|declared"
    r"|handled|understood)"
    r"|\b(must|should|has to|needs? to|please) (be )?(remove[ds]?|omit(ted)?|unset|absent"
    r"|drop(ped)?|leave out|left out|delete[ds]?)\b|\bremove\b|\bomit\b"
    r"|\b(reject(s|ed|ing)?|refuses?|disallows?|forbids?|lacks?)\b|\binvalid (parameter|argument"
    r"|field|key|property|keyword|request argument|request parameter)s?\b"
    r"|\bdeprecated\b|\bdiscontinued\b|\bcannot find field|\bonly (allowed|available|supported"
    r"|valid|permitted|accepted|enabled) (when|with|if|for|in|on)\b"
    r"|\bswitched on\b|\bcould not be mapped|\bmutually exclusive|\bcannot both\b|\bextraneous\b"
    r"|\bnot additional|\bmust not have additional|\bdrop\b|\b(is|are|be|has"
    r"|have) (to be )?(removed|dropped|left out)|\bno place\b|\bcannot combine\b|\bnotimplemented"
    r"|\b(replaced|superseded|renamed) (by|to)\b|\binstead of\b|\btakes no\b"
    r"|\bunpermitted\b|\bunusable\b|NoAdditionalProperties"
    r"|\bnot an? (accepted|known|allowed) (key|field|name)\b"
    r"|\b(is|are) no (member|field|part|property)s?\b|\bhas no\b(?! attribute)|\bno endpoints\b"
    r"|不支持|不允许|未知参数|非支持"
)
# About a field's value: the caller should see that it is wrong (A7).
_VALUE = re.compile(
    r"(?i)^\W*invalid [`'\"]\w+[`'\"]\s*:|\binvalid key\b|\b(unsupported|invalid) \w+ [\d.]+"
    r"|\b(above|below|over|under|beyond) \d|\bgreedy\b"
    r"|\brequires (temperature|top_p|logprobs|stream)\b"
    r"|\bvalue\b.{0,20}\b(is|are) not\b|\bchoose (between|a|one)\b|\bids? with\b|\bcharacters?\b"
    r"|\bspaces\b|\b\d+ bits?\b|\bBereich\b|\bkeys? [`'\"].{1,60}\bin [`'\"]"
    r"|\b(polic(y|ies)|blocked|banned|suspended|violat\w*"
    r"|moderat\w*|flagged|filtered|billing|credits?|claim)\b"
    r"|\b(must|should|has to|needs? to|have to) (be|have|contain|match"
    r"|not exceed|equal|start|end|fall|lie|not be (empty|null|negative|greater|less|more|larger"
    r"|longer|blank|zero))\b"
    r"|\bexpected\b(?! (nothing|no))|\btoo (large|long|many|high|small|low|big|short|few)\b"
    r"|\bexceed|\bout of range|\b(above|below|over) (the )?(max|min|limit)|\b(max|min)(imum"
    r"|imal)?\b"
    r"|\bat (most|least)\b|\bup to \d|\binvalid (value|type|choice|format|literal|enum|input|json"
    r"|tool)|\bnot (a|an|one of|in)\b(?! (valid |known |recogni[sz]ed |supported )?(field|param"
    r"|argument|key|propert|option|keyword))|\b(is|are) not (a )?valid\b(?! for this)"
    r"|\b(supported|allowed|valid|possible|accepted|permitted|available|known"
    r"|recogni[sz]ed) (\w+ )?(values?|options|levels|choices|types|variants|formats|tiers"
    r"|names)\b|\bone of\b"
    r"|\bunknown variant|\bunsupported (value|type|effort|level|tier|option)|\b(greater|less"
    r"|larger|smaller|longer|shorter|higher|lower|more|fewer) than\b|\bnegative\b|\bempty\b"
    r"|\bmissing\b|\brequired\b"
    r"|\bmalformed (value|json|input for)|\bwrong type|\b(but|and|,|we|:) got\b|\bgot:? ['\"`\d]"
    r"|\breceived\b|\brange\b|\bbetween\b|\bpositive\b|\binteger\b|\bunable to parse|\bparse"
    r"|\bdeserializ|\bduplicate|\bnot found\b|\bquota\b|\bunknown (value|level|effort|option"
    r"|tier)"
)
# Where only one value is taken the field is of no use, and can be left out (A7).
_ONE_VALUE = re.compile(
    r"(?i)\b(must|has to|have to|should|needs? to) (be|equal|stay( at)?"
    r"|remain( at)?) ?[`'\"(]?\d+(\.\d+)?\b(?! ?(\.\.|-|characters?|tokens?|items?|%"
    r"|\d))(?!.{0,24}\b(or|to|and|at least)\b)|\bfixed (at|to)\b|\bonly (the )?(supported "
    r"|allowed |valid |possible |accepted )?(value )?(is )?:?\s*[`'\"(]?(default|1(\.0)?|0|false"
    r"|true|null|none|auto)\b"
    r"|\bonly (the )?(supported|allowed|valid|possible|accepted) value( for \S+)? is\b"
    r"|\bonly \S{1,14} (is|are) (allowed|supported|accepted|permitted|valid)"
    r"|\b(must|has to|should|needs? to) (be|equal|stay at|be set to|be exactly) ?(set to "
    r"|equal to |left at )?[`'\"(]?(1(\.0)?|0|false|true|null|none|unset|absent|omitted|removed"
    r"|empty|default|the default|its default|left out)\b(?![`'\"]?,)(?!.{0,24}\b(or|to|and"
    r"|at least)\b)|\bonly (a |an |the )?(\w+ )?(of |value )?1\b|^(input"
    r"|value) should be [`'\"]\w+[`'\"](?!,| or)"
    r"|\bonly (supports?|accepts?|allows?|takes?|works? with) (the )?[`'\"]?(default"
    r"|\w{1,24}\s?=\s?\w+|1(\.0)?\b|0\b|false|true|one\b|a single)|\b(is|are) fixed\b"
    r"|\bnot support \d"
    r"|\bn ?(>|=|!=|greater than|other than|larger than|above|more than) ?1\b"
    r"|\bmore than one (choice|completion|candidate)|\bset to (true|false|null|none|1|0)\b"
)
# A sentence that begins so still speaks of what the one before it named.
_FOLLOWS = re.compile(
    r"(?i)\A\s*(supported|allowed|valid|expected|possible|accepted|permitted|it|this|value|values"
    r"|the only|only|must|should|available|please (use|choose|set))\b"
)
# From here on a clause lists what would be right, and what it names is not refused.
_LISTING = re.compile(
    r"(?i)\bexpected (one of|any of|[`'\"]\w)|\b(valid|known|allowed|supported|permitted|accepted"
    r"|recogni[sz]ed|available|possible|expected|legal) (\w+ ){0,2}?"
    r"(parameters?|fields?|arguments?|keys?|properties|keywords|names|options|values|roles"
    r"|inputs)( are| is|:| here|\s*=|\s*\()|\bdid you mean\b|\bperhaps you meant\b|\bmust be (one"
    r"|any) of\b|\bone of:?\s"
    r"|\bsimilar (field|parameter|name)|\bchoose (from|among|one)|\bknown:|\bsupported:"
    r"|\bsupported are\b|\ballowed:|\bexpects?:|\bsimilar\b.{0,20}:"
)
# In a schema or a URL the same names stand for other things.
_SCHEMAS = re.compile(
    r"(?i)\bquery param|\bin the url\b|\bheaders?\b|\b(invalid|bad|wrong|malformed|illegal|broken"
    r"|compil\w*|pars\w+|convert\w*|build\w*|process\w*|your"
    r"|unsupported) (\w+ )?(json[ _]?)?schema|schema (for|of|in|compil|error|valid|is not)"
    r"|in context ?[=:]|input_?schema|parameters[./]properties"
    r"|\bproperties\b['\"`]?[\]).,/]|json_schema[./]schema|\bgrammar (compil|error|pars)"
    r"|schema contains|schema uses|keyword(?!s? arg)"
)
_WITH = re.compile(
    r"(?i)\b(with|when|while|if|for|because|as|since|unless|without|together|alongside"
    r"|in combination|besides?|by|at|on|use[sd]?|using)\b"
)
_END = re.compile(r"; (?!use)|[^`'\"\])\s]\s*:\s")
_CONDITION = re.compile(
    r"(?i)\bgreedy\b|\bwhen temperature is"
    r"|\b(unknown|invalid|unexpected) keys? [`'\"].{1,60}\bin [`'\"]"
    r"|\bunexpected value\b|\bby (this|the|your) (tool|function)\b"
)
"""Words about what a field holds, or about the caller's own names, whatever else is said."""
_STRANGE = re.compile(
    r"(?i)\b(unknown|unrecogni[sz]ed|unexpected|extra|extraneous|unsupported|undefined"
    r"|additional) (\w+ )?(fields?|names?|param\w*|arguments?|keys?|propert\w+|keywords?|inputs?"
    r"|options?)\b(\(s\))?(?! (value|type|'?\w+'? for))"
    r"|\b(field|name|param\w*|argument|key|property|option)s?"
    r" (is|was|are|were) not (expected|known|allowed|accepted)\b"
    r"|\bnot an? (accepted|known|allowed) (key|field|name)\b"
)
"""Words of servers that do not know a field at all."""
# The field works, or does nothing: it may stay.
_STILL = re.compile(
    r"(?i)\b(still|keeps?|both) (\w+ )?(work|accept|support|valid)|\bwill be removed\b"
    r"|\bno effect\b|(?<!be )\bhonou?red\b|\b(is|was"
    r"|were|are) ignored\b"
)
# Any "no", as servers also speak German, French, Spanish, Portuguese, Chinese and Japanese.
_NEGATED = re.compile(
    r"(?i)\b(no|not|nor|never|nothing|none|without|cannot|neither)\b|n['\u2019]t\b|\b(un"
    r"|dis)(usable|supported|known|expected|specified|permitted|available|declared|allowed|abled)"
    r"|\b(superfluous|surplus|foreign|forbidden|absent|retired|locked|off limits|switched off"
    r"|turned (away|off)|left out|left unset|missing from|in place of|instead of"
    r"|exclude each other|stray|alien|refused)\b"
    r"|\b(must|has to|needs to|should|please|to) (be )?(go|removed?|dropped|drop|leave|left)\b"
    r"|\b(remove|omit|drop|unset)\b|\bonly\b|\bthing of the past\b"
    r"|\b(nicht|kein\w*|unbekannt\w*|pas|aucun\w*|inconnu\w*|no (se )?(admite|soporta|reconoce)"
    r"|desconocid\w*|não|non)\b|不|未|暂|去掉|無|ない|ません"
)
# A server that fell over something says nothing about what it takes.
_CRASH = re.compile(
    r"(?i)\bunmarshal|cannot invoke|has no attribute|\bis not (subscriptable|callable|iterable"
    r"|defined)|NullPointer|check failed|\b(column|relation|table) |\bdied\b|\braw="
    r"|\bfailed to log"
    r"|tool call validation|failed to call a function|\bthe model (gave|generated|produced|wrote)"
    r"|\b(can['\u2019]t|cannot|must not) be 0\b|: 0 would"
)
# About accounts, limits and crashes, where a field is only named in passing.
_IN_PASSING = re.compile(
    r"(?i)\b(tool|function) (call|plan)|\b(the model|assistant) (gave|wrote|made|produced|called)"
    r"|\bfailed to (log|call|parse|write|store)|\b(column|relation|table|worker|thread|kernel|log"
    r"|logs|logged|logging|upstream closed|died|crash\w*|retry|try again|try once)\b"
    r"|\binstances?\b|\btrace(back)?\b|\bstack\b|\bconnection\b|\b(your|the) (account"
    r"|organi[sz]ation|project|key|plan|tier|subscription)\b|\bquota\b|\blimit\b"
)
_MODEL = re.compile(r"(?i)\bmodel(s| family| name| id)? ?[`'\"]?[\w.-]*/?$")
_BETWEEN = " \t\n`'\",/&*()[]:"
_IS_VALUE = re.compile(
    r"\A[`'\"]?\s+[`'\"]?(?!(is|are|was|were|has|have|not|cannot|can|may|must|should|will|does|do"
    r"|isn|aren|param\w*|fields?|arguments?|options?|propert\w+|settings?|sampling|currently|also"
    r"|set|tools?|functions?|schemas?|mode)\b)[\w.@-]+[`'\"]?\s*"
)
"""A word of its own between a name and "not supported": the value that is not."""
_MUST_GO = (
    r"(?:must|has to|should) (?:not be (?:sent|set|given|present|included)"
    r"|be (?:removed|omitted|dropped|absent|unset))\b"
)
_COLON = re.compile(r":\s*[`'\"\[(]*$")


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
    following = complaint.after if _FOLLOWS.match(complaint.after) else ""
    if _CONDITION.search(complaint.words):
        return True
    if (
        _STRANGE.search(complaint.words)
        or _ONE_VALUE.search(complaint.words)
        or (following and _ONE_VALUE.search(following))
    ):
        return False
    return bool(_VALUE.search(stated(complaint.words)) or (following and _VALUE.search(following)))


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
        or not (_REFUSED.search(complaint.words) or _ONE_VALUE.search(complaint.words))
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
        or _CRASH.search(words)
        or _STILL.search(f"{words} {complaint.after}")
    ):
        return []
    mentions = _mentions(words, fields, own, sent)
    refused: list[str] = []
    for refusal in (*_REFUSED.finditer(words), *_ONE_VALUE.finditer(words)) if mentions else ():
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
        or _CRASH.search(words)
        or _STILL.search(f"{words} {complaint.after}")
        or _IN_PASSING.search(words)
    ):
        return []
    if not _NEGATED.search(words):
        return []
    mentions = _mentions(words, fields, own, sent)
    names = list(dict.fromkeys(name for _, _, name in mentions))
    gaps = [words[one[1] : other[0]] for one, other in pairwise(mentions)]
    return names if len(names) == 1 or all(_is_list(gap) for gap in gaps) else []


def _mentions(
    words: str, fields: Mapping[str, str], own: frozenset[str], sent: Collection[str]
) -> list[Mention]:
    """Where fields are named in a clause: begin, end and name."""
    is_about_schema = bool(_SCHEMAS.search(words))
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
        and not _MODEL.search(words[max(0, start - 40) : start])
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
            _WITH.search(gap) and not (across or _COLON.search(gap))
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
        if not group and _IS_VALUE.fullmatch(gap):
            break
        if (
            len(gap) > (70 if not group else 24)
            or (not group and _END.search(gap))
            or (group and not (_is_list(gap) or _WITH.search(gap)))
        ):
            break
        # "X with Y is not supported" is about X.
        group = [name] if _WITH.search(gap) and group else [name, *group]
        at = start
    return group


def _is_list(gap: str) -> bool:
    """Whether two names belong to one list: only commas, quotes or an "and" are between."""
    return gap.strip(_BETWEEN).lower() in ("", "and", "or", "nor")


def stated(words: str) -> str:
    """A clause up to where it begins to list what would be right."""
    listing = _LISTING.search(words)
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
            rf"|(?<=[./])({one})\b(?!\w)|(?<=\s:)({one})\b|(?<![\w.])({one})(?= {_MUST_GO})"
            rf"|\b{FIELD_WORD}(?:\s*\(s\))?[:,]?\s+(named?\s+)?[`'\"]?({one})\b(?!\s+(role"
            rf"|message))|(?<=: )({one})(?=\W*$|,)|(?<=, )({one})(?=\W*$|,)"
        )
    else:
        every = "|".join(sorted(map(re.escape, spelled), key=len, reverse=True))
        marked = rf"(?i:(?<![A-Za-z])({every})(?![A-Za-z]))"
    if rest:
        words = (" ".join((first, *rest)), "-".join((first, *rest)), *words)
    return "|".join((marked, *(rf"(?i:\b{word}\b)" for word in words)))
