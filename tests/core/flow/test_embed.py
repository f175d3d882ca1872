"""Embedding in batches: what is too large is halved, the order stays, usage is added up."""

from __future__ import annotations

from typing import Any

import pytest

from opea_core import errors
from opea_core.flow.embed import Sizes, check_inputs, embed_flow, is_too_large
from opea_core.types import CallMeta, EmbeddingResponse, Usage

TOO_LARGE = errors.InvalidRequestError("413", status_code=413)


def run(
    inputs: Any, largest: int, usage: bool = True, known: Sizes | None = None
) -> tuple[EmbeddingResponse, list[int]]:
    """Run the flow against a server that takes so many texts at once;
    gives the answer and the batches.
    """
    flow = embed_flow(inputs, list, known or Sizes())
    sizes: list[int] = []
    answer: Any = None
    try:
        while True:
            batch = flow.send(answer)
            sizes.append(len(batch))
            answer = TOO_LARGE
            if len(batch) <= largest:
                counted = (
                    Usage(prompt_tokens=len(batch), total_tokens=len(batch)) if usage else None
                )
                answer = EmbeddingResponse(
                    [[float(text)] for text in batch], usage=counted, raw={"n": len(batch)}
                )
    except StopIteration as stop:
        return stop.value, sizes


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 65])
@pytest.mark.parametrize("largest", [1, 2, 10, 100])
def test_every_text_gets_its_vector_in_order(count: int, largest: int) -> None:
    answer, sizes = run([str(number) for number in range(count)], largest)
    assert answer.embeddings == [[float(number)] for number in range(count)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == count
    assert sum(size for size in sizes if size <= largest) == count


def test_the_size_a_server_takes_is_remembered() -> None:
    known, texts = Sizes(), [str(number) for number in range(8)]
    assert run(texts, 2, known=known)[1] == [8, 4, 2, 2, 4, 2, 2]
    assert run(texts, 2, known=known)[1] == [2, 2, 2, 2]
    assert run(texts, 1, known=known)[1] == [2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]


def test_a_server_that_refused_nothing_gets_all_at_once() -> None:
    known = Sizes()
    run(["1", "2"], 10, known=known)
    assert run([str(number) for number in range(9)], 10, known=known)[1] == [9]


def test_no_text_no_request() -> None:
    assert run([], 1) == (EmbeddingResponse([], meta=CallMeta(attempts=0)), [])


def test_one_text_that_is_too_large_is_an_error() -> None:
    with pytest.raises(errors.InvalidRequestError):
        run(["1"], 0)


def test_other_errors_are_not_split() -> None:
    flow = embed_flow(["a", "b"], list, Sizes())
    next(flow)
    error = errors.ServerError("503", status_code=503)
    with pytest.raises(errors.ServerError) as raised:
        flow.send(error)
    assert raised.value is error


def test_usage_that_is_missing_stays_missing() -> None:
    assert run(["1", "2"], 1, usage=False)[0].usage is None


def test_the_raw_answers_are_kept() -> None:
    assert run(["1", "2"], 1)[0].raw == {"batches": [{"n": 1}, {"n": 1}]}
    assert run(["1", "2"], 2)[0].raw == {"n": 2}


@pytest.mark.parametrize(
    ("error", "too_large"),
    [
        (errors.InvalidRequestError("x", status_code=413), True),
        (
            errors.InvalidRequestError(
                "batch size 64 > maximum allowed batch size 32", status_code=422
            ),
            True,
        ),
        (errors.InvalidRequestError("too many inputs", status_code=400), True),
        (errors.InvalidRequestError("this batch exceeds 16 items", status_code=400), True),
        (errors.InvalidRequestError("your list exceeded what is allowed", status_code=422), True),
        (errors.InvalidRequestError("exceeds 5000 requests per day", status_code=400), False),
        (
            errors.ServerError(
                "input is too large to process. increase the physical batch size", status_code=500
            ),
            True,
        ),
        (errors.ServerError("x", code="3210"), True),
        (errors.ServerError("x", code=3210), True),
        (errors.InvalidRequestError("no", status_code=400), False),
        (errors.ContextOverflowError("maximum context length", status_code=400), False),
        (errors.RateLimited("too many inputs", status_code=429), False),
        (errors.EndpointTimeout("x"), False),
    ],
)
def test_what_too_large_looks_like(error: errors.OPEAError, too_large: bool) -> None:
    assert is_too_large(error) is too_large


@pytest.mark.parametrize("inputs", [None, 5, [5], ["a", None], {"a": 1}, b"x", {"a", "b"}])
def test_what_is_no_text_is_refused(inputs: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        check_inputs(inputs)


@pytest.mark.parametrize(
    ("inputs", "texts"), [("a", ["a"]), (["a"], ["a"]), (("a", "b"), ["a", "b"]), ([], [])]
)
def test_what_is_text(inputs: Any, texts: list[str]) -> None:
    assert check_inputs(inputs) == texts
