"""Backends by name.

Other packages add theirs with ``register_backend`` or an entry point of the group
``opea_core.backends`` whose name is the backend's and whose value is its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opea_core.backend import BaseApiBackend
from opea_core.errors import ConfigurationError, nearest

ENTRY_POINTS = "opea_core.backends"
_registered: dict[str, type[BaseApiBackend]] = {}


def _known() -> dict[str, type[BaseApiBackend]]:
    """What is registered; ``OPEA`` always, and first."""
    if not _registered:
        from opea_core.opea import OPEA

        _registered["opea"] = OPEA
    return _registered


def _entry_points() -> Any:
    from importlib.metadata import entry_points  # reads the file system: only when asked

    return entry_points(group=ENTRY_POINTS)


def register_backend(name: str, cls: type[BaseApiBackend]) -> None:
    """Add a backend, or replace the one of that name."""
    if not isinstance(name, str) or not name:
        raise ConfigurationError("A backend's name must be a string that is not empty.")
    if not (isinstance(cls, type) and issubclass(cls, BaseApiBackend)):
        raise ConfigurationError(f"The backend {name!r} must be a subclass of BaseApiBackend.")
    _known()[name] = cls


def get_available_backends() -> list[str]:
    """The names there are, sorted."""
    return sorted({*_known(), *(entry.name for entry in _entry_points())})


def create_api_backend(
    name: str, resources: Any = None, metadata: Mapping[str, Any] | None = None
) -> BaseApiBackend:
    """A backend by its name; ConfigurationError lists the names there are."""
    return _backend_class(name)(resources, metadata)


def find_compatible_backend(
    model: str, resources: Any = None, metadata: Mapping[str, Any] | None = None
) -> BaseApiBackend | None:
    """The first backend, in the order of registration, that says it serves the model.

    None if none does.
    """
    known = _known()
    for name in [*known, *(n for n in get_available_backends() if n not in known)]:
        backend = _backend_class(name)(resources, metadata)
        if backend.is_compatible_model(model):
            return backend
    return None


def _backend_class(name: str) -> type[BaseApiBackend]:
    known = _known()
    if name in known:
        return known[name]
    for entry in _entry_points():
        if entry.name != name:
            continue
        register_backend(name, entry.load())
        return known[name]
    names = get_available_backends()
    raise ConfigurationError(
        f"There is no backend {name!r}.{nearest(str(name), names)}",
        f"There are: {', '.join(names)}.",
    )
