"""What each scenario must show: a figure and its bound, for any kind of client."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from opea_core import BreakerPolicy, QueuePolicy

from . import brownout, defaults, limits, outages, replicas
from .record import peak
from .scene import Scene

_BREAKER = BreakerPolicy()
_PLACES = 32
"""What the retry budget is made for where nobody says how many requests a server takes at once."""
_LONGEST_OPEN = _BREAKER.max_break_duration * 1.1
_HOLD = QueuePolicy().recovery_wait


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and what it may be at least or at most (neither: only told)."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value keeps its bound."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def bound(self) -> str:
        """The bound in signs."""
        if self.least is not None:
            return f">= {short(self.least)}"
        return "" if self.most is None else f"<= {short(self.most)}"


Figures = Callable[[str], list[Figure]]
"""The figures of a scenario, for a variant of the client."""


def short(value: float) -> str:
    """A number to read."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def _answered(scene: Scene, *fine: str) -> Figure:
    """The share of calls that were answered, or failed as they may."""
    record = scene.record
    good = len(record.answers) + sum(record.errors[error] for error in fine)
    return Figure(
        f"calls answered{''.join(f' or {error}' for error in fine)}, %",
        100 * good / len(record.calls),
        least=100,
    )


def _requests(scene: Scene, most: float | None = None) -> Figure:
    return Figure("requests per answer", scene.record.amplification, most=most)


def _brownout(kind: str, variant: str) -> list[Figure]:
    scene = brownout.brownout(variant, kind)
    record, (server,) = scene.record, scene.servers
    start, end = brownout.HEALED + brownout.GRACE, brownout.END
    wanted = min(server.model.capacity, record.offered(start, end))
    over = max(
        record.retries_over_budget(client.name, server.name, max(20, 2 * _PLACES))
        for client in scene.clients
    )
    return [
        Figure("retries above the budget's bound", over, most=0),
        Figure(
            "goodput from 30 s after healing, % of what is asked",
            100 * record.goodput(start, end) / wanted,
            least=95,
        ),
        _requests(scene),
        Figure(
            "requests a second in the brownout",
            sum(brownout.START <= s.at < brownout.HEALED for s in record.requests) / 60,
        ),
    ]


def _outage(seconds: float, count: int, variant: str) -> list[Figure]:
    scene = outages.outage(variant, seconds, count)
    return [
        Figure("answers of 2,000", len(scene.record.answers), least=outages.TOTAL),
        _requests(scene, most=1.10),
        Figure(
            "time, % of the ideal",
            100 * scene.record.finished / outages.ideal(seconds, count),
            most=110,
        ),
    ]


def _gateway(variant: str) -> list[Figure]:
    scene = outages.gateway(variant, 8, 64)
    return [
        Figure("answers of 2,000", len(scene.record.answers), least=outages.TOTAL),
        _requests(scene, most=1.10),
    ]


def _loading(variant: str) -> list[Figure]:
    return [_answered(replicas.first_fail(variant, 20, 503))]


def _wasted(scene: Scene) -> Figure:
    """Requests for nothing: what opens the breaker, what was under way then, and the probes."""
    model = scene.servers[0].model
    kind = model.troubles[0].kind
    under_way = 0 if kind == "failing" else model.places
    probes = max(0, scene.opened() - 1)  # each that failed opened the breaker again
    if (
        kind == "failing" and model.troubles[0].status == 503
    ):  # as if it had too much to do: tried now and then, one at a time
        probes += int(replicas.UNTIL - replicas.FROM)
    if kind == "slow":  # a silent probe is joined by others, and the last ones are still under way
        probes = scene.opened() * math.ceil(replicas.TIMEOUT / _BREAKER.probe_interval)
    return Figure(
        "wasted requests", scene.record.wasted("gpu1"), most=_BREAKER.min_calls + under_way + probes
    )


def _one_of_three(bad: str, variant: str) -> list[Figure]:
    scene = replicas.one_of_three(variant, bad)
    return [
        _answered(scene),
        _wasted(scene),
        Figure(
            "share of the bad one after it is well, %",
            100 * scene.record.share("gpu1", replicas.UNTIL + 10, replicas.END),
            least=25,
        ),
        Figure("slowest answer, s", scene.record.slowest, most=replicas.TIMEOUT + 1),
    ]


def _dies(variant: str) -> list[Figure]:
    return [_answered(replicas.dies_with_all_places_taken(variant))]


def _fleet(bad: str, variant: str) -> list[Figure]:
    scene = replicas.fleet(variant, bad)
    return [_answered(scene), _wasted(scene)]


def _crowd(variant: str) -> list[Figure]:
    scene = replicas.crowd(variant)
    return [
        _answered(scene),
        Figure(
            "time, % of the ideal", 100 * scene.record.finished / replicas.crowd_ideal(), most=110
        ),
        Figure(
            "most requests at a server of 32 places at once",
            max(server.most for server in scene.servers),
            most=4 * _PLACES,
        ),
    ]


def _storm(variant: str) -> list[Figure]:
    scene = limits.storm(variant)
    later = [sent.at for sent in scene.record.requests if sent.at > 1]
    return [
        _answered(scene, "RateLimited"),
        Figure(
            "requests earlier than asked (trials)", scene.record.too_early, most=limits.CROWD / 8
        ),
        Figure(
            "most requests within 0.1 s after the first wait",
            peak(later, 0.1),
            most=limits.CROWD / 4,
        ),
        Figure("times a breaker opened", scene.opened(), most=0),
        _requests(scene),
    ]


