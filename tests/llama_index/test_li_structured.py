"""Objects of a class: what is asked for, and what of the call reaches the server."""

from __future__ import annotations

import enum
import inspect
import json
from typing import Any, Generic, Literal, TypeVar

import pytest
from li_asking import CHATS, LLMWith, last_of
from li_forms import (
    ALL,
    ANN,
    AS_LLM,
    PREDICTS,
    PROMPT,
    Person,
    calling,
    how,
    objects,
    predicted,
    saying,
    texts,
)
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_validator
from written_answers import TEXT

from llama_index_opea import OPEALLM
from llama_index_opea.testing.watching import CountingLimiter, watching
from opea_core.testing import ScriptedServer

T = TypeVar("T")
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `json` method is deprecated"
)  # StructuredLLM uses it


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    city: str
    street: str | None = None


class Order(BaseModel):
    """An order."""

    customer: str = Field(description="who orders")
    place: Place
    items: list[str] = Field(min_length=1)
    color: Color = Color.RED
    size: Literal["s", "l"] = "s"
    notes: dict[str, int] = {}
    parent: Order | None = None


class Box(BaseModel, Generic[T]):
    content: T


class Camel(BaseModel):
    first_name: str = Field(alias="firstName")


class Checked(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()


class Empty(BaseModel):
    pass


ORDER = (
    '{"customer": "Ann", "place": {"city": "Lima"}, "items": ["a", "b"], "color": "blue", '
    '"notes": {"n": 1}, "parent": null}'
)
CLASSES: dict[str, tuple[Any, str, Any]] = {
    "plain": (Person, TEXT, ANN),
    "nested": (
        Order,
        ORDER,
        Order(
            customer="Ann",
            place=Place(city="Lima"),
            items=["a", "b"],
            color=Color.BLUE,
            notes={"n": 1},
        ),
    ),
    "generic": (Box[int], '{"content": 5}', Box[int](content=5)),
    "generic of a class": (
        Box[Place],
        '{"content": {"city": "Lima"}}',
        Box[Place](content=Place(city="Lima")),
    ),
    "alias": (Camel, '{"firstName": "Ann"}', Camel(firstName="Ann")),
    "validated": (Checked, '{"name": "ann"}', Checked(name="ANN")),
    "no fields": (Empty, "{}", Empty()),
}


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("name", CLASSES)
def test_objects_by_schema(server: ScriptedServer, llm: OPEALLM, name: str, way: str) -> None:
    cls, text, expected = CLASSES[name]
    server.script(saying(text))

    found = predicted(way, llm, cls)

    assert type(found) is cls
    assert found == expected
    assert [how(seen) for seen in server.seen] == ["json_schema"]


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("name", CLASSES)
def test_objects_by_tool(server: ScriptedServer, llm_with: LLMWith, name: str, way: str) -> None:
    cls, text, expected = CLASSES[name]
    llm = llm_with(pydantic_program_mode=PydanticProgramMode.FUNCTION)
    server.script(lambda seen: calling((seen.body["tools"][0]["function"]["name"], text))(seen))

    assert predicted(way, llm, cls) == expected
    assert [how(seen) for seen in server.seen] == ["tool"]


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("name", CLASSES)
def test_objects_by_text(server: ScriptedServer, llm_with: LLMWith, name: str, way: str) -> None:
    cls, text, expected = CLASSES[name]
    server.script(saying(text))

    assert predicted(way, llm_with(pydantic_program_mode=PydanticProgramMode.LLM), cls) == expected
    assert [how(seen) for seen in server.seen] == ["text"]


# --- what is sent


def test_the_schema_as_it_is_sent(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(saying(TEXT))

    llm.structured_predict(Person, PROMPT, topic="Ann")

    assert server.seen[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Person",
            "description": "A person.",
            "schema": Person.model_json_schema(),
        },
    }
    assert texts(server.seen[0]) == [("user", "Tell about Ann.")]


def test_the_tool_as_it_is_sent(server: ScriptedServer, llm_with: LLMWith) -> None:
    server.script(calling(("Person", TEXT)))

    llm_with(pydantic_program_mode=PydanticProgramMode.FUNCTION).structured_predict(
        Person, PROMPT, topic="Ann"
    )

    body = server.seen[0].body
    (tool,) = body["tools"]
    assert (tool["function"]["name"], tool["function"]["parameters"]) == (
        "Person",
        Person.model_json_schema(),
    )
    assert body["tool_choice"] == {"type": "function", "function": {"name": "Person"}}


@pytest.mark.parametrize("way", PREDICTS)
@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION])
def test_names_of_classes_are_cleaned(
    server: ScriptedServer, llm_with: LLMWith, mode: Any, way: str
) -> None:
    server.script(saying('{"content": 5}'))

    predicted(way, llm_with(pydantic_program_mode=mode), Box[int])

    body = server.seen[0].body
    form = (
        body["response_format"]["json_schema"]
        if "response_format" in body
        else body["tools"][0]["function"]
    )
    assert form["name"] == "Box_int_"


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize(
    "mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION, PydanticProgramMode.LLM]
)
def test_the_system_prompt_goes_along(
    server: ScriptedServer, llm_with: LLMWith, mode: Any, way: str
) -> None:
    server.script(saying(TEXT))

    predicted(way, llm_with(system_prompt="Be kind.", pydantic_program_mode=mode))

    first, second = texts(server.seen[0])
    assert first == ("system", "Be kind.")
    assert second[1].startswith("Tell about Ann.")


