"""What a check comes to: passed, failed or not made, and what was seen. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from host.conformance.bench import Bench

__all__ = ["Check", "Checks", "Result", "Skipped", "Unmet"]

PAGE = "docs/reference/protocol.md"


class Unmet(Exception):
    """What was seen is not what was expected."""


class Skipped(Exception):
    """There is nothing to be seen: why."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    name: str
    verdict: Literal["PASS", "FAIL", "SKIP"]
    seen: str
    expected: str
    section: str
    """Where the protocol says so: a page and a heading of it."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    expected: str
    section: str
    run: Callable[[Bench], str]
    """Returns what was seen. Raises Unmet, Skipped, and what a peer raises."""


class Checks(list[Check]):
    """In the order in which they are made."""

    def add(
        self, name: str, expected: str, section: str
    ) -> Callable[[Callable[[Bench], str]], Callable[[Bench], str]]:
        """`section`: a heading of the page."""

        def added(run: Callable[[Bench], str]) -> Callable[[Bench], str]:
            self.append(Check(name=name, expected=expected, section=f"{PAGE}#{section}", run=run))
            return run

        return added
