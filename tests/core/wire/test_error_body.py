"""Error bodies of every shape, and the class of error that status and body mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opea_core import errors
from opea_core.types import Json
from opea_core.wire.error_body import ErrorBody, has_error, read_error
from opea_core.wire.error_class import error_class, model_missing, upstream_gone


def body(document: Any, status: int | None = None) -> ErrorBody:
    return read_error(json.dumps(document).encode(), status)


# --- what the server says


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
            {"message": "m", "type": "t", "param": "p", "code": "c"},
            id="OpenAI",
        ),
        pytest.param(
            {"error": {"message": "m", "code": 400}},
            {"message": "m", "code": 400},
            id="code a number",
        ),
        pytest.param(
            {"error": {"message": "m", "code": "400"}},
            {"message": "m", "code": "400"},
            id="code digits",
        ),
        pytest.param(
            {"error": {"message": "m", "code": None}},
            {"message": "m", "code": None},
            id="code null",
        ),
        pytest.param(
            {"error": {"message": "m", "code": {"a": 1}, "type": ["t"], "param": 1}},
            {"message": "m"},
            id="code, type of any JSON type",
        ),
        pytest.param(
            {"object": "error", "message": "m", "type": "t", "code": 400},
            {"message": "m", "type": "t", "code": 400},
            id="older vLLM",
        ),
        pytest.param(
            {
                "object": "error",
                "message": {"detail": [{"loc": ["body", "x"], "msg": "m"}]},
                "code": 422,
            },
            {"message": "body.x: m", "code": 422},
            id="message with a detail list",
        ),
        pytest.param({"detail": "m"}, {"message": "m"}, id="FastAPI, text"),
        pytest.param(
            {
                "detail": [
                    {"loc": ["body", "x"], "msg": "m", "type": "t"},
                    {"loc": ["body", "y", 0], "msg": "n"},
                ]
            },
            {"message": "body.x: m; body.y.0: n"},
            id="FastAPI, list",
        ),
        pytest.param({"detail": [{"msg": "m"}]}, {"message": "m"}, id="FastAPI, no place"),
        pytest.param({"error": "m"}, {"message": "m"}, id="error as text"),
        pytest.param(
            {"error": "m", "error_type": "validation"},
            {"message": "m", "type": "validation"},
            id="TGI",
        ),
        pytest.param({"code": 400, "message": "m"}, {"message": "m", "code": 400}, id="flat"),
        pytest.param(
            {"error_code": "X", "message": "m"}, {"message": "m", "code": "X"}, id="Databricks"
        ),
        pytest.param(
            {"type": "error", "error": {"type": "t", "message": "m"}, "request_id": "r"},
            {"message": "m", "type": "t"},
            id="Anthropic",
        ),
        pytest.param(
            [{"error": {"message": "m", "code": 400}}],
            {"message": "m", "code": 400},
            id="in a list",
        ),
        pytest.param({"errors": [{"message": "m"}]}, {"message": "m"}, id="errors"),
        pytest.param({"errors": ["m"]}, {"message": "m"}, id="errors as texts"),
        pytest.param({"html-message": "m"}, {"message": "m"}, id="html-message"),
        pytest.param(
            {"error": {"message": "m", "code": None}, "code": 400},
            {"message": "m", "code": 400},
            id="code outside",
        ),
        pytest.param(
            {"error": {"message": "m", "code": "in"}, "code": "out"},
            {"message": "m", "code": "in"},
            id="the inner code first",
        ),
        pytest.param(
            {"error": {"message": "m", "code": "x", "status_code": 400}},
            {"message": "m", "code": "x", "status": 400},
            id="status inside",
        ),
        pytest.param("m", {"message": "m"}, id="a text"),
    ],
)
def test_what_a_body_says(document: Any, expected: Json) -> None:
    found = body(document)
    names = ("message", "code", "type", "param", "status")
    nothing = dict.fromkeys(names[1:])
    assert {name: getattr(found, name) for name in names} == {**nothing, **expected}


def test_both_words_and_message_are_shown() -> None:
    found = body({"status": 429, "error": "INSUFFICIENT QUOTA", "message": "1 token per minute"})
    assert "INSUFFICIENT QUOTA" in found.message
    assert "1 token per minute" in found.message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("upstream is down", "m (upstream is down)"),
        ('{"error": {"message": "upstream is down"}}', "m (upstream is down)"),
        ("", "m"),
        (None, "m"),
    ],
)
def test_the_words_of_an_upstream_are_appended(raw: Any, message: str) -> None:
    assert (
        body({"error": {"message": "m", "metadata": {"raw": raw, "provider_name": "P"}}}).message
        == message
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>",
            "502 Bad Gateway",
        ),
        (b"\n <!DOCTYPE html>\n<TITLE lang=en>\n 404\n Not Found </TITLE>", "404 Not Found"),
        (b"<html><body><h1>503 Service Unavailable</h1></body></html>", "503 Service Unavailable"),
        (b"<html><body>oops</body></html>", "an HTML page"),
    ],
)
def test_a_page_is_its_title(data: bytes, message: str) -> None:
    found = read_error(data, 502)
    assert (found.message, found.is_html) == (message, True)


@pytest.mark.parametrize("data", [b"", b"  \n"])
def test_an_empty_body_says_its_status(data: bytes) -> None:
    assert read_error(data, 503).message == "503 without body"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b'{"error": {"message": "m"}} trailing', "m"),
        (b'\xef\xbb\xbf{"error": {"message": "m"}}', "m"),
        (b'{"error": {"mess', '{"error": {"mess'),
        (b'{"error": {"message": "caf\xe9"}}', "caf\ufffd"),
        (b'{"error": {"message": "\\ud83d"}}', "\ufffd"),
        (b'{"error": {"message": "a\nb", "code": NaN}}', "a\nb"),
    ],
)
def test_bodies_are_read_leniently(data: bytes, message: str) -> None:
    assert read_error(data).message == message


def test_a_body_without_words_shows_itself_or_its_status() -> None:
    assert body({"foo": 1}).message == '{"foo": 1}'
    assert "400" in body({"error": {"code": 400}}, 400).message


def test_message_and_text_are_bounded() -> None:
    found = body({"error": {"message": "m" * 100_000}})
    assert len(found.message) == 2048
    assert len(found.text) == 64 * 1024


def test_a_message_without_words_is_passed_over() -> None:
    assert body({"error": {"message": "  "}, "detail": "d"}).message == "d"


def test_fields_are_named_by_param_and_by_loc() -> None:
    assert body({"error": {"message": "m", "param": "messages[0].name"}}).paths == [
        ("messages", "name")
    ]
    assert body({"detail": [{"loc": ["body", "seed"], "msg": "m"}]}).paths == [("seed",)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "m"}, True),
        ({"error": {"message": "m"}, "choices": []}, True),
        ({"object": "error", "message": "m"}, True),
        ({"type": "error", "message": "m"}, True),
        ({"detail": "m"}, True),
        ({"errors": [{"message": "m"}]}, True),
        ({"error": None, "choices": []}, False),
        ({"error": {}}, False),
        ({"error": ""}, False),
        ({"choices": [], "detail": "about usage"}, False),
        ({"choices": []}, False),
        ({}, False),
    ],
)
def test_what_is_an_error_at_2xx(event: Json, expected: bool) -> None:
    assert has_error(event) is expected


# --- its class


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (402, errors.QuotaExceeded),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (405, errors.InvalidRequestError),
        (413, errors.InvalidRequestError),
        (415, errors.InvalidRequestError),
        (422, errors.InvalidRequestError),
        (424, errors.InvalidRequestError),
        (429, errors.RateLimited),
        (498, errors.RateLimited),
        *[(status, errors.ServerError) for status in (500, 501, 502, 503, 504, 520, 524, 529, 530)],
    ],
)
@pytest.mark.parametrize("data", [b"", b'{"error":{"message":"m"}}', b"<html></html>"])
def test_the_class_of_a_status(status: int, cls: type[errors.OPEAError], data: bytes) -> None:
    assert error_class(status, read_error(data, status)) is cls


@pytest.mark.parametrize(("status", "code"), [(400, 500), (503, 400), (401, 429), (429, 503)])
def test_an_error_status_is_not_overruled_by_the_body(status: int, code: int) -> None:
    assert error_class(status, ErrorBody("m", code=code)) is error_class(status, ErrorBody("m"))


@pytest.mark.parametrize("status", [None, 200])
@pytest.mark.parametrize(
    ("error", "cls"),
    [
        ({"code": 400}, errors.InvalidRequestError),
        ({"code": 401}, errors.AuthenticationError),
        ({"code": "429"}, errors.RateLimited),
        ({"code": 502}, errors.ServerError),
        ({"code": "word", "status_code": 400}, errors.InvalidRequestError),
        ({"code": 500, "status_code": 429}, errors.RateLimited),
        ({"code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"type": "rate_limit_error"}, errors.RateLimited),
        ({"type": "invalid_request_error"}, errors.InvalidRequestError),
        ({"type": "invalid_request_error", "code": "request_timeout"}, errors.ServerError),
        ({"type": "invalid_request_error", "code": "tool_use_failed"}, errors.InvalidRequestError),
        ({"type": "authentication_error"}, errors.AuthenticationError),
        ({"code": "invalid_api_key"}, errors.AuthenticationError),
        ({"type": "overloaded_error"}, errors.ServerError),
        ({"type": "server_error"}, errors.ServerError),
        ({"code": "content_filter"}, errors.InvalidRequestError),
        ({"code": "insufficient_quota"}, errors.QuotaExceeded),
        ({"code": "context_length_exceeded"}, errors.ContextOverflowError),
        ({"code": 7}, errors.ServerError),
        ({"code": True}, errors.ServerError),
        ({}, errors.ServerError),
    ],
)
def test_the_class_of_an_error_inside_a_200(
    status: int | None, error: Json, cls: type[errors.OPEAError]
) -> None:
    assert error_class(status, body({"error": {"message": "m", **error}})) is cls


@pytest.mark.parametrize("status", [None, 200])
def test_an_unknown_path_answered_with_200_is_not_found(status: int | None) -> None:
    found = body({"error": "Unexpected endpoint or method. (POST /chat/completions)"})
    assert error_class(status, found) is errors.NotFoundError


# --- quota


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (402, {"error": {"message": "m"}}),
        (429, {"error": {"message": "m", "code": "insufficient_quota"}}),
        (429, {"error": {"message": "m", "type": "insufficient_quota"}}),
        (429, {"error": {"message": "m", "code": "billing_hard_limit_reached"}}),
        (429, {"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}}),
    ],
)
def test_quota_is_told_by_structured_words(status: int, document: Json) -> None:
    assert error_class(status, body(document)) is errors.QuotaExceeded


@pytest.mark.parametrize(
    "document",
    [
        {"status": 429, "error": "INSUFFICIENT QUOTA", "message": "tokens per minute"},
        {"error": {"message": "You exceeded your current quota", "code": "rate_limit_exceeded"}},
        {"error": {"message": "insufficient_quota", "code": None}},
        {"error": {"message": "Rate limit exceeded: free-models-per-min", "code": 429}},
        {"error": {"message": "m", "code": "rate_limit_exceeded", "type": "tokens"}},
    ],
)
def test_the_words_of_a_message_are_no_quota(document: Json) -> None:
    assert error_class(429, body(document)) is errors.RateLimited


# --- context overflow


OVERFLOWS: dict[str, tuple[int, Any]] = {
    "vLLM": (
        400,
        {
            "message": (
                "This model's maximum context length is 4096 tokens. However, you requested "
                "5000 tokens."
            )
        },
    ),
    "vLLM, prompt": (
        400,
        {
            "message": (
                "The decoder prompt (length 5000) is longer than the maximum model length of 4096."
            )
        },
    ),
    "vLLM, embeddings": (
        400,
        {
            "message": (
                "This model's maximum context length is 512 tokens. However, you requested "
                "600 tokens in the input."
            )
        },
    ),
    "llama.cpp": (
        400,
        {
            "code": 400,
            "message": (
                "the request exceeds the available context size. try increasing the context size"
            ),
            "type": "invalid_request_error",
        },
    ),
    "llama.cpp, type only": (
        400,
        {"code": 400, "message": "too big", "type": "exceed_context_size_error", "n_ctx": 4096},
    ),
    "llama.cpp, counts": (
        400,
        {
            "message": (
                "request (5000 tokens) exceeds the available context size (4096 tokens), try "
                "increasing it"
            )
        },
    ),
    "llama.cpp, 500": (500, {"message": "Context size has been exceeded."}),
    "llama.cpp, embeddings": (
        500,
        {
            "message": (
                "input (5004 tokens) is too large to process. increase the physical batch size"
            )
        },
    ),
    "llama-cpp-python": (500, {"message": "Requested tokens (5000) exceed context window of 4096"}),
    "SGLang": (
        400,
        {
            "message": (
                "The input (5000 tokens) is longer than the model's context length (4096 tokens)."
            )
        },
    ),
    "SGLang, with completion": (
        400,
        {
            "message": (
                "Requested token count exceeds the model's maximum context length of 4096 tokens."
            )
        },
    ),
    "SGLang, allowed length": (
        400,
        {"message": "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens)."},
    ),
    "TGI": (
        422,
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
            "Given: 4000 `inputs` tokens and 500"
        ),
    ),
    "TGI, inputs": (
        422,
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    ),
    "Ollama": (400, "the input length exceeds the context length"),
    "Ollama, maximum": (400, "input length exceeds maximum context length"),
    "Ollama, prompt": (
        400,
        {"message": "prompt too long; exceeded max context length by 12 tokens"},
    ),
    "LM Studio": (
        400,
        "The number of tokens to keep from the initial prompt is greater than the context length.",
    ),
    "LM Studio, first tokens": (
        400,
        (
            "Trying to keep the first 5000 tokens when context the overflows. However, the "
            "model is loaded with context length of only 4096"
        ),
    ),
    "LM Studio, generation": (
        400,
        (
            "Reached context length of 4096 tokens, but this model does not currently "
            "support mid-generation context overflow."
        ),
    ),
    "Groq": (
        400,
        {
            "message": "Please reduce the length of the messages or completion.",
            "code": "context_length_exceeded",
        },
    ),
    "Groq, words only": (
        413,
        {"message": "Please reduce the length of the messages or completion."},
    ),
    "Mistral": (
        400,
        {
            "message": (
                "Prompt contains 40000 tokens, too large for model with 32768 maximum "
                "context length"
            ),
            "code": "3051",
        },
    ),
    "OpenAI": (
        400,
        {
            "message": "This model's maximum context length is 8192 tokens.",
            "code": "context_length_exceeded",
        },
    ),
    "OpenAI, window": (
        400,
        {
            "message": (
                "Your input exceeds the context window of this model. Please adjust your "
                "input and try again."
            )
        },
    ),
    "LiteLLM": (
        400,
        {"message": "litellm.ContextWindowExceededError: BadRequestError: too long", "code": "400"},
    ),
    "LiteLLM, type": (400, {"message": "too long", "type": "ContextWindowExceededError"}),
    "Anthropic": (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
    "Gemini": (
        400,
        {
            "message": (
                "The input token count (1200000) exceeds the maximum number of tokens "
                "allowed (1048576)."
            )
        },
    ),
}


@pytest.mark.parametrize("server", OVERFLOWS)
def test_context_overflow_in_the_words_of(server: str) -> None:
    status, error = OVERFLOWS[server]
    assert error_class(status, body({"error": error})) is errors.ContextOverflowError


@pytest.mark.parametrize("status", [400, 413, 422, 500, None, 200])
def test_context_overflow_may_have_any_of_these_statuses(status: int | None) -> None:
    assert (
        error_class(status, ErrorBody("m", code="context_length_exceeded"))
        is errors.ContextOverflowError
    )


@pytest.mark.parametrize(
    ("status", "error", "cls"),
    [
        (400, {"message": "max_tokens must be at least 1"}, errors.InvalidRequestError),
        (
            400,
            {
                "message": "max_tokens is too large: 9999. "
                "This model supports at most 4096 completion tokens"
            },
            errors.InvalidRequestError,
        ),
        (
            400,
            {"message": "Unknown parameter: 'context_window'", "param": "context_window"},
            errors.InvalidRequestError,
        ),
        (
            400,
            {
                "message": "string too long. Expected a string with maximum length 512",
                "param": "user",
            },
            errors.InvalidRequestError,
        ),
        (
            400,
            {
                "message": "array too long. Expected an array with maximum length 2048",
                "param": "input",
            },
            errors.InvalidRequestError,
        ),
        (400, {"message": "prompt must not be empty"}, errors.InvalidRequestError),
        (400, {"message": "stop: too many stop sequences, at most 4"}, errors.InvalidRequestError),
        (
            413,
            {
                "message": "Request too large: Limit 6000 TPM, Requested 9000",
                "code": "rate_limit_exceeded",
            },
            errors.InvalidRequestError,
        ),
        (413, {"message": "image is larger than 20 MB"}, errors.InvalidRequestError),
        (413, "413 Request Entity Too Large", errors.InvalidRequestError),
        (500, {"message": "failed to create context"}, errors.ServerError),
        (
            429,
            {
                "message": "5000 tokens per minute exceed the limit of 4096",
                "code": "rate_limit_exceeded",
            },
            errors.RateLimited,
        ),
        (429, {"message": "maximum context length"}, errors.RateLimited),
        (503, {"message": "maximum context length"}, errors.ServerError),
        (401, {"message": "maximum context length"}, errors.AuthenticationError),
    ],
)
def test_what_is_no_context_overflow(status: int, error: Any, cls: type[errors.OPEAError]) -> None:
    assert error_class(status, body({"error": error})) is cls


# --- unknown models


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "The model `x` does not exist.", "code": "model_not_found"}, True),
        ({"message": "The model `x` does not exist or you do not have access to it."}, True),
        ({"message": 'model "x" not found, try pulling it first'}, True),
        ({"message": "m", "code": "model_not_found"}, True),
        ({"message": "Unknown model: x"}, True),
        ({"message": "Not Found"}, False),
        ({"message": "Invalid URL (POST /chat/completions)"}, False),
        ({"message": "max_tokens must be at least 1"}, False),
    ],
)
def test_whether_the_server_does_not_know_the_model(error: Json, expected: bool) -> None:
    assert model_missing(body({"error": error})) is expected


# --- nothing ever raises


TEXTS = st.sampled_from(
    ["", "m", "400", "²", "{", '{"error":"x"}', "<title>", "\ud800", "insufficient_quota", "a.b[0]"]
) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
KEYS = st.sampled_from(
    [
        "error",
        "message",
        "detail",
        "code",
        "type",
        "param",
        "errors",
        "loc",
        "msg",
        "metadata",
        "raw",
        "status_code",
        "html-message",
        "error_code",
    ]
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
STATUSES = st.none() | st.sampled_from([200, 302, 400, 401, 404, 413, 422, 429, 500, 503, 599, 999])


def use_everything(found: ErrorBody, status: int | None) -> None:
    assert issubclass(error_class(status, found), errors.OPEAError)
    assert len(found.message) <= 2048
    found.message.encode()
    assert isinstance(model_missing(found), bool)
    assert all(
        isinstance(word, str)
        for word in [*found.words, *(part for path in found.paths for part in path)]
    )


@given(st.binary(), STATUSES)
@example(b"[" * 100_000, 400)
@example(b'{"code":' + b"4" * 5000 + b"}", 400)
def test_no_bytes_make_it_raise(data: bytes, status: int | None) -> None:
    use_everything(read_error(data, status), status)


@given(DOCUMENTS, STATUSES)
@example({"error": {"code": "²"}}, None)
@example({"error": {"code": "4" * 5000}}, 200)
def test_no_json_makes_it_raise(document: Any, status: int | None) -> None:
    use_everything(body(document, status), status)


@pytest.mark.parametrize("code", ["²", "٤٠٠", "4" * 5000, "400.0", " 400", "-400", "1e3"])
def test_no_code_makes_it_raise(code: str) -> None:
    assert issubclass(error_class(None, ErrorBody("m", code=code)), errors.OPEAError)


def test_a_proxy_that_cannot_look_a_key_up_refuses_the_key() -> None:
    body = read_error(
        b'{"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}}',
        400,
    )
    assert error_class(400, body) is errors.AuthenticationError
    assert error_class(500, body) is errors.ServerError


@pytest.mark.parametrize(
    "words",
    [
        "litellm.InternalServerError: OpenAIException - Connection error.",
        "fetch failed: connect ECONNREFUSED 10.0.0.3:8000",
        "upstream connect error or disconnect/reset before headers",
        "dial tcp 10.0.0.3:8000: connect: connection refused",
        "Cannot connect to host gpu3:8000",
        "HTTPConnectionPool: Max retries exceeded with url: /v1",
        "no healthy upstream",
        "The upstream is unavailable",
    ],
)
def test_a_gateway_says_that_the_server_behind_it_is_gone(words: str) -> None:
    assert upstream_gone(read_error(json.dumps({"error": {"message": words}}).encode(), 500))


@pytest.mark.parametrize(
    "words",
    [
        "Internal server error",
        "list index out of range",
        "The model does not support a database connection tool",
        "Failed to parse the schema",
        "CUDA out of memory",
    ],
)
def test_other_failures_are_the_servers_own(words: str) -> None:
    assert not upstream_gone(read_error(json.dumps({"error": {"message": words}}).encode(), 500))


@pytest.mark.parametrize(
    "page",
    [
        "<title>" + " " * 60_000,
        "<title> " * 8_000,
        "<title" * 10_000,
        "<h1>" + "\n" * 60_000,
        "<html>" + "<h1 " * 15_000,
    ],
)
def test_a_page_that_never_closes_its_title_is_read_in_one_pass(page: str) -> None:
    assert read_error(page.encode(), 502).message == "an HTML page"


def test_the_heading_stands_in_for_an_empty_title() -> None:
    assert (
        read_error(b"<html><TITLE lang=en> </TITLE><h1>Bad\n Gateway</h1>", 502).message
        == "Bad Gateway"
    )
