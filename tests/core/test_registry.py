"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from opea_core import (
    OPEA,
    BaseApiBackend,
    ConfigurationError,
    Endpoint,
    create_api_backend,
    find_compatible_backend,
    get_available_backends,
    register_backend,
    registry,
)


class Echo(BaseApiBackend):
    """A backend that implements what it must, and no more."""

    def create_endpoint_handler(self, endpoint_url: str | None = None) -> Callable[..., Any]:
        return lambda data: data

    def test_endpoint(self, endpoint_url: str | None = None) -> bool:
        return endpoint_url is None

    def make_post_request(
        self, data: Mapping[str, Any], api_key: str | None = None, **options: Any
    ) -> Any:
        return {**data, **options, "api_key": api_key}

    def make_stream_request(self, data: Mapping[str, Any], **options: Any) -> Iterator[Any]:
        yield from data

    def chat(self, messages: Any, **options: Any) -> Any:
        return messages

    def stream_chat(self, messages: Any, **options: Any) -> Iterator[Any]:
        yield from messages

    def is_compatible_model(self, model: str) -> bool:
        return model.startswith("echo-")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_ours_is_there() -> None:
    assert "opea" in get_available_backends()
    assert get_available_backends() == sorted(get_available_backends())


def test_create_by_name_with_resources_and_metadata() -> None:
    opea = create_api_backend(
        "opea",
        {"r": 1},
        {"opea_api_url": "http://localhost:9999", "opeaApiKey": "a-key", "opea_model": "m"},
    )
    assert isinstance(opea, OPEA)
    endpoint: Endpoint = opea.endpoints[0]
    assert (endpoint.base_url, endpoint.api_key.get_secret_value(), opea.settings.model) == (
        "http://localhost:9999",
        "a-key",
        "m",
    )
    assert opea.resources == {"r": 1}


@pytest.mark.parametrize("name", ["groq", "opeaa", "", None, 5])
def test_an_unknown_name_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"There are:.*opea"):
        create_api_backend(name)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'opea'"):
        create_api_backend("opae")


def test_register_and_create() -> None:
    register_backend("echo", Echo)
    assert "echo" in get_available_backends()
    assert isinstance(create_api_backend("echo"), Echo)


def test_register_again_replaces() -> None:
    class Other(Echo):
        pass

    register_backend("echo", Echo)
    register_backend("echo", Other)
    assert type(create_api_backend("echo")) is Other


@pytest.mark.parametrize(
    ("name", "cls"),
    [("", Echo), (None, Echo), ("x", object), ("x", Echo.__init__), ("x", None), ("x", int)],
)
def test_what_is_no_backend_is_refused(name: Any, cls: Any) -> None:
    with pytest.raises(ConfigurationError):
        register_backend(name, cls)


@pytest.mark.parametrize(
    ("model", "cls"),
    [("gpt-3.5-turbo", OPEA), ("echo-1", Echo), ("unknown-model", None), ("", None)],
)
def test_find_compatible_backend(model: str, cls: type | None) -> None:
    register_backend("echo", Echo)
    found = find_compatible_backend(model)
    assert type(found) is (cls or type(None))


def test_the_first_that_says_yes() -> None:
    class Greedy(Echo):
        def is_compatible_model(self, model: str) -> bool:
            return True

    register_backend("a-greedy-one", Greedy)
    assert isinstance(find_compatible_backend("gpt-4"), OPEA)  # registered earlier
    assert isinstance(find_compatible_backend("anything"), Greedy)


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("from-a-package", "test_registry:Echo", registry.ENTRY_POINTS)
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda *, group: [entry] if group == "opea_core.backends" else [],
    )
    assert "from-a-package" in get_available_backends()
    assert type(create_api_backend("from-a-package")).__name__ == "Echo"


def test_an_entry_point_that_is_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("broken", "json:dumps", registry.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [entry])
    with pytest.raises(ConfigurationError, match="broken"):
        create_api_backend("broken")


async def test_the_async_twins_of_a_plain_backend_run_in_a_thread() -> None:
    echo = Echo()
    assert await echo.achat(["a"]) == ["a"]
    assert await echo.atest_endpoint()
    assert await echo.amake_post_request({"a": 1}, "key", b=2) == {"a": 1, "b": 2, "api_key": "key"}
    assert [chunk async for chunk in echo.astream_chat(["a", "b"])] == ["a", "b"]
    assert [chunk async for chunk in echo.amake_stream_request({"a": 1})] == ["a"]


def test_an_incomplete_backend_cannot_be_made() -> None:
    class Half(BaseApiBackend):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]
