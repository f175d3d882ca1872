"""The probes as data: what each asks, when, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from opea_core.doctor import readers, samples
from opea_core.doctor.known import Known
from opea_core.doctor.outcome import Ask, Outcome, Row
from opea_core.doctor.samples import COUNT, INSTRUCTION, NAMED, ONE_CITY, PLAIN, TIME, WEATHER
from opea_core.types import Json


def _always(known: Known) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to the server."""

    name: str
    """Also the row that says no if it is refused, unless ``rows`` names others."""
    ask: Callable[[Known], Ask]
    read: Callable[[Known, Outcome], Iterable[Row]]
    """The rows that an answer gives."""
    when: Callable[[Known], bool] = _always
    rows: tuple[str, ...] | None = None
    """The rows that say no if it is refused; those that have been found already stay."""

    @property
    def refused(self) -> tuple[str, ...]:
        """What is not there if it is refused."""
        return (self.name,) if self.rows is None else self.rows


def _chats(known: Known) -> bool:
    return known.is_yes("chat")


def _has_tools(known: Known) -> bool:
    return _chats(known) and known.value("tools") in ("yes", "ignored")


def _user(*parts: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "text", "text": part} for part in parts]}]


def _with_field(field: str | None) -> Callable[[Known], Ask]:
    def ask(known: Known) -> Ask:
        known.limit_field = field
        return known.chat(COUNT, readers.SHORT)

    return ask


def _limit_is_refused(known: Known) -> bool:
    """Whether the chat was refused, and perhaps only for the name of its limit."""
    return known.value("chat") == "no" and readers.may_be_the_limit(known)


CHAT: tuple[Probe, ...] = (
    Probe("chat", _with_field("max_tokens"), readers.chat),
    Probe("chat", _with_field("max_completion_tokens"), readers.chat, _limit_is_refused),
    Probe("chat", _with_field(None), readers.chat, _limit_is_refused),
    Probe(
        "max_completion_tokens",
        lambda k: Ask(
            "chat",
            f"{k.base}/chat/completions",
            {
                "model": k.model,
                "messages": [{"role": "user", "content": COUNT}],
                "max_completion_tokens": readers.SHORT,
            },
        ),
        lambda k, o: [readers.limit("max_completion_tokens", o)],
        lambda k: _chats(k) and k.limit_field == "max_tokens",
    ),
    Probe(
        "usage in streams",
        lambda k: k.chat(COUNT, 40, stream=True, stream_options={"include_usage": True}),
        readers.stream,
        _chats,
    ),
    Probe(
        "stream",
        lambda k: k.chat(COUNT, 40, stream=True),
        lambda k, o: [row for row in readers.stream(k, o) if row.name != "usage in streams"],
        lambda k: _chats(k) and k.value("stream") is None,
    ),
)

TOOLS: tuple[Probe, ...] = (
    Probe(
        "tools", lambda k: k.chat(samples.TWO_CITIES, 250, tools=[WEATHER]), readers.tools, _chats
    ),
    Probe(
        "tools in streams",
        lambda k: k.chat(ONE_CITY, 250, stream=True, tools=[WEATHER]),
        lambda k, o: [readers.a_call("tools in streams", o)],
        lambda k: _has_tools(k) and k.is_yes("stream"),
    ),
    Probe(
        "tool_choice required",
        lambda k: k.chat(PLAIN, 250, tools=[WEATHER], tool_choice="required"),
        lambda k, o: [readers.a_call("tool_choice required", o)],
        _has_tools,
    ),
    Probe(
        "tool_choice named",
        lambda k: k.chat(ONE_CITY, 250, tools=[WEATHER, TIME], tool_choice=NAMED),
        lambda k, o: [readers.a_call("tool_choice named", o, "get_local_time")],
        _has_tools,
    ),
)

FORMS: tuple[Probe, ...] = (
    Probe(
        "json_schema",
        lambda k: k.chat(PLAIN, 200, response_format=samples.JSON_SCHEMA),
        lambda k, o: [readers.schema("json_schema", o)],
        _chats,
    ),
    Probe(
        "json_object",
        lambda k: k.chat(
            f"{PLAIN} Do not write JSON.", 250, response_format={"type": "json_object"}
        ),
        lambda k, o: [readers.json_object(o)],
        _chats,
    ),
    Probe(
        "tools and json_schema",
        lambda k: k.chat(PLAIN, 250, tools=[WEATHER], response_format=samples.JSON_SCHEMA),
        lambda k, o: [readers.schema("tools and json_schema", o)],
        lambda k: _has_tools(k) and k.value("json_schema") in ("yes", "ignored"),
    ),
)

