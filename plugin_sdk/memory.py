"""What malloc does with the memory of large frames, once there are some."""

from __future__ import annotations

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 16 * 1024 * 1024
_FROM_THE_HEAP = 4 * 1024 * 1024


def keep_for_the_next() -> None:
    """Has malloc keep up to 16 MiB that a frame of up to 4 MiB took, instead of giving them back each time.

    Fresh pages cost 1 ms a MiB, and everything else about a MiB of bytes 0.2.
    """
    import ctypes  # for those who have large frames

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another libc, which does as it does
        return
    mallopt(_M_MMAP_THRESHOLD, _FROM_THE_HEAP)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
