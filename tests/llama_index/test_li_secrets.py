"""Keys, header values, passwords and query values are nowhere to be read:
not shown, stored, traced, logged or in errors.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from li_object_support import (
    CLASSES,
    STRUCTURED,
    WAYS,
    WITH_TOOLS,
    Events,
    Listener,
    Spans,
    ask,
    instrumented,
    llm,
    ranked,
)
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import LlamaDebugHandler
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import SecretStr

from llama_index_opea import OPEALLM
from opea_core import OPEA, ConfigurationError
from opea_core.testing import ScriptedServer, error

SECRETS = ("sk-key-secret", "hdr-secret", "qry-secret", "pass-secret", "org-secret")
NODES = [NodeWithScore(node=TextNode(text="a"))]


def _keywords(server: ScriptedServer, cls: Any = OPEALLM, **options: Any) -> Any:
    given: dict[str, Any] = {
        "model": "m",
        "api_base": f"{server.url}?sig=qry-secret",
        "api_key": "sk-key-secret",
        "default_headers": {"x-tenant": "hdr-secret"},
        "default_query": {"code": "qry-secret"},
        "organization": "org-secret",
        "max_retries": 0,
    }
    return cls(**given | options)


def _secret_key(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    return _keywords(server, cls, api_key=SecretStr("sk-key-secret"))


def _key_function(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    return _keywords(server, cls, api_key=_secret)


def _secret() -> str:
    return "sk-key-secret"


def _user_in_the_url(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    url = server.url.replace("http://", "http://someone:pass-secret@")
    return cls(model="m", api_base=f"{url}?sig=qry-secret", max_retries=0)


def _endpoints(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    endpoint = {
        "base_url": f"{server.url}?sig=qry-secret",
        "api_key": "sk-key-secret",
        "headers": {"x-a": "hdr-secret"},
    }
    other = {
        "base_url": "http://u:pass-secret@localhost:1",
        "tier": 1,
        "query": {"sig": "qry-secret"},
    }
    return cls(model="m", endpoints=[endpoint, other], max_retries=0)


def _keys(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    return cls(
        model="m", api_base=server.url, api_keys=["sk-key-secret", "sk-key-secret-2"], max_retries=0
    )


def _further_fields(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    kwargs = {"extra_headers": {"x-a": "hdr-secret"}, "extra_query": {"sig": "qry-secret"}}
    return cls(model="m", api_base=server.url, additional_kwargs=kwargs, max_retries=0)


def _object(server: ScriptedServer, cls: Any = OPEALLM) -> Any:
    return cls(
        model="m",
        client=OPEA(
            f"{server.url}?sig=qry-secret", api_key="sk-key-secret", headers={"x-a": "hdr-secret"}
        ),
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "keywords": _keywords,
    "SecretStr": _secret_key,
    "function": _key_function,
    "user in the URL": _user_in_the_url,
    "endpoints": _endpoints,
    "api_keys": _keys,
    "additional_kwargs": _further_fields,
    "client": _object,
}


def clean(*texts: Any) -> None:
    """No secret is in any of these."""
    for text in texts:
        found = [
            secret for secret in SECRETS if secret in (text if isinstance(text, str) else str(text))
        ]
        assert not found


def use(server: ScriptedServer, made: Any, way: str = "sync") -> None:
    """One call of an object of any class."""
    if isinstance(made, OPEALLM):
        made.complete("x") if way == "sync" else asyncio.run(made.acomplete("x"))
    elif hasattr(made, "top_n"):
        server.always(ranked((0, 1.0)))
        bundle = QueryBundle("q")
        made.postprocess_nodes(NODES, bundle) if way == "sync" else asyncio.run(
            made.apostprocess_nodes(NODES, bundle)
        )
    else:
        made.get_text_embedding_batch(["x"]) if way == "sync" else asyncio.run(
            made.aget_text_embedding_batch(["x"])
        )


# --- shown and stored


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_what_an_object_shows_of_itself(
    server: ScriptedServer, maker: str, kind: str
) -> None:
    made = MAKERS[maker](server, CLASSES[kind])
    clean(
        repr(made),
        str(made),
        f"{made}",
        made.__repr_args__(),
        repr(copy.deepcopy(made)),
        repr(made.client),
    )
    if maker != "function":
        clean(repr(pickle.loads(pickle.dumps(made))))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_what_is_stored(server: ScriptedServer, maker: str, kind: str) -> None:
    made = MAKERS[maker](server, CLASSES[kind])
    clean(
        made.to_dict(),
        made.to_json(),
        made.dict(),
        made.json(),
        made.model_dump(),
        made.model_dump_json(),
        made.model_dump(mode="json"),
    )


@pytest.mark.parametrize("kind", ["llm", "embedding"])
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_payloads(server: ScriptedServer, maker: str, kind: str) -> None:
    clean(MAKERS[maker](server, CLASSES[kind]).to_payload())


def test_a_representation_says_class_model_and_server(server: ScriptedServer) -> None:
    shown = repr(_keywords(server, temperature=0.5))
    assert shown.startswith(f"OPEALLM(model='m', api_base='{server.url}'")
    assert "temperature=0.5" in shown


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "options",
    [
        {"api_key": ["sk-key-secret"]},
        {"api_base": "ftp://sk-key-secret"},
        {"api_base": "http://u:pass-secret@"},
    ],
    ids=str,
)
def test_no_secret_in_errors_of_the_constructor(kind: str, options: dict[str, Any]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        CLASSES[kind](model="m", temperature="hot", **options) if kind == "llm" else CLASSES[kind](
            model="m", **options
        )
    clean(str(caught.value), repr(caught.value))


def test_no_secret_in_validation_errors_of_other_fields(server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="temperature") as caught:
        _keywords(server, temperature="hot")
    clean(str(caught.value), repr(caught.value))


# --- traced


def _traced(
    server: ScriptedServer, act: Callable[[], Any], made: Any
) -> tuple[Events, Spans, Listener]:
    listener = Listener()
    made.callback_manager = listener.manager
    with instrumented() as (events, spans):
        act()
    assert events.names
    return events, spans, listener


def _clean_traces(events: Events, spans: Spans, listener: Listener) -> None:
    clean(events.text, spans.text, listener.started, listener.ended)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_of_an_llm_reaches_tracers(server: ScriptedServer, maker: str, way: str) -> None:
    made = MAKERS[maker](server)
    _clean_traces(*_traced(server, lambda: ask(way, made), made))


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", ["embedding", "rerank"])
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_of_embeddings_and_reranker_reaches_tracers(
    server: ScriptedServer, maker: str, kind: str, way: str
) -> None:
    made = MAKERS[maker](server, CLASSES[kind])
    _clean_traces(*_traced(server, lambda: use(server, made, way), made))


CALL: dict[str, Any] = {
    "extra_headers": {"x-a": "hdr-secret"},
    "extra_query": {"sig": "qry-secret"},
}


def _arrived(server: ScriptedServer) -> None:
    assert all(
        (seen.headers["x-a"], seen.query["sig"]) == ("hdr-secret", "qry-secret")
        for seen in server.seen
    )
    assert server.seen


@pytest.mark.parametrize("way", WAYS)
def test_headers_of_a_call_arrive_and_do_not_reach_tracers(
    server: ScriptedServer, way: str
) -> None:
    made = llm(server)
    _clean_traces(*_traced(server, lambda: ask(way, made, **CALL), made))
    _arrived(server)


@pytest.mark.parametrize("way", WAYS)
def test_headers_of_a_failed_call_do_not_reach_tracers(server: ScriptedServer, way: str) -> None:
    server.always(error(400, "no"))
    made = llm(server)

    def act() -> None:
        with pytest.raises(Exception, match="400") as caught:
            ask(way, made, **CALL)
        clean(str(caught.value), repr(caught.value))

    _clean_traces(*_traced(server, act, made))
    _arrived(server)


@pytest.mark.parametrize("name", [*WITH_TOOLS, *STRUCTURED])
def test_headers_of_a_call_with_tools_or_a_form_do_not_reach_tracers(
    server: ScriptedServer, name: str
) -> None:
    made = llm(server)
    _clean_traces(*_traced(server, lambda: (WITH_TOOLS | STRUCTURED)[name](made, **CALL), made))
    _arrived(server)


@pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
)
async def test_no_secret_reaches_the_stream_of_an_agent(server: ScriptedServer) -> None:
    agent = FunctionAgent(tools=[], llm=_keywords(server))
    with instrumented() as (events, spans):
        handler = agent.run("x", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))
        seen = [repr(event) async for event in handler.stream_events()]
        await handler
    clean("\n".join(seen), events.text, spans.text)


def test_no_secret_reaches_the_debug_handler(server: ScriptedServer) -> None:
    made, handler = _keywords(server), LlamaDebugHandler(print_trace_on_end=False)
    made.callback_manager.add_handler(handler)
    made.complete("x", **CALL)
    [(start, end)] = handler.get_llm_inputs_outputs()
    clean(start.payload, end.payload)


@pytest.mark.parametrize("way", ["chat", "astream_complete"])
def test_events_can_be_pickled_without_secrets(server: ScriptedServer, way: str) -> None:
    made = _keywords(server)
    with instrumented() as (events, _):
        ask(way, made, **CALL)
    kept = [
        event
        for name in (
            "LLMChatStartEvent",
            "LLMChatEndEvent",
            "LLMCompletionStartEvent",
            "LLMCompletionEndEvent",
        )
        for event in events.of(name)
    ]
    assert len(kept) == 2
    data = pickle.dumps(kept)
    clean(data.decode("latin-1"), pickle.loads(data))


def test_options_that_are_no_secret_are_told(server: ScriptedServer) -> None:
    with instrumented() as (events, _):
        llm(server).complete("x", top_k=3, timeout=5)
    [start] = events.of("LLMCompletionStartEvent")
    assert (start.additional_kwargs["top_k"], start.additional_kwargs["timeout"]) == (3, 5)


def test_the_payload_says_what_a_tracer_wants_to_know(server: ScriptedServer) -> None:
    found = llm(server, max_tokens=5).to_payload()
    wanted = ("class_name", "model_name", "temperature", "max_tokens", "context_window", "api_base")
    assert [found[name] for name in wanted] == ["OPEALLM", "m", 0.1, 5, 8000, server.url]
    json.dumps(found)


# --- errors and logs


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", [name for name in MAKERS if name != "api_keys"])
def test_no_secret_in_errors_even_if_the_server_repeats_it(
    server: ScriptedServer, maker: str, way: str
) -> None:
    server.always(error(401, " ".join(SECRETS), headers={"x-echo": "sk-key-secret"}))
    listener = Listener()
    made = MAKERS[maker](server)
    made.callback_manager = listener.manager
    with instrumented() as (events, spans), pytest.raises(Exception, match="401") as caught:
        ask(way, made)
    sent = {*server.seen[0].headers.values(), *server.seen[0].query.values()}
    hidden = [secret for secret in SECRETS[:3] if any(secret in value for value in sent)]
    assert hidden
    texts = [
        str(caught.value),
        repr(caught.value),
        str(vars(caught.value)),
        pickle.dumps(caught.value).decode("latin-1"),
    ]
    for text in [*texts, events.text, spans.text, str(listener.started), str(listener.ended)]:
        assert not [secret for secret in hidden if secret in text]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_logs(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, maker: str, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    use(server, MAKERS[maker](server, CLASSES[kind]))
    clean(
        *[
            record.getMessage()
            for record in caplog.records
            if record.name.startswith(("opea", "llama_index"))
        ]
    )


LATER = {"extra_headers": {"x-a": "hdr-secret"}, "user": "u"}


def test_headers_among_further_fields_of_a_copy_are_hidden(server: ScriptedServer) -> None:
    made = llm(server).model_copy(update={"additional_kwargs": LATER})
    made.complete("x")
    assert (server.seen[-1].headers["x-a"], server.seen[-1].body["user"]) == ("hdr-secret", "u")
    clean(repr(made), made.to_dict(), made.to_json())


def test_headers_among_further_fields_set_later_are_refused(server: ScriptedServer) -> None:
    made = llm(server)
    with pytest.raises(ConfigurationError, match="default_headers=") as caught:
        made.additional_kwargs = LATER
    clean(str(caught.value), repr(made), made.to_dict())


def test_a_subclass_reads_the_headers_of_a_call(server: ScriptedServer) -> None:
    class More(OPEALLM):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            given = kwargs.get("extra_headers") or {}
            assert given.get("x-b") == "2"
            assert dict(given.items()) == {"x-b": "2"}
            return super().chat(
                messages, **{**kwargs, "extra_headers": {**given, "x-a": "1"} | {"x-c": "3"}}
            )

    More(model="m", api_base=server.url).chat_with_tools([], "x", extra_headers={"x-b": "2"})
    assert [server.seen[0].headers[name] for name in ("x-a", "x-b", "x-c")] == ["1", "2", "3"]
