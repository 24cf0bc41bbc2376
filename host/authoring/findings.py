"""What is said of a plugin, one thing at a time, as a compiler says it: where, how bad, what. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from host.config.problems import FileProblem

__all__ = ["Finding", "Severity", "in_order", "of_manifest", "place_in", "readable"]

Severity = Literal["error", "warning", "note"]
_WORST_FIRST: tuple[Severity, ...] = ("error", "warning", "note")
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+)')


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing. An `error` keeps the plugin from being used."""

    severity: Severity = "error"
    file: str
    line: int | None = None
    key: str = ""
    """A key of the manifest, or a name in the code; empty if neither is meant."""
    message: str
    hint: str | None = None
    detail: tuple[str, ...] = ()
    """Lines that show more: a traceback."""
    in_manifest: bool = False
    """Whether `key` is one of the manifest's."""

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


def of_manifest(problem: FileProblem) -> Finding:
    return Finding(
        file=problem.file,
        line=problem.line,
        key=problem.key,
        message=problem.reason,
        hint=problem.hint,
        in_manifest=bool(problem.key),
    )


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; those alike in the order in which a person meets them."""
    return sorted(findings, key=lambda each: (_WORST_FIRST.index(each.severity), each.file, each.line or 0))


def readable(traceback: Iterable[str]) -> list[str]:
    """Without the frames of Python's own import, which nobody can do anything about."""
    return [line for line in traceback if not line.lstrip().startswith('File "<frozen importlib')]


def place_in(traceback: Sequence[str], folder: str) -> tuple[str, int] | None:
    """File and line of the innermost frame that is in `folder`."""
    for text in reversed(traceback):
        found = _FRAME.match(text)
        if found and found.group(1).startswith(folder.rstrip("/") + "/"):
            return found.group(1), int(found.group(2))
    return None
