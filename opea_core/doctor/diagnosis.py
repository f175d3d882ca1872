"""The result of a diagnosis: its rows, the profile, and what to write down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opea_core.capabilities import Capabilities
from opea_core.display_text import one_line
from opea_core.doctor.outcome import Row
from opea_core.profiles import as_document


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a server can do, as far as it could be found out by asking it."""

    url: str
    """The base URL that answers, without user info and query."""
    model: str
    rows: tuple[Row, ...]
    """``name``, ``value`` (``yes``, ``no``, ``ignored``: accepted and not done, ``unknown``), and
    ``detail``, with the server's words."""
    capabilities: Capabilities
    """What was found as a profile: for ``OPEA(capabilities=...)``."""
    requests: int
    """How many were sent."""
    seconds: float

    def __getitem__(self, name: str) -> Row:
        """The row of a name; KeyError if nothing was asked about it."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def is_usable(self) -> bool:
        """Whether it can be used for chat or for embeddings."""
        return any(r.value == "yes" for r in self.rows if r.name in ("chat", "embeddings"))

    def as_dict(self) -> dict[str, Any]:
        """All of it in the types of JSON."""
        rows = [{"name": r.name, "value": r.value, "detail": r.detail} for r in self.rows]
        return {**self._profile(), "requests": self.requests, "seconds": self.seconds, "rows": rows}

    def markdown(self) -> str:
        """The rows as a table."""
        lines = ["| | | |", "|---|---|---|"]
        for row in self.rows:
            detail = one_line(row.detail).replace("\\", "\\\\").replace("|", "\\|")
            lines.append(f"| {row.name} | {row.value} | {detail} |")
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON, for ``OPEA(capabilities=path)``. Raises OSError."""
        text = json.dumps(self._profile(), ensure_ascii=False, indent=2)
        Path(path).write_text(f"{text}\n", encoding="utf-8")

    def _profile(self) -> dict[str, Any]:
        return as_document(self.capabilities, url=self.url, model=self.model)

    def settings(self, profile: str | Path | None = None) -> dict[str, str]:
        """Lines to paste, by what they are for; ``profile`` is the file that was saved."""
        known = f", capabilities={str(profile)!r}" if profile is not None else ""
        url, model = self.url, self.model
        return {
            "Python": f"OPEA({url!r}, model={model!r}{known})",
            "LangChain": f"ChatOPEA(base_url={url!r}, model={model!r}{known})",
            "LlamaIndex": f"OPEALLM(api_base={url!r}, model={model!r}{known})",
            "command line": f"opea chat --url {url} --model {model}",
        }
