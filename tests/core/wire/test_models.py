"""Model lists of every shape, and the context length in each of its places."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core.errors import BadAnswerError
from opea_core.types import Json
from opea_core.wire.models import context_length, read_models


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        pytest.param(
            {"object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"], id="OpenAI"
        ),
        pytest.param({"data": [{"id": "a"}]}, ["a"], id="without object"),
        pytest.param(
            {"data": [{"id": "a"}], "models": [{"name": "b"}]},
            ["a"],
            id="llama.cpp has both: data counts",
        ),
        pytest.param(
            {"models": [{"name": "a"}, {"name": "b"}]}, ["a", "b"], id="models with names"
        ),
        pytest.param([{"id": "a"}, {"id": "b"}], ["a", "b"], id="a bare list"),
        pytest.param({"data": [{"id": "a"}], "has_more": True, "last_id": "a"}, ["a"], id="paged"),
        pytest.param(
            {"data": [{"id": "/models/a.gguf"}, {"id": "org/b:7b"}]},
            ["/models/a.gguf", "org/b:7b"],
            id="paths and tags",
        ),
        pytest.param({"data": [{"model_name": "a"}]}, ["a"], id="LiteLLM"),
        pytest.param(["a", "b"], ["a", "b"], id="a list of texts"),
        pytest.param({"data": []}, [], id="none"),
        pytest.param(
            {"data": [None, 1, {}, {"id": 7}, {"id": "a"}]},
            ["a"],
            id="entries without id are passed over",
        ),
    ],
)
def test_the_models_of_a_list(document: Any, ids: list[str]) -> None:
    assert [model.id for model in read_models(document)] == ids


def test_the_entry_is_kept() -> None:
    entry = {"id": "a", "owned_by": "me", "max_model_len": 5}
    (model,) = read_models({"data": [entry]})
    assert (model.raw, model.context_length) == (entry, 5)


@pytest.mark.parametrize(
    "document", [None, {}, "x", 1, {"data": {}}, {"data": None}, {"error": "m"}]
)
def test_what_is_no_list_of_models_is_refused(document: Any) -> None:
    with pytest.raises(BadAnswerError, match="/v1"):
        read_models(document)


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        pytest.param({"max_model_len": 5}, 5, id="vLLM, SGLang"),
        pytest.param({"meta": {"n_ctx": 5, "n_ctx_train": 9}}, 5, id="llama.cpp: the served size"),
        pytest.param({"meta": {"n_ctx_train": 9}}, None, id="llama.cpp: not the trained size"),
        pytest.param({"context_length": 5}, 5, id="OpenRouter, Together"),
        pytest.param({"context_window": 5}, 5, id="Groq"),
        pytest.param({"max_context_length": 5}, 5, id="Mistral, LM Studio"),
        pytest.param({"top_provider": {"context_length": 5}}, 5, id="OpenRouter, provider"),
        pytest.param({"model_spec": {"availableContextTokens": 5}}, 5, id="Venice"),
        pytest.param(
            {"capabilities": {"limits": {"max_context_window_tokens": 5}}}, 5, id="Copilot"
        ),
        pytest.param(
            {
                "providers": [
                    {"context_length": 9},
                    {"context_length": 5},
                    {},
                    {"context_length": None},
                ]
            },
            5,
            id="HF: the smallest",
        ),
        pytest.param({"inputTokenLimit": 5}, 5, id="Gemini"),
        pytest.param({"max_input_tokens": 5}, 5, id="Anthropic"),
        pytest.param({"model_info": {"max_input_tokens": 5}}, 5, id="LiteLLM"),
        pytest.param({"context_length": None, "context_window": 5}, 5, id="null is passed over"),
        pytest.param({"context_length": 0, "context_window": 5}, 5, id="zero is passed over"),
        pytest.param({"context_length": "many", "context_window": 5}, 5, id="text is passed over"),
        pytest.param(
            {"context_length": True, "context_window": 5}, 5, id="a boolean is passed over"
        ),
        pytest.param(
            {"context_length": float("inf"), "context_window": 5}, 5, id="infinity is passed over"
        ),
        pytest.param(
            {"meta": None, "top_provider": 3, "capabilities": {"limits": []}, "providers": {}},
            None,
            id="odd types",
        ),
        pytest.param({"max_model_len": 5, "context_length": 9}, 5, id="the first that is found"),
        pytest.param({"id": "a"}, None, id="unknown"),
        pytest.param({"context_length": 5.0}, 5, id="a float"),
    ],
)
def test_where_servers_put_the_context_length(entry: Json, length: int | None) -> None:
    found = context_length(entry)
    assert found == length
    assert found is None or type(found) is int
