"""What is asked of the server, what is known without asking, ``init_chat_model``,
and what an import costs.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage, SystemMessage, trim_messages
from lc_object_support import CLASSES, WAYS, ask, made

from langchain_opea import ChatOPEA, register
from langchain_opea.errors import OPEAConfigurationError
from opea_core import OPEA, Capabilities
from opea_core.testing import Answer, ScriptedServer, error, json_answer

SEVERAL = json_answer({"object": "list", "data": [{"id": "qwen3"}, {"id": "llama3"}]})


def _listing(**entry: Any) -> Answer:
    return json_answer({"object": "list", "data": [{"id": "qwen3", "object": "model", **entry}]})


# --- a model nobody named


@pytest.mark.parametrize("way", WAYS)
def test_a_model_nobody_named_is_asked_for_once(server: ScriptedServer, way: str) -> None:
    model = ChatOPEA(base_url=server.url)
    assert server.seen == []
    for _ in range(2):
        ask(way, model)
    assert [seen.path.rpartition("/")[2] for seen in server.seen] == [
        "models",
        "completions",
        "completions",
    ]
    assert server.seen[-1].body["model"] == model.model == "scripted-model"


@pytest.mark.parametrize("way", WAYS)
def test_a_model_named_in_the_call_is_not_asked_for(server: ScriptedServer, way: str) -> None:
    ask(way, ChatOPEA(base_url=server.url), model="qwen3")
    assert [seen.body["model"] for seen in server.seen] == ["qwen3"]


@pytest.mark.parametrize("way", WAYS)
def test_of_several_models_one_must_be_named(server: ScriptedServer, way: str) -> None:
    server.script(SEVERAL)
    with pytest.raises(OPEAConfigurationError, match=r"qwen3, llama3") as caught:
        ask(way, ChatOPEA(base_url=server.url))
    assert 'model="qwen3"' in str(caught.value)
    assert len(server.seen) == 1


def test_a_model_of_the_environment_is_not_asked_for(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_MODEL", "qwen3")
    ChatOPEA(base_url=server.url).invoke("x")
    assert [seen.body["model"] for seen in server.seen] == ["qwen3"]


def test_a_failed_question_is_asked_again_at_the_next_call(server: ScriptedServer) -> None:
    model = ChatOPEA(base_url=server.url, max_retries=0, recovery_wait=0)
    server.script(error(401, "no"))
    with pytest.raises(Exception, match="401"):
        model.invoke("x")
    assert model.invoke("x").text


def test_copies_know_what_one_of_them_asked(server: ScriptedServer) -> None:
    model = ChatOPEA(base_url=server.url)
    copied = model.model_copy(update={"temperature": 0.5})
    model.invoke("x")
    copied.invoke("x")
    assert [seen.method for seen in server.seen] == ["GET", "POST", "POST"]


def test_a_model_nobody_named_says_so_until_it_is_asked_for(server: ScriptedServer) -> None:
    model = ChatOPEA(base_url=server.url)
    assert model.model is None
    assert "model=None" in repr(model)
    assert model.discover() is model
    assert model.model == "scripted-model"


# --- profile


async def _found(model: ChatOPEA, way: str) -> ChatOPEA:
    return model.discover() if way == "sync" else await model.adiscover()


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    "entry",
    [
        {"max_model_len": 4096},
        {"meta": {"n_ctx": 4096, "n_ctx_train": 131072}},
        {"context_window": 4096},
    ],
    ids=str,
)
async def test_the_window_is_taken_from_the_server(
    server: ScriptedServer, entry: dict[str, Any], way: str
) -> None:
    server.script(_listing(**entry), error(404, "no props"))
    model = await _found(made(server, model=None), way)
    assert model.profile == {"max_input_tokens": 4096}


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_given_profile_wins(server: ScriptedServer, way: str) -> None:
    server.script(_listing(max_model_len=4096))
    model = await _found(
        made(server, model=None, profile={"max_input_tokens": 100, "tool_calling": True}), way
    )
    assert model.profile == {"max_input_tokens": 100, "tool_calling": True}


def test_a_given_window_needs_no_question(server: ScriptedServer) -> None:
    assert made(server, context_window=4096).profile == {"max_input_tokens": 4096}
    assert server.seen == []


def test_a_server_that_keeps_to_schemas_says_so_in_the_profile(server: ScriptedServer) -> None:
    assert made(server, capabilities=Capabilities(structured_output="json_schema")).profile == {
        "structured_output": True
    }
    assert not made(server, capabilities=Capabilities(structured_output="function_calling")).profile


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_server_that_does_not_tell_leaves_no_profile(
    server: ScriptedServer, way: str
) -> None:
    server.script(_listing())
    assert not (await _found(made(server, model=None), way)).profile


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_errors_of_discovery_are_langchains_too(server: ScriptedServer, way: str) -> None:
    server.always(error(403, "no"))
    with pytest.raises(Exception, match="403") as caught:
        await _found(made(server), way)
    assert type(caught.value).__module__ == "langchain_opea.errors"


def test_the_object_of_the_caller_learns_it_too(server: ScriptedServer) -> None:
    opea = OPEA(server.url)
    model = ChatOPEA(client=opea).discover()
    assert (model.model, opea.model, opea.context_window) == (
        "scripted-model",
        "scripted-model",
        8192,
    )
    assert ChatOPEA(client=opea).profile == {"max_input_tokens": 8192}


# --- tokens


def test_tokens_are_counted_without_asking_anyone(server: ScriptedServer) -> None:
    model = made(server)
    assert 2 <= model.get_num_tokens("two words and some more") <= 30
    messages = [SystemMessage("be brief"), HumanMessage("two words and some more")]
    assert (
        model.get_num_tokens_from_messages(messages)
        > model.get_num_tokens_from_messages(messages[:1])
        > 0
    )
    assert server.seen == []


def test_a_history_can_be_trimmed_with_the_model_as_counter(server: ScriptedServer) -> None:
    messages = [HumanMessage(f"message {number} " + "word " * 20) for number in range(5)]
    model = made(server)
    room = model.get_num_tokens_from_messages(messages[-2:])
    assert trim_messages(messages, max_tokens=room, token_counter=model) == messages[-2:]
    assert server.seen == []


def test_tools_count_as_well(server: ScriptedServer) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    model = made(server)
    assert model.get_num_tokens_from_messages(
        [HumanMessage("x")], tools=[weather]
    ) > model.get_num_tokens_from_messages([HumanMessage("x")])


def test_a_tokenizer_of_the_caller_is_used(server: ScriptedServer) -> None:
    model = made(server, custom_get_token_ids=lambda text: list(range(len(text))))
    assert model.get_num_tokens("four") == 4
    assert model.get_token_ids("four") == [0, 1, 2, 3]
    assert model.get_num_tokens_from_messages([HumanMessage("four")]) >= 4


def test_ids_need_a_tokenizer(server: ScriptedServer) -> None:
    with pytest.raises(OPEAConfigurationError, match="custom_get_token_ids"):
        made(server).get_token_ids("x")


# --- init_chat_model


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """``register()`` in a table that is put back afterwards."""
    from langchain.chat_models import base

    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    register()


@pytest.mark.usefixtures("_registered")
def test_init_chat_model_knows_the_provider(server: ScriptedServer) -> None:
    for model in (
        init_chat_model("opea:qwen3", base_url=server.url, temperature=0.5),
        init_chat_model("qwen3", model_provider="opea", base_url=server.url, temperature=0.5),
    ):
        assert isinstance(model, ChatOPEA)
        assert model.invoke("x").text
        assert (server.seen[-1].body["model"], server.seen[-1].body["temperature"]) == (
            "qwen3",
            0.5,
        )


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("way", WAYS)
def test_a_configurable_model(server: ScriptedServer, way: str) -> None:
    model = init_chat_model(
        model_provider="opea",
        configurable_fields=("model", "temperature"),
        config_prefix="my",
        base_url=server.url,
    )
    ask(way, model, config={"configurable": {"my_model": "qwen3", "my_temperature": 0.5}})
    body = server.seen[-1].body
    assert (body["model"], body["temperature"], body["stream"]) == (
        "qwen3",
        0.5,
        way.endswith("stream"),
    )


@pytest.mark.usefixtures("_registered")
def test_a_configurable_model_over_a_shared_object(server: ScriptedServer) -> None:
    opea = OPEA(server.url)
    model = init_chat_model(model_provider="opea", configurable_fields=("model",), client=opea)
    model.invoke("x", config={"configurable": {"model": "qwen3"}})
    assert opea.get_stats()["requests"] == 1


@pytest.mark.usefixtures("_registered")
def test_registering_twice_changes_nothing() -> None:
    from langchain.chat_models import base

    before = dict(base._BUILTIN_PROVIDERS)
    register()
    assert before == base._BUILTIN_PROVIDERS


def test_nothing_is_registered_by_an_import(imported: Imported) -> None:
    assert "openai" in imported.providers
    assert "opea" not in imported.providers


@pytest.mark.parametrize("missing", ["_BUILTIN_PROVIDERS", "_call"])
def test_another_langchain_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from langchain.chat_models import base

    monkeypatch.delattr(base, missing)
    with pytest.raises(OPEAConfigurationError, match="keeps its providers elsewhere"):
        register()


def test_without_langchain_register_says_what_to_install() -> None:
    _run(
        "sys.modules['langchain'] = None",
        "import langchain_opea",
        "try: langchain_opea.register()",
        (
            "except langchain_opea.errors.OPEAConfigurationError as error: assert 'pip "
            "install langchain' in str(error)"
        ),
        "else: raise SystemExit('no error')",
    )


# --- what an import costs


def _run(*lines: str) -> str:
    """Run lines in a Python of their own; gives what they print."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(("import sys", *lines))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Imported(NamedTuple):
    """What a Python of its own tells that imports the package, makes a model and counts."""

    with_the_chat_model: list[str]
    """Modules that came with the chat model alone, after those of LangChain."""
    added: list[str]
    """Modules that came with the whole package."""
    packages: set[str]
    """All packages that are there once tokens were counted."""
    providers: list[str]
    """Those that ``init_chat_model`` knows."""


