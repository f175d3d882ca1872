"""The table of adaptations: what may be sent in another form, what asks for it, and what changes.

Each row is used once for a call and an endpoint, and only where the request holds what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from opea_core.wire import adaptation_forms as forms
from opea_core.wire import adaptation_rules as rules
from opea_core.wire.adaptation_rules import Refusal
from opea_core.wire.refused_fields import pattern_of
from opea_core.wire.responses.request import ENCRYPTED

_PLAIN_WORDS = frozenset({"user", "stop", "store", "n", "metadata", "strict", "include"})
"""Names that any sentence may hold as words: they count where they are marked as names."""
_ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "stop": (r"stop(ping)?[ _-]?(sequences?|words?|strings?)", "stopSequences"),
    "n": (
        r"n ?(>|=|!=) ?\d",
        (
            r"(multiple|several|more than one|a single) (\w+ )?"
            r"(choices?|completions?|candidates?|generations?)"
        ),
        "candidate_?count",
        r"[`'\"]?n[`'\"]? (is|has|must|needs)",
    ),
    "seed": ("seeds", "random_?seed", "deterministic (sampling|seeds?)"),
    "logprobs": (r"log[ -]?prob(abilitie)?s", "response_?logprobs"),
    "top_logprobs": ("top[ -]log[ -]?prob(abilitie)?s",),
    "stream_options": ("include[ _]usage",),
    "parallel_tool_calls": (
        r"parallel (tool|function)[ -]?(calls?|calling|use)", "disable_parallel_tool_use",
    ),
    "strict": (r"strict (mode|(function )?tools?|functions?|schemas?|tool (calling|use))",),
    "reasoning_effort": (
        "reasoning effort",
        r"reasoning\.effort",
        "thinking",
        r"(?<![.\]])reasoning(?!_)",
    ),
    "top_p": (r"top[ -]p", "nucleus sampling"),
    "presence_penalty": ("presence penalty", "penalt(y|ies)"),
    "frequency_penalty": ("frequency penalty", "penalt(y|ies)"),
    "user": (r"end[ -]user (id|identifier)",),
    "encoding_format": ("base64",),
}  # fmt: skip
_NAME = (
    r"[`'\"\[]name[`'\"\]](?=.{0,60}([mM]essage|role))|(?<=[.\]])name\b"
    r"|(messages?|roles?)\b.{0,60}\bname\b|\bhave a name\b|unknown field `name`"
)
"""A message's name: tools and models have names, too."""
# An answer to another question is worse than an error, so nothing else may be left out (A6).
DROPPABLE: Mapping[str, str] = {
    **{
        name: pattern_of(name, _ALSO_CALLED.get(name, ()), name in _PLAIN_WORDS)
        for name in (
            "temperature", "top_p", "top_k", "min_p", "typical_p", "presence_penalty",
            "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs",
            "n", "seed", "stop", "stream_options", "parallel_tool_calls", "strict",
            "reasoning_effort", "verbosity", "user", "metadata", "store", "service_tier",
            "prompt_cache_key", "prompt_cache_retention",
            "safety_identifier", "encoding_format", "include",
        )
    },
    "name": _NAME,
}  # fmt: skip
"""Fields that may be left out, and what they are called.

Not those that say what is asked for: messages, tools, a schema.
"""


class Adaptation(NamedTuple):
    """One thing that may be sent in another form."""

    report: str
    asked: Callable[[Refusal], bool]
    change: Mapping[str, Any]
    passes: bool = False
    """Whether it is about this conversation only, and not about what the server takes."""


Change: TypeAlias = tuple[tuple[str, ...], Mapping[str, Any], bool]
"""The names in the report, what changes, and whether it is for this call only."""


def asked_for(refusal: Refusal, done: frozenset[str]) -> Iterator[Change]:
    """Changes that a refusal asks for, the likeliest first."""
    yield from _by_table(_BEFORE_FIELDS, refusal, done)
    refused = refusal.refused(DROPPABLE)
    if forms.refuses_encrypted(refusal):  # what the caller includes may stay
        refused = [*(name for name in refused if name != "include"), ENCRYPTED]
    dropped = [name for name in refused if name not in refusal.known.dropped and name not in done]
    if dropped:
        yield tuple(dropped), {"dropped": refusal.known.dropped | set(dropped)}, False
    yield from _by_table(_TABLE, refusal, done)


def _by_table(
    table: Sequence[Adaptation], refusal: Refusal, done: frozenset[str]
) -> Iterator[Change]:
    for row in table:
        changes = any(getattr(refusal.known, name) != value for name, value in row.change.items())
        # Each row once for a call: a server that refuses everything must end in an error (A3).
        if changes and row.report not in done and row.asked(refusal):
            yield (row.report,), row.change, row.passes


_BEFORE_FIELDS: tuple[Adaptation, ...] = (
    Adaptation("chat/completions -> responses", forms.wants_responses, {"dialect": "responses"}),
    Adaptation(
        "reasoning is not sent", forms.refuses_signature, {"send_reasoning": "never"}, passes=True
    ),
    Adaptation("reasoning is not sent", forms.refuses_reasoning, {"send_reasoning": "never"}),
    Adaptation(
        "send_reasoning -> tool_turns",
        forms.wants_reasoning_of_turn,
        {"send_reasoning": "tool_turns"},
    ),
    Adaptation("send_reasoning -> always", forms.wants_all_reasoning, {"send_reasoning": "always"}),
)
"""Before fields: ``reasoning`` is the name of one too, and words that name one may ask for this."""
_COMPLETION = {"max_tokens_field": "max_completion_tokens"}
# To such a template a system message between others is one more turn.
_ALTERNATE = {"alternate_roles": True, "late_system": "merge"}
_TABLE: tuple[Adaptation, ...] = (
    Adaptation("max_tokens -> max_completion_tokens", rules.limit_is("max_tokens"), _COMPLETION),
    Adaptation(
        "max_completion_tokens -> max_tokens",
        rules.limit_is("max_completion_tokens"),
        {"max_tokens_field": "max_tokens"},
    ),
    Adaptation("developer -> system", rules.developer, {"developer_role": False}),
    Adaptation("tool ids -> 9 letters", rules.wants_nine_letter_ids, {"tool_id_length": 9}),
    Adaptation("tool ids -> 40 letters", rules.wants_short_ids, {"tool_id_length": 40}),
    Adaptation("tool ids -> letters", rules.wants_plain_ids, {"tool_id_length": 24}),
    Adaptation("system -> first", rules.wants_first_system, {"late_system": "merge"}),
    Adaptation("system -> user", rules.refuses_system, {"system_role": False}),
    Adaptation("roles -> alternate", rules.wants_alternation, _ALTERNATE),
    Adaptation("content -> null", rules.refuses_empty_content, {"tool_content": "null"}),
    Adaptation("content -> absent", rules.refuses_null_as_empty, {"tool_content": "omit"}),
    Adaptation("content -> empty", rules.refuses_null_content, {"tool_content": ""}),
    Adaptation("content -> text", rules.wants_text, {"content_lists": "text"}),
    Adaptation("tool names -> letters", rules.wants_clean_names, {"tool_names": "plain"}),
    Adaptation("tool images -> user", rules.tool_media, {"tool_media": False}),
    Adaptation(
        "response_format -> tools", forms.refuses_format, {"structured_output": "function_calling"}
    ),
    Adaptation("tool_choice -> required", forms.takes_words_only, {"tool_choice": "required"}),
    Adaptation("tool_choice -> auto", forms.takes_no_forcing, {"tool_choice": "auto"}),
)
"""What is looked for in turn: the name in the report, what asks for it, and what changes."""
