"""What came of one of many requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from opea_core.errors import OPEAError

AnswerT = TypeVar("AnswerT")


@dataclass(slots=True)
class Result(Generic[AnswerT]):
    """One request, and its answer or its error."""

    index: int
    """Its place among the requests, counted from 0."""
    id: str | None
    """Its ``custom_id``, if it has one."""
    request: Any = field(repr=False)
    """As it was given."""
    response: AnswerT | None = None
    error: OPEAError | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.error is None

    def unwrap(self) -> AnswerT:
        """The answer; raises the error where there is none."""
        if self.error is not None:
            raise self.error
        assert self.response is not None
        return self.response
