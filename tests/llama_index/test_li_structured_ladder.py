"""How objects are asked for where servers refuse one way after the other,
and what is remembered.
"""

from __future__ import annotations

import pytest
from li_asking import HI, LLMWith
from li_forms import ALL, ANN, PREDICTS, Person, calling, how, objects, predicted, saying, texts
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel
from written_answers import TEXT

from llama_index_opea import OPEALLM
from opea_core import (
    AuthenticationError,
    Capabilities,
    ContextOverflowError,
    InvalidRequestError,
    NotFoundError,
    OPEAError,
    RateLimited,
    ServerError,
)
from opea_core.testing import Answer, ScriptedServer, Seen, error, html, json_answer, sse

pytestmark = pytest.mark.filterwarnings(
    "ignore:The `json` method is deprecated"
)  # StructuredLLM uses it

NO_SCHEMA: dict[str, Answer] = {
    "DeepSeek": error(
        400, "This response_format type is unavailable now", type="invalid_request_error"
    ),
    "LM Studio": json_answer(
        {"error": "'response_format.type' must be 'json_schema' or 'text'"}, 400
    ),
    "OpenAI": error(
        400,
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported "
            "with this model."
        ),
        param="response_format",
    ),
    "vLLM": json_answer(
        {
            "detail": [
                {
                    "type": "literal_error",
                    "loc": ["body", "response_format", "type"],
                    "msg": "Input should be 'text'",
                }
            ]
        },
        422,
    ),
}
NO_TOOLS: dict[str, Answer] = {
    "400": error(400, "This model does not support tools."),
    "Ollama": json_answer(
        {"error": "registry.ollama.ai/library/gemma does not support tools"}, 400
    ),
    "404": error(404, "No endpoints found that support tool use."),
    "llama.cpp": json_answer(
        {
            "error": {
                "code": 500,
                "message": "tools param requires --jinja flag",
                "type": "server_error",
            }
        },
        500,
    ),
    "vLLM": json_answer(
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice',
            "type": "BadRequestError",
            "code": 400,
        },
        400,
    ),
}
SCHEMA, TOOL = NO_SCHEMA["DeepSeek"], NO_TOOLS["400"]


class Other(BaseModel):
    x: int


def _server(
    server: ScriptedServer, *, schema: Answer | None, tools: Answer | None, text: str = TEXT
) -> None:
    """A server that refuses these ways and answers the rest."""

    def answer(seen: Seen) -> Answer:
        kind = how(seen)
        if kind == "json_schema":
            return schema or saying(text)(seen)
        if kind == "text":
            return saying(text)(seen)
        return tools or calling((seen.body["tools"][0]["function"]["name"], text))(seen)

    server.always(answer)


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("whose", NO_SCHEMA)
def test_no_schema_then_a_forced_tool(
    server: ScriptedServer, llm: OPEALLM, whose: str, way: str
) -> None:
    _server(server, schema=NO_SCHEMA[whose], tools=None)

    assert predicted(way, llm) == ANN
    assert [how(seen) for seen in server.seen] == ["json_schema", "tool"]


@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("whose", NO_TOOLS)
def test_no_tools_either_then_text(
    server: ScriptedServer, llm: OPEALLM, whose: str, way: str
) -> None:
    _server(server, schema=SCHEMA, tools=NO_TOOLS[whose])

    assert predicted(way, llm) == ANN
    kinds = [how(seen) for seen in server.seen]
    assert (kinds[0], kinds[1], kinds[-1]) == ("json_schema", "tool", "text")


