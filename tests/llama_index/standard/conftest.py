"""The conformance suite, played from cassettes without a network;
``OPEA_RECORD=1`` records them from a scripted upstream.
"""

from __future__ import annotations

from typing import Any

import plain_environment
import pytest
from li_flags import HEADER, KEY
from li_upstream import upstream
from pytest_recording.plugin import block_network, vcr  # noqa: F401
from standard_cassettes import SERVER, request_as_stored, response_as_stored
from standard_world import (  # noqa: F401
    _no_network,
    _upstream,
    default_cassette_name,
    pytest_pyfunc_call,
    pytest_recording_configure,
    pytest_runtest_makereport,
    record_mode,
    vcr_cassette_dir,
)
from vcr.request import Request


@pytest.fixture
def vcr_config() -> dict[str, Any]:
    """Every answer is played once, to the request it was given to."""
    return {
        "match_on": ["method", "path", "json_body"],
        "before_record_request": _with_its_key,
        "before_record_response": response_as_stored,
        "allow_playback_repeats": False,
        "decode_compressed_response": True,
    }


def _with_its_key(request: Request) -> Request:
    """Keys and private headers are not stored, so they are looked at here,
    while recording and while playing.
    """
    sent = {name.lower(): value for name, value in request.headers.items()}
    if "host" in sent:  # not stripped yet: vcrpy asks more than once
        assert (sent.get("authorization"), sent.get("x-team")) == (f"Bearer {KEY}", HEADER)
    return request_as_stored(request)


@pytest.fixture(autouse=True)
def _fresh_upstream() -> None:
    if SERVER is not None:
        SERVER.always(upstream)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set on the machine of whoever runs the tests does not matter."""
    plain_environment.forget(monkeypatch)
