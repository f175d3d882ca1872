"""Query engines, chat engines and programs on scripted answers, by sync,
async and streaming code.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from li_object_support import Listener, embedding, llm, ranked, reranker
from llama_index.core import (
    PromptTemplate,
    Settings,
    SummaryIndex,
    VectorStoreIndex,
    get_response_synthesizer,
)
from llama_index.core.async_utils import asyncio_run
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.evaluation import FaithfulnessEvaluator
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from opea_core import OPEAError, StreamInterrupted
from opea_core.testing import Answer, ScriptedServer, chat, error, stream
from opea_core.testing.model import ScriptedModel

WAYS = ("sync", "async", "stream", "astream")
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


class City(BaseModel):
    """A city."""

    name: str
    rivers: list[str] = []


@pytest.fixture(autouse=True)
def _loop_of_cores_sync_code(request: pytest.FixtureRequest) -> Iterator[None]:
    """Core's sync code makes an event loop for the thread and leaves it; this one is closed."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.run_until_complete(loop.shutdown_asyncgens())  # as asyncio.run ends a loop
    asyncio.set_event_loop(None)
    loop.close()


def answers(*texts: str, thoughts: str = "") -> Any:
    """Chat requests get these texts, one after the other and the last one for ever;
    vectors are real ones.
    """
    left = list(texts)
    model = ScriptedModel("m")

    def answer(seen: Any) -> Answer:
        if not seen.path.endswith("completions"):
            return model.answer(seen)
        text = left.pop(0) if len(left) > 1 else left[0]
        if not seen.body.get("stream"):
            return chat(text, usage=USAGE, reasoning=thoughts or None)
        thinking = [{"reasoning_content": thoughts}] if thoughts else []
        return stream(
            [*thinking, *[part for word in text.split(" ") for part in (word, " ")][:-1]],
            usage=USAGE,
        )

    return answer


def asked(server: ScriptedServer) -> list[str]:
    """The last message of every chat request."""
    return [seen.body["messages"][-1]["content"] for seen in server.seen if "messages" in seen.body]


def index(server: ScriptedServer) -> VectorStoreIndex:
    """An index of two texts."""
    return VectorStoreIndex(
        [TextNode(text="Ada wrote notes."), TextNode(text="Rome has a river.")],
        embed_model=embedding(server),
    )


def memory() -> ChatMemoryBuffer:
    """Core's default keeps a connection to a database open."""
    return ChatMemoryBuffer.from_defaults(token_limit=100_000)


@pytest.fixture
def settings() -> Iterator[Any]:
    """LlamaIndex's Settings, as they were afterwards."""
    before = dict(vars(Settings))
    yield Settings
    vars(Settings).clear()
    vars(Settings).update(before)


async def _streamed(response: Any) -> str:
    return "".join([token async for token in response.async_response_gen()])


# --- query engines


def query(way: str, server: ScriptedServer, text: str = "Who?", **options: Any) -> str:
    """What a query engine over the index answers."""
    given = {"llm": llm(server), **options}

    async def streamed() -> str:
        return await _streamed(
            await index(server).as_query_engine(streaming=True, **given).aquery(text)
        )

    if way == "stream":
        return "".join(
            index(server).as_query_engine(streaming=True, **given).query(text).response_gen
        )
    if way == "astream":
        return asyncio.run(streamed())
    engine = index(server).as_query_engine(**given)
    return str(engine.query(text) if way == "sync" else asyncio.run(engine.aquery(text)))


@pytest.mark.parametrize("way", WAYS)
def test_a_query_engine_answers_from_what_it_found(server: ScriptedServer, way: str) -> None:
    server.always(answers("Ada did."))
    assert query(way, server) == "Ada did."
    [prompt] = asked(server)
    assert "Ada wrote notes." in prompt
    assert "Rome has a river." in prompt


