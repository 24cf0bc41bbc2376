"""The `outboard` command. This file only sees to it that the process is fit, and what it needs installed."""

from __future__ import annotations

import os
import signal
import sys

from plugin_sdk import lean


def main() -> None:
    """The console script's entry."""
    _fill_standard_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python would raise the interrupt somewhere inside an import, where it can get lost. The
        # kernel ends us for good; `app` takes that back once a command is about to begin.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    lean.begin()
    try:
        import click  # noqa: F401
    except ImportError:
        print(
            "outboard: the command line needs the host's own packages, which are not installed.\n"
            'Install them with:  pip install "outboard[host]"',
            file=sys.stderr,
        )
        sys.exit(1)
    try:
        from host.cli.app import run

        run()
    except KeyboardInterrupt:  # before or after the command itself
        sys.exit(130)


def _fill_standard_descriptors() -> None:
    """Whoever started us may have closed 0, 1 or 2: a socket that got such a number would be printed to."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
