"""TransportFailure drivers: deadlines, giving back, finalisers, fork, hooks (W5 to W14, T1 to T12,
S3 to S11, C1 to C14).
"""

from __future__ import annotations

from variant import FLOW, TRANSPORT, WORLD, Variant

_GATE = "opea_core/transport/limiter.py"
_RUNNING = "opea_core/transport/call_session.py"
_SYNC = "opea_core/transport/drivers/sync.py"
_AIO = "opea_core/transport/drivers/aio.py"
_PLACE = "opea_core/transport/drivers/loop_connections.py"
_STREAM = "opea_core/transport/stream.py"
_LINE = "opea_core/transport/deadline.py"
_EXCHANGE = "opea_core/transport/exchange.py"
_HTTP = "opea_core/transport/http/pool.py"
_BOTH = TRANSPORT + "test_both_drivers.py"
_GATES = TRANSPORT + "test_limiter.py"
_QUEUE = TRANSPORT + "test_queue.py"
_SHARED = TRANSPORT + "test_shared.py"
_CANCELLED = TRANSPORT + "test_cancellation.py"
_ABANDONED = TRANSPORT + "test_abandoned.py"
_OUTAGES = TRANSPORT + "test_outages.py"

VARIANTS = [
    # --- the limiter
    Variant(
        "W5: an offer is kept for ever",
        "opea_core/policy/scheduler.py",
        "OFFER_TTL = 2 * SECOND",
        "OFFER_TTL = 2000 * SECOND",
        _GATES,
    ),
    Variant(
        "W5: a dead waiter keeps its offer",
        "opea_core/transport/waking.py",
        "                    failed.append(ticket)\n",
        "                    pass\n",
        _GATES,
    ),
    Variant(
        "W10: nobody watches the clock",
        "opea_core/transport/waking.py",
        "            limits.append(wake_at)\n",
        "",
        WORLD + " -k 'promises or outage'",
    ),
    Variant(
        "W10: a watcher that leaves is not replaced",
        "opea_core/transport/waking.py",
        "        return [*changed, *(ticket for ticket in nudged if ticket is not None)]",
        "        return changed",
        _GATES,
    ),
    Variant(
        "W7: who gives back wakes nobody",
        _GATE,
        (
            "            wakes = self._wakes(self._scheduler.poll(now), now)\n"
            "        self._after(wakes, ticket)\n"
            "        self._tell_changes"
        ),
        "            wakes = []\n        self._after(wakes, ticket)\n        self._tell_changes",
        WORLD + " -k at_once",
    ),
    Variant(
        "W7: a leaver wakes nobody",
        _GATE,
        "            wakes = self._wakes(self._leave(ticket, now), now)\n",
        "            wakes = self._leave(ticket, now)[:0]\n",
        _GATES,
    ),
    Variant(
        "W8: a finaliser waits for the lock",
        "opea_core/transport/waking.py",
        "self._lock.acquire(blocking=False):",
        "self._lock.acquire(timeout=1):",
        _GATES + " -k finaliser",
    ),
    Variant(
        "W8: what finalisers give back is forgotten",
        "opea_core/transport/waking.py",
        "changed += self._leave(",
        "changed += (lambda *_: [])(",
        _GATES + " -k finaliser",
    ),
    Variant(
        "W8: a finaliser tells at once",
        "opea_core/transport/waking.py",
        "                    self._untold.append(tell)\n",
        "                    tell()\n",
        _GATES + " -k finaliser",
    ),
    Variant(
        "W9: hooks are told under the lock",
        _GATE,
        (
            "        self._after(wakes, ticket)\n"
            "        self._tell_changes(permit, effect, *before, now)\n"
        ),
        (
            "        with self._lock:\n"
            "            self._tell_changes(permit, effect, *before, now)\n"
            "        self._after(wakes, ticket)\n"
        ),
        _GATES + " -k lock",
    ),
    Variant(
        "W14: a forked child has the parent's places",
        _GATE,
        (
            "        self.endpoints[:] = [\n"
            "            EndpointState(e.config, self._settings.breaker, self._chance, "
            "self.now())\n"
            "            for e in self.endpoints\n"
            "        ]\n"
        ),
        "",
        _SHARED + " -k Fork",
    ),
    Variant(
        "W14: a forked child has the parent's locks",
        "opea_core/transport/drivers/pair.py",
        "    os.register_at_fork(after_in_child=_after_fork)",
        "    pass",
        _SHARED + " -k Fork",
    ),
    Variant(
        "C11: a forked child uses the parent's connections",
        _SYNC,
        "        self.slots.let_go()\n        self._new_slots()\n",
        "",
        _SHARED + " -k Fork",
    ),
    Variant(
        "C11: a forked child breaks the parent's connection",
        "opea_core/transport/deadline.py",
        "if self.pid != os.getpid() or not",
        "if not",
        FLOW + "test_properties_closed.py",
    ),
    Variant(
        "W13: a sync call waits for itself",
        _SYNC,
        "return loop is not None and running.limiter",
        "return False and running.limiter",
        _QUEUE + " -k own_loop",
    ),
    Variant(
        "C1: a closed limiter permits",
        _GATE,
        "if self.closed and ticket.state",
        "if False and ticket.state",
        _GATES + " -k close",
    ),
    # --- giving back
    Variant(
        "W7: a call that ends gives nothing back",
        "opea_core/transport/call_session.py",
        "    def _give_back(self) -> None:\n        self.limiter.leave(self.ticket)\n",
        "    def _give_back(self) -> None:\n",
        "tests/core/transport/test_cancellation.py",
    ),
    Variant(
        "S3: an open stream gives its place back",
        _SYNC,
        "holds = answer.reply.connection is not None",
        "holds = False",
        _QUEUE + " -k holds_its_place",
    ),
    Variant(
        "W7: a stream that ends keeps its place",
        _RUNNING,
        (
            "        self.limiter.settle(\n"
            "            self.ticket,\n"
            "            answer.permit,\n"
            "            went_well(answer.reply),\n"
            "            usage=response.usage if response else None,\n"
            "        )\n"
        ),
        "",
        _QUEUE + " -k holds_its_place",
    ),
    Variant(
        "W7: a stream that breaks keeps its place",
        _RUNNING,
        "        self.limiter.settle(self.ticket, answer.permit, effect(failure, log.history()))\n",
        "",
        WORLD + " -k promises",
    ),
    Variant(
        "S8: a stream that is closed keeps its place",
        _RUNNING,
        "        self.limiter.leave(self.ticket)\n        self._tell_abandoned(answer)",
        "        self._tell_abandoned(answer)",
        _ABANDONED,
    ),
    Variant(
        "S9: a dropped stream keeps its place",
        _STREAM,
        "            opened.running.dropped(opened.answer)\n",
        "",
        _ABANDONED,
    ),
    Variant(
        "S9: the server of a dropped stream goes on",
        _STREAM,
        "            opened.connection.shutdown()\n",
        "",
        _ABANDONED,
    ),
    Variant(
        "S9: a dropped stream warns of nothing",
        _STREAM,
        "            warnings.warn(\n",
        "            str(\n",
        _ABANDONED,
    ),
    Variant(
        "C4: a cancelled call leaves its connection",
        _AIO,
        "        except BaseException:\n            connection.discard()\n            raise",
        "        except BaseException:\n            raise",
        _CANCELLED,
    ),
    Variant(
        "C5: Ctrl-C leaves the connection",
        _SYNC,
        "        except BaseException:\n            connection.discard()\n            raise",
        "        except BaseException:\n            raise",
        _CANCELLED + " -k ctrl_c",
    ),
    Variant(
        "C7: dead ones stay",
        _AIO,
        "for other in [other for other in list(self._places) if other.is_closed()]",
        "for other in list[asyncio.AbstractEventLoop]()",
        _SHARED + " -k loop",
    ),
    Variant(
        "C7: connections outlive them",
        _PLACE,
        "            places.pop(self.loop, None)\n",
        "",
        _SHARED + " -k loop",
    ),
    Variant(
        "C10: idle siblings of a stale connection are used",
        _HTTP,
        "return [slot, *(self._idle.pop(slot.key, ()) if stale else ())]",
        "return [slot]",
        _OUTAGES + " -k stale",
    ),
    # --- time
    Variant(
        "T5: sync reads are not bounded",
        _LINE,
        "data: bytes = self._inner.read(max_bytes, self._left(timeout))",
        "data: bytes = self._inner.read(max_bytes, timeout)",
        _BOTH + " -k drip",
    ),
    Variant(
        "T5: the timer of an event loop does nothing",
        _PLACE,
        "            self._line.shutdown()\n        else:",
        "            pass\n        else:",
        _BOTH + " -k drip",
    ),
    Variant(
        "T6: the whole call is not bounded",
        _EXCHANGE,
        "return at if deadline is None else min(at, deadline)",
        "return at",
        _BOTH + " -k deadline",
    ),
    Variant(
        "T4: keep-alives are progress",
        _EXCHANGE,
        (
            "            response_reader.progress != self._progress\n"
            "            or response_reader.started is not self._started\n"
        ),
        "            True\n",
        _BOTH + " -k keep",
    ),
    Variant(
        "T7: the consumer's own time counts",
        _EXCHANGE,
        "at = self.line.at + time.monotonic_ns() - self._heard_at",
        "at = self.line.at",
        _ABANDONED + " -k 'time or slow'",
    ),
    Variant(
        "S11: the rest of a body is waited for",
        _EXCHANGE,
        "DRAIN = SECOND // 10",
        "DRAIN = 3000 * SECOND",
        FLOW + "test_properties_closed.py",
    ),
    Variant(
        "T2: a loop that was held is the server's fault",
        _LINE,
        "        self._extended += 1\n",
        "        return False\n",
        TRANSPORT + "test_held_loop.py",
    ),
    Variant(
        "T5: connecting is not bounded",
        _LINE,
        "None if left is None else left / (len(addresses) - tried)",
        "None if left is None else 3000.0",
        TRANSPORT + "test_tls.py -k black_hole",
    ),
    # --- events, health, hooks
    Variant(
        "B10: first content of a stream proves nothing",
        _RUNNING,
        "            self.limiter.prove(send.permit)\n",
        "            pass\n",
        _OUTAGES + " -k probes",
    ),
    Variant(
        "C13: an abandoned attempt has no end",
        _RUNNING,
        '        self.telemetry.attempt_ended(answer.permit, "Abandoned", answer.reply.status)\n',
        "",
        _ABANDONED,
    ),
    Variant(
        "C13: a broken stream has no end",
        _RUNNING,
        ("        self.telemetry.attempt_ended(answer.permit, reason, answer.reply.status)\n"),
        "",
        WORLD + " -k promises",
    ),
    Variant(
        "C13: a call that fails has no end",
        "opea_core/transport/call_session.py",
        "            if error is not None:\n                self.ended(error, None)\n",
        "",
        "tests/core/flow/test_properties_world.py -k promises",
    ),
    Variant(
        "C13: first content is not told",
        "opea_core/flow/telemetry.py",
        "        if outcome.first_at is not None and",
        "        if False and",
        _BOTH,
    ),
    Variant(
        "C13: helper requests count as attempts",
        "opea_core/flow/telemetry.py",
        "        if self._traced and not send.quiet:\n            at, label",
        "        if self._traced:\n            at, label",
        WORLD + " -k promises",
    ),
    Variant(
        "C14: an exception comes out",
        "opea_core/events.py",
        "            except Exception as error:",
        "            except ZeroDivisionError as error:",
        "tests/core/test_opea_object.py",
    ),
    Variant(
        "L9: statistics grow for ever",
        "opea_core/policy/stats.py",
        "deque(maxlen=_RING)",
        "deque()",
        "tests/core/policy/test_stats.py",
    ),
    Variant(
        "K4: a caller's client follows it",
        "opea_core/transport/http/user_clients.py",
        '"follow_redirects": False',
        '"follow_redirects": True',
        TRANSPORT + "test_user_clients.py -k redirect",
    ),
    Variant(
        "S7: a stream that broke off is no error",
        _STREAM,
        "        if opened.error is not None:\n            raise opened.error\n",
        "",
        _BOTH,
    ),
    Variant(
        "S7: the partial answer is lost",
        _RUNNING,
        ("error.with_details(\n            partial=failure.error.partial,\n            attempts"),
        "error.with_details(\n            attempts",
        FLOW + "test_properties_closed.py",
    ),
]
