"""Reads the texts that lie beside it: lists, outlines, searches and summarises them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from plugin_sdk import Context, Plugin, PluginError

BAD_PATTERN = 1
NO_SUCH_DOCUMENT = 2

plugin = Plugin()


class Settings(msgspec.Struct, kw_only=True):
    folder: str = "documents"
    max_matches: Annotated[int, msgspec.Meta(ge=1)] = 200


class Document(msgspec.Struct):
    name: str
    bytes: int
    lines: int
    words: int


class Heading(msgspec.Struct):
    title: str
    level: int
    line: int


class Outline(msgspec.Struct):
    headings: list[Heading]
    paragraphs: int
    words: int


class Match(msgspec.Struct):
    document: str
    line: int
    column: int
    text: str


class Summary(msgspec.Struct):
    document: str
    sentences: list[str]
    keywords: list[str]


plugin.settings(Settings)


@plugin.method(idempotent=True)
def documents(ctx: Context) -> list[Document]:
    """Lists the documents, with their sizes."""
    return [
        Document(path.name, path.stat().st_size, len(text.splitlines()), len(words_of(text)))
        for path, text in texts(ctx)
    ]


@plugin.method(idempotent=True)
def outline(text: str) -> Outline:
    """Finds the headings of a text: lines that begin with `#`, as in Markdown."""
    headings = [
        Heading(title.strip(), len(marks), number)
        for number, line in enumerate(text.splitlines(), 1)
        for marks, title in re.findall(r"^(#{1,6})\s+(.+)", line)
    ]
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    paragraphs = sum(not block.lstrip().startswith("#") for block in blocks)
    return Outline(headings, paragraphs, len(words_of(text)))


@plugin.method(idempotent=True, timeout_s=5)
def search(pattern: str, ctx: Context) -> list[Match]:
    """Finds a regular expression in all documents; upper and lower case are the same."""
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise PluginError(BAD_PATTERN, f"not a regular expression: {error}", {"pattern": pattern}) from None
    matches: list[Match] = []
    for path, text in texts(ctx):
        for number, line in enumerate(text.splitlines(), 1):
            if ctx.cancelled:
                return matches
            found = expression.search(line)
            if found:
                matches.append(Match(path.name, number, found.start() + 1, line.strip()))
    return matches[: ctx.settings.max_matches]


@plugin.method(idempotent=True)
def summary(name: str, ctx: Context, sentences: int = 2) -> Summary:
    """Picks the sentences of a document that use its most frequent long words, in their order."""
    text = next((text for path, text in texts(ctx) if path.name == name), None)
    if text is None:
        known = [path.name for path, _ in texts(ctx)]
        raise PluginError(NO_SUCH_DOCUMENT, f"there is no document {name!r}", {"documents": known})
    weights = Counter(word.lower() for word in words_of(text) if len(word) > 3)
    prose = "\n".join(line for line in text.splitlines() if not line.startswith(("#", "-")))
    parts = re.split(r"(?<=[.!?。])\s+(?!\d)|\n\s*\n", prose)
    all_sentences = [" ".join(part.split()) for part in parts if part.strip()]

    def weight(sentence: str) -> float:
        long_words = [word.lower() for word in words_of(sentence) if len(word) > 3]
        return sum(weights[word] for word in long_words) / (len(long_words) + 3)

    chosen = set(sorted(all_sentences, key=weight, reverse=True)[: max(0, sentences)])
    in_order = [sentence for sentence in dict.fromkeys(all_sentences) if sentence in chosen]
    return Summary(name, in_order, [word for word, _ in weights.most_common(5)])


@plugin.method(stream=True)
def lines(name: str, ctx: Context) -> Iterator[str]:
    """Reads a document, line by line, no faster than they are wanted."""
    document = next((path for path, _ in texts(ctx) if path.name == name), None)
    if document is None:
        raise PluginError(NO_SUCH_DOCUMENT, f"there is no document {name!r}")
    with document.open(encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def texts(ctx: Context) -> Iterator[tuple[Path, str]]:
    for path in sorted((Path(__file__).parent / ctx.settings.folder).iterdir()):
        if path.suffix in (".txt", ".md", ".csv"):
            yield path, path.read_text(encoding="utf-8")


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


if __name__ == "__main__":
    plugin.run()
