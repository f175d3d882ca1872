"""Asking which model a server has, where nobody named one: at the first call, once for all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opea_core import errors
from opea_core.flow import telemetry
from opea_core.flow.discover import Discovery, discover_flow
from opea_core.lazy_imports import importing
from opea_core.policy import SECOND
from opea_core.policy.retry import Phase

if TYPE_CHECKING:
    from collections.abc import Generator

    from opea_core.calls import Call
    from opea_core.engine import Engine
    from opea_core.transport.once import Once

_NOT_OF_THE_LIST = frozenset({401, 403, 500, 502, 503, 504})
"""Statuses that say nothing of whether there is a list of models."""
_WITHOUT = frozenset({"models", "document"})
"""Kinds of calls that need no model."""


class ModelQuestion:
    """Whether it is still to be asked, and asking it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._once: Once | None = None
        self._has_no_answer = False
        """Whether the servers list no models; they get the default then, as nobody can say more."""

    def is_open(self, call: Call) -> bool:
        """Whether a call needs a model, and neither it nor anybody else names one."""
        engine, spec = self._engine, call.spec
        return (
            engine.settings.asks_for_model
            and spec.kind not in _WITHOUT
            and spec.raw is None
            and spec.retry.max_retries > 0  # else exactly one request was asked for
            and not spec.body.get("model")
            and self._is_unanswered()
        )

    def _is_unknown(self) -> bool:
        return any(endpoint.model is None for endpoint in self._engine.settings.endpoints)

    def _is_unanswered(self) -> bool:
        return self._is_unknown() and not self._has_no_answer

    def ask(self, call: Call) -> None:
        """Ask, or wait for another call that asks; the time limits are those of the call.

        Who asked may have been interrupted: then the next one does.
        """

        def work() -> None:
            if self._is_unanswered():  # it may have been found out a moment ago
                self._engine.found(self._engine.run_all(self._flow(call)))

        while self._is_unanswered() and (patience := _patience(call)) != 0:
            self._one_at_a_time().run(work, patience)

    async def aask(self, call: Call) -> None:
        """``ask`` for async code."""

        async def work() -> None:
            if self._is_unanswered():
                self._engine.found(await self._engine.arun_all(self._flow(call)))

        while self._is_unanswered() and (patience := _patience(call)) != 0:
            await self._one_at_a_time().arun(work, patience)

    def _one_at_a_time(self) -> Once:
        if self._once is None:
            with importing:
                from opea_core.transport.once import Once

                self._once = self._once or Once()
        return self._once

    def _flow(self, call: Call) -> Generator[Any, Any, Discovery]:
        """The discovery of the endpoints; what cannot be found out must be named."""
        calls, settings = self._engine.calls, self._engine.settings
        spec = call.spec
        options: dict[str, Any] = {
            "max_retries": spec.retry.max_retries,
            "recovery_wait": spec.recovery_wait,
            "priority": call.priority,
        }
        if spec.timeouts is not None:
            options["timeout"] = spec.timeouts

        def ask_models(label: str) -> Call:
            made = calls.models({**options, "endpoint": label})
            made.spec.deadline = spec.deadline
            return made

        try:
            return (
                yield from discover_flow(
                    settings.endpoints, None, ask_models, calls.props, self._engine.shown
                )
            )
        except (
            errors.RequestError,
            errors.ServerError,
            errors.EndpointConnectionError,
        ) as error:
            if not _lists_nothing(error):
                raise
            # It is there and lists nothing: what it says to the call itself is worth more.
            self._has_no_answer = True
            label = settings.endpoints[0].label
            self._engine.emitter(
                telemetry.model_not_listed(
                    time.monotonic_ns(), label, settings.model, error.status_code
                )
            )
            return Discovery(settings.endpoints, frozenset())


def _lists_nothing(error: errors.OPEAError) -> bool:
    """Whether a server is there, and has no list of models.

    A small one may close the connection at a path that it does not know. What a caller's transport
    raised is a cause of its own.
    """
    if isinstance(error, errors.EndpointConnectionError):
        phases = {attempt.phase for attempt in error.attempts}
        return phases == {Phase.MAYBE_SENT.value} and error.__cause__ is None
    return error.status_code not in _NOT_OF_THE_LIST


def _patience(call: Call) -> float | None:
    """Seconds that a call may wait for the answer; None for ever, 0 if its time is over."""
    deadline = call.spec.deadline
    return None if deadline is None else max(0.0, (deadline - time.monotonic_ns()) / SECOND)
