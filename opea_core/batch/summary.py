"""What a batch came to: counts, one example of each failure and what to do, and how to go on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

_ADVICE = {
    "AuthenticationError": "Set the right key (OPEA_API_KEY, or api_key in --endpoints).",
    "PermissionDeniedError": "The key may not use this model or path; use another one.",
    "NotFoundError": "Name a model that the server has (--model), and check the URL.",
    "QuotaExceeded": "The account has no credit left; add some, or wait.",
    "RateLimited": "Run it again later; the rows are tried again.",
    "ContextOverflowError": "Shorten these rows, or use a model with a larger window.",
    "InvalidRequestError": "The server does not take these rows as they are; mend them.",
    "ConfigurationError": "Mend these rows of the input.",
    "RefusalError": "The model refuses these rows.",
    "EndpointConnectionError": "Check that the server runs, and run it again.",
    "EndpointTimeout": "Run it again; or raise OPEA_TIMEOUT.",
    "NoEndpointAvailable": "Check that the servers run, and run it again.",
}
_DOUBTS = {
    "length": "cut off at max_tokens",
    "content_filter": "cut by a content filter",
    "empty": "empty",
    "schema": "not of the schema",
}


@dataclass
class FailureKind:
    """The failures of one class of error."""

    count: int
    example_id: str
    message: str
    retryable: bool
    """Whether the same command tries them again."""

    @property
    def rows(self) -> str:
        """How many, in words."""
        return f"{self.count:,} row{'s' if self.count != 1 else ''}"


@dataclass
class Summary:
    """What a batch came to. Counts are of rows of the input, as far as it was read."""

    output: str
    errors_file: str | None = None
    """Where the failures are, if there are any."""
    rows: int = 0
    answered: int = 0
    """Rows that have an answer in the output, those of earlier runs included."""
    there_before: int = 0
    """How many of these had it before this run."""
    suspect: dict[str, int] = field(default_factory=dict)
    """Answers in the output that are cut off, filtered, empty or not of the schema, by reason."""
    failed: dict[str, FailureKind] = field(default_factory=dict)
    """Rows that have no answer and failed, by class of error."""
    changed: int = 0
    """Rows whose request is another than the one answered in the output; they were not asked."""
    changed_ids: list[str] = field(default_factory=list)
    """The first ten of them."""
    prompt_tokens: int = 0
    """Of this run, as the servers counted them."""
    completion_tokens: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    """Why it ended before the end of the input, if it did."""
    interrupted: bool = False
    warnings: list[str] = field(default_factory=list)
    command: str | None = None
    """The command that goes on, for a run of the command line."""

    @property
    def failures(self) -> int:
        """All failed rows together."""
        return sum(kind.count for kind in self.failed.values())

    @property
    def exit_code(self) -> int:
        """0 if every row has its answer, 130 if it was interrupted, else 1."""
        if self.interrupted:
            return 130
        # Suspect answers are answers: they are marked and counted, and the run is done.
        return 1 if self.failed or self.changed or self.stopped else 0

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, ``exit_code`` and ``failures`` included."""
        return {
            **dataclasses.asdict(self),
            "failures": self.failures,
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """The summary as people read it."""
        here = self.answered - self.there_before
        before = f" ({self.there_before:,} before, {here:,} now)" if self.there_before else ""
        found = [f"{self.answered:,} of {self.rows:,} rows answered{before}, {self._pace(here)}"]
        if self.suspect:
            parts = (f"{count:,} {_DOUBTS.get(name, name)}" for name, count in self.suspect.items())
            found.append(f"suspect    {', '.join(parts)} (marked in the output)")
        for name, kind in self.failed.items():
            found += [
                f"failed     {kind.rows}: {name}, for example {kind.example_id}:",
                f"           {kind.message}",
                f"           {_advice(name, kind.retryable)}",
            ]
        if self.changed:
            found.append(
                f"changed    {self.changed:,} rows are not the ones that were answered "
                f"({', '.join(self.changed_ids)}{', ...' if self.changed > 10 else ''}): "
                "not asked. --redo-changed asks them."
            )
        found += [f"warning    {warning}" for warning in self.warnings]
        found.append(f"answers    {self.output}")
        if self.errors_file is not None:
            found.append(f"failures   {self.errors_file}")
        if self.interrupted:
            found.append("stopped    interrupted; rows without an answer are still to be asked")
        if self.stopped is not None:
            found.append(f"stopped    {self.stopped}")
        if self.command is not None and self.exit_code:
            found.append(f"to go on   {self.command}")
        return found

    def _pace(self, rows: int) -> str:
        tokens = f"{self.prompt_tokens:,} tokens in, {self.completion_tokens:,} out, "
        pace = f" ({rows / self.seconds:,.1f} rows/s)" if self.seconds > 0 and rows else ""
        return f"{tokens}{spoken(self.seconds)}{pace}"


def _advice(name: str, may_help: bool) -> str:
    advice = _ADVICE.get(name, "The same command tries them again." if may_help else "")
    return advice if may_help else f"{advice} Not tried again without --retry-failed.".strip()


def spoken(seconds: float) -> str:
    """A duration as people say it: 4.2 s, 3:07, 2:05:00."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
