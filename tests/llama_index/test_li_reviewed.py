"""What a strict review and a newcomer found."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from li_asking import HI, LLMWith
from li_forms import ANN, Person, how, saying
from li_object_support import embedding, instrumented
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel
from written_answers import TEXT

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM, OPEAEmbedding, OPEARerank
from llama_index_opea.errors import NoQueryError
from opea_core import (
    AuthenticationError,
    Capabilities,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    OPEAError,
)
from opea_core.testing import Answer, Hold, ScriptedServer, chat, error, json_answer, tool_call

PROMPT = PromptTemplate("Tell about Ann.")


class Snippet(BaseModel):
    a: int
    b: str


@pytest.mark.parametrize("behind", ["", "\nThat is all."])
def test_a_fence_inside_a_fenced_answer(server: ScriptedServer, llm: OPEALLM, behind: str) -> None:
    text = '```json\n{"a": 1, "b": "```py\\nx\\n```"}\n```' + behind
    server.always(chat(text))
    expected = Snippet(a=1, b="```py\nx\n```")
    assert llm.structured_predict(Snippet, PROMPT) == expected
    assert [*llm.stream_structured_predict(Snippet, PROMPT)][-1] == expected
    assert len(server.seen) == 2


def test_json_behind_other_code(server: ScriptedServer, llm: OPEALLM) -> None:
    server.script(chat('```python\nx = 1\n```\n```json\n{"a": 1, "b": "c"}\n```'))
    assert llm.structured_predict(Snippet, PROMPT) == Snippet(a=1, b="c")


def test_an_answer_the_server_itself_found_broken_is_asked_for_again(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    said = {
        "message": "Failed to generate JSON.",
        "code": "json_validate_failed",
        "failed_generation": '{"name": "Ann"',
    }
    server.script(json_answer({"error": said}, 400), chat(TEXT))
    assert llm.structured_predict(Person, PROMPT) == ANN
    assert '{"name": "Ann"' in str(server.seen[1].body["messages"])


def test_what_is_not_implemented_is_refused(server: ScriptedServer, llm: OPEALLM) -> None:
    refused = error(501, "response_format is not implemented")
    server.always(lambda seen: refused if how(seen) == "json_schema" else saying(TEXT)(seen))
    assert llm.structured_predict(Person, PROMPT) == ANN


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_no_batch_is_sent_after_one_has_failed(server: ScriptedServer, way: str) -> None:
    refused = error(401, "wrong key")
    server.always(lambda seen: refused if seen.body["input"] != ["0"] else None)
    made = embedding(server, embed_batch_size=1, num_workers=2)
    texts = [str(number) for number in range(50)]
    with pytest.raises(AuthenticationError):
        await made.aget_text_embedding_batch(
            texts
        ) if way == "async" else made.get_text_embedding_batch(texts)
    assert len(server.seen) < 6


def test_a_payload_shows_what_a_subclass_says() -> None:
    class More(OPEALLM):
        @property
        def metadata(self) -> Any:
            return super().metadata.model_copy(update={"context_window": 77})

    assert More(model="m").to_payload()["context_window"] == 77


@pytest.mark.parametrize(
    "messages", [[], [{"role": "user", "content": "Hi"}]], ids=["none", "dicts"]
)
def test_what_is_no_message_is_said(server: ScriptedServer, llm: OPEALLM, messages: Any) -> None:
    with pytest.raises(ConfigurationError, match="ChatMessage"):
        llm.chat(messages)
    assert server.seen == []


@pytest.mark.parametrize("named", [True, False])
def test_headers_beside_a_form_do_not_reach_tracers(
    server: ScriptedServer, llm: OPEALLM, named: bool
) -> None:
    server.script(chat(TEXT))
    given: Any = {"extra_headers": {"x-secret": "hdr-secret"}}
    with instrumented() as (events, spans):
        found = (
            llm.structured_predict(Person, PROMPT, llm_kwargs=given)
            if named
            else llm.structured_predict(Person, PROMPT, given)
        )
    assert found == ANN
    assert server.seen[0].headers["x-secret"] == "hdr-secret"
    assert "hdr-secret" not in events.text + spans.text


ODD_USAGE: list[Any] = [
    "n/a",
    5,
    {"prompt_tokens": "3", "completion_tokens": "5"},
    {"input_tokens": "3", "output_tokens": 4},
    {"prompt_tokens": {}},
]


@pytest.mark.parametrize("usage", ODD_USAGE, ids=str)
def test_odd_usage_loses_no_answer(server: ScriptedServer, llm_with: LLMWith, usage: Any) -> None:
    message = {"role": "assistant", "content": "Hello"}
    server.script(
        json_answer(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )
    )
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = llm_with(callback_manager=CallbackManager([counter]))
    assert llm.chat(HI).message.content == "Hello"


def test_the_log_tells_of_a_call_without_usable_arguments(
    server: ScriptedServer, llm: OPEALLM, caplog: pytest.LogCaptureFixture
) -> None:
    def weather(city: str = "nowhere") -> str:
        """The weather."""
        return city

    server.script(
        chat(tool_calls=[tool_call("weather", '{"city": "Ber', "a")], finish_reason="length")
    )
    with caplog.at_level(logging.WARNING, "opea_core"):
        response = llm.chat_with_tools([FunctionTool.from_defaults(weather)], "x")
        [call] = llm.get_tool_calls_from_response(response)
    assert (call.tool_name, call.tool_kwargs) == (
        "weather (it was not run: its arguments were cut off at the token limit)",
        {},
    )
    assert (
        caplog.text.count(
            "The call of weather cannot be run: its arguments were cut off at the token limit."
        )
        == 1
    )


def test_the_advice_about_the_window_does_not_repeat_itself(
    server: ScriptedServer, llm_with: LLMWith, caplog: pytest.LogCaptureFixture
) -> None:
    server.always(
        lambda seen: json_answer({"data": [{"id": "m"}]}) if seen.path.endswith("/models") else None
    )
    llm = llm_with(model="m").discover()
    with caplog.at_level(logging.WARNING, "opea_core"):
        assert llm.metadata.context_window == 3900
    assert "Pass context_window=." in caplog.text
    assert "discover" not in caplog.text


REFUSED: dict[str, tuple[Answer, str]] = {
    "vLLM": (
        error(
            400,
            (
                '"auto" tool choice requires --enable-auto-tool-choice and '
                "--tool-call-parser to be set"
            ),
        ),
        "ask without tools",
    ),
    "llama.cpp": (error(500, "tools param requires --jinja flag"), "ask without tools"),
}


@pytest.mark.parametrize("whose", REFUSED)
def test_a_server_without_tools_is_explained(
    server: ScriptedServer, llm: OPEALLM, whose: str
) -> None:
    answer, advice = REFUSED[whose]
    server.always(answer)
    with pytest.raises(OPEAError, match=advice):
        llm.chat_with_tools([FunctionTool.from_defaults(lambda: 1, name="f", description="d")], "x")


def test_a_server_without_completions_is_explained(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    server.always(error(404, "Not Found"))
    with pytest.raises(NotFoundError, match="leave is_chat_model=False out"):
        llm_with(is_chat_model=False).complete("Hi")


def test_a_rank_without_a_query() -> None:
    with pytest.raises(NoQueryError, match="query"):
        OPEARerank(model="m").postprocess_nodes([])


def test_an_error_does_not_wait_for_a_batch_under_way(server: ScriptedServer) -> None:
    release = threading.Event()
    server.always(
        lambda seen: (
            error(401, "wrong key")
            if seen.body["input"] == ["0"]
            else Answer(steps=(Hold(release),))
        )
    )
    made = embedding(server, embed_batch_size=1, num_workers=2)
    with pytest.raises(AuthenticationError):
        made.get_text_embedding_batch(["0", "1"])
    assert not release.is_set()
    release.set()


def test_completions_take_no_tools_and_no_media(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm = llm_with(is_chat_model=False)
    assert not llm.metadata.is_function_calling_model
    with pytest.raises(ConfigurationError, match="takes no tools"):
        llm.chat_with_tools([FunctionTool.from_defaults(lambda: 1, name="f", description="d")], "x")
    with pytest.raises(ConfigurationError, match="ImageBlock"):
        llm.chat([ChatMessage(blocks=[ImageBlock(url="https://a/b.png")])])
    assert server.seen == []


@pytest.mark.parametrize("answered", [True, False])
def test_an_unusable_call_goes_back_only_with_its_result(
    server: ScriptedServer, llm: OPEALLM, answered: bool
) -> None:
    server.script(chat("Wait.", tool_calls=[tool_call("f", "{broken", "a")]))
    answer = llm.chat(HI).message
    result = ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": "a"})
    llm.chat([*HI, answer, *([result] if answered else []), *HI])
    assert ("tool_calls" in server.seen[1].body["messages"][1]) is answered


def test_a_refusal_that_words_cannot_mend_is_not_remembered(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    refused = error(400, "An assistant message with 'tool_calls' must be followed by tool messages")
    server.script(refused, refused)
    with pytest.raises(InvalidRequestError):
        llm.structured_predict(Person, PROMPT)
    server.script(chat(TEXT))
    assert llm.structured_predict(Person, PROMPT) == ANN
    assert how(server.seen[-1]) == "json_schema"


def test_hidden_headers_are_read_like_a_dict(server: ScriptedServer) -> None:
    class More(OPEALLM):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            given = kwargs["extra_headers"]
            assert "x-b" in given
            assert "hidden" not in given
            assert list(given) == list(given.keys()) == ["x-b"]
            assert list(given.values()) == ["2"]
            assert given.copy() == {"x-b": "2"}
            assert len(given) == 1
            return super().chat(messages, **kwargs)

    More(model="m", api_base=server.url).chat_with_tools([], "x", extra_headers={"x-b": "2"})
    assert server.seen[0].headers["x-b"] == "2"


@pytest.mark.parametrize("cls", [OPEALLM, OPEAEmbedding, OPEARerank, ChatOPEA])
def test_numbers_may_be_text_as_from_the_environment(cls: Any) -> None:
    settings = cls(model="m", timeout="30", max_retries="2", deadline="1.5").client.settings
    assert (settings.timeouts.first_event, settings.retry.max_retries, settings.timeouts.total) == (
        30,
        2,
        1.5,
    )


@pytest.mark.parametrize("cls", [OPEALLM, ChatOPEA])
def test_a_text_that_is_no_number_is_an_error(cls: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        cls(model="m", timeout="soon")


@pytest.mark.parametrize(
    ("taken", "said"), [((), "text only"), (("audio", "file"), "text, audio, file only")]
)
def test_media_that_are_switched_off_are_refused_before_sending(
    server: ScriptedServer, llm_with: LLMWith, taken: tuple[Any, ...], said: str
) -> None:
    llm = llm_with(label="gpu1", capabilities=Capabilities(media=frozenset(taken)))
    with pytest.raises(
        ConfigurationError, match=f"The ImageBlock cannot be sent: gpu1 takes {said}"
    ):
        llm.chat([ChatMessage(blocks=[TextBlock(text="What?"), ImageBlock(url="https://a/b.png")])])
    assert server.seen == []


def test_media_that_are_switched_on_are_sent(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm_with(capabilities=Capabilities(media=frozenset({"image"}))).chat(
        [ChatMessage(blocks=[ImageBlock(url="https://a/b.png")])]
    )
    assert server.seen[0].body["messages"][0]["content"][0]["type"] == "image_url"
