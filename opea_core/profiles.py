"""Capability profiles: reading them from files and documents, and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.errors import ConfigurationError
from opea_core.json_file import read_json_file

FORM = 1
"""The form of the document; one with a higher number is of a later version."""
_WRITE_ONE = "opea doctor URL --save FILE writes one."


def as_document(capabilities: Capabilities, **about: Any) -> dict[str, Any]:
    """A profile in the types of JSON: what was set, and nothing else."""
    values = {name: getattr(capabilities, name) for name in sorted(capabilities.model_fields_set)}
    plain = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in values.items()
    }
    return {"opea_profile": FORM, **about, "capabilities": plain}


def read_profile(value: Any) -> Capabilities:
    """A profile: a ``Capabilities``, a mapping of its fields, a document of a profile, or a path.

    Of a list of them, later ones outrank earlier ones. Raises ConfigurationError for a file that
    cannot be read, and for an unknown field.
    """
    if isinstance(value, Capabilities):
        return value
    if isinstance(value, list | tuple) and value:
        # A list in a list may be the same one, which has no end.
        if any(isinstance(layer, list | tuple) for layer in value):
            raise ConfigurationError(
                "capabilities= is a list in a list.", "Write all profiles in one list."
            )
        return reduce(lambda below, above: below.below(above), map(read_profile, value))
    if isinstance(value, str | Path):
        value = _document(value)
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"capabilities= takes a Capabilities, a dict or the path of a profile, not"
            f" {type(value).__name__}.",
            _WRITE_ONE,
        )
    form = value.get("opea_profile")
    if form is None:
        return Capabilities(**{str(name): field for name, field in value.items()})
    fields = value.get("capabilities")
    if form != FORM or not isinstance(fields, Mapping):
        raise ConfigurationError(
            f"The profile is of form {form!r}; this version reads form {FORM}.", _WRITE_ONE
        )
    return Capabilities(**{str(name): field for name, field in fields.items()})


def _document(path: str | Path) -> Any:
    found = read_json_file(path, "The profile", _WRITE_ONE)
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"The profile {path} is no JSON object.", _WRITE_ONE)
    return found