def _lockstep(each: int, variant: str) -> list[Figure]:
    back = limits.lockstep(variant, each)
    half = min(last - first for first, last in zip(back, back[len(back) // 2 :], strict=False))
    return [Figure("seconds over which half of 20 processes come back", half, least=0.4)]


def _restart(processes: int, variant: str) -> list[Figure]:
    scene = outages.restart(variant, processes)
    at = [sent.at for sent in scene.record.requests]
    down = outages.RETURN - outages.RESTART - 1
    asked = sum(outages.RESTART + 1 <= when < outages.RETURN for when in at)
    return [
        _answered(scene),
        Figure(
            "requests a second and process while it is down", asked / down / processes, most=1.2
        ),
        Figure(
            "most requests within 20 ms while it is down",
            peak((t for t in at if 12 < t < outages.RETURN), 0.02),
            most=processes / 2,
        ),
        Figure(
            "most requests at the server at once", scene.servers[0].most, most=processes * _PLACES
        ),
        Figure(
            "most requests within 1 s after its return",
            peak((t for t in at if t > outages.RETURN), 1.0),
        ),
    ]


def _for_good(variant: str) -> list[Figure]:
    scene = outages.gone_for_good(variant)
    failed = [call for call in scene.record.calls if call.error and call.started > outages.GONE + 1]
    held = [call.ended - call.started for call in failed if call.ended is not None]
    ends = [call.ended or 0.0 for call in scene.record.answers]
    back = min((end for end in ends if end > outages.BACK), default=math.inf)
    return [
        _answered(scene, "NoEndpointAvailable"),
        Figure("longest hold before an error, s", max(held), most=_HOLD + 0.1),
        Figure(
            "requests per call while it is gone",
            _asked(scene, 40, 100) / max(1, scene.record.offered(40, 100) * 60),
            most=0.5,
        ),
        Figure(
            "seconds from its return to the first answer", back - outages.BACK, most=_LONGEST_OPEN
        ),
    ]


def _asked(scene: Scene, start: float, end: float) -> int:
    return sum(start <= sent.at < end for sent in scene.record.requests)


def _impatient(variant: str) -> list[Figure]:
    record = outages.with_deadlines(variant, 5.0).record
    wanted = record.offered(50, 120)
    return [
        Figure(
            "goodput from 30 s after the outage, % of what is asked",
            100 * record.goodput(50, 120) / wanted,
            least=95,
        )
    ]


def _drawn(variant: str) -> list[Figure]:
    found = defaults.at_drawn_servers(variant)
    goodput = [100 * each.goodput for each in found]
    first = [each.first for each in found]
    requests = [each.requests for each in found]
    return [
        Figure(
            "goodput, 5th percentile, % of the best fixed number's",
            defaults.percentile(goodput, 0.05),
            least=80,
        ),
        Figure(
            "goodput, median, % of the best fixed number's",
            defaults.percentile(goodput, 0.5),
            least=95,
        ),
        Figure("requests per answer, median", defaults.percentile(requests, 0.5), most=1.05),
        Figure(
            "requests per answer, 95th percentile", defaults.percentile(requests, 0.95), most=1.25
        ),
        Figure(
            "time to 95 % of the answers, median, x of the best fixed number's",
            defaults.percentile(first, 0.5),
            most=1.1,
        ),
        Figure("calls lost", sum(each.lost for each in found), most=5),
    ]


def _eight_places(status: int, variant: str) -> list[Figure]:
    scene = defaults.eight_places(variant, status)
    fixed = defaults.eight_places("ours", status, most=defaults.PLACES)
    return [
        _answered(scene),
        Figure(
            "time, x of max_concurrent=8", scene.record.finished / fixed.record.finished, most=1.15
        ),
        _requests(scene, most=1.1),
    ]


def _eight_places_outage(variant: str) -> list[Figure]:
    scene = defaults.eight_places(variant, 503, total=2_000, outage=3.0)
    return [_answered(scene), _requests(scene, most=1.2)]


SCENARIOS: dict[str, Figures] = {
    f"the defaults at {defaults.COUNT} servers drawn at random": _drawn,
    "the defaults: 64 callers, 8 places, 503 beyond": partial(_eight_places, 503),
    "the defaults: 64 callers, 8 places, 429 beyond": partial(_eight_places, 429),
    "the defaults: the same, 2,000 calls, gone for 3 s": _eight_places_outage,
    "60 s at three times the capacity, the server answers 503": partial(_brownout, "sheds"),
    "60 s at three times the capacity, the server lets them wait": partial(_brownout, "queues"),
    **{
        f"outage of {seconds} s, {count} caller{'s' if count > 1 else ''}": partial(
            _outage, seconds, count
        )
        for seconds in (3, 8)
        for count in (64, 4, 1)
    },
    "outage of 8 s, 64 callers, a gateway answers 502": _gateway,
    "the first 20 answers of a server are 503": _loading,
    "outage of 10 s, callers who wait for 5 s": _impatient,
    "gone for 90 s": _for_good,
    "restart under 8 processes": partial(_restart, 8),
    "restart under 32 processes": partial(_restart, 32),
    **{f"one of three: {bad}": partial(_one_of_three, bad) for bad in replicas.BAD},
    "one of two dies with all places taken": _dies,
    "one of 100 fails at once": partial(_fleet, "500 at once"),
    "10,000 calls at once, one of two gone for 5 s": _crowd,
    "429 with a stated wait, 200 callers": _storm,
    "429 with a stated wait, 20 processes with one call each": partial(_lockstep, 1),
    "429 with a stated wait, 20 processes with 32 calls each": partial(_lockstep, 32),
}
