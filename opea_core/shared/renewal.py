"""Keeping the share of this process: a thread that renews it about once a second.

No call waits for the store. The thread asks it for grants and tells the scheduler, which keeps to
them as to any limit. While the store is away each process keeps to an equal part of the limit,
divided among those that were there last.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from opea_core.errors import ConfigurationError
from opea_core.flow import telemetry
from opea_core.policy import SECOND
from opea_core.policy.rate_limit import RateWindow
from opea_core.shared import reports
from opea_core.shared.reports import Report
from opea_core.shared.shares import Demand, alone, target
from opea_core.shared.stores import LEASE, Ask, Granted, SharedLimits, Store

if TYPE_CHECKING:
    from opea_core.policy.endpoint import EndpointState
    from opea_core.policy.ticket import Ticket
    from opea_core.transport.limiter import Limiter

EVERY = 1.0
"""Seconds between two renewals."""
_SAFE = LEASE - 0.5
"""Seconds after the last renewal from which on a grant may be somebody else's.

A thread that gets no time for so long stops its process, too: nothing goes out that is not granted.
"""
_FOR_GOOD = 1 << 63
_UNLIMITED = reports.MOST


@dataclass(slots=True)
class Part:
    """One limit of one endpoint, as this process uses it now."""

    key: str
    limit: int
    demand: Demand
    endpoint: EndpointState
    window: RateWindow | None = None
    """None for the requests in flight."""
    kind: str = "flight"
    unit: int = 1
    """What one call takes of it, so that nobody gets a part that is too small for any."""

    def keep_to(self, share: int, until: int) -> None:
        """Tell the scheduler, which keeps to it until then; under its lock."""
        if self.window is None:
            self.endpoint.share, self.endpoint.share_ends = share, until
            return
        self.window.share_ends = until
        if self.kind == "rpm":
            self.window.shared_rpm = share
        else:
            self.window.shared_tpm = share


class Renewal:
    """The shares of one process, kept until ``close``."""

    def __init__(self, limits: SharedLimits, limiter: Limiter) -> None:
        self._limits = limits
        # An object that nobody uses any more must not be kept alive by its own thread.
        self._limiter = weakref.ref(limiter)
        self._member = os.urandom(8).hex()
        self._stop = threading.Event()
        self._known: dict[str, list[Demand]] = {}
        """By key: what all told last."""
        self._keys: list[str] = []
        self._renewed = time.monotonic()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="opea-shared-limits", daemon=True)
        limits.open().close()  # what cannot work is told at once
        # Until the first grant is there nothing is ours: others may hold all of it.
        limiter.change(lambda now: self._keep(parts_of(limiter, self._member, now), 0))
        self._thread.start()

    def close(self) -> None:
        """Give the share back. Does not wait for the store."""
        self._stop.set()

    def _run(self) -> None:
        store: Store | None = None
        while True:
            limiter = self._limiter()
            if limiter is None or self._stop.is_set():
                break
            try:
                store = store or self._limits.open()
                self._renew(store, limiter)
            except (OSError, ConfigurationError) as error:
                self._store_is_away(limiter, error)
            except Exception as error:  # noqa: BLE001
                # Without this thread every share would stay at nothing, and every call wait (W47).
                # Its words may be anything, also the URL with its password.
                self._store_is_away(limiter, OSError(type(error).__name__))
            # Else the thread would hold it while it waits, which is nearly always.
            del limiter
            # The first call waits for the first grant, so that one is tried for more often.
            self._stop.wait(EVERY if self._known else EVERY / 20)
        if store is not None:
            try:
                store.leave(self._member, self._keys)
                store.close()
            except Exception:  # noqa: BLE001 - the lease ends by itself
                return

    def _renew(self, store: Store, limiter: Limiter) -> None:
        # The lease counts from before the request: the store's answer may take its time.
        asked, asked_at = time.monotonic(), limiter.now()
        parts = limiter.look(lambda now: parts_of(limiter, self._member, now))
        # By the clock, so that all members take the same turn.
        turn = int(time.time() // LEASE)
        asks = [
            Ask(
                part.key,
                part.limit,
                part.demand.used,
                target(part.limit, self._with(part), self._member, turn, part.unit),
                part.window is not None,
                report_of(part, limiter.now()),
            )
            for part in parts
        ]
        granted = store.exchange(self._member, asks)
        self._renewed, self._keys = asked, [ask.key for ask in asks]
        fresh = {ask.key for ask in asks} - self._known.keys()
        for ask, grant in zip(asks, granted, strict=True):
            self._known[ask.key] = [
                demand_of(name, report) for name, report in grant.reports.items()
            ]
        if fresh:  # who is there is known only now
            return self._renew(store, limiter)
        until = asked_at + int(_SAFE * SECOND)
        limiter.change(lambda now: self._take(parts, asks, granted, until, now))
        if self._lost:
            self._lost = False
            limiter.emitter(telemetry.shared_limits_back(limiter.now()))
        return None

    def _with(self, part: Part) -> list[Demand]:
        """Everybody's demand: the others' as they told it, our own as it is now."""
        others = [d for d in self._known.get(part.key, ()) if d.member != self._member]
        return [*others, part.demand]

    def _take(
        self,
        parts: Sequence[Part],
        asks: Sequence[Ask],
        granted: Sequence[Granted],
        until: int,
        now: int,
    ) -> None:
        """Keep to what was granted, and to no more than was wanted.

        What is used beyond that comes back as calls end, and is somebody else's then.
        """
        for part, ask, grant in zip(parts, asks, granted, strict=True):
            if part.limit < _UNLIMITED:
                part.keep_to(min(grant.amount, ask.wanted), until)
            if part.window is None:
                adopt_cooldowns(part.endpoint, self._member, grant, now)

    def _store_is_away(self, limiter: Limiter, error: Exception) -> None:
        # What was granted last still holds for a while.
        if time.monotonic() - self._renewed < _SAFE and self._known:
            return
        if not self._lost:
            self._lost = True
            members = max((len(known) for known in self._known.values()), default=1)
            limiter.emitter(telemetry.shared_limits_lost(limiter.now(), members, error))
        # To stop would make the store a single point of failure (W47).
        limiter.change(lambda now: self._keep(parts_of(limiter, self._member, now), None))

    def _keep(self, parts: Iterable[Part], share: int | None) -> None:
        for part in parts:
            if part.limit < _UNLIMITED:
                members = len(self._known.get(part.key, ())) or 1
                part.keep_to(alone(part.limit, members) if share is None else share, _FOR_GOOD)


def parts_of(limiter: Limiter, member: str, now: int) -> list[Part]:
    """Every limit that is shared; under the limiter's lock."""
    waiting = list(limiter.waiters())
    found: list[Part] = []
    for endpoint in limiter.endpoints:
        own = [ticket for ticket in waiting if endpoint in ticket.route.endpoints]
        base = _identity(endpoint)
        demand = Demand(member, endpoint.in_flight, Counter(ticket.priority for ticket in own))
        limit = endpoint.config.max_concurrent or _UNLIMITED
        found.append(Part(f"{base}:flight", limit, demand, endpoint))
        for name, window in endpoint.windows():
            theirs = [ticket for ticket in own if name in ("", ticket.model)]
            found += _window_parts(f"{base}:{name}", window, theirs, endpoint, member, now)
    return found