@pytest.mark.parametrize("way", PREDICTS)
def test_what_was_learned_is_remembered(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    _server(server, schema=SCHEMA, tools=None)

    predicted(way, llm)
    predicted(way, llm)

    assert [how(seen) for seen in server.seen] == ["json_schema", "tool", "tool"]


@pytest.mark.parametrize("way", PREDICTS)
def test_that_only_text_goes_is_remembered(server: ScriptedServer, llm: OPEALLM, way: str) -> None:
    _server(server, schema=SCHEMA, tools=TOOL)

    predicted(way, llm)
    count = len(server.seen)
    predicted(way, llm)

    assert [how(seen) for seen in server.seen[count:]] == ["text"]


def test_a_forced_tool_that_is_refused_becomes_auto(server: ScriptedServer, llm: OPEALLM) -> None:
    refused = error(400, "deepseek-reasoner does not support this tool_choice")
    server.script(SCHEMA, refused, calling(("Person", TEXT)))

    assert predicted("structured_predict", llm) == ANN
    assert [how(seen) for seen in server.seen] == ["json_schema", "tool", "auto"]


def test_an_endpoint_known_to_take_tools_is_asked_by_tool(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    _server(server, schema=SCHEMA, tools=None)

    assert (
        predicted(
            "structured_predict",
            llm_with(capabilities=Capabilities(structured_output="function_calling")),
        )
        == ANN
    )
    assert [how(seen) for seen in server.seen] == ["tool"]


@pytest.mark.parametrize("way", PREDICTS)
def test_an_endpoint_known_to_take_json_mode_is_told_the_schema(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(saying(TEXT))

    assert predicted(way, llm_with(capabilities=Capabilities(structured_output="json_mode"))) == ANN
    assert server.seen[0].body["response_format"] == {"type": "json_object"}
    assert '"properties"' in texts(server.seen[0])[-1][1]


@pytest.mark.parametrize("way", PREDICTS)
@pytest.mark.parametrize("whose", NO_TOOLS)
def test_function_mode_falls_to_text(
    server: ScriptedServer, llm_with: LLMWith, whose: str, way: str
) -> None:
    _server(server, schema=None, tools=NO_TOOLS[whose])

    assert predicted(way, llm_with(pydantic_program_mode=PydanticProgramMode.FUNCTION)) == ANN
    kinds = [how(seen) for seen in server.seen]
    assert (kinds[0], kinds[-1]) == ("tool", "text")
    assert "json_schema" not in kinds


@pytest.mark.parametrize("way", PREDICTS)
def test_an_llm_without_function_calling_is_never_asked_by_tool(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    _server(server, schema=SCHEMA, tools=None)

    assert predicted(way, llm_with(is_function_calling_model=False)) == ANN
    assert "tool" not in [how(seen) for seen in server.seen]


@pytest.mark.parametrize("way", PREDICTS)
def test_text_asks_with_the_schema_behind_the_question(
    server: ScriptedServer, llm_with: LLMWith, way: str
) -> None:
    server.script(saying(TEXT))

    predicted(way, llm_with(pydantic_program_mode=PydanticProgramMode.LLM))

    ((role, content),) = texts(server.seen[0])
    assert role == "user"
    assert content.startswith("Tell about Ann.")
    assert '"name": {"title": "Name", "type": "string"}' in content
    assert not server.seen[0].body.keys() & {"tools", "tool_choice", "response_format"}


# --- what is no refusal of a way to ask


OTHER_ERRORS: dict[str, tuple[Answer, type[OPEAError]]] = {
    "wrong key": (error(401, "wrong key for json_schema tools"), AuthenticationError),
    "rate": (error(429, "too many tool calls", headers={"retry-after": "0.01"}), RateLimited),
    "too long": (
        error(
            400,
            "This model's maximum context length is 10 tokens, tools included",
            code="context_length_exceeded",
        ),
        ContextOverflowError,
    ),
    "no model": (error(404, "The model 'm' does not exist"), NotFoundError),
    "other 400": (error(400, "temperature must be at most 2"), InvalidRequestError),
    "busy": (error(503, "busy"), ServerError),
    "busy, a proxy's page": (
        html(502, "<html>Bad gateway. function app is down</html>"),
        ServerError,
    ),
    "busy, with function": (error(503, "The function is starting"), ServerError),
    "a page": (html(), ServerError),
    "broken JSON": (
        Answer(200, {"content-type": "application/json"}, (b'{"choices": [',)),
        ServerError,
    ),
    "a broken stream": (sse(b"data: {nonsense\n\n"), ServerError),
    "an empty answer": (Answer(200, {"content-type": "application/json"}, (b"",)), ServerError),
}


@pytest.mark.parametrize("way", PREDICTS)
@pytest.mark.parametrize("name", OTHER_ERRORS)
def test_other_errors_are_raised_and_nothing_else_is_tried(
    server: ScriptedServer, llm: OPEALLM, name: str, way: str
) -> None:
    answer, kind = OTHER_ERRORS[name]
    server.always(answer)

    with pytest.raises(kind):
        predicted(way, llm)
    assert {how(seen) for seen in server.seen if seen.method == "POST"} == {"json_schema"}


@pytest.mark.parametrize("name", OTHER_ERRORS)
def test_other_errors_change_nothing_for_the_next_call(
    server: ScriptedServer, llm: OPEALLM, name: str
) -> None:
    server.always(OTHER_ERRORS[name][0])
    with pytest.raises(OPEAError):
        predicted("structured_predict", llm)
    server.always(None)
    server.always(saying(TEXT))

    assert predicted("structured_predict", llm, llm_kwargs={"recovery_wait": 5.0}) == ANN
    assert how(server.seen[-1]) == "json_schema"


def test_a_schema_the_server_dislikes_says_nothing_about_other_schemas(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    disliked = error(
        400,
        "Invalid schema for response_format 'Person': 'format' is not permitted.",
        param="response_format",
    )
    server.always(
        lambda seen: (
            disliked
            if "Person" in str(seen.body.get("response_format"))
            else saying('{"x": 1}')(seen)
        )
    )
    with pytest.raises((OPEAError, ValueError)):
        predicted("structured_predict", llm)

    assert predicted("structured_predict", llm, Other) == Other(x=1)
    assert how(server.seen[-1]) == "json_schema"


def test_a_model_that_is_missing_is_not_taken_for_a_server_without_tools(
    server: ScriptedServer, llm_with: LLMWith
) -> None:
    llm = llm_with(model="functionary-json")
    server.script(error(404, "The model `functionary-json` does not exist"))
    with pytest.raises(NotFoundError):
        predicted("structured_predict", llm)
    server.script(saying(TEXT))

    predicted("structured_predict", llm)

    assert how(server.seen[-1]) == "json_schema"


def test_other_calls_go_on_as_before(server: ScriptedServer, llm: OPEALLM) -> None:
    _server(server, schema=SCHEMA, tools=TOOL)
    predicted("structured_predict", llm)

    llm.chat(HI)

    assert texts(server.seen[-1]) == [("user", "Hi")]


@pytest.mark.parametrize("way", ["stream_structured_predict", "astream_structured_predict"])
def test_a_stream_that_climbs_down_gives_objects_once(
    server: ScriptedServer, llm: OPEALLM, way: str
) -> None:
    _server(server, schema=SCHEMA, tools=TOOL)

    found = objects(way, llm)

    assert found[-1] == ANN
    assert sum(1 for one in found if isinstance(one, Person) and one == ANN) == 1


def test_what_one_model_refuses_is_not_held_against_another(
    server: ScriptedServer, llm: OPEALLM
) -> None:
    refused = NO_TOOLS["400"]
    server.always(
        lambda seen: (
            refused if seen.body["model"] == "weak" and how(seen) != "text" else saying(TEXT)(seen)
        )
    )
    llm.model = "weak"
    assert predicted("structured_predict", llm) == ANN
    assert predicted("structured_predict", llm) == ANN
    llm.model = "strong"
    assert predicted("structured_predict", llm) == ANN
    assert [how(seen) for seen in server.seen][-2:] == ["text", "json_schema"]
