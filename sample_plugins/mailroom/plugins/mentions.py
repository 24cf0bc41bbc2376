# /// script
# [tool.outboard]
# name = "mentions"
# version = "1.0.0"
# description = "Finds links, dates, and the other documents that a document speaks of."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# [tool.outboard.permissions]
# host = ["mailroom.lookup"]
# ///
"""Enriches with `links`, `dates` and `sees`: the ids of documents that a link leads to."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from plugin_sdk import AsyncContext, Plugin
from sample_plugins.mailroom.letters import Document

MOST = 20
LINK = re.compile(r"\b(?:https?://|mailto:)[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]")
TARGET = re.compile(r"\]\(([\w./-]+\.\w+)(?:#[\w-]*)?\)")
DATE = re.compile(r"\b(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])\b")

plugin = Plugin()


@plugin.hook("document.enrich", idempotent=True)
async def look(document: Document, ctx: AsyncContext) -> dict[str, Any]:
    found = {"links": firsts(LINK, document.text), "dates": firsts(DATE, document.text)}
    sees = {}
    folder = posixpath.dirname(document.name)
    for target in firsts(TARGET, document.text):
        name = posixpath.normpath(posixpath.join(folder, target))
        if id := await ctx.host.mailroom.lookup(name=name):
            sees[name] = id
    return {key: value for key, value in (found | {"sees": sees}).items() if value}


def firsts(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(pattern.findall(text)))[:MOST]


if __name__ == "__main__":
    plugin.run()