@pytest.mark.parametrize(
    "mode",
    [
        ResponseMode.REFINE,
        ResponseMode.TREE_SUMMARIZE,
        ResponseMode.COMPACT_ACCUMULATE,
        ResponseMode.SIMPLE_SUMMARIZE,
    ],
)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_way_to_put_an_answer_together(
    server: ScriptedServer, way: str, mode: ResponseMode
) -> None:
    server.always(answers("Ada did."))
    assert "Ada did." in query(way, server, response_mode=mode)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_thoughts_do_not_stand_in_the_answer(server: ScriptedServer, way: str) -> None:
    server.always(answers("Ada did.", thoughts="hm"))
    assert query(way, server) == "Ada did."


@pytest.mark.parametrize("way", WAYS)
def test_a_reranker_among_the_postprocessors(server: ScriptedServer, way: str) -> None:
    plain = answers("Ada did.")
    server.always(
        lambda seen: ranked((1, 0.9), (0, 0.1)) if seen.path.endswith("rerank") else plain(seen)
    )
    assert query(way, server, node_postprocessors=[reranker(server, top_n=1)]) == "Ada did."
    [documents] = [seen.body["documents"] for seen in server.seen if seen.path.endswith("rerank")]
    [prompt] = asked(server)
    assert documents[1] in prompt
    assert documents[0] not in prompt


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
def test_an_engine_of_a_form_gives_objects(
    server: ScriptedServer, way: str, system_prompt: str | None
) -> None:
    server.always(answers('{"name": "Rome", "rivers": ["Tiber"]}'))
    engine = index(server).as_query_engine(
        llm=llm(server, system_prompt=system_prompt).as_structured_llm(City)
    )
    response = engine.query("Which?") if way == "sync" else asyncio.run(engine.aquery("Which?"))
    assert response.response == City(name="Rome", rivers=["Tiber"])
    roles = [message["role"] for message in server.seen[-1].body["messages"]]
    assert roles[:1] == (["system"] if system_prompt else roles[:1])


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_form_for_the_synthesizer(server: ScriptedServer, way: str) -> None:
    server.always(answers('{"name": "Rome"}'))
    engine = index(server).as_query_engine(
        llm=llm(server), output_cls=City, response_mode=ResponseMode.COMPACT
    )
    response = engine.query("Which?") if way == "sync" else asyncio.run(engine.aquery("Which?"))
    assert response.response == City(name="Rome")


@pytest.mark.parametrize("way", WAYS)
def test_errors_of_the_server_reach_the_caller(server: ScriptedServer, way: str) -> None:
    model = ScriptedModel("m")
    server.always(
        lambda seen: (
            error(401, "wrong key") if seen.path.endswith("completions") else model.answer(seen)
        )
    )
    with pytest.raises(OPEAError, match="401"):
        query(way, server)


def test_completions_mode_in_an_engine(server: ScriptedServer) -> None:
    text = query("sync", server, llm=llm(server, is_chat_model=False))
    assert text.startswith("This is the scripted model.")
    assert server.seen[-1].path == "/v1/completions"


def test_many_nodes_are_refined_within_the_window(server: ScriptedServer) -> None:
    server.always(answers("So far."))
    nodes = [TextNode(text=f"{number} " + "word " * 100) for number in range(6)]
    engine = SummaryIndex(nodes).as_query_engine(llm=llm(server, context_window=700, max_tokens=50))
    assert str(engine.query("What?")) == "So far."
    assert len(server.seen) > 1


async def test_a_synthesizer_in_a_tree_asks_at_once(server: ScriptedServer) -> None:
    server.always(answers("So far."))
    nodes = [TextNode(text=f"{number} " + "word " * 100) for number in range(6)]
    made = get_response_synthesizer(
        llm=llm(server, context_window=700, max_tokens=50),
        response_mode=ResponseMode.TREE_SUMMARIZE,
        use_async=True,
    )
    assert (
        str(await made.asynthesize("What?", nodes=[NodeWithScore(node=node) for node in nodes]))
        == "So far."
    )


