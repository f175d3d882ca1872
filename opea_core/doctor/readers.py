"""How the answers to the probes are read: whether what was asked for was done."""

from __future__ import annotations

import re
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.doctor import samples
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Outcome, Row
from opea_core.types import Json
from opea_core.wire import jsontext
from opea_core.wire.refusal import adapt

SHORT = 5
"""Tokens that a limited answer may have."""
BEFORE_NAMES = 35
"""So many requests may have been made before a server is asked for its name: others matter more."""
BATCH = 128
"""Texts that are embedded at once."""
_COUNTED_DIFFERENTLY = 3
_PICTURE_TOKENS = 40
"""More than the words beside the picture, and fewer than any model makes of a picture."""


_SAY_NOTHING = re.compile(
    r"(?i)^(uvicorn|gunicorn|hypercorn|granian|nginx|cloudflare|envoy|apache)"
)


def nothing(known: Known, outcome: Outcome) -> list[Row]:
    """No row: what came is read later, with what else there is."""
    return []


def is_nameless(known: Known) -> bool:
    """Whether the headers of answers do not say what stands behind the address."""
    outcome = known.outcomes.get("chat")
    headers = {} if outcome is None else outcome.headers
    named = headers.get("server") or headers.get("x-litellm-version") or "nginx"
    return _SAY_NOTHING.match(named) is not None and known.requests < BEFORE_NAMES


def may_be_the_limit(known: Known) -> bool:
    """Whether a chat was refused for what it says, and not for its key or its address."""
    return known.outcomes["chat"].status in (400, 422, 500, None)


def chat(known: Known, outcome: Outcome) -> list[Row]:
    """A plain answer: the chat, its usage, its limit, and whether the model reasons by itself."""
    response = outcome.response
    usage = response.usage
    rows = [
        Row("chat", "yes"),
        Row("usage", "yes" if usage and usage.total_tokens else "ignored"),
    ]
    if known.limit_field is not None:
        rows.append(limit(known.limit_field, outcome))
    if known.limit_field != "max_tokens":
        refusal = known.outcomes["chat"]
        rows.append(Row("max_tokens", "no", refusal.words))
    if known.limit_field is None:
        rows.append(Row("max_completion_tokens", "no", known.outcomes["chat"].words))
    if response.reasoning or "<think>" in response.content:
        rows.append(_by_itself(response.choices[0].reasoning_field, response.content))
    return rows


def _by_itself(name: str | None, content: str) -> Row:
    where = "as <think> in the text" if "<think>" in content else f"in {name}"
    return Row("reasoning", "yes", f"always, {where}")


def limit(name: str, outcome: Outcome) -> Row:
    """Whether an answer is as short as its limit says."""
    response = outcome.response
    if response.finish_reason == "length":
        return Row(name, "yes")
    tokens = response.usage.completion_tokens if response.usage else None
    written = len(response.content.split())
    if (tokens or 0) > SHORT + _COUNTED_DIFFERENTLY or written > 2 * SHORT:
        return Row(name, "ignored", f"{tokens or written} tokens came, {SHORT} were allowed")
    return Row(name, "unknown", "the answer ended by itself")


def stream(known: Known, outcome: Outcome) -> list[Row]:
    """Whether an answer came in pieces and with its usage, and how fast."""
    response = outcome.response
    streamed = outcome.pieces > 1 or "event-stream" in response.headers.get("content-type", "")
    rows = [Row("stream", "yes" if streamed else "ignored", "" if streamed else "in one piece")]
    if response.usage is not None and response.usage.total_tokens:
        rows.append(Row("usage in streams", "yes"))
    else:
        rows.append(Row("usage in streams", "ignored"))
    if outcome.first is not None:
        rows.append(Row("time to first token", "yes", f"{outcome.first:.2f} s"))
        writing = outcome.seconds - outcome.first
        tokens = (response.usage.completion_tokens if response.usage else None) or outcome.pieces
        if streamed and tokens > 1 and writing > 0:
            rows.append(Row("tokens per second", "yes", f"{tokens / writing:,.0f}"))
    return rows


def tools(known: Known, outcome: Outcome) -> list[Row]:
    """Whether tools are called, and both at once where both are needed."""
    first = a_call("tools", outcome)
    if first.value != "yes":
        return [first]
    count = len(outcome.response.tool_calls)
    if count > 1:
        return [first, Row("parallel tool calls", "yes")]
    return [first, Row("parallel tool calls", "ignored", "one call came where two were asked for")]


def a_call(name: str, outcome: Outcome, wanted: str | None = None) -> Row:
    """Whether a tool was called, and the wanted one."""
    calls = outcome.response.tool_calls
    if any(wanted in (None, call.name) for call in calls):
        return Row(name, "yes")
    if calls:
        return Row(name, "ignored", f"{calls[0].name} was called, not {wanted}")
    if outcome.response.invalid_tool_calls:
        return Row(name, "unknown", "a call came that cannot be read")
    if outcome.was_cut:
        return Row(name, "unknown", "the answer was cut off before a call")
    return Row(name, "ignored", "no tool was called")


