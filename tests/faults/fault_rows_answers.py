"""The rows about what is in an answer: framing, content, form, size."""

from __future__ import annotations

from fault_table import WELL, Outcome, Record, always, fails, first, gives
from fault_words import BAD, CONNECTION, breaks

from opea_core import errors
from opea_core.testing import FAULTS, faults

_NO_JSON, _NO_MARK = "the answer is no JSON", "connection closed without an end mark"
_MIDDLE, _CHUNKS = (
    "connection closed in the middle of the answer",
    "the chunks of the answer are broken",
)


def _twice(
    row: str,
    name: str,
    plain: tuple[type[errors.OPEAError], str],
    stream: Outcome | None,
    says: tuple[str, ...] = (),
) -> list[Record]:
    """Once, and for good: tried again, unless part of a stream was handed out."""
    cls, what = plain
    fault, other = (
        FAULTS[name],
        stream and (stream if stream.breaks_off or stream.error is None else None),
    )
    return [
        Record(row, f"{name}, once", (first(fault),), gives(2), other),
        Record(
            row, f"{name}, always", (always(fault),), fails(cls, what, *says, requests=3), stream
        ),
    ]


FRAMING = [
    *_twice("framing", "cut-chunk", (CONNECTION, _MIDDLE), breaks(_MIDDLE)),
    *_twice("framing", "bad-chunk", (CONNECTION, _CHUNKS), breaks(_CHUNKS)),
    *_twice("framing", "short-length", (BAD, _NO_JSON), breaks(_NO_MARK)),
    *_twice(
        "framing", "long-length", (CONNECTION, _MIDDLE), gives(1)
    ),  # a stream is whole with its end mark
    *_twice("framing", "no-length-cut", (BAD, _NO_JSON), breaks(_NO_MARK)),
    *_twice("framing", "unfinished", (BAD, _NO_JSON), breaks(_NO_MARK)),
    Record("framing", "no length", (always(faults.no_length),), gives(1)),
]
_WORDS = 'the server reported an error: "CUDA out of memory"'
_NO_EVENT = fails(BAD, "an event is no JSON object", requests=3)
CONTENT = [
    *_twice(
        "content", "html", (BAD, 'the answer is HTML: "Sign in"'), None, ("Is the base URL right",)
    ),
    *_twice("content", "html-502", (errors.ServerError, '502 from .*"502 Bad Gateway"'), None),
    *_twice("content", "error-in-200", (errors.ServerError, _WORDS), None),
    *_twice("content", "error-first", (errors.ServerError, _WORDS), None),
    *_twice("content", "error-midway", (errors.ServerError, _WORDS), breaks(_WORDS)),
    *_twice("content", "broken-json", (BAD, _NO_JSON), _NO_EVENT),
    *_twice("content", "deep-json", (BAD, _NO_JSON), _NO_EVENT),
    *_twice("content", "empty", (BAD, "the answer is empty"), None),
    *_twice(
        "content",
        "empty-object",
        (BAD, "the answer has no choices"),
        fails(BAD, "the answer is empty", requests=3),
    ),
    Record("content", "html, another endpoint", (always(faults.html), WELL), gives(1, 1)),
]
FORM = [
    Record("form", fault.name, (always(fault),), gives(1))
    for fault in FAULTS.values()
    if fault.harmless and fault != faults.slow
]

_BOUNDS = {"options": {"max_response_bytes": 2_000_000, "max_event_bytes": 500_000}}
_LARGER_THAN = r"larger than {} bytes \(max_response_bytes\)"
_TOO_LARGE = _LARGER_THAN.format(2_000_000)
_BIG_EVENT = fails(BAD, "an event is larger than 500000 bytes", left=True)
HUGE = [
    Record(
        "huge",
        "a body without end",
        (always(faults.endless),),
        fails(BAD, _LARGER_THAN.format(200_000), left=True),
        breaks(_LARGER_THAN.format(200_000), left=True, without_end=True),
        options={"max_response_bytes": 200_000},
    ),
    Record(
        "huge",
        "a decompression bomb",
        (always(faults.bomb),),
        fails(BAD, _TOO_LARGE, left=True),
        _BIG_EVENT,
        **_BOUNDS,
    ),
    Record(
        "huge",
        "a line without end",
        (always(faults.long_line),),
        fails(BAD, _TOO_LARGE, left=True),
        _BIG_EVENT,
        **_BOUNDS,
    ),
    Record(
        "huge",
        "nor is another endpoint asked",
        (always(faults.bomb), WELL),
        fails(BAD, requests=(1, 0)),
        **_BOUNDS,
    ),
]


ANSWERS = [*FRAMING, *CONTENT, *FORM, *HUGE]
