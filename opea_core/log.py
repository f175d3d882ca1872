"""The built-in hook: events as log lines of the logger ``opea_core``."""

from __future__ import annotations

import logging
import os
import sys

from opea_core import events
from opea_core.errors import ConfigurationError
from opea_core.policy import SECOND

logger = logging.getLogger("opea_core")
logger.addHandler(logging.NullHandler())

_QUIET = 60 * SECOND  # one warning a minute per endpoint and kind
_LONG_WAIT = 5.0


class LogHook:
    """Writes events to the log; holds back warnings that repeat within a minute."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def __call__(self, event: events.Event) -> None:
        """Log one event, at the level its kind has."""
        level, text = _line(event)
        if level == logging.WARNING and self._repeats(event):
            return
        if text and logger.isEnabledFor(level):
            # Its reasons name them.
            named = event.endpoint and not isinstance(event, events.CallsHeld)
            logger.log(level, "%s%s", f"{event.endpoint}: " if named else "", text)

    def _repeats(self, event: events.Event) -> bool:
        key = (event.endpoint, type(event).__name__)
        last = self._last.get(key)
        if last is not None and event.at - last < _QUIET:
            return True
        self._last[key] = event.at
        return False


def _line(event: events.Event) -> tuple[int, str]:  # noqa: C901 - a table
    match event:
        case events.BreakerStateChanged(after="open"):
            return (
                logging.WARNING,
                f"failing; left alone for {event.seconds:.1f} s, calls go elsewhere or wait",
            )
        case events.BreakerStateChanged(after="closed"):
            return logging.WARNING, "recovered"
        case events.CooldownStarted():
            return (
                logging.WARNING,
                f"asked for a pause; calls wait or go elsewhere for {event.seconds:.1f} s",
            )
        case events.EndpointDeprioritized():
            return logging.WARNING, f"used last from now on: {event.reason}"
        case events.RetryScheduled(delay=float(delay)) if delay > _LONG_WAIT:
            return logging.WARNING, f"{event.reason}: next attempt in {delay:.1f} s"
        case events.CallsHeld():
            long = event.seconds >= _LONG_WAIT
            waited = f", {event.seconds:.0f} s so far" if long else ""
            return (
                logging.WARNING if long else logging.INFO
            ), f"{event.waiting} calls wait{waited} ({event.reason})"
        case events.CallsWait():
            return (
                logging.WARNING,
                (
                    f"calls wait {event.seconds:.0f} s for {event.places} places;"
                    " if the server takes more, raise max_concurrent"
                ),
            )
        case events.SharedLimitsLost():
            return (
                logging.WARNING,
                (
                    f"the store of shared limits is away ({event.reason}); each of the"
                    f" {event.members} processes known keeps to an equal part"
                ),
            )
        case events.SharedLimitsBack():
            return logging.WARNING, "the store of shared limits is back"
        case events.ParameterDropped():
            return (
                logging.WARNING,
                f"the server refuses {event.parameter!r}; it is sent without from now on",
            )
        case events.AnswerOdd():
            return logging.WARNING, event.warning
        case events.HookFailed():
            return logging.WARNING, f"a hook raised {event.error}; the call is not affected"
        case events.RetryScheduled():
            where = "elsewhere" if event.delay is None else f"in {event.delay:.2f} s or elsewhere"
            return logging.INFO, f"attempt {event.attempt} failed ({event.reason}); again {where}"
        case events.ModelDiscovered():
            return logging.INFO, f"no model was given; using {event.model!r}, which it serves"
        case events.StreamBroke():
            return (
                logging.INFO,
                f"stream broke off after {event.characters} characters: {event.reason}",
            )
        case events.RetrySuppressed():
            return logging.INFO, f"no further retry: {event.reason}"
        case events.TestFailed():
            return logging.INFO, f"endpoint test failed: {event.reason}"
        case events.AttemptEnded():
            return (
                logging.DEBUG,
                f"attempt {event.attempt}: {event.error or 'ok'} in {event.seconds:.3f} s",
            )
    return logging.DEBUG, ""


def wants_attempts() -> bool:
    """Whether anybody reads the DEBUG lines, which come with every attempt."""
    return logger.isEnabledFor(logging.DEBUG)


def attach_from_env() -> None:
    """``OPEA_LOG=info|debug`` writes the log to stderr, for people without logging set up."""
    level = os.environ.get("OPEA_LOG", "").upper()
    if level not in ("", "INFO", "DEBUG", "WARNING"):
        raise ConfigurationError("OPEA_LOG must be debug, info or warning.")
    if level and not any(isinstance(h, logging.StreamHandler) for h in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(level)