def _parsed(text: str) -> Any:
    try:
        return jsontext.decode(text.strip().encode())
    except ValueError:
        return None


def schema(name: str, outcome: Outcome) -> Row:
    """Whether an answer is of the schema, which nobody writes by chance."""
    if samples.keeps_schema(_parsed(outcome.response.content)):
        return Row(name, "yes")
    if outcome.response.tool_calls:
        return Row(name, "yes", "a tool was called, as the model may choose")
    if outcome.was_cut:
        return Row(name, "unknown", "the answer was cut off")
    return Row(name, "ignored", "the answer is not of the schema")


def json_object(outcome: Outcome) -> Row:
    """Whether an answer is JSON, though its question wants none."""
    if isinstance(_parsed(outcome.response.content), dict):
        return Row("json_object", "yes")
    if outcome.was_cut and outcome.response.content.lstrip().startswith("{"):
        return Row("json_object", "yes", "the answer was cut off")
    return Row("json_object", "ignored", "the answer is no JSON object")


def reasoning(known: Known, outcome: Outcome, by: Json) -> list[Row]:
    """Whether the model reasons when it is told to, and under which name that comes."""
    choice = outcome.response.choices[0]
    if not (choice.reasoning or "<think>" in choice.content):
        return [Row("reasoning", "ignored", "none came")]
    known.thinks_by = by
    field = choice.reasoning_field or "<think>"
    return [Row("reasoning", "yes", f"in {field}, by {next(iter(by))}")]


def reasoning_name(known: Known) -> str | None:
    """The field in which reasoning comes."""
    for name in ("reasoning by the template", "reasoning", "chat"):
        outcome = known.outcomes.get(name)
        if outcome is not None and outcome.response.choices[0].reasoning_field:
            return outcome.response.choices[0].reasoning_field
    return None


def tools_with_reasoning(known: Known, outcome: Outcome) -> list[Row]:
    """Whether a call comes together with the reasoning that led to it."""
    row = a_call("tools with reasoning", outcome)
    if row.value == "yes" and not outcome.response.reasoning:
        row = Row("tools with reasoning", "ignored", "a call came, and no reasoning")
    return [row]


def learned(outcome: Outcome) -> Capabilities | None:
    """What the client would make of a refusal; None if it makes nothing of it."""
    if outcome.error is None or not outcome.ask.body:
        return None
    adapted = adapt(outcome.ask.body, outcome.error.body or "", Capabilities(), any_form=True)
    return None if adapted is None else adapted.capabilities


def wants_reasoning(known: Known) -> bool:
    """Whether a conversation was refused because its reasoning is missing."""
    outcome = known.outcomes.get("tool results")
    changes = None if outcome is None else learned(outcome)
    return changes is not None and changes.send_reasoning == "tool_turns"


def reasoning_back(known: Known, outcome: Outcome) -> list[Row]:
    """What becomes of reasoning that is sent back."""
    before = known.outcomes["tool results"]
    if wants_reasoning(known):
        wanted = "it must be sent back with tool calls"
        return [
            Row("reasoning sent back", "yes", wanted),
            Row("tool results", "yes", wanted),
            Row("empty content", "yes"),
        ]
    without = before if before.error is None else known.outcomes["null content"]
    read, plain = outcome.prompt_tokens, without.prompt_tokens
    if read is None or plain is None:
        return [
            Row("reasoning sent back", "unknown", "it is taken; whether it is read is not said")
        ]
    if read - plain > samples.INSTRUCTION_TOKENS // 2:
        return [Row("reasoning sent back", "yes", "it is taken and read")]
    return [Row("reasoning sent back", "ignored", "it is taken and not read")]


def null_content(known: Known, outcome: Outcome) -> list[Row]:
    """A conversation is taken with null where an empty text was refused."""
    words = known.outcomes["tool results"].words
    return [Row("tool results", "yes"), Row("empty content", "no", words)]


def taken_content(known: Known) -> str | None:
    """What stands beside a tool call for the server to take it."""
    return None if known.value("empty content") == "no" else ""


def thought(known: Known) -> Json:
    """The reasoning that must stand beside a tool call, if any must."""
    if not wants_reasoning(known):
        return {}
    return {reasoning_name(known) or "reasoning_content": samples.THOUGHT}


def read_by_model(name: str, known: Known, outcome: Outcome) -> Row:
    """Whether a further instruction reached the model: by its obedience, or by what was counted."""
    if samples.WORD in outcome.response.content.lower():
        return Row(name, "yes", "and obeyed")
    read, plain = outcome.prompt_tokens, known.outcomes["chat"].prompt_tokens
    if not read or not plain:
        return Row(name, "unknown", "it is taken; whether it is read is not said")
    if read - plain >= samples.INSTRUCTION_TOKENS:
        return Row(name, "yes")
    return Row(name, "ignored", "its text did not reach the model")


