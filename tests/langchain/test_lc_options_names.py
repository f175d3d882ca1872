"""The keywords of ChatOpenAI and OpenAIEmbeddings:
each is taken, has no effect, or is refused with what to do instead.
"""

from __future__ import annotations

import warnings
from typing import Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.rate_limiters import InMemoryRateLimiter
from lc_object_support import made

from langchain_opea import ChatOPEA, OPEAEmbeddings, OPEARerank
from langchain_opea.errors import OPEAConfigurationError
from opea_core import ConfigurationError
from opea_core.testing import ScriptedServer

# Field names and aliases, taken from langchain-openai 1.7.3 (langchain-core 1.7.2).
CHAT_OPENAI = [
    "name", "cache", "verbose", "callbacks", "tags", "metadata", "custom_get_token_ids",
    "rate_limiter", "disable_streaming", "output_version", "profile", "client", "async_client",
    "root_client", "root_async_client", "model_name", "model", "temperature", "model_kwargs",
    "openai_api_key", "api_key", "openai_api_base", "base_url", "openai_organization",
    "organization", "openai_proxy", "request_timeout", "timeout", "stream_usage", "max_retries",
    "presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs", "logit_bias",
    "streaming", "n", "top_p", "max_tokens", "max_completion_tokens", "reasoning_effort",
    "reasoning", "verbosity", "tiktoken_model_name", "default_headers", "default_query",
    "http_client", "http_async_client", "http_socket_options", "stream_chunk_timeout", "stop",
    "stop_sequences", "extra_body", "include_response_headers", "disabled_params",
    "context_management", "include", "prompt_cache_options", "service_tier", "store", "truncation",
    "use_previous_response_id", "use_responses_api",
]  # fmt: skip
OPENAI_EMBEDDINGS = [
    "client", "async_client", "model", "dimensions", "deployment", "openai_api_version",
    "api_version", "openai_api_base", "base_url", "openai_api_type", "openai_proxy",
    "embedding_ctx_length", "openai_api_key", "api_key", "openai_organization", "organization",
    "allowed_special", "disallowed_special", "chunk_size", "max_retries", "request_timeout",
    "timeout", "headers", "tiktoken_enabled", "tiktoken_model_name", "show_progress_bar",
    "model_kwargs", "skip_empty", "default_headers", "default_query", "retry_min_seconds",
    "retry_max_seconds", "http_client", "http_async_client", "check_embedding_ctx_length",
]  # fmt: skip

TAKEN: dict[str, Any] = {
    "name": "n",
    "cache": InMemoryCache(),
    "verbose": True,
    "callbacks": [],
    "tags": ["a"],
    "metadata": {"a": 1},
    "custom_get_token_ids": lambda text: [1],
    "rate_limiter": InMemoryRateLimiter(requests_per_second=1000),
    "disable_streaming": True,
    "output_version": "v1",
    "profile": {"max_input_tokens": 5},
    "model_name": "m",
    "model": "m",
    "temperature": 0.5,
    "model_kwargs": {"a": 1},
    "openai_api_key": "k",
    "api_key": "k",
    "openai_api_base": "http://localhost:1",
    "base_url": "http://localhost:1",
    "openai_organization": "o",
    "organization": "o",
    "openai_proxy": "http://proxy:1",
    "request_timeout": 3,
    "timeout": 3,
    "stream_usage": False,
    "max_retries": 1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "logit_bias": {5: 1},
    "streaming": True,
    "n": 1,
    "top_p": 0.5,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "reasoning_effort": "low",
    "verbosity": "low",
    "default_headers": {"a": "b"},
    "default_query": {"a": "b"},
    "http_client": httpx.Client(),
    "http_async_client": httpx.AsyncClient(),
    "stream_chunk_timeout": 3,
    "stop": ["x"],
    "stop_sequences": ["x"],
    "extra_body": {"a": 1},
    "include_response_headers": True,
    "disabled_params": {"n": None},
    "service_tier": "auto",
    "store": False,
    "use_responses_api": False,
}
NO_EFFECT: dict[str, Any] = {
    "tiktoken_model_name": "gpt-4",
    "http_socket_options": [(1, 2, 3)],
}
REFUSED: dict[str, Any] = {
    "client": object(),
    "async_client": object(),
    "root_client": object(),
    "root_async_client": object(),
    "reasoning": {"effort": "low"},
    "context_management": [{"type": "compaction"}],
    "prompt_cache_options": {"mode": "implicit"},
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "use_previous_response_id": True,
}
_SAME = (
    "model", "openai_api_base", "base_url", "openai_proxy", "openai_api_key", "api_key",
    "openai_organization", "organization", "max_retries", "request_timeout", "timeout",
    "model_kwargs", "default_headers", "default_query", "http_client", "http_async_client",
)  # fmt: skip
VECTORS_TAKEN: dict[str, Any] = {name: TAKEN[name] for name in _SAME} | {
    "dimensions": 8,
    "chunk_size": 16,
    "api_version": "v1",
    "openai_api_version": "v1",
    "headers": {"a": "b"},
}
VECTORS_NO_EFFECT: dict[str, Any] = {
    "embedding_ctx_length": 8191,
    "allowed_special": set(),
    "disallowed_special": "all",
    "tiktoken_enabled": False,
    "tiktoken_model_name": "gpt-4",
    "show_progress_bar": True,
    "skip_empty": True,
    "retry_min_seconds": 4,
    "retry_max_seconds": 20,
    "check_embedding_ctx_length": False,
    "openai_api_type": "azure",
}
VECTORS_REFUSED: dict[str, Any] = {"client": object(), "async_client": object(), "deployment": "d"}

