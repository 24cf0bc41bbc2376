"""The files of one store, as long as nobody has them open: put aside, or removed."""

from __future__ import annotations

import os
import time

KEPT_ASIDE = 5
"""Corrupt files of one store that are kept; the oldest beyond them are removed."""
LOG_FIRST = ("-wal", "-shm", "")
"""A kill in between must not leave a log behind, which would be replayed into the next file of that name."""


def set_aside(path: str) -> str:
    """Renames a corrupt store, with its log; returns where it is now. Raises OSError."""
    folder, name = os.path.split(path)
    beginning = f"{name}.corrupt-"
    aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09}"
    for ending in LOG_FIRST:
        if os.path.exists(path + ending):
            os.rename(path + ending, aside + ending)
    kept = sorted(
        other for other in os.listdir(folder) if other.startswith(beginning) and other[-1].isdigit()
    )
    for old in kept[:-KEPT_ASIDE]:
        remove(os.path.join(folder, old))
    return aside


def remove(path: str) -> None:
    """The file of a store that is closed, with its log. Raises OSError."""
    for ending in LOG_FIRST:
        try:
            os.remove(path + ending)
        except FileNotFoundError:
            pass
