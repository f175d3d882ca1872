"""Capability profiles: reading them from files and documents, and writing them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.errors import ConfigurationError

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
        return reduce(lambda below, above: below.below(above), map(read_profile, value))
    if isinstance(value, str | Path):
        value = _document(Path(value).expanduser())
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


def _document(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"The profile {path} cannot be read ({type(error).__name__}).", _WRITE_ONE
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"The profile {path} is no JSON.", _WRITE_ONE) from error
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"The profile {path} is no JSON object.", _WRITE_ONE)
    return found
