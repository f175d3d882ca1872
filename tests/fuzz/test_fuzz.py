"""Whatever a server answers, a call ends with an answer or an error that is promised,
and holds nothing afterwards.

What fails is printed with the line that tries it again: ``fuzz_run.again(way, seed, number,
wire)``. ``OPEA_FUZZ_SEED=7 pytest -m slow tests/fuzz`` tries other answers than every run does.
"""

from __future__ import annotations

import os
import threading
from random import Random
from typing import Any, NamedTuple

import pytest
from fuzz_answers import Sent, answer, on_the_wire
from fuzz_run import Run, tried
from fuzz_samples import KINDS
from fuzz_ways import WAYS, Way
from thorough import most

from opea_core import OPEA, calls

SEED = int(os.environ.get("OPEA_FUZZ_SEED", "1"))
PACKAGES = ("core", "langchain", "llama_index")
_SHOWN = 5


def of(package: str) -> tuple[Way, ...]:
    return tuple(way for way in WAYS if way.package == package)


def check(run: Run) -> None:
    faults = [
        fault for fault in run.faults if not any(found.words in fault for found in KNOWN.values())
    ]
    assert not faults, "\n\n".join([f"{len(faults)} of {run.tried} cases", *faults[:_SHOWN]])


@pytest.mark.parametrize("wire", [False, True], ids=["lent", "wire"])
@pytest.mark.parametrize("package", PACKAGES)
def test_a_call_ends_with_an_answer_or_an_error_that_is_promised(package: str, wire: bool) -> None:
    rounds = 1 if wire else most(3, 2)
    run = Run(SEED, wire).cases(range(rounds), of(package))
    check(run)
    assert run.tried == rounds * len(of(package))


@pytest.mark.slow
@pytest.mark.parametrize("wire", [False, True], ids=["lent", "wire"])
@pytest.mark.parametrize("package", PACKAGES)
def test_so_it_does_after_tens_of_thousands_of_answers(package: str, wire: bool) -> None:
    check(Run(SEED + 1, wire).cases(range(60 if wire else 300), of(package)))


# --- what it found


def plain(body: str) -> Sent:
    return Sent(200, (("content-type", "application/json"),), body.encode())


def streamed(*events: str) -> Sent:
    blocks = [f"data: {event}\n\n" for event in (*events, "[DONE]")]
    return Sent(200, (("content-type", "text/event-stream"),), "".join(blocks).encode())


class Found(NamedTuple):
    """The smallest answer that shows a defect."""

    way: str
    sent: Sent
    words: str
    """What is in the text of its faults."""


