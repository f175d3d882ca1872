"""Whatever a secret is made of and however a server spells it: it is in no error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from urllib.parse import quote

from by_hand import MESSAGES, Play, Says, context_of
from hypothesis import given
from hypothesis import strategies as st
from same_examples import fixed

from opea_core import OPEAError, RetryPolicy

SECRETS = st.text(alphabet="aB3-_+/=\"\\ %&<>'.", min_size=8, max_size=30).map(
    lambda text: f"s{text.strip()}e"
)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in JSON with escaped slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "with a word before and behind": lambda secret: f"x{secret}y",
}
PLACES = st.sampled_from(["message", "type", "code", "param", "request id", "header", "text"])


def echoing(place: str, spelled: str, status: int) -> Says:
    """An answer that says it at that place."""
    if place == "request id":
        return Says(status, {"error": {"message": "no"}}, {"x-request-id": spelled})
    if place == "header":
        return Says(status, {"error": {"message": "no"}}, {"x-echo": spelled})
    if place == "text":
        return Says(status, f"you sent {spelled}".encode())
    return Says(status, {"error": {"message": "no", place: f"you sent {spelled}"}})


@fixed(300)
@given(
    secrets=st.lists(SECRETS, min_size=3, max_size=3),
    which=st.integers(0, 2),
    spelling=st.sampled_from(sorted(SPELLINGS)),
    place=PLACES,
    status=st.sampled_from([200, 400, 401, 404, 429, 500, 503]),
)
def test_no_secret_comes_out_however_it_is_spelled(
    secrets: list[str], which: int, spelling: str, place: str, status: int
) -> None:
    key, header, query = secrets
    context = context_of(api_key=key, headers={"x-internal": header}, query={"code": query})
    spelled = SPELLINGS[spelling](secrets[which])
    play = Play(
        echoing(place, spelled, status),
        context=context,
        keys=[key],
        body={"messages": MESSAGES},
        retry=RetryPolicy(max_retries=0),
    )
    error = play.error
    assert isinstance(error, OPEAError)
    read = f"{error} {error!r} {error.args} {vars(error)}"
    for written in (
        read,
        *(value for value in vars(error).values() if isinstance(value, str)),
        error.message,
        error.hint,
    ):
        assert secrets[which] not in written
        assert spelled not in written
    assert secrets[which].encode() not in pickle.dumps(error)
