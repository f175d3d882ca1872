"""The keywords of OpenAILike and OpenAILikeEmbedding:
each is taken, has another name here, has no effect, or is refused.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from li_object_support import CLASSES, Counter
from llama_index.core.callbacks import CallbackManager
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import PromptTemplate
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from opea_core import ConfigurationError
from opea_core.testing import ScriptedServer


class Answer(BaseModel):
    """Something to parse."""

    text: str


class _Tokens:
    def encode(self, text: str) -> list[int]:
        return [1] * len(text.split())


# Fields and keywords of llama-index-llms-openai-like 0.8.1 and llama-index-embeddings-openai-like
# 0.4.0.
OPENAI_LIKE = [
    "additional_kwargs", "api_base", "api_key", "api_version", "async_http_client",
    "async_openai_client", "audio_config", "callback_manager", "completion_to_prompt",
    "context_window", "default_headers", "http_client", "is_chat_model",
    "is_function_calling_model", "logprobs", "max_new_tokens", "max_retries", "max_tokens",
    "messages_to_prompt", "modalities", "model", "openai_client", "output_parser",
    "pydantic_program_mode", "query_wrapper_prompt", "rate_limiter", "reasoning_effort",
    "reuse_client", "should_use_structured_outputs", "strict", "system_prompt", "temperature",
    "timeout", "tokenizer", "top_logprobs",
]  # fmt: skip
OPENAI_LIKE_EMBEDDING = [
    "additional_kwargs", "api_base", "api_key", "api_version", "async_http_client",
    "callback_manager", "default_headers", "dimensions", "embed_batch_size", "embeddings_cache",
    "http_client", "max_retries", "model_name", "num_workers", "rate_limiter", "reuse_client",
    "timeout",
]  # fmt: skip

_SAME_IN_BOTH: dict[str, Any] = {
    "additional_kwargs": {"a": 1},
    "api_base": "http://localhost:1/v1",
    "api_key": "k",
    "api_version": "2026-01-01",
    "async_http_client": httpx.AsyncClient(),
    "callback_manager": CallbackManager([]),
    "default_headers": {"x-a": "b"},
    "http_client": httpx.Client(),
    "max_retries": 1,
    "rate_limiter": Counter(),
    "timeout": 5.0,
}
SAME_NAME: dict[str, dict[str, Any]] = {
    "llm": _SAME_IN_BOTH
    | {
        "audio_config": {"voice": "v", "format": "wav"},
        "completion_to_prompt": str.upper,
        "context_window": 9000,
        "is_chat_model": False,
        "is_function_calling_model": False,
        "logprobs": True,
        "max_tokens": 7,
        "messages_to_prompt": repr,
        "modalities": ["text"],
        "model": "m",
        "output_parser": PydanticOutputParser(Answer),
        "pydantic_program_mode": PydanticProgramMode.FUNCTION,
        "query_wrapper_prompt": PromptTemplate("{query_str}"),
        "reasoning_effort": "low",
        "should_use_structured_outputs": True,
        "strict": True,
        "system_prompt": "Be brief.",
        "temperature": 0.5,
        "tokenizer": _Tokens(),
        "top_logprobs": 2,
    },
    "embedding": _SAME_IN_BOTH
    | {
        "dimensions": 8,
        "embed_batch_size": 3,
        "embeddings_cache": SimpleKVStore(),
        "model_name": "m",
        "num_workers": 2,
    },
}
OTHER_NAME = {"llm": {"max_new_tokens": ("max_tokens", 7)}, "embedding": {}}
NO_EFFECT = {"llm": {"reuse_client": False}, "embedding": {"reuse_client": False}}
REFUSED = {"llm": {"openai_client": object(), "async_openai_client": object()}, "embedding": {}}
NAMES = {"llm": OPENAI_LIKE, "embedding": OPENAI_LIKE_EMBEDDING}

_CASES = [(kind, name) for kind in NAMES for name in NAMES[kind]]


@pytest.mark.parametrize("kind", NAMES)
def test_every_name_stands_in_one_group(kind: str) -> None:
    groups = [set(group[kind]) for group in (SAME_NAME, OTHER_NAME, NO_EFFECT, REFUSED)]
    assert set().union(*groups) == set(NAMES[kind])
    assert sum(map(len, groups)) == len(NAMES[kind])


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in _CASES if name in SAME_NAME[kind]]
)
def test_the_same_name_is_a_field_that_keeps_the_value(kind: str, name: str) -> None:
    value = SAME_NAME[kind][name]
    found = getattr(CLASSES[kind](**{"api_base": "http://localhost:1", name: value}), name)
    assert (found.get_secret_value() if name == "api_key" else found) == value


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in _CASES if name in OTHER_NAME[kind]]
)
def test_another_name_sets_the_field(kind: str, name: str) -> None:
    field, value = OTHER_NAME[kind][name]
    assert getattr(CLASSES[kind](**{name: value}), field) == value


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in _CASES if name in NO_EFFECT[kind]]
)
def test_taken_without_effect_and_without_a_word(kind: str, name: str) -> None:
    plain = CLASSES[kind](model="m", api_base="http://localhost:1")
    assert (
        CLASSES[kind](
            model="m", api_base="http://localhost:1", **{name: NO_EFFECT[kind][name]}
        ).to_dict()
        == plain.to_dict()
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in _CASES if name in REFUSED[kind]]
)
def test_refused_with_what_to_do_instead(kind: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot honour {name}=") as caught:
        CLASSES[kind](**{name: REFUSED[kind][name]})
    assert "client=" in str(caught.value.hint)


NULLABLE = {
    "llm": {
        "additional_kwargs", "api_base", "api_key", "api_version", "async_http_client",
        "async_openai_client", "audio_config", "callback_manager", "completion_to_prompt",
        "default_headers", "http_client", "logprobs", "max_tokens", "messages_to_prompt",
        "modalities", "openai_client", "output_parser", "query_wrapper_prompt", "rate_limiter",
        "reasoning_effort", "system_prompt", "tokenizer",
    },
    "embedding": {
        "additional_kwargs", "api_base", "api_key", "api_version", "async_http_client",
        "callback_manager", "default_headers", "dimensions", "embeddings_cache", "http_client",
        "num_workers", "rate_limiter",
    },
}  # fmt: skip
"""Their signatures say Optional."""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in _CASES if name in NULLABLE[kind]]
)
def test_none_is_as_not_given_where_theirs_takes_none(kind: str, name: str) -> None:
    given = CLASSES[kind](**{"model": "m", name: None})
    assert given.to_dict() == CLASSES[kind](model="m").to_dict()


def test_everything_at_once_as_it_was_written_for_openai_like() -> None:
    found = OPEALLM(
        model="qwen3", api_base="http://localhost:1/v1", api_key="fake", context_window=128000,
        is_chat_model=True, is_function_calling_model=False, temperature=0, max_tokens=256,
        max_retries=3, timeout=60.0, reuse_client=True, additional_kwargs=None,
        default_headers=None, http_client=None, async_http_client=None, callback_manager=None,
        system_prompt=None, messages_to_prompt=None, completion_to_prompt=None, output_parser=None,
        tokenizer=None,
    )  # fmt: skip
    assert found.metadata.model_dump(exclude={"system_role"}) == {
        "context_window": 128000,
        "num_output": 256,
        "is_chat_model": True,
        "is_function_calling_model": False,
        "model_name": "qwen3",
    }


def test_defaults_are_those_of_openai_like_except_for_the_modes() -> None:
    found = OPEALLM(model="m")
    assert (found.temperature, found.max_tokens, found.additional_kwargs, found.strict) == (
        0.1,
        None,
        {},
        False,
    )
    assert (found.is_chat_model, found.is_function_calling_model) == (True, True)
    assert (found.client.settings.retry.max_retries, OPEAEmbedding(model="m").embed_batch_size) == (
        3,
        10,
    )


# --- other names


@pytest.mark.parametrize(
    ("cls", "name", "field"),
    [
        (OPEALLM, "base_url", "api_base"),
        (OPEALLM, "opea_api_url", "api_base"),
        (OPEALLM, "opea_api_key", "api_key"),
        (OPEALLM, "model_name", "model"),
        (OPEALLM, "max_new_tokens", "max_tokens"),
        (OPEALLM, "max_completion_tokens", "max_tokens"),
        (OPEALLM, "stop_sequences", "stop"),
        (OPEALLM, "model_kwargs", "additional_kwargs"),
        (OPEALLM, "http_async_client", "async_http_client"),
        (OPEALLM, "headers", "default_headers"),
        (OPEALLM, "query", "default_query"),
        (OPEALLM, "request_timeout", "timeout"),
        (OPEALLM, "timeouts", "timeout"),
        (OPEALLM, "max_concurrent_requests", "max_concurrent"),
        (OPEALLM, "queue_size", "max_queued"),
        (OPEALLM, "initial_delay", "initial_retry_delay"),
        (OPEAEmbedding, "model", "model_name"),
        (OPEAEmbedding, "base_url", "api_base"),
        (OPEAEmbedding, "document_prefix", "text_prefix"),
        (OPEAEmbedding, "chunk_size", "embed_batch_size"),
        (OPEAEmbedding, "model_kwargs", "additional_kwargs"),
        (OPEARerank, "model_name", "model"),
        (OPEARerank, "base_url", "api_base"),
        (OPEARerank, "top_k", "top_n"),
    ],
)
class TestOtherNames:
    VALUES: dict[str, Any] = {
        "api_base": "http://localhost:1", "api_key": "k", "model": "x", "model_name": "x",
        "max_tokens": 5, "stop": ["x"], "additional_kwargs": {"a": 1},
        "async_http_client": httpx.AsyncClient(), "default_headers": {"a": "b"},
        "default_query": {"a": "b"}, "timeout": 3, "max_concurrent": 3, "max_queued": 3,
        "initial_retry_delay": 0.5, "text_prefix": "p: ", "embed_batch_size": 4, "top_n": 4,
    }  # fmt: skip

    def test_it_sets_the_field(self, cls: Any, name: str, field: str) -> None:
        assert getattr(cls(**{name: self.VALUES[field]}), field) == getattr(
            cls(**{field: self.VALUES[field]}), field
        )

    def test_both_are_an_error(self, cls: Any, name: str, field: str) -> None:
        with pytest.raises(ConfigurationError, match="another name of"):
            cls(**{name: self.VALUES[field], field: self.VALUES[field]})

    def test_a_second_one_that_is_none_does_not_matter(
        self, cls: Any, name: str, field: str
    ) -> None:
        found = cls(**{name: None, field: self.VALUES[field]})
        assert getattr(found, field) == getattr(cls(**{field: self.VALUES[field]}), field)


# --- unknown names


@pytest.mark.parametrize(
    ("cls", "wrong", "right"),
    [
        (OPEALLM, "temprature", "temperature"),
        (OPEALLM, "max_token", "max_tokens"),
        (OPEALLM, "apibase", "api_base"),
        (OPEALLM, "contextwindow", "context_window"),
        (OPEALLM, "max_retry", "max_retries"),
        (OPEALLM, "is_chatmodel", "is_chat_model"),
        (OPEALLM, "callback_manger", "callback_manager"),
        (OPEAEmbedding, "embed_batchsize", "embed_batch_size"),
        (OPEAEmbedding, "dimension", "dimensions"),
        (OPEAEmbedding, "modelname", "model_name"),
        (OPEARerank, "topn", "top_n"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(cls: Any, wrong: str, right: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{wrong}.*Did you mean '{right}'"):
        cls(**{wrong: 1})


@pytest.mark.parametrize(
    "name", ["top_k", "min_p", "repetition_penalty", "guided_json", "chat_template_kwargs"]
)
def test_other_fields_of_the_body_are_told_their_place(name: str) -> None:
    with pytest.raises(ConfigurationError, match="extra_body"):
        OPEALLM(model="m", **{name: 1})


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_name_raises_before_anything_is_asked(server: ScriptedServer, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="frobnicate"):
        CLASSES[kind](api_base=server.url, frobnicate=1)
    assert server.seen == []


@pytest.mark.parametrize(
    ("cls", "options", "named"),
    [
        (OPEALLM, {"temperature": "hot"}, "temperature"),
        (OPEALLM, {"context_window": "big"}, "context_window"),
        (OPEALLM, {"timeout": "soon"}, "timeout"),
        (OPEALLM, {"max_retries": -1}, "max_retries"),
        (OPEAEmbedding, {"embed_batch_size": 0}, "embed_batch_size"),
        (OPEARerank, {"top_n": 0}, "top_n"),
    ],
)
def test_a_value_that_makes_no_sense_names_its_field(
    cls: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises((ValueError, ConfigurationError), match=named):
        cls(model="m", **options)


@pytest.mark.parametrize(("cls", "field"), [(OPEALLM, "model"), (OPEAEmbedding, "model_name")])
def test_the_model_may_come_first(cls: Any, field: str) -> None:
    assert getattr(cls("m", api_base="http://localhost:1"), field) == "m"
