"""Text of anybody's, made fit for a terminal. Imports nothing that a command would have to wait for."""

from __future__ import annotations

import re

_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"


def escaped(text: str) -> str:
    """`text` for a terminal: control characters other than tab and newline are shown, not obeyed."""
    return re.sub(_CONTROL, lambda match: f"\\x{ord(match.group()):02x}", text)
