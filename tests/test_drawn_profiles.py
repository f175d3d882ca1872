"""ChatOPEA and OPEALLM at servers whose abilities are drawn, with the profile that the doctor made.

Each thing is done, or an error or a warning says why not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from drawn_server import Drawn
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM
from opea_core import OPEA, Capabilities, OPEAError
from opea_core.testing import ScriptedServer

SEEDS = range(200, 212)


class Greeting(BaseModel):
    """A greeting and a number."""

    greeting: str
    number: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=SEEDS)
def drawn(request: pytest.FixtureRequest) -> Iterator[tuple[Drawn, str, Capabilities]]:
    """A drawn server, its URL, and what the doctor found."""
    found = Drawn(request.param)
    with ScriptedServer() as server:
        server.always(found)
        url = server.url.removesuffix("/v1") + found.base
        with OPEA(url, append_v1=False) as opea:
            known = opea.diagnose().capabilities
        yield found, url, known


@contextlib.contextmanager
def said_why(refused: bool) -> Iterator[None]:
    """An error with words comes where something cannot be had, and none elsewhere."""
    if not refused:
        yield
        return
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of whatever class
        yield
    assert str(caught.value)


def can_form(truth: dict[str, str]) -> bool:
    """Whether an answer of a schema can be had for certain."""
    forced = "on" in (truth["tool_choice named"], truth["tool_choice required"])
    return truth["json_schema"] == "on" or (truth["tools"] == "on" and forced)


def test_in_langchain(drawn: tuple[Drawn, str, Capabilities]) -> None:
    server, url, known = drawn
    model = ChatOPEA(base_url=url, append_v1=False, capabilities=known, max_retries=0)
    assert model.invoke("Hello", max_tokens=20, seed=3, stop=["x"], n=1).text
    with said_why(server.truth["stream"] == "refused"):
        assert "".join(chunk.text for chunk in model.stream("Hello"))
    called = model.bind_tools([get_weather], tool_choice="get_weather")
    if server.truth["tools"] == "on" and "on" in (
        server.truth["tool_choice named"],
        server.truth["tool_choice required"],
    ):
        assert [call["name"] for call in called.invoke("Rome?").tool_calls] == ["get_weather"]
    asked = model.with_structured_output(Greeting)
    if can_form(server.truth):
        assert isinstance(asked.invoke("Greet me."), Greeting)
    else:
        with said_why(True):
            asked.invoke("Greet me.")
    profile: Any = model.profile
    assert profile["tool_calling"] is (server.truth["tools"] == "on")
    assert profile["max_input_tokens"] == 4096


def test_in_llama_index(drawn: tuple[Drawn, str, Capabilities]) -> None:
    server, url, known = drawn
    llm = OPEALLM(api_base=url, append_v1=False, capabilities=known, max_retries=0)
    assert llm.complete("Hello").text
    with said_why(server.truth["stream"] == "refused"):
        assert "".join(part.delta or "" for part in llm.stream_complete("Hello"))
    assert llm.metadata.context_window == 4096
    assert llm.metadata.is_function_calling_model is (server.truth["tools"] == "on")
    tool = FunctionTool.from_defaults(get_weather)
    if server.truth["tools"] == "on":
        answer = llm.chat_with_tools([tool], user_msg="What is the weather in Rome?")
        assert llm.get_tool_calls_from_response(answer)[0].tool_name == "get_weather"
    if can_form(server.truth):
        assert isinstance(llm.as_structured_llm(Greeting).complete("Greet me.").raw, Greeting)


def test_without_a_profile_the_core_learns_or_says_why(
    drawn: tuple[Drawn, str, Capabilities],
) -> None:
    url = drawn[1]
    form = {"name": "Greeting", "schema": Greeting.model_json_schema()}
    with OPEA(url, append_v1=False, max_retries=1) as opea:
        assert opea.chat("Hello", max_tokens=20, seed=3, logprobs=True).content
        try:
            answer = opea.chat("Greet me.", output_schema=form)
        except OPEAError as error:
            why = error.message
        else:
            text = answer.content or answer.tool_calls[0].arguments
            why = " ".join(answer.warnings) or Greeting.model_validate_json(text).greeting
    assert why
