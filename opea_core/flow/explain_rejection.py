"""Why a call got no permit, as the error that its caller hears."""

from __future__ import annotations

from opea_core import errors
from opea_core.flow.effects import CallSpec
from opea_core.flow.explain_transport import LIMIT_HINTS
from opea_core.policy.scheduler import Reason, Rejection


def from_rejection(
    rejection: Rejection, spec: CallSpec, last: errors.OPEAError | None, waited: float
) -> errors.OPEAError:
    """The error for a call that got no permit."""
    reason = rejection.reason
    if last is not None:
        # The call's own error helps more than one about budget or time limit (R19, R22).
        if reason is Reason.BUDGET:
            return last.with_details(retry_suppressed="budget")
        if reason is Reason.DEADLINE:
            return last.with_details(deadline_exceeded=True)
        if reason is Reason.NO_OTHER:
            return last
    listed = "; ".join(rejection.endpoints)
    if reason is Reason.RATE_LIMITED or (
        reason is Reason.UNAVAILABLE and isinstance(last or rejection.cause, errors.RateLimited)
    ):
        # The words of this call's own refusal may be shown to it; those of others may not (W40).
        if isinstance(last, errors.RateLimited):
            return last
        return errors.RateLimited(
            f"Rate limited, nothing was sent: {listed}.",
            "Wait retry_after seconds, or send less at once.",
            retry_after=rejection.retry_after,
        )
    if (
        reason is Reason.UNAVAILABLE
        and not rejection.answered
        and (last or rejection.cause) is not None
    ):
        return last or _same_for_all(rejection)
    if reason is Reason.UNAVAILABLE:
        did_wait = waited >= spec.recovery_wait / 2
        error = errors.NoEndpointAvailable(
            f"No endpoint available after {waited:.0f} s: {listed}.",
            (
                f"Calls wait recovery_wait={spec.recovery_wait:g} s for a recovery;"
                " raise it for batch work."
            )
            if did_wait
            else "",
            retry_after=rejection.retry_after,
        )
        error.__cause__ = last or rejection.cause
        return error
    return _local_rejection(rejection, spec, waited)


def _same_for_all(rejection: Rejection) -> errors.OPEAError:
    """Nothing ever answered at these addresses: what one caller found out holds for everybody."""
    cause = rejection.cause
    assert cause is not None
    error = type(cause)(
        cause.message,
        cause.hint,
        endpoint=cause.endpoint,
        url=cause.url,
        status_code=cause.status_code,
    )
    error.__cause__ = cause
    return error


def _local_rejection(rejection: Rejection, spec: CallSpec, waited: float) -> errors.OPEAError:
    reason = rejection.reason
    if reason is Reason.DEADLINE:
        limit = f" of {spec.deadline_seconds:g} s" if spec.deadline_seconds else ""
        why = f" ({'; '.join(rejection.endpoints)})" if rejection.retry_after is not None else ""
        return errors.DeadlineExceeded(
            f"The deadline{limit} passes before a place is free{why}; nothing was sent.",
            LIMIT_HINTS["total"],
        )
    if reason is Reason.QUEUE_TIMEOUT:
        return errors.QueueFull(
            f"No place became free within {waited:.1f} s (queue_timeout); nothing was sent.",
            "Raise queue_timeout=, or send less at once.",
        )
    if reason is Reason.CLOSED:
        return errors.ClientClosed(
            "This OPEA object is closed.", "Make a new one, or close it later."
        )
    if reason is Reason.WOULD_BLOCK:
        return errors.ConfigurationError(
            "This synchronous call would wait for places that calls of this thread's own event loop"
            " hold: it would wait for itself.",
            "In async code use the twin with an a in front: achat, astream_chat, aembed.",
            code=reason.value,
        )
    if reason is Reason.WAITS_FOR_ITSELF:
        return errors.ConfigurationError(
            "This call would wait for a place that only its own thread or task can give back:"
            " it would wait for itself.",
            "End the stream around it first, do not call the object from its own hooks or key"
            " functions, or raise max_concurrent=.",
            code=reason.value,
        )
    return errors.QueueFull(
        "The queue is full; nothing was sent.", "Raise queue_size=, or send less at once."
    )
