"""Keys: functions that give them, when they are asked, and where keys never go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from asking import Way, made
from pydantic import SecretStr
from steady_ids import steady

from opea_core import AuthenticationError, ConfigurationError
from opea_core.testing import Answer, ScriptedServer, error

DATA = {"messages": [{"role": "user", "content": "Hello"}]}
WRONG = error(401, "invalid api key")


class Keys:
    """A function that gives one key after the other, and the last one for ever."""

    def __init__(self, keys: Iterable[Any]) -> None:
        self._keys: Iterator[Any] = iter(keys)
        self.last: Any = None
        self.asked = 0
        self.threads: set[int] = set()

    def __call__(self) -> Any:
        self.asked += 1
        self.threads.add(threading.get_ident())
        self.last = next(self._keys, self.last)
        return self.last


class AsyncKeys(Keys):
    """The same as an async function."""

    async def __call__(self) -> Any:
        await asyncio.sleep(0)
        return super().__call__()


@pytest.fixture(params=[Keys, AsyncKeys], ids=["sync function", "async function"])
def give(request: pytest.FixtureRequest) -> Callable[[Iterable[Any]], Keys]:
    """Makes a key function of either kind."""
    return request.param


def sent_keys(server: ScriptedServer) -> list[str | None]:
    return [seen.headers.get("authorization") for seen in server.seen]


def test_a_key_function_is_asked_before_each_attempt(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    keys = give(["key-1", "key-2", "key-3"])
    opea = made(server, api_key=keys)
    server.script(error(503, "busy"))
    assert way.ask(opea, "chat", "Hello").error is None
    assert way.ask(opea, "chat", "Hello").error is None
    assert sent_keys(server) == ["Bearer key-1", "Bearer key-2", "Bearer key-3"]


def test_after_a_401_it_is_asked_once_more_and_the_call_sent_again(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    keys = give(["stale", "fresh"])
    opea = made(server, api_key=keys)
    server.script(WRONG)
    told = way.ask(opea, "chat", "Hello")
    assert told.error is None
    assert sent_keys(server) == ["Bearer stale", "Bearer fresh"]
    assert opea.get_stats()["retries"] == 0


def test_the_same_key_again_is_not_sent_again(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    keys = give(["same"])
    server.always(WRONG)
    told = way.ask(made(server, api_key=keys), "chat", "Hello")
    assert isinstance(told.error, AuthenticationError)
    assert (len(server.seen), keys.asked) == (1, 2)


def test_a_new_key_that_is_wrong_too_is_the_end(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    keys = give(f"key-{number}" for number in range(9))
    server.always(WRONG)
    told = way.ask(made(server, api_key=keys), "chat", "Hello")
    assert isinstance(told.error, AuthenticationError)
    assert sent_keys(server) == ["Bearer key-0", "Bearer key-1"]


def test_a_plain_key_that_is_refused_is_sent_once(way: Way, server: ScriptedServer) -> None:
    server.always(WRONG)
    told = way.ask(made(server, api_key="wrong-key"), "chat", "Hello")
    assert isinstance(told.error, AuthenticationError)
    assert len(server.seen) == 1


def test_a_corrected_key_works_on_the_very_next_call(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    server.model.api_key = "right"
    keys = give(["wrong", "wrong", "right"])
    opea = made(server, api_key=keys)
    assert isinstance(way.ask(opea, "chat", "Hello").error, AuthenticationError)
    assert way.ask(opea, "chat", "Hello").error is None


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_function_may_give_no_key(
    way: Way, server: ScriptedServer, give: Callable[..., Keys], nothing: str | None
) -> None:
    assert way.ask(made(server, api_key=give([nothing])), "chat", "Hello").error is None
    assert sent_keys(server) == [None]


def test_a_function_may_give_a_secret(
    way: Way, server: ScriptedServer, give: Callable[..., Keys]
) -> None:
    assert (
        way.ask(made(server, api_key=give([SecretStr("hidden-key")])), "chat", "Hello").error
        is None
    )
    assert sent_keys(server) == ["Bearer hidden-key"]


@pytest.mark.parametrize("bad", ["with\nnewline", " blanks ", "schlüssel", 5])
def test_what_is_no_key_is_not_sent_and_not_shown(
    way: Way, server: ScriptedServer, give: Callable[..., Keys], bad: Any
) -> None:
    opea = made(server, api_key=give([bad]))
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, ConfigurationError)
    assert bad == 5 or bad.strip() not in str(told.error)
    assert server.seen == []
    assert opea.get_stats()["in_flight"] == 0


def test_an_exception_of_the_function_reaches_the_caller(way: Way, server: ScriptedServer) -> None:
    def broken() -> str:
        raise LookupError("the vault is sealed")

    opea = made(server, api_key=broken)
    told = way.ask(opea, "chat", "Hello")
    assert isinstance(told.error, ConfigurationError)
    assert isinstance(told.error.__cause__, LookupError)
    assert server.seen == []
    assert opea.get_stats()["in_flight"] == 0


def test_many_callers_ask_it_one_at_a_time(way: Way, server: ScriptedServer) -> None:
    inside, most = 0, 0
    lock = threading.Lock()
    pause = threading.Event()

    def key() -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        pause.wait(0.005)
        with lock:
            inside -= 1
        return "slow-key"

    opea = made(server, api_key=key)
    calls = [way.start(opea, "chat", "Hello") for _ in range(8)]
    assert [call.result(5).error for call in calls] == [None] * 8
    assert most == 1


def test_a_sync_function_does_not_block_the_loop(server: ScriptedServer) -> None:
    asked, go = threading.Event(), threading.Event()

    def key() -> str:
        asked.set()
        assert go.wait(5)
        return "late-key"

    async def main() -> str:
        async with made(server, api_key=key) as opea:
            call = asyncio.create_task(opea.achat("Hello"))
            assert await asyncio.to_thread(asked.wait, 5)
            go.set()  # the loop is here although the function has not come back
            return (await call).content

    assert "Hello" in asyncio.run(main())


# --- where keys do not go


def test_a_foreign_url_gets_no_key_of_ours(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-secret", headers={"x-internal": "team"}, query={"code": "q"})
    foreign = f"{second.origin}/v1/chat/completions"
    assert way.ask(opea, "make_post_request_opea", foreign, DATA).error is None
    assert way.ask(opea, "make_stream_request_opea", foreign, DATA).error is None
    way.ask(opea, "test_endpoint", foreign)
    assert len(second.seen) == 3
    for seen in second.seen:
        assert "our-secret" not in str(seen.headers)
        assert "x-internal" not in seen.headers
        assert seen.query == {}
    assert server.seen == []


def test_a_foreign_url_gets_the_key_that_comes_with_it(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-secret")
    told = way.ask(
        opea,
        "make_post_request_opea",
        f"{second.origin}/v1/chat/completions",
        DATA,
        api_key="their-key",
    )
    assert told.error is None
    assert sent_keys(second) == ["Bearer their-key"]


def test_the_key_of_a_call_is_gone_with_it(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    opea = made(server, api_key="our-secret")
    foreign = f"{second.origin}/v1/chat/completions"
    way.ask(opea, "make_post_request_opea", foreign, DATA, api_key="their-key")
    way.ask(opea, "make_post_request_opea", foreign, DATA)
    way.ask(opea, "make_post_request", DATA, api_key="once")
    way.ask(opea, "make_post_request", DATA)
    assert sent_keys(second) == ["Bearer their-key", None]
    assert sent_keys(server) == ["Bearer once", "Bearer our-secret"]


def test_our_own_origin_gets_our_key(way: Way, server: ScriptedServer) -> None:
    opea = made(server, api_key="our-secret")
    assert (
        way.ask(opea, "make_post_request_opea", f"{server.origin}/other/path", DATA).error
        is not None
    )
    assert server.seen[0].path == "/other/path"
    assert sent_keys(server)[0] == "Bearer our-secret"


@pytest.mark.parametrize(
    "bad", ["with\nnewline12", " blanks-at-ends ", "schlüssel", 5, object()], ids=steady
)
@pytest.mark.parametrize("method", ["make_post_request", "make_post_request_opea"])
def test_a_bad_key_of_a_call_is_refused_before_anything_is_sent(
    way: Way, server: ScriptedServer, method: str, bad: Any
) -> None:
    opea = made(server)
    args = (DATA,) if method == "make_post_request" else (server.url, DATA)
    told = way.ask(opea, method, *args, api_key=bad)
    assert isinstance(told.error, ConfigurationError), repr(told.error)
    assert server.seen == []
    if isinstance(bad, str):
        assert bad.strip() not in str(told.error)
        assert repr(bad)[1:-1] not in str(told.error)


def test_a_secret_as_the_key_of_a_call(way: Way, server: ScriptedServer) -> None:
    assert (
        way.ask(made(server), "make_post_request", DATA, api_key=SecretStr("hidden-key")).error
        is None
    )
    assert sent_keys(server) == ["Bearer hidden-key"]


def test_no_key_of_openai_is_sent(
    way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-secret")
    server.model.api_key = "needed"
    told = way.ask(made(server), "chat", "Hello")
    assert isinstance(told.error, AuthenticationError)
    assert "No key was sent." in str(told.error)
    assert "OPENAI_API_KEY is set but is not sent to this host." in str(told.error)
    assert "sk-openai-secret" not in str(told.error)
    assert sent_keys(server) == [None]


def test_a_redirect_takes_no_key_along(
    way: Way, server: ScriptedServer, second: ScriptedServer
) -> None:
    server.always(Answer(307, {"location": f"{second.url}/chat/completions"}))
    told = way.ask(made(server, api_key="our-secret"), "chat", "Hello")
    assert isinstance(told.error, ConfigurationError)
    assert (len(server.seen), len(second.seen)) == (1, 0)


def test_user_info_of_the_url_is_the_authorization(way: Way, server: ScriptedServer) -> None:
    url = server.url.replace("http://", "http://ann:s3cret@")
    assert way.ask(made(server, base_url=url), "chat", "Hello").error is None
    assert sent_keys(server) == ["Basic YW5uOnMzY3JldA=="]


# --- several keys


def test_several_keys_are_several_endpoints(way: Way, server: ScriptedServer) -> None:
    opea = made(server, label="gw", api_keys=["key-a", "key-b"])
    assert [endpoint.label for endpoint in opea.endpoints] == ["gw", "gw#2"]
    server.always(lambda seen: WRONG if seen.headers["authorization"] == "Bearer key-a" else None)
    told = [way.ask(opea, "chat", "Hello") for _ in range(6)]
    assert [t.error for t in told] == [None] * 6
    assert sent_keys(server).count("Bearer key-a") <= 1  # chosen last from then on
    assert {t.response.endpoint for t in told} == {"gw#2"}


def test_one_key_is_rate_limited_and_the_other_serves(way: Way, server: ScriptedServer) -> None:
    opea = made(server, api_keys=["key-a", "key-b"])
    limited = error(429, "slow down", headers={"retry-after": "9"})
    server.always(lambda seen: limited if seen.headers["authorization"] == "Bearer key-a" else None)
    told = [way.ask(opea, "chat", "Hello") for _ in range(6)]
    assert [t.error for t in told] == [None] * 6
    assert sent_keys(server).count("Bearer key-a") <= 1