_EFFORT: Json = {"reasoning_effort": "low"}
_TEMPLATE: Json = {"chat_template_kwargs": {"enable_thinking": True}}


def _thinks(known: Known) -> bool:
    return known.is_yes("reasoning")


def _history_is_refused(known: Known) -> bool:
    is_refused = _has_tools(known) and known.value("tool results") == "no"
    return is_refused and not readers.wants_reasoning(known)


def _with_reasoning(known: Known) -> Ask:
    name = readers.reasoning_name(known) or "reasoning_content"
    content = readers.taken_content(known)
    messages = samples.history(content, samples.SHORT_ID, **{name: samples.THOUGHT})
    return known.chat(messages, 30, tools=[WEATHER], **known.thinks_by)


TURNS: tuple[Probe, ...] = (
    Probe(
        "reasoning",
        lambda k: k.chat(PLAIN, 100, **_EFFORT),
        lambda k, o: readers.reasoning(k, o, _EFFORT),
        lambda k: _chats(k) and k.value("reasoning") is None,
    ),
    Probe(
        "reasoning by the template",
        lambda k: k.chat(PLAIN, 800, **_TEMPLATE),
        lambda k, o: readers.reasoning(k, o, _TEMPLATE),
        lambda k: _chats(k) and not k.is_yes("reasoning"),
        rows=("reasoning",),
    ),
    Probe(
        "tools with reasoning",
        lambda k: k.chat(ONE_CITY, 250, tools=[WEATHER], **k.thinks_by),
        readers.tools_with_reasoning,
        lambda k: k.is_yes("tools") and _thinks(k),
    ),
    Probe(
        "tool results",
        lambda k: k.chat(samples.history("", samples.SHORT_ID), 30, tools=[WEATHER], **k.thinks_by),
        lambda k, o: [Row("tool results", "yes"), Row("empty content", "yes")],
        _has_tools,
    ),
    Probe(
        "null content",
        lambda k: k.chat(
            samples.history(None, samples.SHORT_ID), 30, tools=[WEATHER], **k.thinks_by
        ),
        readers.null_content,
        _history_is_refused,
        rows=("tool results",),
    ),
    Probe(
        "reasoning sent back",
        _with_reasoning,
        readers.reasoning_back,
        lambda k: (k.is_yes("tool results") and _thinks(k)) or readers.wants_reasoning(k),
    ),
    Probe(
        "long tool ids",
        lambda k: k.chat(
            samples.history(readers.taken_content(k), samples.LONG_ID, **readers.thought(k)),
            30,
            tools=[WEATHER],
            **k.thinks_by,
        ),
        lambda k, o: [Row("long tool ids", "yes")],
        lambda k: k.is_yes("tool results"),
    ),
)

MESSAGES: tuple[Probe, ...] = (
    Probe(
        "developer role",
        lambda k: k.chat(
            [{"role": "developer", "content": INSTRUCTION}, {"role": "user", "content": COUNT}], 12
        ),
        lambda k, o: [readers.read_by_model("developer role", k, o)],
        _chats,
    ),
    Probe(
        "late system",
        lambda k: k.chat(
            [{"role": "user", "content": COUNT}, {"role": "system", "content": INSTRUCTION}], 12
        ),
        lambda k, o: [readers.read_by_model("late system", k, o)],
        _chats,
    ),
    Probe(
        "content as a list",
        lambda k: k.chat(_user(COUNT, INSTRUCTION), 12),
        lambda k, o: [readers.read_by_model("content as a list", k, o)],
        _chats,
    ),
    Probe(
        "images",
        lambda k: k.chat(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Which number does the picture show?"},
                        {"type": "image_url", "image_url": {"url": samples.picture()}},
                    ],
                }
            ],
            60,
        ),
        lambda k, o: [readers.images(k, o)],
        _chats,
    ),
)

