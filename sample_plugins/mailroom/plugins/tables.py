# /// script
# [tool.outboard]
# name = "tables"
# version = "1.0.0"
# description = "Data: .csv and .json, said in lines."
# [tool.outboard.start]
# mode = "lazy"
# idle_stop = "5m"
# [tool.outboard.settings]
# most_lines = 5000
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Accepts tables and JSON, and says each value in a line of its own, after the path to it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Document, Letter

KINDS = {".csv": "text/csv", ".json": "application/json"}

plugin = Plugin()


class Settings(msgspec.Struct):
    most_lines: Annotated[int, msgspec.Meta(ge=1)] = 5000


plugin.settings(Settings)


@plugin.hook("document.accept", when={"letter.suffix": list(KINDS)}, idempotent=True)
def accept(letter: Letter) -> str:
    return KINDS[letter.suffix]


@plugin.hook(
    "document.extract", before=["tidy"], when={"document.media": list(KINDS.values())}, idempotent=True
)
def flatten(document: Document, ctx: Context) -> Document:
    source = Path(document.path).read_text(encoding="utf-8-sig", errors="replace")
    if document.media == "text/csv":
        value: Any = list(csv.DictReader(source.splitlines()))
    else:
        value = json.loads(source)
    document.text = "\n".join(islice(lines_of(value), ctx.settings.most_lines))
    return document


def lines_of(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from lines_of(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from lines_of(inner, f"{path} {number}".strip())
    else:
        yield f"{path}: {value}"


if __name__ == "__main__":
    plugin.run()
