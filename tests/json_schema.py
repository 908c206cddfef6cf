"""The part of JSON Schema that report.json's schema uses, as a validator for tests."""

from __future__ import annotations

from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties", "items", "minItems",
    "minimum", "enum", "const", "additionalProperties",
}  # fmt: skip


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$"
) -> list[str]:
    """Return where `value` breaks `schema`; a keyword that this validator does not know is an error."""
    root = schema if root is None else root
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    if "$ref" in schema:
        return violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    found = _own(value, schema, at)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{at}: no {key}" for key in schema.get("required", []) if key not in value]
        for key, item in value.items():
            below = properties.get(key, schema.get("additionalProperties"))
            if below is not None:
                found += violations(item, below, root, f"{at}.{key}")
    if isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            found += violations(item, schema["items"], root, f"{at}[{position}]")
    return found


def _own(value: Any, schema: dict[str, Any], at: str) -> list[str]:
    found = []
    names = schema.get("type", [])
    allowed = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    if allowed and not any(isinstance(value, kind) for kind in allowed):
        found.append(f"{at}: {value!r} is no {names}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is none of {schema['enum']}")
    if "minItems" in schema and len(value) < schema["minItems"]:
        found.append(f"{at}: {len(value)} items")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{at}: {value} is below {schema['minimum']}")
    return found
