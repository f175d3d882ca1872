"""What is given for one server never reaches another, by whatever way a model comes to ask there;
what is given for that one does.
"""

from __future__ import annotations

import base64
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import plain_environment
import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import Field

from langchain_opea import ChatOPEA, OPEAEmbeddings, OPEARerank
from llama_index_opea import OPEALLM
from opea_core import OPEA, ConfigurationError
from opea_core.testing import ScriptedServer

Options = dict[str, Any]
Derived = tuple[Any, Any]
"""A model (or how to ask one), and what was derived from it: asked at the second server."""

ONCE: Options = {"model": "m", "max_retries": 0}
DATA = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
House: Any = None
"""Where pickle looks for a subclass."""
CORE_NAMES = {"default_headers": "headers", "default_query": "query"}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set on the machine of whoever runs the tests does not matter."""
    plain_environment.forget(monkeypatch)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def second() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes HTTP clients."""
    with ExitStack() as stack:
        yield stack


# --- what is given for a server


def a_key(url: str, whose: str, stack: ExitStack) -> Options:
    headers, query = {"x-team": f"{whose}-header"}, {"code": f"{whose}-query"}
    return {
        "base_url": url,
        "api_key": f"{whose}-key",
        "default_headers": headers,
        "default_query": query,
        "organization": f"{whose}-org",
    }


def keys(url: str, whose: str, stack: ExitStack) -> Options:
    return {"base_url": url, "api_keys": [f"{whose}-key"]}


def a_client(url: str, whose: str, stack: ExitStack) -> Options:
    client = httpx.Client(
        headers={"x-team": f"{whose}-header"}, auth=("ann", f"{whose}-password"), trust_env=False
    )
    return {"base_url": url, "http_client": stack.enter_context(client)}


def in_the_url(url: str, whose: str, stack: ExitStack) -> Options:
    return {
        "base_url": f"{url.replace('://', f'://{whose}-user:{whose}-password@')}?code={whose}-query"
    }


# --- ways from one server to another


def _names(given: Options) -> Options:
    """In the core's names."""
    return {
        CORE_NAMES.get(name, name): value
        for name, value in given.items()
        if name not in ("organization", "model")
    }


def _at(given: Options) -> Options:
    """As an endpoint of its own."""
    return {name: value for name, value in given.items() if name != "base_url"} | {
        "endpoints": [given["base_url"]]
    }


def _both(given: Options, first: str) -> Options:
    """At both servers; the second one is asked."""
    return {name: value for name, value in given.items() if name != "base_url"} | {
        "base_url": None,
        "endpoints": [{"base_url": first}, {"base_url": given["base_url"], "tier": -1}],
    }


def _house(given: Options, base: type[Any] = ChatOPEA) -> Any:
    """A subclass with these defaults; pydantic would copy an HTTP client,
    but not what a function gives.
    """
    own = {
        name: Field(default_factory=partial(dict.get, given, name))
        if name == "http_client"
        else value
        for name, value in given.items()
    }
    return type(
        "House",
        (base,),
        {"__module__": __name__, "__annotations__": dict.fromkeys(given, Any), **own},
    )


def _configured(model: Any, given: Options) -> Any:
    fields = {name: ConfigurableField(id=name) for name in given}
    return model.configurable_fields(**fields).with_config(configurable=given)


