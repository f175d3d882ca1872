"""Every way to ask that the fuzzer tries, which errors it may end in,
and a look at what it gave.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from fuzz_responses import handed_on
from langchain_core._api import LangChainBetaWarning
from langchain_core.documents import Document
from langchain_core.exceptions import ModelError, OutputParserException
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from langchain_opea import ChatOPEA, OPEAEmbeddings
from langchain_opea import OPEARerank as Compressor
from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import OPEA, OPEAError

Ask = Callable[[OPEA], Any]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


SCHEMA = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
FORM = {"name": "Person", "schema": SCHEMA}


@dataclass(frozen=True)
class Way:
    """One way to ask."""

    package: str
    name: str
    kind: str
    """What kind of answer it wants."""
    ask: Ask
    """Asks over an OPEA object; gives the answer, an awaitable, or something to iterate over."""
    is_async: bool = False

    def __str__(self) -> str:
        return f"{self.package} {self.name}"

    def may_raise(self, error: Exception) -> bool:
        """Whether this is an error that the package promises."""
        if self.package == "langchain":
            return (isinstance(error, OPEAError) and isinstance(error, ModelError)) or (
                isinstance(error, OutputParserException) and "form" in self.name
            )
        return isinstance(error, OPEAError)

    def run(self, opea: OPEA) -> list[Any]:
        """What a sync way gives, looked at."""
        given = self.ask(opea)
        parts = list(given) if hasattr(given, "__next__") else [given]
        return [look(part) for part in parts]

    async def arun(self, opea: OPEA) -> list[Any]:
        """What an async way gives, looked at."""
        given = self.ask(opea)
        if inspect.isawaitable(given):
            given = await given
        parts = [part async for part in given] if hasattr(given, "__anext__") else [given]
        return [look(part) for part in parts]


def look(part: Any) -> str:
    """What callers do with an answer: show it, read its texts as UTF-8."""
    for name in ("content", "text", "reasoning", "delta"):
        value = getattr(part, name, None)
        if isinstance(value, str):
            value.encode()
    if hasattr(part, "content_blocks"):
        json.dumps(
            [block for block in part.content_blocks if block["type"] != "non_standard"], default=str
        )
    return f"{part!r}"


# --- the core


def _engine() -> list[Way]:
    options: dict[str, dict[str, Any]] = {
        "": {}, " with a form": {"output_schema": FORM}, " with tools": {"tools": [TOOL], "n": 2},
    }  # fmt: skip
    found = []
    for more, given in options.items():
        found += [
            Way("core", f"chat{more}", "chat", lambda opea, given=given: opea.chat("Hi", **given)),
            Way(
                "core",
                f"achat{more}",
                "chat",
                lambda opea, given=given: opea.achat("Hi", **given),
                True,
            ),
            Way(
                "core",
                f"stream_chat{more}",
                "stream",
                lambda opea, given=given: _polled(opea, given),
            ),
            Way(
                "core",
                f"astream_chat{more}",
                "stream",
                lambda opea, given=given: opea.astream_chat("Hi", **given),
                True,
            ),
        ]
    for name, kind, args in (
        ("complete", "completion", ("Hi",)),
        ("embed", "embeddings", (["a", "b"],)),
        ("rerank", "rerank", ("a", ["a", "b"])),
        ("models", "models", ()),
        ("count_tokens", "tokens", ("a",)),
        ("discover", "models", ()),
        ("make_post_request", "chat", ({"messages": [{"role": "user", "content": "Hi"}]},)),
    ):
        found += [
            Way("core", name, kind, lambda opea, name=name, args=args: getattr(opea, name)(*args)),
            Way(
                "core",
                f"a{name}",
                kind,
                lambda opea, name=name, args=args: getattr(opea, f"a{name}")(*args),
                True,
            ),
        ]
    data = {"messages": [{"role": "user", "content": "Hi"}]}
    found += [
        Way(
            "core", "stream_complete", "completion stream", lambda opea: opea.stream_complete("Hi")
        ),
        Way("core", "make_stream_request", "stream", lambda opea: opea.make_stream_request(data)),
        Way(
            "core",
            "make_stream_request_opea",
            "stream",
            lambda opea: opea.make_stream_request_opea(None, data),
        ),
        Way("core", "a stream that is left", "stream", _left),
    ]
    return found


def _polled(opea: OPEA, given: dict[str, Any]) -> Any:
    """A stream whose answer so far is looked at now and then."""
    stream = opea.stream_chat("Hi", **given)
    for number, chunk in enumerate(stream):
        if number % 7 == 3:
            look(stream.response)
        yield chunk


def _left(opea: OPEA) -> Any:
    with opea.stream_chat("Hi") as stream:
        return [next(stream, None), next(stream, None)]


# --- LangChain


PAGES = [Document("a"), Document("b")]


def _langchain() -> list[Way]:
    def model(opea: OPEA) -> ChatOPEA:
        return ChatOPEA(client=opea)

    forms: dict[str, Callable[[OPEA], Any]] = {
        "": model,
        " with tools": lambda opea: model(opea).bind_tools([TOOL]),
        " of a form": lambda opea: model(opea).with_structured_output(Person),
        " of a form by a call": lambda opea: model(opea).with_structured_output(
            SCHEMA, method="function_calling"
        ),
        " of a form in JSON": lambda opea: model(opea).with_structured_output(
            None, method="json_mode"
        ),
        " of a form, raw": lambda opea: model(opea).with_structured_output(
            Person, include_raw=True
        ),
        " of blocks": lambda opea: ChatOPEA(
            client=opea, output_version="v1", logprobs=True, include_response_headers=True
        ),
    }
    found = []
    for more, make in forms.items():
        found += [
            Way(
                "langchain",
                f"invoke{more}",
                "chat",
                lambda opea, make=make: make(opea).invoke("Hi"),
            ),
            Way(
                "langchain",
                f"ainvoke{more}",
                "chat",
                lambda opea, make=make: make(opea).ainvoke("Hi"),
                True,
            ),
            Way(
                "langchain",
                f"stream{more}",
                "stream",
                lambda opea, make=make: make(opea).stream("Hi"),
            ),
            Way(
                "langchain",
                f"astream{more}",
                "stream",
                lambda opea, make=make: make(opea).astream("Hi"),
                True,
            ),
        ]
    return [
        *found,
        Way("langchain", "a second turn", "chat", lambda opea: _second_turn(model(opea))),
        Way("langchain", "streamed and joined", "stream", lambda opea: _joined(model(opea))),
        Way("langchain", "events v3", "stream", lambda opea: _events(model(opea))),
        Way(
            "langchain",
            "aevents v2",
            "stream",
            lambda opea: model(opea).astream_events("Hi", version="v2"),
            True,
        ),
        Way("langchain", "aevents v3", "stream", lambda opea: _aevents(model(opea)), True),
        Way(
            "langchain",
            "compress",
            "rerank",
            lambda opea: Compressor(client=opea, model="m").compress_documents(PAGES, "a"),
        ),
        Way(
            "langchain",
            "acompress",
            "rerank",
            lambda opea: Compressor(client=opea, model="m").acompress_documents(PAGES, "a"),
            True,
        ),
        Way(
            "langchain",
            "embed_documents",
            "embeddings",
            lambda opea: OPEAEmbeddings(client=opea, model="m").embed_documents(["a", "b"]),
        ),
        Way(
            "langchain",
            "aembed_documents",
            "embeddings",
            lambda opea: OPEAEmbeddings(client=opea, model="m").aembed_documents(["a", "b"]),
            True,
        ),
    ]


def _second_turn(model: ChatOPEA) -> Any:
    """The answer is sent back as history."""
    return model.invoke([HumanMessage("Hi"), model.invoke("Hi"), HumanMessage("And now?")])


def _joined(model: ChatOPEA) -> Any:
    whole: Any = None
    for chunk in model.stream("Hi"):
        whole = chunk if whole is None else whole + chunk
    return whole


def _events(model: ChatOPEA) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        return model.stream_events("Hi", version="v3").output


async def _aevents(model: ChatOPEA) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        stream: Any = await model.astream_events("Hi", version="v3")
        return await stream.output


# --- LlamaIndex


def get_weather(city: str = "") -> str:
    """The weather."""
    return f"Sunny in {city!r}"


TOOLS = [FunctionTool.from_defaults(get_weather)]
PROMPT = PromptTemplate("Hi")
MESSAGES = [ChatMessage(role="user", content="Hi")]


def _llama_index() -> list[Way]:
    ways: dict[str, tuple[str, Callable[[OPEALLM, str], Any]]] = {
        "chat": ("chat", lambda llm, a: getattr(llm, f"{a}chat")(MESSAGES)),
        "stream_chat": (
            "stream",
            lambda llm, a: getattr(llm, f"{a}stream_chat")(MESSAGES, logprobs=True),
        ),
        "complete": ("chat", lambda llm, a: getattr(llm, f"{a}complete")("Hi")),
        "stream_complete": ("stream", lambda llm, a: getattr(llm, f"{a}stream_complete")("Hi")),
        "chat_with_tools": (
            "chat",
            lambda llm, a: getattr(llm, f"{a}chat_with_tools")(TOOLS, "Hi"),
        ),
        "stream_chat_with_tools": (
            "stream",
            lambda llm, a: getattr(llm, f"{a}stream_chat_with_tools")(TOOLS, "Hi"),
        ),
        "predict_and_call": (
            "chat",
            lambda llm, a: getattr(llm, f"{a}predict_and_call")(
                TOOLS, "Hi", allow_parallel_tool_calls=True
            ),
        ),
        "structured_predict": (
            "chat",
            lambda llm, a: getattr(llm, f"{a}structured_predict")(Person, PROMPT),
        ),
        "stream_structured_predict": (
            "stream",
            lambda llm, a: getattr(llm, f"{a}stream_structured_predict")(Person, PROMPT),
        ),
    }
    found = []
    for name, (kind, ask) in ways.items():
        found += [
            Way("llama_index", name, kind, lambda opea, ask=ask: ask(OPEALLM(client=opea), "")),
            Way(
                "llama_index",
                f"a{name}",
                kind,
                lambda opea, ask=ask: ask(OPEALLM(client=opea), "a"),
                True,
            ),
        ]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a", "b")]
    return [
        *found,
        Way("llama_index", "a second turn", "chat", lambda opea: _next_turn(OPEALLM(client=opea))),
        Way(
            "llama_index", "calls of a stream", "stream", lambda opea: _calls(OPEALLM(client=opea))
        ),
        Way(
            "llama_index",
            "embed",
            "embeddings",
            lambda opea: OPEAEmbedding(client=opea, model="m").get_text_embedding_batch(["a", "b"]),
        ),
        Way(
            "llama_index",
            "aembed",
            "embeddings",
            lambda opea: OPEAEmbedding(client=opea, model="m").aget_text_embedding_batch(
                ["a", "b"]
            ),
            True,
        ),
        Way(
            "llama_index",
            "rerank",
            "rerank",
            lambda opea: OPEARerank(client=opea, model="m").postprocess_nodes(
                nodes, QueryBundle("a")
            ),
        ),
    ]


def _next_turn(llm: OPEALLM) -> Any:
    return llm.chat([*MESSAGES, llm.chat(MESSAGES).message, *MESSAGES])


def _calls(llm: OPEALLM) -> Any:
    """The calls of each response of a stream, as an agent reads them."""
    for response in llm.stream_chat_with_tools(TOOLS, "Hi", allow_parallel_tool_calls=True):
        yield [
            call.model_dump()
            for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        ]


_KINDS = {"chat": "response", "stream": "response stream"}


def _in_responses(ways: Iterable[Way]) -> list[Way]:
    """The same in the other dialect, and what only it has."""
    found = [
        replace(way, name=f"{way.name} in responses", kind=_KINDS[way.kind])
        for way in ways
        if way.kind in _KINDS and not way.is_async
    ]
    return [
        *found,
        Way("core", "responses", "response", lambda opea: opea.responses("Hi")),
        Way(
            "core", "stream_responses", "response stream", lambda opea: opea.stream_responses("Hi")
        ),
        Way("core", "responses, handed on", "response", handed_on(stream=False)),
        Way("core", "responses, streamed and handed on", "response stream", handed_on(stream=True)),
    ]


_CHAT = (*_engine(), *_langchain(), *_llama_index())
WAYS = (
    *_CHAT,
    *_in_responses(_CHAT),
    Way("core", "diagnose", "chat", lambda opea: opea.diagnose()),
)
BY_NAME = {str(way): way for way in WAYS}
