"""Why a plugin did not start, or how it died, in one line a person understands. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from host.process.exits import Exit

_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)(?::.*)?$")
_USAGE = re.compile(r"^usage:", re.IGNORECASE)


def why_it_ended(exit: Exit | None, tail: Sequence[str], *, before: str) -> str:
    """The cause of an end nobody asked for; `before` is what it had not done yet ("" if running)."""
    ending = "the connection ended" if exit is None else str(exit)
    while_ = f" before it {before}" if before else ""
    detail = _detail(exit, tail)
    return f"{ending}{while_}{': ' + detail if detail else ''}"


def what_is_missing(line: str) -> str | None:
    """For a line that says a Python module is not there: which one, and what to do."""
    missing = _MISSING_MODULE.search(line)
    if missing is None:
        return None
    module = missing.group(1).split(".")[0]
    return f"module `{module}` is missing: install it where the plugin's interpreter finds it"


def _detail(exit: Exit | None, tail: Sequence[str]) -> str:
    for line in reversed(tail):
        if missing := what_is_missing(line):
            return missing
    for line in reversed(tail):
        if _EXCEPTION.match(line):
            return line
    if exit is not None and exit.code == 127:
        return "the program was not found"
    if exit is not None and exit.code == 126:
        return "the file is not a program that can be run"
    if any(_USAGE.match(line) for line in tail):
        return "it printed its usage: the command in [run] needs other arguments"
    return tail[-1] if tail and exit is not None and exit.code else ""
