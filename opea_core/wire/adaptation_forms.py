"""What asks for another form of reasoning, of an answer, or of a choice among tools."""

from __future__ import annotations

import re

from opea_core.wire.adaptation_rules import Refusal
from opea_core.wire.messages import REASONING_KEYS
from opea_core.wire.refusal import dislikes_schema
from opea_core.wire.refused_fields import pattern_of, refused_fields, stated

# --- reasoning


_BACK = re.compile(
    r"(?i)(reasoning[_ ]?(content|details|text|opaque|items?|blocks?|history)"
    r"|\breasoning\b['\"`]? item|\breasoning\b|redacted_thinking|thinking[_ ]?(blocks?|content)"
    r"|[`'\"]thinking[`'\"]|thought[_ ]?signatures?|\bsignatures?\b|thinking part)"
    r".{0,140}?\b(must|missing|required|requires|expected|preserve\w*|pass(ed)? back|sent back"
    r"|return(ed)? |includ\w+|provide\w*|need\w*|absent|lost|without|found)\b"
    r"|\b(missing|expected|requires?d?|must|without|include|lacks?|no|need\w*|preserve"
    r"|expects?)\b.{0,80}?(reasoning[_ ](content|details|text|opaque|items?|blocks?)"
    r"|reasoning details|redacted_thinking|thinking[_ ]blocks?|[`'\"]thinking[`'\"]"
    r"|thought[_ ]?signatures?)"
    r"|\brequired [`'\"]?reasoning[`'\"]? item|\b(give|hand|pass|send|return|echo|carry|replay"
    r"|bring)\w* (it |them )?(back|along|on)\b.{0,60}(reasoning_|reasoning |thinking|thought)"
    r"|回传.{0,20}reasoning_content|reasoning_content.{0,20}回传"
    r"|必须.{0,20}reasoning_content"
)


def wants_reasoning(refusal: Refusal) -> bool:
    """Reasoning of earlier turns."""
    answers = any(m.get("role") == "assistant" for m in refusal.messages)
    missing = any(
        c.path[-1:] in (("reasoning_content",), ("reasoning_details",), ("reasoning",))
        and re.search(r"(?i)required|missing", c.words)
        for c in refusal.complaints
    )
    return (
        answers
        and not refusal.reasoning_is_set
        and (
            missing
            or any(
                _BACK.search(c.words)
                and not re.search(
                    r"(?i)\b(budget|effort|unsupported|not supported|not permitted|unexpected"
                    r"|unknown|not allowed)\b",
                    c.words,
                )
                for c in refusal.complaints
            )
        )
    )


_REASONING_KEYS = {name: pattern_of(name) for name in REASONING_KEYS}


def _sent_reasoning(refusal: Refusal) -> dict[str, str]:
    return {
        name: pattern
        for name, pattern in _REASONING_KEYS.items()
        if any(name in m for m in refusal.messages)
    }


def refuses_signature(refusal: Refusal) -> bool:
    """Reasoning that this server did not sign, or does not know any more."""
    # What is quoted of it may hold dots, and words are looked at sentence by sentence.
    return bool(_sent_reasoning(refusal) and re.search(_INVALID_SIGNATURE, refusal.text))


def refuses_reasoning(refusal: Refusal) -> bool:
    """No reasoning in messages."""
    sent = _sent_reasoning(refusal)
    complaints = [c._replace(path=c.path[-1:]) for c in refusal.complaints]
    return bool(sent) and bool(refused_fields(complaints, sent))


_INVALID_SIGNATURE = (
    r"(?i)invalid .{0,20}signature|encrypted[_ ]content\b.{0,120}\b(verif|decrypt|invalid|not be)"
    r"|\b(invalid|verif|decrypt)\w*.{0,60}encrypted[_ ]content"
    r"|\bitem\b.{0,80}\b(of type .?reasoning.?\b.{0,60}without its|not found)"
    r"|without its required .{0,20}reasoning"
)


def refuses_encrypted(refusal: Refusal) -> bool:
    """No reasoning in the form that can go back, asked for by a value of ``include``."""
    return "include" in refusal.body and any(
        re.search(r"(?i)\bencrypted[ _]content\b", c.words) and re.search(_NO_FORMAT, c.words)
        for c in refusal.complaints
    )


# --- forms of answers and of choices


_FORMAT = (
    r"(?i)response[_ ]?format|response[_ ]?(mime[_ ]?type|schema)|controlled generation"
    r"|json_?schema|json[ _-]schema|structured[ _]?outputs?|guided|\bgrammar|json (output|mode"
    r"|response)|output_?format|constrained"
)
_NO_FORMAT = (
    r"(?i)unsupported|not (\w+ )?(support|accept|allow|available|enabl|valid|implement|recogni"
    r"|permit)|n['\u2019]t (\w+ )?(support|accept|allow|available|enabl)|unavailable|unknown"
    r"|unrecogni"
    r"|invalid|incompatib|cannot|can['\u2019]t|must be|should be|expected"
    r"|only (support|accept|text|json_object|available|enabled|allowed)|no support|missing field"
    r"|extra|unexpected|not found|rejected|one of|disabled|\bno (\w+ ){0,5}supports?"
    r"|\bfailed to (use|apply)|mutually exclusive|remove|no endpoints|lacks?\b|does not (take"
    r"|know|offer|have)"
)


