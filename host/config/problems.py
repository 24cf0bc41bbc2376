"""One thing that is wrong with a file, as a value.

Invariant: `str(problem)` is one printable line, whatever the file held; file names and keys are
untrusted text, and go to terminals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

__all__ = ["FileProblem", "by_line", "dotted", "key_text"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class FileProblem(msgspec.Struct, frozen=True):
    """Where, what, and what to do about it."""

    file: str
    line: int | None
    """From 1; of the nearest table if the key itself is missing; None if no line is to blame."""
    key: str
    """Dotted path; empty if the file as a whole is meant."""
    reason: str
    hint: str | None = None
    """One thing to do, or the key that was probably meant."""
    seen: Any = None
    """The value that stands there. Not part of the text: it may be a secret."""
    plugin: str | None = None
    """The plugin that is not here because of it, as far as the name can be told. Not part of the text."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = ": ".join(part for part in (place, self.key, self.reason) if part)
        return _on_one_line(f"{text}; {self.hint}" if self.hint else text)


def by_line(problems: Iterable[FileProblem]) -> list[FileProblem]:
    """The problems of one file in the order a person meets them, those without a line first."""
    return sorted(problems, key=lambda problem: problem.line or 0)


def dotted(path: Sequence[str]) -> str:
    """`("plugins", "a b", "requires", "[1]")` as it would be written: `plugins."a b".requires[1]`."""
    text = ""
    for part in path:
        if part.startswith("["):
            text += part
        else:
            text += f".{key_text(part)}" if text else key_text(part)
    return text


def key_text(key: str) -> str:
    """One key as TOML has it, bare or quoted."""
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def _on_one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
