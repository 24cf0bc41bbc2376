# /// script
# [tool.outboard]
# name = "web"
# version = "1.0.0"
# description = "Web pages: the text without the tags."
# [tool.outboard.start]
# mode = "lazy"
# idle_stop = "5m"
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Accepts web pages, and strips them; those too that came inside a mail."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from plugin_sdk import Plugin
from sample_plugins.mailroom.letters import Document, Letter

SILENT = {"head", "script", "style", "template"}
BLOCKS = {"p", "div", "br", "li", "tr", "ul", "ol", "table", "section", "article", "h1", "h2", "h3", "h4"}

plugin = Plugin()


class Page(HTMLParser):
    """What a reader would see."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.title = ""
        self._parts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()

    @property
    def text(self) -> str:
        return re.sub(r"[^\S\n]+", " ", "".join(self._parts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT or tag == "title":
            self._open.append(tag)
        if tag in BLOCKS:
            self._parts.append("\n")
        if tag in ("td", "th"):
            self._parts.append(" ")
        if tag == "a" and (target := dict(attrs).get("href")):
            self._parts.append(f" <{target}> ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[self._open.index(tag) :]
        if tag in BLOCKS:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title += data
        elif not self._open:
            self._parts.append(data)


@plugin.hook("document.accept", when={"letter.suffix": [".html", ".htm"]}, idempotent=True)
def accept(letter: Letter) -> str:
    return "text/html"


@plugin.hook("document.extract", before=["tidy"], when={"document.media": "text/html"}, idempotent=True)
def strip(document: Document) -> Document:
    page = Page(document.text or Path(document.path).read_text(encoding="utf-8", errors="replace"))
    document.title = document.title or page.title.strip()
    document.text, document.media = page.text, "text/plain"
    return document


if __name__ == "__main__":
    plugin.run()
