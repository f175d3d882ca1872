"""Discovery by hand: which questions are asked, and what is made of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core import errors
from opea_core.config import Endpoint
from opea_core.flow.discover import discover_flow
from opea_core.types import ModelInfo

DOWN = errors.EndpointConnectionError("Nothing answers.")
REFUSED = errors.AuthenticationError("401", status_code=401)


def endpoint(label: str = "one", **about: Any) -> Endpoint:
    return Endpoint(base_url=f"http://{label}:1", label=label, **about)


def entry(name: str, window: int | None = None, **raw: Any) -> ModelInfo:
    """An entry of a list of models."""
    return ModelInfo(id=name, context_length=window, raw={"id": name, **raw})


def llama(name: str = "tiny", window: int | None = 2048) -> ModelInfo:
    """An entry as llama.cpp's server lists it: only that server has a ``meta`` object."""
    return entry(name, window, meta={"n_ctx": window})


def discover(
    endpoints: list[Endpoint], answers: dict[str, Any], model: str | None = None
) -> tuple[tuple[Endpoint, ...], list[str]]:
    """Run the flow; ``answers`` by question (``models one``, ``props one``).

    Gives the endpoints and what was asked.
    """

    def told(question: Any) -> Any:
        asked.append(question)
        return answers[question]

    flow = discover_flow(
        endpoints,
        model,
        lambda label: f"models {label}",
        lambda label: f"props {label}",
        lambda _, name: name,
    )
    asked: list[str] = []
    answer: Any = None
    try:
        while True:
            together = flow.send(answer)
            answer = [told(question) for question in together.calls]
    except StopIteration as stop:
        return stop.value.endpoints, asked


def one(answer: Any, props: Any = None, model: str | None = None, **about: Any) -> Endpoint:
    """A single endpoint after its discovery."""
    ((found,), _) = discover([endpoint(**about)], {"models one": answer, "props one": props}, model)
    return found


# --- the model


def test_the_only_model_is_used() -> None:
    assert one([entry("qwen3")]).model == "qwen3"


def test_a_model_that_was_set_for_all_stays_the_choice_of_the_object() -> None:
    assert one([entry("qwen3")], model="mine").model is None


def test_a_model_that_was_set_at_the_endpoint_stays() -> None:
    ((found,), _) = discover([endpoint(model="mine")], {"models one": [entry("qwen3")]})
    assert found.model == "mine"


@pytest.mark.parametrize("count", [2, 20])
def test_several_models_are_named_and_one_must_be_chosen(count: int) -> None:
    names = [f"m{number}" for number in range(count)]
    with pytest.raises(errors.ConfigurationError) as caught:
        one([entry(name) for name in names])
    assert (
        caught.value.message == f"No model was given, and one serves several: {', '.join(names)}."
    )
    assert 'model="m0"' in caught.value.hint


def test_of_very_many_models_only_some_are_named() -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        one([entry(f"m{number}") for number in range(21)])
    assert caught.value.message.endswith(" m18, m19, ....")


def test_a_server_without_a_model_is_an_error() -> None:
    with pytest.raises(errors.ConfigurationError, match="one lists no model"):
        one([])


@pytest.mark.parametrize("answer", [[], [entry("a"), entry("b")]])
def test_where_a_model_was_set_the_list_may_be_anything(answer: list[ModelInfo]) -> None:
    assert one(answer, model="mine") == endpoint()


def test_each_endpoint_has_the_model_it_serves() -> None:
    found, _ = discover(
        [endpoint("one"), endpoint("two")], {"models one": [entry("a")], "models two": [entry("b")]}
    )
    assert [e.model for e in found] == ["a", "b"]


def test_one_endpoint_with_several_models_is_an_error_even_if_the_other_has_one() -> None:
    with pytest.raises(errors.ConfigurationError, match="two serves several: b, c"):
        discover(
            [endpoint("one"), endpoint("two")],
            {"models one": [entry("a")], "models two": [entry("b"), entry("c")]},
        )


# --- endpoints that do not answer


def test_an_endpoint_that_does_not_answer_gets_the_model_of_another() -> None:
    found, asked = discover(
        [endpoint("one"), endpoint("two")], {"models one": DOWN, "models two": [entry("b", 4096)]}
    )
    assert [(e.model, e.context_window) for e in found] == [("b", None), ("b", 4096)]
    assert asked == ["models one", "models two"]


def test_an_endpoint_that_does_not_answer_is_left_as_it_is_when_a_model_was_set() -> None:
    found, _ = discover(
        [endpoint("one"), endpoint("two")],
        {"models one": DOWN, "models two": [entry("mine", 4096)]},
        "mine",
    )
    assert found[0] == endpoint("one")
    assert found[1].context_window == 4096


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_error_is_raised_if_nobody_answers(count: int) -> None:
    endpoints = [endpoint("one"), endpoint("two")][:count]
    with pytest.raises(errors.AuthenticationError) as caught:
        discover(endpoints, {"models one": REFUSED, "models two": DOWN})
    assert caught.value is REFUSED


# --- the context window


@pytest.mark.parametrize(
    ("answer", "model", "window"),
    [
        ([entry("qwen3", 4096)], None, 4096),
        ([entry("qwen3")], None, None),
        ([entry("a", 1), entry("mine", 4096)], "mine", 4096),
        ([entry("other", 4096)], "mine", 4096),  # a server with one model serves it under any name
        ([entry("a", 1), entry("b", 2)], "mine", None),
        ([], "mine", None),
    ],
)
def test_the_window_is_that_of_the_model_in_use(
    answer: list[ModelInfo], model: str | None, window: int | None
) -> None:
    assert one(answer, model=model).context_window == window


def test_a_window_that_was_set_stays() -> None:
    assert one([entry("qwen3", 4096)], context_window=100).context_window == 100


# --- how many calls run at once


def test_llama_cpp_tells_how_many_calls_it_works_on_at_once() -> None:
    assert one([llama()], {"total_slots": 4}).max_concurrent == 4


def test_only_servers_like_llama_cpp_are_asked_for_it() -> None:
    _, asked = discover([endpoint()], {"models one": [entry("qwen3", 4096)]})
    assert asked == ["models one"]


@pytest.mark.parametrize("limit", [1, 32])
def test_a_limit_that_was_set_stays_and_is_not_asked_for(limit: int) -> None:
    ((found,), asked) = discover([endpoint(max_concurrent=limit)], {"models one": [llama()]})
    assert found.max_concurrent == limit
    assert asked == ["models one"]


@pytest.mark.parametrize(
    "props",
    [
        DOWN,
        REFUSED,
        None,
        [],
        "no",
        {},
        *({"total_slots": odd} for odd in (None, 0, -1, True, "4", 4.0, [4])),
    ],
)
def test_without_an_answer_that_makes_sense_the_limit_stays(props: Any) -> None:
    found = one([llama()], props)
    assert found.max_concurrent == endpoint().max_concurrent
    assert "max_concurrent" not in found.model_fields_set
    assert (found.model, found.context_window) == ("tiny", 2048)


# --- once more


def test_what_was_discovered_is_what_was_set_the_next_time() -> None:
    first = one([llama()], {"total_slots": 4})
    ((found,), asked) = discover([first], {"models one": [llama("other", 8192)]})
    assert found == first
    assert asked == ["models one"]


def test_what_was_not_set_can_still_be_found_later() -> None:
    first = one([entry("qwen3")])
    ((found,), _) = discover([first], {"models one": [entry("qwen3", 4096)]})
    assert (found.model, found.context_window) == ("qwen3", 4096)
