"""Property tests that try the same examples each time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from thorough import most


def fixed(examples: int, steps: int = 50, few: int | None = None) -> settings:
    """The same examples each time; a ``few`` where slow tests are left out, or half of them.

    A failure is shown as it was found; add ``Phase.shrink`` (minutes) to make it small.
    """
    return settings(
        max_examples=most(examples, -(-examples // 2) if few is None else few),
        stateful_step_count=steps,
        phases=(Phase.explicit, Phase.generate),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
