"""Whether a request that goes out again counts as another one."""

from __future__ import annotations

import pytest
from by_hand import OK, Breaks, Play

from opea_core.policy.retry import Phase


@pytest.mark.parametrize(("phase", "resent"), [(Phase.MAYBE_SENT, 1), (Phase.NOT_SENT, 0)])
def test_what_was_never_sent_counts_once(phase: Phase, resent: int) -> None:
    """It may have been seen before anything was written that the kept connection was no good."""
    assert [settle.permit.resent for settle in Play(Breaks(phase, reused=True), OK).settled] == [
        resent
    ]
