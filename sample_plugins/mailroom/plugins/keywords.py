# /// script
# [tool.outboard]
# name = "keywords"
# version = "1.0.0"
# description = "Counts words, and says which stand out."
# [tool.outboard.settings]
# most = 8
# shortest = 5
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Enriches with `words` and `keywords`."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

import msgspec

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Document

plugin = Plugin()


class Settings(msgspec.Struct):
    most: Annotated[int, msgspec.Meta(ge=0)] = 8
    shortest: Annotated[int, msgspec.Meta(ge=1)] = 5


plugin.settings(Settings)


@plugin.hook("document.enrich", idempotent=True)
def count(document: Document, ctx: Context) -> dict[str, Any]:
    words = re.findall(r"[^\W\d_]+", document.text)
    weights = Counter(word.lower() for word in words if len(word) >= ctx.settings.shortest)
    return {"words": len(words), "keywords": [word for word, _ in weights.most_common(ctx.settings.most)]}


if __name__ == "__main__":
    plugin.run()
