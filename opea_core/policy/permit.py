"""A place at an endpoint, from the moment it is given to the moment it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opea_core.policy.breaker import Admission
from opea_core.policy.cohort import Cohort
from opea_core.policy.model_limits import ModelLimits
from opea_core.policy.rate_limit import RateWindow, Reservation

if TYPE_CHECKING:
    from opea_core.policy.endpoint import EndpointState
    from opea_core.policy.ticket import Route


@dataclass(slots=True, eq=False)
class Permit:
    """A place at an endpoint; settled once."""

    endpoint: EndpointState
    limits: ModelLimits
    admission: Admission | None
    cooldown_seq: int
    uses_retry_budget: bool
    at: int
    again: bool = False
    place: int = 1
    """The how-many-th of its model in flight it was."""
    cohort: Cohort | None = None
    """Where its time is measured."""
    above: bool = False
    """Whether more are in flight with it than is known to be good."""
    trial: int = 0
    """The number of a trial before the time the server asked for, else 0."""
    candidates: tuple[EndpointState, ...] = ()
    """The endpoints the call may use, this one among them."""
    has_alternative: bool = False
    """Whether another endpoint could serve the call, as far as is known."""
    route: Route | None = None
    """Where those wait who want a place as this one."""
    reserved: tuple[tuple[RateWindow, Reservation], ...] = ()
    """What it holds of the requests and tokens a minute."""
    resent: int = 0
    """How often a request went out again.

    A kept connection was closed before the server had it.
    """
    settled: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether no other call is at the endpoint, nor waits for it."""
        return self.limits.in_flight <= 1 and not (self.route and self.route.live)

    @property
    def is_probe(self) -> bool:
        """Whether this call decides if a broken endpoint is used again."""
        return self.admission is not None and self.admission.probe > 0
