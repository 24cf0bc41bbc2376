# /// script
# [tool.outboard]
# name = "tidy"
# version = "1.0.0"
# description = "The last one to extract: one kind of blank, and a title for everybody."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Leaves the text as those who enrich and deliver like it."""

from __future__ import annotations

import re
import unicodedata

from plugin_sdk import Plugin
from sample_plugins.mailroom.letters import Document

LONGEST_TITLE = 120

plugin = Plugin()


@plugin.hook("document.extract", after=["plain", "mail", "web", "tables"], idempotent=True)
def tidy(document: Document) -> Document:
    text = unicodedata.normalize("NFC", document.text.replace("\r\n", "\n").replace("\r", "\n"))
    text = re.sub(r"[^\S\n]+$", "", text, flags=re.MULTILINE)
    document.text = re.sub(r"\n{3,}", "\n\n", text).strip("\n")
    document.title = " ".join((document.title or title_of(document)).split())[:LONGEST_TITLE]
    return document


def title_of(document: Document) -> str:
    """Its first heading, or the first line of a text, or else its name."""
    heading = re.search(r"^#+ +(.+)$", document.text, re.MULTILINE)
    if heading:
        return heading.group(1)
    first, _, _ = document.text.partition("\n")
    return first if first and document.media == "text/plain" else document.name


if __name__ == "__main__":
    plugin.run()
