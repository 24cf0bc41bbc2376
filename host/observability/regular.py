"""Opens files of ours that are regular ones: a FIFO that nobody writes to holds whoever opens it."""

from __future__ import annotations

import os
import stat
from errno import EINVAL


class NotRegular(OSError):
    """Something is there that is no file: a FIFO, a socket, a device."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(EINVAL, "it is not a regular file", os.fspath(path))


def open_regular(path: str | os.PathLike[str]) -> int:
    """A file descriptor, the caller's to close. Never blocks.

    Raises NotRegular, IsADirectoryError, any other OSError, ValueError for a NUL in the path.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(fd).st_mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def check_regular(path: str | os.PathLike[str]) -> None:
    """For a file that is about to be written: what is there is regular, or nothing is. Raises as above."""
    try:
        _check(path, os.stat(path).st_mode)
    except FileNotFoundError:
        pass


def _check(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(EINVAL, "it is a folder", os.fspath(path))
    if not stat.S_ISREG(mode):
        raise NotRegular(path)
