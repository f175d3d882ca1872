"""Times that no float can say: both adapters take them as the longest there is."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_opea import ChatOPEA
from llama_index_opea import OPEALLM

FOR_EVER = 10**400


@pytest.mark.parametrize("model", [ChatOPEA, OPEALLM])
@pytest.mark.parametrize(
    "name",
    ["timeout", "deadline", "queue_timeout", "recovery_wait", "initial_retry_delay", "max_delay"],
)
def test_a_time_beyond_all_floats_is_as_long_as_any(model: Any, name: str) -> None:
    made = model(model="m", **{name: FOR_EVER})
    assert made.client.endpoints
    assert not made._is_shared
    copy = made.model_copy(update={name: FOR_EVER})
    assert getattr(copy, name) == getattr(made, name)


def test_the_time_between_two_pieces_too() -> None:
    assert ChatOPEA(model="m", stream_chunk_timeout=FOR_EVER).stream_chunk_timeout == 1e300
