"""No secret in any error, event, log line or repr, even when the server echoes it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from asking import Sync, Way, made
from no_secrets import (
    BASIC,
    CALL_HEADER,
    CALL_QUERY,
    HEADER,
    KEY,
    PASSWORD,
    QUERY,
    USER,
    check,
    credential,
    echo,
    everything,
)
from thorough import some

from opea_core import OPEA, BreakerPolicy, OPEAError, events
from opea_core.object_options import OPTIONS
from opea_core.testing import (
    Answer,
    ScriptedServer,
    Seen,
    chat,
    chunk,
    error,
    html,
    json_answer,
    raw,
    sse,
)


def _sse_error(seen: Seen) -> Answer:
    return sse(
        chunk({"content": "a"}),
        {"error": {"message": echo(seen), "type": "server_error"}},
        done=False,
    )


def _echo_headers(seen: Seen) -> dict[str, str]:
    return {"content-type": "application/json"} | {
        f"x-echo-{name}": value for name, value in seen.headers.items()
    }


ECHOES: dict[str, Any] = {
    "400": lambda seen: error(400, echo(seen)),
    "401": lambda seen: error(401, echo(seen)),
    "403": lambda seen: error(403, echo(seen)),
    "404": lambda seen: error(404, echo(seen)),
    "404 of a model": lambda seen: error(
        404, f"model not found: {echo(seen)}", code="model_not_found"
    ),
    "429": lambda seen: error(429, echo(seen), headers={"retry-after": "3600"}),
    "500": lambda seen: error(500, echo(seen)),
    "503": lambda seen: error(503, echo(seen)),
    "too long": lambda seen: error(400, f"maximum context length exceeded: {echo(seen)}"),
    "HTML": lambda seen: html(200, f"<title>{echo(seen)}</title>"),
    "an HTML error": lambda seen: html(502, f"<h1>{echo(seen)}</h1>"),
    "an error in a success": lambda seen: json_answer(
        {
            "error": {
                "message": echo(seen),
                "code": echo(seen),
                "type": echo(seen),
                "param": echo(seen),
            }
        }
    ),
    "plain words": lambda seen: Answer(200, {"content-type": "text/plain"}, (echo(seen).encode(),)),
    "codes of an error": lambda seen: error(
        400, "no", code=echo(seen), type=echo(seen), param=echo(seen)
    ),
    "headers of an error": lambda seen: error(400, "no").replace(headers=_echo_headers(seen)),
    "a request id": lambda seen: error(400, "no").replace(
        headers={"content-type": "application/json", "x-request-id": credential(seen)}
    ),
    "headers of a body that breaks": lambda seen: chat("x").replace(
        headers=_echo_headers(seen), length=5000, end="cut"
    ),
    "headers of a body that is late": lambda seen: chat("x").replace(
        headers=_echo_headers(seen), length=5000, end="hang"
    ),
    "a redirect": lambda seen: Answer(
        302,
        {"location": f"http://{USER}:{PASSWORD}@elsewhere.example/?q={QUERY}&k={credential(seen)}"},
    ),
    "a relative redirect": lambda seen: Answer(
        302, {"location": f"/login?next=/v1?code={QUERY}&k={credential(seen)}"}
    ),
    "a stream that breaks": _sse_error,
    "no HTTP": lambda seen: raw(f"{echo(seen)}\r\n\r\n".encode()),
    "a reset": lambda seen: chat("x").replace(before="reset"),
    "cut in two at the length of a message": lambda seen: error(
        400, "x" * (2048 - 20) + credential(seen) + "y" * 100
    ),
    "cut in two at the length of a body": lambda seen: error(
        400, "x" * (64 * 1024 - 60) + credential(seen) + "y" * 100
    ),
    "escaped": lambda seen: error(400, repr(echo(seen)).replace("-", "\\u002d")),
}


def secretive(server: ScriptedServer, auth: str, **options: Any) -> OPEA:
    """An object full of secrets."""
    given: dict[str, Any] = {
        "headers": {"x-internal": HEADER},
        "query": {"code": QUERY},
        "max_retries": 1,
    }
    given |= {"breaker": BreakerPolicy(enabled=False), "timeout": 0.1}
    if auth == "key":
        given["api_key"] = KEY
    else:
        given["base_url"] = (
            server.url.replace("http://", f"http://{USER}:{PASSWORD}@") + f"?sig={QUERY}"
        )
    return made(server, **given | options)


ASKED = [
    (what, method, auth)
    for what in ECHOES
    for method in ("chat", "stream_chat")
    for auth in ("key", "user info")
]
IN_TURN = {
    (what, method, auth)
    for what, method, auth in ASKED
    if (list(ECHOES).index(what) + (method == "chat") + (auth == "key")) % 2 == 0
}
"""Each echo of a call with a key and of one with user info, one of them a stream."""


@pytest.mark.parametrize("asked", some(ASKED, kept=IN_TURN), ids=[", ".join(it) for it in ASKED])
def test_a_server_that_echoes_what_it_was_sent(
    way: Way, server: ScriptedServer, caplog: pytest.LogCaptureFixture, asked: tuple[str, str, str]
) -> None:
    what, method, auth = asked
    caplog.set_level(logging.DEBUG, "opea_core")
    heard: list[events.Event] = []
    opea = secretive(server, auth, hooks=[heard.append])
    server.always(ECHOES[what])
    told = way.ask(
        opea,
        method,
        "Hello",
        extra_headers={"x-mine": CALL_HEADER},
        extra_query={"token": CALL_QUERY},
    )
    assert isinstance(told.error, OPEAError), repr(told.error)
    seen = str(vars_of(server.seen[0]))
    assert (CALL_HEADER in seen, QUERY in seen, CALL_QUERY in seen) == (True, True, True)
    assert (KEY if auth == "key" else BASIC) in seen
    check(everything(told.error))
    check(caplog.text)
    check(str(heard))
    check(f"{opea.get_stats()} {opea.recent_requests()}")


def vars_of(seen: Seen) -> dict[str, Any]:
    return {"headers": seen.headers, "query": seen.query}


def test_errors_of_a_dead_endpoint(way: Way, server: ScriptedServer) -> None:
    opea = secretive(server, "user info")
    server.pause()
    check(everything(way.ask(opea, "chat", "Hello").error))
    told = way.ask(opea, "endpoint_problem")
    check(everything(told.value))


def test_the_reasons_when_no_endpoint_is_left(way: Way, server: ScriptedServer) -> None:
    opea = secretive(
        server,
        "key",
        breaker=BreakerPolicy(break_duration=5, min_calls=1),
        max_retries=0,
        recovery_wait=0,
    )
    server.always(lambda seen: error(503, echo(seen)))
    check(everything(way.ask(opea, "chat", "Hello").error))
    told = way.ask(opea, "chat", "Hello")
    assert type(told.error).__name__ == "NoEndpointAvailable"
    check(everything(told.error))


def test_what_can_be_printed_of_an_object(server: ScriptedServer) -> None:
    for opea in (
        secretive(server, "key"),
        secretive(server, "user info"),
        OPEA({}, {"opea_api_key": KEY}),
    ):
        core = opea._engine
        for thing in (
            opea,
            opea.settings,
            opea.endpoints,
            opea.endpoints[0],
            core.limiter.endpoints,
            opea.get_stats(),
        ):
            check(f"{thing} {thing!r}")
        check(str(opea.settings.model_dump(mode="python", exclude={"endpoints"})))


def test_what_can_be_printed_of_a_call(server: ScriptedServer) -> None:
    opea = secretive(server, "key")
    response = opea.chat("Hello", extra_headers={"x-mine": CALL_HEADER})
    check(f"{response} {response!r}")
    chunks = opea.stream_chat("Hello", extra_headers={"x-mine": CALL_HEADER})
    check(f"{chunks!r} {next(chunks)!r}")
    chunks.close()


def test_a_key_that_a_function_gives(way: Way, server: ScriptedServer) -> None:
    opea = made(server, api_key=lambda: KEY)
    server.always(lambda seen: error(400, echo(seen)))
    check(everything(way.ask(opea, "chat", "Hello").error))


def test_a_key_that_was_renewed(way: Way, server: ScriptedServer) -> None:
    """Of a function's keys the old ones are secrets, too: in this call, and in the next ones."""
    keys = iter([KEY, "sk-fresh-key-1", "sk-fresh-key-2"])
    opea = made(server, api_key=lambda: next(keys))
    server.script(error(401, "expired"))
    server.always(error(400, f"instead of {KEY} you sent another one"))
    for _ in range(2):
        check(everything(way.ask(opea, "chat", "Hello").error))


