"""Words that the rows of the table share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fault_table import Outcome, fails

from opea_core import RetryPolicy, Timeouts, errors

CONNECTION, TIMEOUT, BAD = (
    errors.EndpointConnectionError,
    errors.EndpointTimeout,
    errors.BadAnswerError,
)
PARTIAL = r"error\.partial"
USUAL_HINT = r"Is the server running\?"
Options = Mapping[str, Any]


def limits(**seconds: float) -> Options:
    """Time limits, and one retry."""
    return {
        "timeout": Timeouts(**seconds),
        "retry": RetryPolicy(max_retries=1, initial_delay=0.005, jitter="none"),
    }


def breaks(*says: str, **more: Any) -> Outcome:
    """A stream that breaks off after part of it was handed out: it is not asked for again."""
    return fails(errors.StreamInterrupted, "broke off after", PARTIAL, *says, **more)
