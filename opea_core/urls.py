"""Base URLs: what people paste, and where requests go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from opea_core.display_text import redact_url
from opea_core.errors import ConfigurationError

DEFAULT_URL = "http://localhost:8000"
SUFFIXES = ("/chat/completions", "/responses", "/completions", "/embeddings", "/models", "/rerank")
SUFFIX = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "completion": "/completions",
    "embeddings": "/embeddings",
    "models": "/models",
    "rerank": "/rerank",
    "document": "",
}
"""What stands behind the base for each kind of call."""
_BASE_LIKE = re.compile(r"(^|/)(v\d[\w.-]*|openai|deployments/[^/]+)$")


@dataclass(frozen=True, slots=True)
class BaseURL:
    """A parsed base URL: ``origin`` + ``path`` + ``/chat/completions`` and so on."""

    origin: str
    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def root(self) -> str:
        """Origin and path, fit for showing: no user info, no query."""
        return self.origin + self.path

    @property
    def host(self) -> str:
        """Host and port."""
        return self.origin.partition("://")[2]


def parse_base_url(text: str, append_v1: bool | None = None) -> BaseURL:
    """Read a base URL as people write it.

    A bare host gets ``/v1``; a pasted ``/chat/completions`` and trailing slashes are cut off; any
    other path stays. ``append_v1`` True adds ``/v1`` to any path, False never adds it.
    Raises ConfigurationError for anything that is no http(s) URL.
    """
    split = _split(text)
    path = split.path.rstrip("/")
    suffix = next((s for s in SUFFIXES if path.endswith(s)), "")
    path = path.removesuffix(suffix).rstrip("/")
    wanted = (not path and not suffix) if append_v1 is None else append_v1
    if wanted and not path.endswith("/v1"):
        path += "/v1"
    return _base(split, path)


def split_endpoint_url(text: str) -> tuple[BaseURL, str | None]:
    """Read the URL of one operation: its base, and the exact path to post to if it names one.

    ``http://h/v1`` and ``http://h`` are bases (no exact path); ``http://h/v1/chat/completions`` and
    any path that does not look like a base (``http://h/api/generate``) are posted to as they are.
    """
    split = _split(text)
    path = split.path.rstrip("/")
    if path and (path.endswith(SUFFIXES) or not _BASE_LIKE.search(path)):
        base = _base(split, path)
        return base, path
    return parse_base_url(text), None


def with_user(url: BaseURL) -> str:
    """The origin with the user and the password of the URL, if there are any."""
    if url.user is None:
        return url.origin
    scheme, _, host = url.origin.partition("://")
    password = "" if url.password is None else f":{quote(url.password, safe='')}"
    return f"{scheme}://{quote(url.user, safe='')}{password}@{host}"


def check_encodable(what: str, *texts: str) -> None:
    """Raise ConfigurationError for half a character (a lone surrogate); never shows it."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{what} holds half a character (a lone surrogate), which no URL can hold.",
            "Decode what it was read from as UTF-8.",
        ) from None


def _split(text: str) -> SplitResult:
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(
            "No base URL: it is empty.",
            "Pass base_url='http://localhost:8000' or set OPEA_API_URL.",
        )
    if any(ord(char) <= 32 or ord(char) == 127 for char in text.strip()):
        raise ConfigurationError(
            "The base URL holds blanks or control characters.", "Write it as http://host:port/path."
        )
    check_encodable("The base URL", text)
    if "://" not in text:
        raise ConfigurationError(
            f"The base URL {text.strip().rpartition('@')[2].partition('?')[0]!r} has no scheme.",
            "Write http:// or https:// in front of it.",
        )
    try:
        split = urlsplit(text.strip())
        port = split.port
    except ValueError as error:
        raise ConfigurationError(
            f"The base URL cannot be read: {_harmless(error)}.",
            "Write it as http://host:port/path.",
        ) from None
    if split.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"The base URL has the scheme {split.scheme!r}.",
            "Only http:// and https:// are spoken.",
        )
    if not split.hostname or port == 0:
        raise ConfigurationError(
            f"The base URL {redact_url(text.strip())!r} names no host and port.",
            "Write it as http://host:port/path.",
        )
    return split


def _harmless(error: ValueError) -> str:
    """What kind of thing is wrong.

    urlsplit quotes its input, which may hold a password: no more than this is said.
    """
    return (
        "its port is no number from 1 to 65535" if "ort" in str(error) else "its host is malformed"
    )


def _base(split: SplitResult, path: str) -> BaseURL:
    host = split.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if split.port and split.port != {"http": 80, "https": 443}[split.scheme]:
        netloc += f":{split.port}"
    return BaseURL(
        origin=f"{split.scheme}://{netloc}",
        path=path,
        query=tuple(parse_qsl(split.query, keep_blank_values=True)),
        user=unquote(split.username) if split.username is not None else None,
        password=unquote(split.password) if split.password is not None else None,
    )
