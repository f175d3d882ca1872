"""A small instance of a JSON schema, always the same one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 24
_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any) -> Any:
    """The least that fits: required properties only, the least numbers, the shortest lists.

    ``const``, the first of ``enum``, ``default`` and the first of ``examples`` win over made-up
    values. Not looked at: ``pattern``, ``not``, ``if``, and what else would need a search.
    """
    return _instance(schema, schema, 0)


def _instance(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    schema = _resolved(schema, root, depth)
    for key, pick in (("const", False), ("enum", True), ("default", False), ("examples", True)):
        if key in schema and (not pick or schema[key]):
            return schema[key][0] if pick else schema[key]
    return _made(_kind(schema), schema, root, depth)


def _made(kind: str, schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind == "string":
        return _string(schema)
    if kind in ("integer", "number"):
        return _number(schema, kind)
    return True if kind == "boolean" else None


def _resolved(schema: Mapping[str, Any], root: Any, depth: int) -> Mapping[str, Any]:
    """The schema with what it refers to in place.

    Its ``$ref`` is followed, ``allOf`` merged, and of ``anyOf`` and ``oneOf`` the first way is
    taken.
    """
    while "$ref" in schema and depth <= _DEEPEST:
        depth += 1
        schema = {
            **{key: value for key, value in schema.items() if key != "$ref"},
            **_target(schema["$ref"], root),
        }
    for part in (
        *schema.get("allOf", ()),
        *schema.get("anyOf", ())[:1],
        *schema.get("oneOf", ())[:1],
    ):
        schema = _merged(schema, _resolved(part, root, depth + 1) if depth <= _DEEPEST else {})
    return schema


def _target(ref: str, root: Any) -> Mapping[str, Any]:
    found = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    merged = {**other, **one}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**other["properties"], **one["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {
        name: _instance(properties.get(name, {}), root, depth + 1)
        for name in schema.get("required", ())
    }


def _array(schema: Mapping[str, Any], root: Any, depth: int) -> list[Any]:
    first = [_instance(item, root, depth + 1) for item in schema.get("prefixItems", ())]
    missing = max(0, schema.get("minItems", 0) - len(first))
    return first + [_instance(schema.get("items", {}), root, depth + 1) for _ in range(missing)]


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    """0 if it fits, else the number nearest to the bound that excludes it."""
    step = schema.get("multipleOf") or 1
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    above, below = (
        schema.get("exclusiveMinimum", -math.inf),
        schema.get("exclusiveMaximum", math.inf),
    )
    value: int | float = 0
    if low > 0 or above >= 0:
        value = (
            math.ceil(low / step) * step if low > above else (math.floor(above / step) + 1) * step
        )
    elif high < 0 or below <= 0:
        value = (
            math.floor(high / step) * step if high < below else (math.ceil(below / step) - 1) * step
        )
    if (
        kind == "number"
        and "multipleOf" not in schema
        and not (low <= value <= high and above < value < below)
    ):
        value = (max(low, above) + min(high, below)) / 2
    return value
