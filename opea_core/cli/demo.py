"""``opea demo``: a chat, a stream, tools, embeddings, and many calls while a server fails.

Without ``OPEA_API_URL`` scripted servers on this computer answer; with it, that server does.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from opea_core import (
    OPEA,
    BreakerPolicy,
    ChatResponse,
    ConfigurationError,
    OPEAError,
    RequestError,
    ServerError,
    __version__,
)
from opea_core.cli.batch_demo import batch
from opea_core.cli.console import Console
from opea_core.cli.flood import Flood
from opea_core.testing import ScriptedServer, Wait, stream

MODEL = "scripted-model"
PLACES = 8
_LATENCY = 0.02
_LABELS = ("north", "south", "west")
_TYPING = 0.03
_OPEN = 0.1
_RECOVERY = 3.0
_TURNS = 4
_STREAMED = (
    "This is the scripted model again. These words arrive one by one, as a model writes them."
)

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city", "examples": ["Bern"]}
            },
            "required": ["city"],
        },
    },
}


@dataclass
class Stage:
    """What the parts of the demo work with."""

    console: Console
    connect: Callable[[], OPEA]
    """Makes an OPEA object for the servers of this demo."""
    opea: OPEA
    calls: int
    servers: Mapping[str, ScriptedServer] = field(default_factory=dict)
    """The scripted servers by their labels; none if a server of the user's answers."""
    options: dict[str, Any] = field(default_factory=dict)
    """For every call: the model, if it had to be asked for."""


def run(calls: int = 200) -> None:
    """The whole demo. Raises what goes wrong."""
    console = Console()
    console.say(f"OPEA demo, opea-core {__version__}")
    with ExitStack() as stack:
        stage = (
            _real(console, stack, calls)
            if os.environ.get("OPEA_API_URL")
            else _scripted(console, stack, calls)
        )
        for number, (title, part) in enumerate((*PARTS, *_framework_parts()), 1):
            console.heading(f"{number}. {title}")
            part(stage)


def _scripted(console: Console, stack: ExitStack, calls: int) -> Stage:
    console.say(
        "A scripted model on this computer answers, no real one."
        " Set OPEA_API_URL to use a server of yours."
    )
    servers = {
        label: stack.enter_context(ScriptedServer(model=MODEL, latency=_LATENCY))
        for label in _LABELS
    }
    endpoints = [
        {"base_url": server.url, "label": label, "trust_env": False}
        for label, server in servers.items()
    ]
    connect = partial(
        OPEA,
        endpoints=endpoints,
        model=MODEL,
        max_concurrent=PLACES,
        breaker=BreakerPolicy(break_duration=_OPEN),
    )
    return Stage(console, connect, stack.enter_context(connect()), calls, servers)


def _real(console: Console, stack: ExitStack, calls: int) -> Stage:
    connect = partial(OPEA, max_concurrent=PLACES, recovery_wait=_RECOVERY)
    opea = stack.enter_context(connect())
    stage = Stage(console, connect, opea, calls)
    console.say(f"Using the server at {opea.endpoints[0].url.root} (from OPEA_API_URL).")
    if not os.environ.get("OPEA_MODEL"):
        model = stage.options["model"] = _only_model(opea)
        console.say(f"It has one model, {model}.")
    return stage


def _only_model(opea: OPEA) -> str:
    names = [model.id for model in opea.models()]
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    raise ConfigurationError(
        f"The server lists {len(names)} models: {listed or 'none'}.",
        "Set OPEA_MODEL to the one to use.",
    )


# --- the parts


def chat(stage: Stage) -> None:
    """One question, one answer."""
    response = stage.opea.chat("What is a circuit breaker?", max_tokens=200, **stage.options)
    stage.console.fact("answer", response.content)
    _facts(stage, response)


