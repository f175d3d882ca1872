"""What the adapters of frameworks share.

Keywords about servers, options of calls, and reading what models write.

An adapter's classes derive from ``Connection`` and talk to their ``client``; nothing here knows a
framework.
"""

from opea_core.adapters.batching import batches, best_first, token_counts
from opea_core.adapters.client_settings import remember, settings_of
from opea_core.adapters.connection import Connection
from opea_core.adapters.constructor_options import ConnectionOptions
from opea_core.adapters.history_fields import (
    CALL_ARGUMENTS,
    CALL_EXTRAS,
    RETURNED,
    kept,
    returned,
    with_extras,
)
from opea_core.adapters.json_answers import (
    Growth,
    asked_form,
    json_text,
    may_be_call,
    partial_json,
    read_answer,
)
from opea_core.adapters.options import (
    COMMON_ALIASES,
    NOT_FOR_ANSWERS,
    SECRET_IN_CALLS,
    in_call,
    layered,
)
from opea_core.adapters.schemas import is_recursive, root_written_out, strict_schema, unwrapped
from opea_core.adapters.server_fields import hidden
from opea_core.adapters.tools import clean_name, tool_choice_of
from opea_core.display_text import cut
from opea_core.transport.permit_holders import Caller
from opea_core.wire.choice import REASONING_FIELDS
from opea_core.wire.refusal import dislikes_schema
from opea_core.wire.request import ONLY_JSON, as_tool

__all__ = [
    "CALL_ARGUMENTS",
    "CALL_EXTRAS",
    "COMMON_ALIASES",
    "NOT_FOR_ANSWERS",
    "ONLY_JSON",
    "REASONING_FIELDS",
    "RETURNED",
    "SECRET_IN_CALLS",
    "Caller",
    "Connection",
    "ConnectionOptions",
    "Growth",
    "as_tool",
    "asked_form",
    "batches",
    "best_first",
    "clean_name",
    "cut",
    "dislikes_schema",
    "hidden",
    "in_call",
    "is_recursive",
    "json_text",
    "kept",
    "layered",
    "may_be_call",
    "partial_json",
    "read_answer",
    "remember",
    "returned",
    "root_written_out",
    "settings_of",
    "strict_schema",
    "token_counts",
    "tool_choice_of",
    "unwrapped",
    "with_extras",
]