_PARTS = '{"choices":[{"%s":{"content":[{"type":[]}]},"finish_reason":"stop"}]}'
_UNHASHABLE = "TypeError: unhashable type"
_DIFFERENT = "already exists in this message, but with a different type"
_RERANK = "opea_core/wire/rerank.py"
FOUND: dict[str, Found] = {
    "meta of ranks is no object": Found(
        "core rerank", plain('{"results":[{"index":0,"score":1}],"meta":[1]}'), _RERANK
    ),
    "the type of a part is no text": Found(
        "langchain invoke of blocks", plain(_PARTS % "message"), _UNHASHABLE
    ),
    "the type of a streamed part is no text": Found(
        "langchain stream of blocks", streamed(_PARTS % "delta"), _UNHASHABLE
    ),
    "a field of a choice has the name of a field of the message": Found(
        "langchain streamed and joined",
        streamed(
            '{"choices":[{"reasoning_content":false,"delta":{"content":"a"}}]}',
            '{"choices":[{"delta":{"reasoning_content":"b"},"finish_reason":"stop"}]}',
        ),
        _DIFFERENT,
    ),
    "the type of an event that is handed on is no text": Found(
        "core responses, streamed and handed on", streamed('{"type":[]}'), _UNHASHABLE
    ),
    "the last word on arguments holds half a character": Found(
        "core stream_chat in responses",
        streamed(
            '{"type":"response.output_item.added","output_index":0,"item":'
            '{"type":"function_call","call_id":"a","name":"f","arguments":""}}',
            '{"type":"response.function_call_arguments.delta","output_index":0,"delta":"["}',
            '{"type":"response.function_call_arguments.done","output_index":0,'
            '"arguments":"{\\"a\\":\\"\\ud800\\"}"}',
        ),
        "UnicodeEncodeError",
    ),
    "the error of a choice holds half a character": Found(
        "core stream_chat",
        streamed('{"choices":[{"index":0,"error":{"message":"\\ud800","code":"\\ud800"}}]}'),
        "UnicodeEncodeError",
    ),
    "the error of a choice holds a number beyond all others": Found(
        "core chat",
        plain('{"choices":[{"index":0,"error":{"message":"m","code":1e999}}]}'),
        "Error",
    ),
    "the error of a response holds half a character": Found(
        "core responses, streamed and handed on",
        streamed('{"type":"response.failed","response":{"error":{"code":"\\ud800"}}}'),
        "UnicodeEncodeError",
    ),
    "arguments are an object with half a character": Found(
        "core chat in responses",
        plain(
            '{"status":"completed","output":[{"type":"function_call","call_id":"a","name":"f",'
            '"arguments":{"a":"\\ud800","b":1e999}}]}'
        ),
        "Error",
    ),
    "an item without a type goes back": Found(
        "langchain a second turn in responses",
        plain(
            '{"status":"completed","output":[{"x":1},{"type":"message","content":'
            '[{"type":"output_text","text":"a"}]},{"type":"reasoning","summary":[]}]}'
        ),
        "KeyError",
    ),
}
"""What was mended."""
KNOWN: dict[str, Found] = {}
"""What is not mended yet: such faults are no news. Empty unless something is broken."""


@pytest.mark.parametrize(
    "found",
    [
        *(pytest.param(found, id=name) for name, found in FOUND.items()),
        *(
            pytest.param(found, id=name, marks=pytest.mark.xfail(strict=True, reason=name))
            for name, found in KNOWN.items()
        ),
    ],
)
def test_what_it_found_is_mended(found: Found) -> None:
    assert tried(found.way, found.sent) == []


# --- the fuzzer itself


def test_the_same_seed_gives_the_same_answers() -> None:
    def made() -> list[Any]:
        chance = Random("a seed")
        found = [answer(chance, kind) for kind in KINDS for _ in range(50)]
        return [*found, *(on_the_wire(chance, sent) for sent in found)]

    assert made() == made()


def test_the_answers_reach_every_part() -> None:
    """Most are nearly right: a fuzzer whose answers all fail at the first byte finds nothing."""
    run = Run(0).cases(range(2))
    wanted = {
        "answer",
        "BadAnswerError",
        "StreamInterrupted",
        "OPEABadAnswerError",
        "OutputParserException",
        "NoToolCallError",
        "StructuredOutputError",
    }
    assert wanted - set(run.outcomes) == set()
    assert run.outcomes["answer"] < 0.85 * sum(run.outcomes.values())


def test_another_error_is_told_with_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise KeyError("broken")

    monkeypatch.setattr(calls, "read_models", broken)
    run = Run(0).cases(range(1), tuple(way for way in WAYS if way.name == "models"))
    assert run.faults
    assert all(
        "again('core models', 0, 0, wire=False)" in fault
        and "Sent(status=200" in fault
        and "KeyError" in fault
        for fault in run.faults
    )


def test_a_call_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(calls, "read_models", lambda _: over.wait(30))
    run = Run(0, hangs=0.2).cases(range(1), tuple(way for way in WAYS if way.name == "models"))
    told = [fault.splitlines()[0] for fault in run.faults]
    over.set()
    assert run.thread is not None
    run.thread.join(30)
    assert told == ["again('core models', 0, 0, wire=False) hangs:"]


def test_a_place_that_stays_held_is_told() -> None:
    left: list[Any] = []

    def leave(opea: OPEA) -> Any:
        left.append(opea.stream_chat("Hi"))
        return next(left[-1], None)

    run = Run(0, patience=0.05).cases(range(9), (Way("core", "leave", "stream", leave),))
    for stream in left:
        stream.close()
    assert any("held: {" in fault for fault in run.faults)
    assert all("held: {" in fault for fault in run.faults)
