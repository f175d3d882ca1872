"""Pickles: for worker processes, with keys, before and after use;
what cannot be pickled is named, and the object lives on.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import ssl
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from li_object_support import CLASSES, MAKERS, WAYS, Listener, ask, llm, ranked
from llama_index.core.schema import NodeWithScore, TextNode
from thorough import some

from llama_index_opea import OPEALLM
from opea_core import OPEA, Capabilities, ConfigurationError, Endpoint, RetryPolicy, Timeouts
from opea_core.testing import ScriptedServer


def _key() -> str:
    return "sk-from-a-function"


def _shout(prompt: str) -> str:
    return prompt.upper()


@pytest.mark.parametrize("way", WAYS)
def test_a_pickled_llm_answers(server: ScriptedServer, way: str) -> None:
    made = pickle.loads(pickle.dumps(llm(server, temperature=0.5, api_key="sk-secret")))
    assert ask(way, made)
    assert server.seen[-1].headers["authorization"] == "Bearer sk-secret"
    assert server.seen[-1].body["temperature"] == 0.5


@pytest.mark.parametrize("kind", CLASSES)
def test_it_can_be_pickled_after_sync_and_async_calls(server: ScriptedServer, kind: str) -> None:
    made = MAKERS[kind](server)
    _use_both(server, kind, made)
    _use_both(server, kind, pickle.loads(pickle.dumps(made)))
    _use_both(server, kind, made)
    assert len(server.seen) == 6


def _use_both(server: ScriptedServer, kind: str, made: Any) -> None:
    nodes = [NodeWithScore(node=TextNode(text="a"))]
    if kind == "rerank":
        server.always(ranked((0, 1.0)))
        made.postprocess_nodes(nodes, query_str="q")
        asyncio.run(made.apostprocess_nodes(nodes, query_str="q"))
    elif kind == "embedding":
        made.get_text_embedding("x")
        asyncio.run(made.aget_text_embedding("x"))
    else:
        made.complete("x")
        asyncio.run(made.acomplete("x"))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"api_key": _key}, id="a function as key"),
        pytest.param(
            {"timeout": (1, 2), "max_retries": 3, "deadline": 9, "recovery_wait": 1}, id="times"
        ),
        pytest.param(
            {"capabilities": Capabilities(max_tokens_field="max_completion_tokens")},
            id="capabilities",
        ),
        pytest.param(
            {"default_headers": {"x-a": "b"}, "default_query": {"a": "b"}, "organization": "o"},
            id="headers",
        ),
        pytest.param(
            {"extra_body": {"a": 1}, "additional_kwargs": {"b": 2}, "stop": ["x"]}, id="body"
        ),
        pytest.param(
            {"is_chat_model": False, "completion_to_prompt": _shout, "system_prompt": "s"},
            id="prompts",
        ),
    ],
)
def test_what_was_set_survives_pickling(server: ScriptedServer, options: dict[str, Any]) -> None:
    made = llm(server, **options)
    other = pickle.loads(pickle.dumps(made))
    for one in (made, other):
        one.complete("x", max_tokens=5, request_id="r")
    first, then = server.seen
    assert (first.path, first.body, first.query, first.headers) == (
        then.path,
        then.body,
        then.query,
        then.headers,
    )
    assert other.client.settings == made.client.settings


def test_endpoints_survive_pickling(server: ScriptedServer) -> None:
    endpoints = [
        {"base_url": server.url, "model": "a", "api_key": "k"},
        Endpoint(base_url="http://localhost:1", tier=1),
    ]
    made = pickle.loads(pickle.dumps(OPEALLM(endpoints=endpoints, max_retries=0)))
    made.complete("x")
    assert (server.seen[-1].body["model"], server.seen[-1].headers["authorization"]) == (
        "a",
        "Bearer k",
    )
    assert [endpoint.tier for endpoint in made.client.endpoints] == [0, 1]


def test_the_environment_of_the_first_process_is_kept(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEA_API_URL", server.url)
    monkeypatch.setenv("OPEA_API_KEY", "sk-env")
    data = pickle.dumps(OPEALLM(model="m", max_retries=0))
    monkeypatch.delenv("OPEA_API_URL")
    monkeypatch.delenv("OPEA_API_KEY")
    pickle.loads(data).complete("x")
    assert server.seen[-1].headers["authorization"] == "Bearer sk-env"


def test_with_a_given_object_it_can_be_pickled(server: ScriptedServer) -> None:
    made = pickle.loads(
        pickle.dumps(OPEALLM(client=OPEA(server.url, model="object's", api_key="k"), timeout=3))
    )
    made.complete("x")
    assert server.seen[-1].body["model"] == "object's"
    assert server.seen[-1].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify", ssl.create_default_context()),
        ("http_client", httpx.Client()),
        ("hooks", [lambda event: None]),
        ("api_key", lambda: "k"),
    ],
    ids=["verify", "http_client", "hooks", "api_key"],
)
def test_what_cannot_be_pickled_is_named_and_the_object_lives_on(
    server: ScriptedServer, name: str, value: Any, kind: str
) -> None:
    made = MAKERS[kind](server, **{name: value})
    before = dict(vars(made))
    with pytest.raises(ConfigurationError, match=f"{name}="):
        pickle.dumps(made)
    assert vars(made) == before
    _use_both(server, kind, made)


def test_callbacks_that_cannot_be_pickled_are_left_out_and_stay(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    listener.lock = threading.Lock()  # type: ignore[attr-defined]
    made = llm(server, callback_manager=listener.manager, messages_to_prompt=lambda messages: "x")
    other = pickle.loads(pickle.dumps(made))
    assert other.complete("x").text
    made.complete("x")
    assert listener.counts == {"llm": (1, 1)}
    assert made.messages_to_prompt([]) == "x"
    assert {"callback_manager", "messages_to_prompt"} <= {
        word for record in caplog.records for word in record.getMessage().split()
    }


def test_a_discovered_model_and_window_are_asked_for_again_or_kept(server: ScriptedServer) -> None:
    made = OPEALLM(api_base=server.url).discover()
    other = pickle.loads(pickle.dumps(made))
    assert other.complete("x").text
    assert server.seen[-1].body["model"] == "scripted-model"


_OTHER_PROCESS = """
import asyncio, pickle, sys
made = pickle.load(sys.stdin.buffer)
if hasattr(made, "complete"):
    print(made.complete("x").text, asyncio.run(made.acomplete("x")).text)
else:
    print(len(made.get_text_embedding("x")), len(asyncio.run(made.aget_text_embedding("x"))))
"""


@pytest.mark.parametrize("kind", some(["llm", "embedding"], kept=["llm"]))
def test_it_works_in_another_process(server: ScriptedServer, kind: str) -> None:
    made = MAKERS[kind](
        server,
        api_key="sk-secret",
        retry=RetryPolicy(max_retries=0),
        timeout=Timeouts(first_event=9),
    )
    _use_both(server, kind, made)
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS],
        input=pickle.dumps(made),
        capture_output=True,
        timeout=120,
        check=False,
        env=paths,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(server.seen) == 4
    assert server.seen[-1].headers["authorization"] == "Bearer sk-secret"