@pytest.mark.parametrize("way", PREDICTS)
def test_a_strict_schema_names_every_field_and_forbids_others(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(saying(ORDER))

    predicted(way, llm_with(strict=True), Order)

    form = server.seen[0].body["response_format"]["json_schema"]
    assert form["strict"] is True
    for part in form["schema"]["$defs"].values():
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])


def test_strict_leaves_the_class_alone(server: ScriptedServer, llm_with: LLMWith) -> None:
    before = Order.model_json_schema()
    server.script(saying(ORDER))

    llm_with(strict=True).structured_predict(Order, PROMPT, topic="x")

    assert Order.model_json_schema() == before


@pytest.mark.parametrize("way", PREDICTS)
def test_should_use_structured_outputs_asks_by_schema(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(saying(TEXT))

    assert (
        predicted(
            way, llm_with(should_use_structured_outputs=True, is_function_calling_model=False)
        )
        == ANN
    )
    assert how(server.seen[0]) == "json_schema"


@pytest.mark.parametrize("way", ALL)
def test_llm_kwargs_reach_the_body_and_are_not_changed(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying(TEXT))
    given: dict[str, Any] = {"temperature": 0.9, "extra_body": {"top_k": 3}, "max_tokens": 50}

    predicted(way, llm, llm_kwargs=given)

    body = server.seen[0].body
    assert (body["temperature"], body["top_k"], body["max_tokens"]) == (0.9, 3, 50)
    assert given == {"temperature": 0.9, "extra_body": {"top_k": 3}, "max_tokens": 50}


@pytest.mark.parametrize("way", PREDICTS)
def test_choices_among_tools_in_llm_kwargs_do_no_harm(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(saying(TEXT))

    assert (
        predicted(
            way,
            llm,
            llm_kwargs={
                "tool_required": True,
                "tool_choice": "auto",
                "allow_parallel_tool_calls": True,
            },
        )
        == ANN
    )


@pytest.mark.parametrize("way", PREDICTS)
def test_no_llm_kwargs(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(TEXT))

    assert predicted(way, llm, llm_kwargs=None) == ANN


# --- prompts


@pytest.mark.parametrize("way", PREDICTS)
def test_values_with_braces(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(TEXT))

    predicted(way, llm, topic='{"a": {x}} }{')

    assert texts(server.seen[0]) == [("user", 'Tell about {"a": {x}} }{.')]


@pytest.mark.parametrize("way", AS_LLM)
def test_messages_with_braces(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(saying(TEXT))

    objects(f"as_structured_llm.{way}", llm, text='Read {"a": {x}} and }{.')

    assert texts(server.seen[0]) == [("user", 'Read {"a": {x}} and }{.')]


@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.LLM])
def test_chat_prompts(server: ScriptedServer, llm_with: LLMWith, mode: Any) -> None:
    server.script(saying(TEXT))
    prompt = ChatPromptTemplate.from_messages(
        [("system", "You know {what}."), ("user", "Tell about {topic}.")]
    )

    predicted("structured_predict", llm_with(pydantic_program_mode=mode), prompt=prompt, what="all")

    assert texts(server.seen[0])[0] == ("system", "You know all.")
    assert texts(server.seen[0])[-1][1].startswith("Tell about Ann.")


def test_a_prompt_without_variables(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(saying(TEXT))

    assert llm.structured_predict(Person, PromptTemplate("Tell about Ann.")) == ANN


# --- the class in response_format of a call


@pytest.mark.parametrize("way", CHATS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_class_as_response_format(
    server: ScriptedServer, llm_with: LLMWith, way: str, strict: bool
) -> None:
    server.script(saying(TEXT))

    response = last_of(way, llm_with(strict=strict), response_format=Person)

    assert response.message.content == TEXT
    form = server.seen[0].body["response_format"]
    assert (
        form["type"],
        form["json_schema"]["name"],
        form["json_schema"].get("strict", False),
    ) == ("json_schema", "Person", strict)


# --- what others see


def test_shapes_of_the_methods(server: ScriptedServer, llm: OPEALLM) -> None:
    server.always(saying(TEXT))

    assert inspect.isgenerator(llm.stream_structured_predict(Person, PROMPT, topic="a"))
    coroutine = llm.astream_structured_predict(Person, PROMPT, topic="a")
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


@pytest.mark.parametrize("way", PREDICTS)
def test_events_show_the_call_and_its_usage(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    server.script(lambda seen: _with_usage(saying(TEXT)(seen), usage))

    with watching(llm) as watch:
        predicted(way, llm)

    (end,) = watch.of(LLMChatEndEvent)
    assert end.response.raw["usage"] == usage
    assert len(watch.of(LLMStructuredPredictStartEvent)) == 1
    assert [event.output for event in watch.of(LLMStructuredPredictEndEvent)] == [ANN]


def _with_usage(answer: Any, usage: Any) -> Any:
    if answer.headers["content-type"] == "application/json":
        return answer.replace(
            steps=(json.dumps(json.loads(answer.body) | {"usage": usage}).encode(),)
        )
    *steps, done = answer.steps
    last = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    return answer.replace(steps=(*steps, last, done))


@pytest.mark.parametrize("way", PREDICTS)
def test_the_rate_limiter_counts_each_request_once(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    llm.rate_limiter = limiter = CountingLimiter()
    server.script(saying("no"), saying(TEXT))

    assert predicted(way, llm) == ANN
    assert limiter.acquired == 2
