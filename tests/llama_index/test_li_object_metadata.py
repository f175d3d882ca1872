"""What LlamaIndex plans by: never a request, one warning; and discovery, which is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from li_object_support import WAYS, ask, embedding, llm, ranked, reranker
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import OPEA, ConfigurationError, NotFoundError
from opea_core.testing import Answer, ScriptedServer, error, json_answer

NODES = [NodeWithScore(node=TextNode(text="a"))]


def listed(*models: str, **more: Any) -> Answer:
    """A list of models."""
    return json_answer(
        {"object": "list", "data": [{"id": name, "object": "model", **more} for name in models]}
    )


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """The texts of what was warned about."""
    caplog.set_level(logging.WARNING, logger="opea_core")
    return lambda: [record.getMessage() for record in caplog.records]


# --- metadata


def test_metadata_says_what_was_given(server: ScriptedServer) -> None:
    found = llm(server, context_window=9000, max_tokens=50).metadata
    assert found.model_dump() == {
        "context_window": 9000, "num_output": 50, "is_chat_model": True,
        "is_function_calling_model": True, "model_name": "m", "system_role": MessageRole.SYSTEM,
    }  # fmt: skip


def test_no_limit_of_tokens_is_minus_one(server: ScriptedServer) -> None:
    assert llm(server).metadata.num_output == -1


@pytest.mark.parametrize(
    "options",
    [{}, {"context_window": None}, {"model": None}, {"api_base": "http://localhost:1"}],
    ids=str,
)
def test_metadata_never_asks_anybody(
    server: ScriptedServer, options: dict[str, Any], disable_socket: None
) -> None:
    made = llm(server, **options)
    for _ in range(3):
        assert made.metadata.context_window > 0
    made.to_payload(), made.to_dict(), repr(made)
    assert server.seen == []
    assert server.connections == 0


@pytest.fixture
def disable_socket(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new socket from now on."""

    def refused(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)


def test_an_unknown_window_is_assumed_with_one_warning(
    server: ScriptedServer, warnings_of: Any
) -> None:
    made = llm(server, context_window=None)
    assert [made.metadata.context_window for _ in range(3)] == [3900] * 3
    [warning] = warnings_of()
    assert "3900" in warning
    assert "context_window=" in warning
    assert "discover" in warning


def test_a_window_is_assumed_without_a_word_in_payloads(
    server: ScriptedServer, warnings_of: Any
) -> None:
    made = llm(server, context_window=None)
    made.to_payload()
    made.complete("x")
    assert warnings_of() == []


def test_a_given_window_needs_no_warning(server: ScriptedServer, warnings_of: Any) -> None:
    assert llm(server, context_window=9000).metadata.context_window == 9000
    assert warnings_of() == []


def test_the_window_of_a_given_object_is_known(server: ScriptedServer, warnings_of: Any) -> None:
    assert (
        OPEALLM(client=OPEA(server.url, model="m", context_window=7000)).metadata.context_window
        == 7000
    )
    assert warnings_of() == []


def test_a_model_of_an_unknown_name_is_as_good_as_any(server: ScriptedServer) -> None:
    assert (
        llm(server, model="no/such-model:latest", context_window=9000).metadata.model_name
        == "no/such-model:latest"
    )


def test_metadata_follows_the_fields(server: ScriptedServer) -> None:
    made = llm(server)
    made.model, made.max_tokens, made.context_window, made.is_function_calling_model = (
        "other",
        9,
        1000,
        False,
    )
    found = made.metadata
    assert (
        found.model_name,
        found.num_output,
        found.context_window,
        found.is_function_calling_model,
    ) == ("other", 9, 1000, False)


def test_the_default_window_serves_prompt_helper_and_memory(server: ScriptedServer) -> None:
    made = llm(server, context_window=None)
    assert PromptHelper.from_llm_metadata(made.metadata).context_window == 3900
    assert ChatMemoryBuffer.from_defaults(llm=made).token_limit <= 3900


# --- discovery


@pytest.mark.parametrize("asynchronous", [False, True])
def test_discovery_finds_model_and_window(
    server: ScriptedServer, warnings_of: Any, asynchronous: bool
) -> None:
    made = OPEALLM(api_base=server.url, max_retries=0)
    found = asyncio.run(made.adiscover()) if asynchronous else made.discover()
    assert found is made
    assert (made.metadata.model_name, made.metadata.context_window) == ("scripted-model", 8192)
    assert [seen.path for seen in server.seen] == ["/v1/models"]
    assert warnings_of() == []


def test_a_given_window_stays(server: ScriptedServer) -> None:
    assert llm(server, context_window=1000).discover().metadata.context_window == 1000