CLASSES: dict[str, tuple[Any, list[str], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "chat": (ChatOPEA, CHAT_OPENAI, TAKEN, NO_EFFECT, REFUSED),
    "embeddings": (
        OPEAEmbeddings,
        OPENAI_EMBEDDINGS,
        VECTORS_TAKEN,
        VECTORS_NO_EFFECT,
        VECTORS_REFUSED,
    ),
}
TAKEN_CASES = [(kind, name) for kind in CLASSES for name in CLASSES[kind][2]]
NO_EFFECT_CASES = [(kind, name) for kind in CLASSES for name in CLASSES[kind][3]]
REFUSED_CASES = [(kind, name) for kind in CLASSES for name in CLASSES[kind][4]]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_name_stands_in_one_group(kind: str) -> None:
    _, names, taken, no_effect, refused = CLASSES[kind]
    assert set(names) == taken.keys() | no_effect.keys() | refused.keys()
    assert not taken.keys() & (no_effect.keys() | refused.keys())
    assert not no_effect.keys() & refused.keys()


@pytest.mark.parametrize(("kind", "name"), TAKEN_CASES)
def test_taken_without_a_word(kind: str, name: str) -> None:
    cls, taken = CLASSES[kind][0], CLASSES[kind][2]
    given = (
        {name: taken[name]}
        if name in ("model", "model_name")
        else {"model": "m", name: taken[name]}
    )
    cls(**given)  # a warning would be an error here


@pytest.mark.parametrize(("kind", "name"), NO_EFFECT_CASES)
def test_without_effect_with_one_warning(kind: str, name: str) -> None:
    cls, no_effect = CLASSES[kind][0], CLASSES[kind][3]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cls(model="m", **{name: no_effect[name]})
    [warning] = caught
    assert f"{name}=" in str(warning.message)


@pytest.mark.parametrize("cls", [ChatOPEA, OPEAEmbeddings])
def test_the_warning_points_at_the_line_that_made_the_model(cls: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cls(model="m", tiktoken_model_name="gpt-4")
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(("kind", "name"), REFUSED_CASES)
def test_refused_with_what_to_do_instead(kind: str, name: str) -> None:
    cls, refused = CLASSES[kind][0], CLASSES[kind][4]
    with pytest.raises(OPEAConfigurationError, match=name) as caught:
        cls(model="m", **{name: refused[name]})
    assert "knows no option" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(("kind", "name"), [*NO_EFFECT_CASES, *REFUSED_CASES])
def test_none_is_as_not_given(kind: str, name: str) -> None:
    CLASSES[kind][0](model="m", **{name: None})


# --- unknown names, and two for one thing


@pytest.mark.parametrize(
    ("cls", "wrong", "right"),
    [
        (ChatOPEA, "temprature", "temperature"),
        (ChatOPEA, "max_token", "max_tokens"),
        (ChatOPEA, "baseurl", "base_url"),
        (ChatOPEA, "apikey", "api_key"),
        (ChatOPEA, "max_retry", "max_retries"),
        (ChatOPEA, "endpoint", "endpoints"),
        (OPEAEmbeddings, "chunksize", "chunk_size"),
        (OPEAEmbeddings, "dimension", "dimensions"),
        (OPEARerank, "topn", "top_n"),
        (OPEARerank, "baseurl", "base_url"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(cls: Any, wrong: str, right: str) -> None:
    with pytest.raises(OPEAConfigurationError, match=f"{wrong}.*Did you mean '{right}'") as caught:
        cls(model="m", **{wrong: 1})
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    "name", ["top_k", "min_p", "repetition_penalty", "guided_json", "frobnicate"]
)
def test_other_fields_of_the_body_have_their_place(name: str) -> None:
    with pytest.raises(OPEAConfigurationError, match="extra_body"):
        ChatOPEA(model="m", **{name: 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model", "model_name"),
        ("api_key", "openai_api_key"),
        ("base_url", "openai_api_base"),
        ("openai_api_base", "api_base"),
        ("timeout", "request_timeout"),
        ("stop", "stop_sequences"),
        ("max_tokens", "max_completion_tokens"),
        ("organization", "openai_organization"),
        ("openai_proxy", "proxy"),
    ],
)
def test_two_names_for_one_thing_are_an_error(one: str, other: str) -> None:
    value = TAKEN.get(one) or TAKEN[other]
    with pytest.raises(OPEAConfigurationError, match="another name of"):
        ChatOPEA(**{one: value, other: value})


def test_a_second_name_that_is_none_does_not_matter() -> None:
    assert (
        ChatOPEA(model="m", model_name=None, max_tokens=None, max_completion_tokens=5).max_tokens
        == 5
    )


@pytest.mark.parametrize(
    ("given", "of_core"),
    [
        ({"headers": {"x-a": "b"}}, {"default_headers": {"x-a": "b"}}),
        ({"query": {"a": "b"}}, {"default_query": {"a": "b"}}),
        ({"max_concurrent_requests": 3}, {"max_concurrent": 3}),
        ({"queue_size": 3}, {"max_queued": 3}),
        ({"initial_delay": 3}, {"initial_retry_delay": 3}),
        ({"timeouts": 3}, {"timeout": 3}),
    ],
    ids=str,
)
def test_the_names_of_the_core_are_known(
    server: ScriptedServer, given: dict[str, Any], of_core: dict[str, Any]
) -> None:
    one, other = made(server, **given), made(server, **of_core)
    assert one.client.settings == other.client.settings


def test_a_value_of_the_wrong_kind_names_its_field() -> None:
    with pytest.raises(ValueError, match="temperature"):
        ChatOPEA(model="m", temperature="hot")
    with pytest.raises(ConfigurationError, match="timeout"):
        ChatOPEA(model="m", timeout="soon")
    with pytest.raises(ConfigurationError, match="max_retries"):
        ChatOPEA(model="m", max_retries=-1)
