"""What asks for an adaptation: a server's words, and what the request holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.types import Json
from opea_core.wire.complaints import own_names, read_complaints
from opea_core.wire.messages import has_late_system
from opea_core.wire.refused_fields import pattern_of, refused_fields
from opea_core.wire.request import TOKEN_LIMITS, has_parameter
from opea_core.wire.tool_names import fits

_LIMITS: Mapping[str, str] = {name: pattern_of(name) for name in TOKEN_LIMITS}
_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


class Refusal:
    """A refused request: what was sent, and what the server said of it."""

    def __init__(
        self, body: Json, text: str, known: Capabilities, any_form: bool, reasoning_is_set: bool
    ) -> None:
        self.body = body
        self.text = text
        self.known = known
        self.any_form = any_form
        self.reasoning_is_set = reasoning_is_set
        self.complaints = read_complaints(text, body)
        self.messages: list[Mapping[str, Any]] = [
            m for m in body.get("messages") or () if isinstance(m, Mapping)
        ]

    def refused(self, fields: Mapping[str, str]) -> list[str]:
        """Those of the fields that are refused; only what was sent can be."""
        sent = {name: pattern for name, pattern in fields.items() if has_parameter(self.body, name)}
        return (
            refused_fields(self.complaints, sent, own_names(self.body), self.body.keys())
            if sent
            else []
        )

    def says(self, pattern: str) -> bool:
        """Whether any clause matches."""
        return any(re.search(pattern, complaint.words) for complaint in self.complaints)


# --- limits of tokens


def limit_is(name: str) -> Callable[[Refusal], bool]:
    """Whether a limit of tokens is refused under this name."""

    def asked(refusal: Refusal) -> bool:
        return name in refusal.body and (
            name in refusal.refused(_LIMITS) or is_to_be_replaced(name, refusal)
        )

    return asked


def is_to_be_replaced(name: str, refusal: Refusal) -> bool:
    """Whether the words advise the other name."""
    other = pattern_of(_OTHER_LIMIT[name])
    return refusal.says(
        rf"(?i)\b(use|send|set|pass|specify|provide|try|replace\w* (by|with)|favou?r of"
        rf"|renamed( to)?|superseded by)\b.{{0,30}}({other})"
    ) and refusal.says(rf"({pattern_of(name)})")


# --- messages


def ids(refusal: Refusal) -> list[str]:
    """The ids of calls in a request."""
    calls = [
        call
        for m in refusal.messages
        for call in m.get("tool_calls") or ()
        if isinstance(call, Mapping)
    ]
    ids = [call.get("id") for call in calls] + [m.get("tool_call_id") for m in refusal.messages]
    return [id_ for id_ in ids if isinstance(id_, str)]


_ID = (
    r"(?i)\b(tool|function|call)s?[ _]?(calls?|use)?[\W_]{0,6}(\d{1,4}\W{1,4})?ids?\b"
    r"|tool_?call_?ids?|toolUseId"
    r"|\bid(entifier)?s?\W{0,4}(of|for) (the |a |an )?(tool|function|call)"
)
_PATTERN = r"(?i)pattern|match|character|a-z|alphanumeric|letters|invalid format"
_NINE = (
    r"(?i)\blength\b.{0,12}\b(9|nine)\b"
    r"|\b(exactly|be|have|with|of) (exactly |length )?(9|nine)\b|\{9\}"
    r"|\bnine (letters|characters)"
)
_LONGEST = (
    r"(?i)(maximum length|max(imum)? (of )?|at most|no longer than|up to|or (less|fewer)|exceeds?"
    r"|longer than|<=|less than or equal to|max_?length)\D{0,24}(\d{2,3})"
)


def _ids_are_refused(refusal: Refusal, words: str, fits_already: re.Pattern[str]) -> bool:
    if all(fits_already.fullmatch(id_) for id_ in ids(refusal)):
        return False
    return any(
        (re.search(_ID, c.words) or (c.path and c.path[-1] in ("id", "tool_call_id")))
        and re.search(words, c.words)
        for c in refusal.complaints
    )


_ABOUT_SYSTEM = (
    r"(?i)\bsystem\b.{0,30}\b(messages?|roles?|prompts?|turns?|instructions?)\b|\b(messages?"
    r"|roles?)\b.{0,30}\bsystem\b|role system|\bsystem['\"`]? role"
    r"|\broles?\b.{0,120}\bgot ['\"`]?system\b"
)
_ITS_PLACE = (
    r"(?i)\b(first|beginning|start|begin|precede|before|top|once|multiple|several|more than one"
    r"|two|only|single|second|position|appear|order|after|middle|later|open|lead|head|initial"
    r"|expected|unexpected|invalid|incorrect|unsupported|wrong|got|not|follow\w*)\b"
)
# A system message that is empty or too long is the caller's to change.
_ITS_CONTENT = r"(?i)\b(content|string|empty|blank|too long|tokens?|characters)\b"


_ALTERNATION = (
    r"(?i)\b(alternat|interleav|take turns)|交替|speaker did not change|back to back"
    r"|follow each other|\b(consecutive|adjacent|successive)\b.{0,40}\b(messages?|roles?|user"
    r"|assistant)|\bsame role|\bin a row\b|\b(two|multiple|several) (\w+ )?(user"
    r"|assistant) (messages|turns)"
)


def wants_first_system(refusal: Refusal) -> bool:
    """System messages at the beginning only, or one of them."""
    # Templates whose roles alternate say only that; with no two in a row it is the system message.
    return has_late_system(refusal.messages) and (
        any(
            re.search(_ABOUT_SYSTEM, c.words)
            and re.search(_ITS_PLACE, c.words)
            and not re.search(_ITS_CONTENT, c.words)
            for c in refusal.complaints
        )
        or (refusal.says(_ALTERNATION) and not _in_a_row(refusal))
    )


def _in_a_row(refusal: Refusal) -> bool:
    """Whether two messages of the user, or of the assistant, follow each other."""
    roles = [m.get("role") for m in refusal.messages]
    return any(one == other and one in ("user", "assistant") for one, other in pairwise(roles))


_SYSTEM_ROLE = (
    r"(?i)['\"`](system|developer)['\"`]|\b(system|developer)[ -](roles?|messages?|instructions?"
    r"|prompts?)\b|\broles?\W{1,3}(system|developer)\b"
)
_REFUSED_ROLE = (
    r"(?i)(\b(not|cannot|no longer|never)|n['\u2019]t)\b.{0,24}\b(support|enabl|allow|accept|permit"
    r"|available|implement|recogni[sz]|used|known|valid|have|take|handle)"
    r"|\b(unsupported|unknown|invalid|unexpected"
    r"|unrecogni[sz]ed|unavailable|forbidden|disallowed|disabled)\b"
    r"|\b(has|have|with|takes?|knows?) no\b"
    r"|\blacks?\b|\bwithout\b|\bno support\b|\b(rejects?|refuses?|ignores?)\b|not[ _-]supported"
)
_OTHER_ROLES_ONLY = (
    r"(?i)\bonly\b.{0,24}\buser\b['\"`]? (and|or|/) ['\"`]?(assistant|model)\b"
    r".{0,24}(\broles?\b|support|allow)"
    r"|\broles?\b.{0,40}\b(must be|should be|one of|only|expected|either)\b.{0,24}\buser\b"
    r"|\binput should be ['\"`]?(user|assistant|model)['\"`]?(,| or)"
)
# Then the role is taken, only not there or not so often.
_WHERE_OR_HOW_MANY = (
    r"(?i)\b(multiple|several|more than one|two|first|beginning|begin|start|index 0|position"
    r"|before|after"
    r"|precede|follow|once|alternat\w*)\b"
)


# Moderation looks at what a message says, and not at its role.
_WHAT_IT_SAYS = r"(?i)\b(flagged|moderat\w*|polic(y|ies)|violat\w*|blocked|filtered)\b"


def refuses_system(refusal: Refusal) -> bool:
    """No role ``system`` at all, wherever it stands.

    Some templates only say that roles alternate.
    """
    has = any(m.get("role") in ("system", "developer") for m in refusal.messages)
    return has and (
        any(_is_no_system(c.words) for c in refusal.complaints)
        or (refusal.says(_ALTERNATION) and not _in_a_row(refusal))
    )


def _is_no_system(words: str) -> bool:
    if any(re.search(it, words) for it in (_ITS_CONTENT, _WHAT_IT_SAYS, _WHERE_OR_HOW_MANY)):
        return False
    if re.search(_SYSTEM_ROLE, words):
        return bool(re.search(_REFUSED_ROLE, words) or re.search(_OTHER_ROLES_ONLY, words))
    return bool(re.search(_OTHER_ROLES_ONLY, words))


def wants_alternation(refusal: Refusal) -> bool:
    """No two messages of the same role in a row."""
    return _in_a_row(refusal) and refusal.says(_ALTERNATION)


_EMPTY = (
    r"(?i)\b(content|text)\b.{0,80}(non-?empty|\bempty|blank|whitespace|at least (1|one)"
    r"|too short|minimum length|min_?length|must not be ['\"]{2}|no content|must have content"
    r"|cannot be ['\"]{2})|(non-?empty|\bempty|blank)\b.{0,40}\b(content|text|string)"
    r"|zero[- ]length|长度不得为 ?0|either content or tool_?calls|assistant.{0,40}must not be empty"
    r"|不能为空|content must be null"
    r"|required oneof field 'data'|(''|\"\") is too short"
)
_NO_NULL = (
    r"(?i)\bcontent\b.{0,90}(\bnull\b|\bnone\b|nonetype|nil\b|must be (a |of type )?(str|string)"
    r"|valid string|expected (a )?string|required|missing|undefined|not be empty|is not set)"
    r"|(missing|required|null|none|nil)\b.{0,50}\bcontent\b|\blacks content|compulsory|nonetype"
    r"|not callable: null"
    r"|type must be string, but is null|is null\b|null value"
)


def calls_without_text(refusal: Refusal, content: Any) -> bool:
    """Whether calls stand beside this content."""
    return any(
        m.get("tool_calls")
        and m.get("role") == "assistant"
        and m.get("content", "absent") == content
        for m in refusal.messages
    )


def about_content(refusal: Refusal, pattern: str) -> bool:
    """Whether the words are about the content of a message."""
    return refusal.says(pattern) or any(
        c.path and c.path[-1] in ("content", "text") and re.search(pattern, f"content: {c.words}")
        for c in refusal.complaints
    )


def wants_text(refusal: Refusal) -> bool:
    """Contents that are texts, not lists of parts."""
    lists = any(
        isinstance(m.get("content"), list) and all(is_text(part) for part in m["content"])
        for m in refusal.messages
    )
    return lists and about_content(
        refusal,
        r"(?i)\bcontent\b.{0,100}(must be (a |an |of type )?(str|string|text)|should be (a "
        r"|of type )?(valid )?(str|string)|expected (a )?(str|string)|type (string|str)"
        r"|str(ing)? type|\b(list|array|sequence|object|slice|map)\b)"
        r"|\b(list|array|sequence|slice)\b.{0,60}\bcontent\b|flatten (the )?(message )?content"
        r"|content parts cannot|only (plain )?(text|string) content"
        r"|content (parts|blocks|lists?|arrays?) (are|is) not|multi-?part content"
        r"|can only concatenate str|has no attribute|must be string, but is array"
        r"|converted to System\.String|from Array|not of type 'string'|non[ -]string|字符串"
        r"|string and sequence|cannot unmarshal array|invalid type: sequence",
    )


def is_text(part: Any) -> bool:
    """Whether a part of a content is text."""
    return isinstance(part, Mapping) and part.get("type") == "text"


def names(refusal: Refusal) -> list[str]:
    """The names of tools in a request."""
    functions = [
        tool.get("function")
        for tool in refusal.body.get("tools") or ()
        if isinstance(tool, Mapping)
    ]
    names = [function.get("name") for function in functions if isinstance(function, Mapping)]
    return [name for name in names if isinstance(name, str)]


def wants_clean_names(refusal: Refusal) -> bool:
    """Names of tools without some characters."""
    return any(not fits(name, "plain") for name in names(refusal)) and any(
        re.search(
            r"(?i)(tool|function)s?\b.{0,60}\bnames?\b|\bnames?\b.{0,60}\b(tool|function)"
            r"|functions?\W+name|toolSpec|function_declarations|name",
            " ".join((*c.path, c.words)),
        )
        and re.search(
            r"(?i)pattern|match|invalid|valid|character|alphanumeric|a-z|letters|\blength"
            r"|too long|longer|at most|underscore|start with|regex|regular expression"
            r"|字母|长度|字符",
            c.words,
        )
        for c in refusal.complaints
    )


def tool_media(refusal: Refusal) -> bool:
    """No images in the messages of tools."""
    has = any(
        m.get("role") == "tool"
        and isinstance(m.get("content"), list)
        and not all(map(is_text, m["content"]))
        for m in refusal.messages
    )
    # An image that cannot be fetched or read would fail in any other place as well.
    broken = (
        r"(?i)invalid (image|url|base64)|download|fetch|decod|too large|could not (load|process"
        r"|open)|not found|corrupt"
    )
    return (
        has
        and not refusal.says(broken)
        and refusal.says(
            r"(?i)image|picture|photo|media|multi-?modal|vision|\btool\b.{0,80}(content|text)"
            r"|content.{0,80}(text|string)|invalid 'messages'|'text'"
        )
    )


# --- named for the table


def wants_nine_letter_ids(refusal: Refusal) -> bool:
    """Mistral's rule."""
    return _ids_are_refused(refusal, _NINE, re.compile(r"[a-zA-Z0-9]{9}"))


