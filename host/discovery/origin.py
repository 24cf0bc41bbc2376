"""Where an installed plugin came from: a note that lies beside its files, and is no part of them.

plugins/hello -> .versions/hello-3f9a1c02b7d4
plugins/.versions/hello-3f9a1c02b7d4/           the files
plugins/.versions/hello-3f9a1c02b7d4.json       the note
"""

from __future__ import annotations

import os

import msgspec

__all__ = ["VERSIONS", "Origin", "origin_of"]

VERSIONS = ".versions"
MOST_BYTES = 64 * 1024


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version of one plugin."""

    source: str
    """The pack, the folder or the file, as an absolute path."""
    sha256: str
    """Of the pack; for a folder or a file, of the pack that it makes."""
    installed_at: float
    """Unix time."""


def origin_of(path: str) -> Origin | None:
    """`path` is a plugin's folder, or its one file. None if it was not installed, or the note is gone."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    version = target.split("/")
    if version[0] != VERSIONS or len(version) not in (2, 3):
        return None
    note = os.path.join(os.path.dirname(path), VERSIONS, f"{version[1]}.json")
    try:
        with open(note, "rb") as opened:
            return msgspec.json.decode(opened.read(MOST_BYTES), type=Origin)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
