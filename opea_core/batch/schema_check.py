"""Whether a value keeps to a JSON schema: enough to mark an answer as suspect.

Known are the keywords that servers know for structured output; others are passed over, so that a
schema that says more never marks a right answer as wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_DEEPEST = 64
_FENCE = re.compile(r"\A```\w*+(.*)```\Z", re.DOTALL)


def read_json(text: str) -> Any:
    """The JSON in an answer, also inside a code fence; raises ValueError if there is none."""
    fenced = _FENCE.match(text.strip())
    try:
        # Models write line breaks into strings as they are.
        return json.loads(fenced[1] if fenced else text, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def keeps_to(value: Any, schema: Any) -> bool:
    """Whether a value fits a schema."""
    return _fits(value, schema, schema, 0)


def _fits(value: Any, schema: Any, root: Any, depth: int) -> bool:
    # A schema may refer to itself; beyond this nothing is called wrong.
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return schema is not False
    if "$ref" in schema and not _fits(value, _target(schema["$ref"], root), root, depth + 1):
        return False

    def fits(part: Any, other: Any = None) -> bool:
        return _fits(value if other is None else other[0], part, root, depth + 1)

    return (
        ("const" not in schema or value == schema["const"])
        and ("enum" not in schema or value in schema["enum"])
        and _is_of_type(value, schema.get("type"))
        and all(fits(part) for part in schema.get("allOf", ()))
        and ("anyOf" not in schema or any(fits(part) for part in schema["anyOf"]))
        and ("oneOf" not in schema or any(fits(part) for part in schema["oneOf"]))
        and _parts_fit(value, schema, fits)
    )


def _target(reference: Any, root: Any) -> Any:
    found = root
    for part in str(reference).removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if name and isinstance(found, Mapping) else found
    return found


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    # JSON Schema counts 1.0 as an integer.
    "integer": lambda value: (
        not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


def _is_of_type(value: Any, kind: Any) -> bool:
    kinds = kind if isinstance(kind, list) else [kind]
    return any(_TYPES[name](value) if name in _TYPES else True for name in kinds)


def _parts_fit(value: Any, schema: Mapping[str, Any], fits: Callable[..., bool]) -> bool:
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return all(name in value for name in schema.get("required", ())) and all(
            fits(known.get(name, others), [item]) for name, item in value.items()
        )
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        return _is_within(len(value), schema, "minItems", "maxItems") and all(
            fits(first[at] if at < len(first) else schema.get("items", True), [item])
            for at, item in enumerate(value)
        )
    if isinstance(value, str):
        return _is_within(len(value), schema, "minLength", "maxLength")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _is_within(value, schema, "minimum", "maximum")
    return True


def _is_within(number: float, schema: Mapping[str, Any], low: str, high: str) -> bool:
    return bool(schema.get(low, number) <= number <= schema.get(high, number))
