"""The keywords that checkers know are those that are taken when a program runs."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from langchain_opea import ChatOPEA, OPEAEmbeddings, constructor_options
from langchain_opea import OPEARerank as LangChainRerank
from llama_index_opea import OPEALLM, OPEAEmbedding
from llama_index_opea import OPEARerank as LlamaIndexRerank
from llama_index_opea import constructor_options as llama_index_options
from opea_core import OPEA, call_options
from opea_core.calls import RESERVED
from opea_core.object_options import OPTIONS
from opea_core.testing import ScriptedServer, json_answer

CLASSES = [
    (ChatOPEA, constructor_options.ChatOPEAOptions),
    (OPEAEmbeddings, constructor_options.OPEAEmbeddingsOptions),
    (LangChainRerank, constructor_options.OPEARerankOptions),
    (OPEALLM, llama_index_options.OPEALLMOptions),
    (OPEAEmbedding, llama_index_options.OPEAEmbeddingOptions),
    (LlamaIndexRerank, llama_index_options.OPEARerankOptions),
]
each_class = pytest.mark.parametrize(("cls", "options"), CLASSES)


@each_class
def test_every_field_and_every_other_name_of_it_is_a_keyword(cls: Any, options: Any) -> None:
    """Fields of the framework's own classes, too: a new one of theirs is to be listed here."""
    other_names = {name for name, field in cls._aliases.items() if field in cls.model_fields}
    assert set(cls.model_fields) | other_names <= set(options.__annotations__)


@each_class
def test_every_keyword_is_taken(cls: Any, options: Any) -> None:
    refused = []
    for name in options.__annotations__:
        try:
            cls(**{name: None})
        except Exception as error:  # noqa: BLE001 - for most keywords None is a value of a wrong type
            refused += [name] if "knows no option" in str(error) else []
    assert refused == []
    with pytest.raises(Exception, match="knows no option"):
        cls(tempratrue=None)


def test_what_the_core_takes_is_what_its_adapters_take() -> None:
    """An option of the core that an adapter lacks can be set by nobody who uses the adapter."""
    # Of a list of backends, which adapters have none of; and limits of models, which stand in an
    # ``Endpoint`` there, as a model of a framework is one model.
    own = {"compatible_prefixes", "models"}
    for _, options in CLASSES:
        lacking = OPTIONS - own - set(options.__annotations__)
        assert lacking <= {"context_window"}, options


def test_reserved_options_are_listed_once() -> None:
    assert set(call_options.CallOptions.__annotations__) == RESERVED - {"output_schema"}
    assert set(call_options.ChatOptions.__annotations__) >= RESERVED


def test_every_listed_option_is_one_of_its_call() -> None:
    """None is no value of any of them, so that only their names are looked at."""
    calls: dict[Any, Any] = {
        call_options.ChatOptions: lambda opea, given: opea.chat("a", **given),
        call_options.CompletionOptions: lambda opea, given: opea.complete("a", **given),
        call_options.EmbedOptions: lambda opea, given: opea.embed("a", **given),
        call_options.EmbedManyOptions: lambda opea, given: list(opea.embed_many(["a"], **given)),
        call_options.RerankOptions: lambda opea, given: opea.rerank("a", ["b"], **given),
        call_options.CallOptions: lambda opea, given: opea.models(**given),
        call_options.ResponsesOptions: lambda opea, given: opea.responses("a", **given),
        call_options.TokenOptions: lambda opea, given: opea.count_tokens("a", **given),
        call_options.ChatManyOptions: lambda opea, given: (
            [each.unwrap() for each in opea.chat_many(["a"], **given)]
        ),
        call_options.RequestOptions: lambda opea, given: opea.make_post_request_opea(
            None, {"messages": [{"role": "user"}]}, **given
        ),
    }
    public = {value for value in vars(call_options).values() if inspect.isclass(value)}
    assert {each for each in public if each.__name__ in call_options.__all__} == set(calls)
    with ScriptedServer() as server, OPEA(server.url) as opea:
        for options, call in calls.items():
            if options is call_options.TokenOptions:  # the only path it does not serve by itself
                server.script(json_answer({"tokens": [1]}))
            assert call(opea, dict.fromkeys(options.__annotations__)) is not None
