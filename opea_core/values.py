"""What settings are made of: frozen values that explain what is wrong with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    model_validator,
)

from opea_core.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler


LONGEST = 10 * 365 * 86_400.0
"""Seconds; a longer time is this one, as clocks and locks take no more."""


def no_bool(value: Any) -> Any:
    """Refuse what would be taken for a number and is none: True, False, and texts."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _capped(value: Any) -> Any:
    return (
        LONGEST if isinstance(no_bool(value), int | float) and LONGEST < value < math.inf else value
    )


Seconds: TypeAlias = Annotated[float, BeforeValidator(_capped), Field(gt=0, allow_inf_nan=False)]


SecondsOr0: TypeAlias = Annotated[float, BeforeValidator(_capped), Field(ge=0, allow_inf_nan=False)]


Count: TypeAlias = Annotated[StrictInt, Field(ge=1, le=2**53)]


CountOr0: TypeAlias = Annotated[StrictInt, Field(ge=0, le=2**53)]


class Value(BaseModel):
    """Base of the configuration values.

    They are frozen and closed, with readable errors that show no values.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigurationError(_explanation(cls, error)) from None

    def replace(self, **changes: Any) -> Any:
        """A validated copy with some fields changed; what was not set stays not set."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)


def _explanation(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(
                f"{cls.__name__} knows no option {name!r}.{nearest(name, cls.model_fields)}"
            )
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{cls.__name__}.{name}: {text}." if name else f"{cls.__name__}: {text}.")
    return " ".join(lines)


def check_seconds(name: str, value: Any) -> float:
    """The number of seconds; ConfigurationError unless it is finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {value!r}.")
    return min(value, LONGEST)
