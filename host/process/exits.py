"""How a process ended, in words. Pure."""

from __future__ import annotations

import signal

import msgspec

_MEANING = {
    "SIGKILL": "killed from outside, or by the kernel for memory",
    "SIGSEGV": "it touched memory that is not its own",
    "SIGABRT": "it aborted itself",
    "SIGBUS": "bad memory access",
    "SIGXFSZ": "a file grew past its limit",
    "SIGTERM": "asked to end from outside",
    "SIGILL": "an instruction that the processor does not know",
}


class Exit(msgspec.Struct, frozen=True):
    """`code` is None if a signal ended it, and the other way round."""

    code: int | None
    signal: str | None

    @classmethod
    def from_returncode(cls, returncode: int) -> Exit:
        """From what `Popen.returncode` says: a negative number is a signal's."""
        if returncode >= 0:
            return cls(returncode, None)
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        return cls(None, name)

    @property
    def is_clean(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        meaning = _MEANING.get(self.signal)
        return f"{self.signal} ({meaning})" if meaning else self.signal
