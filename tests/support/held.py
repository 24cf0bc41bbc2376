"""A process that stays in the table after it has been killed: whoever traces it hears of its end first.

Linux gives a dead process to its tracer, and to its parent only when the tracer has taken notice. That
is how a test gets a process that SIGKILL does not remove, which else takes a broken driver.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRACER = """
import ctypes, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE = 0x4206
if ptrace(SEIZE, int(sys.argv[1]), None, None):
    sys.exit(f"errno {ctypes.get_errno()}")
print("held", flush=True)
sys.stdin.read()
"""


class Tracer:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def let_go(self) -> None:
        """The tracer ends, and with it the hold. May be called twice."""
        self._process.kill()
        self._process.wait()


@contextmanager
def held_by_a_tracer(pid: int) -> Iterator[Tracer]:
    """Holds `pid`. Leaving lets go."""
    command = [sys.executable, "-c", TRACER, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        tracer = Tracer(process)
        try:
            assert process.stdout.readline() == b"held\n"
            yield tracer
        finally:
            tracer.let_go()