def images(known: Known, outcome: Outcome) -> Row:
    """Whether a picture was seen."""
    if samples.NUMBER in outcome.response.content:
        return Row("images", "yes")
    read = outcome.prompt_tokens
    if read and read < _PICTURE_TOKENS:
        return Row("images", "ignored", "the picture did not reach the model")
    return Row("images", "unknown", "it is taken; the answer does not show that it was seen")


def logprobs(outcome: Outcome) -> Row:
    """Whether they came."""
    return Row("logprobs", "yes" if outcome.response.logprobs else "ignored")


def several(outcome: Outcome) -> Row:
    """Whether two answers came where two were asked for."""
    count = len(outcome.response.choices)
    return Row("n", "yes") if count > 1 else Row("n", "ignored", "one answer came, two were wanted")


def stop(known: Known, outcome: Outcome) -> Row:
    """Whether an answer ends before a letter that every text has."""
    content = outcome.response.content
    if "e" in content.rstrip("e"):
        return Row("stop", "ignored", "the text goes on behind it")
    if "e" in _some_text(known) and outcome.response.finish_reason != "length":
        return Row("stop", "yes")
    return Row("stop", "unknown", "no answer has the letter")


def _some_text(known: Known) -> str:
    names = ("chat", "usage in streams", "n", "max_completion_tokens")
    found = (known.outcomes.get(name) for name in names)
    return "".join(outcome.response.content for outcome in found if outcome is not None)


def seed(known: Known, outcome: Outcome) -> Row:
    """Whether the same seed gives the same answer, where answers differ without one."""
    first, second = known.outcomes["seed"].response.content, outcome.response.content
    if first != second:
        return Row("seed", "ignored", "two answers with one seed differ")
    if any(_differ(first, other) for other in _free_answers(known)):
        return Row("seed", "yes")
    return Row("seed", "unknown", "answers are equal without it, too")


def _free_answers(known: Known) -> list[str]:
    """Answers to the same question without a seed, each as long as it came."""
    found = (known.outcomes.get(name) for name in ("chat", "usage in streams", "stream", "n"))
    choices = [choice for one in found if one is not None for choice in one.response.choices]
    return [choice.content for choice in choices if choice.content]


def _differ(one: str, other: str) -> bool:
    """Whether two answers differ where both have come."""
    length = min(len(one.strip()), len(other.strip()))
    return one.strip()[:length] != other.strip()[:length]


def _vectors(outcome: Outcome) -> list[Any]:
    data = outcome.document.get("data")
    entries = data if isinstance(data, list) else []
    return [entry.get("embedding") for entry in entries if isinstance(entry, dict)]


def embeddings(known: Known, outcome: Outcome) -> list[Row]:
    """Whether a vector came, and how long it is."""
    vectors = _vectors(outcome)
    if vectors and isinstance(vectors[0], list) and vectors[0]:
        return [Row("embeddings", "yes", f"{len(vectors[0])} numbers")]
    return [Row("embeddings", "no", "the answer holds no vector of numbers")]


def base64(outcome: Outcome) -> Row:
    """Whether a vector came packed."""
    vectors = _vectors(outcome)
    is_packed = bool(vectors) and isinstance(vectors[0], str)
    detail = "" if is_packed else "numbers came"
    return Row("embeddings base64", "yes" if is_packed else "ignored", detail)


def fewer(known: Known) -> int:
    """Half of the numbers that a vector has."""
    vectors = _vectors(known.outcomes["embeddings"])
    return max(1, len(vectors[0]) // 2)


def dimensions(known: Known, outcome: Outcome) -> Row:
    """Whether a shorter vector came."""
    vectors = _vectors(outcome)
    length = len(vectors[0]) if vectors and isinstance(vectors[0], list) else 0
    if length == fewer(known):
        return Row("embedding dimensions", "yes")
    return Row("embedding dimensions", "ignored", f"{length} numbers came")


def batch(outcome: Outcome) -> Row:
    """Whether so many texts are embedded at once."""
    count = len(_vectors(outcome))
    if count == BATCH:
        return Row("embedding batch", "yes", f"{BATCH} texts at once")
    return Row("embedding batch", "ignored", f"{count} vectors came for {BATCH} texts")


def batch_limit(words: str) -> int | None:
    """The number of texts that a refusal names as the most."""
    found = re.search(
        r"(?i)(?:(?:batch|at most|up to|no more than|<=)\D{0,40}|(?:max|limit)\D{0,60})"
        r"(\d{1,4})\b",
        words,
    )
    number = int(found[1]) if found else 0
    return number if 0 < number < BATCH else None


def has(name: str, outcome: Outcome, *keys: str, detail: str = "") -> Row:
    """Whether a document is what such an endpoint answers."""
    found = any(outcome.document.get(key) not in (None, []) for key in keys)
    if found:
        return Row(name, "yes", detail)
    return Row(name, "no", "the answer is of another form")
