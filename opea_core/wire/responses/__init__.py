"""The Responses dialect (``/v1/responses``): chat requests in it, its answers read as chat."""

from __future__ import annotations

from typing import Any

from opea_core.errors import BadAnswerError
from opea_core.types import Json


def read_response(document: Any) -> Json:
    """A plain answer as it is; raises BadAnswerError for what is not a response object."""
    if isinstance(document, dict) and isinstance(document.get("output"), list):
        return document
    raise BadAnswerError("the answer is not a response object: it has no list of output items")