SAMPLING: tuple[Probe, ...] = (
    Probe(
        "logprobs",
        lambda k: k.chat(PLAIN, 4, logprobs=True, top_logprobs=2),
        lambda k, o: [readers.logprobs(o)],
        _chats,
    ),
    Probe("n", lambda k: k.chat(COUNT, 24, n=2), lambda k, o: [readers.several(o)], _chats),
    Probe(
        "stop",
        lambda k: k.chat(COUNT, 24, stop=["e"]),
        lambda k, o: [readers.stop(k, o)],
        _chats,
    ),
    Probe(
        "seed",
        lambda k: k.chat(COUNT, 24, seed=11),
        lambda k, o: [],
        _chats,
    ),
    Probe(
        "the seed again",
        lambda k: k.chat(COUNT, 24, seed=11),
        lambda k, o: [readers.seed(k, o)],
        lambda k: _chats(k) and k.value("seed") is None,
        rows=("seed",),
    ),
)


def _embeddings(known: Known, inputs: object, **fields: object) -> Ask:
    return known.post(f"{known.base}/embeddings", {"input": inputs, **fields})


def _embeds(known: Known) -> bool:
    return known.is_yes("embeddings")


OTHERS: tuple[Probe, ...] = (
    Probe("embeddings", lambda k: _embeddings(k, ["one"]), readers.embeddings),
    Probe(
        "embeddings base64",
        lambda k: _embeddings(k, ["one"], encoding_format="base64"),
        lambda k, o: [readers.base64(o)],
        _embeds,
    ),
    Probe(
        "embedding dimensions",
        lambda k: _embeddings(k, ["one"], dimensions=readers.fewer(k)),
        lambda k, o: [readers.dimensions(k, o)],
        _embeds,
    ),
    Probe(
        "embedding batch",
        lambda k: _embeddings(k, [f"text {number}" for number in range(readers.BATCH)]),
        lambda k, o: [readers.batch(o)],
        _embeds,
    ),
    Probe(
        "completions",
        lambda k: k.post(f"{k.base}/completions", {"prompt": "One, two,", "max_tokens": 4}),
        lambda k, o: [readers.has("completions", o, "choices")],
    ),
    Probe(
        "responses",
        lambda k: k.post(f"{k.base}/responses", {"input": PLAIN, "max_output_tokens": 16}),
        lambda k, o: [readers.has("responses", o, "output")],
        _chats,
    ),
    Probe(
        "rerank",
        lambda k: k.post(f"{k.base}/rerank", {"query": "red", "documents": ["red", "blue"]}),
        lambda k, o: [readers.has("rerank", o, "results", "data")],
    ),
    Probe(
        "rerank beside v1",
        lambda k: k.post(f"{k.root}/rerank", {"query": "red", "documents": ["red", "blue"]}),
        lambda k, o: [readers.has("rerank", o, "results", "data", detail="beside /v1")],
        lambda k: k.root != k.base and k.status("rerank") == 404,
        rows=("rerank",),
    ),
    Probe(
        "tokenize",
        lambda k: k.post(f"{k.root}/tokenize", {"prompt": "one two", "content": "one two"}),
        lambda k, o: [readers.has("tokenize", o, "tokens", "count")],
    ),
)


def _beside_v1(name: str, known: Known) -> Ask:
    return known.get(f"{known.root}/{name}")


ERRORS: tuple[Probe, ...] = (
    Probe(
        "checks the key",
        lambda k: Ask("models", f"{k.base}/models", method="GET", wrong_key=True),
        lambda k, o: [Row("checks the key", "ignored", "a wrong key is taken")],
        lambda k: k.is_yes("models"),
        rows=(),
    ),
    Probe(
        "checks the model's name",
        lambda k: Ask(
            "chat",
            f"{k.base}/chat/completions",
            {
                "model": "opea-no-such-model",
                "messages": [{"role": "user", "content": PLAIN}],
                **({k.limit_field: readers.SHORT} if k.limit_field else {}),
            },
        ),
        lambda k, o: [Row("checks the model's name", "ignored", "an unknown name is answered")],
        _chats,
        rows=(),
    ),
    *(
        Probe(name, partial(_beside_v1, name), readers.nothing, readers.is_nameless, rows=())
        for name in ("version", "props", "health")
    ),
)

PROBES: tuple[Probe, ...] = (
    *CHAT, *TOOLS, *FORMS, *TURNS, *MESSAGES, *SAMPLING, *OTHERS, *ERRORS,
)  # fmt: skip
"""In the order in which they are asked: what later ones need comes first."""
