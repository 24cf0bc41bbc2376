"""`fork_beside`: like `os.fork`, but the child's parent is ours, so it is waited for where we were started.

It is what makes a forked plugin the host's own child, as an executed one is: its exit code, its pidfd and the
signal at its parent's death are the host's, whether or not the host is a subreaper, and whatever becomes of
the process that has forked it. A fork twice over would need a subreaper above, and leave nobody to wait for
it without one.

The kernel can (CLONE_PARENT), C's `fork` cannot. So the system call is made by itself, between what CPython
does before and after its own `os.fork`. What C's `fork` does besides matters to a process with threads; of
one without, only the thread's own number in C's memory has to change, which the kernel does when it is told
where that is.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys

_CLONE_PARENT = 0x00008000
_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_CHILD_SETTID = 0x01000000
_PR_GET_TID_ADDRESS = 40
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
"""Its number; and the last two arguments change places."""


class CannotFork(Exception):
    """There is no forking here. The text says why."""


class Fork:
    """Raises CannotFork where it is not known how."""

    def __init__(self) -> None:
        machine = platform.machine()
        if sys.platform != "linux" or sys.implementation.name != "cpython" or machine not in _SYS_CLONE:
            raise CannotFork(f"no way to fork is known for {sys.implementation.name} on {machine}")
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            raise CannotFork("a Python without its lock has threads of its own")
        # PyDLL: the lock is held throughout, as it is in `os.fork`.
        self._python, self._c = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
        self._c.syscall.restype = ctypes.c_long
        own = ctypes.c_void_p()
        if self._c.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(own), 0, 0, 0) != 0 or not own:
            raise CannotFork("the kernel does not say where C keeps a thread's number")
        flags = ctypes.c_ulong(
            _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | int(signal.SIGCHLD)
        )
        number, nothing = ctypes.c_long(_SYS_CLONE[machine]), ctypes.c_void_p()
        last = (own, nothing) if machine == "x86_64" else (nothing, own)
        self._call = (number, flags, nothing, nothing, *last)

    def beside(self) -> int:
        """The pid of the new process, and 0 in it. Raises OSError. For a process without other threads."""
        self._python.PyOS_BeforeFork()
        pid = int(self._c.syscall(*self._call))
        if pid == 0:
            self._python.PyOS_AfterFork_Child()
            return 0
        error = ctypes.get_errno()
        self._python.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError(error, os.strerror(error))
        return pid

    def rehearse(self) -> None:
        """Does it once, a floor below: the child of a child of ours has to become ours. Raises CannotFork."""
        theirs, ours = os.pipe()
        between = os.fork()
        if between == 0:
            code = 1
            try:
                pid = self.beside()
                code = 0
                if pid == 0:
                    os._exit(42)
                os.write(ours, str(pid).encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(between, 0)
        os.close(ours)
        said = os.read(theirs, 32)
        os.close(theirs)
        try:
            done = status == 0 and os.waitstatus_to_exitcode(os.waitpid(int(said), 0)[1]) == 42
        except ChildProcessError:
            done = False
        if not done:
            raise CannotFork("the kernel, or who guards it, does not let a process be its parent's child")
