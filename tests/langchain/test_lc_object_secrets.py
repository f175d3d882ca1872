"""Keys, header values, passwords and query values are nowhere to be read;
what is serialised can be loaded again.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from langchain_core.runnables import ConfigurableField
from lc_object_support import CLASSES, WAYS, Listener, ask, made
from pydantic import SecretStr

from langchain_opea import ChatOPEA
from opea_core import OPEA
from opea_core.testing import ScriptedServer, error

SECRETS = ("sk-key-secret", "hdr-secret", "qry-secret", "pass-secret", "org-secret", "body-secret")


def _secretive(server: ScriptedServer, cls: Any = ChatOPEA, **options: Any) -> Any:
    given: dict[str, Any] = {
        "model": "m",
        "base_url": f"{server.url}?sig=qry-secret",
        "api_key": "sk-key-secret",
        "default_headers": {"x-tenant": "hdr-secret"},
        "default_query": {"code": "qry-secret"},
        "organization": "org-secret",
        "max_retries": 0,
    }
    return cls(**given | options)


def _with_user(server: ScriptedServer, cls: Any = ChatOPEA) -> Any:
    url = server.url.replace("http://", "http://someone:pass-secret@")
    return cls(model="m", base_url=f"{url}?sig=qry-secret", max_retries=0)


def _with_endpoints(server: ScriptedServer, cls: Any = ChatOPEA) -> Any:
    endpoint = {
        "base_url": f"{server.url}?sig=qry-secret",
        "api_key": "sk-key-secret",
        "headers": {"x-a": "hdr-secret"},
    }
    return cls(
        model="m",
        endpoints=[endpoint, {"base_url": "http://u:pass-secret@localhost:1", "tier": 1}],
        max_retries=0,
    )


def _with_keys(server: ScriptedServer, cls: Any = ChatOPEA) -> Any:
    return cls(
        model="m", base_url=server.url, api_keys=["sk-key-secret", "sk-key-secret-2"], max_retries=0
    )


def _with_object(server: ScriptedServer, cls: Any = ChatOPEA) -> Any:
    return cls(
        model="m",
        client=OPEA(
            f"{server.url}?sig=qry-secret", api_key="sk-key-secret", headers={"x-a": "hdr-secret"}
        ),
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "keywords": _secretive,
    "user in the URL": _with_user,
    "endpoints": _with_endpoints,
    "api_keys": _with_keys,
    "client": _with_object,
}


def _clean(*texts: Any) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in (text if isinstance(text, str) else str(text))


# --- shown


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_what_a_model_shows_of_itself(
    server: ScriptedServer, maker: str, cls: Any
) -> None:
    model = MAKERS[maker](server, cls)
    _clean(
        repr(model),
        str(model),
        repr(pickle.loads(pickle.dumps(model))),
        repr(copy.deepcopy(model)),
        model.__repr_args__(),
    )
    _clean(repr(model.client))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_a_dump(server: ScriptedServer, maker: str, cls: Any) -> None:
    model = MAKERS[maker](server, cls)
    _clean(model.model_dump(), model.model_dump_json())


@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_in_what_is_serialised(server: ScriptedServer, maker: str) -> None:
    model = MAKERS[maker](server)
    _clean(
        dumps(model),
        dumpd(model),
        model.asdict(),
        json.dumps(model.to_json(), default=repr),
        model._get_llm_string(),
    )
    _clean(model._identifying_params, model.lc_attributes)


def test_a_representation_says_model_and_server(server: ScriptedServer) -> None:
    shown = repr(_secretive(server, temperature=0.5))
    assert shown.startswith(f"ChatOPEA(model='m', base_url='{server.url}'")
    assert "temperature=0.5" in shown


@pytest.mark.parametrize(
    "form", ["bind", "with_config", "with_structured_output", "configured", "chain"]
)
def test_no_secret_in_what_is_made_of_a_model(server: ScriptedServer, form: str) -> None:
    model = _secretive(server)
    forms = {
        "bind": lambda: model.bind(temperature=0.5),
        "with_config": lambda: model.with_config(tags=["a"]),
        "with_structured_output": lambda: model.with_structured_output(
            {"title": "A", "type": "object"}
        ),
        "configured": lambda: model.configurable_fields(temperature=ConfigurableField(id="t")),
        "chain": lambda: model | str,
    }
    made_of_it = forms[form]()
    _clean(repr(made_of_it), dumps(made_of_it))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_secret_reaches_tracers(server: ScriptedServer, maker: str, way: str) -> None:
    listener = Listener()
    ask(way, MAKERS[maker](server), config=listener.config)
    [told] = listener.told
    _clean(told, told["serialized"], told["invocation_params"], told["metadata"], listener.results)
    assert told["serialized"]["id"] == ["langchain_opea", "chat_models", "ChatOPEA"]


@pytest.mark.parametrize("way", WAYS)
def test_header_and_query_values_of_a_call_do_not_reach_tracers(
    server: ScriptedServer, way: str
) -> None:
    listener = Listener()
    ask(
        way,
        made(server),
        config=listener.config,
        extra_headers={"x-a": "hdr-secret"},
        extra_query={"sig": "qry-secret"},
    )
    assert server.seen[-1].headers["x-a"] == "hdr-secret"
    assert server.seen[-1].query["sig"] == "qry-secret"
    _clean(listener.told)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", [_secretive, _with_user, _with_endpoints])
def test_no_secret_in_errors(server: ScriptedServer, maker: Callable[..., Any], way: str) -> None:
    listener = Listener()
    server.always(error(401, " ".join(SECRETS[:4]), headers={"x-echo": "sk-key-secret"}))
    with pytest.raises(Exception, match="401") as caught:
        ask(way, maker(server), config=listener.config)
    sent = {*server.seen[0].headers.values(), *server.seen[0].query.values()}
    hidden = [secret for secret in SECRETS[:3] if any(secret in value for value in sent)]
    assert hidden
    for text in (
        str(caught.value),
        repr(caught.value),
        str(vars(caught.value)),
        str(listener.response),
    ):
        assert not any(secret in text for secret in hidden)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", ["sk-key-secret"]),
        ("default_headers", {"x-a": "hdr-secret\n"}),
        ("default_headers", [("x-a", "hdr-secret")]),
        ("default_query", {"a": ["qry-secret"]}),
        ("base_url", "http://u:pass-secret@localhost:99999"),
        ("base_url", ["http://u:pass-secret@localhost"]),
        ("api_keys", ["ok", 5, "sk-key-secret"]),
        ("endpoints", [{"base_url": "http://u:pass-secret@localhost", "nonsense": 1}]),
        ("proxy", "someone:pass-secret@proxy"),
        ("organization", ["org-secret"]),
    ],
)
@pytest.mark.parametrize("cls", CLASSES)
def test_no_secret_in_errors_of_the_constructor(cls: Any, name: str, value: Any) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        cls(model="m", **{name: value})
    _clean(str(caught.value), repr(caught.value))


# --- assigned


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "sk-key-secret"),
        ("base_url", "http://u:pass-secret@elsewhere"),
        ("default_headers", {"x-a": "hdr-secret"}),
        ("default_query", {"x-a": "qry-secret"}),
        ("endpoints", ["http://u:pass-secret@elsewhere"]),
        ("timeout", 3),
        ("max_retries", 3),
        ("max_concurrent", 3),
    ],
)
def test_what_the_object_was_made_of_cannot_be_assigned(
    server: ScriptedServer, cls: Any, name: str, value: Any
) -> None:
    model = _secretive(server, cls)
    before = getattr(model, name)
    with pytest.raises(Exception, match=name) as caught:
        setattr(model, name, value)
    _clean(str(caught.value), repr(caught.value))
    assert getattr(model, name) == before


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "seed"])
def test_what_belongs_to_calls_can_be_assigned(server: ScriptedServer, name: str) -> None:
    model = made(server)
    setattr(model, name, 1)
    model.invoke("x")
    assert server.seen[-1].body[name] == 1


# --- serialised and loaded


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestLoading:
    """What ``dumpd`` wrote, ``load`` makes into a model again."""

    def _loaded(self, model: ChatOPEA, **secrets: str) -> ChatOPEA:
        data = json.loads(json.dumps(dumpd(model)))
        found: ChatOPEA = load(
            data,
            allowed_objects=[ChatOPEA],
            valid_namespaces=["langchain_opea"],
            secrets_map=secrets,
        )
        return found

    def test_a_loaded_model_asks_the_same(self, server: ScriptedServer) -> None:
        model = made(
            server,
            temperature=0.5,
            stop=["END"],
            extra_body={"a": 1},
            model_kwargs={"b": 2},
            n=1,
            streaming=True,
            stream_usage=False,
        )
        other = self._loaded(model)
        assert other.asdict() == model.asdict()
        model.invoke("x")
        other.invoke("x")
        assert server.seen[0].body == server.seen[1].body

    def test_the_key_comes_from_the_secrets(self, server: ScriptedServer) -> None:
        self._loaded(made(server, api_key="sk-key-secret"), OPEA_API_KEY="another").invoke("x")
        assert server.seen[-1].headers["authorization"] == "Bearer another"

    def test_a_model_without_a_key_needs_none(self, server: ScriptedServer) -> None:
        self._loaded(made(server)).invoke("x")
        assert "authorization" not in server.seen[-1].headers

    def test_password_and_query_are_left_out(self, server: ScriptedServer) -> None:
        assert self._loaded(_with_user(server)).asdict()["base_url"] == server.url

    def test_excluded_settings_take_their_defaults(self, server: ScriptedServer) -> None:
        other = self._loaded(made(server, timeout=3, max_retries=9, default_headers={"a": "b"}))
        assert (other.timeout, other.max_retries, other.default_headers) == (
            made(server).timeout,
            None,
            None,
        )

    @pytest.mark.parametrize("maker", ["endpoints", "client"])
    def test_a_model_of_several_servers_becomes_one_of_the_first(
        self, server: ScriptedServer, maker: str
    ) -> None:
        other = self._loaded(MAKERS[maker](server))
        other.invoke("x")
        assert server.seen[-1].body["model"] == "m"

    def test_a_model_named_by_the_object_is_kept(self, server: ScriptedServer) -> None:
        other = self._loaded(ChatOPEA(client=OPEA(server.url, model="object's")))
        other.invoke("x")
        assert server.seen[-1].body["model"] == "object's"

    def test_a_loaded_model_streams(self, server: ScriptedServer) -> None:
        assert list(self._loaded(made(server)).stream("x"))
        assert server.seen[-1].body["stream"] is True


# --- LangSmith


def _params(server: ScriptedServer, chat: Any, **options: Any) -> dict[str, Any]:
    listener = Listener()
    chat.invoke("x", listener.config, **options)
    metadata: dict[str, Any] = listener.told[0]["metadata"]
    return metadata


def test_langsmith_gets_model_and_sampling(server: ScriptedServer) -> None:
    found = _params(server, made(server, temperature=0.5, max_tokens=7, stop=["END"]))
    assert {
        key: found[key] for key in found if key.startswith("ls_") and key != "ls_integration"
    } == {
        "ls_provider": "opea",
        "ls_model_type": "chat",
        "ls_model_name": "m",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["END"],
    }


def test_langsmith_gets_what_the_call_says(server: ScriptedServer) -> None:
    found = _params(
        server,
        made(server, temperature=0.5, max_tokens=7, stop=["END"]),
        model="m2",
        temperature=0.1,
        max_tokens=3,
        stop=["STOP"],
    )
    assert [
        found[f"ls_{name}"] for name in ("model_name", "temperature", "max_tokens", "stop")
    ] == ["m2", 0.1, 3, ["STOP"]]


def test_langsmith_gets_the_discovered_model(server: ScriptedServer) -> None:
    model = ChatOPEA(base_url=server.url).discover()
    assert _params(server, model)["ls_model_name"] == "scripted-model"


def test_our_version_is_part_of_the_metadata(server: ScriptedServer) -> None:
    assert "langchain-opea" in _params(server, made(server))["lc_versions"]


async def test_a_secret_key_object_is_taken_as_it_is(server: ScriptedServer) -> None:
    model = made(server, api_key=SecretStr("sk-key-secret"))
    await model.ainvoke("x")
    assert server.seen[-1].headers["authorization"] == "Bearer sk-key-secret"
    _clean(repr(model), dumps(model))
