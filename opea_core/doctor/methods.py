"""``OPEA.diagnose`` and what is known of an endpoint."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from opea_core.errors import ConfigurationError, nearest
from opea_core.lazy_imports import importing

if TYPE_CHECKING:
    from opea_core.capabilities import Capabilities
    from opea_core.config import Endpoint
    from opea_core.doctor.diagnosis import Diagnosis
    from opea_core.doctor.known import Known
    from opea_core.doctor.run import Progress
    from opea_core.engine import Engine
    from opea_core.flow.discover import Show


class DiagnoseMethods:
    """Finding out what servers can do, and what is known of them."""

    _engine: Engine

    def diagnose(
        self, endpoint: str | None = None, *, progress: Progress | None = None
    ) -> Diagnosis:
        """Ask a server with at most 40 tiny requests what works; it costs a few thousand tokens.

        ``endpoint`` is the label of the one to ask, the first if not given; the model is the one
        that was set, or the only one there. ``progress`` is told before each request how many were
        sent, and what the next is about. Nothing is changed here: give the ``capabilities`` that
        were found to a new object. Raises the error of the first request if nothing answers.
        """
        chosen, began = self._endpoint(endpoint), time.monotonic()
        with importing:
            from opea_core.doctor import plan, run
        prober = run.Prober(self._engine, chosen)
        steps = plan.diagnose_flow(chosen, self._named_model(chosen), prober.shown)
        known = prober.run(steps, progress)
        return _diagnosis(chosen, known, time.monotonic() - began, prober.shown)

    async def adiagnose(
        self, endpoint: str | None = None, *, progress: Progress | None = None
    ) -> Diagnosis:
        """``diagnose`` for async code."""
        chosen, began = self._endpoint(endpoint), time.monotonic()
        with importing:
            from opea_core.doctor import plan, run
        prober = run.Prober(self._engine, chosen)
        steps = plan.diagnose_flow(chosen, self._named_model(chosen), prober.shown)
        known = await prober.arun(steps, progress)
        return _diagnosis(chosen, known, time.monotonic() - began, prober.shown)

    def capabilities(self, endpoint: str | None = None, model: str | None = None) -> Capabilities:
        """What requests to an endpoint are made by: what was set, and what its refusals taught.

        ``endpoint`` is a label, the first one if not given; ``model`` the model, the one of the
        endpoint if not given.
        """
        chosen = self._endpoint(endpoint)
        state = self._engine.state_of(chosen)
        name = model or chosen.model or self._engine.settings.model
        return state.capabilities(name, time.monotonic_ns())

    def _endpoint(self, label: str | None) -> Endpoint:
        endpoints = self._engine.settings.endpoints
        found = [e for e in endpoints if label in (None, e.label)]
        if not found:
            known = [e.label for e in endpoints]
            raise ConfigurationError(
                f"There is no endpoint {label!r}.{nearest(str(label), known)}",
                f"There are: {', '.join(known)}.",
            )
        return found[0]

    def _named_model(self, endpoint: Endpoint) -> str | None:
        settings = self._engine.settings
        return endpoint.model or (settings.model if settings.model_given else None)


def _diagnosis(endpoint: Endpoint, known: Known, seconds: float, shown: Show) -> Diagnosis:
    # A server may echo the key anywhere.
    from opea_core.doctor.diagnosis import Diagnosis
    from opea_core.doctor.profile import capabilities_of

    rows = known.rows.values()
    return Diagnosis(
        url=f"{endpoint.url.origin}{known.base}",
        model=shown(endpoint, known.model),
        rows=tuple(replace(row, detail=shown(endpoint, row.detail)) for row in rows),
        capabilities=capabilities_of(known),
        requests=known.requests,
        seconds=round(seconds, 2),
    )