def streaming(stage: Stage) -> None:
    """An answer as it is written."""
    label = _LABELS[0]
    pinned: dict[str, Any] = {}
    if stage.servers:
        words = [piece for word in _STREAMED.split() for piece in (f"{word} ", Wait(_TYPING))]
        usage = {"prompt_tokens": 5, "completion_tokens": len(words) // 2}
        stage.servers[label].script(stream(words, usage=usage))
        pinned["endpoint"] = label
    stage.console.begin("answer")
    with stage.opea.stream_chat(
        "Tell me something short.", max_tokens=200, **pinned, **stage.options
    ) as chunks:
        for chunk in chunks:
            stage.console.write(chunk.content)
    stage.console.end()
    _facts(stage, chunks.response)


def tools(stage: Stage) -> None:
    """The model calls a function, gets its result and answers."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Bern?"}]
    stage.console.fact("question", messages[0]["content"])
    with _optional(stage):
        response = stage.opea.chat(messages, tools=[WEATHER], **stage.options)
        for _ in range(_TURNS):
            if not response.tool_calls:
                break
            messages.append(response.raw["choices"][0]["message"])
            for call in response.tool_calls:
                result = weather(**call.args)
                stage.console.fact("call", f"{call.name}({call.arguments}) -> {result}")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
            response = stage.opea.chat(messages, tools=[WEATHER], **stage.options)
        stage.console.fact("answer", response.content)


def weather(city: str = "somewhere", **_: Any) -> str:
    """The tool: an invented weather."""
    return json.dumps({"city": city, "degrees": 18, "sky": "clear"}, ensure_ascii=False)


def embeddings(stage: Stage) -> None:
    """Texts become vectors."""
    texts = ["a red apple", "a green apple", "a fast train"]
    with _optional(stage):
        response = stage.opea.embed(texts, **stage.options)
        start = ", ".join(f"{number:.3f}" for number in response.embeddings[0][:4])
        stage.console.fact("texts", ", ".join(texts))
        stage.console.fact(
            "vectors",
            f"{len(response.embeddings)} of {response.dimensions} numbers,"
            f" the first [{start}, ...]",
        )
        stage.console.fact("endpoint", response.endpoint)


def many(stage: Stage) -> None:
    """Many calls at once; with scripted servers, one of them dies in the middle."""
    label = _LABELS[1]
    with stage.connect() as opea:
        count, places = len(opea.endpoints), opea.endpoints[0].max_concurrent
        where = (
            f"over {count} endpoints, at most {places} at a time on each"
            if count > 1
            else f"to one endpoint, at most {places} at a time"
        )
        failure = f"; {label} dies and comes back" if stage.servers else ""
        stage.console.say(f"{stage.calls} calls at once {where}{failure}.")
        asyncio.run(
            Flood(stage.console, opea, stage.servers.get(label), label).run(
                stage.calls, stage.options
            )
        )


PARTS: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("Chat", chat),
    ("Stream", streaming),
    ("Tools", tools),
    ("Embeddings", embeddings),
    ("Many calls", many),
    ("A batch that is killed", batch),
)


def _framework_parts() -> list[tuple[str, Callable[[Stage], None]]]:
    """What the adapters show, found by their entry points: the core knows no framework."""
    return [
        (entry.name, partial(_framework, entry))
        for entry in sorted(entry_points(group="opea_core.demo"))
    ]


def _framework(entry: EntryPoint, stage: Stage) -> None:
    try:
        show = entry.load()
    except ImportError as error:
        stage.console.fact("skipped", error)
        return
    with _optional(stage):
        opea = stage.opea
        if stage.options:
            opea.discover()
        show(opea, stage.console.fact)


def _facts(stage: Stage, response: ChatResponse | None) -> None:
    if response is None:
        return
    usage = response.usage
    if response.reasoning:
        stage.console.fact("reasoning", f"{len(response.reasoning)} characters (not shown)")
    if usage is not None:
        stage.console.fact("tokens", f"{usage.prompt_tokens} in, {usage.completion_tokens} out")
    stage.console.fact(
        "endpoint",
        f"{response.endpoint}, model {response.model}, {response.meta.elapsed * 1000:.0f} ms",
    )


@contextmanager
def _optional(stage: Stage) -> Iterator[None]:
    """A part that not every server has; the scripted ones do."""
    try:
        yield
    except (RequestError, ServerError) as error:
        if stage.servers:
            raise
        stage.console.fact("skipped", f"This server does not do that: {_first_line(error)}")


def _first_line(error: OPEAError) -> str:
    return str(error).splitlines()[0]