@pytest.mark.parametrize("way", WAYS)
def test_events_of_a_query_are_balanced_and_its_tokens_counted(
    server: ScriptedServer, settings: Any, way: str
) -> None:
    server.always(answers("Ada did."))
    listener, counter = Listener(), TokenCountingHandler(tokenizer=str.split)
    settings.callback_manager = CallbackManager([listener, counter])
    query(way, server)
    assert listener.counts["llm"] == (1, 1)
    assert counter.total_llm_token_count == 12


# --- Settings


@pytest.mark.parametrize("way", ["sync", "async"])
def test_settings_serve_index_and_engine(server: ScriptedServer, settings: Any, way: str) -> None:
    server.always(answers("Ada did."))
    settings.llm, settings.embed_model = llm(server), embedding(server)
    engine = VectorStoreIndex([TextNode(text="Ada wrote notes.")]).as_query_engine()
    assert (
        str(engine.query("Who?") if way == "sync" else asyncio.run(engine.aquery("Who?")))
        == "Ada did."
    )
    assert {seen.path for seen in server.seen} == {"/v1/embeddings", "/v1/chat/completions"}


def test_settings_give_their_callback_manager(server: ScriptedServer, settings: Any) -> None:
    listener = Listener()
    settings.llm, settings.embed_model = llm(server), embedding(server)
    settings.callback_manager = listener.manager
    settings.llm.complete("x")
    settings.embed_model.get_text_embedding("x")
    assert listener.counts == {"llm": (1, 1), "embedding": (1, 1)}


def test_settings_know_the_window(server: ScriptedServer, settings: Any) -> None:
    settings.llm = llm(server, context_window=9000, max_tokens=100)
    assert (settings.prompt_helper.context_window, settings.prompt_helper.num_output) == (9000, 100)


# --- chat engines


ENGINES: dict[str, Any] = {
    "simple": lambda server: SimpleChatEngine.from_defaults(
        llm=llm(server), memory=memory(), system_prompt="Be brief."
    ),
    "context": lambda server: ContextChatEngine.from_defaults(
        retriever=index(server).as_retriever(),
        llm=llm(server),
        memory=memory(),
        system_prompt="Be brief.",
    ),
    "condense plus context": lambda server: CondensePlusContextChatEngine.from_defaults(
        retriever=index(server).as_retriever(),
        llm=llm(server),
        memory=memory(),
        system_prompt="Be brief.",
    ),
}


async def say(way: str, engine: Any, text: str) -> str:
    """What a chat engine answers."""
    if way == "sync":
        return str(await asyncio.to_thread(engine.chat, text))
    if way == "async":
        return str(await engine.achat(text))
    if way == "stream":
        return await asyncio.to_thread(lambda: "".join(engine.stream_chat(text).response_gen))
    return await _streamed(await engine.astream_chat(text))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ENGINES)
async def test_a_chat_engine_keeps_the_conversation(
    server: ScriptedServer, name: str, way: str
) -> None:
    server.always(answers("Hello to you."))
    engine = ENGINES[name](server)
    assert [await say(way, engine, text) for text in ("Hi", "And?")] == ["Hello to you."] * 2
    history = [(message.role.value, message.content) for message in engine.chat_history]
    assert history == [
        ("user", "Hi"),
        ("assistant", "Hello to you."),
        ("user", "And?"),
        ("assistant", "Hello to you."),
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ENGINES)
async def test_the_system_prompt_of_a_chat_engine_is_sent(
    server: ScriptedServer, name: str, way: str
) -> None:
    server.always(answers("Hello."))
    await say(way, ENGINES[name](server), "Hi")
    assert any("Be brief." in message["content"] for message in server.seen[-1].body["messages"])


