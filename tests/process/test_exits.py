"""How a process ended, in words."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.process.exits import Exit


@pytest.mark.parametrize(
    ("returncode", "exit", "text"),
    [
        (0, Exit(0, None), "exit code 0"),
        (78, Exit(78, None), "exit code 78"),
        (
            -signal.SIGKILL,
            Exit(None, "SIGKILL"),
            "SIGKILL (killed from outside, or by the kernel for memory)",
        ),
        (-signal.SIGSEGV, Exit(None, "SIGSEGV"), "SIGSEGV (it touched memory that is not its own)"),
        (-signal.SIGUSR1, Exit(None, "SIGUSR1"), "SIGUSR1"),
        (-99, Exit(None, "signal 99"), "signal 99"),
    ],
)
def test_a_return_code_is_a_code_or_a_signal_with_a_meaning(returncode: int, exit: Exit, text: str) -> None:
    assert Exit.from_returncode(returncode) == exit
    assert str(exit) == text


@given(returncode=st.integers(-255, 255))
def test_an_exit_has_either_a_code_or_a_signal(returncode: int) -> None:
    exit = Exit.from_returncode(returncode)
    assert (exit.code is None) != (exit.signal is None)
    assert exit.is_clean == (returncode == 0)
    assert str(exit)