def test_a_given_model_stays_whatever_is_listed(server: ScriptedServer) -> None:
    server.script(listed("a", "b"))
    assert llm(server, model="mine").discover().metadata.model_name == "mine"


def test_the_window_of_the_given_model_is_taken_from_the_list(server: ScriptedServer) -> None:
    entries = [{"id": "a", "max_model_len": 1000}, {"id": "b", "max_model_len": 2000}]
    server.script(json_answer({"object": "list", "data": entries}))
    assert llm(server, model="b", context_window=None).discover().metadata.context_window == 2000


@pytest.mark.parametrize("way", WAYS)
def test_a_model_nobody_named_is_asked_for_at_the_first_call(
    server: ScriptedServer, way: str
) -> None:
    made = OPEALLM(api_base=server.url, max_retries=0)
    for _ in range(2):
        ask(way, made)
    assert [seen.path.rpartition("/")[2] for seen in server.seen] == [
        "models",
        "completions",
        "completions",
    ]
    assert server.seen[-1].body["model"] == made.metadata.model_name == "scripted-model"


@pytest.mark.parametrize("way", WAYS)
def test_a_model_named_in_the_call_is_not_asked_for(server: ScriptedServer, way: str) -> None:
    ask(way, OPEALLM(api_base=server.url, max_retries=0), model="named")
    assert [seen.path for seen in server.seen] == ["/v1/chat/completions"]


@pytest.mark.parametrize("way", WAYS)
def test_several_models_are_an_error_that_names_them(server: ScriptedServer, way: str) -> None:
    server.always(listed("first", "second"))
    with pytest.raises(ConfigurationError, match=r"first.*second"):
        ask(way, OPEALLM(api_base=server.url, max_retries=0))
    assert {seen.path for seen in server.seen} == {"/v1/models"}


def test_embeddings_and_reranker_ask_for_their_model_too(server: ScriptedServer) -> None:
    OPEAEmbedding(api_base=server.url, max_retries=0).get_text_embedding("x")
    assert server.seen[-1].body["model"] == "scripted-model"
    server.script(lambda seen: None, ranked((0, 1.0)))
    OPEARerank(api_base=server.url, max_retries=0).postprocess_nodes(NODES, query_str="q")
    assert server.seen[-1].body["model"] == "scripted-model"


async def test_they_do_so_in_async_code(server: ScriptedServer) -> None:
    await OPEAEmbedding(api_base=server.url, max_retries=0).aget_text_embedding("x")
    assert server.seen[-1].body["model"] == "scripted-model"
    server.script(lambda seen: None, ranked((0, 1.0)))
    await OPEARerank(api_base=server.url, max_retries=0).apostprocess_nodes(NODES, query_str="q")
    assert server.seen[-1].body["model"] == "scripted-model"


def test_named_ones_do_not_ask(server: ScriptedServer) -> None:
    embedding(server).get_text_embedding("x")
    server.script(ranked((0, 1.0)))
    reranker(server).postprocess_nodes(NODES, query_str="q")
    assert [seen.path for seen in server.seen] == ["/v1/embeddings", "/v1/rerank"]


def test_a_server_without_a_list_is_an_error_that_says_what_to_do(server: ScriptedServer) -> None:
    server.always(error(404, "nothing here"))
    with pytest.raises((ConfigurationError, NotFoundError), match="model"):
        OPEALLM(api_base=server.url, max_retries=0).complete("x")


def test_the_window_is_that_of_the_model_asked(server: ScriptedServer) -> None:
    entries = [{"id": "a", "max_model_len": 1000}, {"id": "b", "max_model_len": 2000}]
    server.always(json_answer({"object": "list", "data": entries}))
    shared = OPEA(server.url, model="a")
    assert OPEALLM(client=shared).discover().metadata.context_window == 1000
    assert OPEALLM(client=shared, model="b").discover().metadata.context_window == 2000


def test_a_model_set_later_does_not_keep_the_window_of_the_one_before(
    server: ScriptedServer,
) -> None:
    entries = [{"id": "a", "max_model_len": 1000}, {"id": "b", "max_model_len": 2000}]
    server.always(json_answer({"object": "list", "data": entries}))
    made = llm(server, model="a", context_window=None).discover()
    made.model = "b"
    assert made.discover().metadata.context_window == 2000


@pytest.mark.parametrize("cls", [OPEALLM, OPEAEmbedding])
def test_payloads_say_the_discovered_model(server: ScriptedServer, cls: Any) -> None:
    assert cls(api_base=server.url).discover().to_payload()["model_name"] == "scripted-model"
