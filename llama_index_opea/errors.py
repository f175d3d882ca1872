"""Errors this package adds to those of ``opea_core``.

LlamaIndex has no classes of its own, its callers catch ValueError.
"""

from __future__ import annotations

from opea_core import ConfigurationError, OPEAError


class StructuredOutputError(OPEAError, ValueError):
    """The model's answer does not fit the wanted class, and neither did a second one.

    ``raw_text`` is what it wrote.
    """

    raw_text: str = ""


class NoToolCallError(OPEAError, ValueError):
    """A tool call was needed, and the model made none."""


class NoQueryError(ConfigurationError, ValueError):
    """Nodes were to be ranked without a query."""


__all__ = ["NoQueryError", "NoToolCallError", "StructuredOutputError"]