def refuses_format(refusal: Refusal) -> bool:
    """Whether the server takes no ``json_schema`` (and not: whether it dislikes this schema)."""
    if (
        not refusal.any_form
        or refusal.known.structured_output is not None
        or "response_format" not in refusal.body
    ):
        return False
    deep = any(
        c.path[:2] == ("response_format", "json_schema") and len(c.path) > 2
        for c in refusal.complaints
    )
    # The schema is the caller's; only the way of asking for it is ours to change (A12).
    if deep or any(dislikes_schema(stated(c.words)) for c in refusal.complaints):
        return False
    return any(
        (c.path[:1] == ("response_format",) or re.search(_FORMAT, c.words))
        and re.search(_NO_FORMAT, c.words)
        for c in refusal.complaints
    )


_CHOICE = (
    r"(?i)tool[_ ]?choice\b|toolConfig|function_call(ing)?[_ ]?(config|mode)?\b|forced (tool"
    r"|function)|(force|forcing|required|named) (\w+ )?(tool|function)"
)
_NOT_AS_OBJECT = (
    r"(?i)\bobject\b|\bmap\b|\bdict|\bstring\b|\bstr\b|untagged|unmarshal|named|specific"
    r"|particular|toolChoice\.tool|\brequired\b.{0,30}\b(none|auto|any)\b|\b(none"
    r"|auto)\b.{0,30}\brequired\b|one of|input should be"
)
_NOT_FORCED = (
    r"(?i)unsupported|not (\w+ )?(support|accept|allow|available|valid|implement|permit|compatib)"
    r"|n['\u2019]t (\w+ )?(support|accept|allow|work)|unavailable|incompatib|cannot|can['\u2019]t"
    r"|may not"
    r"|only|must be|must either|should be|invalid|unknown|no endpoints|rejected|disallow|expected"
    r"|input should be|仅支持|不支持|not set|remove|force|variant"
)
# A tool that is missing, or was not called, says nothing about the form of the choice.
_NO_SUCH_TOOL = (
    r"(?i)no (function|tool) (named|called|with)|not (found|in|among|present|defined|specified"
    r"|listed|included|one of the (provided|given|available)) ?(in|among)?.{0,20}\btools\b"
    r"|does not match any|name.{0,40}(not found|unknown|does not exist)|\btools\b.{0,30}\b(must"
    r"|required|missing|empty|specified|provided|set)\b|not declared|function\.name|not called"
    r"|did not call"
    r"|did not match(?! any variant)|at least one tool|no tool was called|failed_generation"
    r"|tool_use_failed"
)


def about_choice(refusal: Refusal, *patterns: str) -> bool:
    """Whether the words are about the choice among tools."""
    return any(
        (c.path[:1] == ("tool_choice",) or re.search(_CHOICE, c.words))
        and not re.search(_NO_SUCH_TOOL, c.words)
        and all(re.search(pattern, c.words) for pattern in patterns)
        for c in refusal.complaints
    )


def takes_words_only(refusal: Refusal) -> bool:
    """No object as the choice among tools."""
    choice = refusal.body.get("tool_choice")
    if not isinstance(choice, dict) or refusal.known.tool_choice != "named":
        return False
    # A server that forces nothing while it thinks would refuse "required" as well.
    no_forcing = refusal.says(r"(?i)thinking|reasoning")
    return not no_forcing and about_choice(refusal, _NOT_AS_OBJECT, _NOT_FORCED)


def takes_no_forcing(refusal: Refusal) -> bool:
    """No forced tool."""
    choice = refusal.body.get("tool_choice")
    return (choice in ("required", "any") or isinstance(choice, dict)) and about_choice(
        refusal, _NOT_FORCED
    )


_THE_OTHER_DIALECT = (
    r"(?i)\b(use|using|via|through|with|in|to|call|try|switch(ing)? to|only|requires?|need|move"
    r"|migrate|available)\b.{0,40}((?<!\w)/?v\d/responses\b|/responses\b"
    r"|\bresponses[ -](api|endpoint|dialect)\b)"
    r"|\bresponses[ -](api|endpoint)\b.{0,30}\b(only|instead|required)\b"
)
# A server that does not have the other dialect may name it, too.
_NOT_THERE = (
    r"(?i)\b(not|n['\u2019]t|un)[ -]?(be )?(support|allow|available|implement|enabl|exist|found)\w*"
    r".{0,24}(/responses\b|\bresponses[ -](api|endpoint))"
)


def wants_responses(refusal: Refusal) -> bool:
    """The other dialect, by the server's own words."""
    return refusal.known.dialect == "auto" and any(
        re.search(_THE_OTHER_DIALECT, c.words) and not re.search(_NOT_THERE, c.words)
        for c in refusal.complaints
    )


def wants_reasoning_of_turn(refusal: Refusal) -> bool:
    """Reasoning of this turn's calls."""
    return refusal.known.send_reasoning == "auto" and wants_reasoning(refusal)


def wants_all_reasoning(refusal: Refusal) -> bool:
    """Reasoning of all turns."""
    return refusal.known.send_reasoning == "tool_turns" and wants_reasoning(refusal)