def model_copy(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, model.model_copy(update=given)


def model_copy_to_endpoints(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, model.model_copy(update={"base_url": None, **_at(given)})


def model_copy_to_both(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, model.model_copy(update=_both(given, first["base_url"]))


def model_copy_from_endpoints(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **_at(first))
    return model, model.model_copy(update={"endpoints": None, **given})


def configurable_fields(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, _configured(model, given)


def configurable_model_kwargs(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, _configured(
        model,
        {**given, "model_kwargs": {"extra_headers": {"x-more": "1"}, "extra_query": {"more": "1"}}},
    )


def a_subclass(first: Options, given: Options) -> Derived:
    house = _house(first)
    return house(**ONCE), house(**ONCE, **given)


def a_subclass_of_it(first: Options, given: Options) -> Derived:
    house = _house(first)
    return house(**ONCE), _house(given, house)(**ONCE)


def a_copy_of_its_object(first: Options, given: Options) -> Derived:
    model = _house(first)(**ONCE)
    return model, model.model_copy(update=given)


def a_copy_of_a_copy(first: Options, given: Options) -> Derived:
    model = ChatOPEA(**ONCE, **first)
    return model, model.model_copy(update=given).model_copy(update={"timeout": 5, "label": "again"})


def pickled_then_copied(first: Options, given: Options) -> Derived:
    model = pickle.loads(pickle.dumps(ChatOPEA(**ONCE, **first)))
    return model, pickle.loads(pickle.dumps(model.model_copy(update=given))).model_copy(
        update={"timeout": 5}
    )


def llama_index_copy(first: Options, given: Options) -> Derived:
    model = OPEALLM(**ONCE, **first)
    return model, model.model_copy(update=given)


def llama_index_copy_then_pickled(first: Options, given: Options) -> Derived:
    model = OPEALLM(**ONCE, **first)
    return model, pickle.loads(pickle.dumps(model.model_copy(update=given)))


def llama_index_subclass_then_pickled(first: Options, given: Options) -> Derived:
    global House
    House = _house(
        {"api_base" if name == "base_url" else name: value for name, value in first.items()},
        OPEALLM,
    )
    return House(**ONCE), pickle.loads(pickle.dumps(House(**ONCE, **given)))


def embeddings_copy(first: Options, given: Options) -> Derived:
    model = OPEAEmbeddings(**ONCE, **first)
    return (lambda: model.embed_query("x")), (
        lambda: model.model_copy(update=given).embed_query("x")
    )


def rerank_copy(first: Options, given: Options) -> Derived:
    model = OPEARerank(**ONCE, **first)
    return (lambda: model.rerank("x", ["x"])), (
        lambda: model.model_copy(update=given).rerank("x", ["x"])
    )


def rerank_copy_then_pickled(first: Options, given: Options) -> Derived:
    model = OPEARerank(**ONCE, **first)
    return (lambda: model.rerank("x", ["x"])), (
        lambda: pickle.loads(pickle.dumps(model.model_copy(update=given))).rerank("x", ["x"])
    )


def create_endpoint(first: Options, given: Options) -> Derived:
    opea = OPEA(**_names(first))
    return opea, lambda: opea.make_request_with_endpoint(
        opea.create_endpoint(**_names(given)), DATA
    )


def create_endpoint_with_endpoints(first: Options, given: Options) -> Derived:
    opea = OPEA(**_names(first))
    return opea, lambda: opea.make_request_with_endpoint(
        opea.create_endpoint(**_names(_at(given))), DATA
    )


def a_foreign_url(first: Options, given: Options) -> Derived:
    opea = OPEA(**_names(first))
    url, key = f"{given['base_url']}/chat/completions", given.get("api_key")
    options = {
        "extra_headers": given.get("default_headers"),
        "extra_query": given.get("default_query"),
    }
    return opea, lambda: opea.make_post_request_opea(
        url,
        DATA,
        api_key=key,
        **{name: value for name, value in options.items() if value is not None},
    )


def keywords_over_metadata(first: Options, given: Options) -> Derived:
    metadata = {"opea_api_url": first["base_url"], "opea_api_key": first.get("api_key")}
    return OPEA(metadata=metadata), OPEA(metadata=metadata, **_names(given))


# --- asking


def ask(it: Any) -> None:
    if isinstance(it, OPEA):
        it.chat("Hello", model="m")
    elif isinstance(it, OPEALLM):
        it.complete("Hello")
    elif hasattr(it, "invoke"):
        it.invoke("Hello")
    else:
        it()


def received(server: ScriptedServer, whose: str) -> set[str]:
    """Whatever of somebody a server was sent, anywhere in its requests."""
    found: set[str] = set()
    for seen in server.seen:
        text = f"{seen.method} {seen.path} {seen.query} {seen.headers} {seen.raw_body!r}"
        basic = re.findall(r"Basic ([\w+/=]+)", text)
        text += "".join(base64.b64decode(token).decode("latin-1") for token in basic)
        found |= {word.partition("-")[2] for word in re.findall(rf"{whose}-\w+", text)}
    return found


Given = Callable[[str, str, ExitStack], Options]
Way = Callable[[Options, Options], Derived]
KEY, URL = {"key", "header", "query", "org"}, {"user", "password", "query"}
ROWS: list[tuple[Way, Given]] = [
    (model_copy, a_key),
    (model_copy, a_client),
    (model_copy, in_the_url),
    (model_copy_to_endpoints, keys),
    (model_copy_to_endpoints, a_client),
    (model_copy_to_both, a_key),
    (model_copy_to_both, keys),
    (model_copy_to_both, a_client),
    (model_copy_from_endpoints, a_key),
    (model_copy_from_endpoints, in_the_url),
    (configurable_fields, a_key),
    (configurable_fields, a_client),
    (configurable_model_kwargs, a_key),
    (a_subclass, a_key),
    (a_subclass, a_client),
    (a_subclass_of_it, a_key),
    (a_subclass_of_it, keys),
    (a_copy_of_its_object, a_key),
    (a_copy_of_a_copy, a_key),
    (a_copy_of_a_copy, a_client),
    (pickled_then_copied, a_key),
    (llama_index_copy, a_key),
    (llama_index_copy, a_client),
    (llama_index_copy_then_pickled, a_key),
    (llama_index_subclass_then_pickled, keys),
    (embeddings_copy, a_key),
    (rerank_copy, a_key),
    (rerank_copy, a_client),
    (rerank_copy_then_pickled, a_key),
    (create_endpoint, a_key),
    (create_endpoint, a_client),
    (create_endpoint_with_endpoints, in_the_url),
    (a_foreign_url, a_key),
    (a_foreign_url, a_client),
    (keywords_over_metadata, a_key),
]


@pytest.mark.parametrize(
    ("way", "given"),
    [pytest.param(*row, id=f"{row[0].__name__}, {row[1].__name__}") for row in ROWS],
)
def test_what_was_given_for_one_server_never_reaches_another(
    server: ScriptedServer, second: ScriptedServer, stack: ExitStack, way: Way, given: Given
) -> None:
    first = given(server.url, "theirs", stack)
    alone = {"base_url": second.url}
    gives = alone | {
        "api_key": "ours-key",
        "default_headers": {"x-team": "ours-header"},
        "default_query": {"code": "ours-query"},
    }

    original, derived = way(first, alone)
    ask(original)
    whole = {a_key: KEY, keys: {"key"}, a_client: {"header", "password"}, in_the_url: URL}[given]
    whole = (
        {"key"}
        if way is keywords_over_metadata
        else whole - ({"org"} if isinstance(original, OPEA) else set())
    )
    assert received(server, "theirs") == whole
    ask(derived)
    ask(way(first, gives)[1])
    assert (len(server.seen), len(second.seen)) == (1, 2)
    assert received(second, "theirs") == set()
    assert received(second, "ours") == {"key", "header", "query"}


# --- what is given for the other server


@pytest.mark.parametrize("given", [a_key, keys, a_client])
def test_the_same_value_given_on_purpose_goes_along(
    server: ScriptedServer, second: ScriptedServer, stack: ExitStack, given: Given
) -> None:
    first = given(server.url, "theirs", stack)
    ask(ChatOPEA(**ONCE, **first).model_copy(update=first | {"base_url": second.url}))
    assert (
        received(second, "theirs")
        == {a_key: KEY, keys: {"key"}, a_client: {"header", "password"}}[given]
    )


@pytest.mark.parametrize("way", [model_copy_from_endpoints, model_copy_to_endpoints])
def test_a_copy_within_one_server_keeps_everything(
    server: ScriptedServer, stack: ExitStack, way: Way
) -> None:
    _, derived = way(a_key(server.url, "theirs", stack), {"base_url": f"{server.origin}/v1/"})
    ask(derived)
    assert received(server, "theirs") == KEY


def test_at_both_servers_each_gets_its_own(
    server: ScriptedServer, second: ScriptedServer, stack: ExitStack
) -> None:
    endpoints = [
        {"base_url": server.url, "label": "one"},
        {"base_url": second.url, "label": "two", "api_key": "ours-key"},
    ]
    model = ChatOPEA(**ONCE, **a_key(server.url, "theirs", stack))
    model = model.model_copy(
        update={
            "base_url": None,
            "endpoints": endpoints,
            "default_headers": {"x-all": "ours-header"},
        }
    )
    for label in ("one", "two"):
        model.invoke("Hello", endpoint=label)
    assert (received(server, "theirs"), received(server, "ours")) == (
        {"key", "query", "org"},
        {"header"},
    )
    assert (received(second, "theirs"), received(second, "ours")) == (set(), {"key", "header"})


async def test_of_two_clients_the_one_given_now_is_for_the_new_server(
    server: ScriptedServer, second: ScriptedServer, stack: ExitStack
) -> None:
    model = ChatOPEA(**ONCE, **a_client(server.url, "theirs", stack))
    async with httpx.AsyncClient(
        headers={"x-team": "ours-header"}, auth=("bob", "ours-password"), trust_env=False
    ) as client:
        copied = model.model_copy(update={"base_url": second.url, "http_async_client": client})
        copied.invoke("Hello")
        assert (received(second, "theirs"), received(second, "ours")) == (set(), set())
        await copied.ainvoke("Hello")
        assert (received(second, "theirs"), received(second, "ours")) == (
            set(),
            {"header", "password"},
        )
    assert server.seen == []


def test_a_copy_that_left_its_key_behind_shares_its_object_with_its_own_copies(
    server: ScriptedServer, second: ScriptedServer
) -> None:
    model = ChatOPEA(**ONCE, base_url=server.url, api_key="theirs-key").model_copy(
        update={"base_url": second.url}
    )
    configured, _ = model.configurable_fields(temperature=ConfigurableField(id="t"))._prepare(
        {"configurable": {"t": 0.5}}
    )
    assert configured.client is model.model_copy(update={"temperature": 0.1}).client is model.client
    assert "theirs-key" not in str(pickle.dumps(model))


@pytest.mark.parametrize("option", ["base_url", "endpoints", "api_key"])
def test_a_call_names_no_server_of_its_own(
    server: ScriptedServer, second: ScriptedServer, option: str
) -> None:
    model = ChatOPEA(**ONCE, base_url=server.url, api_key="theirs-key")
    with pytest.raises(ConfigurationError, match=option):
        model.bind(**{option: [second.url] if option == "endpoints" else second.url}).invoke(
            "Hello"
        )
    assert (server.seen, second.seen) == ([], [])
