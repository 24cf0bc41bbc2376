"""A child of this process that another has forked for it: what `Popen` is for those that we have executed."""

from __future__ import annotations

import os

_ENDED = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)


class ForkedProcess:
    """`returncode` is as `Popen` has it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Blocks."""
        while (code := self._reap(0)) is None:
            pass
        return code

    def send_signal(self, number: int) -> None:
        """To nobody once it has been reaped. Raises ProcessLookupError."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                found = os.waitid(os.P_PID, self.pid, os.WEXITED | options)
            except ChildProcessError:  # somebody else has waited for it, and its code is lost
                self.returncode = 0
            else:
                if found is not None and found.si_code in _ENDED:  # who is traced by us tells of every stop
                    is_signal = found.si_code != os.CLD_EXITED
                    self.returncode = -found.si_status if is_signal else found.si_status
        return self.returncode
