"""Objects that grow, and what a stream of them must keep to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from li_asking import LLMWith, apart, llm_at
from li_forms import ANN, PROMPT, Person, calling, objects, predicted, saying
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, model_validator
from thorough import most
from written_answers import TEXT

from llama_index_opea import OPEALLM
from opea_core import StreamInterrupted
from opea_core.testing import Hold, ScriptedServer, Seen, chunk, sse, stream

WAYS = ("stream_structured_predict", "astream_structured_predict")
MODES = {
    "schema": PydanticProgramMode.DEFAULT,
    "tool": PydanticProgramMode.FUNCTION,
    "text": PydanticProgramMode.LLM,
}
LONG = {
    "title": "An order of many things",
    "items": [{"name": "apple", "count": 1}, {"name": "pear", "count": 2}],
    "done": True,
}


class Item(BaseModel):
    name: str
    count: int


class Order(BaseModel):
    title: str
    items: list[Item]
    done: bool


def _answer(mode: str, text: str) -> Any:
    if mode != "tool":
        return saying(text)

    def answer(seen: Seen) -> Any:
        pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
        heads = [
            {
                "index": 0,
                "id": "a",
                "function": {"name": seen.body["tools"][0]["function"]["name"], "arguments": ""},
            }
        ]
        rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
        return stream(
            apart({"tool_calls": [part]} for part in [*heads, *rest]), finish_reason="tool_calls"
        )

    return answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_objects_grow_and_the_last_is_of_the_class(
    server: ScriptedServer, llm_with: LLMWith, mode: str, way: str
) -> None:
    server.script(_answer(mode, json.dumps(LONG)))

    *growing, last = objects(way, llm_with(pydantic_program_mode=MODES[mode]), Order)

    assert type(last) is Order
    assert last.model_dump() == LONG
    assert len(growing) > 3
    titles = [one.title or "" for one in growing]
    assert all(LONG["title"].startswith(title) for title in titles)  # type: ignore[attr-defined]
    assert titles == sorted(titles, key=len)
    assert [len(one.items or []) for one in growing] == sorted(
        len(one.items or []) for one in growing
    )


@pytest.mark.parametrize("way", WAYS)
def test_no_object_comes_twice_in_a_row(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(json.dumps(LONG, indent=4), size=1))

    found = objects(way, llm, Order)

    assert all(one != other or type(one) is not type(other) for one, other in pairwise(found))


@pytest.mark.parametrize("way", WAYS)
def test_earlier_objects_stay_as_they_were(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(json.dumps(LONG)))

    found = objects(way, llm, Order)

    assert len({id(one) for one in found}) == len(found)
    assert (found[0].items or []) == []


@pytest.mark.parametrize("way", WAYS)
def test_words_before_the_object_give_no_objects(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying("<think>{maybe} a list?</think>Here it is: " + TEXT))

    found = objects(way, llm)

    assert found[-1] == ANN
    assert all("Ann".startswith(one.name or "") for one in found)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_written_as_text_gives_no_object_of_the_call(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying(json.dumps({"name": "Person", "arguments": {"name": "Ann", "age": 7}})))

    assert [one.name for one in objects(way, llm) if one.name] == ["Ann"]


@pytest.mark.parametrize("way", WAYS)
def test_after_an_answer_that_does_not_fit_the_second_one_grows(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying("I do not know."), saying(TEXT))

    found = objects(way, llm)

    assert len(found) > 1
    assert found[-1] == ANN


@pytest.mark.parametrize("way", WAYS)
def test_an_object_at_once(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(TEXT, size=1000))

    assert objects(way, llm) == [ANN]


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_is_cut_raises(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(sse(chunk({"content": TEXT[:10]}), done=False))

    with pytest.raises(StreamInterrupted):
        objects(way, llm)
    assert len(server.seen) == 1


class Picky(BaseModel):
    name: str
    age: int

    @model_validator(mode="before")
    @classmethod
    def _whole_only(cls, values: Any) -> Any:
        return {"name": values["name"], "age": values["age"]}


@pytest.mark.parametrize("way", WAYS)
def test_a_validator_that_needs_whole_values_does_not_end_the_stream(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying(TEXT))

    assert objects(way, llm, Picky)[-1] == Picky(name="Ann", age=7)


# --- left early


@pytest.fixture
def slow(server: ScriptedServer, llm_with: LLMWith) -> Iterator[OPEALLM]:
    """An LLM with one place whose answer begins and does not end."""
    never = threading.Event()
    server.script(stream([TEXT[:14], Hold(never), TEXT[14:]]))
    yield llm_with(max_concurrent=1)
    never.set()


def test_a_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM
) -> None:
    found = slow.stream_structured_predict(Person, PROMPT, topic="Ann")
    assert next(found).name

    found.close()

    server.wait(lambda: server.seen[0].disconnected)


def test_a_loop_that_is_left_closes_the_connection(server: ScriptedServer, slow: OPEALLM) -> None:
    for _found in slow.stream_structured_predict(Person, PROMPT, topic="Ann"):
        break

    server.wait(lambda: server.seen[0].disconnected)


async def test_an_async_stream_that_is_closed_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM
) -> None:
    found: Any = await slow.astream_structured_predict(Person, PROMPT, topic="Ann")
    await anext(found)

    await found.aclose()

    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


async def test_an_async_loop_that_is_left_closes_the_connection(
    server: ScriptedServer, slow: OPEALLM
) -> None:
    async for _found in await slow.astream_structured_predict(Person, PROMPT, topic="Ann"):
        break

    await asyncio.to_thread(server.wait, lambda: server.seen[0].disconnected)


# --- whatever the text and its pieces


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedServer, OPEALLM]]:
    with ScriptedServer() as server:
        llm = llm_at(server)
        yield server, llm
        llm.client.close()


ORDERS = st.builds(
    Order,
    title=st.text(st.characters(codec="utf-8"), max_size=12),
    items=st.lists(
        st.builds(
            Item, name=st.text(st.characters(codec="utf-8"), max_size=5), count=st.integers(-5, 5)
        ),
        max_size=3,
    ),
    done=st.booleans(),
)


@settings(
    max_examples=most(60, 30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    order=ORDERS,
    size=st.integers(1, 30),
    fence=st.booleans(),
    ascii_only=st.booleans(),
    way=st.sampled_from(WAYS),
    call=st.booleans(),
)
def test_every_object_in_all_pieces(
    shared: Any, order: Order, size: int, fence: bool, ascii_only: bool, way: str, call: bool
) -> None:
    server, llm = shared
    text = json.dumps(order.model_dump(), ensure_ascii=ascii_only)
    if call:
        server.script(calling(("Order", text), size=size))
    else:
        server.script(saying(f"```json\n{text}\n```" if fence else text, size=size))

    assert predicted(way, llm, Order) == order
