# /// script
# [tool.outboard]
# name = "plain"
# version = "1.0.0"
# description = "Text as it is: .txt, .md, .toml and what else people write by hand."
# [tool.outboard.settings]
# encodings = ["utf-8-sig", "cp1252", "latin-1"]
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Accepts text, and decodes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from plugin_sdk import Context, Plugin, PluginError
from sample_plugins.mailroom.letters import Document, Letter

KINDS = {".md": "text/markdown", ".rst": "text/x-rst", ".toml": "application/toml"}
PLAIN = ("", ".txt", ".text", ".log", ".py", *KINDS)
LOOK_AT = 4096

plugin = Plugin()


class Settings(msgspec.Struct):
    encodings: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("utf-8-sig", "cp1252", "latin-1")
    """Tried one after another."""


plugin.settings(Settings)


@plugin.hook("document.accept", when={"letter.suffix": PLAIN}, idempotent=True)
def accept(letter: Letter) -> str | None:
    """What it is called is not enough: text has no zero bytes."""
    with open(letter.path, "rb") as file:
        if b"\0" in file.read(LOOK_AT):
            return None
    return KINDS.get(letter.suffix, "text/plain")


@plugin.hook(
    "document.extract",
    before=["tidy"],
    when={"document.media": ["text/plain", *KINDS.values()], "document.text": ""},
    idempotent=True,
)
def extract(document: Document, ctx: Context) -> Document:
    data = Path(document.path).read_bytes()
    for encoding in ctx.settings.encodings:
        try:
            document.text = data.decode(encoding)
            return document
        except UnicodeDecodeError:
            continue
    raise PluginError(1, f"it is in none of {', '.join(ctx.settings.encodings)}")


if __name__ == "__main__":
    plugin.run()
