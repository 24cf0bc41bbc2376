"""What plugins provide, remembered by the content of their files: a lazy one need not run to be known.

A file for each plugin and each version of its code, in the host's cache, replaced as a whole. It is a cache:
what is damaged, or cannot be written, is as good as not there, and the oldest files go when there are many.
Reads and writes files, and so blocks.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

import protocol
from host.discovery.changed import changed_since, code_files
from host.discovery.validate import Candidate
from host.supervision.memory import write_whole
from protocol.lifecycle import Provides

__all__ = ["Known", "content_hash"]

MAX_FILES = 1000
MAX_BYTES = 4 * 1024**2
"""Of one answer; a larger one is not kept."""
MAX_HASHED_BYTES = 1024**2
"""Of a larger file size and time count, and not its content: a plugin may bring a library of a gigabyte."""


class Known:
    """`folder` need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, candidate: Candidate) -> Provides | None:
        """What the plugin provided when these very files last ran; None if nobody knows. Never raises."""
        key = content_hash(candidate)
        if key is None:
            return None
        try:
            with (self._folder / f"{key}.json").open("rb") as file:
                data = file.read(MAX_BYTES + 1)
                os.utime(file.fileno())  # the ones in use are the newest
            return msgspec.json.decode(data, type=Provides)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def keep(self, candidate: Candidate, provides: Provides, spawned_at: float) -> None:
        """What the process said that was started at `spawned_at`, Unix time. Never raises."""
        key = content_hash(candidate)
        data = msgspec.json.encode(provides)
        if key is None or len(data) > MAX_BYTES or changed_since(candidate, spawned_at) is not None:
            return
        try:
            write_whole(self._folder / f"{key}.json", data)
            self._make_room()
        except OSError:
            pass

    def _make_room(self) -> None:
        with os.scandir(self._folder) as entries:
            files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        if len(files) <= MAX_FILES:
            return
        ages = sorted((entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in files)
        for _, path in ages[: len(files) - MAX_FILES]:
            os.unlink(path)


def content_hash(candidate: Candidate) -> str | None:
    """Of a plugin's manifest and code, and of this outboard; None if they cannot be read."""
    seen = hashlib.blake2b(f"{protocol.__version__}\0{candidate.name}".encode(), digest_size=20)
    try:
        for path in sorted({candidate.file, *code_files(candidate)}):
            seen.update(f"\0{os.path.relpath(path, candidate.folder)}\0".encode(errors="surrogateescape"))
            seen.update(_content(path))
    except OSError:
        return None
    return seen.hexdigest()


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        about = os.fstat(file.fileno())
        if about.st_size > MAX_HASHED_BYTES:
            return f"{about.st_size} {about.st_mtime_ns}".encode()
        return hashlib.blake2b(file.read(MAX_HASHED_BYTES + 1)).digest()
