"""What is wrong with a plugin's name, for people. Pure."""

from __future__ import annotations

import re

from protocol.manifest import is_plugin_name

__all__ = ["name_fault"]

MOST_CHARACTERS = 64
RULE = "a plugin's name has lower case letters, digits, - and _, and begins with a letter"


def name_fault(name: str) -> tuple[str, str | None] | None:
    """Why `name` cannot be a plugin's, and one like it that can, if there is one. None if it can."""
    if is_plugin_name(name):
        return None
    if len(name) > MOST_CHARACTERS:
        return f"{name[:20]}… has {len(name)} characters, and a plugin's name {MOST_CHARACTERS} at most", None
    wrong = sorted({c for c in name if not re.fullmatch(r"[a-z0-9_-]", c)})
    if wrong:
        seen = "it has " + ", ".join(map(repr, wrong[:5]))
    else:
        seen = f"it begins with {name[0]!r}" if name else "it is empty"
    better = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_").lstrip("0123456789-_")
    return f"{RULE}; {seen}", better if is_plugin_name(better) else None
