"""`python -m tests.docs.write_schema`: brings docs/reference/protocol.schema.json up to date."""

from __future__ import annotations

import json
from pathlib import Path

from protocol.methods import schema

FILE = Path(__file__).parents[2] / "docs/reference/protocol.schema.json"


def text() -> str:
    """The file as it should be."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