@pytest.mark.parametrize("way", WAYS)
async def test_thoughts_of_an_answer_do_not_disturb_a_chat_engine(
    server: ScriptedServer, way: str
) -> None:
    server.always(answers("Hello.", thoughts="hm hm"))
    engine = ENGINES["simple"](server)
    assert [await say(way, engine, text) for text in ("Hi", "And?")] == ["Hello."] * 2
    assert [message.content for message in engine.chat_history] == [
        "Hi",
        "Hello.",
        "And?",
        "Hello.",
    ]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # core reads the stream in a thread of its own
@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_broken_stream_is_an_error_of_the_chat_engine(
    server: ScriptedServer, way: str
) -> None:
    server.always(stream(["Hello"], finish_reason=None, done=False, end="cut"))
    with pytest.raises(StreamInterrupted):
        await say(way, ENGINES["simple"](server), "Hi")


@pytest.mark.parametrize(
    "mode", ["condense_question", "condense_plus_context", "context", "simple"]
)
async def test_chat_engines_of_an_index(server: ScriptedServer, mode: str) -> None:
    server.always(answers("Ada did."))
    engine = index(server).as_chat_engine(chat_mode=mode, llm=llm(server), memory=memory())
    for way in ("sync", "async"):
        assert await say(way, engine, "Who?") == "Ada did."


# --- programs and the rest


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("program", [FunctionCallingProgram, LLMTextCompletionProgram])
def test_cores_own_programs(server: ScriptedServer, program: Any, way: str) -> None:
    prompt = PromptTemplate("A city with {what}.")
    if program is LLMTextCompletionProgram:
        server.always(answers('{"name": "Rome"}'))
    made = program.from_defaults(output_cls=City, prompt=prompt, llm=llm(server))
    found = made(what="a river") if way == "sync" else asyncio.run(made.acall(what="a river"))
    assert isinstance(found, City)


def _tools(server: ScriptedServer) -> list[QueryEngineTool]:
    engine = index(server).as_query_engine(llm=llm(server))
    return [
        QueryEngineTool.from_defaults(engine, name=name, description=f"About {name}.")
        for name in ("ada", "rome")
    ]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_router_chooses_by_the_models_words(server: ScriptedServer, way: str) -> None:
    server.always(answers('[{"choice": 2, "reason": "rivers"}]', "The Tiber."))
    model = llm(server)
    made = RouterQueryEngine(
        selector=LLMSingleSelector.from_defaults(llm=model),
        query_engine_tools=_tools(server),
        llm=model,
    )
    assert (
        str(
            made.query("Which river?")
            if way == "sync"
            else asyncio.run(made.aquery("Which river?"))
        )
        == "The Tiber."
    )


def test_an_evaluator(server: ScriptedServer) -> None:
    server.always(answers("YES"))
    found = FaithfulnessEvaluator(llm=llm(server)).evaluate(query="q", response="r", contexts=["r"])
    assert found.passing is True


def test_async_calls_from_sync_code_one_after_the_other(server: ScriptedServer) -> None:
    server.always(answers("Ada did."))
    engine = index(server).as_query_engine(llm=llm(server))
    for _ in range(3):
        assert str(asyncio_run(engine.aquery("Who?"))) == "Ada did."
        assert str(engine.query("Who?")) == "Ada did."


async def test_sync_wrappers_within_a_running_loop(server: ScriptedServer) -> None:
    server.always(answers("Ada did."))
    made = llm(server)
    assert await asyncio.to_thread(lambda: asyncio_run(made.acomplete("x")).text) == "Ada did."
    assert (await made.acomplete("x")).text == "Ada did."


@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # core calls it
def test_a_structured_llm_chats_and_completes(server: ScriptedServer) -> None:
    server.always(answers('{"name": "Rome"}'))
    made = llm(server).as_structured_llm(City)
    assert made.chat([ChatMessage(content="A city.")]).raw == City(name="Rome")
    assert made.complete("A city.").raw == City(name="Rome")
    assert [response.raw for response in made.stream_chat([ChatMessage(content="A city.")])][
        -1
    ] == City(name="Rome")
    assert asyncio.run(made.achat([ChatMessage(content="A city.")])).raw == City(name="Rome")