def test_a_model_that_is_named_like_a_key(
    way: Way, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "opea_core")
    heard: list[events.Event] = []
    for key in (KEY, lambda: KEY):
        opea = made(server, api_key=key, model=None, hooks=[heard.append])
        server.script(json_answer({"data": [{"id": f"model-{KEY}"}]}))
        assert way.ask(opea, "discover").error is None
        server.script(json_answer({"data": [{"id": KEY}, {"id": "b"}]}))
        several = made(server, api_key=key, model=None)
        check(everything(way.ask(several, "discover").error))
        check(f"{opea!r} {heard} {caplog.text}")


def test_the_password_of_the_environments_proxy(
    way: Way, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is a server as well, and may echo what it was sent."""
    host = server.origin.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://{USER}:{PASSWORD}@{host}")
    server.always(lambda seen: error(407, f"{seen.headers} {USER} {PASSWORD} {BASIC}"))
    opea = OPEA("http://somewhere.invalid", model="m", max_retries=0)
    told = way.ask(opea, "chat", "Hello")
    assert "407" in str(told.error)
    check(everything(told.error))


def test_a_finish_reason_that_is_a_key(way: Way, server: ScriptedServer) -> None:
    opea = made(server, api_key=KEY)
    server.always(sse(chunk({"content": "a"}), chunk({}, finish_reason=KEY), done=False, end="cut"))
    check(everything(way.ask(opea, "stream_chat", "Hello").error))


def test_a_key_of_one_call(way: Way, server: ScriptedServer, second: ScriptedServer) -> None:
    opea = made(server)
    data = {"messages": [{"role": "user", "content": "Hello"}]}
    for at in (server, second):
        at.always(lambda seen: error(400, echo(seen)))
        told = way.ask(opea, "make_post_request_opea", f"{at.url}?code={QUERY}", data, api_key=KEY)
        assert KEY in str(at.seen[0].headers)
        check(everything(told.error))


def test_a_configuration_error_shows_no_value() -> None:
    bad: list[dict[str, Any]] = [
        {"api_key": f"{KEY}\n"},
        {"headers": {"x-a": f"{HEADER}\n"}},
        {"base_url": f"http://{USER}:{PASSWORD}@host:port"},
        {"base_url": f"ftp://{USER}:{PASSWORD}@host?q={QUERY}"},
        {"base_url": f"{USER}:{PASSWORD}@host"},
        {"base_url": f"http://{USER}:{PASSWORD}@host", "api_key": KEY},
        {"proxy": f"{USER}:{PASSWORD}@proxy"},
        {"api_key": KEY, "api_keys": [KEY]},
        {"api_key": KEY, "nonsense": HEADER},
        {"endpoints": [{"base_url": "http://a", "api_key": KEY, "wieght": 1}]},
        {"metadata": {"opea_api_key": KEY, "opea_tiemout": 1}},
    ]
    for options in bad:
        with pytest.raises(OPEAError) as raised:
            OPEA(**options)
        text = "".join(traceback.format_exception(raised.value))
        check("\n".join(line for line in text.splitlines() if "OPEA(**options)" not in line))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_url_with_a_password_is_not_shown_by_an_option_that_is_none(name: str) -> None:
    """It is what people paste; the error of an option that cannot be a URL must not quote it."""
    url = f"http://{USER}:{PASSWORD}@127.0.0.1:9/p.json"
    schemeless = url.removeprefix("http://")
    for value in (url, [url], {url: url}, {"x": url}, [[url]], url.replace("//", "/"), schemeless):
        try:
            OPEA(**{name: value}).close()
        except OPEAError as error:
            told = "".join(traceback.format_exception(error))
            check(f"{told} {error!r} {vars(error)} {error.__cause__!r}")


def test_a_secret_in_a_log_handler_of_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("opea_core")
    before, level = list(logger.handlers), logger.level
    monkeypatch.setenv("OPEA_LOG", "debug")
    try:
        opea = secretive(server, "key")
        server.always(lambda seen: error(401, echo(seen)))
        assert asyncio.run(opea.atest_endpoint()) is False
        assert Sync().ask(opea, "chat", "Hello").error is not None
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)
    printed = capsys.readouterr().err
    assert "opea_core" in printed
    check(printed)


def test_what_netrc_knows_is_not_sent(
    way: Way, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with made(server) as opea:
        assert way.ask(opea, "chat", "Hello").error is None
    assert "authorization" not in server.seen[0].headers
