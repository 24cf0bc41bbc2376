"""A pack that somebody has sent: looked at as a whole first, and believed in nothing.

Only what is in order is unpacked, into a folder that was empty; a pack that is too much is refused before
anything is read into memory that it could have made large.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from host.discovery.validate import MANIFEST
from host.errors import PackError
from host.packing.contents import MAX_FILES, MAX_TOTAL
from host.packing.names import clashes, path_fault

__all__ = ["MAX_PACK", "unpack"]

MAX_PACK = MAX_TOTAL + 16 * 1024 * 1024
MAX_DIRECTORY = 8 * 1024 * 1024
"""Bytes of the list of contents, which is read as a whole."""
MAX_RATIO = 100
RATIO_FROM = 1024 * 1024
"""A file smaller than this may be as well compressed as it likes."""
MOST_TOLD = 20
CHUNK = 1024 * 1024
_ENCRYPTED = 0x1
_END = struct.Struct("<4s4H2LH")
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, RuntimeError, IndexError, OverflowError),
)
"""What zipfile raises for bytes that are no zip: wherever these send it, it goes."""
_FILE_MAGIC, _END_MAGIC, _LOCATOR_MAGIC, _LOCATOR_BYTES = b"PK\3\4", b"PK\5\6", b"PK\6\7", 20


def unpack(opened: BinaryIO, folder: str) -> None:
    """Puts everything in a pack into `folder`, which is empty, and onto the disk.

    Raises:
        PackError: with every problem. OSError: of `folder`.
    """
    name = os.path.basename(opened.name)
    _check_end(opened, name)
    try:
        pack = zipfile.ZipFile(opened)
    except _DAMAGE as error:
        raise PackError([f"{name}: it is damaged: {error}"]) from None
    with pack:
        if problems := _problems(pack):
            more = [f"and {len(problems) - MOST_TOLD} more"] if len(problems) > MOST_TOLD else []
            raise PackError([f"{name}: {text}" for text in problems[:MOST_TOLD] + more])
        for about in pack.infolist():
            if not about.is_dir():
                _put(pack, about, folder, name)


def _check_end(opened: BinaryIO, name: str) -> None:
    """What a zip says at its end about its list of contents, before that list is read. Raises PackError."""
    size = opened.seek(0, os.SEEK_END)
    if size > MAX_PACK:
        raise PackError([f"{name}: {size} bytes, and a pack has {MAX_PACK} at most"])
    opened.seek(max(0, size - _END.size - 0xFFFF - _LOCATOR_BYTES))
    tail = opened.read()
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        opened.seek(0)
        what = "it is cut off" if opened.read(4) == _FILE_MAGIC else "it is no zip file"
        raise PackError([f"{name}: {what}"])
    _, _, _, _, count, directory, _, _ = _END.unpack_from(tail, at)
    is_big = tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_LOCATOR_MAGIC)
    if is_big or count > MAX_FILES or directory > MAX_DIRECTORY:
        raise PackError([f"{name}: a pack holds {MAX_FILES} files at most"])


def _problems(pack: zipfile.ZipFile) -> list[str]:
    members = pack.infolist()
    if len(members) > MAX_FILES:
        return [f"a pack holds {MAX_FILES} files at most, and this one {len(members)}"]
    problems = []
    for about in members:
        if fault := _fault(about):
            problems.append(f"{about.orig_filename[:200]!r}: {fault}")
    total = sum(about.file_size for about in members)
    if total > MAX_TOTAL:
        problems.append(f"{total} bytes unpacked, and a pack holds {MAX_TOTAL}")
    if problems:
        return problems  # what follows is for names that are names
    files = [about.filename for about in members if not about.is_dir()]
    problems += [
        f"{two!r}: it is there twice" if one == two else f"{two!r}: for some systems it is {one!r} too"
        for one, two in clashes(files)
    ]
    if not problems and not _is_plugin(files):
        problems.append(_no_plugin(files))
    return problems


def _fault(about: zipfile.ZipInfo) -> str | None:
    path = about.orig_filename
    if fault := path_fault(path.removesuffix("/")):
        return fault
    if path != about.filename:
        return "its name means something else on this system"
    kind = stat.S_IFMT(about.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "it is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > about.is_dir():
        return "it is neither a file nor a folder"
    if about.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in a way that is not read here"
    if about.file_size > RATIO_FROM and about.file_size > MAX_RATIO * about.compress_size:
        return f"it would grow from {about.compress_size} to {about.file_size} bytes"
    return None


def _is_plugin(files: list[str]) -> bool:
    return MANIFEST in files or (len(files) == 1 and files[0].endswith(".py") and "/" not in files[0])


def _no_plugin(files: list[str]) -> str:
    below = next((path for path in files if path.count("/") == 1 and path.endswith(f"/{MANIFEST}")), None)
    if below is not None:
        return f"there is no {MANIFEST} at its top, only {below}; `outboard pack` makes one that has"
    return f"there is no {MANIFEST} at its top, nor is it a one-file plugin"


def _put(pack: zipfile.ZipFile, about: zipfile.ZipInfo, folder: str, name: str) -> None:
    target = os.path.join(folder, about.filename)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    mode = 0o755 if (about.external_attr >> 16) & stat.S_IXUSR else 0o644
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "wb") as written:
        for chunk in _chunks(pack, about, name):
            written.write(chunk)
        written.flush()
        os.fsync(fd)


def _chunks(pack: zipfile.ZipFile, about: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """Apart from the writing, so that no fault of the disk is taken for one of the pack. Raises PackError."""
    left = about.file_size
    try:
        with pack.open(about) as source:
            while chunk := source.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
    except _DAMAGE as error:
        raise PackError([f"{name}: {about.filename!r}: it is damaged: {error or 'cut off'}"]) from None
    if left != 0:
        raise PackError([f"{name}: {about.filename!r}: it has another size than it says"])