def _window_parts(
    key: str, window: RateWindow, own: list[Ticket], endpoint: EndpointState, member: str, now: int
) -> Iterator[Part]:
    requests, tokens = window.used(now)
    if window.rpm is not None:
        demand = Demand(member, requests, Counter(ticket.priority for ticket in own))
        yield Part(f"{key}:rpm", window.rpm, demand, endpoint, window, "rpm")
    if window.tpm is not None:
        wants: Counter[int] = Counter()
        for ticket in own:
            wants[ticket.priority] += window.tokens_of(ticket.need)
        unit = max((window.tokens_of(ticket.need) for ticket in own), default=1)
        demand = Demand(member, tokens, wants)
        yield Part(f"{key}:tpm", window.tpm, demand, endpoint, window, "tpm", unit)


def _identity(endpoint: EndpointState) -> str:
    """One server and one key: of the key a short mark, from which nobody finds it."""
    key = endpoint.config.api_key
    text = key.get_secret_value() if isinstance(key, SecretStr) else ""
    return f"{endpoint.server_id}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def report_of(part: Part, now: int) -> str:
    """What the others must know to divide a limit."""
    cooling = {
        model: round((limits.cooldown_until - now) / SECOND, 3)
        for model, limits in (part.endpoint.known_limits() if part.window is None else ())
        # Not what was adopted from others: a wait would go round for ever.
        if limits.stated and limits.cooldown_until > max(now, limits.adopted_until)
    }
    return reports.written(Report(part.demand.used, part.demand.waiting, cooling))


def demand_of(member: str, report: str) -> Demand:
    """What another member told; nothing where it cannot be read."""
    told = reports.read(report)
    return Demand(member, told.used, told.waiting)


def adopt_cooldowns(endpoint: EndpointState, member: str, grant: Granted, now: int) -> None:
    """Keep to the waits that a server asked others for."""
    for name, report in grant.reports.items():
        for model, seconds in reports.read(report).cooling.items() if name != member else ():
            endpoint.limits(model).adopt(seconds, now)