@pytest.fixture(scope="module")
def imported() -> Imported:
    """One process for all questions: LangChain takes a second to import."""
    lines = _run(
        "import langchain_core.language_models.chat_models, langchain_core.embeddings, "
        "langchain_core.output_parsers",
        "before = set(sys.modules)",
        "from langchain_opea import ChatOPEA",
        "print(*set(sys.modules) - before)",
        "from langchain_opea import *",
        "print(*set(sys.modules) - before)",
        "ChatOPEA(model='m', base_url='http://localhost:1').get_num_tokens('some text')",
        "print(*{name.partition('.')[0] for name in sys.modules})",
        "from langchain.chat_models import base",
        "print(*base._BUILTIN_PROVIDERS)",
    ).splitlines()
    with_the_chat_model, added, packages, providers = (line.split() for line in lines)
    return Imported(with_the_chat_model, added, set(packages), providers)


FOREIGN = (
    "openai",
    "tiktoken",
    "transformers",
    "tokenizers",
    "torch",
    "numpy",
    "langchain",
    "langgraph",
    "litellm",
)


def test_an_import_brings_no_other_package_and_counting_tokens_no_tokenizer(
    imported: Imported,
) -> None:
    assert {"langchain_opea", "langchain_core"} <= imported.packages
    assert imported.packages & set(FOREIGN) == set()


def test_one_class_does_not_bring_the_others(imported: Imported) -> None:
    assert "langchain_opea.chat_models" in imported.with_the_chat_model
    assert "langchain_opea.embeddings" not in imported.with_the_chat_model


def test_an_import_adds_few_modules_to_langchain_core(imported: Imported) -> None:
    packages = {name.partition(".")[0] for name in imported.added}
    assert {"langchain_opea", "opea_core"} <= packages
    allowed = {
        "langchain_opea",
        "opea_core",
        "langchain_core",
        "pydantic",
        "httpx",
        "httpcore",
        "h11",
        "certifi",
        "idna",
    }
    assert packages <= allowed, packages - allowed
    assert len(imported.added) <= 160


def test_making_a_model_opens_nothing(server: ScriptedServer) -> None:
    for cls in CLASSES:
        cls(base_url=server.url)
        cls(base_url=server.url, model="m")
    assert (server.seen, server.connections) == ([], 0)
