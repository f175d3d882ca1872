"""Base URLs: what people paste, and where requests go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opea_core import OPEA
from opea_core.display_text import redact_url
from opea_core.errors import ConfigurationError
from opea_core.urls import BaseURL, parse_base_url, split_endpoint_url


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000//", "http://h:8000/v1"),
        ("https://h/v1", "https://h/v1"),
        ("https://h/v1/", "https://h/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h/v1/chat/completions/", "https://h/v1"),
        ("https://h/v1/completions", "https://h/v1"),
        ("https://h/v1/embeddings", "https://h/v1"),
        ("https://h/v1/models", "https://h/v1"),
        ("https://h/v1/rerank", "https://h/v1"),
        ("https://h/chat/completions", "https://h"),
        ("https://h/api/v1", "https://h/api/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
        ("https://h/v1-openai", "https://h/v1-openai"),
        ("https://h/api/paas/v4", "https://h/api/paas/v4"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("https://h/any/path", "https://h/any/path"),
        ("https://h/openai/deployments/d?api-version=x", "https://h/openai/deployments/d"),
        ("  http://h:8000\n", "http://h:8000/v1"),
        ("HTTP://Host:8000", "http://host:8000/v1"),
        ("http://h:80", "http://h/v1"),
        ("https://h:443/v1", "https://h/v1"),
        ("https://h:80/v1", "https://h:80/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://u:p@h:8000", "http://h:8000/v1"),
        ("http://h:8000#x", "http://h:8000/v1"),
    ],
)
def test_where_requests_go(given: str, root: str) -> None:
    assert parse_base_url(given).root == root


@pytest.mark.parametrize(
    ("given", "append_v1", "root"),
    [
        ("https://h", False, "https://h"),
        ("https://h/", False, "https://h"),
        ("https://h/api", False, "https://h/api"),
        ("https://h/api", True, "https://h/api/v1"),
        ("https://h/v1", True, "https://h/v1"),
        ("https://h/v1/chat/completions", True, "https://h/v1"),
        ("https://h/chat/completions", True, "https://h/v1"),
    ],
)
def test_whether_v1_is_appended_can_be_said(given: str, append_v1: bool, root: str) -> None:
    assert parse_base_url(given, append_v1).root == root


def test_the_query_is_kept() -> None:
    assert parse_base_url("https://h/openai/deployments/d?api-version=x&empty=&b=a%20b").query == (
        ("api-version", "x"), ("empty", ""), ("b", "a b"),
    )  # fmt: skip


def test_user_and_password_are_kept_apart_from_the_origin() -> None:
    url = parse_base_url("https://me:p%40ss@h:8000/v1")
    assert (url.origin, url.host, url.user, url.password) == (
        "https://h:8000",
        "h:8000",
        "me",
        "p@ss",
    )
    assert "p@ss" not in url.root


def test_without_user_there_is_none() -> None:
    assert parse_base_url("https://h") == BaseURL("https://h", "/v1")


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", None, 7, "localhost:8000", "h/v1", "//h/v1", "ftp://h", "file:///etc/x", "http://",
        "http:///v1", "http://:8000", "http://h:port", "http://h:99999", "http://h:0",
        "http://h h/v1", "http://h\n.com", "http://h/v1\x00", "http://[::1",
        "http:/h/v1", "https:h",
    ],
)  # fmt: skip
def test_what_is_no_http_url_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "http://me:secret@h:port/v1",
        "http://me:secret@h:99999/v1",
        "http://me:secret@[::1/v1",
        "me:secret@h:8000/v1",
        "http:/me:secret@h/v1",
        "http://me:secret@:8000/v1",
        "ftp://me:secret@h/v1",
        "me:secret@h/v1?key=secret",
        "http://me:secret@h h/v1",
    ],
)
def test_an_error_about_a_url_does_not_show_its_secrets(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(text)
    assert "secret" not in str(caught.value)


@given(st.text() | st.text(alphabet="htp:/[]@?#%&=.h8 \n1v").map(lambda text: "http://" + text))
def test_any_text_is_a_url_or_a_configuration_error(text: str) -> None:
    redact_url(text)
    try:
        parse_base_url(text)
        split_endpoint_url(text)
    except ConfigurationError:
        pass


@pytest.mark.parametrize(
    ("given", "root", "path"),
    [
        ("http://h", "http://h/v1", None),
        ("http://h/", "http://h/v1", None),
        ("http://h/v1", "http://h/v1", None),
        ("http://h/v1/", "http://h/v1", None),
        ("http://h/api/v1", "http://h/api/v1", None),
        ("http://h/v1beta/openai/", "http://h/v1beta/openai", None),
        ("http://h/openai/deployments/d", "http://h/openai/deployments/d", None),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions", "/v1/chat/completions"),
        ("http://h/v1/embeddings/", "http://h/v1/embeddings", "/v1/embeddings"),
        ("http://h/api/generate", "http://h/api/generate", "/api/generate"),
        ("http://h/classify", "http://h/classify", "/classify"),
    ],
)
def test_the_url_of_one_operation_is_a_base_or_an_exact_path(
    given: str, root: str, path: str | None
) -> None:
    base, exact = split_endpoint_url(given)
    assert (base.root, exact) == (root, path)


def test_an_exact_path_keeps_its_query() -> None:
    base, path = split_endpoint_url("http://h/openai/deployments/d/chat/completions?api-version=x")
    assert (base.query, path) == ((("api-version", "x"),), "/openai/deployments/d/chat/completions")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://me:secret@h:8000/v1", "http://h:8000/v1"),
        ("http://me@h/v1", "http://h/v1"),
        ("http://me:sec@ret@h/v1", "http://h/v1"),
        ("http://h/v1?key=secret&b=", "http://h/v1?key=***&b=***"),
        ("http://h/v1#secret", "http://h/v1"),
        ("http://[::1", "(unreadable URL)"),
        ("http:/me:secret@h/v1", "http://h/v1"),
        ("me:secret@h/v1", "me://h/v1"),
        ("/v1/@cf/m", "/v1/@cf/m"),
    ],
)
def test_a_url_is_shown_without_user_and_query_values(given: str, shown: str) -> None:
    assert redact_url(given) == shown


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://localhost:9/\ud800/v1"},
        {"base_url": "http://\udc00:9"},
        {"base_url": "http://me:\ud800@localhost:9"},
        {"base_url": "http://localhost:9?q=\ud800"},
        {"query": {"q": "\ud800"}},
        {"query": {"\ud800": "q"}},
        {"proxy": "http://me:\ud800@localhost:9"},
        {"endpoints": ["http://localhost:9/\ud800"]},
    ],
    ids=ascii,
)
def test_half_a_character_is_refused_where_it_is_set(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="half a character") as caught:
        OPEA(**options)
    str(caught.value).encode()


@pytest.mark.parametrize("query", [{"q": "\ud800"}, {"\ud800": "q"}], ids=ascii)
def test_half_a_character_is_refused_in_a_query_of_a_call(query: dict[str, str]) -> None:
    with (
        OPEA("http://localhost:9", model="m") as opea,
        pytest.raises(ConfigurationError, match="half a character"),
    ):
        opea.chat("Hello", extra_query=query)
