"""Property tests that try the same examples each time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings


def fixed(examples: int, steps: int = 50) -> settings:
    """The same examples each time. A failure is shown as it was found; add ``Phase.shrink`` (minutes) to make it small."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=(Phase.explicit, Phase.generate),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
