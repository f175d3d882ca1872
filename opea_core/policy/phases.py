"""What the level of an endpoint and model may be doing, and what leads from one to the next.

``RISING``  from a small start; doubled in each round of answers, and at first by the clock, as
            refusals come fast
``STEADY``  a level that is known to be good
``HIGHER``  for one cohort a few more: kept if they bring more answers, taken back if not or if
            refused
``LOWER``   for one cohort a few less: kept if as many answers come, so that nothing waits at the
            server
``YIELDING``  for one cohort a few less after a refusal, so that other clients of the server find
            room
"""

from __future__ import annotations

from enum import Enum

# The phases of a level (rules W16 to W23). A cohort is done when 80 percent of it were answered.
#
# phase    | event                                          | next
# ---------|------------------------------------------------|---------------------------------------
# RISING   | callers wait, nothing answered, the clock is   | RISING, level doubled, at most 32
#          | up                                             | (W17)
# RISING   | cohort done, more was better                   | HIGHER, level doubled
# RISING   | a cohort was no better, or cannot be any more  | STEADY, at the level that was enough
# RISING   | slow start: an answer                          | RISING, level + 1; STEADY at the old
#          |                                                | level (W23)
# STEADY   | cohort done, time to try more (not if refused) | HIGHER
# STEADY   | cohort done, time to try less (not if the      | LOWER
#          | level is fixed, or was set by a refusal)       |
# STEADY   | an answer, refused before, time to yield       | YIELDING, a sixth less (W21)
# STEADY   | an answer, refused before, time to ask         | STEADY, level + 1, 2, 4 ... (W18)
# HIGHER   | cohort done, more answers per second           | HIGHER, or STEADY if it is not used
# HIGHER   | cohort done, no more of them; while it doubles | STEADY, or LOWER, from the old level
#          | also as soon as there cannot be more           | (W20)
# LOWER    | cohort done, as many answers per second        | LOWER, or STEADY if nothing waits
# LOWER    | cohort done, maybe as many                     | LOWER, with a longer cohort
# LOWER    | cohort done, fewer                             | STEADY, at the old level (W20)
# YIELDING | three rounds of answers                        | STEADY, at the old level
# any      | refused with fewer in flight than the level    | STEADY, at what is in flight (W18)
# any      | an answer did not come in time, level measured | STEADY, at half of the level (W22)
# any      | the breaker closed, or a lone cooldown ended   | RISING, from 1 (slow start, W23)
# any      | a ceiling was set or found                     | STEADY, at the ceiling (W16)


class Phase(Enum):
    """What the level is doing."""

    RISING = "rising"
    STEADY = "steady"
    HIGHER = "higher"
    LOWER = "lower"
    YIELDING = "yielding"
