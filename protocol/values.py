"""Values that are still encoded: params, results, items of streams."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw


def decode(raw: Raw, type: Any = Any) -> Any:
    """What it says. Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError`."""
    return msgspec.json.decode(raw, type=type)
