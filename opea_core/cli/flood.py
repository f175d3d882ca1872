"""Many calls at once over several endpoints, shown as they go.

Meanwhile one server dies and comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from opea_core import OPEA
from opea_core.cli.console import Console, table
from opea_core.events import BreakerStateChanged, Event
from opea_core.testing import ScriptedServer, Seen

_REDRAW = 0.05
_VICTIMS_SHARE = 12


class Flood:
    """Runs the calls and tells what happens.

    In the middle of the calls the ``victim`` (if there is one) dies of a request. When half of the
    calls are answered, and not before a call felt the outage, it is back.
    """

    def __init__(
        self, console: Console, opea: OPEA, victim: ScriptedServer | None, label: str
    ) -> None:
        self._console = console
        self._opea = opea
        self._victim = victim
        self._label = label
        self._answered = 0
        self._arrived = 0  # requests at the victim; counted in its thread
        self._dead = False
        self._shown = False  # the outage, in a snapshot
        self._recovered = False
        self._story: list[str] = []
        opea.add_hook(self._on_event)

    async def run(self, calls: int, options: Mapping[str, Any]) -> None:
        """Make the calls; raises the first error if one failed."""
        self._calls = calls
        self._started = time.monotonic()
        if self._victim is not None:
            self._victim.always(self._die)
        drawing = asyncio.create_task(self._draw_on()) if self._console.live else None
        results = await asyncio.gather(
            *(self._call(number, options) for number in range(calls)), return_exceptions=True
        )
        seconds = time.monotonic() - self._started
        if drawing is not None:
            drawing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drawing
        self._show_end(seconds)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _call(self, number: int, options: Mapping[str, Any]) -> None:
        await self._opea.achat(f"Call number {number + 1}.", max_tokens=16, **options)
        self._answered += 1
        if self._victim is None:
            if self._answered == self._calls // 2:
                self._snapshot()
        elif self._dead and not self._recovered:
            self._outage_goes_on(self._victim)

    def _die(self, _: Seen) -> None:
        """Answers nothing itself: stops the victim at a request that came, so that it is felt."""
        self._arrived += 1
        if self._victim is not None and self._arrived == max(1, self._calls // _VICTIMS_SHARE):
            self._victim.always(None)
            self._victim.pause()
            self._tell(f"server {self._label} stops: its connections break, its port is closed")
            self._dead = True

    def _outage_goes_on(self, victim: ScriptedServer) -> None:
        if not self._shown:
            self._shown = True
            self._snapshot()
        felt = self._opea.get_stats(self._label)["errors"] > 0
        if felt and self._answered >= self._calls // 2:
            self._recovered = True
            victim.resume()
            self._tell(f"server {self._label} is back")
            self._snapshot()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BreakerStateChanged):
            rest = f" for {event.seconds:.1f} s" if event.after == "open" else ""
            self._tell(f"breaker of {event.endpoint}: {event.before} -> {event.after}{rest}")

    def _tell(self, text: str) -> None:
        self._story.append(f"{time.monotonic() - self._started:6.2f} s  {text}")

    # --- what is shown

    async def _draw_on(self) -> None:
        while True:
            self._console.draw(self._lines())
            await asyncio.sleep(_REDRAW)

    def _lines(self) -> list[str]:
        return [
            "",
            f"{self._answered} of {self._calls} answered",
            "",
            *table(self._opea.get_stats()),
            "",
            *self._story,
        ]

    def _snapshot(self) -> None:
        if not self._console.live:
            for line in [
                "",
                f"{self._answered} of {self._calls} answered",
                *table(self._opea.get_stats()),
            ]:
                self._console.say(line)

    def _show_end(self, seconds: float) -> None:
        stats = self._opea.get_stats()
        if self._console.live:
            self._console.draw(self._lines())
        else:
            self._snapshot()
            for line in ["", *self._story]:
                self._console.say(line)
        self._console.say()
        again = "retry" if stats["retries"] == 1 else "retries"
        counts = f"{stats['requests']} requests, {stats['retries']} {again}"
        self._console.say(
            f"{self._answered} of {self._calls} answered, {counts}, in {seconds:.2f} s"
        )
