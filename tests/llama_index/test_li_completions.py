"""``/completions``: prompts made of messages, prompts made of texts, streams, limits, logprobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from li_asking import CHATS, COMPLETIONS, STREAMS, WAYS, LLMWith, last_of, responses_of
from llama_index.core.base.llms.generic_utils import messages_to_prompt as usual_prompt
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from llama_index_opea import OPEALLM
from opea_core import ConfigurationError, ContextOverflowError, StreamInterrupted
from opea_core.testing import Answer, ScriptedServer, error, json_answer, sse

MESSAGES = [
    ChatMessage(role="system", content="Be short."),
    ChatMessage(role="user", content="Hi {x}"),
]
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


class Words:
    """A tokenizer: words."""

    def encode(self, text: str) -> list[str]:
        return text.split()


def _completed(text: str = "Hello", finish: str = "stop", **choice: Any) -> Answer:
    entry = {"index": 0, "text": text, "finish_reason": finish, **choice}
    return json_answer(
        {"id": "c-1", "object": "text_completion", "model": "s", "choices": [entry], "usage": USAGE}
    )


def _streamed(
    *pieces: str, finish: str | None = "stop", done: bool = True, **choice: Any
) -> Answer:
    events: list[Any] = [
        {"choices": [{"index": 0, "text": piece, "finish_reason": None, **choice}]}
        for piece in pieces
    ]
    ends: list[Any] = (
        []
        if finish is None
        else [{"choices": [{"index": 0, "text": "", "finish_reason": finish}], "usage": USAGE}]
    )
    return sse(*events, *ends, done=done)


def _answer(way: str, *pieces: str) -> Answer:
    return _streamed(*pieces) if way in STREAMS else _completed("".join(pieces))


def _text(response: Any) -> str:
    return (response.message.content or "") if isinstance(response, ChatResponse) else response.text


@pytest.fixture
def completing(llm_with: LLMWith) -> OPEALLM:
    return llm_with(is_chat_model=False)


# --- prompts


@pytest.mark.parametrize("way", CHATS)
def test_messages_become_a_prompt(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    last_of(way, completing, MESSAGES)

    (seen,) = server.seen
    assert seen.path == "/v1/completions"
    assert seen.body["prompt"] == usual_prompt(MESSAGES)
    assert "messages" not in seen.body


@pytest.mark.parametrize("way", CHATS)
def test_messages_become_a_prompt_by_the_function_given(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    llm = llm_with(
        is_chat_model=False,
        messages_to_prompt=lambda messages: "|".join(message.content or "" for message in messages),
    )

    last_of(way, llm, MESSAGES)

    assert server.seen[0].body["prompt"] == "Be short.|Hi {x}"


@pytest.mark.parametrize("way", COMPLETIONS)
@pytest.mark.parametrize(
    ("options", "prompt"),
    [({}, "<<Hi {x}>>"), ({"formatted": False}, "<<Hi {x}>>"), ({"formatted": True}, "Hi {x}")],
)
def test_a_prompt_is_formatted_unless_it_is(
    server: ScriptedServer, llm_with: LLMWith, way: str, options: Any, prompt: str
) -> None:
    llm = llm_with(is_chat_model=False, completion_to_prompt=lambda text: f"<<{text}>>")

    last_of(way, llm, MESSAGES, **options)

    (seen,) = server.seen
    assert (seen.path, seen.body["prompt"]) == ("/v1/completions", prompt)


@pytest.mark.parametrize("way", COMPLETIONS)
@pytest.mark.parametrize("formatted", [False, True])
def test_a_chat_model_gets_the_prompt_as_a_message(
    server: ScriptedServer, llm_with: LLMWith, way: str, formatted: bool
) -> None:
    llm = llm_with(completion_to_prompt=lambda text: f"<<{text}>>")

    last_of(way, llm, MESSAGES, formatted=formatted)

    (seen,) = server.seen
    assert (seen.path, seen.body["messages"]) == (
        "/v1/chat/completions",
        [{"role": "user", "content": "Hi {x}"}],
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_body_is_minimal(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    last_of(way, completing, MESSAGES)

    usage = {"stream_options"} if way in STREAMS else set()
    assert server.seen[0].body.keys() == {"model", "prompt", "temperature", "stream"} | usage


@pytest.mark.parametrize(
    ("system_prompt", "prompt"), [(None, "<<Say hi.>>"), ("Be kind.", "Be kind.\n\n<<Say hi.>>")]
)
def test_predict_formats_once(
    server: ScriptedServer, llm_with: LLMWith, system_prompt: Any, prompt: str
) -> None:
    llm = llm_with(
        is_chat_model=False,
        system_prompt=system_prompt,
        completion_to_prompt=lambda text: f"<<{text}>>",
    )

    llm.predict(PromptTemplate("Say {what}."), what="hi")

    assert server.seen[0].body["prompt"] == prompt


def test_the_metadata_says_that_it_is_no_chat_model(completing: OPEALLM) -> None:
    assert completing.metadata.is_chat_model is False


# --- answers


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_is_its_text(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    server.script(_answer(way, "Hel", "lo\n", " you"))

    response = last_of(way, completing, MESSAGES)

    assert _text(response) == "Hello\n you"
    assert response.additional_kwargs["finish_reason"] == "stop"
    assert {key: response.additional_kwargs[key] for key in USAGE} == USAGE
    assert response.raw["usage"] == USAGE


@pytest.mark.parametrize("way", STREAMS)
def test_streams_grow_by_their_deltas(
    server: ScriptedServer, completing: OPEALLM, way: str
) -> None:
    server.script(_streamed("Hel", "lo", "\n", " you"))

    so_far = ""
    for response in responses_of(way, completing, MESSAGES):
        so_far += response.delta
        assert _text(response) == so_far
    assert so_far == "Hello\n you"


@pytest.mark.parametrize("way", STREAMS)
def test_a_cut_stream_raises(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    server.script(_streamed("Hel", finish=None, done=False))

    with pytest.raises(StreamInterrupted) as caught:
        responses_of(way, completing, MESSAGES)
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hel"


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_the_cores(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    server.script(error(400, "maximum context length is 10 tokens", code="context_length_exceeded"))

    with pytest.raises(ContextOverflowError):
        last_of(way, completing, MESSAGES)


# --- the token limit


@pytest.mark.parametrize("way", WAYS)
def test_a_tokenizer_tells_how_much_room_is_left(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    llm = llm_with(
        is_chat_model=False,
        tokenizer=Words(),
        context_window=100,
        completion_to_prompt=str,
        messages_to_prompt=lambda _: "a b c",
    )

    last_of(way, llm, [ChatMessage("a b c")])

    assert server.seen[0].body["max_tokens"] == 97


@pytest.mark.parametrize(
    ("field", "options", "sent"),
    [(5, {}, 5), (None, {"max_tokens": 7}, 7), (5, {"max_tokens": 7}, 7)],
)
def test_a_limit_that_was_given_is_kept(
    server: ScriptedServer, llm_with: LLMWith, field: Any, options: Any, sent: int
) -> None:
    llm = llm_with(is_chat_model=False, tokenizer=Words(), context_window=100, max_tokens=field)

    llm.complete("a b c", **options)

    assert server.seen[0].body["max_tokens"] == sent


def test_no_tokenizer_no_limit(server: ScriptedServer, completing: OPEALLM) -> None:
    completing.complete("a b c")

    assert "max_tokens" not in server.seen[0].body


def test_a_chat_has_no_inferred_limit(server: ScriptedServer, llm_with: LLMWith) -> None:
    llm_with(tokenizer=Words(), context_window=100).chat(MESSAGES)

    assert "max_tokens" not in server.seen[0].body


@pytest.mark.parametrize("way", COMPLETIONS)
def test_a_prompt_without_room_for_an_answer(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    llm = llm_with(is_chat_model=False, tokenizer=Words(), context_window=2)

    with pytest.raises(ConfigurationError, match="3 tokens"):
        last_of(way, llm, [ChatMessage("a b c")], formatted=True)
    assert server.seen == []


# --- logprobs

LEGACY = {
    "tokens": ["Hel", "lo"],
    "token_logprobs": [None, -1.5],
    "top_logprobs": [None, {"lo": -1.5, "p": -3.0}],
    "text_offset": [0, 3],
}
EXPECTED = [[("Hel", float("-inf"))], [("lo", -1.5), ("p", -3.0)]]


def _tuples(response: Any) -> Any:
    return response.logprobs and [
        [(one.token, one.logprob) for one in found] for found in response.logprobs
    ]


@pytest.mark.parametrize("way", WAYS)
def test_legacy_logprobs(server: ScriptedServer, completing: OPEALLM, way: str) -> None:
    server.script(
        _streamed("Hello", logprobs=LEGACY) if way in STREAMS else _completed(logprobs=LEGACY)
    )

    assert _tuples(last_of(way, completing, MESSAGES)) == EXPECTED


@pytest.mark.parametrize("way", STREAMS)
def test_legacy_logprobs_of_a_stream_are_joined(
    server: ScriptedServer, completing: OPEALLM, way: str
) -> None:
    parts = [{key: values[at : at + 1] for key, values in LEGACY.items()} for at in (0, 1)]
    events = [
        {"choices": [{"index": 0, "text": part["tokens"][0], "logprobs": part}]} for part in parts
    ]
    server.script(sse(*events, {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}))

    assert _tuples(last_of(way, completing, MESSAGES)) == EXPECTED


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        (None, None),
        ({}, None),
        ({"tokens": [], "token_logprobs": [], "top_logprobs": []}, None),
        ({"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": None}, [[("a", -1.0)]]),
        ({"tokens": ["a"], "token_logprobs": [-1.0]}, [[("a", -1.0)]]),
        ({"content": [{"token": "a", "logprob": -1.0, "top_logprobs": []}]}, [[("a", -1.0)]]),
    ],
)
def test_other_forms_of_logprobs(
    server: ScriptedServer, completing: OPEALLM, logprobs: Any, expected: Any
) -> None:
    server.script(_completed(logprobs=logprobs))

    assert _tuples(completing.complete("Hi")) == expected


@pytest.mark.parametrize(("top", "sent"), [(0, 0), (3, 3)])
def test_logprobs_are_asked_for_by_a_number(
    server: ScriptedServer, llm_with: LLMWith, top: int, sent: int
) -> None:
    llm_with(is_chat_model=False, logprobs=True, top_logprobs=top).complete("Hi")

    body = server.seen[0].body
    assert body["logprobs"] == sent
    assert body["logprobs"] is not True
    assert "top_logprobs" not in body


# --- objects and options


class Person(BaseModel):
    name: str


@pytest.mark.parametrize("is_async", [False, True])
def test_objects_are_asked_for_in_words(
    server: ScriptedServer, llm_with: LLMWith, is_async: bool
) -> None:
    llm = llm_with(is_chat_model=False, system_prompt="Be kind.")
    server.script(_completed('{"name": "Ann"}'))
    prompt = PromptTemplate("Who?")

    found = (
        asyncio.run(llm.astructured_predict(Person, prompt))
        if is_async
        else llm.structured_predict(Person, prompt)
    )

    assert found == Person(name="Ann")
    (seen,) = server.seen
    assert seen.path == "/v1/completions"
    assert "Be kind." in seen.body["prompt"]
    assert '"properties"' in seen.body["prompt"]


@pytest.mark.parametrize("way", WAYS)
def test_options_of_the_call_win(server: ScriptedServer, llm_with: LLMWith, way: str) -> None:
    llm = llm_with(is_chat_model=False, temperature=0.5, additional_kwargs={"top_k": 1})

    last_of(way, llm, MESSAGES, temperature=0.7, top_k=2, stop=["x"])

    assert [server.seen[0].body[name] for name in ("temperature", "top_k", "stop")] == [
        0.7,
        2,
        ["x"],
    ]
