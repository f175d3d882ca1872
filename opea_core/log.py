"""The built-in hook: events as log lines of the logger ``opea_core``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

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


Line: TypeAlias = tuple[int, str]


def _breaker(event: events.BreakerStateChanged) -> Line:
    if event.after == "open":
        seconds = f"{event.seconds:.1f} s"
        return _WARNING, f"failing; left alone for {seconds}, calls go elsewhere or wait"
    return (_WARNING, "recovered") if event.after == "closed" else _NOTHING


def _retry(event: events.RetryScheduled) -> Line:
    if event.delay is not None and event.delay > _LONG_WAIT:
        return _WARNING, f"{event.reason}: next attempt in {event.delay:.1f} s"
    where = "elsewhere" if event.delay is None else f"in {event.delay:.2f} s or elsewhere"
    return _INFO, f"attempt {event.attempt} failed ({event.reason}); again {where}"


def _held(event: events.CallsHeld) -> Line:
    is_long = event.seconds >= _LONG_WAIT
    waited = f", {event.seconds:.0f} s so far" if is_long else ""
    level = _WARNING if is_long else _INFO
    return level, f"{event.waiting} calls wait{waited} ({event.reason})"


_WARNING, _INFO, _DEBUG = logging.WARNING, logging.INFO, logging.DEBUG
_NOTHING: Line = (_DEBUG, "")
_LINES: dict[type[events.Event], Callable[[Any], Line]] = {
    events.BreakerStateChanged: _breaker,
    events.RetryScheduled: _retry,
    events.CallsHeld: _held,
    events.CooldownStarted: lambda event: (
        _WARNING,
        f"asked for a pause; calls wait or go elsewhere for {event.seconds:.1f} s",
    ),
    events.EndpointDeprioritized: lambda event: (
        _WARNING,
        f"used last from now on: {event.reason}",
    ),
    events.CallsWait: lambda event: (
        _WARNING,
        (
            f"calls wait {event.seconds:.0f} s for {event.places} places;"
            " if the server takes more, raise max_concurrent"
        ),
    ),
    events.SharedLimitsLost: lambda event: (
        _WARNING,
        (
            f"the store of shared limits is away ({event.reason}); each of the"
            f" {event.members} processes known keeps to an equal part"
        ),
    ),
    events.SharedLimitsBack: lambda _: (_WARNING, "the store of shared limits is back"),
    events.ParameterDropped: lambda event: (
        _WARNING,
        f"the server refuses {event.parameter!r}; it is sent without from now on",
    ),
    events.AnswerOdd: lambda event: (_WARNING, event.warning),
    events.HookFailed: lambda event: (
        _WARNING,
        f"a hook raised {event.error}; the call is not affected",
    ),
    events.ModelDiscovered: lambda event: (
        _INFO,
        f"no model was given; using {event.model!r}, which it serves",
    ),
    events.ModelNotListed: lambda event: (
        _WARNING,
        f"no model was given, and the server lists none; calls ask for {event.model!r}",
    ),
    events.StreamBroke: lambda event: (
        _INFO,
        f"stream broke off after {event.characters} characters: {event.reason}",
    ),
    events.RetrySuppressed: lambda event: (_INFO, f"no further retry: {event.reason}"),
    events.TestFailed: lambda event: (_INFO, f"endpoint test failed: {event.reason}"),
    events.AttemptEnded: lambda event: (
        _DEBUG,
        f"attempt {event.attempt}: {event.error or 'ok'} in {event.seconds:.3f} s",
    ),
}
"""How each event is written; those that are not here are not."""


def _line(event: events.Event) -> Line:
    write = _LINES.get(type(event))
    return _NOTHING if write is None else write(event)


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
