"""Names that a pack may hold: whatever the machine it comes to, they mean one file there. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["clashes", "path_fault"]

MOST_BYTES = 255
"""Of one part of a path, which is what most file systems take."""
MOST_OF_ALL = 1024
"""Bytes of a whole path: there has to be room for the folder that it comes to."""
DEEPEST = 32
_ELSEWHERE = '\\:*?"<>|'


def path_fault(path: str) -> str | None:
    """Why a file may not be called so inside a pack; None if it may. `path` has `/` between its parts."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not path:
        return "it has no name"
    if path.startswith("/"):
        return "its name is absolute"
    if len(path.encode()) > MOST_OF_ALL:
        return f"its path has more than {MOST_OF_ALL} bytes"
    parts = path.split("/")
    if len(parts) > DEEPEST:
        return f"it is more than {DEEPEST} folders deep"
    for part in parts:
        if part == "..":
            return "it leads out of the plugin's folder"
        if part in ("", "."):
            return f"{part!r} is no part of a name"
        if not part.isprintable():
            return "its name has characters that cannot be printed"
        if wrong := sorted(set(part) & set(_ELSEWHERE)):
            return f"its name has {' '.join(wrong)}, which not every system takes"
        if part[-1] in " .":
            return "its name ends in a blank or a dot, which not every system takes"
        if len(part.encode()) > MOST_BYTES:
            return f"its name has more than {MOST_BYTES} bytes"
    return None


def clashes(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs that are one file where case does not count, or of which one is the folder of the other."""
    found: list[tuple[str, str]] = []
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        folded = _folded(path)
        if folded in files or folded in folders:
            found.append((files.get(folded) or folders[folded], path))
            continue
        files[folded] = path
        parts = path.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            folded = _folded(above)
            if folded in files or folders.get(folded, above) != above:
                found.append((files.get(folded) or folders[folded], path))
                break
            folders[folded] = above
    return found


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
