"""What comes out of a build: why there is no environment, and when it is tried again. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 1800.0
FIX = (
    "mend `dependencies` in its manifest, then outboard reload; "
    "or the way to the package index, then outboard restart"
)

_ERROR = re.compile(r"^(?:error|fatal|cause)\b", re.IGNORECASE)
_FRAME = re.compile(r"^[^\w\[(<\"'`-]+")  # uv draws, and uses no letters for it


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """No environment."""

    text: str
    """One line a person understands."""
    lines: list[str] = []
    """The last that the installer printed."""
    fix: str = FIX
    retry_after_s: float = FIRST_RETRY_S


def telling_line(lines: Sequence[str]) -> str:
    """The last line that says of itself that it is an error, else the last one; "" if there is none."""
    bare = [text for line in lines if (text := _FRAME.sub("", line).strip())]
    return next((line for line in reversed(bare) if _ERROR.match(line)), bare[-1] if bare else "")


def retry_after_s(failures: int) -> float:
    """How long to wait after so many failures in a row, the first being 1: 30 s, doubling to 30 min."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 32))
