"""ChatOPEA in agents: refusals, a final schema beside tools, and calls that cannot be run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRefusalMiddleware
from langchain.agents.structured_output import (
    ProviderStrategy,
    StructuredOutputValidationError,
    ToolStrategy,
)
from langchain_core.exceptions import ModelRefusalError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from lc_asking import BLOCK_WAYS, WAYS, ModelWith, blocks
from lc_shapes import body, deltas
from lc_shapes_tools import entry
from pydantic import BaseModel

import opea_core as core
from langchain_opea import InvalidToolCallMiddleware
from langchain_opea.errors import OPEAConfigurationError, OPEARefusalError
from opea_core.testing import Answer, ScriptedServer, Seen, error, tool_call

Json = dict[str, Any]
RAN: list[str] = []


@tool
def weather(city: str = "everywhere") -> str:
    """The weather of a city."""
    RAN.append(city)
    return f"fine in {city}"


class Report(BaseModel):
    """A report."""

    city: str
    degrees: int


def _asked(seen: Seen, whole: Answer, streamed: Answer) -> Answer:
    return streamed if seen.body.get("stream") else whole


def _both(
    message: str | None = None, *calls: Json, finish: str | None = None
) -> Callable[[Seen], Answer]:
    """An answer as it is asked for."""
    finish = finish or ("tool_calls" if calls else "stop")
    content: Json = {"content": message} | ({"tool_calls": list(calls)} if calls else {})
    pieces: list[Json] = [{"content": message}] if message else []
    for number, call in enumerate(calls):
        name, text = call["function"]["name"], call["function"]["arguments"]
        pieces += [
            {"tool_calls": [entry(number, call["id"], name, text[:5])]},
            {"tool_calls": [entry(number, None, None, text[5:])]},
        ]
    return lambda seen: _asked(seen, body(content, finish), deltas(*pieces, finish=finish))


MODES = ["messages", "values"]
RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda agent, state: agent.invoke(state),
    "ainvoke": lambda agent, state: asyncio.run(agent.ainvoke(state)),
    "stream": lambda agent, state: [
        piece
        for mode, piece in agent.stream(state, stream_mode=["messages", "values"])
        if mode == "values"
    ][-1],
}
"""Ways to run an agent; the last one streams from the server."""
HI: Any = {"messages": [HumanMessage("Hi")]}


# --- refusals


def _refusing(seen: Seen) -> Answer:
    return _asked(
        seen,
        body({"content": None, "refusal": "I won't."}),
        deltas({"refusal": "I "}, {"refusal": "won't."}),
    )


@pytest.mark.parametrize("way", WAYS | BLOCK_WAYS)
def test_a_refusal_is_a_standard_block(server: ScriptedServer, way: str) -> None:
    server.always(_refusing)

    message = (WAYS | BLOCK_WAYS)[way](server)

    assert blocks(message) == [("refusal", "I won't.")]
    assert message.text == ""


def test_a_refusal_stands_behind_the_text(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(body({"content": "Hm.", "refusal": "I won't.", "reasoning": "Let me see"}))

    assert blocks(model_with().invoke("Hi")) == [
        ("reasoning", "Let me see"),
        ("text", "Hm."),
        ("refusal", "I won't."),
    ]


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("run", RUNS)
def test_the_middleware_for_refusals_sees_them(
    server: ScriptedServer, model_with: ModelWith, run: str, version: str
) -> None:
    server.always(_refusing)
    agent = create_agent(
        model_with(output_version=version), [weather], middleware=[ModelRefusalMiddleware()]
    )

    with pytest.raises(ModelRefusalError, match="I won't") as caught:
        RUNS[run](agent, HI)

    assert isinstance(caught.value.raw_message, AIMessage)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_refusal_where_a_form_was_asked_for(
    server: ScriptedServer, model_with: ModelWith, streaming: bool
) -> None:
    server.always(_refusing)

    with pytest.raises(ModelRefusalError) as caught:
        model_with(streaming=streaming).with_structured_output(Report).invoke("Hi")

    assert isinstance(caught.value, OPEARefusalError)
    assert isinstance(caught.value, core.RefusalError)
    assert isinstance(caught.value.raw_message, AIMessage)
    assert blocks(caught.value.raw_message) == [("refusal", "I won't.")]


# --- tools and a final schema

REPORT = '{"city": "Bern", "degrees": 18}'
NOT_BOTH = error(400, "tools cannot be combined with response_format")
NO_SCHEMA = error(400, "response_format of type json_schema is not supported")
FORMS: dict[str, Any] = {
    "by itself": Report,
    "native": ProviderStrategy(Report),
    "as a tool": ToolStrategy(Report),
}
SERVERS: dict[str, Callable[[Json], Answer | None]] = {
    "takes both": lambda _: None,
    "takes one of them": lambda sent: (
        NOT_BOTH if "response_format" in sent and "tools" in sent else None
    ),
    "takes no schema": lambda sent: NO_SCHEMA if "response_format" in sent else None,
}


def _reporting(refuses: Callable[[Json], Answer | None]) -> Callable[[Seen], Answer]:
    """Calls the tool, and then answers in the form that was asked for."""

    def answer(seen: Seen) -> Answer:
        sent: Any = seen.body
        refused = refuses(sent)
        if refused is not None:
            return refused
        if sent["messages"][-1]["role"] != "tool":
            return _both(None, tool_call("weather", '{"city": "Bern"}', id="a"))(seen)
        if "response_format" in sent:
            return _both(REPORT)(seen)
        names = [each["function"]["name"] for each in sent["tools"]]
        assert sent["tool_choice"] == "required"
        return _both(
            None, tool_call(next(name for name in names if name != "weather"), REPORT, id="b")
        )(seen)

    return answer


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("takes", SERVERS)
def test_tools_and_a_final_schema(
    server: ScriptedServer, model_with: ModelWith, takes: str, form: str, run: str
) -> None:
    RAN.clear()
    server.always(_reporting(SERVERS[takes]))
    agent: Any = create_agent(model_with(), [weather], response_format=FORMS[form])

    state = RUNS[run](agent, HI)

    assert state["structured_response"] == Report(city="Bern", degrees=18)
    assert RAN == ["Bern"]
    is_changed = form == "native" and takes != "takes both"
    assert len(server.seen) == (3 if is_changed else 2)
    if form == "native":
        last = state["messages"][-1]
        assert (last.text, last.tool_calls, last.response_metadata["finish_reason"]) == (
            REPORT,
            [],
            "stop",
        )
    dropped = [
        name
        for m in state["messages"]
        if isinstance(m, AIMessage)
        for name in m.response_metadata.get("dropped_parameters", ())
    ]
    assert dropped[:1] == (["response_format -> tools"] if is_changed else [])


def test_without_tools_a_written_form_stays(server: ScriptedServer, model_with: ModelWith) -> None:
    server.script(NO_SCHEMA)

    with pytest.raises(core.InvalidRequestError):
        model_with().invoke("Hi", response_format=Report)

    assert len(server.seen) == 1


def test_nothing_is_changed_where_that_is_switched_off(
    server: ScriptedServer, model_with: ModelWith
) -> None:
    server.always(_reporting(SERVERS["takes one of them"]))
    agent: Any = create_agent(
        model_with(adapt=False), [weather], response_format=ProviderStrategy(Report)
    )

    with pytest.raises(core.InvalidRequestError):
        agent.invoke(HI)

    assert len(server.seen) == 1


@pytest.mark.parametrize("run", ["invoke", "stream"])
def test_a_final_answer_that_was_cut_off_says_so(
    server: ScriptedServer, model_with: ModelWith, run: str
) -> None:
    broken = _both(None, tool_call("Report", REPORT[:12], id="b"), finish="length")
    server.always(lambda seen: NOT_BOTH if "response_format" in seen.body else broken(seen))
    agent: Any = create_agent(model_with(), [weather], response_format=ProviderStrategy(Report))

    with pytest.raises(StructuredOutputValidationError) as caught:
        RUNS[run](agent, HI)

    assert caught.value.ai_message.text == REPORT[:12]
    assert caught.value.ai_message.response_metadata["finish_reason"] == "length"


# --- calls that cannot be run

BROKEN = tool_call("weather", '{"city": "Be', id="bad")
RIGHT = tool_call("weather", '{"city": "Bern"}', id="good")
LIST = tool_call("weather", '["Bern"]', id="list")


def _agent(model_with: ModelWith, *, response_format: Any = None, **options: Any) -> Any:
    return create_agent(
        model_with(),
        [weather],
        middleware=[InvalidToolCallMiddleware(**options)],
        response_format=response_format,
    )


def _told(state: Any) -> list[tuple[str, str]]:
    return [
        (message.tool_call_id, message.status)
        for message in state["messages"]
        if isinstance(message, ToolMessage)
    ]


@pytest.mark.parametrize("run", RUNS)
def test_the_model_hears_what_is_wrong_with_a_call(
    server: ScriptedServer, model_with: ModelWith, run: str
) -> None:
    for first, says in (
        (_both(None, BROKEN, finish="length"), "cut off at the token limit"),
        (_both(None, LIST), "no JSON object"),
    ):
        RAN.clear()
        server.script(first, _both(None, RIGHT), _both("Fine."))

        state = RUNS[run](_agent(model_with), HI)

        assert state["messages"][-1].text == "Fine."
        assert RAN == ["Bern"]
        assert [status for _, status in _told(state)] == ["error", "success"]
        call, told = server.seen[-2].body["messages"][-2:]
        assert call["tool_calls"][0]["id"] == told["tool_call_id"]
        assert says in told["content"]


@pytest.mark.parametrize("run", RUNS)
def test_beside_valid_calls_the_invalid_ones_are_answered_too(
    server: ScriptedServer, model_with: ModelWith, run: str
) -> None:
    RAN.clear()
    server.script(_both(None, RIGHT, LIST), _both("Fine."))

    state = RUNS[run](_agent(model_with), HI)

    assert state["messages"][-1].text == "Fine."
    assert RAN == ["Bern"]
    assert sorted(_told(state)) == [("good", "success"), ("list", "error")]
    assert {call["id"] for call in server.seen[-1].body["messages"][1]["tool_calls"]} == {
        "good",
        "list",
    }


@pytest.mark.parametrize(("retries", "asked"), [(0, 1), (1, 2), (2, 3)])
def test_it_ends_after_so_many_in_a_row(
    server: ScriptedServer, model_with: ModelWith, retries: int, asked: int
) -> None:
    for run in RUNS:
        before = len(server.seen)
        server.always(_both(None, LIST))

        state = RUNS[run](_agent(model_with, max_retries=retries), HI)

        assert len(server.seen) - before == asked
        assert isinstance(state["messages"][-1], AIMessage)
        assert state["messages"][-1].invalid_tool_calls


@pytest.mark.parametrize("form", FORMS)
def test_a_final_schema_may_wait_for_it(
    server: ScriptedServer, model_with: ModelWith, form: str
) -> None:
    for run in ("invoke", "ainvoke"):
        final = (
            _both(None, tool_call("Report", REPORT, id="b")) if form != "native" else _both(REPORT)
        )
        server.script(_both(None, LIST), final)

        assert RUNS[run](_agent(model_with, response_format=FORMS[form]), HI)[
            "structured_response"
        ] == Report(city="Bern", degrees=18)


def test_what_is_no_number_of_retries_is_refused() -> None:
    for wrong in (-1, True, 1.5, None):
        with pytest.raises(OPEAConfigurationError, match="max_retries"):
            InvalidToolCallMiddleware(max_retries=wrong)  # type: ignore[arg-type]  # on purpose


def test_without_langchain_an_error_says_what_to_install() -> None:
    lines = (
        "import sys",
        "sys.modules['langchain'] = None",
        "import langchain_opea",
        "langchain_opea.InvalidToolCallMiddleware",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "ImportError: InvalidToolCallMiddleware needs the package langchain" in done.stderr
