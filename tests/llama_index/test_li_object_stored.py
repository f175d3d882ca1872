"""``to_dict``, ``to_json`` and back: everything but keys
and objects of this process, always the same.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from li_object_support import (
    CLASSES,
    MAKERS,
    Counter,
    Listener,
    ask,
    embedding,
    llm,
    ranked,
    reranker,
)
from llama_index.core.embeddings.loading import load_embed_model
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import Document, NodeWithScore, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.types import PydanticProgramMode

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import (
    OPEA,
    BreakerPolicy,
    Capabilities,
    Endpoint,
    QueuePolicy,
    RetryPolicy,
    Timeouts,
)
from opea_core.testing import ScriptedServer

NODES = [NodeWithScore(node=TextNode(text="a"))]

CONNECTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "times": {"timeout": 7, "max_retries": 2, "deadline": 30, "recovery_wait": 3},
    "two times": {"timeout": (1, 2)},
    "no limit": {"timeout": None},
    "times as an object": {"timeout": Timeouts(connect=1, first_event=2, idle=3, total=9)},
    "retry as an object": {
        "retry": RetryPolicy(max_retries=5, initial_delay=0.5),
        "max_retries": None,
    },
    "retry as a dict": {"retry": {"max_retries": 5}, "max_retries": None},
    "breaker": {"breaker": BreakerPolicy(min_calls=3)},
    "no breaker": {"breaker": False},
    "queue": {"queue": QueuePolicy(max_queued=5), "recovery_wait": None},
    "limits": {
        "max_concurrent": 3,
        "max_queued": 9,
        "queue_timeout": 4,
        "max_response_bytes": 1000,
        "max_event_bytes": 1000,
    },
    "pauses": {
        "initial_retry_delay": 0.1,
        "backoff_factor": 3,
        "max_delay": 4,
        "max_retry_after": 5,
    },
    "capabilities": {
        "capabilities": Capabilities(max_tokens_field="max_completion_tokens", cache_points=True)
    },
    "placement": {
        "label": "here",
        "api_version": "2026-01-01",
        "auth_header": "api-key",
        "auth_scheme": None,
        "trust_env": False,
    },
}


def _again(made: Any, json_text: bool) -> Any:
    cls = type(made)
    return cls.from_json(made.to_json()) if json_text else cls.from_dict(made.to_dict())


# --- there and back


@pytest.mark.parametrize("json_text", [False, True], ids=["dict", "json"])
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("case", CONNECTIONS)
def test_what_was_said_about_the_server_comes_back(
    server: ScriptedServer, case: str, kind: str, json_text: bool
) -> None:
    made = MAKERS[kind](server, **CONNECTIONS[case])
    again = _again(made, json_text)
    assert again.client.settings == made.client.settings
    assert again.to_json() == made.to_json()


@pytest.mark.parametrize("json_text", [False, True], ids=["dict", "json"])
def test_fields_of_an_llm_come_back(server: ScriptedServer, json_text: bool) -> None:
    made = llm(
        server, temperature=None, max_tokens=5, context_window=1000, is_chat_model=False,
        is_function_calling_model=False, strict=True, should_use_structured_outputs=True,
        stop=["x"], top_p=0.5, seed=1, logprobs=True, top_logprobs=2, logit_bias={"5": 1},
        reasoning_effort="low", modalities=["text"], audio_config={"voice": "v"},
        additional_kwargs={"a": 1}, extra_body={"b": {"c": 2}}, system_prompt="s",
        pydantic_program_mode=PydanticProgramMode.LLM, priority=2,
    )  # fmt: skip
    again = _again(made, json_text)
    assert again.to_dict() == made.to_dict()
    for one in (made, again):
        ask("complete", one, request_id="r")
    first, then = server.seen
    assert (first.path, first.body, first.headers) == (then.path, then.body, then.headers)
    assert (again.system_prompt, again.pydantic_program_mode, again.context_window) == (
        "s",
        PydanticProgramMode.LLM,
        1000,
    )


def test_fields_of_embeddings_come_back(server: ScriptedServer) -> None:
    made = embedding(
        server, dimensions=4, embed_batch_size=3, num_workers=2, query_prefix="q: ",
        text_prefix="p: ", max_request_bytes=99, additional_kwargs={"user": "u"},
        extra_body={"truncate": "END"},
    )  # fmt: skip
    again = _again(made, json_text=True)
    assert again.to_dict() == made.to_dict()
    assert again.get_query_embedding("x") == made.get_query_embedding("x")
    assert server.seen[0].body == server.seen[1].body


def test_fields_of_a_reranker_come_back(server: ScriptedServer) -> None:
    server.always(ranked((0, 1.0)))
    made = reranker(server, top_n=7, additional_kwargs={"user": "u"}, extra_body={"a": 1})
    again = _again(made, json_text=True)
    for one in (made, again):
        one.postprocess_nodes(NODES, query_str="q")
    assert server.seen[0].body == server.seen[1].body


@pytest.mark.parametrize("json_text", [False, True], ids=["dict", "json"])
@pytest.mark.parametrize("kind", CLASSES)
def test_endpoints_come_back_without_their_keys(
    server: ScriptedServer, kind: str, json_text: bool
) -> None:
    endpoints = [
        {
            "base_url": server.url,
            "model": "a",
            "api_key": "sk-secret",
            "weight": 2,
            "max_concurrent": 3,
        },
        Endpoint(base_url="http://localhost:1", label="two", tier=1, headers={"x-a": "hdr-secret"}),
        "http://localhost:2/v1",
    ]
    again = _again(CLASSES[kind](endpoints=endpoints, max_retries=0), json_text)
    found = [
        (e.url.root, e.model, e.tier, e.weight, e.max_concurrent) for e in again.client.endpoints
    ]
    assert found[0] == (server.url, "a", 0, 2, 3)
    assert [(e.label, e.api_key) for e in again.client.endpoints][1] == ("two", None)
    assert [url for url, *_ in found[1:]] == ["http://localhost:1/v1", "http://localhost:2/v1"]


def test_one_listed_endpoint_comes_back_with_what_it_is(server: ScriptedServer) -> None:
    made = OPEALLM(
        endpoints=[
            {"base_url": server.url, "model": "a", "max_concurrent": 3, "context_window": 500}
        ],
        max_retries=0,
    )
    again = _again(made, json_text=True)
    [endpoint] = again.client.endpoints
    assert (
        endpoint.url.root,
        endpoint.model,
        endpoint.max_concurrent,
        endpoint.context_window,
    ) == (server.url, "a", 3, 500)


@pytest.mark.parametrize("kind", CLASSES)
def test_with_a_given_object_its_first_server_and_model_are_stored(
    server: ScriptedServer, kind: str
) -> None:
    again = _again(
        CLASSES[kind](client=OPEA(server.url, model="object's", api_key="sk-secret")),
        json_text=True,
    )
    assert again.client.endpoints[0].url.root == server.url
    if kind == "llm":
        again.complete("x")
        assert server.seen[-1].body["model"] == "object's"


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_the_key_of_a_loaded_object_comes_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = MAKERS[kind](server, api_key="sk-old").to_dict()
    monkeypatch.setenv("OPEA_API_KEY", "sk-new")
    again = CLASSES[kind].from_dict(data)
    again.complete("x") if kind == "llm" else again.get_text_embedding("x")
    assert server.seen[-1].headers["authorization"] == "Bearer sk-new"


@pytest.mark.parametrize("kind", ["llm", "embedding"])
def test_a_loaded_object_may_be_given_its_key_and_more(server: ScriptedServer, kind: str) -> None:
    again = CLASSES[kind].from_dict(
        MAKERS[kind](server, api_key="sk-old").to_dict(), api_key="sk-new", timeout=3
    )
    again.complete("x") if kind == "llm" else again.get_text_embedding("x")
    assert server.seen[-1].headers["authorization"] == "Bearer sk-new"
    assert again.client.settings.timeouts == Timeouts.of(3)


@pytest.mark.parametrize("kind", CLASSES)
def test_objects_of_this_process_are_left_out(server: ScriptedServer, kind: str) -> None:
    listener = Listener()
    options: dict[str, Any] = {"hooks": [print], "callback_manager": listener.manager}
    if kind != "rerank":
        options["rate_limiter"] = Counter()
    if kind == "embedding":
        options["embeddings_cache"] = SimpleKVStore()
    if kind == "llm":
        options |= {
            "messages_to_prompt": repr,
            "completion_to_prompt": str.upper,
            "tokenizer": object(),
        }
    data = json.loads(MAKERS[kind](server, **options).to_json())
    assert not data.keys() & {*options, "client", "api_key"}


@pytest.mark.parametrize("kind", CLASSES)
def test_the_dict_names_class_model_and_server(server: ScriptedServer, kind: str) -> None:
    data = MAKERS[kind](server).to_dict()
    assert data["class_name"] == CLASSES[kind].class_name()
    assert data["api_base"] == server.url
    assert data["model_name" if kind == "embedding" else "model"] == MAKERS[kind](
        server
    ).to_dict().get("model", "e")


@pytest.mark.parametrize("kind", CLASSES)
def test_the_dict_that_is_loaded_is_not_changed(server: ScriptedServer, kind: str) -> None:
    data = MAKERS[kind](server).to_dict()
    before = json.dumps(data)
    CLASSES[kind].from_dict(data)
    assert json.dumps(data) == before


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("mode", ["python", "json"])
def test_parts_of_a_dump_may_be_left_out(server: ScriptedServer, kind: str, mode: str) -> None:
    made = MAKERS[kind](server, timeout=3)
    left_out = {"additional_kwargs", "timeout", "api_base"}
    assert not made.model_dump(mode=mode, exclude=left_out).keys() & left_out


@pytest.mark.parametrize("kind", CLASSES)
def test_a_dump_may_be_limited_to_some_fields(server: ScriptedServer, kind: str) -> None:
    assert MAKERS[kind](server, timeout=3).model_dump(include={"extra_body"}).keys() <= {
        "extra_body",
        "class_name",
    }


def test_a_subclass_comes_back_as_itself(server: ScriptedServer) -> None:
    class House(OPEALLM):
        timeout: Any = 17
        greeting: str = "hi"

        @classmethod
        def class_name(cls) -> str:
            return "House"

    again = House.from_dict(House(api_base=server.url, greeting="ho").to_dict())
    assert (again.class_name(), again.greeting, again.client.settings.timeouts) == (
        "House",
        "ho",
        Timeouts.of(17),
    )


def test_cores_own_loader_does_not_take_it_for_another_package(server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="OPEAProxyEmbedding"):
        load_embed_model(embedding(server).to_dict())


# --- always the same


@pytest.mark.parametrize("kind", CLASSES)
def test_the_dict_is_the_same_after_calls(server: ScriptedServer, kind: str) -> None:
    made = MAKERS[kind](server)
    before = json.dumps(made.to_dict(), sort_keys=True)
    if kind == "rerank":
        server.script(ranked((0, 1.0)))
        made.postprocess_nodes(NODES, query_str="q")
    elif kind == "embedding":
        made.get_text_embedding("x")
        asyncio.run(made.aget_text_embedding("x"))
    else:
        made.complete("x")
        asyncio.run(made.acomplete("x"))
    made.discover()
    assert json.dumps(made.to_dict(), sort_keys=True) == before


def test_the_dict_of_embeddings_does_not_depend_on_keys(server: ScriptedServer) -> None:
    keys: list[Any] = ["sk-one", "sk-two", lambda: "sk-three", None, ""]
    assert (
        len({json.dumps(embedding(server, api_key=key).to_dict(), sort_keys=True) for key in keys})
        == 1
    )


def test_the_dict_of_embeddings_depends_on_what_changes_vectors(server: ScriptedServer) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"model_name": "other"}, {"dimensions": 4}, {"text_prefix": "p: "},
        {"query_prefix": "q: "}, {"extra_body": {"a": 1}},
    ]  # fmt: skip
    assert len(
        {json.dumps(embedding(server, **change).to_dict(), sort_keys=True) for change in changes}
    ) == len(changes)


def test_the_ingestion_cache_survives_a_rotated_key(server: ScriptedServer) -> None:
    cache = IngestionCache()
    documents = [Document(text=text, id_=text) for text in ("one", "two")]
    for key in ("sk-old", "sk-new"):
        found = IngestionPipeline(
            transformations=[embedding(server, api_key=key)], cache=cache
        ).run(documents=documents)
        assert all(node.embedding for node in found)
    assert len(server.seen) == 1


def test_the_hash_of_a_transformation_is_stable_with_objects_of_this_process(
    server: ScriptedServer,
) -> None:
    nodes = [TextNode(text="x")]
    hashes = {
        get_transformation_hash(
            nodes,
            embedding(
                server, embeddings_cache=SimpleKVStore(), rate_limiter=Counter(), hooks=[print]
            ),
        )
        for _ in range(3)
    }
    assert len(hashes) == 1


def test_a_dumped_reranker_or_embedding_is_json(server: ScriptedServer) -> None:
    for made in (
        OPEAEmbedding(model="m", api_base=server.url),
        OPEARerank(model="m", api_base=server.url),
    ):
        assert json.loads(made.to_json()) == json.loads(json.dumps(made.to_dict()))


STORED_BY_OPENAI_LIKE: dict[str, dict[str, Any]] = {
    "llm": {
        "system_prompt": None, "pydantic_program_mode": "default", "model": "m", "temperature": 0.1,
        "max_tokens": None, "logprobs": None, "top_logprobs": 0, "additional_kwargs": {},
        "max_retries": 3, "timeout": 60.0, "default_headers": None, "reuse_client": True,
        "api_key": "fake", "api_base": "http://localhost:1/v1", "api_version": "", "strict": False,
        "reasoning_effort": None, "modalities": None, "audio_config": None, "context_window": 9000,
        "is_chat_model": True, "is_function_calling_model": False,
        "should_use_structured_outputs": False, "tokenizer": None, "class_name": "OpenAILike",
    },
    "embedding": {
        "model_name": "m", "embed_batch_size": 10, "num_workers": None, "embeddings_cache": None,
        "additional_kwargs": {}, "api_key": "fake", "api_base": "http://localhost:1/v1",
        "api_version": "", "max_retries": 10, "timeout": 60.0, "default_headers": None,
        "reuse_client": True, "dimensions": None, "class_name": "OpenAIEmbedding",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", STORED_BY_OPENAI_LIKE)
def test_what_openai_like_stored_can_be_loaded(server: ScriptedServer, kind: str) -> None:
    made = CLASSES[kind].from_dict(STORED_BY_OPENAI_LIKE[kind], api_base=server.url)
    made.complete("x") if kind == "llm" else made.get_text_embedding("x")
    seen = server.seen[-1]
    assert (seen.body["model"], seen.headers["authorization"], seen.query) == (
        "m",
        "Bearer fake",
        {},
    )
