"""A pack is a zip that has the same bytes wherever and whenever it is made of the same files.

Names in order, one time for all, two modes, and nothing compressed: what a compressor makes of a file is its
own business, and differs between versions of it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

from host.errors import PackError
from host.packing.contents import Entry

__all__ = ["digest_of", "write_pack"]

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip can tell."""
UNIX = 3
CHUNK = 1024 * 1024


def write_pack(entries: Iterable[Entry], file: str) -> None:
    """Replaces `file` as a whole, or what it is a link to.

    Raises:
        PackError: it is no regular file, such as /dev/stdout. OSError. What was there is there still.
    """
    if os.path.exists(file) and not os.path.isfile(file):
        raise PackError([f"{file}: it is there and no regular file, so it is not replaced"])
    file = os.path.realpath(file)
    folder = os.path.dirname(file)
    fd, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(file)[:64]}.")
    try:
        with os.fdopen(fd, "wb") as opened:
            _write(entries, opened)
            os.fchmod(opened.fileno(), 0o666 & ~_umask())
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _write(entries: Iterable[Entry], opened: BinaryIO) -> None:
    with zipfile.ZipFile(opened, "w", zipfile.ZIP_STORED) as pack:
        for entry in entries:
            about = zipfile.ZipInfo(entry.path, LONG_AGO)
            about.create_system = UNIX
            about.external_attr = (0o100755 if entry.is_executable else 0o100644) << 16
            about.file_size = entry.size
            with open(entry.source, "rb") as source, pack.open(about, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def digest_of(file: str) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
