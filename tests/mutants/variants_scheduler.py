"""TransportFailure queues: who goes next, where, and for how long calls are held (W1 to W12,
W33 to W40, E2, E3).
"""

from __future__ import annotations

from variant import DISPATCHER, POLICY, Variant

_TICKET = "opea_core/policy/ticket.py"
_FILE = "opea_core/policy/scheduler.py"
_OUTLOOK = "opea_core/policy/outlook.py"
_BARGING = """        option = self._choose(ticket, now)
        if option is not None:
            ticket.route.heap.remove(ticket)
            ticket.route.heap.insert(0, ticket)
            self._offer(ticket, option, now)
            heapq.heapify(ticket.route.heap)
            return [ticket]
        changed = self.poll(now)
        if ticket.state is TicketState.PENDING:
"""
_REFUSED = """        if self.queued >= self._policy.max_queued:
            return Rejection(Reason.QUEUE_FULL, now)
        ticket.retrying = True
"""

VARIANTS = [
    Variant(
        "W1: who comes is served before who waits",
        _FILE,
        "        changed = self.poll(now)\n        if ticket.state is TicketState.PENDING:\n",
        _BARGING,
        DISPATCHER,
    ),
    Variant(
        "W2: urgent calls go last",
        _FILE,
        "key=now + int(priority",
        "key=now - int(priority",
        DISPATCHER,
    ),
    Variant(
        "W2: priority counts nothing",
        _FILE,
        "key=now + int(priority",
        "key=now + 0 * int(priority",
        DISPATCHER,
    ),
    Variant(
        "W2: dead entries are never swept",
        _TICKET,
        "if max(len(self.heap), len(self.holds)) <= max(64, 2 * self.live):",
        "if True:",
        "tests/core/policy/test_scheduler.py",
    ),
    Variant(
        "B11: always the one with most time left",
        _FILE,
        "key=lambda t: (t.probed, -(t.deadline or _NEVER), t)",
        "key=lambda t: (-(t.deadline or _NEVER), t)",
        "tests/core/policy/test_probers.py",
    ),
    Variant(
        "B11: always the first",
        _FILE,
        "        if first.deadline is None:\n",
        "        if True:\n",
        "tests/core/policy/test_probers.py",
    ),
    Variant(
        "B11: a prober from the middle stays in the heap",
        _TICKET,
        "            self.heap.remove(ticket)\n",
        "            pass\n",
        "tests/core/policy/test_probers.py",
    ),
    Variant(
        "W3: the queue takes one too many",
        _FILE,
        "if self.queued > self._policy.max_queued:",
        "if self.queued > self._policy.max_queued + 1:",
        DISPATCHER,
    ),
    Variant(
        "W3: a full queue refuses retries",
        _FILE,
        "        ticket.retrying = True\n",
        _REFUSED,
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W4: granted at the deadline",
        _TICKET,
        "if self.deadline is not None and self.deadline <= now:",
        "if self.deadline is not None and self.deadline < now:",
        "tests/core/policy/test_properties_scheduler.py",
    ),
    Variant(
        "W4: granted after the time in the queue",
        _TICKET,
        "        return Reason.QUEUE_TIMEOUT if waited else None\n",
        "        return None\n",
        "tests/core/policy/test_properties_scheduler.py",
    ),
    Variant(
        "W4: a retry is granted after its deadline",
        "opea_core/policy/scheduler.py",
        "yield from (t for t in list(self._retrying) if t.overdue(now) is None)",
        "yield from list(self._retrying)",
        POLICY + "test_scheduler.py " + DISPATCHER,
    ),
    Variant(
        "W5: an offer that nobody takes stays",
        _FILE,
        "if oldest.offered_at + OFFER_TTL > now:",
        "if True:",
        DISPATCHER,
    ),
    Variant(
        "W5: an offer that nobody takes keeps its place",
        "opea_core/policy/ticket_queue.py",
        "            self._return(ticket)\n            ticket.state = TicketState.LAPSED",
        "            ticket.state = TicketState.LAPSED",
        DISPATCHER,
    ),
    Variant(
        "W5: a lapsed ticket never waits again",
        _FILE,
        (
            "            self.waiting -= 1\n"
            "            self._enqueue(ticket)\n"
            "        if ticket.state is TicketState.TAKEN:"
        ),
        "            self.waiting -= 1\n        if ticket.state is TicketState.TAKEN:",
        DISPATCHER,
    ),
    Variant(
        "W6: each waiter of a loop that stands still costs two seconds",
        _FILE,
        "            changed.extend(self._lapse_with(oldest))\n",
        "",
        DISPATCHER + " -k stands_still",
    ),
    Variant(
        "W7: the offer of a leaver is lost",
        _FILE,
        "            self._return(ticket)\n        elif ticket.state",
        "        elif ticket.state",
        DISPATCHER,
    ),
    Variant(
        "E2: limiters are ignored",
        _FILE,
        "if o[0].opens_at(o[1], now) is None\n            and (not",
        "if (not",
        DISPATCHER,
    ),
    Variant(
        "E2: room is ignored",
        _FILE,
        "if is_due and endpoint.has_room(limits, now, ticket.need):",
        "if is_due:",
        DISPATCHER,
    ),
    Variant(
        "R18: an empty budget is ignored",
        _FILE,
        "(not uses_retry_budget or o[0].budget.allows(now))",
        "True",
        DISPATCHER,
    ),
    Variant(
        "E3: the tier is ignored",
        _FILE,
        "rank = (\n                    endpoint.config.tier,",
        "rank = (\n                    0,",
        DISPATCHER,
    ),
    Variant(
        "E3: the load is ignored",
        _FILE,
        "(endpoint.in_flight + 1) / endpoint.config.weight",
        "0.0",
        DISPATCHER,
    ),
    Variant(
        "E3: the weight is ignored",
        _FILE,
        "(endpoint.in_flight + 1) / endpoint.config.weight",
        "float(endpoint.in_flight + 1)",
        DISPATCHER,
    ),
    Variant(
        "E5: a mark is ignored",
        _FILE,
        (
            "        return [o for o in options if not o[0].is_deprioritized(now, "
            "ticket.model)] or options\n"
        ),
        "        return options\n",
        DISPATCHER,
    ),
    Variant(
        "W33: nobody gives up in an outage",
        _FILE,
        "route.run_outage_clock(outlook.outage, outlook.refused",
        "route.run_outage_clock(False, outlook.refused",
        DISPATCHER,
    ),
    Variant(
        "W35: the time of refusals by a server that works counts as being held",
        _TICKET,
        "self._clock = min(self._clock, self._refused_from) if not running else self._clock",
        "pass",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W38: a wait that the server stated is not kept",
        _OUTLOOK,
        (
            "gives_up = gives_up and not (\n"
            "            limits.stated and limits.cooldown_until > now and limits.refusals < 2\n"
            "        )"
        ),
        "pass",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "B14: one that is waited for is left alone for as long as ever",
        _FILE,
        "                endpoint.breaker.shorten_break(",
        "                (lambda _: None)(",
        DISPATCHER,
    ),
    Variant(
        "W39: an address that never answered is waited for as long as any",
        _TICKET,
        "ticket.recovery_wait\n            if self.answered\n",
        "ticket.recovery_wait\n            if True\n",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W39: one that answers for the first time is waited for as briefly as before",
        _FILE,
        "            self._first_contact(route, now)\n",
        "            pass\n",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W34: the clock of an outage runs while a probe is in flight",
        _OUTLOOK,
        "outage=bool(reopens) and not (under_way and route.answered)",
        "outage=bool(reopens)",
        DISPATCHER,
    ),
    Variant(
        "W37: calls wait for a limit however long it is",
        _OUTLOOK,
        "limits.asked_until - now > max_retry_after",
        "False",
        DISPATCHER,
    ),
    Variant(
        "W34: the time in flight counts as being held",
        _FILE,
        "        self._begin_hold(ticket, now)\n        self._enqueue(ticket)\n        return None",
        "        self._enqueue(ticket)\n        return None",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W34: an offer that lapsed is held anew",
        "opea_core/policy/ticket_queue.py",
        "ticket.recovery_wait = max(0, ticket.gives_up_at - route.clock(now))",
        "pass",
        "tests/core/policy/test_scheduler.py tests/core/policy/test_properties_scheduler.py",
    ),
    Variant(
        "W36: a hold is begun although it cannot help",
        _FILE,
        "elif (reason := self._cannot_wait(ticket, now)) is not None:",
        "elif False:",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "R4: the same endpoint at once",
        _FILE,
        "is_due = ticket.not_before.get(endpoint, 0) <= now",
        "is_due = True",
        DISPATCHER,
    ),
    Variant(
        "W12: a retry goes behind all others",
        _FILE,
        "        ticket.permit = None\n        ticket.retrying = True",
        (
            "        ticket.key = now + 10**12\n"
            "        ticket.permit = None\n"
            "        ticket.retrying = True"
        ),
        DISPATCHER,
    ),
    Variant(
        "R10: back to where it must not go",
        _FILE,
        "tuple(e for e in ticket.route.endpoints if e is not failed)",
        "ticket.route.endpoints[1:] + ticket.route.endpoints[:1]",
        DISPATCHER,
    ),
    Variant(
        "R13: a refused call that pays nothing is no longer in the queue",
        _FILE,
        "ticket.is_between_attempts = again.uses_retry_budget or any(",
        "ticket.is_between_attempts = True or any(",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "B12: a failed probe is the next probe again",
        _FILE,
        "        if behind:\n",
        "        if False:\n",
        DISPATCHER,
    ),
    Variant(
        "R19: a retry waits for a budget that nobody has",
        _FILE,
        "            return Rejection(Reason.BUDGET, now)\n",
        "            pass\n",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "R19: a waiting retry is not told that the budget is spent",
        _FILE,
        "            self._reject(ticket, Reason.BUDGET, now, changed)\n",
        "            pass\n",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "R22: a retry is waited for beyond it",
        _FILE,
        (
            "        if ticket.deadline is not None and earliest >= ticket.deadline:\n"
            "            return Rejection(Reason.DEADLINE, now)\n"
        ),
        "",
        POLICY + "test_scheduler.py",
    ),
    Variant(
        "W10: limiters that end wake nobody",
        _TICKET,
        "for at in (endpoint.opens_at(limits, now), limits.room_at(now)) if",
        "for at in (limits.room_at(now),) if",
        DISPATCHER,
    ),
    Variant(
        "W10: delays that end wake nobody",
        _FILE,
        "times.extend(at for at in ticket.not_before.values() if at > now)",
        "pass",
        DISPATCHER,
    ),
    Variant(
        "W10: a budget that fills wakes nobody",
        _FILE,
        "            if ticket.uses_retry_budget:\n                times.extend",
        "            if False:\n                times.extend",
        POLICY + "test_scheduler.py " + DISPATCHER,
    ),
    Variant(
        "W10: an offer that lapses wakes nobody",
        _FILE,
        "            times.append(next(iter(self._offered)).offered_at + OFFER_TTL)\n",
        "            pass\n",
        DISPATCHER + " tests/core/policy/test_scheduler.py tests/core/transport/test_limiter.py",
    ),
    Variant(
        "W10: whoever is rejected is not woken",
        "opea_core/policy/ticket_queue.py",
        "        changed.append(ticket)\n\n    def lapse(",
        "\n    def lapse(",
        "tests/core/policy/test_properties_scheduler.py",
    ),
]
