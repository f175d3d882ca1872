"""Token counts beyond the three totals, under every name servers have for them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from opea_core.types import Json, Usage
from opea_core.wire.usage import read_usage


@pytest.mark.parametrize(
    ("raw", "counts"),
    [
        ({"prompt_tokens_details": {"cache_creation_tokens": 3}}, {"cache_creation_tokens": 3}),
        ({"prompt_tokens_details": {"cache_write_tokens": 3}}, {"cache_creation_tokens": 3}),
        ({"cache_creation_input_tokens": 3}, {"cache_creation_tokens": 3}),
        (
            {"cache_creation_input_tokens": 3, "cache_read_input_tokens": 4},
            {"cache_creation_tokens": 3, "cached_tokens": 4},
        ),
        ({"prompt_tokens_details": {"audio_tokens": 3}}, {"input_audio_tokens": 3}),
        ({"input_tokens": 3, "output_tokens": 4}, {"prompt_tokens": 3, "completion_tokens": 4}),
        ({"input_tokens_details": {"cached_tokens": 3}}, {"cached_tokens": 3}),
        ({"output_tokens_details": {"reasoning_tokens": 3}}, {"reasoning_tokens": 3}),
        ({"completion_tokens_details": {"audio_tokens": 3}}, {"output_audio_tokens": 3}),
        (
            {
                "prompt_tokens_details": {"audio_tokens": 1},
                "completion_tokens_details": {"audio_tokens": 2, "reasoning_tokens": 3},
            },
            {"input_audio_tokens": 1, "output_audio_tokens": 2, "reasoning_tokens": 3},
        ),
        ({"prompt_tokens_details": {"cache_read_input_tokens": 3}}, {"cached_tokens": 3}),
        (
            {"prompt_tokens_details": {"audio_tokens": 0, "cache_creation_tokens": 0}},
            {"input_audio_tokens": 0, "cache_creation_tokens": 0},
        ),
    ],
)
def test_what_is_counted(raw: Json, counts: dict[str, int]) -> None:
    assert read_usage(raw) == Usage(**counts, raw=raw)


@pytest.mark.parametrize(
    ("raw", "counts"),
    [
        (
            {"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 5},
            {"cached_tokens": 0},
        ),
        (
            {"prompt_tokens_details": {"cached_tokens": None}, "prompt_cache_hit_tokens": 5},
            {"cached_tokens": 5},
        ),
        (
            {
                "prompt_tokens_details": {"cache_creation_tokens": 2},
                "cache_creation_input_tokens": 5,
            },
            {"cache_creation_tokens": 2},
        ),
        (
            {"completion_tokens_details": {"reasoning_tokens": 2}, "reasoning_tokens": 5},
            {"reasoning_tokens": 2},
        ),
    ],
)
def test_the_details_count_before_the_usage_itself(raw: Json, counts: dict[str, int]) -> None:
    assert read_usage(raw) == Usage(**counts, raw=raw)


def test_audio_is_counted_only_where_it_says_which_way_it_went() -> None:
    raw = {"audio_tokens": 3}
    assert read_usage(raw) == Usage(raw=raw)


@pytest.mark.parametrize("odd", [None, True, "3", [3], {"n": 3}, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["cache_creation_tokens", "cached_tokens", "audio_tokens"])
def test_what_is_no_number_is_not_counted(name: str, odd: Any) -> None:
    raw = {"prompt_tokens_details": {name: odd}}
    assert read_usage(raw) == Usage(raw=raw)


@pytest.mark.parametrize("details", [None, [], "many", 3])
def test_details_that_are_no_object_tell_nothing(details: Any) -> None:
    raw = {
        "prompt_tokens": 1,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
    }
    assert read_usage(raw) == Usage(prompt_tokens=1, raw=raw)
