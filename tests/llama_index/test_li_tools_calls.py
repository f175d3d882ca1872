"""Tool calls in answers: read, trimmed, made."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from li_asking import CHAT_STREAMS, alist, apart, responses_of
from llama_index.core.base.llms.types import TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index_opea import OPEALLM
from llama_index_opea.errors import NoToolCallError
from opea_core.testing import Answer, ScriptedServer, chat, stream, tool_call

TOOL_WAYS = (
    "chat_with_tools",
    "achat_with_tools",
    "stream_chat_with_tools",
    "astream_chat_with_tools",
)


def add(a: int, b: int) -> int:
    """Add."""
    if a < 0:
        raise ValueError("too small")
    return a + b


async def aadd(a: int, b: int) -> int:
    return a + b


ADD = FunctionTool.from_defaults(add, async_fn=aadd)
CALL = tool_call("add", {"a": 2, "b": 3}, "a")
MORE = tool_call("add", {"a": 4, "b": 5}, "b")


def _answer(way: str, *calls: Any, text: str = "") -> Answer:
    if "stream" not in way:
        return chat(text, tool_calls=calls)
    pieces = [{"tool_calls": [call | {"index": index}]} for index, call in enumerate(calls)]
    return stream([text, *apart(pieces)], finish_reason="tool_calls")


def _run(way: str, llm: OPEALLM, *args: Any, **options: Any) -> Any:
    """The answer of a method, all responses if it is a stream."""

    async def awaited() -> Any:
        answer = await getattr(llm, way)(*args, **options)
        return await alist(answer) if "stream" in way else answer

    if way.startswith("a"):
        return asyncio.run(awaited())
    answer = getattr(llm, way)(*args, **options)
    return list(answer) if "stream" in way else answer


# --- reading


class _Function(BaseModel):
    name: str = "f"
    arguments: str = '{"x": 1}'


class _Call(BaseModel):
    id: str = "a"
    function: _Function = _Function()


def _response(
    *blocks: Any, delta: str | None = None, known: Any = None, **additional: Any
) -> ChatResponse:
    message = ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional)
    return ChatResponse(message=message, delta=delta, additional_kwargs=known or {})


def _block(kwargs: Any) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id="a", tool_name="f", tool_kwargs=kwargs)


READ: dict[str, tuple[ChatResponse, Any]] = {  # None: the call is not to be run
    "a block": (_response(_block({"x": 1})), {"x": 1}),
    "a block with text": (_response(_block('{"x": 1}')), {"x": 1}),
    "a block beside text": (_response(TextBlock(text="Wait."), _block({"x": 1})), {"x": 1}),
    "a dict": (_response(tool_calls=[tool_call("f", {"x": 1}, "a")]), {"x": 1}),
    "a dict with a dict": (
        _response(tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]),
        {"x": 1},
    ),
    "an SDK object": (_response(tool_calls=[_Call()]), {"x": 1}),
    "a plain object": (
        _response(
            tool_calls=[
                SimpleNamespace(id="a", function=SimpleNamespace(name="f", arguments='{"x": 1}'))
            ]
        ),
        {"x": 1},
    ),
    "Anthropic's": (
        _response(tool_calls=[{"id": "a", "name": "f", "input": {"x": 1}, "type": "tool_use"}]),
        {"x": 1},
    ),
    "Gemini's": (_response(tool_calls=[{"id": "a", "name": "f", "args": {"x": 1}}]), {"x": 1}),
    "blocks before dicts": (
        _response(_block({"x": 1}), tool_calls=[tool_call("g", {"y": 2}, "b")]),
        {"x": 1},
    ),
    "no arguments": (_response(_block("")), {}),
    "arguments null": (_response(_block("null")), {}),
    "invalid JSON": (_response(_block("x=1")), None),
    "cut arguments of a whole answer": (_response(_block('{"x": 1, "y": ')), None),
    "a list": (_response(_block("[1]")), None),
    "a number": (_response(_block("7")), None),
    "encoded twice": (_response(_block('"{\\"x\\": 1}"')), {"x": 1}),
    "a text": (_response(_block('"x"')), None),
    "raw line breaks": (_response(_block('{"x": "a\nb"}')), {"x": "a\nb"}),
    "growing": (_response(_block('{"x": 1, "y": "a'), delta=""), {"x": 1, "y": "a"}),
    "growing dict": (
        _response(tool_calls=[tool_call("f", '{"x": [1, 2', "a")], delta=""),
        {"x": [1, 2]},
    ),
    "hardly begun": (_response(_block(""), delta=""), {}),
    "begun": (_response(_block("{"), delta=""), {}),
    "begun with a name": (_response(_block('{"x'), delta=""), {}),
    "growing list": (_response(_block("[1"), delta=""), {}),
    "growing nonsense": (_response(_block("x=1"), delta=""), {}),
    "deep nonsense": (_response(_block("[" * 100_000)), None),
    "cut at the end of a stream": (
        _response(_block('{"x": 1, "y": '), delta="", known={"finish_reason": "length"}),
        None,
    ),
}


@pytest.mark.parametrize("name", READ)
def test_reading_a_call(llm: OPEALLM, name: str) -> None:
    response, kwargs = READ[name]

    (call,) = llm.get_tool_calls_from_response(response)

    name = "f (it was not run: its arguments are no JSON object)" if kwargs is None else "f"
    assert (call.tool_id, call.tool_name, call.tool_kwargs) == ("a", name, kwargs or {})


def test_reading_a_legacy_function_call(llm: OPEALLM) -> None:
    (call,) = llm.get_tool_calls_from_response(
        _response(function_call={"name": "f", "arguments": '{"x": 1}'})
    )

    assert (call.tool_name, call.tool_kwargs) == ("f", {"x": 1})


def test_reading_does_not_change_the_response(llm: OPEALLM) -> None:
    response = READ["a dict"][0]
    before = response.model_copy(deep=True)

    llm.get_tool_calls_from_response(response)

    assert response == before


def test_no_call_is_an_error_that_says_what_was_answered(llm: OPEALLM) -> None:
    response = _response(TextBlock(text="I would rather talk."))

    with pytest.raises(NoToolCallError, match="I would rather talk") as caught:
        llm.get_tool_calls_from_response(response)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "additional", [{}, {"tool_calls": []}, {"tool_calls": None}, {"function_call": None}]
)
def test_no_call_is_an_empty_list_where_that_is_wanted(llm: OPEALLM, additional: Any) -> None:
    assert (
        llm.get_tool_calls_from_response(_response(**additional), error_on_no_tool_call=False) == []
    )


@pytest.mark.parametrize("way", CHAT_STREAMS)
def test_arguments_are_readable_while_they_grow(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    texts = ('{"a"', ": 2,", ' "b', '": [3', ", 4]}")
    head = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "add", "arguments": ""}}]}
    rest = [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in texts]
    server.script(stream(apart([head, *rest]), finish_reason="tool_calls"))

    found = [
        call.tool_kwargs
        for response in responses_of(way, llm)
        for call in llm.get_tool_calls_from_response(response)
    ]

    assert found[-1] == {"a": 2, "b": [3, 4]}
    sizes = [len(str(kwargs)) for kwargs in found]
    assert sizes == sorted(sizes)


# --- trimming


def _dicts(response: ChatResponse) -> list[Any]:
    return [call["id"] for call in response.message.additional_kwargs.get("tool_calls", [])]


def _blocks(response: ChatResponse) -> list[Any]:
    return [
        block.tool_call_id for block in response.message.blocks if isinstance(block, ToolCallBlock)
    ]


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_one_call_at_most_in_both_places(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(_answer(way, CALL, MORE, text="Wait."))

    found = _run(way, llm, [ADD], "Hi")

    for response in found if "stream" in way else [found]:
        assert _blocks(response) == _dicts(response)
        assert _blocks(response) in ([], ["a"])
    last = found[-1] if "stream" in way else found
    assert _blocks(last) == ["a"]
    assert last.message.content == "Wait."


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_all_calls_where_parallel_ones_are_allowed(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(_answer(way, CALL, MORE))

    found = _run(way, llm, [ADD], "Hi", allow_parallel_tool_calls=True)

    last = found[-1] if "stream" in way else found
    assert _blocks(last) == _dicts(last) == ["a", "b"]


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_a_trimmed_answer_keeps_the_rest(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(_answer(way, CALL, MORE))

    found = _run(way, llm, [ADD], "Hi")

    last = found[-1] if "stream" in way else found
    assert last.additional_kwargs["finish_reason"] == "tool_calls"
    assert isinstance(last.raw, dict)


def test_a_trimmed_answer_names_no_calls_that_are_gone(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    server.script(chat(None, tool_calls=[CALL, tool_call("add", '{"a": ', "b")]))

    known = llm.chat_with_tools([ADD], "Hi").message.additional_kwargs

    assert not known.get("invalid_tool_calls")


@pytest.mark.parametrize("way", TOOL_WAYS)
def test_options_by_position(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    history = [ChatMessage(role="system", content="s")]
    server.script(_answer(way, CALL, MORE))

    found = _run(way, llm, [ADD], "Hi", history, False, True, True)

    assert _blocks(found[-1] if "stream" in way else found) == ["a", "b"]
    assert server.seen[0].body["tool_choice"] == "required"


# --- making


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_the_predicted_call_is_made(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(chat(None, tool_calls=[CALL]))

    answer = _run(way, llm, [ADD], "Hi")

    assert str(answer) == "5"
    assert answer.sources[0].raw_output == 5


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_one_of_two_calls_is_made(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(chat(None, tool_calls=[CALL, MORE]))

    assert str(_run(way, llm, [ADD], "Hi")) == "5"


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_both_calls_are_made_where_that_is_allowed(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(chat(None, tool_calls=[CALL, MORE]))

    assert str(_run(way, llm, [ADD], "Hi", allow_parallel_tool_calls=True)) == "5\n\n9"


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_no_call_is_an_error(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    server.script(chat("No."))

    with pytest.raises(ValueError, match="No"):
        _run(way, llm, [ADD], "Hi")


@pytest.mark.parametrize("way", ["predict_and_call", "apredict_and_call"])
def test_no_call_is_a_text_where_that_is_wanted(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    server.script(chat("No."))

    assert str(_run(way, llm, [ADD], "Hi", error_on_no_tool_call=False)) == "No."


def test_an_error_of_the_tool_is_its_result(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(chat(None, tool_calls=[tool_call("add", {"a": -1, "b": 3})]))

    assert "too small" in str(llm.predict_and_call([ADD], "Hi"))


def test_the_choice_reaches_the_server(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(chat(None, tool_calls=[CALL]))

    llm.predict_and_call([ADD], "Hi", tool_choice="add")

    assert server.seen[0].body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
