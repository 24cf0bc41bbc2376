# /// script
# [tool.outboard]
# name = "language"
# version = "1.0.0"
# description = "Guesses the language from its smallest words."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Enriches with `language`: a code like `en`, if there is enough to go by."""

from __future__ import annotations

import re
from typing import Any

from plugin_sdk import Plugin
from sample_plugins.mailroom.letters import Document

SMALL_WORDS = {
    "de": "der die das und ist nicht ein eine mit von zu den auf für im dem sich auch es",
    "en": "the and of to is that it was for with as his on be at by this not or a",
    "es": "el la los las y es en una por con para que del se no su al lo",
    "fr": "le la les et est une des dans pour que qui pas sur au avec ce il du",
    "it": "il lo gli e è una di che per non con del alla sono nel della un",
}
WORDS = {language: frozenset(words.split()) for language, words in SMALL_WORDS.items()}
LOOK_AT, LEAST = 20_000, 3

plugin = Plugin()


@plugin.hook("document.enrich", idempotent=True)
def guess(document: Document) -> dict[str, Any]:
    words = re.findall(r"[^\W\d_]+", document.text[:LOOK_AT].lower())
    hits = {language: sum(word in small for word in words) for language, small in WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return {"language": best} if hits[best] >= LEAST else {}


if __name__ == "__main__":
    plugin.run()
