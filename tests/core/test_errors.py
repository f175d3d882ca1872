"""The errors: what they say, what they carry, and what they are."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback

import pytest

from opea_core import errors
from opea_core.errors import Attempt, OPEAError
from opea_core.types import ChatResponse, Choice

ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, OPEAError)]


def test_the_tree_is_the_documented_one() -> None:
    drawn = [
        line.replace("│", " ").replace("├── ", "    ").replace("└── ", "    ")
        for line in (errors.__doc__ or "").splitlines()
    ]
    names = [
        line.split()[0]
        for line in drawn
        if line.split() and line.split()[0] in {cls.__name__ for cls in ALL}
    ]
    assert sorted(names) == sorted(cls.__name__ for cls in ALL)
    parents: list[str] = []
    for line in drawn:
        if line.split() and line.split()[0] in names:
            depth, name = (len(line) - len(line.lstrip())) // 4, line.split()[0]
            parents[depth:] = [name]
            assert [base.__name__ for base in getattr(errors, name).__mro__ if base in ALL] == list(
                reversed(parents)
            )


@pytest.mark.parametrize("cls", ALL)
def test_every_error_can_be_caught_as_one(cls: type[OPEAError]) -> None:
    with pytest.raises(OPEAError, match="what"):
        raise cls("what")


def test_an_error_says_what_happened_what_to_do_and_how_often_it_was_tried() -> None:
    attempts = tuple(
        Attempt("gpu1", "connect", "ConnectError", "refused", seconds=0.5) for _ in range(4)
    )
    error = errors.EndpointConnectionError(
        "Nothing answers.", "Is it running?", attempts=attempts, seconds=3.14, request_id="r1"
    )
    assert str(error) == "Nothing answers.\nIs it running?\n4 attempts in 3.1 s, request id r1."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OPEAError("What."), "What."),
        (OPEAError("What.", "Do."), "What.\nDo."),
        (OPEAError("What.", request_id="r1"), "What.\nrequest id r1."),
        (
            OPEAError("What.", attempts=(Attempt("a", "status", "ServerError", "m"),)),
            "What.\n1 attempt.",
        ),
        (OPEAError("What.", seconds=3.0), "What."),
        (OPEAError("What.", retry_suppressed="budget"), "What.\nno further retry: budget."),
    ],
)
def test_what_an_error_does_not_know_it_does_not_mention(error: OPEAError, text: str) -> None:
    assert str(error) == text


def test_details_are_attributes_and_have_defaults() -> None:
    error = errors.RateLimited(
        "m",
        status_code=429,
        retry_after=1.5,
        code="c",
        type="t",
        param="p",
        body="b",
        headers={"a": "b"},
    )
    assert (
        error.status_code,
        error.retry_after,
        error.code,
        error.type,
        error.param,
        error.body,
    ) == (429, 1.5, "c", "t", "p", "b")
    assert error.headers == {"a": "b"}
    bare = OPEAError("m")
    assert (
        bare.status_code,
        bare.retry_after,
        bare.code,
        bare.partial,
        bare.attempts,
        dict(bare.headers),
    ) == (
        None,
        None,
        None,
        None,
        (),
        {},
    )


def test_details_of_one_error_are_not_those_of_another() -> None:
    OPEAError("m", status_code=500, attempts=(Attempt("a", "status", "E", "m"),))
    assert (OPEAError("m").status_code, OPEAError("m").attempts) == (None, ())


def test_more_can_be_known_later() -> None:
    error = errors.ServerError("m", status_code=500)
    assert error.with_details(request_id="r1", endpoint="gpu1") is error
    assert (error.status_code, error.request_id, error.endpoint) == (500, "r1", "gpu1")


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.ServerError("m", status_code=500), True),
        (errors.ServerError("m", status_code=502), True),
        (errors.ServerError("m", status_code=503), True),
        (errors.ServerError("m", status_code=504), True),
        (errors.ServerError("m", status_code=501), False),
        (errors.InvalidRequestError("m", status_code=400), False),
        (errors.AuthenticationError("m", status_code=401), False),
        (errors.ConfigurationError("m"), False),
        (errors.BadAnswerError("m", status_code=200), True),
        (errors.EndpointConnectionError("m"), True),
        (errors.CertificateError("m"), False),
        (errors.EndpointTimeout("m"), True),
        (errors.StreamInterrupted("m"), True),
        (errors.NoEndpointAvailable("m"), True),
        (errors.ClientClosed("m"), False),
    ],
)
def test_which_errors_may_pass(error: OPEAError, transient: bool) -> None:
    assert error.is_transient_error is transient


@pytest.mark.parametrize("cls", ALL)
def test_flags_tell_the_kind(cls: type[OPEAError]) -> None:
    error = cls("m")
    assert error.is_rate_limit_error is issubclass(cls, errors.RateLimited)
    assert error.is_auth_error is issubclass(
        cls, errors.AuthenticationError | errors.PermissionDeniedError
    )
    assert error.is_timeout is issubclass(cls, errors.EndpointTimeout)
    assert error.deadline_exceeded is issubclass(cls, errors.DeadlineExceeded)


@pytest.mark.parametrize("cls", ALL)
def test_errors_survive_pickling_and_copying(cls: type[OPEAError]) -> None:
    partial = ChatResponse(choices=[Choice(content="Hi")])
    error = cls(
        "What.",
        "Do.",
        status_code=500,
        retry_after=1.5,
        attempts=(Attempt("a", "status", "E", "m", 500),),
        partial=partial,
    )
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_the_text_of_a_traceback_is_the_text_of_the_error() -> None:
    error = OPEAError("What.", "Do.")
    assert traceback.format_exception_only(error) == ["opea_core.errors.OPEAError: What.\nDo.\n"]


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("max_retris", ["max_retries", "timeout"], " Did you mean 'max_retries'?"),
        ("modl", ["model", "mode"], " Did you mean 'model'?"),
        ("xyz", ["max_retries", "timeout"], ""),
        ("x", [], ""),
    ],
)
def test_the_nearest_known_name_is_offered(name: str, known: list[str], text: str) -> None:
    assert errors.nearest(name, known) == text