def wants_short_ids(refusal: Refusal) -> bool:
    """OpenAI's: at most 40 characters."""
    return _ids_are_refused(refusal, _LONGEST, re.compile(r".{0,40}"))


def wants_plain_ids(refusal: Refusal) -> bool:
    """Letters and digits."""
    return _ids_are_refused(refusal, _PATTERN, re.compile(r"[a-zA-Z0-9]+"))


def refuses_empty_content(refusal: Refusal) -> bool:
    """An empty text beside calls."""
    return calls_without_text(refusal, "") and about_content(refusal, _EMPTY)


def refuses_null_as_empty(refusal: Refusal) -> bool:
    """Null beside calls is called empty."""
    return calls_without_text(refusal, None) and about_content(refusal, _EMPTY)


def refuses_null_content(refusal: Refusal) -> bool:
    """Null, or nothing, beside calls."""
    left_out = calls_without_text(refusal, None) or calls_without_text(refusal, "absent")
    return left_out and about_content(refusal, _NO_NULL)


def developer(refusal: Refusal) -> bool:
    """No role ``developer``."""
    return any(m.get("role") == "developer" for m in refusal.messages) and (
        refusal.says(r"(?i)\bdeveloper\b|\broles?\b")
        or any(c.path[-1:] == ("role",) for c in refusal.complaints)
    )
