"""Every failure of a call, in a class of the core and of LangChain at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core import exceptions as lc
from lc_object_support import WAYS, Listener, ask, made

import opea_core as core
from langchain_opea import errors
from opea_core.testing import Answer, ScriptedServer, error, json_answer


def _tree(cls: type[core.OPEAError]) -> Iterator[type[core.OPEAError]]:
    if cls.__module__ == core.OPEAError.__module__:
        yield cls
    for below in cls.__subclasses__():
        yield from _tree(below)


CORE_ERRORS = sorted(set(_tree(core.OPEAError)), key=lambda cls: cls.__name__)
IN_LANGCHAIN: dict[str, type[Exception]] = {
    "AuthenticationError": lc.ModelAuthenticationError,
    "PermissionDeniedError": lc.ModelPermissionDeniedError,
    "InvalidRequestError": lc.ModelInvalidRequestError,
    "NotFoundError": lc.ModelNotFoundError,
    "RateLimited": lc.ModelRateLimitError,
    "QuotaExceeded": lc.ModelRateLimitError,
    "ServerError": lc.ModelAPIError,
    "BadAnswerError": lc.ModelAPIError,
    "StreamInterrupted": lc.ModelAPIError,
    "EndpointConnectionError": lc.ModelConnectionError,
    "CertificateError": lc.ModelConnectionError,
    "EndpointTimeout": lc.ModelTimeoutError,
    "DeadlineExceeded": lc.ModelTimeoutError,
    "ContextOverflowError": lc.ContextOverflowError,
    "RefusalError": getattr(lc, "ModelRefusalError", lc.ModelError),
    "QueueFull": lc.ModelRateLimitError,
    "NoEndpointAvailable": lc.ModelConnectionError,
}


def _raised(problem: core.OPEAError) -> Any:
    with pytest.raises(core.OPEAError) as caught, errors.langchain_errors():
        raise problem
    return caught.value


# --- classes


@pytest.mark.parametrize("cls", CORE_ERRORS, ids=lambda cls: cls.__name__)
def test_no_error_of_the_core_leaves_without_a_class_of_langchain(
    cls: type[core.OPEAError],
) -> None:
    found = _raised(cls("what", "hint"))
    assert isinstance(found, cls)
    assert isinstance(found, lc.ModelError)


@pytest.mark.parametrize("name", IN_LANGCHAIN)
def test_an_error_is_langchains_class_for_the_same_condition(name: str) -> None:
    assert isinstance(_raised(getattr(core, name)("what")), IN_LANGCHAIN[name])


def test_an_overflow_is_no_invalid_request_of_langchain() -> None:
    assert not isinstance(
        _raised(core.ContextOverflowError("too long")), lc.ModelInvalidRequestError
    )


def test_every_error_of_this_package_is_made_of_one_of_the_core() -> None:
    classes = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.LangChainError)
    ]
    covered = {below for cls in classes for below in cls.__mro__} & set(CORE_ERRORS)
    assert covered == set(CORE_ERRORS)


def test_a_new_kind_of_error_takes_the_class_of_its_parent() -> None:
    class Overheated(core.ServerError):
        pass

    assert type(_raised(Overheated("too hot"))) is errors.OPEAServerError


def test_an_error_that_is_translated_already_stays_itself() -> None:
    problem = errors.OPEARateLimited("slow")
    assert errors.translated(problem) is problem


def test_other_exceptions_pass_through() -> None:
    with pytest.raises(KeyError), errors.langchain_errors():
        raise KeyError("x")


def test_what_an_error_knows_is_kept() -> None:
    attempts = (core.Attempt("one", "status", "ServerError", "busy", 503),)
    cause = OSError("root")
    problem = core.ServerError(
        "what",
        "hint",
        status_code=503,
        attempts=attempts,
        seconds=1.5,
        endpoint="one",
        retry_after=2.0,
        request_id="r",
    )
    problem.__cause__ = cause
    found = _raised(problem)
    assert str(found) == str(problem)
    assert (found.attempts, found.endpoint, found.retry_after, found.seconds) == (
        attempts,
        "one",
        2.0,
        1.5,
    )
    assert found.__cause__ is cause


def test_errors_can_be_pickled_and_copied() -> None:
    found = _raised(core.ServerError("what", "hint", status_code=501, request_id="r"))
    for other in (pickle.loads(pickle.dumps(found)), copy.copy(found)):
        assert type(other) is errors.OPEAServerError
        assert (str(other), other.status_code, other.is_retryable, other.request_id) == (
            str(found),
            501,
            False,
            "r",
        )


# --- from the wire, in every way


STATUSES: dict[str, tuple[Answer, type[core.OPEAError], type[Exception], bool]] = {
    "400": (error(400, "no"), core.InvalidRequestError, lc.ModelInvalidRequestError, False),
    "401": (error(401, "no"), core.AuthenticationError, lc.ModelAuthenticationError, False),
    "402": (error(402, "no"), core.QuotaExceeded, lc.ModelRateLimitError, False),
    "403": (error(403, "no"), core.PermissionDeniedError, lc.ModelPermissionDeniedError, False),
    "404": (error(404, "no"), core.NotFoundError, lc.ModelNotFoundError, False),
    "408": (error(408, "no"), core.ServerError, lc.ModelAPIError, True),
    "413": (error(413, "no"), core.InvalidRequestError, lc.ModelInvalidRequestError, False),
    "422": (error(422, "no"), core.InvalidRequestError, lc.ModelInvalidRequestError, False),
    "429": (error(429, "no"), core.RateLimited, lc.ModelRateLimitError, True),
    "429, quota": (
        error(429, "no", code="insufficient_quota"),
        core.QuotaExceeded,
        lc.ModelRateLimitError,
        False,
    ),
    "499": (error(499, "no"), core.ServerError, lc.ModelAPIError, True),
    "500": (error(500, "no"), core.ServerError, lc.ModelAPIError, True),
    "501": (error(501, "no"), core.ServerError, lc.ModelAPIError, False),
    "503": (error(503, "no"), core.ServerError, lc.ModelAPIError, True),
    "505": (error(505, "no"), core.ServerError, lc.ModelAPIError, False),
    "522": (error(522, "no"), core.ServerError, lc.ModelAPIError, True),
    "525": (error(525, "no"), core.ServerError, lc.ModelAPIError, False),
    "526": (error(526, "no"), core.ServerError, lc.ModelAPIError, False),
    "529": (error(529, "no"), core.ServerError, lc.ModelAPIError, True),
    "a redirect": (
        Answer(302, {"location": "http://elsewhere/"}),
        core.ConfigurationError,
        lc.ModelInvalidRequestError,
        False,
    ),
    "an error at 200": (
        json_answer({"error": {"message": "no", "code": 400}}),
        core.InvalidRequestError,
        lc.ModelInvalidRequestError,
        False,
    ),
    "no answer": (
        Answer(before="close"),
        core.EndpointConnectionError,
        lc.ModelConnectionError,
        True,
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", STATUSES)
def test_the_class_of_an_answer_and_whether_it_may_be_asked_again(
    server: ScriptedServer, case: str, way: str
) -> None:
    answer, in_core, in_langchain, retryable = STATUSES[case]
    server.script(answer)
    with pytest.raises(in_core) as caught:
        ask(way, made(server))
    found: Any = caught.value
    assert isinstance(found, in_langchain)
    assert found.is_retryable is retryable


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_on_time_is_a_timeout(server: ScriptedServer, way: str) -> None:
    server.script(Answer(before="hang"))
    with pytest.raises(lc.ModelTimeoutError) as caught:
        ask(way, made(server, timeout=0.05))
    assert caught.value.is_retryable is True


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_is_a_timeout(server: ScriptedServer, way: str) -> None:
    server.script(Answer(before="hang"))
    with pytest.raises(errors.OPEADeadlineExceeded) as caught:
        ask(way, made(server), deadline=0.05)
    assert isinstance(caught.value, lc.ModelTimeoutError)


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_object_says_so(server: ScriptedServer, way: str) -> None:
    model = made(server)
    model.client.close()
    with pytest.raises(errors.OPEAClientClosed) as caught:
        ask(way, model)
    assert caught.value.is_retryable is False


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_sent_is_refused_before_sending(server: ScriptedServer, way: str) -> None:
    with pytest.raises(errors.OPEAConfigurationError):
        ask(way, made(server), logit_bias={"a": float("nan")})
    assert server.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_outages_are_connection_errors(server: ScriptedServer, way: str) -> None:
    model = made(server)
    ask(way, model)  # what never answered is no outage, but a wrong address
    server.pause()
    found = []
    for _ in range(4):  # the breaker opens meanwhile
        with pytest.raises(lc.ModelConnectionError) as caught:
            ask(way, model)
        found.append(caught.value)
    assert isinstance(found[0], core.EndpointConnectionError)
    assert isinstance(found[-1], core.NoEndpointAvailable)


def test_a_full_queue_is_a_rate_limit(server: ScriptedServer) -> None:
    model = made(server, max_concurrent=1, max_queued=0)
    with model.client.stream_chat("hold the place") as held:
        next(held)
        with pytest.raises(core.QueueFull) as caught:
            model.invoke("x")
    assert isinstance(caught.value, lc.ModelRateLimitError)


# --- what reaches on_llm_error


SECRETS = {
    "api_key": "sk-very-secret",
    "default_headers": {"x-tenant": "tenant-secret"},
    "default_query": {"sig": "query-secret"},
}


def _refusing(status: int = 401) -> Answer:
    said = "no: sk-very-secret, tenant-secret, query-secret"
    headers = {"x-request-id": "req-7", "x-echo": "sk-very-secret", "set-cookie": "session=abcdef"}
    return error(status, said, code="invalid_api_key", headers=headers)


def _told(
    server: ScriptedServer, way: str, answer: Answer, **options: Any
) -> tuple[Any, dict[str, Any]]:
    listener = Listener()
    server.script(answer)
    with pytest.raises(core.OPEAError) as caught:
        ask(way, made(server, **options), config=listener.config)
    assert listener.error is caught.value
    [[generation]] = listener.response.generations
    return caught.value, generation.message.response_metadata


@pytest.mark.parametrize("way", WAYS)
def test_callbacks_get_what_the_server_answered(server: ScriptedServer, way: str) -> None:
    found, metadata = _told(server, way, _refusing(), **SECRETS)
    assert metadata["status_code"] == 401
    assert metadata["request_id"] == "req-7"
    assert metadata["body"]["error"]["code"] == "invalid_api_key"
    assert metadata["headers"]["content-type"] == "application/json"
    assert found.response.json() == metadata["body"]
    assert "no: ***" in found.response.text


@pytest.mark.parametrize("way", WAYS)
def test_callbacks_get_no_secrets(server: ScriptedServer, way: str) -> None:
    found, metadata = _told(server, way, _refusing(), **SECRETS)
    for text in (
        str(found),
        repr(found),
        str(vars(found)),
        str(metadata),
        found.response.text,
        str(found.response),
    ):
        for secret in ("sk-very-secret", "tenant-secret", "query-secret", "abcdef"):
            assert secret not in text


@pytest.mark.parametrize("way", WAYS)
def test_callbacks_get_the_text_of_a_page(server: ScriptedServer, way: str) -> None:
    page = Answer(502, {"content-type": "text/html"}, (b"<html><title>Bad Gateway</title></html>",))
    found, metadata = _told(server, way, page)
    assert metadata["body"] == "<html><title>Bad Gateway</title></html>"
    with pytest.raises(ValueError, match="Expecting value"):
        found.response.json()


@pytest.mark.parametrize("way", WAYS)
def test_without_an_answer_there_is_no_response_but_an_id(server: ScriptedServer, way: str) -> None:
    listener = Listener()
    server.script(Answer(before="close"))
    with pytest.raises(lc.ModelConnectionError) as caught:
        ask(way, made(server), config=listener.config, request_id="mine")
    found: Any = caught.value
    assert found.response is None
    assert found.request_id == "mine"
    assert listener.response.generations[0][0].message.response_metadata == {"request_id": "mine"}
