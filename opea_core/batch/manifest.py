"""Under which conditions an output was made: a file beside it, and what differs from last time."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from opea_core.batch.journal import replacing
from opea_core.display_text import fit
from opea_core.errors import ConfigurationError
from opea_core.json_file import read_json_file
from opea_core.version import __version__

_KEPT, _SHOWN = 50, 100
_COMPARED = ("servers", "model", "options", "template", "system", "schema")
# Values of headers and queries are secrets (K1).
_SECRET = ("extra_headers", "extra_query")


class Manifest:
    """What a run notes of itself; secrets are not part of it."""

    def __init__(self, path: Path, output: str, conditions: Mapping[str, Any]) -> None:
        """Read what earlier runs noted; raises ConfigurationError if they wrote another output."""
        self._path = path
        self._conditions = dict(conditions)
        self._answered: list[str] = []
        found = _read(path)
        self._runs: list[Any] = [run for run in _list(found.get("runs")) if isinstance(run, dict)]
        other = found.get("output")
        # Two outputs of one stem would share all the files beside them.
        if _is_name(other) and other != output and _has_content(path.with_name(other)):
            raise ConfigurationError(
                f"{path.name} belongs to {other}, not to {output}.",
                "Choose a name whose part before the dot is another one.",
            )
        self._output = output
        before = self._runs[-1] if self._runs else {}
        self._answered = [str(name) for name in _list(before.get("answered_by"))]
        self.differences = [
            f"{name} is now {_short(self._conditions.get(name))}, and was {_short(before[name])}"
            for name in _COMPARED
            if name in before and before[name] != self._conditions.get(name)
        ]
        """What is different from the last run that this one goes on with."""
        self._run: dict[str, Any] = {
            "started": _now(),
            "opea_core": __version__,
            "python": platform.python_version(),
            **self._conditions,
            "answered_by": self._answered,
        }

    def answered_by(self, model: str) -> str | None:
        """Note how the server names its model; returns a warning if it is a new name."""
        if not model or model in self._answered:
            return None
        others, self._answered = self._answered, [*self._answered, model]
        self._run["answered_by"] = self._answered
        names = ", ".join(fit(name, _SHOWN) for name in others)
        told = f"answers now come from {fit(model, _SHOWN)}, and came from {names}"
        return told if others else None

    def write(self, **more: Any) -> None:
        """Put it in place; raises OSError."""
        self._run |= more
        document = {"output": self._output, "runs": [*self._runs[-_KEPT:], self._run]}
        with replacing(self._path) as file:
            text = json.dumps(document, indent=1, ensure_ascii=False, default=str)
            # Half a character goes as JSON escapes it, whoever wrote it.
            file.write(text.encode("utf-8", "backslashreplace"))


def _read(path: Path) -> Mapping[str, Any]:
    """What stands in it; nothing where it is not there or was damaged, as it only warns."""
    try:
        found = read_json_file(path, "The manifest")
    except ConfigurationError:
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and Path(value).name == value


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:  # such as for a name that is too long
        return False


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of calls without what may be a secret."""
    return {name: "***" if name in _SECRET else value for name, value in sorted(options.items())}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
