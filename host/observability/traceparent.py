"""W3C trace context as text: `00-<trace id>-<parent id>-<flags>`. Pure.

https://www.w3.org/TR/trace-context/ says what is valid, and that what is not is treated as absent.
"""

from __future__ import annotations

import re

MAX_TRACESTATE = 512
"""Characters; the least that everybody has to pass on."""

_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_LENGTH = 55


def valid_parent(text: object) -> str | None:
    """`text` if it is a traceparent, as version 00 if it is of a later one; else None."""
    found = _PARENT.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return "00" + found.group()[2:_LENGTH]


def valid_state(text: object) -> str | None:
    """`text` if it can be passed on as a tracestate; its members are nobody's business here."""
    return text if isinstance(text, str) and _STATE.fullmatch(text) else None


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits that all calls of a trace share."""
    return traceparent[3:35]
