"""Sending a refused request in another form, and remembering what an endpoint takes.

What is changed is decided from the server's words (``wire/refusal.py``). A bare 404 has none: it
may be a deploy or a wrong URL, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from opea_core import errors
from opea_core.capabilities import Capabilities
from opea_core.flow import telemetry
from opea_core.flow.call_log import CallLog
from opea_core.flow.effects import Effect, Emit, Outcome, Reply, Request, Send
from opea_core.flow.error_context import ErrorContext
from opea_core.flow.prepare import Context, models_request
from opea_core.policy.endpoint import EndpointState
from opea_core.policy.permit import Permit
from opea_core.policy.retry import Failure, Phase
from opea_core.wire import jsontext, refusal
from opea_core.wire.models import read_models

# A server that refuses everything must end in an error (A3).
_MOST_CHANGES = 16
MAY_TELL = frozenset({400, 403, 404, 405, 409, 413, 415, 422, 424, 500, 501, 502})
"""Statuses under which servers say that they do not take something.

Whether they do is in their words.
"""


@dataclass(slots=True)
class Learning:
    """What one endpoint is known to take, and what is learned of it in a call."""

    endpoint: EndpointState
    model: str
    may_adapt: bool
    known: Capabilities
    learned: Capabilities

    @classmethod
    def begin(
        cls, endpoint: EndpointState, model: str, may_adapt: bool, log: CallLog, at: int
    ) -> Learning:
        """What is known when a permit was granted."""
        # Tests and proxies need exactly what was written (A10).
        known = (
            endpoint.capabilities(model, at)
            if may_adapt
            else endpoint.config.capabilities.as_given()
        )
        return cls(endpoint, model, may_adapt, known, log.learned.get(endpoint, known))

    def keep(self, log: CallLog, at: int) -> None:
        """The endpoint took what was sent: the next calls are sent so, too."""
        if self.learned is not self.known:
            # What was about this conversation only must not be remembered for others (D7).
            passing = {name: getattr(self.known, name) for name in log.passing}
            self.endpoint.learn(self.model, self.learned.replace(**passing), at)

    def after(
        self,
        failure: Failure,
        request: Request,
        where: ErrorContext,
        log: CallLog,
    ) -> Generator[Effect, Outcome, bool]:
        """Whether the request goes out again in another form."""
        if not self.may_adapt:
            return False
        adapted = _adapted(failure, request, where, self.learned, log)
        if adapted is None:
            return False
        self.learned = log.learned[self.endpoint] = adapted.capabilities
        log.passing |= adapted.passing
        log.changes.extend(adapted.reports)
        done = log.changed.get(self.endpoint, frozenset())
        log.changed[self.endpoint] = done | set(adapted.reports)
        # The caller must be able to see that the request changed (A9).
        for report in adapted.reports:
            call, label = where.spec.call_id, self.endpoint.label
            yield Emit(telemetry.parameter_dropped(log.at, call, label, report))
        return True


def _adapted(
    failure: Failure,
    request: Request,
    where: ErrorContext,
    known: Capabilities,
    log: CallLog,
) -> refusal.Adapted | None:
    """What to change after a failure, if the server's words name something that was sent."""
    # An error inside a stream has no status.
    status, done = (
        failure.error.status_code or 400,
        log.changed.get(where.endpoint, frozenset[str]()),
    )
    # Several servers have it beside /v1, which only a 404 shows (A17).
    if where.spec.kind == "rerank" and status == 404 and not failure.model_missing:
        return refusal.elsewhere(where.endpoint.url.path, known)
    if (
        request.content is None
        or len(done) >= _MOST_CHANGES
        or isinstance(failure.error, errors.ContextOverflowError)
    ):
        return None
    if failure.phase not in (Phase.STATUS, Phase.FIRST, Phase.BODY) or not (
        status < 400 or status in MAY_TELL
    ):
        return None
    any_form = where.spec.output_schema is not None
    # What a person wrote down outranks what a refusal suggests (A18).
    reasoning_is_set = where.endpoint.config.capabilities.send_reasoning != "auto"
    return refusal.adapt(
        request.fields or jsontext.decode(request.content),
        failure.error.body or "",
        known,
        any_form,
        reasoning_is_set,
        done,
    )


def listed_models(
    where: ErrorContext, permit: Permit, context: Context
) -> Generator[Effect, Outcome, list[str] | None]:
    """The models that the server has, asked once and briefly; None if it does not tell."""
    request = models_request(where.spec, context, where)
    # The error should already hold the answer to the caller's next question (E10).
    outcome = yield from Send(permit, request, 0, quiet=True)
    if not isinstance(outcome, Reply) or outcome.response_reader.problem is not None:
        return None
    try:
        return [model.id for model in read_models(outcome.response_reader.document)]
    except errors.BadAnswerError:
        return None
