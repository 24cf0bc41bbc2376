"""`key=value` words as the values a method wants. Pure.

The method's schema decides: where it wants a string, a word is that string, so that `name=42` is the
name "42"; elsewhere a word is JSON if it reads as JSON, and a string if it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def typed_arguments(words: Mapping[str, str], schema: dict[str, Any] | None) -> dict[str, Any]:
    """`schema` is that of the params object, or None if the plugin gives none."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):  # a schema is the plugin's, and may be anything
        properties = {}
    return {key: _typed(word, properties.get(key)) for key, word in words.items()}


def _typed(word: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return word
    try:
        return msgspec.json.decode(word)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return word
