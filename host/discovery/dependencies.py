"""`dependencies` of a manifest: is this a requirement, and do two lists ask for the same? Pure.

Not the whole grammar of PEP 508: whoever installs it knows that. Only what must not get through, an
option or a second line in the file that the installer reads, and what is surely a slip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["normalised", "requirement_fault"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?![A-Za-z0-9._-])")
_AFTER_NAME = re.compile(r"\s*(?:\[[^\[\]]*\])?\s*(?:[<>=!~;@(].*)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SEPARATORS = re.compile(r"[-_.]+")


def requirement_fault(text: str) -> str | None:
    """Why `text` is no requirement; None if it may be one."""
    name = _NAME.match(text)
    if name is None or _AFTER_NAME.fullmatch(text, name.end()) is None:
        return f"{text!r} is not a requirement"
    if _UNPRINTABLE.search(text) or text.endswith("\\"):
        return f"{text!r} is more than one line"
    return None


def normalised(dependencies: Iterable[str]) -> list[str]:
    """Sorted and spelled alike, so that equal lists are equal text."""
    spelled = set()
    for text in dependencies:
        name = _NAME.match(text)
        end = name.end() if name is not None else 0
        spelled.add(_SEPARATORS.sub("-", text[:end]).lower() + " ".join(text[end:].split()))
    return sorted(spelled)
